# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole cluster on one machine, of real processes in network namespaces.

    with Cluster(nodes=3) as c:
        c.start_vipds()
        c.deploy("/web", {"VIP_0": "/web:80"}, instances=3)
        c.wait_in_step()
        c.nodes[0].ask("11.1.2.3:80")

A bridge stands in a namespace of its own; each node is another one with a veth pair to it, the master's
(10.0.0.1) and the agents' (10.0.0.11, .12, ...; the same in fd00:aa::) alike. The stand-in master runs in
the master's namespace, the tasks it starts in their agents'. vipd may run on every one.

Tests and the demo both use this module; it knows nothing of pytest. It needs root and, for vipd, a
kernel with IPVS: `tools/guest` provides both.
"""
import contextlib
import functools
import http.client
import ipaddress
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests" / "standin"))
from standin_control import UnixConnection, call  # noqa: E402

BUILD = pathlib.Path(os.environ.get("VIPD_BUILD", REPO / "build"))
VIPD = BUILD / "agent" / "vipd"
VIPCTL = BUILD / "tools" / "vipctl"
VIPLOAD = BUILD / "tools" / "vipload"
HELLOWORLD = BUILD / "tests" / "standin" / "helloworld"
MASTER = REPO / "tests" / "standin" / "master.py"

MASTER_PORT = 5050
# What a test may leave in a node's namespace.
CLEAN_KERNEL = """
ipvsadm -C
for l in $(ip -o link show type dummy | cut -d: -f2); do ip link del $l; done
ip route flush table local proto static
ip route flush table local 7.7.8.0/24
ipset destroy
if iptables-save 2>/dev/null | grep -q VIPD; then for t in nat filter mangle; do
	iptables -t $t -F; iptables -t $t -X; ip6tables -t $t -F; ip6tables -t $t -X; done; fi
[ -z "$(ipvsadm -Sn)$(ipset list -n)" ]
"""
# Fast enough that a test does not wait for polls, slow enough that they do not fill the machine.
POLL_INTERVAL = "200ms"
# Long enough to be seen, short enough to be waited for.
DRAIN_TIMEOUT = "1s"
# What to wait for anything that normally takes well under a second: generous, for slow machines.
PATIENCE = 30.0


class Failure(AssertionError):
    """Something did not become as it should be."""


def wait_until(condition, what, timeout=PATIENCE, interval=0.05):
    """Polls `condition` until it returns something true, and returns that. An AssertionError raised by
    it counts as not yet. `what` is a sentence for the failure."""
    deadline = time.monotonic() + timeout
    while True:
        said = None
        try:
            value = condition()
            if value:
                return value
        except AssertionError as e:
            value, said = None, e
        if time.monotonic() > deadline:
            detail = f": {said}" if said else (f" (last: {value!r})" if value not in (None, False) else "")
            raise Failure(f"not within {timeout:g} s: {what}{detail}")
        time.sleep(interval)


class Process:
    """A program that runs in a namespace in the background, its output in a log file. It starts with the
    signals `blocked`: what it is sent before it takes them waits for that."""

    def __init__(self, name, command, log, netns=None, stdout=None, blocked=()):
        self.name = name
        self.log = pathlib.Path(log)
        self._file = open(self.log, "ab")
        if netns:
            command = ["nsenter", f"--net=/run/netns/{netns}"] + [str(c) for c in command]
        self.popen = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL,
                                      stdout=stdout or self._file, stderr=self._file,
                                      start_new_session=True,
                                      preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked))

    @property
    def pid(self):
        return self.popen.pid

    @property
    def running(self):
        return self.popen.poll() is None

    def wait_listening(self, path):
        """Waits until it takes connections at this Unix socket, whose file is there a moment earlier. Fails
        at once, with what it said, if it ends instead."""
        def listens():
            if not self.running:
                raise RuntimeError(f"{self.name} has ended: {self.output()}")
            with socket.socket(socket.AF_UNIX) as s, contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                s.connect(str(path))
                return True
        wait_until(listens, f"{self.name} listens at {path}", interval=0.02)

    def send(self, number):
        if self.running:
            self.popen.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout=PATIENCE):
        """Ends it and returns its exit status, as subprocess has it (negative: by a signal)."""
        self.send(number)
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise Failure(f"{self.name} did not end within {timeout:g} s of signal {number}") from None
        finally:
            self._file.close()
        return status

    def kill(self):
        """Ends it and all it has started, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        self._file.close()

    def output(self):
        return self.log.read_text(errors="replace")


