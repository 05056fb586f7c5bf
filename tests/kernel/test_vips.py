# SPDX-License-Identifier: GPL-2.0-or-later
"""From a label to an answer, on every node, and everything that changes a backend."""
import pytest
from cluster import says, wait_until

NAMED = {"VIP_0": "/dcos-101/app2:10000"}
# min + phash2("dcos-101app2.marathon") mod (max - min), by Erlang.
IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"


def named_address(node, port):
    """Where the only named VIP of this port is, as vipctl says."""
    [vip] = [v for v in node.vips() if v.endswith(f":{port}") and not v.startswith("tcp 1.2.3.4")]
    return vip.split()[1]


def test_named_and_ip_vip_answer_on_every_node(cluster):
    cluster.start_vipds()
    cluster.deploy("/dcos-101/app2", {**NAMED, "VIP_1": "1.2.3.4:5000"}, instances=4)
    cluster.wait_backends(VIP, cluster.backends("/dcos-101/app2"))
    named = named_address(cluster.master, 10000)
    assert named.startswith("11.")
    pids = {t["pid"] for t in cluster.tasks()}
    # node1 and node2 run backends themselves, the master's node none.
    for node in cluster.every_node:
        assert named_address(node, 10000) == named
        for target in ("1.2.3.4:5000", named):
            assert {says(a)["pid"] for a in node.ask(target, 12)} == pids, f"{node.name} asking {target}"
    for node in cluster.every_node:
        assert node.diff() == ""


def test_backends_see_the_nodes_own_address(cluster):
    """No source NAT: the preferred source of the VIP's route is the node's address."""
    cluster.start_vipds()
    cluster.deploy("/web", IP_VIP, agents=[cluster.nodes[0].address])
    cluster.wait_backends(VIP, cluster.backends("/web"))
    route = cluster.master.run("ip route get 1.2.3.4").stdout
    assert "src 10.0.0.1 " in route, route
    load = cluster.master.load("1.2.3.4:5000", streams=1, connections=0)
    wait_until(lambda: "10.0.0.1:" in cluster.nodes[0].run("ss -Htn state established").stdout,
               "the backend sees a connection from the master's node")
    assert load.stop()["failures"]["total"] == 0


def test_backends_come_and_go(cluster):
    cluster.start_vipds()
    cluster.deploy("/web", IP_VIP)
    cluster.wait_backends(VIP, cluster.backends("/web"))
    cluster.scale("/web", 3)
    cluster.wait_backends(VIP, cluster.backends("/web"))
    client = cluster.master
    assert {says(a)["pid"] for a in client.ask("1.2.3.4:5000", 12)} == {t["pid"] for t in cluster.tasks()}
    cluster.kill_task(cluster.tasks("/web")[0]["id"])
    cluster.wait_backends(VIP, cluster.backends("/web"))
    assert {says(a)["pid"] for a in client.ask("1.2.3.4:5000", 12)} == {t["pid"] for t in cluster.tasks()}
    cluster.control("remove", app="/web")
    cluster.wait_backends(VIP, None)
    for node in cluster.every_node:
        assert "1.2.3.4" not in str(node.kernel_state())
        assert node.connect_error("1.2.3.4:5000") is not None


@pytest.mark.parametrize("how", ["unhealthy", "being killed"])
def test_weight_0_keeps_connections_and_avoids_new_ones(cluster, how):
    cluster.start_vipds()
    cluster.deploy("/web", IP_VIP, instances=2)
    cluster.wait_backends(VIP, cluster.backends("/web"))
    client = cluster.master
    streams = client.load("1.2.3.4:5000", connections=0, streams=4)
    wait_until(lambda: sum(client.connections(VIP).values()) == 4, "the streams are made")
    assert all(client.connections(VIP).values()), "each backend has some"
    ill, well = cluster.tasks("/web")
    if how == "unhealthy":
        cluster.control("health", task=ill["id"], healthy=False)
    else:
        cluster.control("end", task=ill["id"], state="TASK_KILLING")
    weights = {f"{ill['address']}:{ill['ports'][0]}": 0, f"{well['address']}:{well['ports'][0]}": 1}
    cluster.wait_backends(VIP, weights)
    assert {says(a)["pid"] for a in client.ask("1.2.3.4:5000", 10)} == {well["pid"]}
    if how == "unhealthy":
        cluster.control("health", task=ill["id"], healthy=True)
        cluster.wait_backends(VIP, dict.fromkeys(weights, 1))
        assert {says(a)["pid"] for a in client.ask("1.2.3.4:5000", 12)} == {ill["pid"], well["pid"]}
    report = streams.stop()
    assert report["streams"]["open"] == 4 and report["connections"]["cut"] == 0


