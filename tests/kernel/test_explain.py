# SPDX-License-Identifier: GPL-2.0-or-later
"""vipctl tells what happens (watch), why something does not work (why), and who is connected."""
import json
import subprocess

import pytest
from cluster import VIPCTL, wait_until

IP_VIP = {"VIP_0": "1.2.3.4:5000"}
VIP = "tcp 1.2.3.4:5000"
UDP_VIP = "udp 1.2.3.4:5000"
# From a document's last byte to the kernel: milliseconds; here on a slow machine that does other things too.
LATENCY = 1.0


class Watch:
    """A running `vipctl watch --json`."""

    def __init__(self, node, *args, json=True):
        self.log = node.cluster.dir / f"watch-{node.name}-{len(node.cluster.processes)}"
        self._out = open(self.log, "wb")
        command = [VIPCTL, f"--socket={node.socket}", "watch", *args] + (["--json"] if json else [])
        self.process = node.spawn(f"watch-{node.name}", command, stdout=self._out)
        wait_until(lambda: not json or self.lines(), "the watcher is greeted")

    def text(self):
        return self.log.read_text()

    def lines(self):
        return [json.loads(line) for line in self.text().splitlines(keepends=True) if line.endswith("\n")]

    def events(self, kind):
        return [e for e in self.lines() if e.get("kind") == kind]

    def wait(self, kind, n=1):
        return wait_until(lambda: len(e := self.events(kind)) >= n and e, f"{n} events {kind}")


def why(node, what):
    """The objects of `vipctl why`, its exit status checked against them and against its text."""
    objects = node.vipctl("why", what)
    done = node.vipctl("why", what, json=False)
    ok = all(o["ok"] for o in objects)
    assert done.returncode == (0 if ok else 1), done.stdout
    assert ("In the way: " in done.stdout) == (not ok), done.stdout
    return objects


def doctor(node, check, *words, severity="error"):
    """A finding of `vipctl doctor` of this check and severity has these words, and a mend."""
    found = node.vipctl("doctor")["findings"]
    for f in found:
        if f["check"] == check and f["severity"] == severity and all(w in f["text"] for w in words):
            assert f["mend"], f
            return f
    raise AssertionError(f"no {severity} of {check} with {words} in {json.dumps(found, indent=1)}")


def blame(node, what, *words):
    """Exactly one object is found, and its verdict has these words."""
    [o] = why(node, what)
    assert not o["ok"], o
    for word in words:
        assert word in o["verdict"], (word, o["verdict"])
    return o


@pytest.fixture
def node(cluster):
    n = cluster.nodes[0]
    n.start_vipd()
    return n


def deploy(cluster, node, *args, **more):
    tasks = cluster.deploy(*args, **more)
    cluster.wait_in_step([node])
    return tasks


# watch


def test_watch_shows_a_scale_up_within_its_latency(cluster, node):
    deploy(cluster, node, "/web", IP_VIP, command=False)
    watch = Watch(node)
    cluster.scale("/web", 3)
    added = [e for e in watch.wait("backend-added", 3)]
    assert {e["backend"] for e in added} == cluster.backends("/web")
    assert {e["task"] for e in added} == {t["id"] for t in cluster.tasks("/web")}
    assert all(e["vip"] == "1.2.3.4:5000" and e["cause"] == "document" and e["weight"] == 1 for e in added)
    assert all(0 <= e["latency"]["decided"] <= e["latency"]["kernel"] < LATENCY for e in added), added
    # History: the VIP itself came before the watcher did.
    assert [e["vip"] for e in watch.events("vip-added")] == ["1.2.3.4:5000"]
    latency = node.status()["document_to_kernel"]
    assert latency["changes"] >= 4 and 0 < latency["p50"] <= latency["p99"] <= latency["max"] < LATENCY


