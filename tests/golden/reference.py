# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules from a Mesos document to the VIP table once more, in the plainest way: a whole
document in memory, no streaming, no care for speed. compare_random.py holds vipctl against it."""

import hashlib
import ipaddress
import re

GOLDEN = 0x9E3779B9
MASK = 0xFFFFFFFF
SUFFIX = "l4lb.thisdcos.directory"
RANGES = {4: ("11.0.0.0", "11.255.255.255"), 6: ("fd01:c::", "fd01:c::ffff:ffff:ffff:ffff")}


def phash2(data):
    a = b = GOLDEN
    c = GOLDEN * 13 & MASK
    if not data:
        return c

    def mix(a, b, c):
        for x, y, z in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
            a = (a - b - c) & MASK
            a ^= c >> x
            b = (b - c - a) & MASK
            b = (b ^ (a << y)) & MASK
            c = (c - a - b) & MASK
            c ^= b >> z
        return a, b, c

    at = 0
    while len(data) - at >= 12:
        words = [int.from_bytes(data[at + i:at + i + 4], "little") for i in (0, 4, 8)]
        a, b, c = mix((a + words[0]) & MASK, (b + words[1]) & MASK, (c + words[2]) & MASK)
        at += 12
    tail = data[at:]
    c = (c + len(data) + (int.from_bytes(tail[8:], "little") << 8)) & MASK
    a = (a + int.from_bytes(tail[:4], "little")) & MASK
    b = (b + int.from_bytes(tail[4:8], "little")) & MASK
    return mix(a, b, c)[2]


def mangle(text):
    parts = []
    for part in text.split("."):
        part = part.translate({c: c + 32 for c in range(65, 91)})
        part = re.sub(r"^[^a-z0-9]*", "", part).replace("_", "-")
        part = re.sub(r"[^a-z0-9-]", "", part)[:63].rstrip("-")
        if part:
            parts.append(part)
    return ".".join(parts)


def literal(text):
    try:
        return ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        return None


def ident(value):
    if isinstance(value, dict):
        value = value.get("value")
    return value if isinstance(value, str) and "\0" not in value else None


def get(value, *keys):
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def items(value):
    return value if isinstance(value, list) else []


def labels(value):
    if isinstance(value, dict):
        value = value.get("labels")
    return [(l["key"], l.get("value")) for l in items(value)
            if isinstance(l, dict) and isinstance(l.get("key"), str)]


def number(value):
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if ok and value == int(value) and 0 < value <= 65535 else None


def protocol(value):
    if value is None:
        return "tcp"
    value = value.lower() if isinstance(value, str) else ""
    return value if value in ("tcp", "udp") else None


def agent_address(hostname, pid):
    address = literal(hostname)
    if address is None and isinstance(pid, str) and "@" in pid and ":" in pid:
        address = literal(pid.rpartition("@")[2].rpartition(":")[0].strip("[]"))
    return address


class Port:
    def __init__(self, proto, container=None, host=None, vips=()):
        self.proto, self.container, self.host, self.vips = proto, container, host, list(vips)

    def same(self, other):
        return self.proto == other.proto and (
            self.container is not None and self.container == other.container
            or self.host is not None and self.host == other.host)


def add_port(ports, new):
    while True:
        same = [p for p in ports if new.same(p)]
        if not same:
            break
        for p in same:
            ports.remove(p)
            new.container = new.container or p.container
            new.host = new.host or p.host
            new.vips += p.vips
    ports.append(new)


def resource_ports(resources):
    out = []
    if isinstance(resources, dict):
        for begin, end in re.findall(r"(\d+)-(\d+)", resources.get("ports") or ""):
            out += range(int(begin), int(end) + 1)
    for r in items(resources):
        if get(r, "name") == "ports":
            for pair in items(get(r, "ranges", "range")):
                out += range(pair["begin"], pair["end"] + 1)
    return out


def network_mappings(of):
    return [m for i in items(get(of, "network_infos")) for m in items(get(i, "port_mappings"))]


def task_ports(task, status):
    ports = []
    for entry in items(get(task, "discovery", "ports", "ports")):
        all_labels = labels(get(entry, "labels"))
        vips = [v for k, v in all_labels if k[:3] in ("VIP", "vip") and isinstance(v, str)]
        n, proto = number(get(entry, "number")), protocol(get(entry, "protocol"))
        if n and proto:
            host = dict(reversed(all_labels)).get("network-scope") == "host"
            add_port(ports, Port(proto, None if host else n, n if host else None, vips))
    resources = resource_ports(get(task, "resources"))
    for key, value in labels(get(task, "labels")):
        m = re.fullmatch(r"vip_port([0-9]{1,9})", key, re.I)
        v = re.fullmatch(r"(tcp|udp)://(.*)", value, re.I | re.S) if isinstance(value, str) else None
        if m and v and int(m[1]) < len(resources):
            add_port(ports, Port(v[1].lower(), host=resources[int(m[1])], vips=[v[2]]))
    mappings = (items(get(task, "container", "docker", "port_mappings"))
                or network_mappings(get(task, "container"))
                or network_mappings(get(status, "container_status")))
    for m in mappings:
        c, h, proto = (number(get(m, "container_port")), number(get(m, "host_port")),
                       protocol(get(m, "protocol")))
        if c and h and proto:
            add_port(ports, Port(proto, c, h))
    return ports


def latest(task):
    best = None
    for s in items(get(task, "statuses")):
        if best is None or s.get("timestamp", -1e300) >= best.get("timestamp", -1e300):
            best = s
    return best or {}


def task_addresses(status):
    out = []
    for info in items(get(status, "container_status", "network_infos")):
        listed = items(get(info, "ip_addresses"))
        for a in [get(i, "ip_address") for i in listed] or [get(info, "ip_address")]:
            a = literal(a)
            if a is not None and a not in out:
                out.append(a)
    return out


def weight(task, status):
    if task["state"] == "TASK_KILLING":
        return 0
    if isinstance(status.get("healthy"), bool):
        return int(status["healthy"])
    return 0 if task.get("health_check") is not None else 1


def claim(text, framework):
    """(address or name, port) of a label's value, or None."""
    left, colon, right = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]+", right) or not 1 <= int(right) <= 65535:
        return None
    address = literal(left)
    if address is None and left[:1] == "[" and left[-1:] == "]":
        address = literal(left[1:-1])
        address = address if address is not None and address.version == 6 else None
    if address is not None:
        return address, int(right)
    label, frame = mangle(left), mangle(framework)
    name = f"{label}.{frame}"
    if not label or not frame or len(name) + 1 + len(SUFFIX) > 253 or "\0" in left:
        return None
    return name, int(right)