class Load:
    """A running vipload. `stop()` ends it and returns its report."""

    def __init__(self, node, target, **options):
        node.cluster.loads += 1
        name = f"vipload-{node.name}-{node.cluster.loads}"
        args = [str(VIPLOAD), "--json"]
        for key, value in {"duration": 0, **options}.items():
            option = "--" + key.replace("_", "-")
            if value is True:
                args.append(option)
            elif value is not None and value is not False:
                args += [option, str(value)]
        self.report = None
        self._process = node.spawn(name, args + [target], subprocess.PIPE, [signal.SIGTERM])

    def stop(self, number=signal.SIGTERM):
        if self.report is None:
            process = self._process.popen
            if number is not None:
                self._process.send(number)
            out, _ = process.communicate(timeout=60)
            if not out:
                raise Failure(f"vipload said nothing: {self._process.output()}")
            self.report = json.loads(out)
        return self.report

    def wait(self):
        """Lets it run to the end of its duration."""
        return self.stop(None)


class Node:
    def __init__(self, cluster, name, number):
        self.cluster = cluster
        self.name = name
        self.netns = cluster.prefix + name
        self.address = f"10.0.0.{number}"
        self.address6 = f"fd00:aa::{number}"
        self.dir = cluster.dir / name
        self.socket = self.dir / "vipd.sock"
        self.vipd = None
        self.holder = None
        self.dir.mkdir()

    # Running things in the node

    def _enter(self, command):
        if isinstance(command, str):
            command = ["sh", "-c", command]
        return ["nsenter", f"--net=/run/netns/{self.netns}"] + [str(c) for c in command]

    def run(self, command, check=True, timeout=60, input=None):
        """Runs a command (a list, or a line for the shell) and returns the CompletedProcess."""
        done = subprocess.run(self._enter(command), text=True, timeout=timeout, input=input,
                              stdin=None if input is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode:
            shown = command if isinstance(command, str) else shlex.join(str(c) for c in command)
            raise Failure(f"{self.name}: {shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def spawn(self, name, command, stdout=None, blocked=()):
        process = Process(name, command, self.cluster.dir / f"{name}.log", self.netns, stdout, blocked)
        self.cluster.processes.append(process)
        return process

    # vipd and vipctl

    def vipd_command(self, **options):
        settings = {
            "masters": ",".join(self.cluster.master_urls), "poll_interval": POLL_INTERVAL,
            "node_address": self.address, "node_address6": self.address6,
            "socket": self.socket, "state_dir": self.dir, "drain_timeout": DRAIN_TIMEOUT,
            "rules": None if has_iptables() else "no", **self.cluster.vipd_options, **options}
        return [VIPD, "--config", "/dev/null"] + [
            f"--{k.replace('_', '-')}={v}" for k, v in settings.items() if v is not None]

    def start_vipd(self, wait=True, **options):
        assert not (self.vipd and self.vipd.running), f"vipd runs on {self.name} already"
        self.vipd = self.spawn(f"vipd-{self.name}", self.vipd_command(**options))
        if wait:
            wait_until(self._vipd_answers, f"vipd on {self.name} answers vipctl")
        return self.vipd

    def _vipd_answers(self):
        if not self.vipd.running:
            raise RuntimeError(f"vipd on {self.name} ended with {self.vipd.popen.returncode}:\n"
                               + self.vipd.output()[-2000:])
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.status()["version"]

    def stop_vipd(self, number=signal.SIGTERM):
        status = self.vipd.stop(number)
        self.vipd = None
        return status

    def kill_vipd(self):
        self.stop_vipd(signal.SIGKILL)

    def restart_vipd(self, **options):
        self.stop_vipd()
        self.start_vipd(**options)

    def vipctl(self, *args, json=True, check=True):
        """The object that `vipctl ARGS --json` prints; with json=False the CompletedProcess. Exit
        status 1 is an answer for some of its commands, so only others are failures."""
        import json as json_module
        command = [VIPCTL, f"--socket={self.socket}"] + (["--json"] if json else []) + list(args)
        done = self.run(command, check=False)
        if check and done.returncode not in (0, 1):
            raise Failure(f"{self.name}: vipctl {' '.join(args)}: exit {done.returncode}: {done.stderr}")
        if not json:
            return done
        try:
            return json_module.loads(done.stdout)
        except ValueError:
            raise Failure(f"{self.name}: vipctl {' '.join(args)}: no JSON: {done.stdout!r} {done.stderr}") from None

    def diff(self):
        """What table and kernel differ in: empty if they agree."""
        done = self.vipctl("diff", json=False)
        return "" if done.returncode == 0 else (done.stdout or done.stderr or "vipctl diff failed")

    def api(self, path):
        """What `vipctl --json` would print, by the same socket, but without a process: in a guest a
        process is slow, and this is asked often."""
        connection = UnixConnection(self.socket, PATIENCE)
        try:
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()

    def status(self):
        return self.api("/v1/status")

    def vips(self):
        """The VIPs as vipd has them: {"tcp 1.2.3.4:80": {"10.0.0.11:31000": weight}}."""
        return {f"{v['protocol']} {endpoint(v['address'], v['port'])}":
                {endpoint(b["address"], b["port"]): b["weight"] for b in v["backends"]} for v in self.api("/v1/table")}

    # The kernel

    def destinations(self):
        """What IPVS has, by the kernel's own table, not by any tool of ours:
        {"tcp 1.2.3.4:80": {"10.0.0.11:31000": (weight, active connections, inactive)}}."""
        found = {}
        for line in pathlib.Path(f"/proc/{self.holder.pid}/net/ip_vs").read_text().splitlines()[3:]:
            words = line.split()
            if words[0] == "->":
                found[key][ip_vs_endpoint(words[1])] = tuple(int(w) for w in words[3:6])
            else:
                key = words[0].lower() + " " + (ip_vs_endpoint(words[1]) if words[0] != "FWM" else words[1])
                found[key] = {}
        return found

    def services(self):
        """The same without connections: {"tcp 1.2.3.4:80": {"10.0.0.11:31000": weight}}."""
        return {vip: {b: numbers[0] for b, numbers in backends.items()}
                for vip, backends in self.destinations().items()}

    def connections(self, vip):
        """How many connections are established by way of `vip` from this node, by backend."""
        return {b: numbers[1] for b, numbers in self.destinations().get(vip, {}).items()}

    def kernel_state(self):
        """All of the kernel's state that vipd could touch, in lines whose order means nothing."""
        commands = {
            "ipvs": "ipvsadm -Sn", "set": "ipset save",
            "route": "ip -4 route show table all", "route6": "ip -6 route show table all",
            "link": "ip -o link show type dummy", "sysctl": "sysctl -a 2>/dev/null | grep '^net.ipv4.vs' || true",
        }
        return {what: sorted(re.sub(r" expires \d+sec", "", line).strip()
                             for line in self.run(c).stdout.splitlines())
                for what, c in commands.items()}

    # Traffic

    def ask(self, target, n=1, path="/", timeout=5, options=[]):
        """Asks n times, each by a new connection, and returns the answers' first lines."""
        done = self.run([VIPLOAD, "--ask", n, "--timeout", timeout, "--path", path] + options + [target],
                        check=False, timeout=timeout * n + 30)
        if done.returncode:
            raise Failure(f"{self.name} asked {target}: {done.stderr.strip() or done.returncode}")
        return done.stdout.splitlines()

    def ask_udp(self, target, n=1):
        """The same by n datagrams, each from another port."""
        return self.ask(target, n, options=["--udp"])

    def load(self, target, **options):
        """Starts vipload; see `vipload --help` for the options."""
        return Load(self, target, **options)

    def connect_error(self, target):
        """How a connection fails at once: "refused", "timeout", ..., or None if it is made."""
        report = self.load(target, connections=1, duration=0.3, timeout=0.25, no_reconnect=True).wait()
        bad = [kind for kind, n in report["failures"]["connect"].items() if n]
        return bad[0] if bad else None


def endpoint(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ip_vs_endpoint(text):
    """ADDRESS:PORT of /proc/net/ip_vs, all in hexadecimal, as people write it."""
    host, port = text.rsplit(":", 1)
    if host.startswith("["):
        return endpoint(str(ipaddress.IPv6Address(host.strip("[]"))), int(port, 16))
    return endpoint(str(ipaddress.IPv4Address(int(host, 16))), int(port, 16))


def says(line):
    """The parts of what helloworld answers: {"pid", "host", "says"}."""
    m = re.fullmatch(r"pid (\d+) host (\S+) says (.*)", line.strip())
    if not m:
        raise Failure(f"this is not an answer of helloworld: {line!r}")
    return {"pid": int(m[1]), "host": m[2], "says": m[3]}


@functools.cache
def has_iptables():
    """Whether the kernel has iptables' tables: User-Mode Linux has not, but lists them as empty."""
    return subprocess.run(["unshare", "--net", "iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


class Cluster:
    _numbers = itertools.count(1)

    def __init__(self, nodes=3, prefix=None, vipd_options=None, directory=None):
        self.n_nodes = nodes
        self.prefix = f"c{os.getpid()}x{next(self._numbers)}-" if prefix is None else prefix
        self.vipd_options = vipd_options or {}
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="vipd-cluster-"))
        self._own_dir = directory is None
        self.processes = []
        self.loads = 0
        self.nodes = []
        self.master = None
        self.master_urls = [f"http://10.0.0.1:{MASTER_PORT}"]
        self.control_socket = f"unix:{self.dir}/master.sock"

    def __enter__(self):
        try:
            self._build_network()
            self.start_master()
        except BaseException:
            print(self.logs(), file=sys.stderr)
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    @property
    def every_node(self):
        """The agents' nodes and the master's."""
        return self.nodes + [self.master]

    # The network

    def _build_network(self):
        self.dir.mkdir(exist_ok=True)
        self.master = Node(self, "master", 1)
        self.nodes = [Node(self, f"node{i}", 10 + i) for i in range(1, self.n_nodes + 1)]
        self.switch = f"{self.prefix}switch"
        ip(["netns add " + self.switch] + [f"netns add {n.netns}" for n in self.every_node])
        links = ["link add br0 type bridge forward_delay 0", "link set br0 up"]
        for i, node in enumerate(self.every_node):
            links += [f"link add port{i} type veth peer name eth0 netns {node.netns}",
                      f"link set port{i} master br0 up"]
        ip(links, self.switch)
        for node in self.every_node:
            ip(["link set lo up", "link set eth0 up", f"addr add {node.address}/24 dev eth0",
                f"addr add {node.address6}/64 dev eth0 nodad", "route add default via 10.0.0.254"],
               node.netns)
            # Through it /proc shows the namespace's tables.
            node.holder = node.spawn(f"holder-{node.name}", ["sleep", "infinity"])

    def cut(self, node):
        """Takes the node's cable away; returns when."""
        when = time.monotonic()
        ip([f"link set port{self.every_node.index(node)} down"], self.switch)
        return when

    def mend(self, node):
        ip([f"link set port{self.every_node.index(node)} up"], self.switch)

    def part(self, nodes):
        """Moves these nodes to a switch of their own: nothing passes between them and the others."""
        when = time.monotonic()
        ip(["link add br1 type bridge forward_delay 0", "link set br1 up"]
           + [f"link set port{self.every_node.index(n)} master br1" for n in nodes], self.switch)
        return when

    def merge(self):
        """Undoes it."""
        ip([f"link set port{i} master br0" for i in range(len(self.every_node))] + ["link del br1"], self.switch)

    def new_key(self):
        """Makes a key file for the overlay: vipds that are started with it watch each other."""
        key = self.dir / "key"
        key.touch(mode=0o600)
        key.write_text(subprocess.run([VIPCTL, "keygen"], text=True, check=True, stdout=subprocess.PIPE).stdout)
        return key

    def wait_members(self, nodes=None, timeout=PATIENCE):
        """Waits until each of these vipds sees all of them up in the overlay."""
        nodes = nodes or self.every_node
        for node in nodes:
            def sees_all(node=node):
                up = {m["address"] for m in node.api("/v1/nodes") if m["status"] == "up"}
                missing = {n.address for n in nodes} - up
                assert not missing, f"{node.name} does not see {sorted(missing)}"
                return True
            wait_until(sees_all, f"{node.name} sees all others up", timeout)

    def reset(self):
        """Makes it as new for the next test, much faster than a new one: no tasks, no vipd, no state of
        the kernel beyond the nodes' own links, addresses and sysctls."""
        keep = [self.master_process] + [n.holder for n in self.every_node]
        for process in self.processes:
            if process not in keep:
                process.kill()
        self.processes = keep
        if not self.master_process.running:
            raise Failure("the stand-in master is gone")
        self.control("reset")
        self._register_agents()
        for node in self.every_node:
            node.vipd = None
            node.run(CLEAN_KERNEL)
            for f in node.dir.iterdir():
                f.unlink()
        for log in self.dir.glob("*.log"):
            if log not in [p.log for p in keep]:
                log.unlink()

    # The master

    def start_master(self):
        self.master_process = self.master.spawn(
            "mesos-master", ["/usr/bin/python3", MASTER, "--listen", f"10.0.0.1:{MASTER_PORT}",
                             "--also", self.control_socket])
        self.master_process.wait_listening(self.control_socket[len("unix:"):])
        self._register_agents()

    def _register_agents(self):
        for node in self.nodes:
            self.control("agent", hostname=node.address, address6=node.address6, netns=node.netns)

    def control(self, operation, **arg):
        return call(self.control_socket, operation, arg)

    def deploy(self, app, labels=None, instances=1, protocol="tcp", say=None, command=True, **more):
        """Deploys an app of one port, of helloworld instances that say `say` (the app's id if
        nothing), or of paper if command is False. Returns its tasks' ids."""
        spec = {"id": app, "instances": instances,
                "ports": [{"name": "http", "protocol": protocol, "labels": labels or {}}], **more}
        if command:
            # On all addresses, of both families; the agent's address is $HOST.
            spec["cmd"] = hello_command("$HOST", ":$PORT0", say or app.strip("/").replace("/", "-"), protocol)
        return self.control("app", **spec)["tasks"]

    def scale(self, app, instances):
        return self.control("scale", app=app, instances=instances)["tasks"]

    def tasks(self, app=None):
        return [t for t in self.control("tasks")["tasks"] if app in (None, t["app"])]

    def kill_task(self, task):
        """Kills a task's process, and returns when the master knows."""
        self.control("kill", task=task)
        wait_until(lambda: task not in [t["id"] for t in self.tasks()], f"the master knows that {task} is dead")

    def backends(self, app):
        """Where the app's tasks are: the set of "ADDRESS:PORT"."""
        return {endpoint(t["address"], t["ports"][0]) for t in self.tasks(app)}

    # vipd everywhere

    def start_vipds(self, nodes=None, **options):
        nodes = nodes or self.every_node
        for node in nodes:
            node.start_vipd(wait=False, **options)
        for node in nodes:
            wait_until(node._vipd_answers, f"vipd on {node.name} answers vipctl")

    def wait_backends(self, vip, backends, nodes=None, timeout=PATIENCE):
        """Waits until every node's kernel sends `vip` ("tcp 1.2.3.4:80") to just these backends: a set
        of "ADDRESS:PORT", beside which others may drain with weight 0, or a dict of all with their
        weights. None: until it is gone."""
        for node in nodes or self.every_node:
            def agrees(node=node):
                have = node.services().get(vip)
                if have is not None and backends is not None and not isinstance(backends, dict):
                    have = {backend for backend, weight in have.items() if weight}
                assert have == backends, f"{vip} on {node.name} goes to {have}, should to {backends}"
                return True
            wait_until(agrees, f"{vip} has its backends on {node.name}", timeout)

    def wait_in_step(self, nodes=None, timeout=PATIENCE):
        """Waits until every vipd has applied what the master says now: those that follow a published
        table after those that poll, one of which publishes it."""
        def publisher(node):
            return node.status().get("publisher") or {}

        def follows(node):
            return publisher(node).get("mode") == "following"

        nodes = nodes or self.every_node
        pollers = [n for n in self.every_node if n.vipd and not follows(n)]
        for node in sorted(nodes, key=follows):
            polls = node.status()["source"]["polls"]

            def in_step(node=node, polls=polls):
                status = node.status()
                # The poll after next began after now for certain. A file is watched, and read
                # again only when it changes.
                source = status["source"]
                current = source["kind"] == "file" or source["polls"] >= polls + 2
                if follows(node):
                    current = publisher(node)["version"] in [publisher(n).get("version") for n in pollers]
                return current and status["kernel"]["in_sync"]
            wait_until(in_step, f"vipd on {node.name} is in step with the master", timeout)

    # The end

    def close(self):
        for process in self.processes:
            process.kill()
        # The tasks that the master ran are in sessions of their own.
        for node in self.every_node if self.nodes else []:
            for pid in netns_pids(node.netns):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        existing = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
        names = [n.netns for n in self.nodes + ([self.master] if self.master else [])]
        names.append(f"{self.prefix}switch")
        ip([f"netns del {n}" for n in names if n in existing])
        if self._own_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def logs(self, lines=40):
        """The ends of all logs, to be shown with a failure."""
        text = []
        for log in sorted(self.dir.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            if tail:
                text.append(f"--- {log.name}\n" + "\n".join(tail))
        return "\n".join(text)


def hello_command(host, listen, say, protocol="tcp"):
    udp = " -udp" if protocol.lower() == "udp" else ""
    return f"{HELLOWORLD} -listen {listen} -host {host} -say-string {shlex.quote(say)}{udp}"


def ip(lines, netns=None):
    """Runs many commands of iproute2 at once."""
    if not lines:
        return
    command = ["ip"] + (["-n", netns] if netns else []) + ["-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Failure(f"ip -batch failed: {done.stdout}")


def netns_pids(netns):
    """Which processes are in a namespace."""
    if not os.path.exists(f"/run/netns/{netns}"):
        return []
    done = subprocess.run(["ip", "netns", "pids", netns], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return [int(p) for p in done.stdout.split()]
