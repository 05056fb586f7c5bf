# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks of paper, for vipd's file source, and what a node's kernel must hold for them.

    paper = Paper(cluster.dir / "tasks.json")
    paper.set_app("/web", {"VIP_0": "1.2.3.4:80"}, [Backend("10.0.0.12", 31000)])
    paper.write()
    node.start_vipd(masters=None, source=paper.source)
    wait_until(lambda: not paper.differs(node), ...)

The expectation is computed from the document by the second implementation of its rules
(tests/golden/reference.py) and written as the lines that ipvsadm, ipset and ip print, so that nothing
of vipd's own judges vipd."""
import dataclasses
import ipaddress
import json
import os
import pathlib
import re
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests" / "golden"))
import reference  # noqa: E402

from cluster import endpoint  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Backend:
    """One task. With `container`, ADDRESS:PORT of the container, its host port is mapped to that: this is
    where the agent's own node finds it. An IPv6 address stands for a container with that address."""
    agent: str
    port: int
    healthy: bool = True
    container: tuple = None
    address6: str = None
    state: str = "TASK_RUNNING"


@dataclasses.dataclass
class App:
    labels: dict
    protocol: str
    backends: list


class Paper:
    def __init__(self, path, framework="marathon"):
        self.path = pathlib.Path(path)
        self.framework = framework
        self.apps = {}

    @property
    def source(self):
        return f"file:{self.path}"

    def set_app(self, app, labels, backends, protocol="tcp"):
        self.apps[app] = App(labels, protocol, list(backends))

    def remove_app(self, app):
        self.apps.pop(app, None)

    # The document

    def _task(self, name, number, app, b):
        label_list = [{"key": k, "value": v} for k, v in app.labels.items()]
        scope = "container" if b.container or b.address6 else "host"
        port = b.container[1] if b.container else b.port
        address = b.address6 or (b.container[0] if b.container else b.agent)
        status = {"state": b.state, "timestamp": 1.0, "healthy": b.healthy, "container_status": {
            "network_infos": [{"ip_addresses": [{"ip_address": address}]}]}}
        task = {"id": f"{name.strip('/')}.{number}", "name": name.strip("/"), "framework_id": "f",
                "slave_id": f"agent-{b.agent}", "state": b.state, "statuses": [status], "resources": {},
                "discovery": {"ports": {"ports": [{
                    "number": port, "name": "p", "protocol": app.protocol, "labels": {
                        "labels": label_list + [{"key": "network-scope", "value": scope}]}}]}}}
        if scope == "host":
            task["resources"] = {"ports": f"[{b.port}-{b.port}]"}
        else:
            info = {"name": "dcos"}
            if b.container:
                info["port_mappings"] = [{"host_port": b.port, "container_port": port,
                                          "protocol": app.protocol}]
            task["container"] = {"type": "MESOS", "network_infos": [info]}
        return task

    def document(self):
        agents = sorted({b.agent for a in self.apps.values() for b in a.backends})
        tasks = [self._task(name, i, app, b) for name, app in self.apps.items()
                 for i, b in enumerate(app.backends)]
        return {"slaves": [{"id": f"agent-{a}", "hostname": a, "pid": f"slave(1)@{a}:5051"} for a in agents],
                "frameworks": [{"id": "f", "name": self.framework, "tasks": tasks}]}

    def write(self):
        """Replaces the file, as an editor does."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.document()))
        os.rename(new, self.path)

    # The expectation

    def vips(self, node=None):
        """{(protocol, address, port): {"ADDRESS:PORT": weight}}, in the form that belongs to this node."""
        local = {(b.agent, b.port): b.container for a in self.apps.values() for b in a.backends
                 if node is not None and b.container and b.agent == node.address}
        found = {}
        for vip in reference.table(self.document()):
            backends = found[vip["protocol"], vip["address"], vip["port"]] = {}
            for b in vip["backends"]:
                place = endpoint(*(local.get((b["address"], b["port"])) or (b["address"], b["port"])))
                backends[place] = max(backends.get(place, 0), b["weight"])
        return found

    def expected(self, node, without=()):
        """The lines of the kernel's state that are vipd's; `without`: VIPs that belong to others."""
        lines = {"ipvs": [], "set": [], "route": [], "route6": []}
        vips = {k: v for k, v in self.vips(node).items() if k not in without}
        for (protocol, address, port), backends in vips.items():
            service = f"-{protocol[0]} {endpoint(address, port)}"
            lines["ipvs"].append(f"-A {service} -s wlc")
            lines["ipvs"] += [f"-a {service} -r {b} -m -w {w}" for b, w in backends.items()]
            lines["set"].append(f"add vipd{'6' if ':' in address else ''} {address},{protocol}:{port}")
        for address in {address for _, address, _ in vips}:
            six = ":" in address
            lines["set"].append(f"add vipd-ip{'6' if six else ''} {address}")
            lines["route6" if six else "route"].append(
                f"local {address} src {node.address6 if six else node.address}")
        return {what: sorted(l) for what, l in lines.items()}

    def differs(self, node, without=(), foreign=None):
        """What is wrong in the node's kernel, as lines that begin with - (missing) or + (too much);
        `foreign`: a pattern of lines that are not vipd's."""
        want, have = self.expected(node, without), kernel_lines(node, foreign)
        return [f"- {l}" for w in want for l in sorted(set(want[w]) - set(have[w]))] + \
               [f"+ {l}" for w in want for l in sorted(set(have[w]) - set(want[w]))]


KERNEL_SCRIPT = """
echo ==ipvs; ipvsadm -Sn; ipvsadm -Ln --thresholds
echo ==set; ipset save
echo ==route; ip -4 route show table local proto 61; ip -4 route show table local dev {device}
echo ==route6; ip -6 route show table local proto 61; ip -6 route show table local dev {device} type local
echo ==link; ip -o link show dev {device}
"""


def kernel_lines(node, foreign=None, device="vipd0"):
    """What of the kernel's state may be vipd's, but for lines that match `foreign`."""
    text = node.run(KERNEL_SCRIPT.format(device=device), check=False).stdout
    sections = dict(part.split("\n", 1) for part in text.split("==")[1:])
    lines = {
        "ipvs": [plain_service(l) for l in sections["ipvs"].splitlines() if l.startswith("-")],
        "set": [l.strip() for l in sections["set"].splitlines() if l.startswith("add ")],
    }
    # A threshold that somebody has set, on a destination of ours.
    for l in sections["ipvs"].splitlines():
        words = l.split()
        if words[:1] == ["->"] and len(words) >= 4 and words[2:4] != ["0", "0"] and words[2].isdigit():
            lines["ipvs"].append(f"threshold {words[1]}")
    for what in ("route", "route6"):
        lines[what] = sorted({plain_route(l) for l in sections[what].splitlines() if l.startswith("local ")})
    if "UP" not in sections["link"]:
        lines["route"].append("the link is not up")
    if foreign:
        lines = {what: [l for l in found if not re.search(foreign, l)] for what, found in lines.items()}
    return {what: sorted(found) for what, found in lines.items()}


def plain_service(line):
    """Addresses as Python writes them: ipvsadm's IPv6 is its own."""
    return re.sub(r"\[([0-9a-f:]+)\]", lambda m: f"[{ipaddress.ip_address(m[1])}]", line).strip()


def plain_route(line):
    """ADDRESS and preferred source; what the kernel adds by itself is left out."""
    source = re.search(r" src (\S+)", line)
    return "local " + line.split()[1] + (f" src {source[1]}" if source else "")
