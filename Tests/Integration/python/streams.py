"""streams.py URI POOL GUEST GUEST GUEST: sixteen concurrent streams of four kinds on one connection."""
import sys

from client import *

uri, pool_name, guests = sys.argv[1], sys.argv[2], sys.argv[3:]
connection = connect(uri)
pool = connection.storagePoolLookupByName(pool_name)
size = 4 << 20
all_open = threading.Barrier(14, timeout=120)


def up(volume, data):
    upload(connection, volume, data, opened=all_open.wait)


def down(volume, data):
    assert download(connection, volume, opened=all_open.wait) == data, "a download differs"


def screenshot(guest):
    stream = connection.newStream(0)
    kind = connection.lookupByName(guest).screenshot(stream, 0, 0)
    all_open.wait()
    picture = receive_all(stream)
    assert kind == "image/png" and picture.startswith(b"\x89PNG"), (kind, picture[:16])
    assert picture.endswith(b"IEND\xaeB`\x82"), "the picture ends in the middle"


down_data = [os.urandom(size) for _ in range(5)]
up_data = [os.urandom(size) for _ in range(5)]
down_volumes = [make_volume(pool, "down%d" % i, size) for i in range(5)]
up_volumes = [make_volume(pool, "up%d" % i, size) for i in range(5)]
for volume, data in zip(down_volumes, down_data):
    upload(connection, volume, data)

# The consoles are open all the time and get keys after the bulk streams have ended: with concurrent threads for
# consoles and bulk streams an echo sometimes never completes on a loaded machine, also with libvirt 9.0.0 alone.
consoles = [Console(connection, guest) for guest in guests]
threads = []
for i in range(5):
    threads.append(Thread(up, up_volumes[i], up_data[i]))
    threads.append(Thread(down, down_volumes[i], down_data[i]))
threads += [Thread(screenshot, guest) for guest in guests]
assert len(threads) + len(consoles) == 16
all_open.wait()
for thread in threads:
    thread.join()
for console in consoles:
    console.echo(os.urandom(16 << 10))
    console.close()
for volume, data in zip(up_volumes, up_data):
    assert download(connection, volume) == data, "an upload differs"
for volume in up_volumes + down_volumes:
    volume.delete(0)
connection.close()
