# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of VIPs, asked for by the clients that people have, and by some that nobody wants.

No IPVS is needed: with `kernel = none` the names are answered as if the VIPs were programmed."""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

import pytest
from cluster import VIPCTL, wait_until

pytestmark = pytest.mark.overlay(nodes=1, ipv6="yes", node_address6="fd00:9::1")

SERVER = "127.0.0.61"
ZONE = "l4lb.thisdcos.directory"
REDIS = f"redis.marathon.{ZONE}"
ADDRESS = "11.202.66.36"
RESOLVED = pathlib.Path(os.environ.get("VIPD_RESOLVED", "/")) / "lib/systemd/systemd-resolved"


def task(name, *labels, port=31000, families=(4,)):
    """One on the first node, with an address of its own."""
    addresses = {4: "10.9.0.1", 6: "fd00:9::1"}
    return {"id": name, "name": name, "framework_id": "f", "slave_id": "s0", "state": "TASK_RUNNING",
            "discovery": {"ports": {"ports": [{"number": port, "protocol": "tcp", "labels": {"labels": [
                {"key": f"VIP_{i}", "value": label} for i, label in enumerate(labels)]}}]}},
            "statuses": [{"state": "TASK_RUNNING", "timestamp": 1.0, "container_status": {"network_infos": [
                {"ip_addresses": [{"ip_address": addresses[f]} for f in families]}]}}]}


REDIS_TASK = task("redis", "/redis:6379")
TASKS = [REDIS_TASK, task("both", "/both:80", families=(4, 6)), task("below", "/x.both:80")]


@pytest.fixture
def node(overlay):
    """A node whose vipd knows some names."""
    overlay.write_document(TASKS)
    n = overlay.nodes[0]
    n.start()
    wait_until(lambda: ask(n, REDIS) == [ADDRESS], "the names are known")
    yield n
    assert n.running, "vipd has survived"


def client(n, *command):
    done = subprocess.run(["nsenter", f"--net=/run/netns/{n.netns}", *command], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=30)
    return done.stdout + done.stderr


def ask(n, name, *options, server=SERVER):
    """What dig prints of an answer's records."""
    out = client(n, "dig", "+short", "+tries=2", "+time=2", f"@{server}", name, *options)
    return [line for line in out.splitlines() if not line.startswith(";")]


def status(n, name, *options, server=SERVER):
    """(RCODE, flags) of dig's answer."""
    out = client(n, "dig", "+tries=2", "+time=2", f"@{server}", name, *options)
    return re.search(r"status: (\w+)", out)[1], set(re.search(r"flags: ([a-z ]+);", out)[1].split())


@pytest.mark.parametrize("how", [[], ["+tcp"], ["+noedns"], ["+dnssec", "+cookie", "+bufsize=512"]], ids=" ".join)
def test_dig(node, how):
    assert ask(node, REDIS, *how) == [ADDRESS]
    assert status(node, REDIS, *how) == ("NOERROR", {"qr", "aa", "rd"})
    [six] = ask(node, f"both.marathon.{ZONE}", "AAAA", *how)
    assert six.startswith("fd01:c::")
    assert ask(node, REDIS, "AAAA", *how) == [] and status(node, REDIS, "AAAA", *how)[0] == "NOERROR"
    for name in (f"no.marathon.{ZONE}", f"no.{REDIS}"):
        assert status(node, name, *how) == ("NXDOMAIN", {"qr", "aa", "rd"})
    assert status(node, f"marathon.{ZONE}", *how)[0] == "NOERROR", "there are names below it"
    assert status(node, "example.org", *how) == ("REFUSED", {"qr", "rd"})
    for alias in ("dclb.thisdcos.directory", "l4lb.thisdcos.global", "dclb.thisdcos.global"):
        assert ask(node, f"redis.marathon.{alias}", *how) == [ADDRESS]
    assert ask(node, ZONE, "NS", *how) == [f"ns.{ZONE}."] and ask(node, f"ns.{ZONE}", *how) == [SERVER]
    assert ask(node, ZONE, "SOA", *how)[0].startswith(f"ns.{ZONE}. hostmaster.{ZONE}. ")
    assert ask(node, REDIS, "ANY", *how) == [ADDRESS]


