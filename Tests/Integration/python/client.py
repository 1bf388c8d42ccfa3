"""Shared by the programs here: a connection, a console, and threads that report failures."""
import os
import sys
import threading

import libvirt

# The tests check exceptions, so libvirt need not print errors to standard error.
libvirt.registerErrorHandler(lambda context, error: None, None)


def connect(uri):
    return libvirt.open(uri)


class Console:
    """A guest's serial console, which echoes."""

    def __init__(self, connection, guest, flags=libvirt.VIR_DOMAIN_CONSOLE_FORCE):
        self.stream = connection.newStream(0)
        connection.lookupByName(guest).openConsole(None, self.stream, flags)

    def send(self, data):
        while data:
            data = data[self.stream.send(data):]

    def receive(self, count):
        heard = bytearray()
        while len(heard) < count:
            some = self.stream.recv(65536)
            if not some:
                raise EOFError("the console ended after %d of %d bytes" % (len(heard), count))
            heard += some
        return bytes(heard)

    def echo(self, data):
        """Sends all data and receives as much. It never has more bytes under way than the guest's terminal
        holds, because QEMU drops bytes that a full terminal does not accept, with or without a broker."""
        under_way = 2048
        heard = b""
        for start in range(0, len(data), under_way):
            self.send(data[start:start + under_way])
            heard += self.receive(min(under_way, len(data) - start))
        assert heard == data, "the echo differs from what was sent"

    def close(self):
        self.stream.finish()


class Thread(threading.Thread):
    """A thread whose exception `join` raises."""

    def __init__(self, body, *arguments):
        super().__init__(daemon=True)
        self.body, self.arguments, self.error = body, arguments, None
        self.start()

    def run(self):
        try:
            self.body(*self.arguments)
        except BaseException as error:
            self.error = error

    def join(self, timeout=200):
        super().join(timeout)
        assert not self.is_alive(), "%s %s hangs" % (self.body.__name__, self.arguments[:1])
        if self.error:
            raise self.error


def upload(connection, volume, data, opened=lambda: None):
    stream = connection.newStream(0)
    volume.upload(stream, 0, len(data), 0)
    opened()
    sent = 0
    while sent < len(data):
        sent += stream.send(data[sent:sent + 262120])
    stream.finish()


def download(connection, volume, opened=lambda: None):
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, 0)
    opened()
    return receive_all(stream)


def receive_all(stream):
    heard = bytearray()
    while True:
        some = stream.recv(1 << 20)
        if not some:
            stream.finish()
            return bytes(heard)
        heard += some


def make_volume(pool, name, size):
    return pool.createXML(
        "<volume><name>%s</name><capacity>%d</capacity></volume>" % (name, size), 0)


def fails(code, body, *arguments):
    """Expects a libvirt error with this code and returns its message."""
    try:
        body(*arguments)
    except libvirt.libvirtError as error:
        assert error.get_error_code() == code, "unexpected error: %d %s" % (
            error.get_error_code(), error)
        return error.get_error_message()
    raise AssertionError("%s should have failed" % body.__name__)
