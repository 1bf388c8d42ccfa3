"""missed.py LAB DIRECTORY ROUNDS URI...: guests, networks, pools and secrets change while their daemon lives, while it is
away, and at the moment when it is back. Clients that have registered for the life cycles, and never look again, end up
with the right states after each round."""
import random
import shutil
import signal
import subprocess
import time

from client import *

lab, directory, rounds, uris = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
draw = random.Random(int(os.environ.get("VIRTBROKER_FAULT_SEED", "1")))
config = directory + "/d/libvirtd/etc/qemu"
names = ["missed%d-%d" % (number, os.getpid()) for number in range(4)]
libvirt.virEventRegisterDefaultImpl()


def run_events():
    while True:
        libvirt.virEventRunDefaultImpl()


threading.Thread(target=run_events, daemon=True).start()


def domain(name):
    return """<domain type='qemu'><name>%s</name><memory unit='MiB'>16</memory>
        <os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
        <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>""" % name


def network(name):
    return "<network><name>%s</name></network>" % name


def pool(name):
    os.makedirs("%s/pools/%s" % (directory, name), exist_ok=True)
    return "<pool type='dir'><name>%s</name><target><path>%s/pools/%s</path></target></pool>" % (name, directory, name)


def name_of(changed):
    return changed.UUIDString() if isinstance(changed, libvirt.virSecret) else changed.name()


class Watcher:
    """What a client concludes from its events alone, from one look on."""

    def __init__(self, uri):
        self.uri = uri
        self.connection = connection = connect(uri)
        # Per kind: names, with what is known of each.
        self.known = {"domain": {}, "network": {}, "pool": {}, "secret": set()}
        self.wrong = []
        self.heard = []
        self.ids = {}
        self.registered = [
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self.domain, None),
            connection.networkEventRegisterAny(
                None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, self.change("network", 2, 3), None),
            connection.storagePoolEventRegisterAny(
                None, libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, self.change("pool", 2, 3), None),
            connection.secretEventRegisterAny(None, libvirt.VIR_SECRET_EVENT_ID_LIFECYCLE, self.secret, None),
        ]
        self.known = actual(connection)

    def domain(self, connection, domain, event, detail, data):
        if domain.name() not in names:
            return
        self.heard.append((domain.name(), event, detail, domain.ID()))
        known = self.known["domain"]
        state = known.setdefault(domain.name(), set())
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
            self.expect(domain, event, "active" in state)
            state.add("paused")
        elif event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
            state.discard("paused")
        else:
            # A client that looks while a guest starts finds it running and paused, and hears that it starts then.
            is_start_of_known = event == libvirt.VIR_DOMAIN_EVENT_STARTED and self.ids.get(domain.name()) == domain.ID()
            if is_start_of_known:
                state.discard("active")
            self.note(domain, known, event, libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STOPPED)
        self.ids[domain.name()] = domain.ID()
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            state.discard("paused")
        if not state:
            known.pop(domain.name(), None)

    def change(self, kind, started, stopped):
        def told(connection, changed, event, detail, data):
            self.note(changed, self.known[kind], event, started, stopped)
        return told

    def note(self, changed, known, event, started, stopped):
        if changed.name() not in names:
            return
        state = known.setdefault(changed.name(), set())
        if event == 0:
            state.add("persistent")
        elif event == 1:
            self.expect(changed, event, "persistent" in state)
            state.discard("persistent")
        elif event == started:
            self.expect(changed, event, "active" not in state)
            state.add("active")
        elif event == stopped:
            self.expect(changed, event, "active" in state)
            state.discard("active")
        if not state:
            del known[changed.name()]

    def secret(self, connection, secret, event, detail, data):
        if event == 0:
            self.known["secret"].add(secret.UUIDString())
        else:
            self.expect(secret, event, secret.UUIDString() in self.known["secret"])
            self.known["secret"].discard(secret.UUIDString())

    def expect(self, changed, event, is_possible):
        """An event that a live daemon could not have sent in this state."""
        if not is_possible:
            self.wrong.append("event %d of %s behind %s" % (event, name_of(changed), self.heard[-8:]))