def test_watch_shows_weights_drains_and_removals(cluster, node):
    deploy(cluster, node, "/web", {"VIP_0": "/web:80"}, instances=2)
    watch = Watch(node, "--last=0")
    text = Watch(node, "--last=0", json=False)
    first, second = cluster.tasks("/web")
    cluster.control("health", task=first["id"], healthy=False)
    [weight] = watch.wait("weight")
    assert (weight["weight_before"], weight["weight"], weight["task"]) == (1, 0, first["id"])
    cluster.scale("/web", 1)
    [begun] = watch.wait("drain-begun")
    [over] = watch.wait("drain-over")
    gone = first if first["id"] not in [t["id"] for t in cluster.tasks("/web")] else second
    assert begun["task"] == over["task"] == gone["id"]
    assert begun["cause"] == "document" and over["cause"] == "drain" and over["detail"]
    assert begun["vip"].startswith("web.marathon.")
    cluster.control("remove", app="/web")
    [removed] = watch.wait("vip-removed")
    assert removed["vip"] == "web.marathon.l4lb.thisdcos.directory:80"
    wait_until(lambda: "vip-removed" in text.text(), "the other watcher shows it for people")
    line = [x for x in text.text().splitlines() if "drain-over" in x][0]
    assert "web.marathon:80 -> " in line and " ms " in line and gone["id"] in line


def test_watch_shows_failures_refusals_conflicts_and_restarts(cluster):
    node = cluster.nodes[0]
    node.run("ipvsadm -A -t 1.2.3.4:5000 -s rr")
    node.start_vipd()
    watch = Watch(node, "--last=0")
    text = Watch(node, "--last=0", json=False)
    cluster.control("mode", mode="error")
    [failed] = watch.wait("source-failed")
    assert failed["detail"]
    cluster.control("mode", mode="ok")
    watch.wait("source-ok")
    deploy(cluster, node, "/own", {"VIP_0": f"{node.address}:80"}, command=False)
    [refused] = watch.wait("refused")
    assert refused["address"] == node.address and "address of a node" in refused["detail"]
    cluster.deploy("/web", IP_VIP, command=False)
    [conflict] = watch.wait("conflict")
    assert conflict["vip"] == "1.2.3.4:5000"
    node.restart_vipd()
    hellos = wait_until(lambda: len(h := [x["hello"] for x in watch.lines() if "hello" in x]) == 2 and h,
                        "the watcher is greeted again")
    assert hellos[0]["instance"] != hellos[1]["instance"]
    watch.wait("conflict", 2)
    wait_until(lambda: "--- vipd was restarted" in text.text(), "the restart is said")


def test_watch_once_since_and_last(cluster, node):
    deploy(cluster, node, "/web", IP_VIP, instances=5, command=False)

    def once(*args):
        done = node.vipctl("watch", "--once", *args, "--json", json=False)
        assert done.returncode == 0, done.stderr
        return [e for e in map(json.loads, done.stdout.splitlines()) if "seq" in e]
    every = once("--since=0")
    assert [e["seq"] for e in every] == list(range(1, len(every) + 1))
    assert once("--last=2") == every[-2:]
    assert once(f"--since={every[-1]['seq']}") == []
    assert node.vipctl("watch", "--since=x", json=False, check=False).returncode == 2
    node.stop_vipd()
    assert node.vipctl("watch", "--once", json=False, check=False).returncode == 1


def test_a_large_change_is_summed_up(cluster, node):
    watch = Watch(node)
    cluster.deploy("/big", IP_VIP, instances=1500, command=False)
    cluster.wait_backends(VIP, cluster.backends("/big"), [node])
    [more] = watch.wait("more")
    assert "backend-added" in more["detail"]
    assert len(watch.events("backend-added")) + int(more["detail"].split()[1]) == 1500


def test_many_watchers_and_silent_ones_harm_nobody(cluster, node):
    """Those beyond the bound are refused; one that never reads is dropped; vipctl still gets its answer."""
    def follow():
        """How it ends: 124 if it was let in and watched for a second."""
        return node.run(["timeout", "1", VIPCTL, f"--socket={node.socket}", "watch"], check=False)
    watches = [Watch(node) for _ in range(16)]
    done = follow()
    assert done.returncode == 1 and "too many" in done.stderr
    assert node.vipctl("watch", "--once", json=False).returncode == 0  # it does not stay
    watches[0].process.stop()
    # A watcher's departure is noticed with the next line for it.
    wait_until(lambda: follow().returncode == 124, "there is room again")
    idle = subprocess.Popen(node._enter(["python3", "-c", f"""
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
s.connect({str(node.socket)!r})
s.sendall(b"GET /v1/events?since=0&follow=1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
time.sleep(600)
"""]))
    try:
        for _ in range(3):
            # Without drains, UDP being what it is: more events than any socket takes that is not read.
            cluster.deploy("/big", IP_VIP, instances=900, command=False, protocol="udp")
            cluster.wait_backends(UDP_VIP, cluster.backends("/big"), [node])
            cluster.control("remove", app="/big")
            cluster.wait_backends(UDP_VIP, None, [node])
        assert node.status()["kernel"]["in_sync"]
        assert all(w.process.running for w in watches[1:])
    finally:
        idle.kill()
        idle.wait()


