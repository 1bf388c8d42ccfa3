"""abort.py URI POOL GUEST: streams that the client or the daemon ends early; the connection remains usable.

GUEST is destroyed at the end."""
import sys

from client import *

uri, pool_name, guest = sys.argv[1:]
connection = connect(uri)
pool = connection.storagePoolLookupByName(pool_name)
size = 16 << 20
data = os.urandom(size)
volume = make_volume(pool, "aborted", size)
small = make_volume(pool, "small", 1000)
upload(connection, volume, data)
upload(connection, small, data[:1000])


def goes_on():
    assert connection.lookupByName(guest).name() == guest
    assert download(connection, small) == data[:1000]


for turn in range(10):
    # The client aborts a download while many of its packets are under way.
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, 0)
    assert stream.recv(100000) == data[:100000][:262120]
    stream.abort()
    goes_on()

    # It may also finish a download early.
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, 0)
    stream.recv(1)
    stream.finish()
    goes_on()

    # The client aborts an upload.
    stream = connection.newStream(0)
    volume.upload(stream, 0, size, 0)
    stream.send(data[:262120])
    stream.abort()
    goes_on()

    # The daemon ends an upload that is longer than the announced 1000 bytes.
    stream = connection.newStream(0)
    small.upload(stream, 0, 1000, 0)

    def too_much():
        for _ in range(64):
            stream.send(data[:262120])
        stream.finish()

    fails(libvirt.VIR_ERR_SYSTEM_ERROR, too_much)
    goes_on()

# The daemon ends a console because its guest is destroyed.
console = Console(connection, guest)
console.echo(b"still here")
other = connect(uri)
other.lookupByName(guest).destroy()
try:
    assert console.stream.recv(1) == b""
    console.stream.abort()
except libvirt.libvirtError:
    pass  # the end or an error, whichever the daemon saw first
assert download(connection, small) == data[:1000]
volume.delete(0)
small.delete(0)
other.close()
connection.close()
