"""threads.py URI POOL GUEST: twenty threads calling on one connection; every answer belongs to its question."""
import sys

from client import *

uri, pool_name, guest = sys.argv[1:]
connection = connect(uri)
pool = connection.storagePoolLookupByName(pool_name)
host = connection.getHostname()
uuid = connection.lookupByName(guest).UUIDString()


def ask(thread):
    name, size = "of-thread-%d" % thread, (thread + 1) * 4096
    volume = make_volume(pool, name, size)
    for turn in range(40):
        nobody = "nobody-%d-%d" % (thread, turn)
        assert volume.info()[1] == size
        assert pool.storageVolLookupByName(name).name() == name
        assert nobody in fails(libvirt.VIR_ERR_NO_DOMAIN, connection.lookupByName, nobody)
        assert connection.getHostname() == host
        assert nobody in fails(libvirt.VIR_ERR_NO_NETWORK, connection.networkLookupByName, nobody)
        assert connection.lookupByName(guest).UUIDString() == uuid
        assert nobody in fails(libvirt.VIR_ERR_NO_STORAGE_VOL, pool.storageVolLookupByName, nobody)
    volume.delete(0)


threads = [Thread(ask, thread) for thread in range(20)]
for thread in threads:
    thread.join()
connection.close()