# why


def test_why_follows_what_is_well(cluster, node):
    tasks = deploy(cluster, node, "/web", {"VIP_0": "/web:80"}, instances=2)
    for query in ("web.marathon", "web.marathon:80", "web.marathon.l4lb.thisdcos.directory", "/web.marathon"):
        [o] = why(node, query)
        assert o["ok"] and o["kind"] == "vip", o
    address = o["address"]
    assert [s["stage"] for s in o["steps"]][:4] == ["source", "document", "table", "node"]
    assert {s["mark"] for s in o["steps"]} <= {"ok", "note"}
    assert "its home" in [s["text"] for s in o["steps"] if s["stage"] == "table"][0]
    for query in (address, f"{address}:80", f"[{address}]:80"):
        assert [o["kind"] for o in why(node, query)] == ["vip"]
    backend = sorted(cluster.backends("/web"))[0]
    [o] = why(node, backend)
    assert o["ok"] and o["kind"] == "backend"
    [o] = why(node, tasks[0])
    assert o["ok"] and o["kind"] == "backend"
    assert len(why(node, "web.")) == 2  # the beginning of both tasks' ids


def test_why_names_no_such_vip(cluster, node):
    deploy(cluster, node, "/web", {"VIP_0": "/web:80"}, command=False)
    o = blame(node, "nothere.marathon", "no VIP")
    assert o["kind"] == "unknown" and "VIP_0" in o["mend"]
    [plain] = deploy(cluster, node, "/plain", command=False)  # it runs, and has no label
    o = blame(node, plain, "no VIP")
    assert "VIP_0" in o["mend"]
    done = node.vipctl("why", "wbe.marathon", json=False)
    assert "did you mean web.marathon?" in done.stderr


def test_why_names_a_malformed_label(cluster, node):
    [task] = deploy(cluster, node, "/web", {"VIP_0": "/web:99999"}, command=False)
    for query in (task, "web.marathon", "/web:99999"):
        o = blame(node, query, task, "VIP_0 = /web:99999")
        assert o["kind"] == "rejected" and o["mend"]


def test_why_names_an_agent_without_address(cluster, node):
    """Of such a task only the id is known; that it was behind a VIP is remembered."""
    [task] = deploy(cluster, node, "/web", {"VIP_0": "/web:80"}, command=False)
    document = json.loads(node.run("curl -sS http://10.0.0.1:5050/state").stdout)
    for agent in document["slaves"]:
        agent["hostname"], agent["pid"] = "no-such-host.invalid", "slave(1)"
    cluster.control("raw", document=json.dumps(document))
    wait_until(lambda: node.status()["table"]["rejected"], "the task is left out")
    for query in (task, "web.marathon"):
        verdicts = wait_until(lambda q=query: [o["verdict"] for o in why(node, q) if "no-such-host" in o["verdict"]],
                              f"{query} is told")
        assert all(task in v for v in verdicts), verdicts
    node.restart_vipd()  # and forgotten
    wait_until(lambda: node.status()["table"]["rejected"], "the task is left out")
    o = blame(node, "web.marathon", "no VIP")
    [note] = [s for s in o["steps"] if s["mark"] == "note"]
    assert task in note["text"] and "resolves on this node" in note["mend"]


def test_an_address_that_cannot_be_a_source_is_named(cluster):
    """Not an address of the node; then one that the kernel still asks others about; then usable, and all is well
    without waiting for an audit."""
    node = cluster.nodes[0]
    node.start_vipd(node_address6="fd00:aa::77", audit_interval="1h")
    cluster.deploy("/six", {"VIP_0": "[fd01:d::1]:80"}, network="container", families=[6], command=False)
    wait_until(lambda: node.status()["kernel"]["failing_steps"], "the kernel refuses the route")
    failing = node.status()["kernel"]["failing_step"]
    assert "route add fd01:d::1" in failing and "the source fd00:aa::77 is not an address of this node" in failing
    assert "the source fd00:aa::77" in node.vipd.output()
    o = blame(node, "fd01:d::1", "fd00:aa::77", "not an address of this node")
    assert "node_address6" in o["mend"]
    assert "node_address6" in doctor(node, "addresses", "fd00:aa::77")["mend"]
    assert "source fd00:aa::77" in doctor(node, "kernel", "refuses")["evidence"]
    node.run("ip addr add fd00:aa::77/64 dev eth0")  # with DAD: tentative for a second or two
    wait_until(lambda: "tentative" in why(node, "fd01:d::1")[0]["verdict"] or node.status()["kernel"]["in_sync"],
               "it is tentative")
    wait_until(lambda: node.status()["kernel"]["in_sync"], "the route is made")
    wait_until(lambda: why(node, "fd01:d::1")[0]["ok"], "nothing stands in its way")
    assert node.status()["kernel"]["audits"] == 0 and node.status()["kernel"]["retries"] > 0
    node.run("ip addr del fd00:aa::77/64 dev eth0")


