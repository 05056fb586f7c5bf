# SPDX-License-Identifier: GPL-2.0-or-later
"""vipd touches what is its own, and nothing else."""
import pytest
from cluster import says, wait_until

IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"

FOREIGN = """
ip link add foreign0 type dummy
ip link set foreign0 up
ip addr add 7.7.7.7/32 dev foreign0
ip route add local 7.7.7.8 dev foreign0
ip route add local 7.7.8.0/24 dev lo
ipvsadm -A -t 7.7.7.7:80 -s rr
ipvsadm -a -t 7.7.7.7:80 -r 10.0.0.12:80 -m -w 7
ipvsadm -a -t 7.7.7.7:80 -r 10.0.0.13:80 -g
ipvsadm -A -f 42 -s wlc -p 60
ipvsadm -A -u [fd00:7::7]:53 -s wlc
ipset create foreign hash:ip,port
ipset add foreign 7.7.7.7,tcp:80
ipset create vipd-not-quite hash:ip
"""


def foreign_state(node):
    """The lines of the kernel's state that the commands above have made."""
    return {what: [l for l in lines if any(f in l for f in ("7.7.", "fd00:7::7", "-f 42", "foreign", "not-quite"))]
            for what, lines in node.kernel_state().items()}


def make_foreign(node):
    node.run("set -e\n" + FOREIGN)
    state = foreign_state(node)
    assert state["ipvs"] and state["set"] and state["route"]
    return state


def test_flush_removes_all_that_is_vipds_and_nothing_else(cluster):
    node = cluster.nodes[0]
    node.run("modprobe -a ip_vs ip_vs_rr || true")
    empty = node.kernel_state()
    foreign = make_foreign(node)
    only_foreign = node.kernel_state()
    node.start_vipd()
    cluster.deploy("/web", {**IP_VIP, "VIP_1": "/web:80"}, instances=2)
    cluster.deploy("/six", {"VIP_0": "[fd01:d::1]:80"}, network="container", families=[6])
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    cluster.wait_in_step([node])
    assert foreign_state(node) == foreign
    assert node.vipctl("flush", json=False).returncode == 0
    wait_until(lambda: foreign_state(node) == foreign, "the foreign state is as it was")
    after = node.kernel_state()
    for what in ("ipvs", "set", "route", "route6", "link"):
        assert after[what] == only_foreign[what], what
    assert empty["ipvs"] == []


def test_foreign_state_survives_changes_and_restarts(cluster):
    node = cluster.nodes[0]
    foreign = make_foreign(node)
    for how in ("stop_vipd", "kill_vipd"):
        node.start_vipd()
        cluster.deploy("/web", IP_VIP, instances=2)
        cluster.wait_backends(VIP, cluster.backends("/web"), [node])
        cluster.control("remove", app="/web")
        cluster.wait_backends(VIP, None, [node])
        getattr(node, how)()
        assert foreign_state(node) == foreign


def test_a_service_of_others_is_a_conflict_and_left_alone(cluster):
    node = cluster.nodes[0]
    node.run("ipvsadm -A -t 1.2.3.4:5000 -s rr && ipvsadm -a -t 1.2.3.4:5000 -r 10.0.0.12:99 -m -w 3")
    node.start_vipd()
    cluster.deploy("/web", IP_VIP)
    cluster.deploy("/other", {"VIP_0": "1.2.3.5:80"})
    cluster.wait_backends("tcp 1.2.3.5:80", cluster.backends("/other"), [node])
    assert node.services()[VIP] == {"10.0.0.12:99": 3}
    assert node.status()["kernel"]["conflicts"] == 1


def test_it_works_again_after_a_flush_and_a_restart(cluster):
    node = cluster.nodes[0]
    node.start_vipd()
    cluster.deploy("/web", IP_VIP, instances=2)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    node.vipctl("flush", json=False)
    assert node.services() == {}
    node.restart_vipd()
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    cluster.wait_in_step([node])
    assert len({says(a)["pid"] for a in node.ask("1.2.3.4:5000", 8)}) == 2


@pytest.mark.parametrize("damage", [
    "ipvsadm -d -t 1.2.3.4:5000 -r {backend}", "ip link del vipd0", "ipset flush vipd",
    "ip route flush table local 1.2.3.4", "ipvsadm -e -t 1.2.3.4:5000 -r {backend} -m -w 9"])
def test_damage_is_seen_by_diff_and_mended_by_a_restart(cluster, damage):
    node = cluster.nodes[0]
    node.start_vipd()
    cluster.deploy("/web", IP_VIP, instances=2)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    cluster.wait_in_step([node])
    whole = node.kernel_state()
    node.run(damage.format(backend=sorted(cluster.backends("/web"))[0]))
    if not same_but_counters(node.kernel_state(), whole):
        node.restart_vipd()
    cluster.wait_in_step([node])
    wait_until(lambda: same_but_counters(node.kernel_state(), whole), "all is as it was")
    assert node.diff() == ""


def same_but_counters(a, b):
    """Equal, but for what a new link or set gets at random or counts up."""
    import re

    def plain(state):
        return {what: sorted(re.sub(r"initval \S+|^\d+: |link/ether \S+", "", l) for l in lines)
                for what, lines in state.items()}
    return plain(a) == plain(b)


def test_service_made_behind_vipds_back_stays_foreign(cluster):
    """It came after the kernel was last read, and a VIP wants its place before the next reading."""
    node = cluster.nodes[0]
    node.start_vipd(audit_interval="60s")
    cluster.deploy("/other", {"VIP_0": "/other:80"}, instances=1)
    cluster.wait_in_step([node])
    node.run("ipvsadm -A -t 1.2.3.4:5000 -s rr && ipvsadm -a -t 1.2.3.4:5000 -r 10.9.9.9:80 -m -w 7")
    cluster.deploy("/web", IP_VIP, instances=2)
    wait_until(lambda: any(v["vip"] == "1.2.3.4:5000" and v["state"] == "conflict" for v in node.vipctl("vips")),
               "the VIP is a conflict")
    lines = [l for l in node.run("ipvsadm -Sn").stdout.splitlines() if "1.2.3.4:5000" in l]
    assert lines == ["-A -t 1.2.3.4:5000 -s rr", "-a -t 1.2.3.4:5000 -r 10.9.9.9:80 -m -w 7"]
    assert "1.2.3.4,tcp:5000" not in node.run("ipset list vipd").stdout
    assert "1.2.3.4" not in node.run("ip route show table local dev vipd0").stdout
    node.run("ipvsadm -D -t 1.2.3.4:5000")
