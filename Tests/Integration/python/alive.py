"""alive.py PID URI...: connections whose daemon is killed. The library reports each as dead and calls the close
callback once, and virsh reports that it is disconnected."""
import signal
import subprocess
import time

from client import *

LIMIT = 20

pid, uris = int(sys.argv[1]), sys.argv[2:]
libvirt.virEventRegisterDefaultImpl()


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=run_events, daemon=True).start()


class Watched:
    """A connection that expects events, one with a close callback, and a virsh shell."""

    def __init__(self, uri):
        self.uri = uri
        self.reasons = []
        self.plain = connect(uri)
        self.plain.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG, lambda *arguments: None, None)
        self.told = connect(uri)
        self.told.registerCloseCallback(lambda connection, reason, data: self.reasons.append(reason), None)
        self.virsh = subprocess.Popen(
            ["virsh", "-q", "-c", uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True)
        self.ask("echo ready", "ready")

    def ask(self, command, answer):
        self.virsh.stdin.write(command + "\n")
        self.virsh.stdin.flush()
        self.hear(answer)

    def hear(self, words):
        heard = []
        while True:
            line = self.virsh.stdout.readline()
            assert line, "virsh ended; it said: %s" % heard
            heard.append(line)
            if words in line:
                return

    def is_over(self):
        return not self.plain.isAlive() and not self.told.isAlive() and bool(self.reasons)

    def check(self):
        end = time.monotonic() + LIMIT
        while not self.is_over() and time.monotonic() < end:
            time.sleep(0.02)
        assert self.is_over(), "%s: alive %d and %d, reasons %s" % (
            self.uri, self.plain.isAlive(), self.told.isAlive(), self.reasons)
        Thread(self.hear, "Disconnected from").join(LIMIT)
        fails(libvirt.VIR_ERR_INTERNAL_ERROR, self.plain.listAllDomains)
        # A second call of the callback would have come by the end of the connection.
        assert self.reasons == [libvirt.VIR_CONNECT_CLOSE_REASON_EOF], "%s: %s" % (self.uri, self.reasons)
        self.virsh.kill()
        self.virsh.wait()


watched = [Watched(uri) for uri in uris]
for one in watched:
    assert one.plain.isAlive() and one.told.isAlive() and not one.reasons
os.kill(pid, signal.SIGKILL)
for one in watched:
    one.check()
print("%d dead" % len(watched))