def test_why_names_health_and_killing(cluster, node):
    [task] = deploy(cluster, node, "/web", IP_VIP, command=False)
    cluster.control("health", task=task, healthy=False)
    cluster.wait_backends(VIP, {b: 0 for b in cluster.backends("/web")}, [node])
    blame(node, task, "weight 0", "health check fails")
    o = blame(node, "1.2.3.4:5000", "0 of 1 backends")
    assert any("health check fails" in s["text"] for s in o["steps"])
    [waiting] = deploy(cluster, node, "/new", {"VIP_0": "1.2.3.5:80"}, command=False, health_check=True)
    blame(node, waiting, "no result yet")
    [killed] = deploy(cluster, node, "/old", {"VIP_0": "1.2.3.6:80"}, command=False)
    cluster.control("end", task=killed, state="TASK_KILLING")
    cluster.wait_in_step([node])
    blame(node, killed, "being killed")


def test_why_names_a_refusal(cluster, node):
    deploy(cluster, node, "/own", {"VIP_0": f"{node.address}:80"}, command=False)
    objects = why(node, f"{node.address}:80")
    assert "vipctl why" in doctor(node, "vips", "1 of 1 VIPs")["mend"]
    [vip] = [o for o in objects if o["kind"] == "vip"]
    assert "refused" in vip["verdict"] and "address of a node" in vip["verdict"] and vip["mend"]


def test_why_names_a_conflict(cluster):
    node = cluster.nodes[0]
    node.run("ipvsadm -A -t 1.2.3.4:5000 -s rr")
    node.start_vipd()
    cluster.deploy("/web", IP_VIP, command=False)
    wait_until(lambda: node.status()["kernel"]["conflicts"], "there is a conflict")
    blame(node, "1.2.3.4:5000", "conflict", "tcp 1.2.3.4:5000")


def test_why_sees_damage_and_watch_its_repair(cluster, node):
    deploy(cluster, node, "/web", IP_VIP, instances=2, command=False)
    watch = Watch(node, "--last=0")
    backend = sorted(cluster.backends("/web"))[0]
    node.run(f"ipvsadm -d -t 1.2.3.4:5000 -r {backend}")
    blame(node, backend, f"destination {backend} is missing")
    blame(node, "1.2.3.4:5000", "is missing")
    node.run("ip route del local 1.2.3.4 dev vipd0 table local")
    assert any("no route" in s["text"] and s["mark"] == "bad" for s in why(node, "1.2.3.4")[0]["steps"])
    repaired = wait_until(lambda: len(e := watch.events("repaired")) >= 2 and e, "both are repaired", timeout=40)
    assert any(e.get("backend") == backend for e in repaired)
    assert all(e["cause"] == "audit" and e["detail"] and e["latency"]["kernel"] < LATENCY for e in repaired)
    assert why(node, "1.2.3.4:5000")[0]["ok"]


