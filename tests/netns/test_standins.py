# SPDX-License-Identifier: GPL-2.0-or-later
"""The instruments themselves: a wrong load generator or stand-in would make every scenario a liar."""
import gzip
import json
import signal

import pytest
from cluster import Failure, hello_command, says, wait_until


def start_hello(node, port, say, protocol="tcp"):
    command = hello_command(node.name, f":{port}", say, protocol) + " -interval 50"
    process = node.spawn(f"hello-{node.name}-{port}", ["sh", "-c", "exec " + command])
    wait_until(lambda: node.connect_error(f"{node.address}:{port}") is None, "the backend listens")
    return process


def failures(report):
    return {(phase, kind): n for phase, kinds in report["failures"].items() if phase != "total"
            for kind, n in kinds.items() if n}


def test_hello_says_who_it_is(cluster):
    a, b = cluster.nodes
    process = start_hello(b, 7000, "two words")
    answers = [says(line) for line in a.ask(f"{b.address}:7000", 3)]
    assert answers == [{"pid": process.pid, "host": b.name, "says": "two words"}] * 3
    assert says(a.ask(f"[{b.address6}]:7000")[0])["pid"] == process.pid


def test_load_counts_instances_and_connections(cluster):
    a, b = cluster.nodes
    start_hello(b, 7000, "x")
    report = a.load(f"{b.address}:7000", connections=5, new=100, streams=3, rate=500, duration=1).wait()
    assert report["failures"]["total"] == 0 and report["connections"]["cut"] == 0
    assert report["streams"]["open"] == 3 and report["streams"]["bytes"] > 500
    [instance] = report["instances"]
    assert says(instance["id"])["says"] == "x"
    assert 80 <= instance["connections"] - 5 - 3 <= 101
    # The pace: kept ones at 500, fresh ones at 100 per second, and the three streams.
    assert 450 <= report["requests"]["answered"] <= 620
    assert 0 < report["connect_us"]["p50"] <= report["connect_us"]["max"]


def test_load_blames_cuts_on_their_instance(cluster):
    a, b = cluster.nodes
    process = start_hello(b, 7000, "x")
    load = a.load(f"{b.address}:7000", connections=4, streams=2, rate=200, timeout=1)
    wait_until(lambda: b.run("ss -Htn state established sport = :7000 | wc -l").stdout.strip() == "6",
               "all connections are made")
    # What is established need not be answered yet.
    assert a.load(f"{b.address}:7000", duration=0.5).wait()["failures"]["total"] == 0
    process.stop(signal.SIGKILL)
    wait_until(lambda: a.connect_error(f"{b.address}:7000") == "refused", "the port is closed")
    report = load.stop()
    assert report["connections"]["cut"] == 6
    assert [i["cut"] for i in report["instances"]] == [6]
    assert report["failures"]["connect"]["refused"] > 0
    assert report["streams"]["open"] == 0


def test_load_sees_timeouts_and_unreachable(cluster):
    a, b = cluster.nodes
    assert a.connect_error(f"{b.address}:7009") == "refused"
    assert a.connect_error("10.0.0.77:80") in ("timeout", "unreachable")
    cluster.cut(b)
    assert a.connect_error(f"{b.address}:80") in ("timeout", "unreachable")
    cluster.mend(b)


def test_load_over_udp(cluster):
    a, b = cluster.nodes
    start_hello(b, 7000, "u", "udp")
    report = a.load(f"{b.address}:7000", udp=True, connections=5, new=50, rate=200, duration=1).wait()
    assert report["failures"]["total"] == 0 and len(report["instances"]) == 1
    assert report["requests"]["answered"] >= 200
    report = a.load(f"{b.address}:7001", udp=True, connections=2, rate=20, duration=1, timeout=0.2).wait()
    # The kernel limits how many ICMP errors it sends, so some requests just time out.
    assert ("request", "refused") in failures(report) and report["requests"]["answered"] == 0
    assert set(failures(report)) <= {("request", "refused"), ("request", "timeout")}


