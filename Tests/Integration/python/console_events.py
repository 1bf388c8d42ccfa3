"""console_events.py URI GUEST TURNS: a console in an event loop, as in virt-manager.

Sends a few keys at once, in one packet each, and expects the callback to receive all echoes before the client's
keepalive could wake it."""
import sys
import time

from client import *

libvirt.virEventRegisterDefaultImpl()
uri, guest, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = connect(uri)
connection.setKeepAlive(5, 3)
stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
connection.lookupByName(guest).openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
heard = bytearray()


def readable(stream, events, opaque):
    assert not events & (libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP), events
    while True:
        some = stream.recv(4096)
        if some == -2:
            return
        heard.extend(some)


stream.eventAddCallback(libvirt.VIR_STREAM_EVENT_READABLE, readable, None)
# The loop must run for the deadline to be checked.
libvirt.virEventAddTimeout(100, lambda timer, opaque: None, None)
longest = 0
for turn in range(turns):
    keys = b"%05d" % turn
    heard.clear()
    start = time.monotonic()
    for key in keys:
        assert stream.send(bytes([key])) == 1
    while len(heard) < len(keys):
        libvirt.virEventRunDefaultImpl()
        assert time.monotonic() - start < 4, "turn %d: %r of %r came in 4 s" % (turn, bytes(heard), keys)
    assert heard == keys, (bytes(heard), keys)
    longest = max(longest, time.monotonic() - start)
stream.eventRemoveCallback()
stream.finish()
connection.close()
print("%.3f" % longest)
