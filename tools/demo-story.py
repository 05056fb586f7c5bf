# SPDX-License-Identifier: GPL-2.0-or-later
"""What tools/demo shows, run by it in a kernel with IPVS. Each claim it makes is checked as it is made;
the exit status is 1 if one did not hold."""
import argparse
import collections
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "lib"))
import cluster as lib  # noqa: E402
from cluster import Cluster, endpoint, says, wait_until  # noqa: E402

APP = "/dcos-101/app2"
NAME = "dcos-101app2.marathon.l4lb.thisdcos.directory"
IP_VIP = "1.2.3.4:5000"
KEY = f"tcp {IP_VIP}"

SHELL_HELP = """
The cluster goes on running in here. Some things to try:

  on node1 vipctl vips               run anything on a node: master, node1, node2, ...
  on node2 vipctl status
  on master vipload --ask 10 {ip_vip}
  on node1 vipload -c 20 -n 50 -s 5 -d 10 --progress {named}
  on node3 curl {ip_vip}/stream
  mesosctl tasks                     what the master runs (mesosctl --help)
  mesosctl scale {app} 5
  mesosctl deploy /mine /mine:80 --instances 2
  mesosctl mode hang                 make the master misbehave; `mode ok` ends it
  on node1 ipvsadm -Ln               the kernel's own view
  ls {logs}

`exit` ends the cluster.
"""


