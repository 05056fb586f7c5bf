# SPDX-License-Identifier: GPL-2.0-or-later
"""vipd may be stopped, restarted, upgraded or killed at any moment: nobody notices."""
import signal
import time

import pytest
from cluster import Failure, says, wait_until

IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"


def deploy_mixture(cluster):
    """Something of every kind that vipd programs."""
    cluster.deploy("/web", {**IP_VIP, "VIP_1": "/web:80"}, instances=3)
    cluster.deploy("/dns", {"VIP_0": "1.2.3.5:53"}, instances=2, protocol="udp")
    cluster.deploy("/six", {"VIP_0": "[fd01:d::1]:80"}, instances=2, network="container", families=[6])
    cluster.control("health", task=cluster.tasks("/web")[0]["id"], healthy=False)
    cluster.wait_in_step()


def test_two_restarts_leave_the_kernel_as_it_is(cluster):
    cluster.start_vipds()
    deploy_mixture(cluster)
    for node in cluster.every_node:
        before = node.kernel_state()
        assert any("1.2.3.4" in line for line in before["route"])
        for how in (signal.SIGTERM, signal.SIGKILL):
            node.stop_vipd(how)
            assert node.kernel_state() == before, f"after signal {how}"
            node.start_vipd()
            cluster.wait_in_step([node])
            assert node.kernel_state() == before, f"after the start that followed signal {how}"
            assert node.diff() == ""


def test_a_clean_stop_leaves_everything_forwarding(cluster):
    cluster.start_vipds()
    cluster.deploy("/web", IP_VIP, instances=2)
    cluster.wait_backends(VIP, cluster.backends("/web"))
    for node in cluster.every_node:
        assert node.stop_vipd() == 0
    assert len({says(a)["pid"] for a in cluster.master.ask("1.2.3.4:5000", 10)}) == 2


def test_what_changed_while_it_was_down_is_caught_up(cluster):
    cluster.start_vipds()
    cluster.deploy("/web", IP_VIP, instances=2)
    cluster.deploy("/gone", {"VIP_0": "1.2.3.5:80"})
    cluster.wait_backends("tcp 1.2.3.5:80", cluster.backends("/gone"))
    for node in cluster.every_node:
        node.kill_vipd()
    cluster.control("remove", app="/gone")
    cluster.deploy("/new", {"VIP_0": "1.2.3.6:80"})
    cluster.scale("/web", 3)
    cluster.start_vipds()
    cluster.wait_backends("tcp 1.2.3.5:80", None)
    cluster.wait_backends("tcp 1.2.3.6:80", cluster.backends("/new"))
    cluster.wait_backends(VIP, cluster.backends("/web"))
    for node in cluster.every_node:
        cluster.wait_in_step([node])
        assert node.diff() == "" and "1.2.3.5" not in str(node.kernel_state())


def test_a_start_without_a_master_changes_nothing(cluster):
    cluster.start_vipds()
    deploy_mixture(cluster)
    node = cluster.nodes[0]
    before = node.kernel_state()
    node.stop_vipd()
    cluster.control("mode", mode="error")
    node.start_vipd()
    wait_until(lambda: not node.status()["source"]["ok"], "a poll has failed")
    time.sleep(1)
    assert node.kernel_state() == before


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_restarts_under_load_lose_no_connection(cluster, how):
    cluster.start_vipds()
    cluster.deploy("/web", IP_VIP, instances=3)
    cluster.wait_backends(VIP, cluster.backends("/web"))
    nodes = [cluster.nodes[0], cluster.master]
    loads = [n.load("1.2.3.4:5000", connections=10, streams=5, rate=100, new=20) for n in nodes]
    time.sleep(0.5)
    for _ in range(5):
        for node in nodes:
            node.stop_vipd(how)
            node.start_vipd()
        time.sleep(0.3)
    for load in loads:
        report = load.stop()
        assert report["failures"]["total"] == 0, report
        assert report["streams"]["open"] == 5 and len(report["instances"]) == 3
        assert report["requests"]["answered"] > 100


