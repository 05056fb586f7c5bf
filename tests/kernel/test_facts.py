# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel does by itself, and vipd's design leans on. No vipd runs here: should a kernel change its
mind, this says so first. (Of programming: test_programming.c.)"""
import subprocess
import time

import pytest
from cluster import HELLOWORLD, Node, ip, wait_until

VIP = "1.2.3.4:5000"
BACKENDS = ("10.0.0.12:5000", "10.0.0.13:5000")


@pytest.fixture
def node(cluster):
    """A node with a link and a route to the VIP, with two servers on other nodes; the host's own server on the
    same port says "host"."""
    client, *others = cluster.nodes
    for n, (other, backend) in enumerate(zip(others, BACKENDS)):
        other.spawn(f"server{n}", [HELLOWORLD, "-listen", ":5000", "-host", backend, "-say-string", "backend", "-udp"])
    client.spawn("host", [HELLOWORLD, "-listen", ":5000", "-host", "host", "-say-string", "host"])
    client.run("set -e; ip link add vip0 type dummy; ip link set vip0 up; "
               f"ip route add local 1.2.3.4 dev vip0 src {client.address}; "
               "sysctl -qw net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.conn_reuse_mode=1")
    wait_until(lambda: client.run("ss -Hltn | grep -c :5000").stdout.strip() != "0", "they listen")
    return client


def service(node, *weights, protocol="t"):
    node.run("set -e\n" + "\n".join(
        [f"ipvsadm -A -{protocol} {VIP} -s wlc"] +
        [f"ipvsadm -a -{protocol} {VIP} -r {b} -m -w {w}" for b, w in zip(BACKENDS, weights)]))


def active(node, protocol="tcp"):
    return node.connections(f"{protocol} {VIP}")


@pytest.mark.cluster(nodes=3)
def test_without_a_destination_of_weight_a_connection_is_refused_at_once(node):
    for weights in ((), (0,), (0, 0)):
        service(node, *weights)
        began = time.monotonic()
        assert node.connect_error(VIP) == "refused", weights
        assert time.monotonic() - began < 3
        node.run(f"ipvsadm -D -t {VIP}")


@pytest.mark.cluster(nodes=3)
def test_a_local_address_without_its_service_is_the_hosts(node):
    """So the route goes first and comes last."""
    service(node, 1)
    assert "backend" in node.ask(VIP)[0]
    node.run(f"ipvsadm -D -t {VIP}")
    assert "host" in node.ask(VIP)[0]
    node.run("ip route del local 1.2.3.4 dev vip0; ip route add unreachable 1.2.3.4")
    assert node.connect_error(VIP) == "unreachable"
    node.run("ip route del unreachable 1.2.3.4")


@pytest.mark.cluster(nodes=3)
def test_weight_0_keeps_connections_and_edits_cut_none(node):
    service(node, 1, 1)
    load = node.load(VIP, connections=4, streams=4, rate=40)
    wait_until(lambda: sum(active(node).values()) == 8, "connected")
    for weights in ((0, 1), (1, 0), (0, 0), (5, 1), (1, 1)):
        for backend, weight in zip(BACKENDS, weights):
            node.run(f"ipvsadm -e -t {VIP} -r {backend} -m -w {weight}")
        time.sleep(0.2)
    node.run(f"ipvsadm -E -t {VIP} -s wlc")
    time.sleep(0.3)
    report = load.stop()
    assert report["failures"]["total"] == 0 and report["streams"]["open"] == 4


@pytest.mark.cluster(nodes=3)
def test_with_expire_nodest_conn_a_deleted_destinations_connections_end_and_no_others(node):
    service(node, 1, 1)
    load = node.load(VIP, connections=4, streams=0, rate=40, no_reconnect=True)
    wait_until(lambda: sum(active(node).values()) == 4, "connected")
    gone, stays = BACKENDS
    n = active(node)[gone]
    assert 0 < n < 4
    node.run(f"ipvsadm -d -t {VIP} -r {gone}")
    time.sleep(1)
    report = load.stop()
    assert report["connections"]["cut"] == n, "by RST, at once"
    assert [i["cut"] for i in report["instances"] if stays in i["id"]] == [0]


@pytest.mark.cluster(nodes=3)
def test_udp_flows_stay_at_weight_0_and_leave_what_is_deleted(node):
    """So a UDP destination is deleted, not drained."""
    service(node, 1, protocol="u")
    load = node.load(VIP, connections=1, rate=20, udp=True, timeout=0.5)
    flows = lambda: {b: c for b, (_, _, c) in node.destinations()[f"udp {VIP}"].items()}
    wait_until(lambda: flows()[BACKENDS[0]] == 1, "the flow is there")
    node.run(f"ipvsadm -e -u {VIP} -r {BACKENDS[0]} -m -w 0; ipvsadm -a -u {VIP} -r {BACKENDS[1]} -m -w 1")
    time.sleep(1)
    assert flows() == {BACKENDS[0]: 1, BACKENDS[1]: 0}, "it stays"
    node.run(f"ipvsadm -d -u {VIP} -r {BACKENDS[0]}")
    wait_until(lambda: flows() == {BACKENDS[1]: 1}, "it moves with its next packet")
    load.stop()


@pytest.mark.cluster(nodes=3)
def test_the_routes_preferred_source_is_a_local_clients_address(node):
    service(node, 1)
    for source in (node.address, None):
        node.run("ip route replace local 1.2.3.4 dev vip0" + (f" src {source}" if source else ""))
        shown = node.run("ip route get 1.2.3.4").stdout
        assert f"src {source or '1.2.3.4'} " in shown, shown


@pytest.mark.cluster(nodes=3)
def test_the_last_service_takes_ipvs_hooks_along(node):
    """Deleted and made again, the only service of a namespace loses its connections, and one beside which another
    stays does not, if connections may outlive their destination. So nothing is deleted to be made again."""
    node.run("sysctl -qw net.ipv4.vs.expire_nodest_conn=0")
    for others in (True, False):
        if others:
            node.run("ipvsadm -A -t 1.2.9.9:80 -s wlc")
        service(node, 1)
        load = node.load(VIP, connections=4, streams=0, rate=100, no_reconnect=True)
        wait_until(lambda: sum(active(node).values()) == 4, "connected")
        node.run(f"ipvsadm -D -t {VIP}")
        time.sleep(0.2)
        service(node, 1)
        time.sleep(0.5)
        report = load.stop()
        assert report["connections"]["cut"] == (0 if others else 4)
        node.run("ipvsadm -C")
    node.run("sysctl -qw net.ipv4.vs.expire_nodest_conn=1")


@pytest.mark.cluster(nodes=3)
def test_without_expire_nodest_conn_connections_hang_until_their_destination_is_back(node):
    """What vipd's sysctl is for: a client of a dead node is told at once."""
    node.run("sysctl -qw net.ipv4.vs.expire_nodest_conn=0")
    service(node, 1)
    load = node.load(VIP, connections=4, rate=100, no_reconnect=True, timeout=10)
    wait_until(lambda: sum(active(node).values()) == 4, "connected")
    node.run(f"ipvsadm -d -t {VIP} -r {BACKENDS[0]}")
    time.sleep(0.8)
    node.run(f"ipvsadm -a -t {VIP} -r {BACKENDS[0]} -m")
    time.sleep(1.5)
    report = load.stop()
    assert report["connections"]["cut"] == 0 and report["failures"]["total"] == 0
    assert report["requests"]["longest_gap_ms"] > 700, "they have waited"
    node.run("sysctl -qw net.ipv4.vs.expire_nodest_conn=1")