def test_dig_oddities(node):
    assert "BADVERS" in client(node, "dig", f"@{SERVER}", REDIS, "+edns=1", "+noednsnegotiation")
    assert "Transfer failed" in client(node, "dig", f"@{SERVER}", ZONE, "AXFR")
    assert status(node, "version.bind", "CH", "TXT")[0] == "REFUSED"
    assert status(node, REDIS, "+opcode=UPDATE")[0] == "NOTIMP"
    out = client(node, "dig", f"@{SERVER}", "ReDiS.Marathon.l4lb.ThisDCOS.directory")
    assert out.count("ReDiS.Marathon.l4lb.ThisDCOS.directory.") == 2, "question and answer, in the client's case"


def test_drill(node):
    for how in ([], ["-t"], ["-b", "512"], ["-D"]):
        out = client(node, "drill", *how, f"@{SERVER}", REDIS)
        assert re.search(rf"^{REDIS}\.\t5\tIN\tA\t{ADDRESS}$", out, re.M), out
        assert "NXDOMAIN" in client(node, "drill", *how, f"@{SERVER}", f"no.such.{ZONE}")
    out = client(node, "drill", f"@{SERVER}", ZONE, "NS")
    assert f"ns.{ZONE}.\t5\tIN\tA\t{SERVER}" in out


def test_kdig(node):
    for how in ([], ["+tcp"], ["+edns", "+bufsize=4096"], ["+padding=468"]):
        out = client(node, "kdig", *how, f"@{SERVER}", REDIS)
        assert re.search(rf"^{REDIS}\. +\t?5\tIN\tA\t{ADDRESS}$", out, re.M), out
    out = client(node, "kdig", "+edns", f"@{SERVER}", "example.org")
    assert "status: REFUSED" in out and "Not Authoritative" in out
    # One connection for several queries.
    out = client(node, "kdig", "+tcp", "+keepopen", f"@{SERVER}", REDIS, f"both.marathon.{ZONE}", f"no.such.{ZONE}")
    assert out.count("status: NOERROR") == 2 and out.count("status: NXDOMAIN") == 1


def start(node, name, *command):
    log = open(node.dir / f"{name}.log", "wb")
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{node.netns}", *command], stdin=subprocess.DEVNULL,
                            stdout=log, stderr=log, start_new_session=True)


@pytest.fixture
def processes():
    started = []
    yield started
    for p in started:
        p.kill()
        p.wait()


def assert_resolver(node, server):
    wait_until(lambda: ask(node, REDIS, server=server) == [ADDRESS], f"{server} resolves")
    assert ask(node, REDIS, "+tcp", server=server) == [ADDRESS]
    assert ask(node, "redis.marathon.dclb.thisdcos.global", server=server) == [ADDRESS]
    assert status(node, f"no.such.{ZONE}", server=server)[0] == "NXDOMAIN"
    assert status(node, REDIS, "AAAA", server=server)[0] == "NOERROR"


