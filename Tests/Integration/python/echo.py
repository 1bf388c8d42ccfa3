"""echo.py URI BYTES GUEST...: so many random bytes through each guest's console, all guests at once."""
import sys

from client import *

uri, size, guests = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
connection = connect(uri)
consoles = [Console(connection, guest) for guest in guests]
threads = [Thread(console.echo, os.urandom(size)) for console in consoles]
for thread in threads:
    thread.join()
for console in consoles:
    console.close()
# Two consoles at once are two streams: ask whether the connection is still good for a call.
assert sorted(guests) == sorted(set(guests) & {guest.name() for guest in connection.listAllDomains()})
connection.close()
