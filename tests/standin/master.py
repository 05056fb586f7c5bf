#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A small Mesos cluster in one process, for tests and the demo: a master that answers as Mesos 1.9
does, and behind it agents that really run their tasks' commands.

    master.py --listen ADDR:PORT [--also ADDR:PORT|unix:PATH] [--cert PEM [--client-ca PEM]]

What vipd sees:  GET /state, /master/state (and POST /api/v1 GET_STATE), gzip when accepted,
                 POST /api/v1 SUBSCRIBE: events of all that changes, with heartbeats,
                 307 with `Location: //HOST:PORT/state` when another master leads, 503 when none does;
                 the same below /mesos, as behind DC/OS' Admin Router; 401 without the `authorization`.
What tests use:  POST /control/OPERATION with a JSON object; `mesosctl` beside this file is its
                 command line. OPERATIONS below lists them.

Three things are told apart as in the original: *agents* (nodes, each perhaps a network namespace),
*apps* (what Marathon would keep: a command or nothing, ports with labels, so many instances) and
*tasks*. A task of an app with a command is a process in its agent's namespace; when that process
ends, the task fails and is reported so, once more among the completed ones. An app without a command
is pure paper.

Misbehaviour is asked for with the operation `mode`; MODES lists it.
"""
import argparse
import gzip
import json
import os
import queue
import shlex
import signal
import socket
import socketserver
import ssl
import string
import struct
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MASTER_ID = "5b3c7f5c-8d3a-4c6e-9d0e-6f3f1f5e7a10"
VERSION = "1.9.0"
FIRST_PORT = 31000


class Refused(Exception):
    """An operation that cannot be done: becomes a 400."""


# ---------------------------------------------------------------------------------------------
# The cluster


class Agent:
    def __init__(self, number, hostname, address=None, address6=None, pid=None, netns=None, attributes=None):
        self.id = f"{MASTER_ID}-S{number}"
        self.hostname = hostname
        self.pid = pid or f"slave(1)@{address or hostname}:5051"
        self.address = address or hostname
        self.address6 = address6
        self.netns = netns
        self.attributes = attributes or {}
        self.next_port = FIRST_PORT
        self.registered = time.time()


class Framework:
    def __init__(self, number, name):
        self.id = f"{MASTER_ID}-{number:04d}"
        self.name = name
        self.completed = []


class App:
    """What an operator wrote. `ports` is a list of {"name", "protocol", "labels": {...}} with
    optional "container_port" and "host_port" (0: assigned; None: none at all). With the network
    "container" a task has addresses of its own; here they are its agent's, of the `families`, unless
    `address` says otherwise, and its port number is assigned if there is none."""

    DEFAULTS = {
        "framework": "marathon", "instances": 1, "cmd": None, "agents": None, "ports": [],
        "labels": {}, "network": "host", "container": "MESOS", "address": None, "families": [4],
        "health_check": False, "healthy": None, "restart": False, "cpus": 0.1, "mem": 32.0,
    }

    def __init__(self, spec):
        unknown = set(spec) - set(self.DEFAULTS) - {"id"}
        if unknown:
            raise Refused(f"an app has no {', '.join(sorted(unknown))}")
        self.id = spec["id"]
        for key, default in self.DEFAULTS.items():
            setattr(self, key, spec.get(key, default))
        self.next_agent = 0


class Task:
    def __init__(self, app, agent, framework, task_id, ports):
        self.app = app
        self.agent = agent
        self.framework = framework
        self.id = task_id
        self.ports = ports  # app's ports with the host port that this task got
        self.state = "TASK_STARTING"
        self.healthy = app.healthy
        self.container = str(uuid.uuid4())
        self.statuses = []
        self.process = None
        self.report("TASK_STARTING")
        self.report("TASK_RUNNING")

    def report(self, state):
        """What the agent tells the master: the newest status is the last."""
        self.state = state
        self.statuses.append({"state": state, "timestamp": time.time(), "healthy": self.healthy})

    def addresses(self):
        if self.app.network == "container":
            own = {4: self.app.address or self.agent.address, 6: self.agent.address6}
            return [own[f] for f in self.app.families]
        return [self.agent.address]


class Cluster:
    """All that the documents are made of. Every method is called with the lock held, except
    the watching of processes, which takes it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.agents = {}
        self.frameworks = {}
        self.apps = {}
        self.tasks = {}
        self.counter = 0
        self.version = 0
        self.started = time.time()
        self.subscribers = set()  # queues of events
        self.recovered = set()  # hostnames of agents not heard of since this master took over

    def changed(self):
        self.version += 1

    def tell(self, kind, body):
        """An event for all subscribers."""
        for subscriber in list(self.subscribers):
            subscriber.put({"type": kind.upper(), kind: body})

    def tell_updates(self, task, statuses):
        for status in statuses:
            self.tell("task_updated", {
                "framework_id": {"value": task.framework.id}, "state": status["state"],
                "status": dict(self.status_json(task, status), task_id={"value": task.id},
                               agent_id={"value": task.agent.id}, source="SOURCE_EXECUTOR")})

    def unique(self):
        self.counter += 1
        return self.counter

    def find(self, where, key, what):
        if key not in where:
            raise Refused(f"no {what} is called {key}")
        return where[key]

    def framework(self, name):
        if name not in self.frameworks:
            self.frameworks[name] = Framework(len(self.frameworks), name)
            self.tell("framework_added", {"framework": self.framework_v1(self.frameworks[name])})
        return self.frameworks[name]

    def add_agent(self, spec):
        agent = Agent(len(self.agents), **spec)
        self.agents[spec["hostname"]] = agent
        self.tell("agent_added", {"agent": self.agent_v1(agent)})
        self.changed()
        return {"id": agent.id}

    def remove_agent(self, hostname):
        agent = self.find(self.agents, hostname, "agent")
        for task in [t for t in self.tasks.values() if t.agent is agent]:
            self.end_task(task, "TASK_LOST", signal.SIGKILL)
        del self.agents[hostname]
        self.recovered.discard(hostname)
        self.tell("agent_removed", {"agent_id": {"value": agent.id}})
        self.changed()

    def fail_over(self, hostnames):
        """As if this master had just taken over: it knows these agents from the registry only."""
        for hostname in hostnames:
            self.find(self.agents, hostname, "agent")
        self.recovered = set(hostnames)
        for subscriber in list(self.subscribers):
            subscriber.put(None)
        self.changed()

    def reregister(self, hostname):
        agent = self.find(self.agents, hostname, "agent")
        self.recovered.discard(hostname)
        for task in self.known_tasks():
            if task.agent is agent:
                self.tell("task_added", {"task": self.task_v1(task)})
        self.tell("agent_added", {"agent": self.agent_v1(agent)})
        self.changed()

    def is_known(self, agent):
        return agent.hostname not in self.recovered

    def known_tasks(self):
        return [t for t in self.tasks.values() if self.is_known(t.agent)]

    # Tasks

    def start_task(self, app, agent=None, task_id=None):
        if not self.agents:
            raise Refused("there is no agent to run it on")
        candidates = app.agents or list(self.agents)
        if agent is None:
            agent = candidates[app.next_agent % len(candidates)]
            app.next_agent += 1
        agent = self.find(self.agents, agent, "agent")
        name = ".".join(reversed([p for p in app.id.split("/") if p])).replace(".", "_")
        task_id = task_id or f"{name}.{uuid.uuid1()}"
        ports = []
        for port in app.ports:
            port = dict(port)
            if port.get("host_port", 0) == 0 and app.network != "container":
                port["host_port"] = agent.next_port
                agent.next_port += 1
            elif app.network == "container" and "container_port" not in port:
                port["container_port"] = agent.next_port
                agent.next_port += 1
            ports.append(port)
        task = Task(app, agent, self.framework(app.framework), task_id, ports)
        if app.cmd:
            self.run_command(task)
        self.tasks[task_id] = task
        # As the master does: it adds the task when it launches it, and hears of it later.
        self.tell("task_added", {"task": dict(self.task_v1(task), state="TASK_STAGING", statuses=[])})
        self.tell_updates(task, task.statuses)
        self.changed()
        return task

    def run_command(self, task):
        env = dict(os.environ, MESOS_TASK_ID=task.id, HOST=task.agent.hostname)
        for i, port in enumerate(task.ports):
            env[f"PORT{i}"] = str(port.get("host_port") or port.get("container_port"))
        env["PORT"] = env.get("PORT0", "")
        # As a shell would read it, but without one: it runs in many a loop on slow guests.
        command = [string.Template(word).safe_substitute(env) for word in shlex.split(task.app.cmd)]
        if task.agent.netns:
            command = ["nsenter", f"--net=/run/netns/{task.agent.netns}"] + command
        task.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                                        stdout=sys.stderr, start_new_session=True)
        threading.Thread(target=self.watch, args=(task, task.process), daemon=True).start()
        self.wait_until_listening(task)

    def wait_until_listening(self, task):
        """A task runs once it listens, as it would with a readiness check. The socket is looked up
        in the tables of the task's own namespace, so that no probe of ours reaches it."""
        wanted = {f"{int(p.get('host_port') or p['container_port']):04X}" for p in task.ports
                  if p.get("protocol", "tcp").lower() == "tcp"}
        deadline = time.monotonic() + 5
        while wanted and task.process.poll() is None and time.monotonic() < deadline:
            try:
                lines = []
                for table in ("tcp", "tcp6"):
                    with open(f"/proc/{task.process.pid}/net/{table}") as f:
                        lines += f.readlines()[1:]
            except OSError:
                return
            listening = {l.split()[1].rsplit(":", 1)[1] for l in lines if l.split()[3] == "0A"}
            if wanted <= listening:
                return
            time.sleep(0.01)

    def watch(self, task, process):
        process.wait()
        with self.lock:
            if self.tasks.get(task.id) is task:
                self.end_task(task, "TASK_KILLED" if task.state == "TASK_KILLING" else "TASK_FAILED")
                if task.app.restart and task.app.id in self.apps:
                    self.scale(task.app.id, task.app.instances)

    def end_task(self, task, state, signal_number=signal.SIGTERM):
        """The task is over: it leaves the running ones and is reported among the completed."""
        self.tasks.pop(task.id, None)
        task.report(state)
        self.tell_updates(task, task.statuses[-1:])
        task.framework.completed = (task.framework.completed + [task])[-100:]
        if task.process and task.process.poll() is None:
            os.killpg(task.process.pid, signal_number)
        self.changed()

    # Apps

    def add_app(self, spec):
        app = App(spec)
        if app.id in self.apps:
            raise Refused(f"{app.id} is there already")
        self.apps[app.id] = app
        return self.scale(app.id, app.instances)

    def scale(self, app_id, instances):
        app = self.find(self.apps, app_id, "app")
        app.instances = instances
        have = [t for t in self.tasks.values() if t.app is app]
        for task in reversed(have[instances:]):
            self.end_task(task, "TASK_KILLED")
        for _ in range(instances - len(have)):
            self.start_task(app)
        return {"tasks": [t.id for t in self.tasks.values() if t.app is app]}

    def remove_app(self, app_id):
        self.scale(app_id, 0)
        del self.apps[app_id]

    def reset(self):
        for task in list(self.tasks.values()):
            self.end_task(task, "TASK_KILLED", signal.SIGKILL)
        for agent in self.agents.values():
            self.tell("agent_removed", {"agent_id": {"value": agent.id}})
        for framework in self.frameworks.values():
            self.tell("framework_removed", {"framework_info": self.framework_v1(framework)["framework_info"]})
        for things in (self.agents, self.frameworks, self.apps, self.recovered):
            things.clear()
        self.changed()

    def stop(self):
        with self.lock:
            self.reset()

    # The documents, in the master's own shapes

    def state(self, self_pid):
        frameworks = [self.framework_json(f) for f in self.frameworks.values()]
        host, port = self_pid.split("@")[1].rsplit(":", 1)
        return {
            "version": VERSION, "git_sha": "5e79a584e6ec3e9e2f96e8bf418411df9dafac2e",
            "git_branch": "refs/heads/1.9.x", "git_tag": VERSION,
            "build_date": "2019-08-29 00:00:00", "build_time": 1567036800.0, "build_user": "",
            "start_time": self.started, "elected_time": self.started, "id": MASTER_ID,
            "pid": self_pid, "hostname": host, "capabilities": ["AGENT_UPDATE", "AGENT_DRAINING"],
            "activated_slaves": len(self.agents) - len(self.recovered), "deactivated_slaves": 0, "unreachable_slaves": 0,
            "cluster": "standin", "leader": self_pid,
            "leader_info": {"id": MASTER_ID, "pid": self_pid, "port": int(port), "hostname": host},
            "flags": {"authenticate_agents": "false", "port": port, "roles": "slave_public"},
            "slaves": [self.agent_json(a) for a in self.agents.values() if self.is_known(a)],
            "recovered_slaves": [{"id": a.id, "hostname": a.hostname, "port": 5051, "attributes": a.attributes}
                                 for a in self.agents.values() if not self.is_known(a)],
            "frameworks": frameworks, "completed_frameworks": [],
            "orphan_tasks": [], "unregistered_frameworks": [],
        }

    def agent_json(self, agent):
        resources = {"disk": 35577.0, "mem": 14018.0, "gpus": 0.0, "cpus": 4.0,
                     "ports": "[1025-2180, 2182-3887, 3889-5049, 5052-8079, 8082-8180, 8182-32000]"}
        return {
            "id": agent.id, "hostname": agent.hostname, "port": 5051, "attributes": agent.attributes,
            "pid": agent.pid, "registered_time": agent.registered, "resources": resources,
            "used_resources": {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0},
            "offered_resources": {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0},
            "reserved_resources": {}, "unreserved_resources": resources, "active": True,
            "deactivated": False, "version": VERSION,
            "capabilities": ["MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"],
            "reserved_resources_full": {}, "unreserved_resources_full": [], "used_resources_full": [],
            "offered_resources_full": [],
        }

    def framework_json(self, framework):
        return {
            "id": framework.id, "name": framework.name,
            "pid": "scheduler-00000000-0000-0000-0000-000000000000@127.0.0.1:15101",
            "used_resources": {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0},
            "offered_resources": {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0},
            "capabilities": ["TASK_KILLING_STATE", "PARTITION_AWARE"], "hostname": "127.0.0.1",
            "webui_url": "", "active": True, "connected": True, "recovered": False, "user": "root",
            "failover_timeout": 604800.0, "checkpoint": True, "registered_time": self.started,
            "unregistered_time": 0.0, "principal": "dcos_marathon", "role": "slave_public",
            "resources": {"disk": 0.0, "mem": 0.0, "gpus": 0.0, "cpus": 0.0},
            "tasks": [self.task_json(t) for t in self.known_tasks() if t.framework is framework],
            "unreachable_tasks": [],
            "completed_tasks": [self.task_json(t) for t in framework.completed],
            "offers": [], "executors": [],
        }

    def task_json(self, task):
        resources = {"disk": 0.0, "mem": task.app.mem, "gpus": 0.0, "cpus": task.app.cpus}
        host_ports = [p["host_port"] for p in task.ports if p.get("host_port")]
        if host_ports:
            resources["ports"] = "[" + ", ".join(f"{p}-{p}" for p in host_ports) + "]"
        body = {
            "id": task.id, "name": ".".join(reversed([p for p in task.app.id.split("/") if p])),
            "framework_id": task.framework.id, "executor_id": "", "slave_id": task.agent.id,
            "state": task.state, "resources": resources, "role": "slave_public",
            "statuses": [self.status_json(task, s) for s in task.statuses],
            "discovery": self.discovery_json(task),
        }
        if task.app.labels:
            body["labels"] = labels_json(task.app.labels)["labels"]
        if task.app.health_check:
            body["health_check"] = {"type": "HTTP", "delay_seconds": 15.0, "interval_seconds": 10.0,
                                    "http": {"port": (host_ports or [80])[0], "path": "/"}}
        container = self.container_json(task)
        if container:
            body["container"] = container
        return body

    def status_json(self, task, status):
        body = {
            "state": status["state"], "timestamp": status["timestamp"],
            "container_status": {
                "container_id": {"value": task.container},
                "network_infos": [{"ip_addresses": [
                    {"protocol": "IPv6" if ":" in a else "IPv4", "ip_address": a}
                    for a in task.addresses()]}],
            },
        }
        if status["healthy"] is not None and status["state"] == "TASK_RUNNING":
            body["healthy"] = status["healthy"]
        return body

    def discovery_json(self, task):
        scope = "container" if task.app.network in ("bridge", "container") else "host"
        ports = []
        for port in task.ports:
            number = port.get("container_port") if scope == "container" else port.get("host_port")
            entry = {"number": number, "name": port.get("name", "default"),
                     "protocol": port.get("protocol", "tcp")}
            labels = dict(port.get("labels", {}), **{"network-scope": scope})
            entry["labels"] = labels_json(labels)
            ports.append(entry)
        return {"visibility": "FRAMEWORK", "name": task.app.id.strip("/").replace("/", "."),
                "ports": {"ports": ports}}

    def container_json(self, task):
        mappings = [{"host_port": p["host_port"], "container_port": p["container_port"],
                     "protocol": p.get("protocol", "tcp")}
                    for p in task.ports if p.get("host_port") and p.get("container_port")]
        if task.app.container == "DOCKER":
            docker = {"image": "mesosphere/helloworld", "privileged": False,
                      "force_pull_image": False, "network": "HOST"}
            if task.app.network == "bridge":
                docker.update(network="BRIDGE", port_mappings=mappings)
            return {"type": "DOCKER", "docker": docker}
        if task.app.network == "host":
            return None
        info = {"name": "mesos-bridge" if task.app.network == "bridge" else "dcos"}
        if mappings:
            info["port_mappings"] = mappings
        return {"type": "MESOS", "network_infos": [info]}

    # The same by the v1 operator API

    def get_state(self):
        tasks = [self.task_v1(t) for t in self.known_tasks()]
        completed = [self.task_v1(t) for f in self.frameworks.values() for t in f.completed]
        frameworks = [self.framework_v1(f) for f in self.frameworks.values()]
        agents = [self.agent_v1(a) for a in self.agents.values() if self.is_known(a)]
        recovered = [self.agent_v1(a)["agent_info"] for a in self.agents.values() if not self.is_known(a)]
        return {"type": "GET_STATE", "get_state": {
            "get_tasks": {"tasks": tasks, "completed_tasks": completed},
            "get_executors": {}, "get_frameworks": {"frameworks": frameworks},
            "get_agents": {"agents": agents, "recovered_agents": recovered}}}

    def framework_v1(self, framework):
        return {"framework_info": {"user": "root", "name": framework.name, "id": {"value": framework.id},
                                   "failover_timeout": 604800.0, "checkpoint": True},
                "active": True, "connected": True, "recovered": False,
                "registered_time": {"nanoseconds": int(self.started * 1e9)}}

    def agent_v1(self, agent):
        return {"agent_info": {"hostname": agent.hostname, "port": 5051, "id": {"value": agent.id},
                               "resources": []},
                "active": True, "version": VERSION, "pid": agent.pid,
                "registered_time": {"nanoseconds": int(agent.registered * 1e9)}}

    def task_v1(self, task):
        old = self.task_json(task)
        resources = [{"name": n, "type": "SCALAR", "scalar": {"value": old["resources"][n]}}
                     for n in ("cpus", "mem", "disk")]
        ranges = [{"begin": p["host_port"], "end": p["host_port"]}
                  for p in task.ports if p.get("host_port")]
        if ranges:
            resources.append({"name": "ports", "type": "RANGES", "ranges": {"range": ranges}})
        body = {"name": old["name"], "task_id": {"value": task.id},
                "framework_id": {"value": task.framework.id}, "agent_id": {"value": task.agent.id},
                "state": task.state, "resources": resources, "discovery": old["discovery"],
                "statuses": [dict(s, task_id={"value": task.id}, agent_id={"value": task.agent.id},
                                  source="SOURCE_EXECUTOR") for s in old["statuses"]]}
        for key in ("labels", "container", "health_check"):
            if key in old:
                body[key] = {"labels": old[key]} if key == "labels" else old[key]
        return body