def test_udp(cluster):
    cluster.start_vipds()
    cluster.deploy("/dns", {"VIP_0": "1.2.3.4:53"}, instances=2, protocol="udp")
    cluster.wait_backends("udp 1.2.3.4:53", cluster.backends("/dns"))
    pids = {t["pid"] for t in cluster.tasks()}
    for node in cluster.every_node:
        assert {says(a)["pid"] for a in node.ask_udp("1.2.3.4:53", 20)} == pids
    # A UDP flow never leaves a backend that is there, so one that is gone must go at once.
    cluster.kill_task(cluster.tasks("/dns")[0]["id"])
    cluster.wait_backends("udp 1.2.3.4:53", cluster.backends("/dns"))
    assert {says(a)["pid"] for a in cluster.master.ask_udp("1.2.3.4:53", 20)} == {cluster.tasks()[0]["pid"]}


def test_tcp_and_udp_on_one_port_are_two_vips(cluster):
    cluster.start_vipds()
    cluster.deploy("/t", {"VIP_0": "1.2.3.4:53"})
    cluster.deploy("/u", {"VIP_0": "1.2.3.4:53"}, protocol="udp")
    cluster.wait_backends("tcp 1.2.3.4:53", cluster.backends("/t"))
    cluster.wait_backends("udp 1.2.3.4:53", cluster.backends("/u"))
    cluster.control("remove", app="/u")
    cluster.wait_backends("udp 1.2.3.4:53", None)
    assert len(cluster.master.ask("1.2.3.4:53", 2)) == 2, "the route stays as long as one of them is there"


def test_ipv6(cluster):
    """An IPv6 VIP takes the IPv6 addresses of its tasks only, and a named VIP has both families."""
    cluster.start_vipds()
    cluster.deploy("/six", {"VIP_0": "[fd01:d::1]:80", "VIP_1": "/six:80"}, instances=2, network="container",
                   families=[4, 6])
    backends6 = {f"[{t['address6']}]:{t['ports'][0]}" for t in cluster.tasks()}
    cluster.wait_backends("tcp [fd01:d::1]:80", backends6)
    cluster.wait_in_step()
    pids = {t["pid"] for t in cluster.tasks()}
    vips = [v.split()[1] for v in cluster.master.vips()]
    assert len(vips) == 3 and len([v for v in vips if v.startswith("[fd01:c:")]) == 1
    for node in cluster.every_node:
        for vip in vips:
            assert {says(a)["pid"] for a in node.ask(vip, 8)} == pids, f"{node.name} asking {vip}"


def test_no_ipv6_if_told(cluster):
    cluster.start_vipds(ipv6="no")
    cluster.deploy("/six", {"VIP_0": "[fd01:d::1]:80", "VIP_1": "1.2.3.4:80"}, network="container", families=[4, 6])
    cluster.wait_backends("tcp 1.2.3.4:80", cluster.backends("/six"))
    cluster.wait_in_step()
    assert "fd01:d::1" not in str(cluster.master.kernel_state())


def test_a_bad_label_loses_only_itself(cluster):
    cluster.start_vipds()
    cluster.deploy("/good", IP_VIP)
    cluster.deploy("/bad", {"VIP_0": "1.2.3.4:99999"}, command=False)
    cluster.wait_backends(VIP, cluster.backends("/good"))
    cluster.wait_in_step()
    assert cluster.master.status()["table"]["rejected"] == 1
    assert set(cluster.master.services()) == {VIP}


def test_sets_hold_every_vip(cluster):
    cluster.start_vipds()
    cluster.deploy("/a", {"VIP_0": "1.2.3.4:80", "VIP_1": "1.2.3.4:81"})
    cluster.deploy("/b", {"VIP_0": "[fd01:d::1]:53"}, protocol="udp", network="container", families=[6])
    cluster.wait_backends("tcp 1.2.3.4:81", cluster.backends("/a"))
    cluster.wait_in_step()
    members = {l for l in cluster.master.run("ipset save").stdout.splitlines() if l.startswith("add vipd")}
    assert {m.split()[1] + " " + m.split()[2] for m in members} == {
        "vipd 1.2.3.4,tcp:80", "vipd 1.2.3.4,tcp:81", "vipd-ip 1.2.3.4",
        "vipd6 fd01:d::1,udp:53", "vipd-ip6 fd01:d::1"}


def test_many_vips_at_once(cluster):
    """A table of some size appears whole, is in step, and goes again. vipd lets go of at most 700
    drained backends in two minutes, so this stays below that."""
    node = cluster.nodes[0]
    node.start_vipd()
    cluster.control("batch", operations=[
        ["app", {"id": f"/app{i}", "instances": 5, "ports": [
            {"name": "http", "protocol": "tcp", "labels": {"VIP_0": f"/app{i}:80", "VIP_1": f"9.9.{i}.1:80"}}]}]
        for i in range(60)])
    wait_until(lambda: len(node.services()) == 120, "120 services are there")
    cluster.wait_in_step([node])
    assert all(len(d) == 5 for d in node.services().values())
    assert node.diff() == ""
    cluster.control("batch", operations=[["remove", {"app": f"/app{i}"}] for i in range(1, 60)])
    wait_until(lambda: len(node.services()) == 2, "118 of them are gone")
    cluster.wait_in_step([node])
    assert node.diff() == ""
