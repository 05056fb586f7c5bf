# SPDX-License-Identifier: GPL-2.0-or-later
"""Random steps: the table changes, hands damage the kernel, vipd is killed, others' objects come and go
beside it, and so do containers' namespaces. At every quiet point the kernel holds what a model says,
computed from the document alone, in the host's namespace and in every registered one, and others' objects are
as they were made.

VIPD_STEPS sets how many steps (500 for the whole), VIPD_SEED repeats a run."""
import os
import shutil
import subprocess
import time

import pytest
from cluster import endpoint, ip, wait_until
from paper import Backend, Paper, kernel_lines

STEPS = int(os.environ.get("VIPD_STEPS") or 120)
QUIET_EVERY = 20
AGENTS = ["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"]
OPTIONS = {"audit_interval": "200ms", "poll_interval": "200ms"}
# What may stand behind an app's label, and its protocol. Names and addresses meet on purpose.
LABELS = [({"VIP_0": f"1.2.3.{i}:{port}"}, protocol) for i in (1, 2, 3) for port in (80, 81)
          for protocol in ("tcp", "udp")]
LABELS += [({"VIP_0": f"/name{i}:80", "VIP_1": f"1.2.3.{i}:8080"}, "tcp") for i in (1, 2, 3)]
LABELS += [({"VIP_0": f"[fd01:d::{i}]:80"}, "tcp6") for i in (1, 2)]
# Ports of VIPs' addresses that only strangers use.
FOREIGN_PORT = 9999


