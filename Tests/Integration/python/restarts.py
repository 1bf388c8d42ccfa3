"""restarts.py LAB DIRECTORY ROUNDS URI...: the daemon is killed and started again, ROUNDS times, under connections that
have registered for nothing. Calls that only read never fail; changes fail with an unknown outcome at most; streams end
with an error; no connection is closed."""
import signal
import subprocess
import time

from client import *

THREADS = 4
VOLUME = 64 << 20

lab, directory, rounds, uris = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
libvirt.virEventRegisterDefaultImpl()


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=run_events, daemon=True).start()
over = threading.Event()
counts = {"read": 0, "changed": 0, "unknown": 0, "streams": 0}
lock = threading.Lock()


def count(what):
    with lock:
        counts[what] += 1


def reads(connection):
    """What monitoring programs ask. No error, whatever happens to the daemon."""
    while not over.is_set():
        connection.getLibVersion()
        connection.getHostname()
        connection.listAllDomains()
        connection.listAllStoragePools()
        connection.lookupByName("steady").info()
        connection.lookupByName("steady").XMLDesc()
        count("read")


def is_unknown(error):
    assert error.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED, error
    assert "outcome unknown" in str(error), error
    return True


def changes(connection, name):
    """Defines a guest and removes it. After an unknown outcome it looks, as an administrator would."""
    xml = "<domain type='qemu'><name>%s</name><memory>1024</memory><os><type>hvm</type></os></domain>" % name
    while not over.is_set():
        try:
            connection.defineXML(xml).undefine()
            count("changed")
        except libvirt.libvirtError as error:
            if is_unknown(error):
                count("unknown")
            for domain in connection.listAllDomains():
                if domain.name() == name:
                    try:
                        domain.undefine()
                    except libvirt.libvirtError as error:
                        is_unknown(error)


def downloads(connection):
    """Streams end with the same error, and the connection can be used for the next."""
    while not over.is_set():
        volume = connection.storagePoolLookupByName("steady").storageVolLookupByName("volume")
        stream = connection.newStream()
        try:
            volume.download(stream, 0, 0)
            received = 0
            while True:
                data = stream.recv(256 << 10)
                received += len(data)
                if not data:
                    break
            stream.finish()
            assert received == VOLUME, received
        except libvirt.libvirtError as error:
            is_unknown(error)
            count("streams")


def restart():
    pid = int(subprocess.check_output([lab, "pid", directory, "libvirtd"]))
    os.kill(pid, signal.SIGKILL)
    subprocess.check_call([lab, "start", directory, "libvirtd"])


def prepare(connection):
    """What survives the daemon: a defined guest, and a pool that it starts."""
    connection.defineXML(
        "<domain type='qemu'><name>steady</name><memory>1024</memory><os><type>hvm</type></os></domain>")
    pool = connection.storagePoolDefineXML(
        "<pool type='dir'><name>steady</name><target><path>%s/steady</path></target></pool>" % directory)
    pool.build()
    pool.setAutostart(1)
    pool.create()
    make_volume(pool, "volume", VOLUME)


connections = [connect(uri) for uri in uris]
prepare(connections[0])
threads = []
for number, connection in enumerate(connections):
    for _ in range(THREADS):
        threads.append(Thread(reads, connection))
    threads.append(Thread(changes, connection, "changing%d" % number))
    threads.append(Thread(downloads, connect(uris[number])))
for round in range(rounds):
    before = counts["read"]
    # The daemon dies while all are at work.
    while counts["read"] < before + 3 * len(threads):
        time.sleep(0.001)
    restart()
over.set()
for thread in threads:
    thread.join(60)
assert all(connection.isAlive() for connection in connections)
assert counts["read"] and counts["changed"], counts
print("%d rounds, outcome unknown: %s" % (rounds, counts["unknown"] + counts["streams"] > 0))
