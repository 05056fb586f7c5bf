# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operator's hand, or a script gone wrong, does to the kernel is found and mended by itself."""
import signal
import time

import pytest
from cluster import wait_until
from paper import Backend, Paper

AUDIT = "300ms"


def paper_of_every_kind(path, node):
    """TCP, UDP, IPv6, a name, two ports on one address, weight 0, a backend on this node."""
    paper = Paper(path)
    paper.set_app("/web", {"VIP_0": "1.2.3.4:80", "VIP_1": "/web:80"},
                  [Backend("10.0.0.12", 31000), Backend("10.0.0.13", 31000, healthy=False),
                   Backend(node.address, 31000, container=("172.17.0.5", 80))])
    paper.set_app("/more", {"VIP_0": "1.2.3.4:81"}, [Backend("10.0.0.12", 31001)])
    paper.set_app("/dns", {"VIP_0": "1.2.3.5:53"}, [Backend("10.0.0.12", 31002), Backend("10.0.0.13", 31002)], "udp")
    paper.set_app("/six", {"VIP_0": "[fd01:d::1]:80"}, [Backend("10.0.0.12", 31003, address6="fd00:aa::12"),
                                                        Backend("10.0.0.13", 31003, address6="fd00:aa::13")])
    paper.write()
    return paper


def start(cluster, **options):
    node = cluster.nodes[0]
    paper = paper_of_every_kind(cluster.dir / "tasks.json", node)
    node.start_vipd(**{"masters": None, "source": paper.source, "audit_interval": AUDIT, **options})
    assert_mended(paper, node)
    return node, paper


def assert_mended(paper, node, within=20):
    def mended():
        wrong = paper.differs(node)
        assert not wrong, "\n" + "\n".join(wrong)
        return True
    wait_until(mended, "the kernel holds what the document says", within)


DAMAGES = [
    "ipvsadm -C",
    "ipvsadm -D -t 1.2.3.4:80",
    "ipvsadm -D -u 1.2.3.5:53",
    "ipvsadm -d -t 1.2.3.4:80 -r 10.0.0.12:31000",
    "ipvsadm -d -t [fd01:d::1]:80 -r [fd00:aa::12]:31003",
    "ipvsadm -e -t 1.2.3.4:80 -r 10.0.0.12:31000 -m -w 7",
    "ipvsadm -e -t 1.2.3.4:80 -r 10.0.0.13:31000 -m -w 1",
    "ipvsadm -e -t 1.2.3.4:80 -r 10.0.0.12:31000 -m -w 1 -x 9 -y 3",
    "ipvsadm -a -t 1.2.3.4:80 -r 10.0.0.77:31000 -m",
    "ipvsadm -E -t 1.2.3.4:80 -s rr",
    "ipvsadm -E -t 1.2.3.4:80 -s wlc -p 50",
    "ip route del local 1.2.3.4 dev vipd0 table local",
    "ip route replace local 1.2.3.4 dev vipd0 table local src 127.0.0.1",
    "ip -6 route del local fd01:d::1 dev vipd0 table local",
    "ip route flush table local dev vipd0; ip -6 route flush table local dev vipd0",
    "ip route add local 1.2.9.9 dev vipd0 table local",
    "ip link del vipd0",
    "ip link set vipd0 down",
    "ipset flush",
    "ipset flush vipd6",
    "ipset destroy",
    "ipset del vipd 1.2.3.4,tcp:80; ipset add vipd 1.2.3.4,tcp:22; ipset del vipd-ip6 fd01:d::1",
    # Two of the three marks by which a start would know its own.
    "ip link del vipd0; ipset destroy",
    "ip link del vipd0; ipvsadm -E -t 1.2.3.4:80 -s rr",
    "ipvsadm -C; ip link del vipd0; ipset destroy",
]


def test_whatever_is_damaged_is_repaired_counted_and_logged(cluster):
    node, paper = start(cluster)
    for damage in DAMAGES:
        repairs = node.status()["kernel"]["repairs"]
        # Stopped meanwhile, or the damage may be mended before we have seen it.
        node.vipd.send(signal.SIGSTOP)
        node.run(damage)
        assert paper.differs(node), f"it does damage: {damage}"
        node.vipd.send(signal.SIGCONT)
        began = time.monotonic()
        try:
            assert_mended(paper, node)
        except AssertionError as e:
            raise AssertionError(f"{damage}: {e}") from None
        assert time.monotonic() - began < 10, damage
        wait_until(lambda: node.status()["kernel"]["repairs"] > repairs, f"it is counted: {damage}")
    assert node.vipd.output().count("differs from the table") >= len(DAMAGES)
    wait_until(lambda: node.diff() == "", "in step")


