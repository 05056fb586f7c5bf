# SPDX-License-Identifier: GPL-2.0-or-later
"""With slow_start a new backend of a busy VIP gets its share by and by, instead of every new connection until it
has caught up (test_facts.py shows that)."""
import time

from cluster import wait_until

IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"


def test_a_newcomer_is_eased_in_and_all_weigh_the_same_in_the_end(cluster):
    node = cluster.master
    node.start_vipd(slow_start="6s")
    cluster.deploy("/web", IP_VIP, instances=2)
    old = cluster.backends("/web")
    cluster.wait_backends(VIP, dict.fromkeys(old, 1), [node])
    loads = [node.load("1.2.3.4:5000", connections=20, rate=40)]
    wait_until(lambda: sum(node.connections(VIP).values()) == 20, "20 connections are made")
    cluster.scale("/web", 3)
    [new] = wait_until(lambda: set(node.services()[VIP]) - old, "the third backend is in the kernel")
    began = time.monotonic()
    weights = node.services()[VIP]
    assert weights[new] < min(weights[b] for b in old)
    loads.append(node.load("1.2.3.4:5000", connections=10, rate=20))
    wait_until(lambda: sum(node.connections(VIP).values()) == 30, "10 more are made")
    shares = node.connections(VIP)
    assert 0 < shares[new] <= 5, f"of 10 new ones, without slow_start all: {shares}"
    wait_until(lambda: set(node.services()[VIP].values()) == {1}, "all weigh the same")
    assert time.monotonic() - began > 4
    assert loads[0].stop()["failures"]["total"] == 0
    loads[1].stop()  # it may have met a server that was just starting
    assert node.diff() == ""