def test_systemd_resolved_is_sent_there(node, processes):
    """As docs/dns.md has it."""
    if not RESOLVED.exists():
        pytest.skip("no systemd-resolved: tests/lib/unpack systemd-resolved, and VIPD_RESOLVED to say where")
    zones = f"~{ZONE} ~dclb.thisdcos.directory ~l4lb.thisdcos.global ~dclb.thisdcos.global"
    # A user that the package would make, in a mount namespace of its own.
    script = f"""
        mount -t tmpfs run /run && mount -t tmpfs etc /etc/systemd
        for f in passwd group; do cp /etc/$f /run/$f; done
        echo systemd-resolve:x:65433:65433::/:/usr/sbin/nologin >>/run/passwd
        echo systemd-resolve:x:65433: >>/run/group
        for f in passwd group; do mount --bind /run/$f /etc/$f; done
        mkdir -p /etc/systemd/resolved.conf.d /run/systemd
        install -d -o 65433 -g 65433 /run/systemd/resolve
        printf '[Resolve]\\nDNS={SERVER}\\nDomains={zones}\\n' >/etc/systemd/resolved.conf.d/vipd.conf
        exec {RESOLVED}"""
    processes.append(start(node, "resolved", "unshare", "--mount", "sh", "-ec", script))
    assert_resolver(node, "127.0.0.53")


def test_dnsmasq_is_sent_there(node, processes):
    """As docs/dns.md has it."""
    processes.append(start(
        node, "dnsmasq", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--pid-file=",
        "--listen-address=127.0.0.2", "--bind-interfaces", "--user=root", f"--server=/{ZONE}/dclb.thisdcos.directory/"
        f"l4lb.thisdcos.global/dclb.thisdcos.global/{SERVER}"))
    assert_resolver(node, "127.0.0.2")


def test_names_follow_the_document(overlay, node):
    """Nothing is denied before there is a table, and a failed poll withdraws nothing."""
    overlay.write_document(TASKS[:1])
    wait_until(lambda: status(node, f"both.marathon.{ZONE}")[0] == "NXDOMAIN", "a name goes")
    assert ask(node, REDIS) == [ADDRESS]
    overlay.document.write_text("{")
    wait_until(lambda: node.get("/v1/status")["source"]["error"], "the document is found bad")
    assert ask(node, REDIS) == [ADDRESS]
    node.stop()
    node.start()
    wait_until(lambda: node.ask("/v1/status"), "vipd runs")
    assert status(node, REDIS) == ("SERVFAIL", {"qr", "rd"})
    assert "Not Ready" in client(node, "kdig", "+edns", f"@{SERVER}", f"no.such.{ZONE}")
    overlay.write_document(TASKS[:1])
    wait_until(lambda: ask(node, REDIS) == [ADDRESS], "the names are known")
    counts = node.get("/v1/status")["dns"]
    assert counts["udp"]["answers"]["servfail"] >= 2 and counts["known"] and counts["names"] == 1


def test_a_flush_takes_the_names_too(overlay, node):
    subprocess.run(["curl", "-sS", "-X", "POST", "--unix-socket", node.socket, "http://vipd/v1/flush"], check=True)
    assert status(node, REDIS)[0] == "SERVFAIL"
    node.send(signal.SIGHUP)
    wait_until(lambda: ask(node, REDIS) == [ADDRESS], "a reload brings them back")


# Sends what it is told, in the node's namespace, and prints what comes back.
TALKER = """
import socket, sys, time, json
def connect():
    return socket.create_connection(("127.0.0.61", 53), timeout=5)
def receive(s, n=None):
    data = b""
    while n is None or len(data) < n:
        more = s.recv(65536)
        if not more: break
        data += more
    return data
"""


