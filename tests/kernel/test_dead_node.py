# SPDX-License-Identifier: GPL-2.0-or-later
"""A node dies, and the kernels of the others stop sending to it, while the master still says that its task
runs. The times are for a guest with one slow processor; tests/bench/bench_overlay.py has the figures."""
import contextlib
import os
import subprocess
import sys
import time

import pytest
from cluster import REPO, says, wait_until

GEN_STATE = REPO / "tests" / "bench" / "gen_state.py"

VIP = "7.7.7.1:80"
KEY = f"tcp {VIP}"


def weights(node, lost):
    return [w for b, w in node.services().get(KEY, {}).items() if b.startswith(f"{lost.address}:")]


@pytest.mark.cluster(nodes=3)
def test_a_dead_node_leaves_every_kernel_and_comes_back(cluster):
    cluster.start_vipds(key_file=cluster.new_key())
    cluster.deploy("/web", {"VIP_0": VIP}, instances=3)
    cluster.wait_backends(KEY, cluster.backends("/web"))
    cluster.wait_members()
    lost, *others = cluster.nodes
    others.append(cluster.master)
    load = cluster.master.load(VIP, connections=0, new=40, timeout=1)
    time.sleep(1)
    when = cluster.cut(lost)
    try:
        for n in others:
            wait_until(lambda n=n: not any(weights(n, lost)), f"{n.name} sends nothing more to {lost.name}", 15)
        took = time.monotonic() - when
        for n in others:
            wait_until(lambda n=n: not weights(n, lost), f"{lost.name}'s backend is removed on {n.name}", 15)
        report = load.stop()
        # A third of the new ones meets it, until it is out.
        print(f"out after {took:.2f} s; {report['failures']}")
        assert report["failures"]["total"] < 40 * (took + 1) and took < 5
        after = cluster.master.load(VIP, connections=0, new=40, duration=1).wait()
        assert after["failures"]["total"] == 0 and len(after["instances"]) == 2
    finally:
        cluster.mend(lost)
    cluster.wait_backends(KEY, cluster.backends("/web"), timeout=40)


@pytest.mark.cluster(nodes=3)
def test_a_killed_vipd_costs_no_backend(cluster):
    cluster.start_vipds(key_file=cluster.new_key())
    cluster.deploy("/web", {"VIP_0": VIP}, instances=3)
    backends = cluster.backends("/web")
    cluster.wait_backends(KEY, backends)
    cluster.wait_members()
    killed, *others = cluster.nodes
    killed.kill_vipd()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for n in others:
            assert {b for b, w in n.services()[KEY].items() if w} == backends, n.name
        time.sleep(0.2)
    assert {m["address"]: m["status"] for m in others[0].api("/v1/nodes")}[killed.address] == "agentless"


@pytest.mark.cluster(nodes=4)
def test_halves_go_on_by_themselves_and_merge(cluster):
    """Each side of a split serves from its own backends, and after it all serve all. VIPD_SPLIT: how long."""
    split = float(os.environ.get("VIPD_SPLIT", "6"))
    cluster.start_vipds(key_file=cluster.new_key())
    cluster.deploy("/web", {"VIP_0": VIP}, instances=4)
    everywhere = cluster.backends("/web")
    cluster.wait_backends(KEY, everywhere)
    cluster.wait_members()
    sides = cluster.nodes[:2], [*cluster.nodes[2:], cluster.master]
    loads = [side[0].load(VIP, connections=0, new=20, timeout=1) for side in sides]
    time.sleep(1)
    when = cluster.part(sides[0])
    for side in sides:
        own = {b for b in everywhere if b.split(":")[0] in {n.address for n in side}}
        cluster.wait_backends(KEY, own, side, timeout=15)
    took = time.monotonic() - when
    failures = [load.stop()["failures"]["total"] for load in loads]
    print(f"each side alone after {took:.2f} s, {failures} connections failed meanwhile")
    assert max(failures) < 20 * (took + 1)
    loads = [side[0].load(VIP, connections=2, new=20, timeout=5) for side in sides]
    time.sleep(max(0, when + split - time.monotonic()))
    for load in loads:
        report = load.stop()
        assert (report["failures"]["total"], len(report["instances"])) == (0, 2), report["failures"]
    cluster.merge()
    cluster.wait_backends(KEY, everywhere, timeout=60)
    for side, other in (sides, sides[::-1]):
        report = side[0].load(VIP, connections=0, new=20, duration=1).wait()
        # Those that are back have no connections yet, so the new ones are theirs.
        hosts = {says(i["id"])["host"] for i in report["instances"]}
        assert report["failures"]["total"] == 0 and hosts & {n.address for n in other}, report["instances"]


def test_pings_keep_time_while_the_kernel_is_programmed(own_cluster):
    """A document of 55 MB, and some 110,000 commands to a real kernel, in the process that answers the
    others' pings."""
    cluster = own_cluster
    cluster.start_vipds(key_file=cluster.new_key())
    cluster.wait_members()
    victim, *others = cluster.nodes + [cluster.master]
    large = cluster.dir / "large.json"
    with open(large, "w") as f:
        subprocess.run([sys.executable, GEN_STATE, "--tasks", "60000", "--vip-percent", "100"], stdout=f, check=True)
    victim.stop_vipd()
    when = time.monotonic()
    victim.start_vipd(wait=False, key_file=cluster.dir / "key", source=f"file:{large}", masters=None)

    def in_step():
        with contextlib.suppress(OSError):
            status = victim.status()
            return status["kernel"]["in_sync"] and status["table"]["vips"] == 12000
    wait_until(in_step, "all is in the kernel", 120, 0.5)
    took, steps = time.monotonic() - when, victim.status()["kernel"]["steps"]
    links = victim.api("/v1/links")
    turn, late = links["transport"]["longest_turn"], links["gossip"]["lateness"]
    print(f"{steps} commands, {took:.1f} s; longest turn {1e3 * turn:.1f} ms, lateness {1e3 * late:.1f} ms")
    assert steps > 90000
    assert turn < 0.1 and late < 0.2
    for n in others:
        assert {m["address"]: m["status"] for m in n.api("/v1/nodes")}[victim.address] == "up"
        assert n.vipctl("watch", "--once", "--since=0", json=False).stdout.count("node-down") == 0
