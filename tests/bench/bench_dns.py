#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Names answered by vipd, beside dnsmasq and Knot with the same names, each on one core of this machine and
dnsperf on another, in a network namespace of its own.

usage: bench_dns.py VIPD            (as root; needs the packages of `tools/deps bench`)

First 20,000 queries a second for some seconds: none may be lost, also while vipd's table changes twice a second.
Then as many as each server answers, in turns, so that a machine that gets busy is so for all of them."""
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

N_NAMES = 2000
RATE = 20000
SECONDS = 5
ROUNDS = 3
ZONE = "l4lb.thisdcos.directory"
# One of each kind in this many is asked for.
UNKNOWN, OTHER_FAMILY = 10, 10


def enter():
    """A network namespace of our own, with the loopback link up."""
    if "VIPD_BENCH_INSIDE" not in os.environ:
        os.environ["VIPD_BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *map(os.path.abspath, sys.argv)])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def document(path, n):
    tasks = [{"id": f"t{i}", "name": f"t{i}", "framework_id": "f", "slave_id": "s", "state": "TASK_RUNNING",
              "discovery": {"ports": {"ports": [{
                  "number": 1000 + i, "protocol": "tcp", "labels": {"labels": [
                      {"key": "VIP_0", "value": f"/app{i}:80"}]}}]}},
              "statuses": [{"state": "TASK_RUNNING", "timestamp": 1.0, "container_status": {"network_infos": [
                  {"ip_addresses": [{"ip_address": "10.9.0.1"}]}]}}]} for i in range(n)]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"frameworks": [{"id": "f", "name": "marathon", "tasks": tasks}], "slaves": [
        {"id": "s", "hostname": "10.9.0.1", "pid": "slave(1)@10.9.0.1:5051"}]}))
    new.rename(path)


class Server:
    def __init__(self, name, address, command):
        self.name, self.address = name, address
        self.process = subprocess.Popen(["taskset", "-c", "0", *map(str, command)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            done = subprocess.run(["dig", "+short", "+tries=1", "+time=1", f"@{self.address}", f"app7.marathon.{ZONE}"],
                                  text=True, capture_output=True)
            if done.stdout.startswith("11."):
                return
            time.sleep(0.1)
        sys.exit(f"{self.name} does not answer")

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, queries, seconds, *options):
        """What dnsperf says: (queries answered a second, lost, the server's seconds of its core per query)."""
        before = self.cpu()
        done = subprocess.run(["taskset", "-c", "1", "dnsperf", "-s", self.address, "-d", queries, "-l", str(seconds),
                               "-b", "4096", *options], text=True, capture_output=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        answered = int(re.search(r"Queries completed:\s+(\d+)", done.stdout)[1])
        return (float(re.search(r"Queries per second:\s+([\d.]+)", done.stdout)[1]),
                int(re.search(r"Queries lost:\s+(\d+)", done.stdout)[1]), (self.cpu() - before) / max(answered, 1))


def start_vipd(vipd, dir):
    document(dir / "state.json", N_NAMES)
    return Server("vipd", "127.0.0.61", [
        vipd, "--config", "/dev/null", f"--source=file:{dir}/state.json", "--kernel=none", "--node-address=10.9.0.1",
        f"--socket={dir}/sock", f"--state-dir={dir}", "--log-level=error", "--http-listen="])


def start_dnsmasq(dir, addresses):
    (dir / "hosts").write_text("".join(f"{a} {n}\n" for n, a in addresses.items()))
    return Server("dnsmasq", "127.0.0.62", [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=",
        "--user=root", f"--addn-hosts={dir}/hosts", f"--local=/{ZONE}/", "--local-ttl=5",
        "--listen-address=127.0.0.62", "--bind-interfaces"])


def start_knot(dir, addresses):
    (dir / "zone").write_text(f"$ORIGIN {ZONE}.\n$TTL 5\n@ SOA ns hostmaster 1 60 60 86400 5\n@ NS ns\nns A 127.0.0.63\n"
                              + "".join(f"{n}. A {a}\n" for n, a in addresses.items()))
    (dir / "knot.conf").write_text(f"""
server:
    listen: 127.0.0.63@53
    rundir: {dir}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {dir}
zone:
  - domain: {ZONE}
    file: {dir}/zone
    zonefile-sync: -1
    journal-content: none
""")
    return Server("knot", "127.0.0.63", ["knotd", "-c", dir / "knot.conf"])


def resolved(names):
    """The addresses that vipd gives them."""
    done = subprocess.run(["dig", "+short", "@127.0.0.61", "-f", "/dev/stdin"], input="\n".join(names), text=True,
                          capture_output=True, check=True)
    return dict(zip(names, done.stdout.split()))


class Changes:
    """Changes vipd's table twice a second, by one VIP."""

    def __init__(self, path):
        self.path, self.over, self.n = path, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.5):
            self.n += 1
            document(self.path, N_NAMES + self.n % 2)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join()


def main(vipd, dir):
    names = [f"app{i}.marathon.{ZONE}" for i in range(N_NAMES)]
    servers = [start_vipd(vipd, dir)]
    try:
        servers[0].wait()
        addresses = resolved(names)
        assert len(addresses) == N_NAMES
        servers += [start_dnsmasq(dir, addresses), start_knot(dir, addresses)]
        queries = dir / "queries"
        queries.write_text("".join(
            f"{n if i % UNKNOWN else 'un' + n} {'A' if i % OTHER_FAMILY != 1 else 'AAAA'}\n" for i, n in enumerate(names)))
        for s in servers:
            s.wait()
        failed = measure_rate(servers, queries, dir)
        measure_most(servers, queries)
        return failed
    finally:
        for s in servers:
            s.process.kill()
            s.process.wait()


def show_rate(name, figures, note=""):
    rate, lost, core = figures
    print(f"  {name:8} {rate:6.0f} answered a second, {lost} lost, {core * 1e6:.1f} us of its core each: "
          f"{core * RATE:.0%} of it at {RATE}{note}", flush=True)


def measure_rate(servers, queries, dir):
    """True if vipd lost any, or would need more than its core. On a busy machine the client may not get round to
    asking as often as it should; the core's time per query says what that would have cost."""
    options = ["-Q", str(RATE), "-q", "1000"]
    print(f"{N_NAMES} names, {RATE} queries a second for {SECONDS} s, one core for the server:")
    quiet = servers[0].ask(queries, SECONDS, *options)
    show_rate("vipd", quiet)
    with Changes(dir / "state.json") as changes:
        busy = servers[0].ask(queries, SECONDS, *options)
    show_rate("vipd", busy, f"; its table changed {changes.n} times meanwhile")
    for s in servers[1:]:
        show_rate(s.name, s.ask(queries, SECONDS, *options))
    failed = any(lost > 0 or core * RATE > 1 for _, lost, core in (quiet, busy))
    print(f"target: {RATE} q/s on one core without loss: {'MISSED' if failed else 'met'}")
    return failed


def measure_most(servers, queries):
    """By pairs of the same round, so that what else the machine does hits both."""
    rates = {s.name: [] for s in servers}
    for _ in range(ROUNDS):
        for s in servers:
            rates[s.name].append(s.ask(queries, 2, "-q", "200")[0])
    for s in servers:
        print(f"at most: {s.name:8} {statistics.median(rates[s.name]):8.0f} q/s", flush=True)
    for peer in servers[1:]:
        ratios = [a / b for a, b in zip(rates["vipd"], rates[peer.name])]
        print(f"vipd : {peer.name} = {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


enter()
missing = [p for p in ("dnsperf", "dnsmasq", "knotd", "dig") if not shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin")]
if missing:
    sys.exit(f"not installed: {', '.join(missing)} (tools/deps bench)")
os.environ["PATH"] += ":/usr/sbin"
folder = pathlib.Path(tempfile.mkdtemp(prefix="vipd-bench-dns-"))
try:
    status = main(sys.argv[1], folder)
finally:
    shutil.rmtree(folder)
sys.exit(status)