def test_with_the_default_interval_within_30_seconds(cluster):
    node, paper = start(cluster, audit_interval=None)
    time.sleep(1)
    node.run("ipvsadm -C; ip link del vipd0; ipset destroy")
    began = time.monotonic()
    assert_mended(paper, node, 30)
    print(f"repaired after {time.monotonic() - began:.1f} s")


def test_a_repair_cuts_no_connection_of_what_was_not_damaged(cluster):
    cluster.start_vipds(audit_interval=AUDIT)
    cluster.deploy("/web", {"VIP_0": "1.2.3.4:5000"}, instances=2)
    cluster.deploy("/other", {"VIP_0": "1.2.3.5:5000"})
    cluster.wait_backends("tcp 1.2.3.4:5000", cluster.backends("/web"))
    client = cluster.master
    load = client.load("1.2.3.4:5000", connections=5, streams=5, rate=50)
    wait_until(lambda: sum(client.connections("tcp 1.2.3.4:5000").values()) == 10, "the connections are made")
    repairs = 0
    for damage in ("ipvsadm -D -t 1.2.3.5:5000", "ipset flush", "ipset destroy", "ip route del local 1.2.3.5 dev vipd0",
                   "ipvsadm -a -t 1.2.3.4:5000 -r 10.0.0.77:1 -m -w 0"):
        client.run(damage)
        repairs = wait_until(lambda: (n := client.status()["kernel"]["repairs"]) > repairs and n, f"repaired: {damage}")
        wait_until(lambda: client.diff() == "", f"in step: {damage}")
    report = load.stop()
    assert report["failures"]["total"] == 0 and report["streams"]["open"] == 5, report


@pytest.mark.parametrize("damage", ["ipvsadm -C", "ip link del vipd0"])
def test_a_failing_source_does_not_hinder_repairs(cluster, damage):
    node, paper = start(cluster)
    good = paper.path.read_text()
    paper.path.write_text("{")
    wait_until(lambda: not node.status()["source"]["ok"], "the document cannot be read")
    node.run(damage)
    assert_mended(paper, node)
    paper.path.write_text(good)


@pytest.mark.parametrize("routed", [False, True])
def test_a_strangers_service_made_just_before_is_left_alone(cluster, routed):
    """Between two audits vipd does not know of it, and tries to add its own."""
    node, paper = start(cluster, audit_interval="1h")
    key = ("tcp", "1.2.3.4" if routed else "1.2.3.9", 99)
    stranger = [f"-A -t {key[1]}:99 -s rr", f"-a -t {key[1]}:99 -r 10.0.0.14:99 -m -w 3"]
    node.run("\n".join(f"ipvsadm {l}" for l in stranger))
    paper.set_app("/late", {"VIP_0": f"{key[1]}:99"}, [Backend("10.0.0.12", 31009)])
    paper.write()

    def conflict():
        assert paper.differs(node, without=[key], foreign=":99 ") == []
        return node.status()["kernel"]["conflicts"] == 1
    wait_until(conflict, "it is a conflict, and all else is in place")
    for _ in range(2):
        node.kill_vipd()
        node.start_vipd(masters=None, source=paper.source, audit_interval=AUDIT)
        wait_until(conflict, "it is a conflict after a restart")
    paper.remove_app("/late")
    paper.write()
    wait_until(lambda: node.status()["kernel"]["conflicts"] == 0, "it is none any more")
    assert node.run("ipvsadm -Sn | grep :99").stdout.split() == " ".join(stranger).split()
    # Once the stranger is gone, the VIP is ours.
    paper.set_app("/late", {"VIP_0": f"{key[1]}:99"}, [Backend("10.0.0.12", 31009)])
    paper.write()
    wait_until(conflict, "a conflict again")
    node.run(f"ipvsadm -D -t {key[1]}:99")
    assert_mended(paper, node)


def test_after_a_flush_nothing_is_repaired(cluster):
    node, paper = start(cluster)
    node.vipctl("flush", json=False)
    time.sleep(1)
    assert node.services() == {} and "vipd" not in node.run("ipset list -n; ip -o link").stdout


def test_a_set_of_its_name_but_another_kind_is_told_and_waited_for(cluster):
    """It cannot be used, and is not ours to remove."""
    node, paper = start(cluster)
    node.run("ipset destroy vipd && ipset create vipd hash:ip && ipset add vipd 9.9.9.9")
    wait_until(lambda: node.status()["kernel"]["failing_steps"], "it fails")
    assert "9.9.9.9" in node.run("ipset list vipd").stdout
    assert {line for line in paper.differs(node) if "vipd 9.9.9.9" not in line} == {
        line for line in paper.differs(node) if "add vipd " in line and "9.9.9.9" not in line}, "all else is in place"
    node.run("ipset destroy vipd")
    assert_mended(paper, node)
    wait_until(lambda: node.status()["kernel"]["failing_steps"] == 0, "it fails no more")