def talk(node, script):
    done = subprocess.run(["nsenter", f"--net=/run/netns/{node.netns}", "/usr/bin/python3", "-c", TALKER + script],
                          text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def query(name, number=0x1234):
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def frame(message):
    return struct.pack(">H", len(message)) + message


def test_tcp_clients_may_be_quick_or_slow(node):
    """Hundreds of queries before the first answer is read, and one byte at a time."""
    frames = b"".join(frame(query(REDIS, i)) for i in range(500))
    size = len(frame(query(REDIS))) + 16
    got = bytes.fromhex(talk(node, f"""
s = connect()
s.sendall(bytes.fromhex("{frames.hex()}"))
s.shutdown(socket.SHUT_WR)
print(json.dumps(receive(s).hex()))"""))
    assert len(got) == 500 * size
    assert [struct.unpack_from(">H", got, i * size + 2)[0] for i in range(500)] == list(range(500))
    assert all(got[i * size - 4:i * size] == socket.inet_aton(ADDRESS) for i in range(1, 501))
    got = bytes.fromhex(talk(node, f"""
s = connect()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for b in bytes.fromhex("{frame(query(REDIS)).hex()}"):
    s.send(bytes([b]))
    time.sleep(0.001)
print(json.dumps(receive(s, {size}).hex()))"""))
    assert got[-4:] == socket.inet_aton(ADDRESS)


def test_tcp_clients_are_bounded(node):
    """Connections that are held open keep nobody out; bytes that are no query end theirs, and what is
    never read is not kept."""
    talk(node, f"""
held = [connect() for i in range(200)]
for s in held[::2]: s.send(b"\\0")
s = connect()
s.sendall(bytes.fromhex("{frame(query(REDIS)).hex()}"))
assert receive(s, 20)
for length in (b"\\0\\0", b"\\0\\x05", b"\\xff\\xff"):
    bad = connect()
    bad.sendall(length + b"x" * 100)
    try: assert receive(bad) == b""
    except ConnectionResetError: pass
# A client that does not read is not read any more.
deaf = connect()
deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
deaf.settimeout(0.5)
try:
    for i in range(100000): deaf.send(bytes.fromhex("{(frame(query(REDIS)) * 50).hex()}"))
    raise SystemExit("all of it was taken")
except TimeoutError: pass
print(1)""")
    counts = node.get("/v1/status")["dns"]
    assert counts["displaced"] >= 137 and counts["malformed"] == 3 and counts["accepted"] == 205
    assert ask(node, REDIS, "+tcp") == [ADDRESS]
    assert node.rss() < 60 << 20


def test_tcp_clients_that_are_quiet_are_let_go(node):
    """Half a query now and then is quiet too; whole ones are not."""
    waited = talk(node, f"""
import threading
whole, waited = bytes.fromhex("{frame(query(REDIS)).hex()}"), [0, 0]
def idle(i, first):
    s, began = connect(), time.monotonic()
    s.settimeout(20)
    s.send(first)
    while len(first) > 1 and time.monotonic() - began < 1: receive(s, {len(query(REDIS)) + 18}); time.sleep(1); s.send(whole)
    if len(first) == 1: time.sleep(3); s.send(whole[1:2])
    try: receive(s)
    except ConnectionResetError: pass
    waited[i] = time.monotonic() - began
threads = [threading.Thread(target=idle, args=a) for a in ((0, whole[:1]), (1, whole))]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps(waited))""")
    assert 4.9 < waited[0] < 7 and 5.9 < waited[1] < 9, waited
    assert node.get("/v1/status")["dns"]["timed_out"] == 2


def test_datagrams_that_are_no_query(node):
    talk(node, f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.61", 53))
s.settimeout(5)
q = bytes.fromhex("{query(REDIS).hex()}")
answers = [b"", b"x" * 11, q[:2] + b"\\x81" + q[3:], q]   # none, none, none: an answer itself
for a in answers: s.send(a)
assert s.recv(4096)[3] & 15 == 0
for a in (q[:-1], q + b"x", q + b"\\0" * 2000): s.send(a)
assert [s.recv(4096)[3] & 15 for i in range(3)] == [1] * 3
print(1)""")
    assert node.get("/v1/status")["dns"]["udp"]["ignored"] == 3


def test_queries_wait_while_vipd_is_busy(node):
    """And those for which there is no room any more are counted."""
    before = node.get("/v1/status")["dns"]
    node.send(signal.SIGSTOP)
    try:
        talk(node, f"""
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.61", 53))
for i in range(20000): s.send(bytes.fromhex("{query(REDIS).hex()}"))
print(1)""")
    finally:
        node.send(signal.SIGCONT)

    def all_taken():
        now = node.get("/v1/status")["dns"]
        taken = now["udp"]["queries"] - before["udp"]["queries"]
        return taken if taken + now["lost"] - before["lost"] == 20000 else None
    assert 10000 < wait_until(all_taken, "each is taken or lost") < 20000


def test_watch_tells_the_vips_of_one_name_apart(overlay, node):
    datagrams = task("datagrams", "/both:80")
    datagrams["discovery"]["ports"]["ports"][0]["protocol"] = "udp"
    overlay.write_document([*TASKS, datagrams])

    def added():
        shown = client(node, VIPCTL, f"--socket={node.socket}", "watch", "--once", "--last=50")
        return sorted(re.findall(r"vip-added +both\.marathon:80(.*) \(document\)$", shown, re.M))
    wait_until(lambda: added() == ["", " IPv6", " udp"], "each of the three is told as what it is")


def test_a_port_that_is_taken(overlay, node):
    """The rest goes on; it is told, and mended as soon as it can be. A reload adds and removes addresses."""
    conf = overlay.dir / "vipd.conf"
    node.stop()
    holder = start(node, "holder", "/usr/bin/python3", "-c", "import socket, time; s = socket.socket(socket.AF_INET, "
                   f"socket.SOCK_DGRAM); s.bind(('{SERVER}', 53)); time.sleep(60)")
    wait_until(lambda: SERVER in client(node, "ss", "-Hlun"), "the port is taken")
    conf.write_text(f"[vipd]\ndns_listen = {SERVER}, 10.9.0.1:5300, 10.77.0.1\n")
    node.start(config=conf)
    try:
        wait_until(lambda: ask(node, REDIS, "-p", "5300", server="10.9.0.1") == [ADDRESS], "the other address answers")
        listen = {l["address"]: l["error"] for l in node.get("/v1/status")["dns"]["listen"]}
        assert listen == {SERVER: "Address already in use", "10.9.0.1": None, "10.77.0.1": None}
        assert f"dns: {SERVER}:53: Address already in use" in node.log.read_text()
        shown = client(node, VIPCTL, f"--socket={node.socket}", "status")
        assert re.search(r"answered on [0-9.:]+, [0-9.:]+\n", shown), shown
        assert f"\n          NOT on {SERVER}:53 (Address already in use)\n" in shown
    finally:
        holder.kill()
        holder.wait()
    conf.write_text(f"[vipd]\ndns_listen = {SERVER}, 10.77.0.1\n")
    node.send(signal.SIGHUP)
    wait_until(lambda: ask(node, REDIS) == [ADDRESS], "the port is taken over")
    assert "5300" not in client(node, "ss", "-Hluntp")
    # The address that was not there comes.
    node.run("ip addr add 10.77.0.1/24 dev eth0")
    assert ask(node, REDIS, server="10.77.0.1") == [ADDRESS]
    assert ask(node, f"ns.{ZONE}", server="10.77.0.1") == ["10.77.0.1"], "the address that the client can reach"
    conf.write_text("[vipd]\ndns_listen =\n")
    node.send(signal.SIGHUP)
    wait_until(lambda: ":53 " not in client(node, "ss", "-Hlunt"), "nothing is listened on")


def test_by_ipv6(overlay, node):
    node.stop()
    node.run("ip addr add fd00:9::61/64 dev lo nodad")
    node.start(dns_listen="fd00:9::61")
    wait_until(lambda: ask(node, REDIS, server="fd00:9::61") == [ADDRESS], "it answers")
    assert ask(node, REDIS, "+tcp", server="fd00:9::61") == [ADDRESS]
    assert ask(node, f"ns.{ZONE}", "AAAA", server="fd00:9::61") == ["fd00:9::61"]
    began = time.monotonic()
    assert ask(node, f"ns.{ZONE}", "A", server="fd00:9::61") == [] and time.monotonic() - began < 2
