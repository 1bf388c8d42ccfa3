"""blocking.py URI POOL GUEST ROUNDS: small and large streams with a blocking client that has no event loop.

libvirt's client then reads one packet and polls the socket, so it never sees bytes that its TLS library has decrypted
beyond that packet. A stream that does not end in time ends this program with a traceback."""
import faulthandler
import sys

from client import *

uri, pool_name, guest, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
# The user and the password are in the file that the URI names.
credentials = [libvirt.VIR_CRED_AUTHNAME, libvirt.VIR_CRED_PASSPHRASE]
connection = libvirt.openAuth(uri, [credentials, lambda asked, opaque: -1, None], 0)
pool = connection.storagePoolLookupByName(pool_name)
sizes = [0, 1, 24, 100, 1000, 20000, 262119, 262120, 262121, 8 << 20]


def begin(seconds=30):
    """Starts the time limit of a stream. Reaching it means that the stream hangs."""
    faulthandler.dump_traceback_later(seconds, exit=True)


def receive_sparse(stream):
    """All data of a sparse download, with holes as zeros. There must be some holes."""
    heard = bytearray()
    holes = 0
    while True:
        some = stream.recvFlags(1 << 20, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
        if some == -3:
            heard += bytes(stream.recvHole())
            holes += 1
        elif not some:
            stream.finish()
            assert holes > 10, holes
            return bytes(heard)
        else:
            heard += some


for size in sizes:
    data = os.urandom(size)
    volume = make_volume(pool, "v%d" % size, size)
    for turn in range(rounds):
        begin()
        upload(connection, volume, data)
        begin()
        assert download(connection, volume) == data, (size, turn)
    # The same with the loops of the bindings.
    begin()
    stream = connection.newStream(0)
    volume.upload(stream, 0, size, 0)
    source = memoryview(data)
    place = [0]

    def give(stream, count, opaque):
        piece = bytes(source[place[0]:place[0] + count])
        place[0] += len(piece)
        return piece

    stream.sendAll(give, None)
    stream.finish()
    begin()
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, 0)
    heard = bytearray()
    stream.recvAll(lambda stream, piece, opaque: heard.extend(piece), None)
    stream.finish()
    assert heard == data, size
    volume.delete(0)

# Data and holes in turn, so that replies, holes and data follow each other closely.
block = 64 << 10
data = b"".join(os.urandom(block) if i % 3 == 0 else bytes(block) for i in range(48))
holed = make_volume(pool, "holed", len(data))
with open(holed.path(), "r+b") as file:
    file.truncate(0)
    file.truncate(len(data))
    for i in range(0, 48, 3):
        file.seek(i * block)
        file.write(data[i * block:(i + 1) * block])
for turn in range(max(rounds // 4, 1)):
    begin()
    stream = connection.newStream(0)
    holed.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
    assert receive_sparse(stream) == data, turn

    # Ended early in both ways; then the connection is still usable.
    for end in ["abort", "finish"]:
        begin()
        stream = connection.newStream(0)
        holed.download(stream, 0, 0, 0)
        stream.recv(1 + turn * 1000)
        getattr(stream, end)()
        begin()
        assert connection.lookupByName(guest).name() == guest
holed.delete(0)

domain = connection.lookupByName(guest)
for turn in range(max(rounds // 2, 1)):
    begin()
    stream = connection.newStream(0)
    domain.screenshot(stream, 0, 0)
    picture = receive_all(stream)
    assert picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82"), turn

# Several threads on one connection, of which one reads for all.
small = make_volume(pool, "shared", 1000)
upload(connection, small, bytes(1000))


def ask(thread):
    for turn in range(rounds):
        assert len(download(connection, small)) == 1000
        assert connection.lookupByName(guest).name() == guest


begin(120)
threads = [Thread(ask, thread) for thread in range(4)]
for thread in threads:
    thread.join()
small.delete(0)
faulthandler.cancel_dump_traceback_later()
connection.close()
