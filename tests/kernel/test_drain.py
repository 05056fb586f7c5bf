# SPDX-License-Identifier: GPL-2.0-or-later
"""Backends that leave keep what they have, for a time that a restart does not change.

What is assumed of a task that ends, as Mesos and a well-behaved server do it: the master says TASK_KILLING
when the server gets its SIGTERM; the server goes on accepting for LINGER, several polls long, answers
each further request as the connection's last, and ends when no connection is left."""
import json
import os
import signal
import time

from cluster import HELLOWORLD, wait_until

IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"
ROUNDS = int(os.environ.get("VIPD_ROUNDS") or 6)
LINGER = 1500  # ms; vipd polls every 200
GRACEFUL = f"{HELLOWORLD} -listen :$PORT0 -host $HOST -say-string web -linger {LINGER}"


def leave(cluster, task):
    """The task is asked to end; it is gone from the master when it has."""
    cluster.control("end", task=task["id"], state="TASK_KILLING")
    os.kill(task["pid"], signal.SIGTERM)


def test_scaling_to_and_fro_under_load_fails_no_request(cluster):
    """5 backends to 1 and back, with keep-alive clients and new connections. VIPD_ROUNDS: how often."""
    cluster.start_vipds(drain_timeout="10s")
    cluster.deploy("/web", IP_VIP, instances=5, cmd=GRACEFUL, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"))
    clients = [cluster.nodes[0], cluster.master]
    loads = [c.load("1.2.3.4:5000", connections=20, rate=200, new=50) for c in clients]
    began = time.monotonic()
    for _ in range(ROUNDS):
        for task in cluster.tasks("/web")[1:]:
            leave(cluster, task)
        wait_until(lambda: len(cluster.tasks("/web")) == 1, "4 of 5 have ended")
        cluster.wait_backends(VIP, cluster.backends("/web"))
        cluster.scale("/web", 5)
        cluster.wait_backends(VIP, cluster.backends("/web"))
    time.sleep(1)
    answered = 0
    for load in loads:
        report = load.stop()
        assert report["failures"]["total"] == 0, report
        answered += report["requests"]["answered"]
    assert answered > 100 * ROUNDS
    print(f"\n{ROUNDS} rounds, {answered} requests, none failed, {time.monotonic() - began:.0f} s")
    # What has left is gone from the kernel as well.
    for client in clients:
        wait_until(lambda: set(client.services()[VIP]) == cluster.backends("/web"), "nothing drains any more")


def start_draining(cluster, **options):
    """Two backends, one of which leaves the table while a stream to it goes on. Returns the node, the stream's
    load, and the backend that drains."""
    node = cluster.master
    node.start_vipd(**options)
    cluster.deploy("/web", IP_VIP, instances=2)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    load = node.load("1.2.3.4:5000", connections=0, streams=4, no_reconnect=True)
    wait_until(lambda: sum(node.connections(VIP).values()) == 4, "the streams are made")
    staying, leaving = sorted(cluster.backends("/web"))
    # The task leaves the document while its process lives on: as one whose agent is slow to kill it.
    [task] = [t for t in cluster.tasks("/web") if f"{t['address']}:{t['ports'][0]}" == leaving]
    state = json.loads(node.run("curl -sS http://10.0.0.1:5050/state").stdout)
    for framework in state["frameworks"]:
        framework["tasks"] = [t for t in framework["tasks"] if t["id"] != task["id"]]
    cluster.control("raw", document=json.dumps(state))
    cluster.wait_backends(VIP, {staying: 1, leaving: 0}, [node])
    return node, load, leaving


def deadlines(node):
    """The lines of the file, without the boot's."""
    return (node.dir / "drains").read_text().splitlines()[1:]


def test_a_deadline_survives_kill_9_and_is_kept(cluster):
    options = {"drain_timeout": "8s"}
    node, load, leaving = start_draining(cluster, **options)
    began = time.monotonic()
    [line] = deadlines(node)
    address, port = leaving.split(":")
    assert line.split()[:4] == ["1.2.3.4", "5000", address, port]
    for pause in (0.5, 1.5):
        time.sleep(pause)
        node.kill_vipd()
        node.start_vipd(**options)
        cluster.wait_in_step([node])
        assert deadlines(node) == [line]
        assert node.services()[VIP][leaving] == 0 and node.status()["kernel"]["draining"] == 1
        assert sum(node.connections(VIP).values()) == 4, "the streams live"
    wait_until(lambda: leaving not in node.services()[VIP], "its time is up")
    took = time.monotonic() - began
    assert 6 < took < 14, f"removed after {took:.1f} s of 8"
    wait_until(lambda: not (node.dir / "drains").exists(), "it is forgotten")
    time.sleep(3)  # a stream notices with its next line
    report = load.stop()
    # A client that only listens may learn of it late: the kernel drops its conversation without a word.
    assert report["connections"]["cut"] <= 2, "those of the one that drained at most, and no other"


def test_a_deadline_that_passes_while_vipd_is_dead_is_over(cluster):
    options = {"drain_timeout": "2s"}
    node, load, leaving = start_draining(cluster, **options)
    node.kill_vipd()
    time.sleep(2.5)
    assert leaving in node.services()[VIP], "nobody removes it meanwhile"
    began = time.monotonic()
    node.start_vipd(**options)
    wait_until(lambda: leaving not in node.services()[VIP], "it is removed by the next vipd")
    print(f"removed {time.monotonic() - began:.1f} s after the start")
    wait_until(lambda: node.status()["kernel"]["draining"] == 0 and not (node.dir / "drains").exists(), "it is forgotten")
    load.stop()


def test_a_drain_ends_with_its_last_connection(cluster):
    node, load, leaving = start_draining(cluster, drain_timeout="60s")
    time.sleep(2.5)
    assert leaving in node.services()[VIP], "it drains as long as it has connections"
    load.stop()
    began = time.monotonic()
    wait_until(lambda: leaving not in node.services()[VIP], "removed")
    print(f"removed {time.monotonic() - began:.1f} s after its last connection")


def test_one_that_comes_back_drains_no_more(cluster):
    node, load, leaving = start_draining(cluster, drain_timeout="2s")
    cluster.control("raw", document=None)
    cluster.wait_backends(VIP, dict.fromkeys(cluster.backends("/web"), 1), [node])
    time.sleep(2.5)
    assert node.status()["kernel"]["draining"] == 0 and node.services()[VIP][leaving] == 1
    assert load.stop()["failures"]["total"] == 0


def test_udp_goes_at_once(cluster):
    node = cluster.master
    node.start_vipd(drain_timeout="60s")
    cluster.deploy("/dns", {"VIP_0": "1.2.3.4:53"}, instances=2, protocol="udp")
    cluster.wait_backends("udp 1.2.3.4:53", cluster.backends("/dns"), [node])
    load = node.load("1.2.3.4:53", connections=4, rate=50, udp=True, timeout=0.5)
    wait_until(lambda: sum(c for _, _, c in node.destinations()["udp 1.2.3.4:53"].values()) >= 4, "they send")
    gone = cluster.tasks("/dns")[0]
    cluster.kill_task(gone["id"])
    # Not weight 0: gone, all of it, and the flows with it.
    cluster.wait_backends("udp 1.2.3.4:53", dict.fromkeys(cluster.backends("/dns"), 1), [node])
    assert node.status()["kernel"]["draining"] == 0
    time.sleep(1)
    load.stop()
    node.ask_udp("1.2.3.4:53", 4)
