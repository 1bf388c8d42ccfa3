"""keystrokes.py URI GUEST [INTERVAL]: sends a key every INTERVAL seconds (default 0.02) until its standard input
ends, and expects each echo. Prints the number of keys and the median, 99th percentile and maximum time of an echo,
in milliseconds."""
import select
import sys
import time

from client import *

uri, guest = sys.argv[1:3]
interval = float(sys.argv[3]) if len(sys.argv) > 3 else 0.02
connection = connect(uri)
console = Console(connection, guest)
times = []
due = time.monotonic()
while True:
    key = b"%c" % (97 + len(times) % 26)
    start = time.monotonic()
    console.send(key)
    assert console.receive(1) == key, "another key came back"
    times.append((time.monotonic() - start) * 1000)
    due = max(due + interval, time.monotonic())
    if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
        break
console.close()
connection.close()
times.sort()
print(len(times), *("%.2f" % times[int(len(times) * part)] for part in (0.5, 0.99)), "%.2f" % times[-1])
