#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an overlay of real vipds makes of a network and of machines that fail, at full length.

    soak_overlay.py [--scale 1.0] [--only NAME,...] [--nodes 30] [--json FILE] [--list]

As root. The vipds run with their default configuration in network namespaces of this machine, without a kernel
to program; what became of a node is told by the change events of the others' kernel edge. --scale 0.1 makes all
durations and repetitions a tenth. Each row is a figure beside its target; the exit status is 1 if a backend of a
living node was touched where none may be, or anything did not end as it must. Times are figures, not checks: a busy
machine makes them worse."""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from overlay import Failure, Overlay, is_weight_zero, quantiles, wait_until  # noqa: E402

BUSY = [sys.executable, "-c", "while True: pass"]


def threads(node):
    """Their ids."""
    return [int(task) for task in os.listdir(f"/proc/{node.process.pid}/task")]


def say(text):
    print(text, flush=True)


class Soak:
    def __init__(self, args):
        self.args = args
        self.rows = []

    def seconds(self, full):
        return max(5.0, full * self.args.scale)

    def times(self, full):
        return max(1, round(full * self.args.scale))

    def row(self, what, figure, target, wrong=0):
        """`wrong`: how often something happened that may never happen."""
        self.rows.append({"what": what, "figure": figure, "target": target, "wrong": wrong})
        say(f"  {what:62} {figure:>28}   (target: {target})" + (f"   {wrong} WRONG" if wrong else ""))

    # What is asked again and again

    @staticmethod
    def last_out(o, lost, survivors, when, timeout):
        """Seconds until the last survivor stopped using the last of the lost, and how many never did."""
        worst, missing = 0.0, 0
        for v in lost:
            out = o.first_out(v, when, survivors, timeout=timeout)
            missing += len(survivors) - len(out)
            worst = max([worst, *out.values()])
        return worst, missing

    @staticmethod
    def merged(o, since, timeout=120):
        """Seconds until each sees all others up."""
        for n in o.nodes:
            wait_until(lambda n=n: len(m := n.members()) == o.n and all(s == "up" for s in m.values()),
                       f"{n} sees all up", timeout, 0.05)
        return time.monotonic() - since

    # The scenarios

    def halves(self):
        """half and half for 90 s, then healed"""
        with Overlay(self.args.nodes) as o:
            o.up()
            one, two = o.nodes[::2], o.nodes[1::2]
            when = o.partition(one, two)
            seen = [self.last_out(o, other, side, when, 20) for side, other in ((one, two), (two, one))]
            time.sleep(max(0, when + self.seconds(90) - time.monotonic()))
            wrong = sum(len(o.disturbed(when, about=side, nodes=side)) for side in (one, two))
            healed = o.heal()
            took = self.merged(o, healed)
            o.wait_all_up(timeout=120)
            self.row(f"{o.n} nodes, halves: seen by the last after", f"{max(t for t, _ in seen):.2f} s", "1 s",
                     wrong + sum(m for _, m in seen))
            self.row("  healed: one overlay, every record current after", f"{took:.2f} s", "5 s")

    def isolated(self):
        """one node isolated for 60 s, again and again"""
        n, collateral, verdicts, unseen = self.times(20), 0, 0, 0
        with Overlay(16) as o:
            o.up()
            for i in range(n):
                alone = o.nodes[i % o.n]
                when = o.blackhole(alone)
                time.sleep(self.seconds(60))
                unseen += o.n - 1 - len(o.first_out(alone, when, timeout=0.1))
                o.heal()
                self.merged(o, time.monotonic())
                time.sleep(5)
                verdicts += len(o.disturbed(when, nodes=[alone]))
                collateral += len(o.disturbed(when, about=o.others(alone), nodes=o.others(alone)))
            self.row(f"16 nodes, one isolated, {n} times: verdicts of the isolated", str(verdicts), "0", verdicts + unseen)
            self.row("  healthy nodes that suffered, during and after", str(collateral), "0", collateral)

    def many(self):
        """9 of 30 lost at once"""
        with Overlay(self.args.nodes) as o:
            o.up()
            lost = o.nodes[2::3][:9]
            survivors = o.others(*lost)
            o.wait_settled()
            before = o.traffic(survivors)
            when = o.cut(*lost)
            worst, missing = self.last_out(o, lost, survivors, when, 20)
            time.sleep(max(0, when + 3 - time.monotonic()))
            after = o.traffic(survivors)
            spread = max(len({round(t, 1) for v in lost for t, text in n.steps_about(v, when) if is_weight_zero(text)})
                         for n in survivors)
            wrong = len(o.disturbed(when, about=survivors))
            up = sum(1 for n in survivors for s, a in ((n.members(), {x.address for x in survivors}),)
                     if all(s[x] == "up" for x in a))
            self.row(f"{len(lost)} of {o.n} lost at once: known to the last after", f"{worst:.2f} s", "1 s", wrong + missing)
            self.row("  bytes sent by a survivor in the 3 s after", f"{sum(after[n] - before[n] for n in survivors) / len(survivors):.0f}",
                     "4 kB")
            self.row("  moments (of 100 ms) at which a survivor changed its kernel", str(spread), "1")
            self.row("  survivors that see all survivors up", f"{up} of {len(survivors)}", "all", len(survivors) - up)

    def one_way(self):
        """packets from one node to another are lost, the other way they pass"""
        with Overlay(16) as o:
            o.up()
            a, b = o.nodes[3], o.nodes[9]
            when = time.monotonic()
            o.drop(f"iifname p{a.number} oifname p{b.number}")
            time.sleep(self.seconds(120))
            wrong = len(o.disturbed(when))
            self.row("16 nodes, one way between two cut: backends moved", str(wrong), "0", wrong)

    def loss(self):
        """20 % loss everywhere for 10 minutes, then a real crash under it"""
        with Overlay(self.args.nodes) as o:
            o.up()
            when = time.monotonic()
            o.lose(20)
            time.sleep(self.seconds(600))
            wrong = len(o.disturbed(when))
            self.row(f"{o.n} nodes, 20 % loss for {time.monotonic() - when:.0f} s: backends moved", str(wrong), "0", wrong)
            times, gone, missing = [], [], 0
            for lost in o.nodes[4:4 + self.times(5) * 3:3]:
                t = o.cut(lost)
                gone.append(lost)
                worst, m = self.last_out(o, [lost], o.others(*gone), t, 15)
                times.append(worst)
                missing += m
            self.row(f"  a crash under it, {len(times)} times: seen by the last after (worst)",
                     f"{quantiles(times)[0]:.2f} s ({max(times):.2f} s)", "1.2 s", missing)

    def lossy_node(self):
        """50, 65 and 80 % of all packets of one node lost for 90 s"""
        for percent in (50, 65, 80):
            with Overlay(16) as o:
                o.up()
                bad = o.nodes[5]
                when = time.monotonic()
                o.drop(*(f"{way} p{bad.number} numgen random mod 100 < {percent}" for way in ("iifname", "oifname")))
                time.sleep(self.seconds(90))
                removals = max(sum(is_weight_zero(text) for _, text in n.steps_about(bad, when)) for n in o.others(bad))
                others = len(o.disturbed(when, about=o.others(bad)))
                self.row(f"16 nodes, {percent} % loss at one: removals of it at any other", str(removals), "at most 1",
                         others + max(0, removals - 1))

    def busy(self):
        """a processor taken by four busy loops for an hour: two nodes' vipds there, one of them without real-time priority"""
        with Overlay(8) as o:
            o.up()
            as_it_is, ordinary = o.nodes[3], o.nodes[6]
            ordinary.stop()
            ordinary.start()
            wait_until(lambda: ordinary.ask("/v1/status"), "it runs")
            for task in threads(ordinary):
                # What a container without CAP_SYS_NICE has.
                os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, task, 0)
            o.wait_all_up()
            for task in threads(as_it_is) + threads(ordinary):
                os.sched_setaffinity(task, {0})
            when, worst = time.monotonic(), {as_it_is: 0.0, ordinary: 0.0}
            loops = [subprocess.Popen(["taskset", "-c", "0", *BUSY]) for _ in range(4)]
            try:
                while time.monotonic() < when + self.seconds(3600):
                    time.sleep(5)
                    for v in worst:
                        worst[v] = max(worst[v], v.links()["gossip"]["lateness"])
            finally:
                for p in loops:
                    p.kill()
                    p.wait()
            for v, what in ((as_it_is, "as it is"), (ordinary, "without real-time priority")):
                wrong = len(o.disturbed(when, about=[v], nodes=o.others(v)))
                self.row(f"8 nodes, four busy loops beside one for {time.monotonic() - when:.0f} s, {what}: moved",
                         f"{wrong} (at most {1e3 * worst[v]:.0f} ms late)", "0", wrong)
            wrong = len(o.disturbed(when)) - sum(len(o.disturbed(when, about=[v], nodes=o.others(v))) for v in worst)
            self.row("  other backends, and those moved by the two", str(wrong), "0", wrong)

    def restarts(self):
        """all restarted one after another, then all at once"""
        with Overlay(self.args.nodes) as o:
            o.up()
            when = time.monotonic()
            for n in o.nodes:
                n.stop()
                n.start()
                wait_until(lambda n=n: n.ask("/v1/status"), f"{n} runs")
            o.wait_all_up()
            rolling = len(o.disturbed(when))
            for n in o.nodes:
                n.send(signal.SIGTERM)
            for n in o.nodes:
                n.stop()
            o.start()
            o.wait_all_up()
            wrong = len(o.disturbed(when))
            self.row(f"{o.n} nodes restarted one by one, then all at once: backends moved",
                     f"{rolling}, {wrong - rolling}", "0", wrong)

    def run(self):
        failed = False
        for name in self.args.only:
            say(f"{name}: {getattr(self, name).__doc__} (load {os.getloadavg()[0]:.1f})")
            try:
                getattr(self, name)()
            except Failure as e:
                say(f"  FAILED: {e}")
                self.rows.append({"what": name, "failed": str(e)})
                failed = True
        return 1 if failed or any(r.get("wrong") for r in self.rows) else 0


SCENARIOS = ["halves", "many", "one_way", "lossy_node", "restarts", "isolated", "loss", "busy"]


def scenario_list(text):
    names = text.split(",")
    for n in names:
        if n not in SCENARIOS:
            raise argparse.ArgumentTypeError(f"no scenario is called {n!r} ({', '.join(SCENARIOS)})")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", type=scenario_list, default=SCENARIOS)
    parser.add_argument("--nodes", type=int, default=30)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        for name in SCENARIOS:
            say(f"{name:12} {getattr(Soak, name).__doc__}")
        return 0
    if os.geteuid() != 0:
        raise SystemExit("soak_overlay.py: needs root, for its network namespaces")
    soak = Soak(args)
    status = soak.run()
    if args.json:
        args.json.write_text(json.dumps(soak.rows, indent=1))
    say(f"{len(soak.rows)} rows, {sum(r.get('wrong', 0) for r in soak.rows)} wrong moves")
    return status


if __name__ == "__main__":
    sys.exit(main())
