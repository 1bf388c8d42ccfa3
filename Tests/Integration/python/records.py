"""records.py PORT PKIDIR TCP_URI POOL GUEST: no TLS record contains bytes of two packets, for any traffic.

This TLS client reads one record at a time. libvirt's client depends on such records: after a packet it polls the
socket and does not ask its TLS library for bytes that are already decrypted."""
import socket
import ssl
import struct
import sys

from client import *

port, pki, tcp_uri, pool_name, guest = int(sys.argv[1]), *sys.argv[2:]
other = connect(tcp_uri)
pool = other.storagePoolLookupByName(pool_name)
size = 8 << 20
block = 256 << 10
volume = make_volume(pool, "recorded", size)
with open(volume.path(), "r+b") as file:
    file.truncate(0)
    file.truncate(size)
    for i in range(0, size // block, 2):
        file.seek(i * block)
        file.write(os.urandom(block))

REMOTE = 0x20008086
CALL, REPLY, MESSAGE, STREAM, HOLE = 0, 1, 2, 3, 6
STREAM_OK, STREAM_CONTINUE = 0, 2


def string(text):
    return struct.pack(">I", len(text)) + text + bytes(-len(text) % 4)


class Connection:
    """One TLS connection with a given protocol version, and statistics of its records."""

    def __init__(self, version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        context.load_verify_locations(pki + "/cacert.pem")
        context.load_cert_chain(pki + "/clientcert.pem", pki + "/clientkey.pem")
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.serial, self.pending, self.records, self.mixed = 0, b"", 0, 0
        assert self.socket.recv(1) == b"\1"

    def send(self, procedure, body=b""):
        self.serial += 1
        packet = struct.pack(">IIiiiI", REMOTE, 1, procedure, CALL, self.serial, 0) + body
        self.socket.sendall(struct.pack(">I", len(packet) + 4) + packet)
        return self.serial

    def packets(self):
        """The header and the body of each received packet."""
        while True:
            record = self.socket.recv(1 << 17)
            assert record, "the broker closed the connection"
            self.records += 1
            self.pending += record
            ended = 0
            while len(self.pending) >= 4:
                length = struct.unpack(">I", self.pending[:4])[0]
                if len(self.pending) < length:
                    break
                packet, self.pending = self.pending[:length], self.pending[length:]
                ended += 1
                yield struct.unpack(">IIiiiI", packet[4:28]), packet[28:]
            if ended and (self.pending or ended > 1):
                self.mixed += 1

    def reply(self, serial):
        for header, body in self.packets():
            if header[3] == REPLY and header[4] == serial:
                assert header[5] == 0, body
                return body

    def call(self, procedure, body=b""):
        return self.reply(self.send(procedure, body))


for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
    c = Connection(version)
    c.call(66)  # AUTH_LIST
    c.call(1, struct.pack(">I", 1) + string(b"qemu:///system") + struct.pack(">I", 0))
    c.call(316, struct.pack(">iI", 0, 0))  # lifecycle events of every domain
    opened = c.call(84, string(pool_name.encode()))
    name = c.call(95, opened + string(b"recorded"))

    # Two downloads, one of them sparse, with replies and events between their packets.
    streams = {
        c.send(209, name + struct.pack(">QQI", 0, size, 0)): 0,
        c.send(209, name + struct.pack(">QQI", 0, size, 1)): 0,
    }
    awaited = set()
    finishing = set()
    events = holes = answered = turn = 0
    for header, body in c.packets():
        _, _, procedure, kind, serial, status = header
        if kind == HOLE:
            holes += 1
        elif kind == STREAM and status == STREAM_CONTINUE and body:
            streams[serial] += len(body)
        elif kind == STREAM and status == STREAM_CONTINUE:
            # The end of the data: finish the stream.
            packet = struct.pack(">IIiiiI", REMOTE, 1, procedure, STREAM, serial, STREAM_OK)
            c.socket.sendall(struct.pack(">I", len(packet) + 4) + packet)
            finishing.add(serial)
        elif kind == STREAM and status == STREAM_OK:
            finishing.discard(serial)
            del streams[serial]
        elif kind == MESSAGE:
            events += 1
        elif kind == REPLY and serial in awaited:
            awaited.discard(serial)
            answered += 1
        assert status != 1, body
        turn += 1
        if turn % 8 == 0 and answered + len(awaited) < 60:
            awaited |= {c.send(59), c.send(4)}  # the host's name, the library's version
        if turn % 16 == 0 and turn < 400:
            other.defineXML("<domain type='qemu'><name>passing</name><memory>1024</memory>"
                            "<os><type>hvm</type></os></domain>").undefine()
        if not streams and not awaited and events > 0:
            break
    assert holes > 0 and answered > 0 and events > 0, (holes, answered, events)

    # Many small replies at once, and a screenshot.
    awaited = {c.send(59) for _ in range(400)}
    for header, body in c.packets():
        if header[3] == REPLY:
            awaited.discard(header[4])
        if not awaited:
            break
    assert c.records > 500, c.records
    assert c.mixed == 0, "%d of %d records hold bytes of two packets (%s)" % (c.mixed, c.records, version)
    c.socket.close()
volume.delete(0)
other.close()