def test_why_sees_a_draining_backend_and_then_its_end(cluster):
    node = cluster.nodes[0]
    node.start_vipd(drain_timeout="30s")
    [task] = deploy(cluster, node, "/web", IP_VIP)
    [backend] = cluster.backends("/web")
    load = node.load("1.2.3.4:5000", connections=2, no_reconnect=True)
    wait_until(lambda: node.vipctl("backends")[0]["active"] >= 2, "the load is connected")
    # The process lives on, and so do its connections.
    state = node.run("curl -sS http://10.0.0.1:5050/state").stdout
    document = json.loads(state)
    for f in document["frameworks"]:
        f["tasks"] = []
    cluster.control("raw", document=json.dumps(document))
    wait_until(lambda: node.status()["kernel"]["draining"] == 1, "it drains")
    for query in (backend, task, "1.2.3.4:5000"):
        o = blame(node, query, task, "left the document")
        assert o["kind"] == "drain" and "active connections go on" in o["steps"][-1]["text"]
    [b] = node.vipctl("backends")
    assert b["draining"] and b["task"] == task and b["active"] >= 2 and 0 < b["left"] <= 30
    [vip] = node.vipctl("vip", "1.2.3.4:5000")
    assert vip["state"] == "draining" and len(vip["draining"]) == 1
    assert "draining, " in node.vipctl("vip", "1.2.3.4:5000", json=False).stdout
    load.stop()
    cluster.wait_backends(VIP, None, [node])
    assert blame(node, task, "left the document")["kind"] == "gone"


def test_why_names_a_failing_source_and_a_flush(cluster, node):
    deploy(cluster, node, "/web", IP_VIP, command=False)
    cluster.control("mode", mode="error")
    wait_until(lambda: not node.status()["source"]["ok"], "the source fails")
    blame(node, "1.2.3.4:5000", "the source fails")
    doctor(node, "source", "VIPs stay as they were")
    cluster.control("mode", mode="ok")
    wait_until(lambda: node.status()["source"]["ok"], "the source is well")
    assert why(node, "1.2.3.4:5000")[0]["ok"]
    assert node.vipctl("flush", json=False).returncode == 0
    blame(node, "1.2.3.4:5000", "flushed by an operator")
    assert "reload" in doctor(node, "kernel", "flushed by an operator")["mend"]
    node.stop_vipd()
    doctor(node, "vipd", "no vipd answers")
    assert node.vipctl("why", "1.2.3.4:5000", json=False, check=False).returncode == 1


def test_a_dead_node_is_told_and_blamed(cluster):
    cluster.start_vipds(insecure="yes")
    node, dead = cluster.nodes
    deploy(cluster, node, "/web", IP_VIP, instances=2)
    wait_until(lambda: node.status()["overlay"]["up"] >= 2, "it sees both others")
    [lost] = [t for t in cluster.tasks("/web") if t["address"] == dead.address]
    watch = Watch(node, "--last=0")
    cluster.cut(dead)
    wait_until(lambda: dead.address in [e["detail"] for e in watch.events("node-down")], "it is told to be down")
    weight = watch.wait("weight")[0]
    assert weight["task"] == lost["id"] and weight["weight"] == 0 and weight["cause"] == "node"
    out = watch.wait("node-out")[0]
    assert out["detail"].startswith(f"{dead.address}: is down") and out["latency"]["kernel"] >= 0
    watch.wait("node-confirmed")
    blame(node, lost["id"], "its node is down")
    assert dead.address in doctor(node, "overlay", "1 node is down", severity="warning")["evidence"]
    assert why(node, "1.2.3.4:5000")[0]["ok"]
    cluster.mend(dead)
    watch.wait("node-up")


# vip and backends


def test_backends_are_listed_with_their_connections(cluster, node):
    deploy(cluster, node, "/web", {**IP_VIP, "VIP_1": "/web:80"}, instances=2)
    load = node.load("1.2.3.4:5000", connections=4, no_reconnect=True)
    wait_until(lambda: sum(b["active"] for b in node.vipctl("backends")) >= 4, "all are connected")
    backends = node.vipctl("backends")
    assert {(b["vip"], b["agent"]) for b in backends} == {
        (v, n.address) for v in ("1.2.3.4:5000", "web.marathon.l4lb.thisdcos.directory:80") for n in cluster.nodes}
    assert sum(b["active"] for b in backends if b["vip"] != "1.2.3.4:5000") == 0
    some = node.vipctl("backends", cluster.nodes[1].address)
    assert len(some) == 2 and {b["agent"] for b in some} == {cluster.nodes[1].address}
    [vip] = node.vipctl("vip", "1.2.3.4")
    assert sum(b["active"] for b in vip["backends"]) >= 4
    text = node.vipctl("backends", json=False)
    assert text.returncode == 0 and "web.marathon:80" in text.stdout
    vip_columns = {line.index("1.2.3.4:5000") for line in text.stdout.splitlines() if " 1.2.3.4:5000" in line}
    assert vip_columns == {text.stdout.index("VIP")}, text.stdout
    load.stop()
