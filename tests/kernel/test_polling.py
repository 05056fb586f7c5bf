# SPDX-License-Identifier: GPL-2.0-or-later
"""The way to the tasks is long, and whatever goes wrong on it changes nothing."""
import json
import time

import pytest
from cluster import MASTER, call, wait_until

IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"
QUICK = {"request_timeout": "500ms", "connect_timeout": "500ms"}


def source(node):
    return node.status()["source"]


@pytest.fixture
def node(cluster):
    """A node whose vipd has a VIP of a large table in its kernel: 40 backends of paper."""
    n = cluster.nodes[0]
    n.start_vipd(**QUICK)
    cluster.deploy("/web", IP_VIP, instances=40, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [n])
    return n


@pytest.mark.parametrize("mode", [
    "error", "unavailable", "notfound", "garbage", "binary", "empty", "emptyobject", "partial", "truncated",
    "short-length", "reset", "close", "hang", "drip", "bad-gzip", "loop"])
def test_a_failing_poll_changes_nothing(cluster, node, mode):
    before = node.kernel_state()
    wait_until(lambda: source(node)["ok"], "the polls succeed at first")
    cluster.control("mode", mode=mode)
    failed = wait_until(lambda: not (s := source(node))["ok"] and s, f"a poll fails ({mode})")
    assert failed["error"]
    wait_until(lambda: source(node)["failures"] >= failed["failures"] + 2, "it goes on polling and failing")
    assert node.kernel_state() == before
    assert node.status()["table"]["backends"] == 40
    assert node.vipctl("status", json=False).returncode == 1
    # Once the master is well again, so are we.
    cluster.control("batch", operations=[["mode", {"mode": "ok"}], ["scale", {"app": "/web", "instances": 3}]])
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    wait_until(lambda: source(node)["ok"], "the polls succeed again")