def labels_json(labels):
    return {"labels": [{"key": k, "value": v} for k, v in labels.items()]}


# ---------------------------------------------------------------------------------------------
# What tests and operators tell it


class Control:
    """Operations on the cluster and on the master's manners. Each takes the request's object."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.leader = "self"   # "self", "none", or "HOST:PORT" of another
        self.mode = {"mode": "ok"}
        self.raw = None        # bytes to serve instead of the state
        self.polls = {}        # how often which client asked for the state
        self.heartbeat = 15.0  # s
        self.stream = "ok"     # how SUBSCRIBE is answered, see op_stream
        self.authorization = None  # the header that is wanted
        self.shown = []        # the headers that were shown, the newest last
        self.turn = threading.Condition()

    def op_agent(self, a):
        """hostname [address address6 pid netns attributes]: adds an agent"""
        return self.cluster.add_agent(a)

    def op_remove_agent(self, a):
        """hostname: removes it, and its tasks"""
        self.cluster.remove_agent(a["hostname"])

    def op_failover(self, a):
        """[agents]: from now on as a master that has just taken over, and has not heard from its agents
        yet (or not from these)"""
        self.cluster.fail_over(a.get("agents", list(self.cluster.agents)))

    def op_reregister(self, a):
        """hostname: an agent registers with the new master, with all its tasks"""
        self.cluster.reregister(a["hostname"])

    def op_app(self, a):
        """id ports [instances cmd ...]: deploys an app, see class App"""
        return self.cluster.add_app(a)

    def op_scale(self, a):
        """app instances: starts or kills tasks (the newest first)"""
        return self.cluster.scale(a["app"], a["instances"])

    def op_remove(self, a):
        """app: removes it and its tasks"""
        self.cluster.remove_app(a["app"])

    def op_task(self, a):
        """app [agent id]: starts one more task of it"""
        app = self.cluster.find(self.cluster.apps, a["app"], "app")
        return {"id": self.cluster.start_task(app, a.get("agent"), a.get("id")).id}

    def op_end(self, a):
        """task [state]: ends a task; state: TASK_KILLED, TASK_FAILED, TASK_KILLING, ..."""
        task = self.cluster.find(self.cluster.tasks, a["task"], "task")
        state = a.get("state", "TASK_KILLED")
        if state == "TASK_KILLING":
            task.report(state)
            self.cluster.tell_updates(task, task.statuses[-1:])
            self.cluster.changed()
        else:
            self.cluster.end_task(task, state)

    def op_kill(self, a):
        """task: kills the task's process, and waits until the master has noticed"""
        task = self.cluster.find(self.cluster.tasks, a["task"], "task")
        if not task.process:
            raise Refused(f"{task.id} has no process")
        os.killpg(task.process.pid, signal.SIGKILL)

    def op_health(self, a):
        """task healthy: true, false or null"""
        task = self.cluster.find(self.cluster.tasks, a["task"], "task")
        task.healthy = a["healthy"]
        task.report(task.state)
        self.cluster.tell_updates(task, task.statuses[-1:])
        self.cluster.changed()

    def op_tasks(self, a):
        """lists the tasks"""
        return {"tasks": [{
            "id": t.id, "app": t.app.id, "agent": t.agent.hostname, "address": t.agent.address,
            "state": t.state, "address6": t.agent.address6, "healthy": t.healthy, "pid": t.process.pid if t.process else None,
            "ports": [p.get("host_port") or p.get("container_port") for p in t.ports],
        } for t in self.cluster.tasks.values()]}

    def op_leader(self, a):
        """leader: self, none, or HOST:PORT of the master to redirect to"""
        self.leader = a["leader"]

    def op_mode(self, a):
        """mode [seconds bytes path]: how polls are answered from now on, see MODES"""
        if a["mode"] not in MODES:
            raise Refused(f"modes: {', '.join(MODES)}")
        with self.turn:
            self.mode = a
            self.turn.notify_all()

    def op_raw(self, a):
        """document: text to serve as /state; null: the cluster's own again"""
        self.raw = a["document"].encode() if a["document"] is not None else None

    def op_stream(self, a):
        """stream [heartbeat]: how subscriptions are answered from now on: ok, refuse, or silent (the
        state, then nothing); those there are end"""
        if a["stream"] not in ("ok", "refuse", "silent"):
            raise Refused("stream is ok, refuse or silent")
        self.stream = a["stream"]
        self.heartbeat = a.get("heartbeat", self.heartbeat)
        for subscriber in list(self.cluster.subscribers):
            subscriber.put(None)

    def op_inject(self, a):
        """text: what all subscribers get, in place of a record"""
        for subscriber in list(self.cluster.subscribers):
            subscriber.put(a["text"].encode())

    def op_subscribers(self, a):
        """how many there are"""
        return {"subscribers": len(self.cluster.subscribers)}

    def op_authorization(self, a):
        """value: the Authorization header that requests must have; null: none"""
        self.authorization = a["value"]

    def op_shown(self, a):
        """the Authorization headers that requests had, null for none; the newest last"""
        return {"shown": self.shown[-100:]}

    def op_reset(self, a):
        """no apps, no tasks, no frameworks, no agents; good manners"""
        self.cluster.reset()
        self.op_stream({"stream": "ok", "heartbeat": 15.0})
        self.op_authorization({"value": None})
        self.shown.clear()
        self.op_leader({"leader": "self"})
        self.op_mode({"mode": "ok"})
        self.op_raw({"document": None})
        self.polls.clear()

    def op_polls(self, a):
        """how often which client asked for the state"""
        return {"polls": self.polls, "total": sum(self.polls.values())}

    def op_batch(self, a):
        """operations: [[NAME, OBJECT], ...] of which no poll sees only a part"""
        return {"results": [self.run(name, arg) for name, arg in a["operations"]]}

    def run(self, name, arg):
        op = getattr(self, "op_" + name.replace("-", "_"), None)
        if not op:
            names = sorted(n[3:] for n in dir(self) if n.startswith("op_"))
            raise Refused(f"no operation is called {name}; there are: {', '.join(names)}")
        with self.cluster.lock:
            return op(arg) or {}