def actual(connection):
    """What is so. Objects of other tests are left out."""
    def state(found):
        return {name for name, is_set in (("active", found.isActive()), ("persistent", found.isPersistent())) if is_set}

    domains = {found.name(): state(found) for found in connection.listAllDomains() if found.name() in names}
    for found in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED):
        if found.name() in domains:
            domains[found.name()].add("paused")
    return {
        "domain": domains,
        "network": {found.name(): state(found) for found in connection.listAllNetworks() if found.name() in names},
        "pool": {found.name(): state(found) for found in connection.listAllStoragePools() if found.name() in names},
        "secret": {found.UUIDString() for found in connection.listAllSecrets()},
    }


def change(connection):
    """Something happens, through the daemon."""
    name = draw.choice(names)
    what = draw.choice(["domain"] * 5 + ["network", "pool", "secret"])
    try:
        if what == "secret":
            secrets = connection.listAllSecrets()
            if secrets and draw.random() < 0.5:
                secrets[0].undefine()
            else:
                connection.secretDefineXML("<secret ephemeral='no'><description>%s</description></secret>" % name)
            return
        find, define, create, text = {
            "domain": (connection.lookupByName, connection.defineXML, connection.createXML, domain(name)),
            "network": (connection.networkLookupByName, connection.networkDefineXML, connection.networkCreateXML,
                        network(name)),
            "pool": (connection.storagePoolLookupByName, connection.storagePoolDefineXML,
                     connection.storagePoolCreateXML, pool(name)),
        }[what]
        try:
            found = find(name)
        except libvirt.libvirtError:
            return draw.choice([define, define, create])(text)
        if not found.isActive():
            return draw.choice([found.create, found.create, found.undefine])()
        actions = [found.destroy, found.destroy]
        if what == "domain":
            actions += [found.suspend, found.resume, found.undefine, lambda: define(text)]
        return draw.choice(actions)()
    except libvirt.libvirtError:
        # Refused in this state, as a second resume.
        pass


def change_without_daemon():
    """Something happens that only the next daemon sees: guests die, definitions come and go."""
    for name in names:
        if draw.random() < 0.4:
            subprocess.run(["pkill", "-KILL", "-f", "guest=%s," % name])
        for place in ("%s/%s.xml" % (config, name), "%s/networks/%s.xml" % (config, name)):
            kept = place + ".kept"
            if os.path.exists(place) and draw.random() < 0.3:
                shutil.move(place, kept)
            elif os.path.exists(kept) and not os.path.exists(place) and draw.random() < 0.5:
                shutil.move(kept, place)


def restart():
    pid = int(subprocess.check_output([lab, "pid", directory, "libvirtd"]))
    os.kill(pid, signal.SIGKILL)
    while os.path.exists("/proc/%d" % pid) and "Z" not in open("/proc/%d/stat" % pid).read().split(")")[1][:3]:
        time.sleep(0.005)
    change_without_daemon()
    start = subprocess.Popen([lab, "start", directory, "libvirtd", "keep"])
    # The first clients of the new daemon change things at once, beside the broker.
    while start.poll() is None:
        try:
            direct = connect(direct_uri)
            break
        except libvirt.libvirtError:
            time.sleep(0.005)
    else:
        direct = connect(direct_uri)
    for _ in range(draw.randint(0, 3)):
        change(direct)
    assert start.wait() == 0
    direct.close()


direct_uri = "qemu+unix:///system?socket=%s/sock/libvirt-sock" % directory
direct = connect(direct_uri)
for _ in range(10):
    change(direct)
watchers = [Watcher(uri) for uri in uris]
for round in range(rounds):
    for _ in range(draw.randint(0, 6)):
        change(direct)
    direct.close()
    restart()
    direct = connect(direct_uri)
    for _ in range(draw.randint(0, 2)):
        change(direct)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        so = actual(direct)
        if all(watcher.known == so for watcher in watchers):
            break
        time.sleep(0.02)
    for watcher in watchers:
        assert watcher.connection.isAlive(), "%s: closed in round %d" % (watcher.uri, round)
        assert watcher.known == so, "%s, round %d: it knows %s, and so is %s" % (watcher.uri, round, watcher.known, so)
        assert not watcher.wrong, "%s, round %d: %s" % (watcher.uri, round, watcher.wrong)
for watcher in watchers:
    for end, callback in zip(("domain", "network", "storagePool", "secret"), watcher.registered):
        getattr(watcher.connection, end + "EventDeregisterAny")(callback)
    watcher.connection.close()
for name in names:
    subprocess.run(["pkill", "-KILL", "-f", "guest=%s," % name])
print("%d rounds" % rounds)
