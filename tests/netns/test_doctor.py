# SPDX-License-Identifier: GPL-2.0-or-later
"""For every way in which a VIP can fail to answer, a scenario that breaks it, and the command that names the
cause and its mend:

    cause                               command   scenario
    ----------------------------------  -------   ----------------------------------------------------------
    no label                            why       kernel/test_explain  test_why_names_no_such_vip
    label malformed                     why       kernel/test_explain  test_why_names_a_malformed_label
    no agent address                    why       kernel/test_explain  test_why_names_an_agent_without_address
    task unhealthy, or being killed     why       kernel/test_explain  test_why_names_health_and_killing
    drained                             why       kernel/test_explain  test_why_sees_a_draining_backend_and_then_its_end
    VIP is a node's address             why       kernel/test_explain  test_why_names_a_refusal
    another's IPVS service              why       kernel/test_explain  test_why_names_a_conflict
    taken out of the kernel by others   why       kernel/test_explain  test_why_sees_damage_and_watch_its_repair
    flushed                             both      kernel/test_explain  test_why_names_a_failing_source_and_a_flush
    master fails                        both      kernel/test_explain  test_why_names_a_failing_source_and_a_flush
    master wants credentials            doctor    netns/test_doctor    test_a_master_with_another_clock_wants_credentials
    clock                               doctor    netns/test_doctor    test_a_master_with_another_clock_wants_credentials
    node down                           both      kernel/test_explain  test_a_dead_node_is_told_and_blamed
    node address missing or tentative   both      kernel/test_explain  test_an_address_that_cannot_be_a_source_is_named
    module missing                      doctor    netns/test_doctor    test_no_ipvs
    vipd does not run                   doctor    netns/test_doctor    test_vipd_does_not_run
    capability missing                  doctor    netns/test_doctor    test_vipd_lacks_privileges_and_files
    route overlaps a real network       doctor    netns/test_doctor    test_networks_where_vips_are
    port 61420 blocked                  doctor    netns/test_doctor    test_a_blocked_port
    UDP port 61420 blocked              doctor    netns/test_doctor    test_a_blocked_udp_port
    key mismatch                        doctor    netns/test_doctor    test_another_key_or_cluster
    cluster's name mismatch             doctor    netns/test_doctor    test_another_key_or_cluster
    key file missing, open to all       doctor    netns/test_doctor    test_a_key_file_that_will_not_do
    DNS not delegated                   doctor    netns/test_doctor    test_names_that_do_not_resolve
    DNS or HTTP port taken              doctor    netns/test_doctor    test_ports_that_others_have
    conntrack table full                doctor    kernel/test_stock    test_a_full_conntrack_table_is_named
    port range exhausted                doctor    netns/test_doctor    test_local_ports_run_out

Here vipds run with `kernel = none`, for what needs no IPVS.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from overlay import PORT, VIPCTL, VIPD, wait_until

HERE = pathlib.Path(__file__).parent


def run_vipctl(node, *args, before=(), env=None):
    return subprocess.run(["nsenter", f"--net=/run/netns/{node.netns}", *before, str(VIPCTL), f"--socket={node.socket}",
                           *args], text=True, capture_output=True, timeout=60, env={**os.environ, **(env or {})})


def doctor(node, **more):
    """The findings, with the exit status and the form for people checked against them."""
    done = run_vipctl(node, "doctor", "--json", **more)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1) and not done.stderr, done
    assert report["ok"] == all(f["severity"] in ("ok", "note") for f in report["findings"])
    return report["findings"]


def finds(node, check, *words, severity="error", **more):
    """Waits until a finding of this check and severity has these words in its text, and a mend; returned. It
    is waited for, since on a busy machine vipd or a resolver may not answer in a second, and nodes may be
    slow to join."""
    def look():
        found = doctor(node, **more)
        for f in found:
            if f["check"] == check and f["severity"] == severity and all(w in f["text"] for w in words):
                assert severity in ("ok", "note") or f["mend"], f
                return f
        raise AssertionError(json.dumps(found, indent=1))
    return wait_until(look, f"doctor finds: {severity}, {check}: {words}", interval=0.3)


def test_every_cause_has_its_scenario():
    rows = re.findall(r"^ {4}\S.*? (?:why|doctor|both) +(\w+/\w+) +(\w+)$", __doc__, re.M)
    assert len(rows) > 20
    for path, name in rows:
        assert f"\ndef {name}(" in (HERE.parent / f"{path}.py").read_text(), name


@pytest.mark.overlay(nodes=3)
def test_all_is_well(overlay):
    overlay.up()
    node = overlay.nodes[0]
    wait_until(lambda: all(f["severity"] in ("ok", "note") for f in doctor(node)), "nothing is found", interval=0.3)
    done = wait_until(lambda: (d := run_vipctl(node, "doctor")).returncode == 0 and d, "nothing is said", interval=0.3)
    assert "Nothing is wrong" in done.stdout and "!!" not in done.stdout
    assert "2 other nodes answer on port 61420" in done.stdout
    assert "\033" not in done.stdout and "\033[32mOK" in run_vipctl(node, "doctor", "--color=always").stdout
    assert "OK" not in run_vipctl(node, "doctor", "--quiet").stdout
    # Whom it asked was not disturbed by it.
    assert all(n.links()["transport"]["malformed"] == 0 for n in overlay.nodes)
    overlay.wait_all_up()


@pytest.mark.overlay(nodes=1)
def test_vipd_does_not_run(overlay):
    [node] = overlay.nodes
    f = finds(node, "vipd", "no vipd answers")
    assert "No such file" in f["evidence"]
    node.start()
    wait_until(lambda: node.ask("/v1/status"), "it runs")
    # Whom only root may ask.
    overlay.dir.chmod(0o755)
    f = finds(node, "vipd", before=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert "Permission denied" in f["evidence"] and "root" in f["mend"]
    node.stop(9)
    assert "Connection refused" in finds(node, "vipd", "no vipd answers")["evidence"]


SYSTEMCTL = """#!/bin/sh
# What systemctl show prints of a service that has failed, in an order of its own.
[ "$1 $2" = "show vipd.service" ] && printf 'Result=exit-code\\nActiveState=failed\\nLoadState=loaded\\nSubState=failed\\n'
"""
JOURNALCTL = """#!/bin/sh
printf 'giving up: Operation not permitted\\n'
"""


@pytest.mark.overlay(nodes=1)
def test_what_systemd_knows_of_it(overlay):
    """By stand-ins for its tools: there is no systemd here."""
    [node] = overlay.nodes
    tools = overlay.dir / "bin"
    tools.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    f = finds(node, "vipd", "no vipd answers", env={"PATH": f"{tools}:{os.environ['PATH']}"},
              before=["unshare", "--mount", "sh", "-c",
                      'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$0" "$@"'])
    assert "vipd.service is failed (failed), result exit-code" in f["evidence"]
    assert "its last words: giving up: Operation not permitted" in f["evidence"]


@pytest.mark.overlay(nodes=1)
@pytest.mark.skipif(os.path.exists("/proc/net/ip_vs"), reason="this kernel has IPVS")
def test_no_ipvs(overlay):
    [node] = overlay.nodes
    node.start(kernel="ipvs")
    wait_until(lambda: not node.running, "it gives up")
    assert "modprobe ip_vs" in finds(node, "modules", "no module ip_vs")["mend"]
    finds(node, "vipd", "no vipd answers")


@pytest.mark.overlay(nodes=3)
def test_a_blocked_port(overlay):
    a, b, c = overlay.nodes
    overlay.drop(*(f"{way} p{c.number} meta l4proto {{ tcp, udp }} th dport {PORT}" for way in ("iifname", "oifname")))
    overlay.start()
    overlay.wait_all_up([a, b])
    f = finds(a, "peers", f"{c.address} does not answer on port {PORT}")
    assert f"--dport {PORT}" in f["mend"] and "tcp" in f["mend"] and "udp" in f["mend"]
    finds(c, "peers", a.address, b.address, "do not answer")
    overlay.heal()
    overlay.wait_all_up()
    finds(a, "peers", "2 other nodes answer", severity="ok")


@pytest.mark.overlay(nodes=2)
def test_a_blocked_udp_port(overlay):
    a, b = overlay.nodes
    overlay.drop(f"meta l4proto udp th dport {PORT}")
    overlay.up()
    f = finds(a, "peers", f"no UDP from {b.address}", severity="warning")
    assert "udp" in f["mend"]
    assert b.address not in [x["text"] for x in doctor(a) if x["severity"] == "error"]


@pytest.mark.overlay(nodes=3)
@pytest.mark.parametrize("what", ["key", "cluster"])
def test_another_key_or_cluster(overlay, what):
    a, b, alone = overlay.nodes
    other = overlay.write_keys([overlay.new_key()], overlay.dir / "other-key")
    overlay.up([a, b])
    alone.start(**({"key_file": other} if what == "key" else {"cluster": "another"}))
    wait_until(lambda: alone.ask("/v1/links"), "it runs")
    f = finds(a, "peers", alone.address, "another key, another cluster's name")
    assert "sha256sum" in f["mend"] and "cluster" in f["mend"]
    finds(alone, "peers", a.address, b.address, "another key, another cluster's name")


@pytest.mark.overlay(nodes=1)
def test_a_key_file_that_will_not_do(overlay):
    [node] = overlay.nodes
    node.start()
    wait_until(lambda: node.ask("/v1/status"), "it runs")
    overlay.key_file.chmod(0o644)
    assert f"chmod 600 {overlay.key_file}" in finds(node, "key", "others may read")["mend"]
    overlay.key_file.chmod(0o600)
    overlay.key_file.write_text("0123\n")
    assert "line 1" in finds(node, "key", "one to three keys")["evidence"]
    overlay.key_file.unlink()
    assert "from another node" in finds(node, "key", "until vipd's next start", severity="warning")["mend"]
    node.stop()
    node.start()
    wait_until(lambda: node.ask("/v1/status"), "it runs without an overlay")
    assert "vipctl keygen" in finds(node, "key", "so the overlay is off", severity="warning")["mend"]
    assert "overlay" not in [f["check"] for f in doctor(node)], "it is said once"
    for command in ("members", "links", "graph"):
        assert f"the overlay is off: {overlay.key_file}: No such file" in run_vipctl(node, command).stderr


@pytest.mark.overlay(nodes=1)
def test_networks_where_vips_are(overlay):
    [node] = overlay.nodes
    node.start()
    wait_until(lambda: node.ask("/v1/table"), "it has a table")
    finds(node, "overlap", "no network", severity="ok")
    node.run("ip route add 11.7.0.0/16 via 10.9.200.1")
    f = finds(node, "overlap", "range of named VIPs")
    assert f["evidence"] == "11.7.0.0/16 via 10.9.200.1 dev eth0" and "named_range" in f["mend"]
    node.run("ip route del 11.7.0.0/16; ip route add 9.9.0.0/16 dev eth0")
    finds(node, "overlap", "9.9.9.9:80 lies in a network", severity="warning")


MASTER = """
import email.utils, http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401, "Unauthorized")
        self.send_header("Content-Length", "0")
        self.end_headers()
    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(time.time() - 3600, usegmt=True)
    def log_message(self, *args):
        pass
