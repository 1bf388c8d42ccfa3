"""threads.py URI POOL GUEST: twenty threads make calls on one connection; each gets the reply to its own call."""
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
        absent = "absent-%d-%d" % (thread, turn)
        assert volume.info()[1] == size
        assert pool.storageVolLookupByName(name).name() == name
        assert absent in fails(libvirt.VIR_ERR_NO_DOMAIN, connection.lookupByName, absent)
        assert connection.getHostname() == host
        assert absent in fails(libvirt.VIR_ERR_NO_NETWORK, connection.networkLookupByName, absent)
        assert connection.lookupByName(guest).UUIDString() == uuid
        assert absent in fails(libvirt.VIR_ERR_NO_STORAGE_VOL, pool.storageVolLookupByName, absent)
    volume.delete(0)


threads = [Thread(ask, thread) for thread in range(20)]
for thread in threads:
    thread.join()
connection.close()