def test_an_event_is_in_the_kernel_at_once(cluster):
    """200 ms are the promise with `mesos_api = subscribe`; the median, since other work on the machine only adds."""
    node, took = cluster.nodes[0], []
    node.start_vipd(mesos_api="subscribe", poll_interval="1h")
    cluster.deploy("/web", IP_VIP, instances=5, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    wait_until(lambda: source(node)["subscribed"], "it subscribes")
    for n in range(6, 13):
        cluster.control("scale", app="/web", instances=n)
        begun = time.monotonic()
        wait_until(lambda n=n: len(node.services()[VIP]) == n, "the change arrives", interval=0.005)
        took.append(time.monotonic() - begun)
    print(f"from the event to the kernel: {', '.join(f'{1e3 * t:.0f} ms' for t in took)}")
    assert sorted(took)[len(took) // 2] < 0.2, took
    assert source(node)["polls"] == 1


@pytest.mark.parametrize("mode", ["chunked", "delay"])
def test_unusual_answers_are_answers(cluster, node, mode):
    cluster.control("batch", operations=[["mode", {"mode": mode, "seconds": 0.2}],
                                         ["scale", {"app": "/web", "instances": 7}]])
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    assert source(node)["ok"]


def test_a_huge_answer_is_refused(cluster):
    node = cluster.nodes[0]
    node.start_vipd(max_document="1M", request_timeout="10s")
    cluster.deploy("/web", IP_VIP, instances=3, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    cluster.control("mode", mode="huge")
    wait_until(lambda: not source(node)["ok"], "it is refused")
    assert len(node.services()[VIP]) == 3
    cluster.control("mode", mode="ok")
    wait_until(lambda: source(node)["ok"], "the next one is fine")


def test_a_hanging_master_leaves_vipctl_alive(cluster, node):
    cluster.control("mode", mode="hang")
    for _ in range(10):
        started = time.monotonic()
        node.vipctl("status")
        assert time.monotonic() - started < 1
        time.sleep(0.1)


def test_emptiness_is_believed_only_twice(cluster):
    """A valid answer without any task counts once the next poll says the same."""
    node = cluster.nodes[0]
    node.start_vipd(poll_interval="1s")
    cluster.deploy("/web", IP_VIP, instances=40, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    polls = source(node)["polls"]
    cluster.control("mode", mode="notasks")
    wait_until(lambda: source(node)["polls"] > polls, "the empty answer has come", interval=0.02)
    assert len(node.services()[VIP]) == 40
    cluster.wait_backends(VIP, None, [node])


def start_second_master(cluster, port):
    """Another stand-in beside the first, for elections. It knows nobody's tasks, and all polls that
    reach it are sent to the first."""
    control = f"unix:{cluster.dir}/master-{port}.sock"
    cluster.master.spawn(f"mesos-master-{port}", [
        "/usr/bin/python3", MASTER, "--listen", f"10.0.0.1:{port}", "--also", control]).wait_listening(
            control[len("unix:"):])
    return control


def test_redirect_of_a_master_that_does_not_lead(cluster):
    other = start_second_master(cluster, 5051)
    call(other, "leader", {"leader": "10.0.0.1:5050"})
    node = cluster.nodes[0]
    node.start_vipd(masters="http://10.0.0.1:5051", **QUICK)
    cluster.deploy("/web", IP_VIP, instances=3, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    assert call(other, "polls")["total"] > 0
    # While they elect, none leads; then it is the other one, which has the same tasks.
    call(other, "leader", {"leader": "none"})
    wait_until(lambda: not source(node)["ok"], "there is no leader")
    state = node.run("curl -sS http://10.0.0.1:5050/state").stdout
    call(other, "raw", {"document": state})
    call(other, "leader", {"leader": "self"})
    wait_until(lambda: source(node)["ok"], "the other one leads")
    assert len(node.services()[VIP]) == 3


def test_a_dead_master_in_the_list_is_passed_over(cluster):
    node = cluster.nodes[0]
    # A host that refuses, one that is not there, and the one.
    node.start_vipd(masters="http://10.0.0.1:5999,http://10.0.0.99:5050,http://10.0.0.1:5050", **QUICK)
    cluster.deploy("/web", IP_VIP, instances=2, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    wait_until(lambda: source(node)["ok"], "the source is well")


def test_a_master_that_dies_and_comes_back(cluster, node):
    import os
    import signal
    before = node.kernel_state()
    os.kill(cluster.master_process.pid, signal.SIGKILL)
    cluster.master_process.popen.wait()
    wait_until(lambda: not source(node)["ok"], "the master is gone")
    assert node.kernel_state() == before
    os.unlink(cluster.control_socket[len("unix:"):])
    cluster.start_master()
    cluster.deploy("/web", IP_VIP, instances=2, command=False)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])


def test_operator_api(cluster):
    node = cluster.nodes[0]
    node.start_vipd(mesos_api="v1", **QUICK)
    cluster.deploy("/web", {**IP_VIP, "VIP_1": "/web:80"}, instances=3)
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    assert len(node.ask("1.2.3.4:5000", 3)) == 3


def test_a_file_is_watched(cluster):
    node = cluster.nodes[0]
    cluster.deploy("/web", IP_VIP, instances=2, command=False)
    document = node.run("curl -sS http://10.0.0.1:5050/state").stdout
    path = cluster.dir / "tasks.json"
    path.write_text(document)
    node.start_vipd(masters=None, source=f"file:{path}")
    cluster.wait_backends(VIP, cluster.backends("/web"), [node])
    # Replaced, as an editor does; then rewritten in place; then broken.
    state = json.loads(document)
    tasks = state["frameworks"][0]["tasks"]
    first, second = (f"{t['address']}:{t['ports'][0]}" for t in cluster.tasks())
    state["frameworks"][0]["tasks"] = tasks[:1]
    new = cluster.dir / "tasks.json.new"
    new.write_text(json.dumps(state))
    new.rename(path)
    cluster.wait_backends(VIP, {first}, [node])
    state["frameworks"][0]["tasks"] = tasks[1:]
    path.write_text(json.dumps(state))
    cluster.wait_backends(VIP, {second}, [node])
    path.write_text("{")
    wait_until(lambda: not source(node)["ok"], "the broken file is noticed")
    cluster.wait_backends(VIP, {second}, [node])


def test_all_nodes_do_not_poll_in_step(cluster):
    """Polls are jittered: what counts is that each polls about as often as it should."""
    node = cluster.nodes[0]
    node.start_vipd(poll_interval="200ms")
    cluster.control("polls")
    before = cluster.control("polls")["polls"].get(node.address, 0)
    time.sleep(3)
    n = cluster.control("polls")["polls"][node.address] - before
    assert 9 <= n <= 18, f"{n} polls in 3 s"
