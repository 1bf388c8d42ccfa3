"""forbidden.py ENDPOINT URI PROCEDURE...: a daemon's replies to calls that change something on a read-only connection.

libvirt's client library would refuse them itself, so this program implements the protocol as far as necessary.
ENDPOINT is the path of a UNIX socket or the number of a TCP port of 127.0.0.1; each procedure takes XML and
possibly flags. Prints the status, code and message of each reply."""
import socket
import struct
import sys

endpoint, uri, procedures = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]]
REMOTE, AUTH_LIST, OPEN, READ_ONLY = 0x20008086, 66, 1, 1

if endpoint.isdigit():
    link = socket.create_connection(("127.0.0.1", int(endpoint)), timeout=60)
else:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(60)
    link.connect(endpoint)
serial = 0


def string(text):
    data = text.encode()
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def read(count):
    data = b""
    while len(data) < count:
        some = link.recv(count - len(data))
        assert some, "the connection ended"
        data += some
    return data


def call(procedure, body):
    global serial
    link.sendall(struct.pack(">7I", 28 + len(body), REMOTE, 1, procedure, 0, serial, 0) + body)
    length, program, version, number, kind, answered, status = struct.unpack(">7I", read(28))
    assert (program, version, number, kind, answered) == (REMOTE, 1, procedure, 1, serial)
    serial += 1
    return status, read(length - 28)


assert call(AUTH_LIST, b"")[0] == 0
assert call(OPEN, struct.pack(">I", 1) + string(uri) + struct.pack(">I", READ_ONLY))[0] == 0
for procedure in procedures:
    status, body = call(procedure, string("<nothing/>") + bytes(4))
    if status != 1:
        print(procedure, "was done")
        continue
    code, domain, present, length = struct.unpack(">4I", body[:16])
    print(procedure, code, domain, body[16:16 + length].decode())
