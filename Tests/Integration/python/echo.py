"""echo.py URI BYTES GUEST...: sends random bytes to the consoles of all guests concurrently and checks the echoes."""
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
# The connection must still answer a call after the concurrent streams.
assert sorted(guests) == sorted(set(guests) & {guest.name() for guest in connection.listAllDomains()})
connection.close()
