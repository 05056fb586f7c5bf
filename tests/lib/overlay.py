# SPDX-License-Identifier: GPL-2.0-or-later
"""Many vipds in network namespaces of this kernel, for what the overlay does. It needs no IPVS: each vipd
runs with `kernel = none`, and its log says when it would have taken which step.

    with Overlay(16) as o:
        o.start()
        o.wait_all_up()
        when = o.cut(o.nodes[3])
        o.wait_weight(o.nodes[3], 0)          # {node: seconds since when}

Each node has one task behind a VIP, so what became of a node is the weight of its backend. All clocks are
the one monotonic clock of this machine. Nothing here knows pytest.
"""
import collections
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster import (REPO, VIPCTL, VIPD, Failure, UnixConnection, endpoint, ip,  # noqa: E402, F401
                     wait_until)

PORT = 61420
BACKEND_PORT = 8080
OBSERVED = re.compile(r"observed at (\d+\.\d+): (.*)")
NEIGHBOURS_MIN = 8192

# Sets ports up and down, and answers with the time just before.
HAND = """
import fcntl, socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def flags(name, request, value=0):
    return struct.unpack("16sh", fcntl.ioctl(s, request, struct.pack("16sh14x", name.encode(), value))[:18])[1]
for line in sys.stdin:
    what, *ports = line.split()
    now = time.monotonic()
    for p in ports:
        old = flags(p, 0x8913)
        flags(p, 0x8914, old | 1 if what == "up" else old & ~1)
    print(now, flush=True)
"""


def raise_neighbour_limits():
    """More than some sixty namespaces on one bridge overflow the kernel's table of neighbours, which all
    share. Raised only; the limits are the first namespace's."""
    for family in ("ipv4", "ipv6"):
        for n, factor in ((3, 4), (2, 2), (1, 1)):
            path = pathlib.Path(f"/proc/sys/net/{family}/neigh/default/gc_thresh{n}")
            with contextlib.suppress(OSError):
                if int(path.read_text()) < factor * NEIGHBOURS_MIN:
                    path.write_text(str(factor * NEIGHBOURS_MIN))