class Container:
    """A network namespace of a container; for kernel_lines() it is like a node."""

    def __init__(self, node, number):
        self.netns = f"{node.netns}-x{number}"
        self.path = f"/run/netns/{self.netns}"
        ip([f"netns add {self.netns}"])
        ip(["link set lo up", "link add own0 type dummy", "link set own0 up",
            f"addr add 172.16.{number}.2/24 dev own0"], self.netns)

    def run(self, command, check=True):
        done = subprocess.run(["nsenter", f"--net={self.path}", "sh", "-c", command], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert not check or done.returncode == 0, command
        return done

    def delete(self):
        ip([f"netns del {self.netns}"])


class Chaos:
    def __init__(self, cluster, rng, drain_timeout):
        self.cluster, self.rng = cluster, rng
        self.node = cluster.nodes[0]
        self.paper = Paper(cluster.dir / "tasks.json")
        # Never empty: that is another rule's matter.
        self.paper.set_app("/anchor", {"VIP_0": "1.2.4.1:80"}, [Backend(AGENTS[0], 31999)])
        self.paper.write()
        self.containers = {}  # that exist, by number
        self.registered = set()
        # Their files went while vipd may have been dead: then nothing tells the next vipd of them. (A container's
        # namespace usually goes with its file.)
        self.leaving, self.forgotten, self.killed = set(), set(), False
        self.cni = cluster.dir / "cni"
        self.cni.mkdir()
        self.options = {"cni_dir": self.cni, "masters": None, "source": self.paper.source, "drain_timeout": drain_timeout, **OPTIONS}
        self.services = {}  # of strangers: "-t ADDRESS:PORT", "-f MARK" -> their lines
        self.sets = {}      # name -> lines
        self.routes = set()
        self.claimed = {}   # VIPs that a stranger has: (protocol, address, port) -> key
        self.since_quiet = set()
        self.counts = {}
        self.history = []
        self.node.run("modprobe -a ip_vs_rr 2>/dev/null; ip link add foreign0 type dummy && ip link set foreign0 up")
        self.node.start_vipd(**self.options)

    # Steps

    def step(self, n):
        kind = self.rng.choices(["table", "damage", "kill", "foreign", "claim", "namespace"],
                                [38, 27, 8, 12, 6, 9])[0]
        what = getattr(self, kind)()
        self.history.append(f"{n} {kind}: {what}")
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def run(self, command):
        """By hand: whether it works is not our concern."""
        return self.node.run(command, check=False).returncode == 0

    def table(self):
        i = self.rng.randrange(len(LABELS))
        labels, protocol = LABELS[i]
        app = f"/app{i}"
        if app in self.paper.apps and self.rng.random() < 0.3:
            self.paper.remove_app(app)
        else:
            n = self.rng.choice([0, 1, 2, 3, 8])
            backends = [self.backend(i, k, protocol) for k in self.rng.sample(range(12), n)]
            self.paper.set_app(app, labels, backends, protocol[:3])
        self.paper.write()
        return f"{app} {labels} {len(self.paper.apps[app].backends) if app in self.paper.apps else 'removed'}"

    def backend(self, app, k, protocol):
        agent, healthy = AGENTS[k % 4], self.rng.random() < 0.8
        if protocol == "tcp6":
            return Backend(agent, 33000 + k, healthy, address6=f"fd00:aa::{11 + k % 4}")
        mapped = (f"172.17.{k % 4}.{k + 2}", 8000 + app) if k % 3 == 0 else None
        return Backend(agent, 31000 + 20 * app + k, healthy, mapped,
                       state="TASK_KILLING" if self.rng.random() < 0.1 else "TASK_RUNNING")

    def damage(self):
        kind = self.rng.choice(["service", "destination", "edit", "route", "link", "set", "all", "stray"])
        # Two of the three marks by which a start knows its own are not removed at once: a vipd that runs mends
        # that, and test_damage.py shows it, but here vipd may be dead. One that was killed may have removed one
        # of a service that it was just deleting.
        marks = {"set": "entry", "route": "route", "link": "route", "edit": "signature"}
        if kind in marks:
            if self.killed or self.since_quiet - {marks[kind]}:
                kind = "destination"
            else:
                self.since_quiet.add(marks[kind])
        command = getattr(self, "damage_" + kind)()
        if command:
            self.run(command)
        return command

    def own_service(self):
        """One of vipd's in the kernel now, as options of ipvsadm, and its destinations."""
        lines = [l for l in kernel_lines(self.node)["ipvs"]
                 if l.startswith("-") and " ".join(l.split()[1:3]) not in self.services]
        services = [l.split()[1:3] for l in lines if l.startswith("-A ")]
        if not services:
            return None, []
        service = " ".join(self.rng.choice(services))
        return service, [l.split()[4] for l in lines if l.startswith(f"-a {service} ")]

    def damage_service(self):
        service, _ = self.own_service()
        return service and f"ipvsadm -D {service}"

    def damage_destination(self):
        service, destinations = self.own_service()
        if not destinations:
            return None
        d = self.rng.choice(destinations)
        return self.rng.choice([f"ipvsadm -d {service} -r {d}", f"ipvsadm -e {service} -r {d} -m -w 5",
                                f"ipvsadm -e {service} -r {d} -m -w 0 -x 7 -y 3"])

    def damage_edit(self):
        service, _ = self.own_service()
        return service and f"ipvsadm -E {service} -s {self.rng.choice(['rr', 'wlc', 'wlc -p 30'])}"

    def damage_route(self):
        return self.rng.choice([
            "ip route del local 1.2.3.1 dev vipd0", "ip route flush table local dev vipd0",
            "ip -6 route flush table local dev vipd0", "ip route add local 1.2.9.9 dev vipd0",
            "ip route replace local 1.2.3.2 dev vipd0 table local src 127.0.0.1"])

    def damage_link(self):
        return self.rng.choice(["ip link del vipd0", "ip link set vipd0 down"])

    def damage_set(self):
        return self.rng.choice([
            "ipset flush vipd", "ipset flush vipd-ip", "ipset flush vipd6; ipset flush vipd-ip6",
            "ipset destroy vipd", "ipset destroy vipd-ip6", "ipset add vipd 1.2.9.9,tcp:22", "ipset add vipd-ip 1.2.9.9",
            "for s in vipd vipd6 vipd-ip vipd-ip6; do ipset destroy $s; done"])

    def damage_all(self):
        """IPVS as a whole, strangers' included; they are gone for good."""
        self.services.clear()
        self.claimed.clear()
        return "ipvsadm -C"

    def damage_stray(self):
        service, _ = self.own_service()
        return service and not service.startswith("-t [") and \
            f"ipvsadm -a {service} -r 10.9.9.{self.rng.randrange(1, 250)}:99 -m"

    def kill(self):
        if self.since_quiet:
            self.quiet()
        self.killed = True
        self.forgotten |= self.leaving
        if self.node.vipd:
            self.node.kill_vipd()
        if self.rng.random() < 0.8:
            self.node.start_vipd(wait=False, **self.options)
            time.sleep(self.rng.uniform(0, 0.3))
        return "restarted" if self.node.vipd else "left dead"

    def foreign(self):
        return self.rng.choice([self.foreign_service, self.foreign_service, self.foreign_set, self.foreign_route])()

    def foreign_service(self):
        if self.services and self.rng.random() < 0.4:
            key = self.rng.choice([k for k in self.services if k not in self.claimed.values()] or [None])
            if key is None:
                return None
            del self.services[key]
            self.node.run(f"ipvsadm -D {key}")
            return f"{key} removed"
        i = self.rng.randrange(1, 5)
        key = self.rng.choice([f"-t 7.7.7.{i}:80", f"-u 1.2.3.{i}:{FOREIGN_PORT}", f"-t [fd00:7::{i}]:80", f"-f {40 + i}"])
        if key in self.services:
            return None
        lines = [f"-A {key} -s rr"]
        if "." in key:
            lines += [f"-a {key} -r 10.0.0.12:80 -m -w 7", f"-a {key} -r 10.0.0.13:9999 -m -w 1"]
        self.make_service(key, lines)
        return f"{key} made"

    def make_service(self, key, lines):
        self.node.run("set -e\n" + "\n".join(f"ipvsadm {l}" for l in lines))
        self.services[key] = lines

    def foreign_set(self):
        name = f"vipd-x{self.rng.randrange(3)}"
        if name in self.sets:
            self.node.run(f"ipset destroy {name}")
            del self.sets[name]
            return f"{name} destroyed"
        self.node.run(f"ipset create {name} hash:ip,port && ipset add {name} 1.2.3.1,tcp:80")
        self.sets[name] = [f"add {name} 1.2.3.1,tcp:80"]
        return f"{name} made"

    def foreign_route(self):
        address = f"7.7.9.{self.rng.randrange(4)}"
        if address in self.routes:
            self.node.run(f"ip route del local {address} dev foreign0")
            self.routes.remove(address)
            return f"{address} removed"
        self.node.run(f"ip route add local {address} dev foreign0")
        self.routes.add(address)
        return f"{address} made"

    def claim(self):
        """A stranger takes a VIP's place before vipd does, or leaves it."""
        if self.claimed and self.rng.random() < 0.5:
            vip = self.rng.choice(sorted(self.claimed))
            key = self.claimed.pop(vip)
            del self.services[key]
            self.node.run(f"ipvsadm -D {key}")
            return f"{vip} given up"
        vip = (self.rng.choice(["tcp", "udp"]), f"1.2.3.{self.rng.randrange(1, 4)}", self.rng.choice([80, 81]))
        if vip in self.claimed or vip in self.paper.vips():
            return None
        # Only when vipd is done with it, entries and all: what stands in its sets is its own.
        self.quiet()
        key = f"-{vip[0][0]} {endpoint(*vip[1:])}"
        self.make_service(key, [f"-A {key} -s rr", f"-a {key} -r 10.0.0.14:99 -m -w 3"])
        self.claimed[vip] = key
        return f"{vip} claimed"

    def namespace(self):
        """A container comes, with its file or before or after; is damaged; or goes, with its file or without."""
        n = self.rng.randrange(3)
        file = self.cni / f"container{n}"
        if n not in self.containers:
            self.containers[n] = Container(self.node, n)
            file.write_text(self.containers[n].path)
            self.registered.add(n)
            return f"container {n} comes"
        kind = self.rng.choice(["leave", "vanish", "damage", "damage", "register"])
        if kind == "register":
            if n in self.registered:
                file.unlink()
                self.registered.remove(n)
                (self.forgotten if self.killed else self.leaving).add(n)
            else:
                file.write_text(self.containers[n].path)
                self.registered.add(n)
                self.leaving.discard(n)
                self.forgotten.discard(n)
            return f"container {n} {'registered' if n in self.registered else 'unregistered'}"
        if kind == "damage":
            # In here only IPVS as a whole, and what is the container's own.
            command = "ipvsadm -C"
            if not self.killed and self.rng.random() < 0.5:
                command = "ip route flush table local dev vipd0"
                self.since_quiet.add("route")
            self.containers[n].run(command, check=False)
            return f"container {n} damaged: {command}"
        if kind == "leave" and n in self.registered:
            file.unlink()
        self.containers.pop(n).delete()
        for those in (self.registered, self.leaving, self.forgotten):
            those.discard(n)
        return f"container {n} gone, file {'too' if not file.exists() else 'left'}"

    def wrong_in_containers(self):
        """The same table in every registered namespace; and nothing in the others."""
        for n, container in self.containers.items():
            if n in self.forgotten:
                continue
            have = kernel_lines(container)
            want = self.paper.expected(self.node) if n in self.registered else {"ipvs": [], "route": []}
            for what in ("ipvs", "route") if n in self.registered else ("ipvs",):
                # The preferred source is the container's own address.
                plain = [" ".join(l.split()[:2]) if what == "route" else l for l in have[what]]
                wanted = [" ".join(l.split()[:2]) if what == "route" else l for l in want[what]]
                for sign, lines in (("-", set(wanted) - set(plain)), ("+", set(plain) - set(wanted))):
                    yield from (f"{sign} container {n}: {l}" for l in sorted(lines))

    # The model

    def wrong(self):
        """What differs from the model, a line each."""
        want = self.paper.expected(self.node, without=self.claimed)
        have = kernel_lines(self.node)
        want["ipvs"] = want["ipvs"] + [l for lines in self.services.values() for l in lines]
        want["set"] = want["set"] + [l for lines in self.sets.values() for l in lines]
        want["foreign"] = sorted(self.routes)
        have["foreign"] = sorted(l.split()[1] for l in self.node.run(
            "ip route show table local dev foreign0").stdout.splitlines())
        names = set(self.node.run("ipset list -n").stdout.split())
        assert names == {"vipd", "vipd6", "vipd-ip", "vipd-ip6"} | set(self.sets), names
        return [f"{sign} {line}" for w in want for sign, lines in
                (("-", set(want[w]) - set(have[w])), ("+", set(have[w]) - set(want[w]))) for line in sorted(lines)]

    def quiet(self):
        if not self.node.vipd:
            self.node.start_vipd(**self.options)

        def agrees():
            wrong = self.wrong() + list(self.wrong_in_containers())
            assert not wrong, "\n  " + "\n  ".join(wrong) + "\nafter\n  " + "\n  ".join(self.history[-2 * QUIET_EVERY:])
            # And what no tool shows, such as the signature.
            assert [l for l in self.node.api("/v1/diff") if not l.startswith("conflict ")] == []
            return True
        wait_until(agrees, "the kernel holds what the model says")
        self.since_quiet.clear()
        self.leaving.clear()
        self.killed = False


    def close(self):
        if self.node.vipd:
            self.node.kill_vipd()
        for container in self.containers.values():
            container.delete()
        shutil.rmtree(self.cni)


@pytest.mark.cluster(nodes=1)
@pytest.mark.parametrize("drain_timeout", ["0s", "300ms"])
def test_random_steps(cluster, rng, drain_timeout):
    chaos = Chaos(cluster, rng, drain_timeout)
    began = time.monotonic()
    try:
        for n in range(STEPS // 2):
            chaos.step(n)
            if n % QUIET_EVERY == QUIET_EVERY - 1:
                chaos.quiet()
        chaos.quiet()
    finally:
        chaos.close()
    print(f"\n{chaos.counts} steps, {time.monotonic() - began:.0f} s")