@pytest.mark.cluster(nodes=3)
def test_kill_9_at_random_moments_of_200_changes(cluster, rng):
    """200 changes of the table while vipd is killed again and again under load: after the last start
    kernel and table agree, and no connection to a backend that lived through it was cut."""
    node = cluster.nodes[0]
    options = {"poll_interval": "100ms"}
    node.start_vipd(**options)
    cluster.deploy("/steady", IP_VIP, instances=3, say="steady")
    cluster.wait_backends(VIP, cluster.backends("/steady"), [node])
    # These are connected to backends that stay, and must not feel anything.
    held = node.load("1.2.3.4:5000", connections=20, streams=10, rate=200)
    wait_until(lambda: sum(node.connections(VIP).values()) >= 30, "all connections are made")
    # These may meet a backend that is just being killed, but must not be cut from one that stays.
    fresh = node.load("1.2.3.4:5000", connections=0, new=20, timeout=2)

    cluster.deploy("/passing", IP_VIP, instances=0, say="passing")
    n_kills = 0
    for i in range(200):
        change_something(cluster, rng)
        time.sleep(rng.uniform(0, 0.08))
        if rng.random() < 0.25:
            node.kill_vipd()
            n_kills += 1
            node.start_vipd(wait=False, **options)
            time.sleep(rng.uniform(0, 0.3))
    assert n_kills >= 20
    node.kill_vipd()
    node.start_vipd(**options)
    cluster.wait_in_step([node])
    wait_until(lambda: node.diff() == "", "vipctl diff is empty: " + node.diff())
    # What drains or is unhealthy is still there, with weight 0.
    want = {f"{t['address']}:{t['ports'][0]}" for t in cluster.tasks()
            if t["app"] in ("/steady", "/passing") and t["healthy"] is not False}
    have = {b for b, weight in node.services()[VIP].items() if weight}
    assert have == want

    report = held.stop()
    assert report["failures"]["total"] == 0, report
    assert {says(i["id"])["says"] for i in report["instances"]} == {"steady"}
    report = fresh.stop()
    assert [i for i in report["instances"] if says(i["id"])["says"] == "steady" and i["cut"]] == []
    assert report["requests"]["answered"] > 100


def change_something(cluster, rng):
    """One change of the table: backends of the VIP under load, weights, and other VIPs."""
    kind = rng.choice(["scale", "scale", "health", "vip", "vip", "paper"])
    if kind == "scale":
        have = len(cluster.tasks("/passing"))
        cluster.scale("/passing", rng.choice([n for n in range(4) if n != have]))
    elif kind == "health" and cluster.tasks("/passing"):
        task = rng.choice(cluster.tasks("/passing"))
        cluster.control("health", task=task["id"], healthy=not (task["healthy"] in (None, True)))
    else:
        # Paper tasks: no process, so that the table may be large and its changes cheap.
        app, apps = f"/paper{rng.randrange(20)}", {t["app"] for t in cluster.tasks()}
        if app not in apps:
            number = int(app[6:]) + 1
            protocol, label = rng.choice([("tcp", f"9.9.9.{number}:80"), ("udp", f"9.9.9.{number}:53"),
                                          ("tcp", f"{app}:80")])
            cluster.deploy(app, {"VIP_0": label}, rng.randrange(1, 6), protocol, command=False)
        elif kind == "paper":
            cluster.scale(app, rng.randrange(1, 6))
        else:
            cluster.control("remove", app=app)


def test_no_two_daemons_on_one_socket(cluster):
    node = cluster.nodes[0]
    node.start_vipd()
    second = node.spawn("vipd-second", node.vipd_command())
    assert second.popen.wait(10) != 0
    assert node.status()["version"], "the first one still answers"