http.server.HTTPServer((sys.argv[1], 5050), Handler).serve_forever()
"""


@pytest.mark.overlay(nodes=1)
def test_a_master_with_another_clock_wants_credentials(overlay):
    [node] = overlay.nodes
    master = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.netns}", sys.executable, "-c", MASTER, node.address])
    try:
        node.start(source="mesos", masters=f"http://{node.address}:5050", poll_interval="200ms")
        f = wait_until(lambda: "401" in (f := finds(node, "source", "there are no VIPs"))["evidence"] and f, "it asks")
        assert "credentials" in f["mend"]
        f = finds(node, "clock", "ahead of the master's", severity="warning")
        assert "36" in f["evidence"] and "timedatectl" in f["mend"]
    finally:
        master.kill()
        master.wait()
    f = finds(node, "source", "does not answer this node", severity="warning")
    assert f"{node.address}:5050" in f["text"]


@pytest.mark.overlay(nodes=1)
def test_names_that_do_not_resolve(overlay):
    """The resolver of /etc/resolv.conf is nobody, then vipd itself."""
    [node] = overlay.nodes
    overlay.vip = "/web:80"
    overlay.write_document()
    node.start()
    wait_until(lambda: node.ask("/v1/table") and node.ask("/v1/status")["dns"]["names"], "it has a name")
    resolv_conf = overlay.dir / "resolv.conf"
    here = ["unshare", "--mount", "sh", "-c", f'mount --bind {resolv_conf} /etc/resolv.conf; exec "$0" "$@"']
    for server, mend in [("127.0.0.53", "/etc/systemd/resolved.conf.d"), ("127.0.0.9", "/etc/dnsmasq.d"),
                         (node.address, "docs/dns.md")]:
        resolv_conf.write_text(f"nameserver {server}\n")
        f = finds(node, "names", "do not resolve", severity="warning", before=here)
        assert "web.marathon" in f["evidence"] and "127.0.0.61" in f["mend"] and mend in f["mend"]
    resolv_conf.write_text("nameserver 127.0.0.61\n")
    finds(node, "names", "web.marathon", "resolves", severity="ok", before=here)


@pytest.mark.overlay(nodes=1)
def test_ports_that_others_have(overlay):
    [node] = overlay.nodes
    other = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.netns}", sys.executable, "-c", """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.61", 53))