# How a poll is answered: a function of the handler and the state's document.

def mode_ok(h, doc):
    h.send_document(doc)


def mode_delay(h, doc):
    """after `seconds`"""
    h.wait(h.mode.get("seconds", 1))
    h.send_document(doc)


def mode_hang(h, doc):
    """never, until the mode changes"""
    h.wait(3600)
    h.close_connection = True


def mode_error(h, doc):
    """500"""
    h.send_body(500, b"Internal Server Error\n", "text/plain")


def mode_unavailable(h, doc):
    """503"""
    h.send_body(503, b"Service Unavailable\n", "text/plain")


def mode_notfound(h, doc):
    """404"""
    h.send_body(404, b"", "text/plain")


def mode_garbage(h, doc):
    """200 with what is no JSON"""
    h.send_body(200, b"<html><body>It works!</body></html>\n" * 50, "text/html")


def mode_binary(h, doc):
    """200 with random bytes"""
    h.send_body(200, os.urandom(20000), "application/json")


def mode_empty(h, doc):
    """200 with an empty body"""
    h.send_body(200, b"", "application/json")


def mode_emptyobject(h, doc):
    """200 with {}"""
    h.send_body(200, b"{}", "application/json")


def mode_notasks(h, doc):
    """a whole, valid state with no task at all"""
    doc = json.loads(doc)
    for framework in doc["frameworks"]:
        framework["tasks"] = []
    h.send_document(json.dumps(doc).encode())


