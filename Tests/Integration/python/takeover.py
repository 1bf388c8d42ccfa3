"""takeover.py URI GUEST: a second virsh is refused a console in use, and a third takes it over."""
import sys

from terminal import Terminal

uri, guest = sys.argv[1:]

first = Terminal(uri, guest, "--force")
first.connected()
first.echo(b"first was here")

second = Terminal(uri, guest)
assert second.status() == 1, second.seen
assert b"Active console session exists for this domain" in second.seen, second.seen

third = Terminal(uri, guest, "--force")
third.connected()
first.lost()
third.echo(b"third is here")
assert third.leave() == 0, third.seen