t = socket.create_server(("127.0.0.1", 62080))
print("bound", flush=True)
time.sleep(600)
"""], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"bound\n"
        node.start()
        wait_until(lambda: node.ask("/v1/table"), "it runs all the same")
        f = finds(node, "names", "127.0.0.61 port 53")
        assert "in use" in f["evidence"] and "ss -lunp" in f["mend"]
        f = finds(node, "http", "127.0.0.1:62080", severity="warning")
        assert "in use" in f["evidence"] and "http_listen" in f["mend"]
    finally:
        other.kill()
        other.wait()


CLIENT = """
import socket, sys, time
listener = socket.create_server(("9.9.9.9", 80), backlog=100)
clients = [socket.create_connection(("9.9.9.9", 80)) for _ in range(int(sys.argv[1]))]
print("connected", flush=True)
time.sleep(600)
"""


@pytest.mark.overlay(nodes=1)
def test_local_ports_run_out(overlay):
    [node] = overlay.nodes
    node.run("ip addr add 9.9.9.9/32 dev lo; sysctl -qw net.ipv4.ip_local_port_range='40000 40019'")
    node.start()
    wait_until(lambda: node.ask("/v1/table"), "it has a table")
    client = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.netns}", sys.executable, "-c", CLIENT, "17"],
                              stdout=subprocess.PIPE)
    try:
        assert client.stdout.readline() == b"connected\n"
        f = finds(node, "ports", "running out of ports", "9.9.9.9:80", severity="warning")
        assert "17 of 20" in f["evidence"] and "ip_local_port_range" in f["mend"]
    finally:
        client.kill()
        client.wait()


@pytest.mark.overlay(nodes=1)
def test_vipd_lacks_privileges_and_files(overlay):
    [node] = overlay.nodes
    command = [str(VIPD), "--config", "/dev/null", f"--source=file:{overlay.document}", "--kernel=none",
               f"--node-address={node.address}", "--ipv6=no", f"--socket={node.socket}", f"--state-dir={node.dir}",
               f"--key-file={overlay.key_file}"]
    node.process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{node.netns}", "setpriv", "--bounding-set=-net_bind_service", *command],
        stdin=subprocess.DEVNULL, stderr=open(node.log, "wb"), start_new_session=True)
    wait_until(lambda: node.ask("/v1/status"), "it runs")
    f = finds(node, "privileges", "CAP_NET_BIND_SERVICE", severity="warning")
    assert "CapabilityBoundingSet" in f["mend"]
    n = len(os.listdir(f"/proc/{node.process.pid}/fd"))
    subprocess.run(["prlimit", f"--pid={node.process.pid}", f"--nofile={n + 3}"], check=True)
    assert "LimitNOFILE" in finds(node, "files", "file descriptors", severity="warning")["mend"]
