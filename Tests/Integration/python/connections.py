"""Opens connections and keeps them open: connections.py unix:PATH|tcp:PORT:SOURCE COUNT [ask]

With `ask` each sends AUTH_LIST and waits for the reply. Prints "ready" when all are open, and ends with its
standard input.
"""
import socket
import struct
import sys

kind, _, place = sys.argv[1].partition(":")
held = []
for _ in range(int(sys.argv[2])):
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(place)
    else:
        port, source = place.split(":")
        connection = socket.socket(socket.AF_INET)
        connection.bind((source, 0))
        connection.connect(("127.0.0.1", int(port)))
    held.append(connection)
if "ask" in sys.argv[3:]:
    for connection in held:
        connection.settimeout(20)
        connection.sendall(struct.pack(">7I", 28, 0x20008086, 1, 66, 0, 0, 0))
        reply = connection.recv(28)
        assert len(reply) == 28 and struct.unpack(">7I", reply)[6] == 0, reply
print("ready", flush=True)
sys.stdin.read()
