"""ended.py URI GUEST: an administrator ends a console; the connection remains usable, and another console works."""
from client import *

uri, guest = sys.argv[1:]
connection = connect(uri)
console = Console(connection, guest)
console.echo(b"here I am")
try:
    console.receive(1)
    raise AssertionError("the console did not end")
except libvirt.libvirtError as error:
    assert "the stream was ended by an administrator" in str(error), error
assert connection.lookupByName(guest).name() == guest
other = Console(connection, guest)
other.echo(b"and again")
other.close()
connection.close()
print("ended by an administrator, and the connection goes on")