@pytest.mark.cluster(nodes=3)
def test_an_idle_newcomer_gets_every_new_connection_until_it_has_caught_up(node):
    """What slow_start is for."""
    service(node, 1)
    loads = [node.load(VIP, connections=6, rate=20)]
    wait_until(lambda: sum(active(node).values()) == 6, "connected")
    node.run(f"ipvsadm -a -t {VIP} -r {BACKENDS[1]} -m -w 1")
    loads.append(node.load(VIP, connections=5, rate=20))
    wait_until(lambda: sum(active(node).values()) == 11, "connected")
    assert active(node) == {BACKENDS[0]: 6, BACKENDS[1]: 5}
    for load in loads:
        load.stop()


CONNECT_FROM_ONE_PORT = """
import socket, struct, sys, time
def say():
    s = socket.socket()
    s.settimeout(5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.bind(("", 40000))
    began = time.monotonic()
    s.connect(("1.2.3.4", 5000))
    took = time.monotonic() - began
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(s.recv(1000).decode().split(" host ")[1].split()[0], took, flush=True)
    s.close()
say()
sys.stdin.readline()
say()
"""


@pytest.mark.cluster(nodes=3)
def test_a_port_that_is_used_again_is_scheduled_anew_and_at_once(node):
    """With expire_nodest_conn=1: new connections avoid weight 0 even if a client takes an old connection's port, and
    do not wait for it."""
    service(node, 1)
    client = subprocess.Popen(node._enter(["/usr/bin/python3", "-c", CONNECT_FROM_ONE_PORT]), text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    first, _ = client.stdout.readline().split()
    node.run(f"ipvsadm -e -t {VIP} -r {BACKENDS[0]} -m -w 0; ipvsadm -a -t {VIP} -r {BACKENDS[1]} -m -w 1")
    out, _ = client.communicate("\n", timeout=20)
    second, took = out.split()
    assert (first, second) == BACKENDS
    assert float(took) < 0.9, "not the second that a lost SYN waits"


@pytest.mark.cluster(nodes=3)
def test_persistence_keeps_a_client_on_weight_0_unless_expire_quiescent_template(node):
    """vipd's services have no persistence; the sysctl is for those whom others gave it, in the same namespace."""
    for expire in (0, 1):
        node.run(f"sysctl -qw net.ipv4.vs.expire_quiescent_template={expire}")
        service(node, 1)
        node.run(f"ipvsadm -E -t {VIP} -s wlc -p 60")
        assert BACKENDS[0] in node.ask(VIP)[0]
        node.run(f"ipvsadm -e -t {VIP} -r {BACKENDS[0]} -m -w 0; ipvsadm -a -t {VIP} -r {BACKENDS[1]} -m -w 1")
        assert BACKENDS[expire] in node.ask(VIP)[0]
        node.run(f"ipvsadm -D -t {VIP}")


@pytest.mark.cluster(nodes=3)
def test_forwarded_packets_are_balanced_only_if_the_address_is_local(node):
    """So VIPs are local on every node, also for the containers behind it."""
    service(node, 1)
    behind = Node(node.cluster, "behind", 98)
    ip([f"netns add {behind.netns}"])
    try:
        ip([f"link add behind0 type veth peer name eth0 netns {behind.netns}", "link set behind0 up",
            "addr add 172.19.0.1/24 dev behind0"], node.netns)
        ip(["link set lo up", "link set eth0 up", "addr add 172.19.0.2/24 dev eth0",
            "route add default via 172.19.0.1"], behind.netns)
        node.run("sysctl -qw net.ipv4.ip_forward=1")
        for other in node.cluster.nodes[1:]:
            other.run(f"ip route add 172.19.0.0/24 via {node.address}")
        assert "backend" in behind.ask(VIP)[0]
        node.run("ip route del local 1.2.3.4 dev vip0; ip route add unreachable 1.2.3.4")
        assert behind.connect_error(VIP) == "unreachable"
    finally:
        ip([f"netns del {behind.netns}"])
        node.run("ip route del unreachable 1.2.3.4; sysctl -qw net.ipv4.ip_forward=0", check=False)
        for other in node.cluster.nodes[1:]:
            other.run("ip route del 172.19.0.0/24", check=False)
        behind.dir.rmdir()
