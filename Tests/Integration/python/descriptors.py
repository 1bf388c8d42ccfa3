"""descriptors.py URI GUEST DISK: receives a descriptor (a guest's display) and sends one (a guest's disk)."""
import socket
import sys
import time

from client import *

uri, guest, disk = sys.argv[1:]
connection = connect(uri)

display = socket.socket(fileno=connection.lookupByName(guest).openGraphicsFD(0))
display.settimeout(30)
version = display.recv(12)
assert version == b"RFB 003.008\n", version
display.close()

# The file is opened and removed before the guest starts, so the guest can boot only from the descriptor.
log = disk + ".log"
descriptor = os.open(disk, os.O_RDWR)
os.unlink(disk)
name = os.path.basename(disk)
domain = connection.defineXML("""
<domain type='qemu'><name>%s</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='%s' fdgroup='boot'/><target dev='hda' bus='ide'/></disk>
<serial type='pty'><log file='%s'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>""" % (name, disk, log))
try:
    domain.FDAssociate("boot", [descriptor])
    os.close(descriptor)
    domain.create()
    end = time.monotonic() + 120
    while b"guest ready" not in open(log, "rb").read():
        assert time.monotonic() < end, "the guest did not boot from the descriptor"
        time.sleep(0.05)
    domain.destroy()
finally:
    domain.undefine()
assert connection.getHostname()
connection.close()