class OverlayNode:
    def __init__(self, overlay, number):
        self.overlay = overlay
        self.number = number
        self.name = f"n{number}"
        self.netns = f"{overlay.prefix}{self.name}"
        self.address = overlay.address(number)
        self.dir = overlay.dir / self.name
        self.dir.mkdir()
        self.socket = self.dir / "sock"
        self.log = self.dir / "log"
        self.process = None
        self._log_at = 0
        self._steps = []
        self._rest = ""

    def __repr__(self):
        return self.name

    # The process

    def start(self, **options):
        o = self.overlay
        settings = {"source": f"file:{o.document}", "kernel": "none", "node_address": self.address,
                    "ipv6": "no", "socket": self.socket, "state_dir": self.dir, "key_file": o.key_file,
                    "contacts": ",".join(n.address for n in o.nodes[:3]), **o.options, **options}
        command = [str(VIPD), "--config", "/dev/null"] + [
            f"--{k.replace('_', '-')}={v}" for k, v in settings.items() if v is not None]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.netns}"] + command, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        if self.process is None:
            return
        if self.running:
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"vipd on {self.name} did not end by signal {number}") from None
        self.process = None

    def run(self, command, **more):
        return subprocess.run(["nsenter", f"--net=/run/netns/{self.netns}"]
                              + (["sh", "-c", command] if isinstance(command, str) else command),
                              text=True, check=True, capture_output=True, **more)

    def rss(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024

    def cpu(self):
        """Seconds of processor time that it has used."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # What it says

    def get(self, path):
        connection = UnixConnection(str(self.socket), timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return json.loads(answer.read()) if answer.status == 200 else None
        finally:
            connection.close()

    def ask(self, path):
        """The same, or None while it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            return self.get(path)

    def events(self):
        """All that is kept of what happened there, oldest first."""
        connection = UnixConnection(str(self.socket), timeout=20)
        try:
            connection.request("GET", "/v1/events?since=0")
            return [json.loads(line) for line in connection.getresponse().read().splitlines()]
        finally:
            connection.close()

    def members(self):
        """{address: status} as this node sees them."""
        return {m["address"]: m["status"] for m in self.ask("/v1/nodes") or []}

    def links(self):
        return self.get("/v1/links")

    def weights(self):
        """{address of a node: weight of its backend here}; one that was removed is not in it."""
        [vip] = self.ask("/v1/table") or [{"backends": []}]
        return {b["address"]: b["kernel_weight"] for b in vip["backends"] if b["in_kernel"]}

    def steps(self):
        """[(time, text)]: all steps that it has taken since its first start."""
        with open(self.log, "rb") as f:
            f.seek(self._log_at)
            data = f.read()
        self._log_at += len(data)
        lines = (self._rest + data.decode(errors="replace")).split("\n")
        self._rest = lines.pop()
        for line in lines:
            m = OBSERVED.search(line)
            if m:
                self._steps.append((float(m[1]), m[2]))
        return self._steps

    def steps_about(self, node, since):
        """Its steps about the other's backend since then."""
        needle = endpoint(node.address, BACKEND_PORT)
        return [(t, text) for t, text in self.steps() if t >= since and needle in text]


class Overlay:
    _numbers = itertools.count(1)

    def __init__(self, n, **options):
        self.n = n
        self.options = options
        self.prefix = f"o{os.getpid() % 1000}x{next(self._numbers)}-"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="vipd-overlay-"))
        self.document = self.dir / "state.json"
        self.key_file = self.dir / "key"
        self.nodes = []
        self.vip = "9.9.9.9:80"
        self.hand = None

    @staticmethod
    def address(number):
        return f"10.9.{number // 250}.{number % 250 + 1}"

    def __enter__(self):
        try:
            self.write_keys([self.new_key()])
            self.nodes = [OverlayNode(self, i) for i in range(self.n)]
            self.write_document()
            self._build_network()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    # What it is made of

    @staticmethod
    def new_key():
        return subprocess.run([VIPCTL, "keygen"], text=True, check=True, capture_output=True).stdout.strip()

    def write_keys(self, keys, path=None):
        path = pathlib.Path(path or self.key_file)
        path.touch(mode=0o600)
        path.write_text("\n".join(keys) + "\n")
        return path

    def write_document(self, more_tasks=()):
        """One task on each node, all behind one VIP."""
        tasks = [{"id": f"t{n.number}", "name": f"t{n.number}", "framework_id": "f", "slave_id": f"s{n.number}",
                  "state": "TASK_RUNNING", "resources": {"ports": f"[{BACKEND_PORT}-{BACKEND_PORT}]"},
                  "discovery": {"ports": {"ports": [{
                      "number": BACKEND_PORT, "protocol": "tcp",
                      "labels": {"labels": [{"key": "VIP_0", "value": self.vip},
                                            {"key": "network-scope", "value": "host"}]}}]}},
                  "statuses": [{"state": "TASK_RUNNING", "timestamp": 1.0, "container_status": {
                      "network_infos": [{"ip_addresses": [{"ip_address": n.address}]}]}}]}
                 for n in self.nodes]
        document = {"frameworks": [{"id": "f", "name": "marathon", "tasks": tasks + list(more_tasks)}],
                    "slaves": [{"id": f"s{n.number}", "hostname": n.address,
                                "pid": f"slave(1)@{n.address}:5051"} for n in self.nodes]}
        new = self.document.with_suffix(".new")
        new.write_text(json.dumps(document))
        new.rename(self.document)

    def _build_network(self):
        raise_neighbour_limits()
        self.switch = f"{self.prefix}sw"
        ip([f"netns add {self.switch}"] + [f"netns add {n.netns}" for n in self.nodes])
        links = ["link set lo up", "link add br0 type bridge forward_delay 0", "link set br0 up"]
        for n in self.nodes:
            links += [f"link add p{n.number} type veth peer name eth0 netns {n.netns}",
                      f"link set p{n.number} master br0 up"]
        ip(links, self.switch)
        for n in self.nodes:
            self.address_node(n)
        self.hand = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.switch}", "/usr/bin/python3", "-c", HAND], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def address_node(self, n):
        ip(["link set lo up", "link set eth0 up", f"addr add {n.address}/16 dev eth0"], n.netns)

    def close(self):
        for n in self.nodes:
            if n.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(n.process.pid, signal.SIGKILL)
                n.process.wait()
                n.process = None
        if self.hand:
            self.hand.stdin.close()
            self.hand.wait()
        existing = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
        names = [n.netns for n in self.nodes] + [f"{self.prefix}sw"]
        ip([f"netns del {n}" for n in names if n in existing])
        shutil.rmtree(self.dir, ignore_errors=True)

    # All nodes

    def start(self, nodes=None, **options):
        for n in nodes or self.nodes:
            n.start(**options)

    def up(self, nodes=None, **options):
        """Starts them, and waits until all see all."""
        self.start(nodes, **options)
        self.wait_all_up(nodes)

    def each(self, what, nodes=None):
        """{node: what(node)}, asked of several at a time."""
        nodes = list(self.nodes if nodes is None else nodes)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return dict(zip(nodes, pool.map(what, nodes)))

    def others(self, *nodes):
        return [n for n in self.nodes if n not in nodes]

    def wait_all_up(self, nodes=None, timeout=60, sees=None):
        """Waits until each of these sees all of them (or `sees`) up, and has their backends."""
        nodes = list(nodes or self.nodes)
        wanted = {n.address for n in sees or nodes}

        def node_ready(n):
            members = n.members()
            missing = wanted - {a for a, status in members.items() if status == "up"}
            assert not missing, f"{n} does not see {len(missing)} of {len(wanted)} up"
            weights = n.weights()
            wrong = {a for a in wanted if weights.get(a) != 1}
            assert not wrong, f"{n} has not the backends of {sorted(wrong)[:5]} ({len(wrong)})"
            return True
        for n in nodes:
            wait_until(lambda n=n: node_ready(n), f"all see all ({n})", timeout, 0.1)

    def wait_settled(self, nodes=None, quiet=5, timeout=120):
        """Waits until all of these have had one and the same table for `quiet` seconds: who has too many
        neighbours looks at that every 4 s at the latest, so after 5 s nothing is left to be done."""
        nodes = list(nodes or self.nodes)
        deadline, last, since = time.monotonic() + timeout, None, 0
        while last is None or time.monotonic() < since + quiet:
            digests = set(self.each(lambda n: n.links()["gossip"]["digest"], nodes).values())
            if digests != last or len(digests) > 1:
                last, since = digests, time.monotonic()
            if time.monotonic() > deadline:
                raise Failure(f"the overlay does not settle: {len(digests)} tables among {len(nodes)} nodes")
            time.sleep(0.3)
        return since

    def first_out(self, lost, since, nodes=None, timeout=10, removed=False):
        """{survivor: seconds from `since` to its kernel's weight 0 (or, removed, to the removal)} of the
        lost node's backend; those to whom nothing happened in time are missing."""
        nodes = list(nodes or self.others(lost))
        found, deadline = {}, time.monotonic() + timeout
        while len(found) < len(nodes) and time.monotonic() < deadline:
            for n in nodes:
                if n in found:
                    continue
                for t, text in n.steps_about(lost, since):
                    if is_removal(text) or (not removed and is_weight_zero(text)):
                        found[n] = t - since
                        break
            time.sleep(0.05)
        return found

    def disturbed(self, since, about=None, nodes=None):
        """[(observer, time, step)] of all steps since then that take weight from a backend of `about`."""
        return [(n, t, text) for n in nodes or self.nodes for t, text in n.steps()
                if t >= since and (is_removal(text) or is_weight_zero(text))
                and any(f"-> {endpoint(a.address, BACKEND_PORT)}" in f"{text} " for a in about or self.nodes)]

    # Faults. Each returns the moment just before it.

    def cut(self, *nodes):
        return self._ports("down", nodes)

    def mend(self, *nodes):
        return self._ports("up", nodes)

    def _ports(self, what, nodes):
        """Done by a process that waits for it, for on a busy machine the start of one takes longer than what
        is to be measured."""
        self.hand.stdin.write(" ".join([what] + [f"p{n.number}" for n in nodes]) + "\n")
        self.hand.stdin.flush()
        return float(self.hand.stdout.readline())

    def drop(self, *matches):
        """The switch drops what any of these matches of nft names; until heal()."""
        when = time.monotonic()
        self.nft("add table bridge cut\nadd chain bridge cut forward { type filter hook forward priority 0; }\n"
                 + "".join(f"add rule bridge cut forward {m} drop\n" for m in matches))
        return when

    def blackhole(self, *nodes):
        """Drops all that goes to and from these nodes, while their links stay up: no one is told."""
        return self.drop(*(f"{way} p{n.number}" for n in nodes for way in ("iifname", "oifname")))

    def partition(self, side, other):
        """Nothing passes between the two lists of nodes."""
        a = ", ".join(f'"p{n.number}"' for n in side)
        b = ", ".join(f'"p{n.number}"' for n in other)
        return self.drop(f"iifname {{ {a} }} oifname {{ {b} }}", f"iifname {{ {b} }} oifname {{ {a} }}")

    def lose(self, percent):
        """Each packet between any two nodes is lost with this chance."""
        self.drop(f"numgen random mod 100 < {percent}")

    def heal(self):
        when = time.monotonic()
        self.nft("delete table bridge cut\n")
        return when

    def nft(self, script):
        subprocess.run(["nsenter", f"--net=/run/netns/{self.switch}", "nft", "-f", "-"], input=script,
                       text=True, check=True, capture_output=True)

    def delete_namespace(self, node):
        """Takes the node's namespace away, its vipd with it: how a host's death looks to others."""
        when = self.cut(node)  # first, so that no reset of the dying process gets out
        ip([f"link del p{node.number}"], self.switch)
        node.stop(signal.SIGKILL)
        ip([f"netns del {node.netns}"])
        return when

    def recreate_namespace(self, node):
        ip([f"netns add {node.netns}"])
        ip([f"link add p{node.number} type veth peer name eth0 netns {node.netns}",
            f"link set p{node.number} master br0 up"], self.switch)
        self.address_node(node)

    # Figures

    def traffic(self, nodes=None):
        """Bytes that each node's interface has sent, with all heads."""
        return self.each(lambda n: json.loads(
            n.run("ip -j -s link show eth0").stdout)[0]["stats64"]["tx"]["bytes"], nodes)

    def logs(self, lines=15):
        return "\n".join(f"--- {n}\n" + "\n".join(n.log.read_text(errors="replace").splitlines()[-lines:])
                         for n in self.nodes if n.log.exists())


def is_weight_zero(text):
    return bool(re.search(r"\bweight 0\b", text))


def is_removal(text):
    return text.startswith("destination del")


def quantiles(values):
    """(median, p99, worst) of a list of seconds."""
    v = sorted(values)
    if not v:
        return (float("nan"),) * 3
    return v[len(v) // 2], v[min(len(v) - 1, int(len(v) * 0.99))], v[-1]


def count_statuses(members):
    return collections.Counter(members.values())
