# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 between every two netlink messages of a change of some 200 commands.

killshim.so, preloaded, ends vipd after the N-th message, also in the middle of a batch. The table goes to
and fro between two documents: each change is cut short after N messages, looked at, and then completed by a
vipd that starts anew. A few N are tried by default, every one with VIPD_CRASH=all; VIPD_CRASH=K: every K-th."""
import json
import os
import re
import subprocess
import time

import pytest
from cluster import BUILD, HELLOWORLD, REPO, endpoint, has_iptables, wait_until
from paper import Backend, Paper, kernel_lines

SHIM = BUILD / "tests" / "kernel" / "killshim.so"
SAMPLES = 12
# Where the host's own daemons listen, on all addresses: on the VIPs' ports, and sshd's.
PORTS = (22, 53, 80, 81)
HELD = "1.2.4.1"
A, B = "10.0.0.12", "10.0.0.13"


def first_table(p):
    """What both have: a VIP with connections, one of whose backends becomes unhealthy, and addresses that
    stay while their ports change. Backends but the first two are of paper: nothing listens there."""
    p.apps.clear()
    p.set_app("/held", {"VIP_0": f"{HELD}:5000"}, [Backend(A, 5000), Backend(B, 5000)])
    for i in range(12):
        p.set_app(f"/old{i}", {"VIP_0": f"1.2.1.{i}:80"}, [Backend(A, 31000 + 3 * i + k) for k in range(3)])
    p.set_app("/old-udp", {"VIP_0": "1.2.1.1:53"}, [Backend(A, 32000)], "udp")
    p.set_app("/old-name", {"VIP_0": "/old:80"}, [Backend(A, 32001)])
    p.set_app("/old-six", {"VIP_0": "[fd01:d::1]:80"}, [Backend(A, 32002, address6="fd00:aa::12")])
    for i in range(6):
        p.set_app(f"/port{i}", {"VIP_0": f"1.2.3.{i}:80"}, [Backend(A, 33000 + k) for k in range(2)])
        p.set_app(f"/stay{i}", {"VIP_0": f"1.2.3.{i}:22"}, [Backend(A, 33100)])
        p.set_app(f"/change{i}", {"VIP_0": f"1.2.4.{i + 2}:80"}, [Backend(A, 34000 + k, healthy=k % 2 == 0) for k in range(4)])
    p.set_app("/six", {"VIP_0": "[fd01:d::3]:80"}, [Backend(A, 34100, address6="fd00:aa::12")])


def second_table(p):
    first_table(p)
    p.set_app("/held", {"VIP_0": f"{HELD}:5000"}, [Backend(A, 5000), Backend(B, 5000, healthy=False)])
    for name in [n for n in p.apps if n.startswith("/old")]:
        p.remove_app(name)
    for i in range(12):
        p.set_app(f"/new{i}", {"VIP_0": f"1.2.2.{i}:80"}, [Backend(B, 31000 + 3 * i + k) for k in range(3)])
    p.set_app("/new-udp", {"VIP_0": "1.2.2.1:53"}, [Backend(B, 32000)], "udp")
    p.set_app("/new-name", {"VIP_0": "/new:80"}, [Backend(B, 32001)])
    p.set_app("/new-six", {"VIP_0": "[fd01:d::2]:80"}, [Backend(B, 32002, address6="fd00:aa::13")])
    for i in range(6):
        p.set_app(f"/port{i}", {"VIP_0": f"1.2.3.{i}:81"}, [Backend(B, 33000 + k) for k in range(2)])
        p.set_app(f"/change{i}", {"VIP_0": f"1.2.4.{i + 2}:80"}, [Backend(B, 34000 + k, healthy=k % 2 == 1) for k in range(4)]
                  + [Backend(A, 34000, healthy=False)])
    p.set_app("/six", {"VIP_0": "[fd01:d::3]:80"}, [Backend(A, 34100, address6="fd00:aa::12"),
                                                    Backend(B, 34100, address6="fd00:aa::13")])


class Probe:
    """tests/lib/probe.py in a node's namespace."""

    def __init__(self, node):
        self.process = node.spawn("probe", ["sleep", "0"])  # for the list of what to end
        self.popen = subprocess.Popen(
            node._enter(["/usr/bin/python3", REPO / "tests" / "lib" / "probe.py", *PORTS]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert json.loads(self.popen.stdout.readline()) == "ready"

    def ask(self, targets):
        self.popen.stdin.write(" ".join(f"{a} {p}" for a, p in targets) + "\n")
        self.popen.stdin.flush()
        return dict(zip(targets, json.loads(self.popen.stdout.readline())))

    def close(self):
        self.popen.kill()
        self.popen.wait()


class Crashes:
    def __init__(self, cluster):
        self.node = cluster.nodes[0]
        self.paper = Paper(cluster.dir / "tasks.json")
        self.count = cluster.dir / "count"
        # No draining: what goes, goes with this change, so that it can be counted.
        self.options = {"masters": None, "source": self.paper.source, "drain_timeout": "0s",
                        "node_address": self.node.address}
        for backend, address in zip(cluster.nodes[1:], (A, B)):
            assert backend.address == address
            backend.spawn(f"backend-{backend.name}", [HELLOWORLD, "-listen", ":5000", "-host", address,
                                                      "-say-string", "held"])
        # Where a VIP is not local its packets end here at once, instead of in search of a router.
        self.node.run("ip route add unreachable 1.2.0.0/16; ip route add unreachable 11.0.0.0/8; "
                      "ip -6 route add unreachable fd01::/16")
        self.probe = Probe(self.node)
        first_table(self.paper)
        both = set(self.paper.vips())
        self.first = both
        second_table(self.paper)
        self.second = set(self.paper.vips())
        self.all_vips = both | self.second

    def close(self):
        self.probe.close()
        self.node.run("ip route del unreachable 1.2.0.0/16; ip route del unreachable 11.0.0.0/8; "
                      "ip -6 route del unreachable fd01::/16", check=False)

    def set_table(self, which):
        (second_table if which else first_table)(self.paper)
        self.paper.write()

    def converge(self):
        """A vipd that starts on whatever is there. Returns how many commands it sent."""
        self.node.start_vipd(**self.options)
        wait_until(lambda: (s := self.node.status()["kernel"])["in_sync"] and not s["pending_steps"], "in step")
        steps = self.node.status()["kernel"]["steps"]
        self.assert_empty_diff()
        self.node.kill_vipd()
        return steps

    def assert_empty_diff(self):
        assert self.node.api("/v1/diff") == []

    def run_until_killed(self, n):
        """Starts vipd, which dies after n messages. False: the change has no more than n."""
        command = self.node.vipd_command(**self.options)
        process = self.node.spawn("vipd-killed", [
            "env", f"LD_PRELOAD={SHIM}", f"KILLSHIM_COUNT={self.count}"] +
            ([f"KILLSHIM_AFTER={n}"] if n is not None else []) + command)
        self.node.vipd = process
        try:
            if n is not None:
                return process.popen.wait(20) == -9
            wait_until(lambda: self.node._vipd_answers() and self.node.status()["kernel"]["in_sync"], "in step")
        finally:
            process.kill()
            self.node.vipd = None
        return False

    def missing(self, lines):
        """How many commands the change that is left must take at least."""
        return minimal_commands(self.paper.expected(self.node), lines)

    def assert_safe(self, n, lines):
        """No VIP is half there: what is local is complete, and no daemon of the host answers for it."""
        local = {l.split()[1] for l in lines["route"] + lines["route6"] if l.startswith("local ")}
        complete = {plain_key(l) for l in lines["ipvs"] if l.startswith("-a ")}
        entries = {set_key(l) for l in lines["set"] if re.match(r"add vipd6? ", l)}
        for protocol, address, port in entries:
            if address in local:
                assert f"-{protocol[0]} {endpoint(address, port)}" in complete, \
                    f"after {n} messages: {protocol} {address}:{port} is in the set and local, and has no destination"
        # Without the reject rule a port without a VIP is the host's, on an address that has another VIP.
        targets = sorted({(a, p) for t, a, p in self.all_vips if t == "tcp" and a != HELD and (
            has_iptables() or (t, a, p) in entries or a not in local)})
        if has_iptables():
            targets += [(a, 22) for a in sorted(local)]
        met = self.probe.ask(targets)
        host = {t for t, what in met.items() if what.startswith("HOST")}
        assert not host, f"after {n} messages: the host's own daemon answers at {host}"


def set_key(line):
    m = re.fullmatch(r"add vipd6? (\S+),(tcp|udp):(\d+)", line)
    return m[2], m[1], int(m[3])


def plain_key(line):
    """"-t 1.2.3.4:80" of a line of ipvsadm -S."""
    return " ".join(line.split()[1:3])


def minimal_commands(want, have):
    n = 0
    for what in ("set", "route", "route6"):
        n += len(set(want[what]) ^ set(have[what]))
    services = [{plain_key(l) for l in lines["ipvs"] if l.startswith("-A ")} for lines in (want, have)]
    n += len(services[0] ^ services[1])
    # Each destination in one command, also if only its weight differs; a service takes its own along.
    places = [{(plain_key(l), l.split()[4]): l for l in lines["ipvs"] if l.startswith("-a ")} for lines in (want, have)]
    for key in set(places[0]) | set(places[1]):
        if key[0] in services[0] and places[0].get(key) != places[1].get(key):
            n += 1
    return n


def samples(n_messages, rng):
    how = os.environ.get("VIPD_CRASH", "")
    if how == "all":
        return range(n_messages)
    if how:
        return range(rng.randrange(int(how)), n_messages, int(how))
    # Debian's kernel in QEMU is ten times slower, and there it is about the rules.
    return sorted(rng.sample(range(n_messages), 1 if has_iptables() else SAMPLES // 2))


@pytest.mark.cluster(nodes=3)
def test_kill_9_between_two_netlink_messages(cluster, rng):
    crashes = Crashes(cluster)
    node = crashes.node
    try:
        crashes.set_table(0)
        crashes.converge()
        load = node.load(f"{HELD}:5000", connections=10, streams=10, rate=50)
        wait_until(lambda: sum(node.connections(f"tcp {HELD}:5000").values()) == 20, "the connections are made")
        n_messages, n_commands = [], []
        for which in (1, 0):
            # Once each way without a crash: what it takes.
            crashes.set_table(which)
            n_commands.append(crashes.missing(kernel_lines(node)))
            crashes.run_until_killed(None)
            n_messages.append(int(crashes.count.read_text()))
            assert crashes.converge() == 0, "a start with everything in place writes nothing"
        n_crashes = 0
        began = time.monotonic()
        which = 0
        for n in samples(min(n_messages), rng):
            for _ in range(2):
                which = 1 - which
                crashes.set_table(which)
                assert crashes.run_until_killed(n), f"it dies after {n} messages"
                n_crashes += 1
                lines = kernel_lines(node)
                crashes.assert_safe(n, lines)
                missing = crashes.missing(lines)
                assert crashes.converge() == missing, f"after {n} messages: no redundant command"
                assert crashes.paper.differs(node) == []
        report = load.stop()
        assert report["failures"]["total"] == 0 and report["streams"]["open"] == 10, report
        assert report["requests"]["answered"] > 20
        print(f"\n{n_crashes} crashes within changes of {n_commands} commands in {n_messages} messages, "
              f"{time.monotonic() - began:.0f} s")
    finally:
        crashes.close()