def mode_partial(h, doc):
    """half of the document, with a Content-Length that says that this is all"""
    h.send_body(200, doc[:len(doc) // 2], "application/json")


def mode_truncated(h, doc):
    """half of the document, then the connection ends, though Content-Length promised all"""
    h.send_body(200, doc[:len(doc) // 2], "application/json", length=len(doc))
    h.close_connection = True


def mode_short_length(h, doc):
    """all of the document, with a Content-Length of half of it"""
    h.send_body(200, doc, "application/json", length=len(doc) // 2)
    h.close_connection = True


def mode_reset(h, doc):
    """half of the document, then a reset"""
    h.send_body(200, doc[:len(doc) // 2], "application/json", length=len(doc))
    h.reset()


def mode_close(h, doc):
    """no answer, the connection ends"""
    h.close_connection = True


def mode_drip(h, doc):
    """a few bytes at a time, for `seconds` (default 60)"""
    h.start(200, "application/json", len(doc))
    end = time.monotonic() + h.mode.get("seconds", 60)
    mode = h.mode
    step = max(1, len(doc) // 1000)
    for i in range(0, len(doc), step):
        if time.monotonic() > end or h.mode is not mode:
            h.close_connection = True
            return
        h.wfile.write(doc[i:i + step])
        h.wfile.flush()
        time.sleep(0.1)


def mode_chunked(h, doc):
    """the document in chunks"""
    h.start(200, "application/json", None, {"Transfer-Encoding": "chunked"})
    for i in range(0, len(doc), 1000):
        part = doc[i:i + 1000]
        h.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    h.wfile.write(b"0\r\n\r\n")


def mode_bad_gzip(h, doc):
    """says gzip and is not"""
    h.start(200, "application/json", len(doc), {"Content-Encoding": "gzip"})
    h.wfile.write(doc)


def mode_huge(h, doc):
    """blanks without an end, or `bytes` of them"""
    left = int(h.mode.get("bytes", 1 << 40))
    h.start(200, "application/json", left)
    block = b" " * 65536
    while left > 0:
        h.wfile.write(block[:left])
        left -= len(block)
    h.close_connection = True


def mode_loop(h, doc):
    """a redirect to itself"""
    h.redirect("%s:%s" % h.server.server_address[:2])


MODES = {n[5:].replace("_", "-"): f for n, f in list(globals().items()) if n.startswith("mode_")}


# ---------------------------------------------------------------------------------------------
# HTTP


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    @property
    def control(self):
        return self.server.control

    @property
    def mode(self):
        return self.control.mode

    def api_path(self):
        path = self.path.split("?")[0].rstrip("/")
        return path[len("/mesos"):] if path.startswith("/mesos/") else path

    def do_GET(self):
        path = self.api_path()
        if path in ("/state", "/master/state", "/state.json", "/master/state.json"):
            self.answer_poll("/state", lambda c: c.state(self.server.pid))
        elif path in ("/health", "/master/health"):
            self.send_body(200, b"", "text/plain")
        else:
            self.send_body(404, b"", "text/plain")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/control/"):
            self.answer_control(self.path[len("/control/"):], body)
            return
        try:
            call = json.loads(body)["type"]
        except (ValueError, KeyError, TypeError):
            call = None
        if self.api_path() != "/api/v1" or call not in ("GET_STATE", "SUBSCRIBE"):
            self.send_body(400, b"only GET_STATE and SUBSCRIBE are known here\n", "text/plain")
            return
        if call == "SUBSCRIBE":
            self.answer_subscribe()
        else:
            self.answer_poll("/api/v1", lambda c: c.get_state())

    def answer_control(self, name, body):
        try:
            answer, status = self.control.run(name, json.loads(body or b"{}")), 200
        except Refused as e:
            answer, status = {"error": str(e)}, 400
        except (KeyError, TypeError, ValueError) as e:
            answer, status = {"error": f"{type(e).__name__}: {e}"}, 400
        self.send_body(status, json.dumps(answer).encode() + b"\n", "application/json")

    def is_turned_away(self, path):
        """Answers, if it is not for this master to answer, or not for this client."""
        control = self.control
        control.shown.append(self.headers.get("Authorization"))
        if control.leader == "none":
            self.send_body(503, b"No leader elected", "text/plain")
        elif control.leader != "self":
            self.redirect(control.leader, path)
        elif control.authorization not in (None, self.headers.get("Authorization")):
            self.send_body(401, b"", "text/plain", headers={"WWW-Authenticate": 'Basic realm="mesos"'})
        else:
            return False
        return True

    def answer_subscribe(self):
        control, events = self.control, queue.Queue()
        if self.is_turned_away("/api/v1"):
            return
        if control.stream == "refuse":
            self.send_body(400, b"", "text/plain")
            return
        with control.cluster.lock:
            state = control.cluster.get_state()["get_state"]
            control.cluster.subscribers.add(events)
        self.start(200, "application/json", None, {"Transfer-Encoding": "chunked"})
        self.close_connection = True
        try:
            self.send_record({"type": "SUBSCRIBED", "subscribed": {
                "get_state": state, "heartbeat_interval_seconds": control.heartbeat}})
            self.send_events(events)
        finally:
            control.cluster.subscribers.discard(events)

    def send_events(self, events):
        """Until the subscription is to end."""
        while True:
            try:
                event = events.get(timeout=self.control.heartbeat)
            except queue.Empty:
                event = {"type": "HEARTBEAT"}
            if event is None:
                self.wfile.write(b"0\r\n\r\n")
                return
            if self.control.stream != "silent":
                self.send_record(event)

    def send_record(self, event):
        text = event if isinstance(event, bytes) else json.dumps(event).encode()
        record = text if text is event else b"%d\n%s" % (len(text), text)
        self.wfile.write(b"%x\r\n%s\r\n" % (len(record), record))
        self.wfile.flush()

    def answer_poll(self, path, make):
        client = (self.client_address or ["unix"])[0].replace("::ffff:", "")
        control = self.control
        with control.cluster.lock:
            control.polls[client] = control.polls.get(client, 0) + 1
            doc = control.raw if control.raw is not None else self.server.document(path, make)
        if not self.is_turned_away(path):
            MODES[self.mode["mode"]](self, doc)

    # Pieces that the modes are made of

    def start(self, status, kind, length, headers=None):
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def send_body(self, status, body, kind, length=None, headers=None):
        self.start(status, kind, len(body) if length is None else length, headers)
        self.wfile.write(body)
        self.wfile.flush()

    def send_document(self, doc):
        # As libprocess does: gzip if accepted, and if it is worth it.
        if "gzip" in (self.headers.get("Accept-Encoding") or "") and len(doc) >= 1024:
            self.send_body(200, gzip.compress(doc, 1), "application/json",
                           headers={"Content-Encoding": "gzip"})
        else:
            self.send_body(200, doc, "application/json")

    def redirect(self, leader, path="/state"):
        self.send_response_only(307)
        self.send_header("Date", self.date_time_string())
        self.send_header("Location", f"//{leader}{path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.wfile = open(os.devnull, "wb")
        self.rfile.close()
        self.connection.close()

    def wait(self, seconds):
        """Until then, or until the mode changes."""
        with self.control.turn:
            mode = self.mode
            self.control.turn.wait_for(lambda: self.mode is not mode, seconds)

    def log_message(self, *args):
        pass


class UnixHandler(Handler):
    disable_nagle_algorithm = False


class Master(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, control, tls=None):
        self.control = control
        self.tls = tls
        self.cache = {}
        self.pid = "master@" + (address if not address.startswith("unix:") else "127.0.0.1:5050")
        if address.startswith("unix:"):
            self.address_family, where, handler = socket.AF_UNIX, address[len("unix:"):], UnixHandler
        else:
            host, port = address.rsplit(":", 1)
            host = host.strip("[]")
            self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            where, handler = (host, int(port)), Handler
        super().__init__(where, handler)

    def server_bind(self):
        # HTTPServer's own looks up the host's name, which may take long and is of no use here.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "standin", 0

    def finish_request(self, request, client_address):
        # The handshake belongs into the connection's own thread.
        if not self.tls:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def document(self, path, make):
        """The document's bytes, made once for each version of the cluster."""
        version, doc = self.cache.get(path, (None, None))
        if version != self.control.cluster.version:
            version = self.control.cluster.version
            doc = json.dumps(make(self.control.cluster), separators=(",", ":")).encode()
            self.cache[path] = (version, doc)
        return doc

    def handle_error(self, request, client_address):
        # Clients that go away are what some of the tests are about.
        if not isinstance(sys.exc_info()[1], (ConnectionError, ValueError, OSError)):
            super().handle_error(request, client_address)


def tls_context(args):
    if not args.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.cert)
    if args.client_ca:
        context.load_verify_locations(args.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def main():
    args = argparse.ArgumentParser(description="A small Mesos master and its agents.",
                                   epilog="Control: " + ", ".join(
                                       n[3:] for n in dir(Control) if n.startswith("op_")))
    args.add_argument("--listen", required=True, metavar="ADDR:PORT")
    args.add_argument("--also", action="append", default=[], metavar="ADDR:PORT|unix:PATH",
                      help="another place to listen at, e.g. for control from other namespaces")
    args.add_argument("--cert", metavar="PEM", help="certificate and key: --listen speaks TLS")
    args.add_argument("--client-ca", metavar="PEM", help="who must vouch for clients")
    args = args.parse_args()
    cluster = Cluster()
    control = Control(cluster)
    masters = [Master(args.listen, control, tls_context(args))] + [Master(a, control) for a in args.also]
    for master in masters:
        threading.Thread(target=master.serve_forever, daemon=True).start()
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    done.wait()
    cluster.stop()


if __name__ == "__main__":
    main()
