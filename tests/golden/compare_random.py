#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random documents of all shapes: vipctl table must say what reference.py says.

usage: compare_random.py VIPCTL [DOCUMENTS [SEED]]"""

import json
import random
import subprocess
import sys
import time

import reference

RANGES = {4: ("11.0.0.0", "11.0.0.40"), 6: ("fd01:c::", "fd01:c::28")}
NAMES = ["redis", "/redis", "Re_dis", "a.b", "web", "/dcos-101/app2", "x" * 70, "...", "", "_", "é",
         "[redis]", "1.2.3", "api", "db", "q.w.e.r.t.y"] + [f"svc{i}" for i in range(20)]
HOSTS = NAMES + ["1.2.3.4", "11.0.0.7", "fd01:d::1", "[fd01:d::1]", "[1.2.3.4]", "fd01:c::9", "::"]


def pick(r, *choices):
    return r.choice(choices)


def maybe(r, chance, d, key, value):
    if r.random() < chance:
        d[key] = value


def label_value(r):
    port = pick(r, "80", "80", "443", "6379", "65535", "0", "65536", "", "x", "+1", " 80", "080")
    return f"{r.choice(HOSTS)}:{port}" if r.random() < 0.95 else r.choice(HOSTS)


def label_list(r, pairs):
    out = [{"key": k, "value": v} if v is not None else {"key": k} for k, v in pairs]
    return pick(r, out, {"labels": out})


def discovery_port(r):
    pairs = [(pick(r, "VIP_0", "VIP_1", "vip_x", "VIP", "Vip", "other"), label_value(r))
             for _ in range(r.randrange(3))]
    if r.random() < 0.5:
        pairs.insert(r.randrange(len(pairs) + 1),
                     ("network-scope", pick(r, "host", "container", "host", "x")))
    port = {"labels": label_list(r, pairs)}
    maybe(r, 0.95, port, "number", pick(r, 80, 80, 8080, 31000, 31001, 0, 65535, 65536, 80.0, 1.5, "80", -1))
    maybe(r, 0.8, port, "protocol", pick(r, "tcp", "tcp", "TCP", "udp", "Udp", "sctp", 6))
    return port


def mappings(r):
    out = []
    for _ in range(r.randrange(3)):
        m = {"container_port": pick(r, 80, 8080, 31000, 0), "host_port": pick(r, 31000, 31001, 31005, 0)}
        maybe(r, 0.5, m, "protocol", pick(r, "tcp", "udp", "TCP", "x"))
        out.append(m)
    return out


def network_infos(r, agent):
    out = []
    for _ in range(r.randrange(3)):
        info = {}
        ips = [{"ip_address": a} for a in r.sample(
            ["9.0.0.1", "9.0.0.2", "fd01:b::1", "fd01:b::2", "x", agent], r.randrange(3))]
        maybe(r, 0.8, info, "ip_addresses", ips)
        maybe(r, 0.3, info, "ip_address", "9.0.0.3")
        maybe(r, 0.3, info, "port_mappings", mappings(r))
        out.append(info)
    return out


def statuses(r, agent):
    out = []
    for _ in range(r.randrange(4)):
        s = {"state": "TASK_RUNNING"}
        maybe(r, 0.9, s, "timestamp", pick(r, 1, 2, 2.5, 1e9, 1e9 + 0.25))
        maybe(r, 0.5, s, "healthy", pick(r, True, True, False))
        maybe(r, 0.8, s, "container_status", {"network_infos": network_infos(r, agent)})
        out.append(s)
    return out


def resources(r, v1):
    ranges = [(31000, 31001), (31005, 31005)][:r.randrange(3)]
    if not v1:
        out = {"cpus": 0.1}
        if ranges:
            out["ports"] = "[" + ", ".join(f"{a}-{b}" for a, b in ranges) + "]"
        return out
    return [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}] + [
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": a, "end": b}]}}
        for a, b in ranges]


def ident(r, text, v1):
    return {"value": text} if v1 != (r.random() < 0.05) else text


def task(r, v1, ids, agents):
    agent, address = r.choice(agents)
    t = {"task_id" if v1 else "id": ident(r, ids(), v1),
         "agent_id" if v1 else "slave_id": ident(r, agent, v1),
         "state": pick(r, *["TASK_RUNNING"] * 6, "TASK_KILLING", "TASK_STAGING", "TASK_FAILED")}
    maybe(r, 0.95, t, "framework_id", ident(r, pick(r, "F0", "F1", "F1", "F9"), v1))
    maybe(r, 0.9, t, "discovery", {"ports": {"ports": [discovery_port(r) for _ in range(r.randrange(4))]}})
    maybe(r, 0.9, t, "statuses", statuses(r, address))
    maybe(r, 0.2, t, "health_check", {"type": "HTTP"})
    maybe(r, 0.5, t, "resources", resources(r, v1))
    maybe(r, 0.3, t, "labels", label_list(r, [
        (pick(r, "vip_port0", "VIP_PORT1", "Vip_port2", "vip_port", "vip_portx", "vip_port01"),
         pick(r, "tcp://", "udp://", "", "http://") + label_value(r)) for _ in range(r.randrange(3))]))
    container = {"type": pick(r, "MESOS", "DOCKER")}
    maybe(r, 0.3, container, "docker", {"port_mappings": mappings(r)})
    maybe(r, 0.3, container, "network_infos", network_infos(r, address))
    maybe(r, 0.6, t, "container", container)
    return shuffled(r, t)


def shuffled(r, d):
    keys = list(d)
    r.shuffle(keys)
    return {k: d[k] for k in keys}


def document(r):
    counter = [0]

    def ids():
        counter[0] += 1
        return f"t{r.randrange(counter[0]) if r.random() < 0.02 else counter[0]}"

    agents = [(f"S{i}", a) for i, a in enumerate(
        r.sample(["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.3"], r.randrange(1, 4)))]
    shape = pick(r, "master", "agent", "v1", "v1-lone")
    v1 = shape.startswith("v1")
    if shape in ("agent", "v1-lone"):
        agents = agents[:1]
    tasks = lambda: [task(r, v1, ids, agents + [("S9", "10.0.0.9")] * (r.random() < 0.1))
                     for _ in range(r.randrange(20))]

    def members(agent, address):
        pid = f"[{address}]" if ":" in address else address
        return pick(r, {"hostname": address}, {"hostname": "node.invalid", "pid": f"slave(1)@{pid}:5051"})

    if v1:
        def agent_object(a):
            m = members(*a)
            out = {"agent_info": {"id": {"value": a[0]}, "hostname": m["hostname"]}}
            return dict(out, **({"pid": m["pid"]} if "pid" in m else {}))

        state = {"get_tasks": {pick(r, "tasks", "launched_tasks"): tasks()},
                 "get_frameworks": {"frameworks": [
                     {"framework_info": {"id": {"value": f"F{i}"}, "name": n}}
                     for i, n in enumerate(r.sample(["marathon", "Metro_nome", "a.b"], 2))]}}
        doc = {"type": "GET_STATE", "get_state": state}
        if shape == "v1-lone":
            pick(r, doc, state)["get_agent"] = agent_object(agents[0])
        else:
            state["get_agents"] = {"agents": [agent_object(a) for a in agents]}
        doc["get_state"] = shuffled(r, state)
        return shuffled(r, doc)
    frameworks = []
    for i, n in enumerate(r.sample(["marathon", "Metro_nome", "a.b"], 2)):
        f = {"id": f"F{i}", "name": n, "completed_tasks": tasks()}
        if shape == "agent":
            f["executors"] = [{"id": "e", "tasks": tasks()} for _ in range(r.randrange(3))]
        else:
            f["tasks"] = tasks()
        frameworks.append(shuffled(r, f))
    if shape == "agent":
        return shuffled(r, dict({"id": agents[0][0], "frameworks": frameworks}, **members(*agents[0])))
    return shuffled(r, {"frameworks": frameworks, "id": "M", "hostname": "10.9.9.9",
                        "slaves": [shuffled(r, dict({"id": a[0]}, **members(*a))) for a in agents]})


def main():
    vipctl = sys.argv[1]
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())
    print(f"seed {seed}")
    n_vips = 0
    for i in range(n):
        r = random.Random(seed + i)
        doc = document(r)
        ipv6 = r.random() < 0.9
        text = json.dumps(doc, ensure_ascii=r.random() < 0.5, indent=pick(r, None, None, 2))
        ranges = [f"--named-range{'6' if v == 6 else ''}={'-'.join(RANGES[v])}" for v in (4, 6)]
        run = subprocess.run([vipctl, "table", "--state=-", "--json", *ranges] + ["--no-ipv6"] * (not ipv6),
                             input=text.encode(), capture_output=True)
        want = reference.table(doc, RANGES, ipv6)
        have = json.loads(run.stdout) if run.returncode == 0 else run.stderr
        n_vips += len(want)
        if have != want:
            print(f"document {i} (seed {seed + i}, ipv6 {ipv6}) differs")
            print(f"have {json.dumps(have) if isinstance(have, list) else have}")
            print(f"want {json.dumps(want)}")
            return 1
    print(f"{n} documents with {n_vips} VIPs agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
