"""drain.py URI DIRECT_URI TOOL ADMIN_SOCKET POOL GUEST: what a draining broker keeps.

Four clients: one downloads a volume, one has a console, one awaits events, one is idle. The broker is drained. The idle
client's connection is closed, a new client is refused, and the others continue until they leave."""
import subprocess
import sys
import threading
import time

from client import *

uri, direct_uri, tool, admin, pool_name, guest = sys.argv[1:]
libvirt.virEventRegisterDefaultImpl()
# The loop must run for deadlines to be checked.
libvirt.virEventAddTimeout(100, lambda timer, opaque: None, None)


turn = threading.Condition()


def loop():
    while True:
        libvirt.virEventRunDefaultImpl()
        with turn:
            turn.notify_all()


Thread(loop)


def until(holds, what, seconds=20):
    """Checks after each turn of the event loop."""
    end = time.monotonic() + seconds
    with turn:
        while not holds():
            assert time.monotonic() < end, what
            turn.wait(1)


def drain(*options):
    return subprocess.run(
        [tool, "drain", "--socket", admin, *options], capture_output=True, text=True, check=True).stdout


direct = connect(direct_uri)
size = 32 << 20
volume = make_volume(direct.storagePoolLookupByName(pool_name), "drained", size)
content = os.urandom(size)
with open(volume.path(), "r+b") as file:
    file.write(content)

idle, console_client, watcher, downloader = [connect(uri) for _ in range(4)]
console = Console(console_client, guest)
console.echo(b"before")
events = []
registration = watcher.domainEventRegisterAny(
    None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *event: events.append(event[2]), None)
stream = downloader.newStream(0)
downloader.storagePoolLookupByName(pool_name).storageVolLookupByName("drained").download(stream, 0, 0, 0)
begun = stream.recv(1000)

assert drain().startswith("Draining: "), "the broker is drained"
message = fails(libvirt.VIR_ERR_SYSTEM_ERROR, connect, uri)
assert "No such file" in message or "refused" in message, message
until(lambda: not idle.isAlive(), "the idle client is still connected")
assert drain().startswith("Draining: 3 clients continue"), "the others are kept"

console.echo(b"after the drain")
assert begun + receive_all(stream) == content, "the download has other bytes"
domain = direct.lookupByName(guest)
domain.suspend()
domain.resume()
until(lambda: len(events) >= 2, "the events did not arrive")
console.close()
# A stream keeps its connection open.
del console, stream
console_client.close()
downloader.close()
until(lambda: drain().startswith("Draining: 1 client continues"), "two clients have not left")
assert watcher.isAlive() and watcher.getHostname(), "the last client is served"
watching = subprocess.Popen(
    [tool, "drain", "--wait", "--socket", admin], stdout=subprocess.PIPE, text=True)
assert watching.stdout.readline() == "Draining: 1 client continues, 0 idle clients were closed.\n"
assert watching.poll() is None, "the tool waits for the broker's end"
# A registration keeps its connection open.
watcher.domainEventDeregisterAny(registration)
watcher.close()
assert watching.wait(20) == 0
direct.close()