def allocate(names, taken, version, ranges):
    low, high = (int(ipaddress.ip_address(a)) for a in ranges[version])
    size = high - low
    used = {int(a) - low for a in taken if a.version == version}
    home = {}
    for n in names:
        h = phash2(n.encode()) if version == 4 else int.from_bytes(
            hashlib.sha1(n.encode()).digest(), "big")
        home[n] = h % size
    out, moved = {}, []
    for n in sorted(names):
        if home[n] in used:
            moved.append(n)
        else:
            used.add(home[n])
            out[n] = home[n]
    for n in moved:
        if len([u for u in used if 0 <= u < size]) >= size:
            continue
        at = home[n]
        while at in used:
            at = (at + 1) % size
        used.add(at)
        out[n] = at
    make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return {n: make(low + at) for n, at in out.items()}


def gather(doc):
    """Tasks with their framework's id where it may be absent, names by id, addresses by id."""
    tasks, names, agents = [], {}, {}
    state = doc.get("get_state")
    if state is not None:
        lone = doc.get("get_agent") or state.get("get_agent")
        for f in items(get(state, "get_frameworks", "frameworks")):
            info = f.get("framework_info", f)
            names[ident(info.get("id"))] = info.get("name")
        for a in items(get(state, "get_agents", "agents")) + ([lone] if lone else []):
            info = a.get("agent_info", a)
            agents[ident(info.get("id"))] = agent_address(info.get("hostname"), a.get("pid"))
        for listing in ("launched_tasks", "tasks"):
            for t in items(get(state, "get_tasks", listing)):
                tasks.append((t, None))
        return tasks, names, agents
    for f in doc["frameworks"]:
        names[ident(f.get("id"))] = f.get("name")
        for t in items(f.get("tasks")):
            tasks.append((t, ident(f.get("id"))))
        for e in items(f.get("executors")):
            for t in items(get(e, "tasks")):
                tasks.append((t, ident(f.get("id"))))
    for a in doc["slaves"] if "slaves" in doc else [doc]:
        agents[ident(a.get("id"))] = agent_address(a.get("hostname"), a.get("pid"))
    return tasks, names, agents


def task_claims(task, framework, agent):
    status = latest(task)
    addresses = task_addresses(status)
    task_id = ident(task.get("id")) or ident(task.get("task_id"))
    for port in task_ports(task, status):
        at = [(agent, port.host)] if port.host else [(a, port.container)
                                                     for a in addresses or [agent]]
        for text in port.vips:
            what = claim(text, framework)
            for address, p in at if what else []:
                if isinstance(what[0], str) or what[0].version == address.version:
                    yield what, port.proto, {
                        "address": str(address), "port": p, "weight": weight(task, status),
                        "agent": str(agent), "task": task_id}


def table(doc, ranges=RANGES, ipv6=True):
    tasks, names, agents = gather(doc)
    seen = {}
    for task, enclosing in tasks:
        if not isinstance(task, dict) or task.get("state") not in ("TASK_RUNNING", "TASK_KILLING"):
            continue
        if not any(p.vips for p in task_ports(task, latest(task))):
            continue
        framework = ident(task.get("framework_id")) or enclosing
        agent = agents.get(ident(task.get("agent_id")) or ident(task.get("slave_id")))
        if isinstance(names.get(framework), str) and agent is not None:
            seen[framework, ident(task.get("id")) or ident(task.get("task_id"))] = (
                task, names[framework], agent)
    claims = [c for t in seen.values() for c in task_claims(*t)]
    family = lambda c: ipaddress.ip_address(c[2]["address"]).version
    if not ipv6:
        claims = [c for c in claims if family(c) == 4]
    taken = {c[0][0] for c in claims if not isinstance(c[0][0], str)}
    placed = {v: allocate({c[0][0] for c in claims if isinstance(c[0][0], str) and family(c) == v},
                          taken, v, ranges) for v in (4, 6)}
    vips = {}
    for (what, port), proto, backend in claims:
        version = ipaddress.ip_address(backend["address"]).version
        if isinstance(what, str):
            if what not in placed[version]:
                continue
            vip, address = f"{what}.{SUFFIX}:{port}", placed[version][what]
        else:
            address = what
            vip = f"[{what}]:{port}" if version == 6 else f"{what}:{port}"
        key = (proto, version, int(address), port)
        entry = vips.setdefault(key, {"vip": vip, "protocol": proto, "address": str(address),
                                      "port": port, "backends": {}})
        end = (int(ipaddress.ip_address(backend["address"])), backend["port"])
        old = entry["backends"].get(end)
        if not old or (-backend["weight"], backend["task"]) < (-old["weight"], old["task"]):
            entry["backends"][end] = backend
    for v in vips.values():
        v["backends"] = [b for _, b in sorted(v["backends"].items())]
    return [v for _, v in sorted(vips.items())]