def test_master_runs_tasks_and_reports_their_death(cluster):
    cluster.deploy("/dcos-101/app2", {"VIP_0": "/dcos-101/app2:10000"}, instances=4)
    tasks = cluster.tasks("/dcos-101/app2")
    assert {t["address"] for t in tasks} == {n.address for n in cluster.nodes}
    for t in tasks:
        assert says(cluster.master.ask(f"{t['address']}:{t['ports'][0]}")[0])["pid"] == t["pid"]
    cluster.kill_task(tasks[0]["id"])
    state = get_state(cluster)
    [framework] = state["frameworks"]
    assert sorted(t["id"] for t in framework["tasks"]) == sorted(t["id"] for t in tasks[1:])
    [dead] = framework["completed_tasks"]
    assert dead["id"] == tasks[0]["id"] and dead["state"] == "TASK_FAILED"
    assert len(cluster.scale("/dcos-101/app2", 1)) == 1


def test_state_has_the_masters_shape(cluster):
    cluster.deploy("/a/b", {"VIP_0": "/b:80", "VIP_1": "1.2.3.4:5000"}, command=False)
    state = get_state(cluster)
    task = state["frameworks"][0]["tasks"][0]
    port = task["discovery"]["ports"]["ports"][0]
    assert {l["key"]: l["value"] for l in port["labels"]["labels"]} == {
        "VIP_0": "/b:80", "VIP_1": "1.2.3.4:5000", "network-scope": "host"}
    assert task["resources"]["ports"] == f"[{port['number']}-{port['number']}]"
    assert task["slave_id"] == state["slaves"][0]["id"]
    assert state["slaves"][0]["pid"] == f"slave(1)@{cluster.nodes[0].address}:5051"
    assert task["statuses"][-1]["state"] == "TASK_RUNNING"
    v1 = json.loads(cluster.master.run(
        ["curl", "-sS", "-d", '{"type":"GET_STATE"}', "http://10.0.0.1:5050/api/v1"]).stdout)
    [task_v1] = v1["get_state"]["get_tasks"]["tasks"]
    assert task_v1["task_id"]["value"] == task["id"]
    assert task_v1["agent_id"]["value"] == v1["get_state"]["get_agents"]["agents"][0]["agent_info"]["id"]["value"]


def get_state(cluster, *options):
    return json.loads(cluster.nodes[0].run(
        ["curl", "-sS", "-L", "--compressed", *options, "http://10.0.0.1:5050/state"]).stdout)


@pytest.mark.parametrize("mode,exit_status", [
    ("error", 22), ("unavailable", 22), ("truncated", 18), ("reset", 56), ("close", 52), ("hang", 28),
    ("drip", 28), ("bad-gzip", 61), ("loop", 47), ("huge", 28), ("empty", 0), ("partial", 0), ("chunked", 0),
    ("short-length", 0), ("garbage", 0)])
def test_master_misbehaves_as_told(cluster, mode, exit_status):
    cluster.deploy("/many", {"VIP_0": "/many:80"}, instances=20, command=False)
    cluster.control("mode", mode=mode)
    done = cluster.nodes[0].run(["curl", "-sS", "-f", "-L", "-m", "1", "--compressed", "-o", "/dev/null",
                                 "http://10.0.0.1:5050/state"], check=False)
    assert done.returncode == exit_status, done.stderr
    cluster.control("mode", mode="ok")
    assert len(get_state(cluster)["frameworks"][0]["tasks"]) == 20


def test_master_redirects_as_mesos_does(cluster):
    cluster.control("leader", leader="10.0.0.9:5050")
    headers = cluster.nodes[0].run("curl -sS -D- http://10.0.0.1:5050/master/state").stdout
    assert headers.startswith("HTTP/1.1 307 ") and "Location: //10.0.0.9:5050/state\n" in headers
    cluster.control("leader", leader="none")
    assert cluster.nodes[0].run("curl -sS http://10.0.0.1:5050/state").stdout == "No leader elected"


def test_state_is_zipped_only_if_accepted(cluster):
    cluster.deploy("/many", {}, instances=5, command=False)
    plain = cluster.nodes[0].run("curl -sS -D- -o /dev/null http://10.0.0.1:5050/state").stdout
    assert "Content-Encoding" not in plain
    cluster.nodes[0].run(f"curl -sS -H 'Accept-Encoding: gzip' -o {cluster.dir}/z http://10.0.0.1:5050/state")
    assert json.loads(gzip.decompress((cluster.dir / "z").read_bytes()))["version"]


def test_wait_until_tells_what_was_missing():
    def missing():
        assert False, "it is still there"
    with pytest.raises(Failure, match="not within 0.1 s: the sky falls: it is still there"):
        wait_until(missing, "the sky falls", timeout=0.1)
