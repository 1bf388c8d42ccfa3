"""virsh's console in a pseudo-terminal."""
import os
import pty
import select
import signal
import sys
import time


class Terminal:
    def __init__(self, uri, guest, *options):
        self.seen, self.show = b"", False
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execvp("virsh", ["virsh", "-c", uri, "console", *options, guest])

    def read(self, wanted, or_end=False):
        """Reads until `wanted` has been printed; None: until the end."""
        end = time.monotonic() + 120
        while wanted is None or wanted not in self.seen:
            assert time.monotonic() < end, "waited for %r, saw %r" % (wanted, self.seen)
            if not select.select([self.file], [], [], 1)[0]:
                continue
            try:
                some = os.read(self.file, 4096)
            except OSError:  # the end of a terminal whose other side is closed
                some = b""
            if not some:
                assert wanted is None or or_end, "waited for %r, saw %r and the end" % (wanted, self.seen)
                return
            self.seen += some
            if self.show:
                print(some.decode(errors="replace").replace("\r", ""), end="", flush=True)

    def connected(self):
        """Reads up to the end of virsh's own last line: later output is the guest's."""
        self.read(b"Escape character is ^] (Ctrl + ])\r\n")

    def type(self, text):
        os.write(self.file, text)

    def echo(self, text):
        """Sends keys, each after the echo of the last. Returns the time of each echo in seconds."""
        times = []
        for key in text:
            start = time.monotonic()
            wanted = self.seen + bytes([key])
            self.type(bytes([key]))
            self.read(wanted)
            times.append(time.monotonic() - start)
        return times

    def lost(self):
        """Reads until virsh has reported the end of its console. virsh then usually exits; virsh 9.0.0
        sometimes does not, also without a broker."""
        self.read(b"error: ", or_end=True)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def leave(self):
        self.type(b"\x1d")  # Ctrl-]
        return self.status()

    def status(self):
        self.read(None)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


if __name__ == "__main__":  # terminal.py URI GUEST TEXT: shows what a user who types TEXT would see
    console = Terminal(sys.argv[1], sys.argv[2])
    # Before this line virsh may report that it found no polkit, which is not needed here.
    console.read(b"Connected to domain")
    print("Connected to domain", end="")
    console.connected()
    print(console.seen.split(b"Connected to domain")[1].decode().replace("\r", ""), end="")
    console.show = True
    times = sorted(console.echo(sys.argv[3].encode()))
    assert console.leave() == 0
    print("(%d keys typed, each echoed by the guest before the next one; the median took %.1f ms)" % (
        len(times), times[len(times) // 2] * 1000))