class Story:
    def __init__(self, args):
        self.args = args
        self.began = time.monotonic()
        self.n_claims = self.n_wrong = 0

    # Telling

    def style(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.args.color == "yes" else text

    def print(self, text=""):
        print(text, flush=True)

    def chapter(self, title):
        if self.args.pause:
            time.sleep(self.args.pause)
        self.print()
        self.print(self.style("1;36", f"── {title} " + "─" * max(0, 76 - len(title))))

    def claim(self, holds, text):
        self.n_claims += 1
        self.n_wrong += not holds
        self.print(self.style("32", "  ✓ ") + text if holds else self.style("1;31", "  ✗ NOT TRUE: " + text))

    def show(self, node, *words):
        """A command as a user of that node would type it, and its output."""
        self.print(self.style("2", f"  {node.name}# ") + self.style("1", " ".join(words)))
        done = node.vipctl(*words[1:], json=False)
        for line in (done.stdout + done.stderr).splitlines():
            self.print("      " + line)

    def ask(self, node, target, called, n, expected):
        """Asks n times by new connections; says who answered; claims that just these tasks did."""
        answers = [says(a) for a in node.ask(target, n)]
        counts = collections.Counter((a["host"], a["pid"]) for a in answers)
        self.print(self.style("2", f"  {node.name}# ") + self.style("1", f"vipload --ask {n} {target}")
                   + (f"   ({called})" if called else ""))
        for (host, pid), times in sorted(counts.items()):
            self.print(f"      {times:2} × pid {pid} on {self.name_of(host)} says: {answers[0]['says']}")
        self.claim({pid for _, pid in counts} == expected,
                   f"{len(expected)} instance{'s' * (len(expected) != 1)} answered, all that there are")

    def name_of(self, address):
        return next((n.name for n in self.cluster.nodes if n.address == address), address)

    # The story itself

    def tasks(self):
        return self.cluster.tasks(APP)

    def pids(self):
        return {t["pid"] for t in self.tasks()}

    def wait_for_kernels(self, what):
        began = time.monotonic()
        self.cluster.wait_backends(KEY, self.cluster.backends(APP))
        # Beside those that go on, some may still drain.
        self.claim(True, f"{what}: in every kernel after {time.monotonic() - began:.1f} s")

    def ask_everywhere(self, n=8, in_full=False):
        """From a node that runs no instance and from the master's, both addresses; the first in full."""
        far, master, expected = self.cluster.nodes[-1], self.cluster.master, self.pids()
        self.ask(far, IP_VIP, "", n, expected)
        rest = [(far, self.named), (master, IP_VIP), (master, self.named)]
        if in_full:
            self.ask(*rest.pop(0), NAME + ":10000", n, expected)
        wrong = [f"{node.name} asked {target}" for node, target in rest
                 if {says(a)["pid"] for a in node.ask(target, n)} != expected]
        self.claim(not wrong, "; ".join(wrong) or "the same from the master's node" +
                   ("" if in_full else f", and by {self.named} from both"))

    def tell(self):
        with Cluster(nodes=self.args.nodes, prefix="",
                     vipd_options={"poll_interval": "500ms", "drain_timeout": "3s"}) as self.cluster:
            try:
                self.start()
                self.deploy()
                self.scale()
                self.kill_one()
                self.restart_vipd()
                self.lose_a_node()
                self.end()
            except (lib.Failure, RuntimeError) as e:
                self.claim(False, str(e))
                self.print(self.cluster.logs())
            if self.args.shell:
                self.shell()
        return 1 if self.n_wrong else 0

    def start(self):
        c = self.cluster
        self.chapter("A cluster on this one machine")
        self.print(f"  {c.master.name:8} {c.master.address:12} a stand-in for the Mesos master, and vipd")
        for n in c.nodes:
            self.print(f"  {n.name:8} {n.address:12} an agent that runs tasks, and vipd")
        self.print("  Each is a network namespace with its own IPVS, routes and sets.")
        c.vipd_options["key_file"] = c.new_key()
        c.start_vipds()
        c.wait_in_step()
        c.wait_members()
        self.claim(True, f"vipd runs on all {len(c.every_node)} nodes and is in step with the master, and all see "
                   "each other")
        self.show(c.nodes[0], "vipctl", "status")

    def deploy(self):
        c = self.cluster
        self.chapter(f"Deploying {APP} with two instances")
        labels = {"VIP_0": f"{APP}:10000", "VIP_1": IP_VIP}
        for key, value in labels.items():
            self.print(f"      {key} = {value}")
        # On the first agents only, so that the last one is another node to ask from.
        agents = [n.address for n in c.nodes[:-1]] or None
        c.deploy(APP, labels, instances=2, say="version1", agents=agents)
        self.wait_for_kernels("both addresses")
        [vip] = [v for v in c.master.vips() if v.endswith(":10000")]
        self.named = vip.split()[1]
        self.claim(self.named.startswith("11."), f"{NAME} is {self.named.rsplit(':', 1)[0]} on every node")
        self.show(c.nodes[-1], "vipctl", "vips")
        self.chapter(f"Asking from another node ({c.nodes[-1].name}, it runs no instance) and from the master's")
        self.ask_everywhere(in_full=True)

    def scale(self):
        c = self.cluster
        self.chapter("Scaling to two more")
        c.scale(APP, 4)
        self.wait_for_kernels("two new backends")
        self.show(c.nodes[-1], "vipctl", "vip", IP_VIP)
        self.print("  Least connections: the new ones are served first, until all have had as many.")
        self.ask_everywhere(20)
        self.chapter("And back to one, while somebody listens to an endless answer")
        self.held = c.nodes[-1].load(IP_VIP, connections=0, streams=8)
        wait_until(lambda: sum(c.nodes[-1].connections(KEY).values()) >= 8, "eight streams are open")
        c.scale(APP, 1)
        self.wait_for_kernels("three backends fewer")
        report = self.held.stop()
        survivor = self.tasks()[0]
        lost = [i for i in report["instances"] if says(i["id"])["pid"] == survivor["pid"] and i["cut"]]
        self.claim(not lost, "no stream of the instance that stays was cut")
        self.ask_everywhere()

    def kill_one(self):
        c = self.cluster
        self.chapter("Two again, and one of them is killed")
        c.scale(APP, 2)
        self.wait_for_kernels("a second backend")
        victim = self.tasks()[-1]
        self.print(f"  kill -9 {victim['pid']} on {self.name_of(victim['address'])}; its agent notices, "
                   "and the master reports the task as failed")
        c.kill_task(victim["id"])
        self.wait_for_kernels("the dead backend is out")
        self.show(c.nodes[-1], "vipctl", "vips")
        self.ask_everywhere()

    def restart_vipd(self):
        c = self.cluster
        node = c.nodes[-1]
        self.chapter(f"vipd on {node.name} is killed and started three times, under load")
        load = node.load(IP_VIP, connections=20, streams=10, new=20, rate=200)
        wait_until(lambda: sum(node.connections(KEY).values()) >= 30, "30 connections are open")
        wait_until(lambda: all(w for b in node.services().values() for w in b.values()), "nothing drains any more")
        before = node.kernel_state()
        for _ in range(3):
            node.stop_vipd(signal.SIGKILL)
            time.sleep(0.2)
            node.start_vipd()
        c.wait_in_step([node])
        after = node.kernel_state()
        report = load.stop()
        self.claim(report["failures"]["total"] == 0 and report["streams"]["open"] == 10,
                   f"{report['requests']['answered']} answers, {report['connections']['established']} connections, "
                   f"{report['failures']['total']} failures")
        self.claim(before == after, "the kernel's state is the same, line by line")
        for what in before if before != after else ():
            self.print(f"      {what}: {sorted(set(before[what]) ^ set(after[what]))}")

    def lose_a_node(self):
        """Its tasks run on for all that the master says: only the vipds can know."""
        c = self.cluster
        client = c.nodes[-1]
        c.scale(APP, 4)
        self.wait_for_kernels("four backends on two nodes")
        task = next(t for t in self.tasks() if t["address"] != client.address)
        lost = next(n for n in c.nodes if n.address == task["address"])
        dead = endpoint(task["address"], task["ports"][0])
        survivors = [n for n in c.every_node if n is not lost]
        self.chapter(f"{lost.name} dies under load: its cable is cut")
        self.print("  The master goes on saying that its task runs. The other vipds see that it is gone.")
        load = client.load(IP_VIP, connections=0, new=50, timeout=1)
        time.sleep(2)
        when = c.cut(lost)
        took = {}
        for n in survivors:
            wait_until(lambda n=n: not any(w for b, w in n.services()[KEY].items() if b.startswith(lost.address + ":")),
                       f"{n.name} sends nothing more to {lost.name}", 15, 0.02)
            # The last change of this kernel was this one.
            took[n] = time.monotonic() - n.status()["kernel"]["settled_age"] - when
        for n, seconds in took.items():
            self.print(f"      {n.name:8} {1e3 * seconds:6.0f} ms until its kernel gave {lost.name} no new connection")
        self.claim(max(took.values()) < 2, f"the last survivor dropped it after {1e3 * max(took.values()):.0f} ms")
        time.sleep(3)
        self.show(client, "vipctl", "members")
        report = load.stop()
        failed = report["failures"]["total"]
        made = report["connections"]["established"]
        self.claim(failed < 50 * 2, f"{made} connections were made meanwhile, {failed} failed")
        report = client.load(IP_VIP, connections=0, new=50, timeout=1, duration=2).wait()
        self.claim(report["failures"]["total"] == 0,
                   f"afterwards: {report['connections']['established']} connections, {report['failures']['total']} failures")
        self.print(f"  And {lost.name} comes back.")
        began = time.monotonic()
        c.mend(lost)
        wait_until(lambda: all(n.services()[KEY].get(dead) == 1 for n in survivors), f"{dead} is back everywhere", 30)
        self.claim(True, f"its backend is in every kernel again after {time.monotonic() - began:.1f} s")
        c.wait_in_step()

    def end(self):
        self.chapter("Does the kernel hold what the table says?")
        for node in self.cluster.every_node:
            with contextlib.suppress(lib.Failure):
                wait_until(lambda node=node: node.diff() == "", "vipctl diff finds nothing", timeout=5)
            diff = node.diff()
            self.claim(diff == "", f"{node.name}: vipctl diff finds nothing" + (f" but {diff}" if diff else ""))
        seconds = time.monotonic() - self.began
        self.print()
        if self.n_wrong:
            self.print(self.style("1;31", f"{self.n_wrong} of {self.n_claims} claims did not hold."))
        else:
            self.print(self.style("1;32", f"All {self.n_claims} claims held, in {seconds:.0f} s."))

    # Afterwards

    def shell(self):
        c = self.cluster
        bin_dir = c.dir / "bin"
        bin_dir.mkdir()
        os.makedirs("/run/vipd", exist_ok=True)
        on = bin_dir / "on"
        on.write_text(ON_SCRIPT.replace("@DIR@", str(c.dir)))
        on.chmod(0o755)
        self.print(SHELL_HELP.format(ip_vip=IP_VIP, named=getattr(self, "named", IP_VIP), app=APP, logs=c.dir))
        env = dict(os.environ, VIPD_MASTER=c.control_socket,
                   VIPD_HELLOWORLD_CMD=lib.hello_command("$HOST", ":$PORT0", "hello"),
                   PATH=f"{bin_dir}:{lib.BUILD}/tools:{REPO}/tests/standin:" + os.environ["PATH"],
                   PS1="demo# ")
        # Its own job control and signals: a Ctrl-C in the shell is not for the cluster.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run(["bash", "--norc", "-i"], env=env)


# Runs a command on a node, where vipctl finds that node's vipd at the usual place.
ON_SCRIPT = """#!/bin/sh
[ $# -ge 2 ] && [ -e "/run/netns/$1" ] || { echo "usage: on NODE COMMAND..." >&2; exit 2; }
exec nsenter --net="/run/netns/$1" unshare --mount sh -c '
	mount --bind "@DIR@/$0" /run/vipd; exec "$@"' "$@"
"""


def main():
    args = argparse.ArgumentParser(description="Run by tools/demo.")
    args.add_argument("--nodes", type=int, default=3)
    args.add_argument("--color", default="no")
    args.add_argument("--pause", type=float, default=0)
    args.add_argument("--shell", action="store_true")
    args = args.parse_args()
    if args.nodes < 3:
        raise SystemExit("tools/demo: at least three nodes make a cluster")
    return Story(args).tell()


if __name__ == "__main__":
    sys.exit(main())
