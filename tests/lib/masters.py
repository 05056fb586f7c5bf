# SPDX-License-Identifier: GPL-2.0-or-later
"""Stand-in masters on the first nodes of an Overlay, with a vipd beside each: what is published over the
overlay comes from these. All serve one document; which of them leads is said here.

    with Overlay(8) as o, Masters(o, 3) as m:
        m.lead(0)
        o.start(**m.options)
        m.set_tasks(5)
        m.wait_all_hold(5)
"""
import contextlib
import json
import os
import signal
import subprocess
import sys

from cluster import MASTER, wait_until
from overlay import REPO, Failure

sys.path.insert(0, str(REPO / "tests" / "standin"))
from standin_control import ControlError, call  # noqa: E402

PORT = 5050


class Masters:
    def __init__(self, overlay, n):
        self.overlay = overlay
        self.nodes = overlay.nodes[:n]
        self.agents = overlay.nodes[n:]
        self.processes = {}
        self.options = {"source": "mesos", "poll_interval": "1s",
                        "masters": ",".join(f"http://{n.address}:{PORT}" for n in self.nodes)}
        self.document = self.make_document(0)
        self.leader = None

    def __enter__(self):
        try:
            for n in self.nodes:
                self.start(n)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        for n in list(self.processes):
            self.stop(n)

    # The masters

    def control(self, node):
        return f"unix:{node.dir}/master.sock"

    def start(self, node):
        socket = node.dir / "master.sock"
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()
        self.processes[node] = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{node.netns}", "/usr/bin/python3", MASTER,
             "--listen", f"{node.address}:{PORT}", "--also", f"unix:{socket}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: self.answers(node), f"the master on {node} answers", 20)

    def answers(self, node):
        with contextlib.suppress(ControlError):
            return self.tell(node, self.document, "none")

    def stop(self, node):
        process = self.processes.pop(node)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def tell(self, node, document, leader):
        """The document and who leads, in one step that no poll sees half of."""
        return call(self.control(node), "batch", {"operations": [
            ["raw", {"document": json.dumps(document)}], ["leader", {"leader": leader}]]})

    def lead(self, node):
        """This one leads, and the others know it; None: nobody does."""
        self.leader = node
        for n in self.processes:
            self.tell(n, self.document, "none" if node is None else "self" if n is node
                      else f"{node.address}:{PORT}")

    def polls(self):
        """{address: polls} of all clients at all masters."""
        total = {}
        for n in self.processes:
            for client, polls in call(self.control(n), "polls")["polls"].items():
                total[client] = total.get(client, 0) + polls
        return total

    def agents_polls(self):
        """Polls by nodes without a master, so far."""
        masters = {n.address for n in self.nodes}
        return sum(n for client, n in self.polls().items() if client not in masters)

    def agents_begun(self):
        """The same by their own count, for when masters restart."""
        return sum(n.get("/v1/status")["source"]["polls"] for n in self.agents)

    # The document

    def make_document(self, number, agents=None, recovered=()):
        """Truth number so and so: a VIP with that port beside one that all documents have. The master has not
        heard from the recovered agents (numbers) yet."""
        agents = agents or [n.address for n in self.overlay.nodes]
        tasks = [self.task(f"t{i}", i, "1.2.3.4:80") for i, _ in enumerate(agents) if i not in recovered]
        tasks.append(self.task(f"n{number}", 0, f"1.2.3.5:{1000 + number}"))
        return {"frameworks": [{"id": "f", "name": "marathon", "tasks": tasks}],
                "slaves": [{"id": f"s{i}", "hostname": a, "pid": f"slave(1)@{a}:5051"}
                           for i, a in enumerate(agents) if i not in recovered],
                "recovered_slaves": [{"id": f"s{i}", "hostname": agents[i], "port": 5051} for i in recovered]}

    def task(self, name, agent, vip):
        port = 8080 if vip.endswith(":80") else 8081
        address = self.overlay.nodes[agent].address
        return {"id": name, "name": name, "framework_id": "f", "slave_id": f"s{agent}", "state": "TASK_RUNNING",
                "resources": {"ports": f"[{port}-{port}]"},
                "discovery": {"ports": {"ports": [{"number": port, "protocol": "tcp", "labels": {"labels": [
                    {"key": "VIP_0", "value": vip}, {"key": "network-scope", "value": "host"}]}}]}},
                "statuses": [{"state": "TASK_RUNNING", "timestamp": 1.0, "container_status": {
                    "network_infos": [{"ip_addresses": [{"ip_address": address}]}]}}]}

    def set_truth(self, number, only=None, recovered=()):
        """What all masters say from now on, or the only one."""
        document = self.make_document(number, recovered=recovered)
        if only is None:
            self.document = document
        for n in self.processes if only is None else [only]:
            leader = ("none" if self.leader is None else "self" if n in (self.leader, only)
                      else f"{self.leader.address}:{PORT}")
            self.tell(n, document, leader)

    # What vipds make of it

    @staticmethod
    def holds(node):
        """The number of the truth that is in force there; None: none."""
        ports = [v["port"] for v in node.ask("/v1/table") or [] if v["address"] == "1.2.3.5"]
        if len(ports) > 1:
            raise Failure(f"{node} has half of one table and half of another: {ports}")
        return ports[0] - 1000 if ports else None

    @staticmethod
    def mode(node):
        return ((node.ask("/v1/status") or {}).get("publisher") or {}).get("mode")

    def wait_modes(self, leader, nodes=None, timeout=40):
        """This one publishes, all others follow."""
        for n in nodes or self.overlay.nodes:
            want = "leading" if n is leader else "following"
            wait_until(lambda n=n, want=want: self.mode(n) == want, f"{n} is {want}", timeout, 0.1)

    def wait_all_hold(self, number, nodes=None, timeout=20):
        for n in nodes or self.overlay.nodes:
            wait_until(lambda n=n: self.holds(n) == number, f"{n} holds {number}", timeout, 0.05)
