#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vipd itself with 10,000 VIPs of 10 backends each, from a document in a file: its first start, a start that
finds everything in place, a change of one backend, its memory, and what it takes to repair `ipvsadm -C`: the kernel then
looks each destination up in its list of deleted ones, so this is the dearest change there is.

usage: bench_vipd.py VIPD"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import guest

sys.path.insert(0, str(guest.REPO / "tests" / "standin"))
from standin_control import UnixConnection  # noqa: E402

VIPS, BACKENDS, CHANGES = int(os.environ.get("VIPD_BENCH_SERVICES") or 10000), 10, 5


class Vipd:
    def __init__(self, directory, source):
        self.socket = f"{directory}/vipd.sock"
        self.log = open(f"{directory}/log", "ab")
        self.command = [sys.argv[1], "--config=/dev/null", f"--source={source}", f"--socket={self.socket}",
                        f"--state-dir={directory}/state", "--node-address=10.9.9.9", "--rules=no", "--cni-dir="]

    def start(self):
        self.began = time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def status(self):
        connection = UnixConnection(self.socket, 60)
        try:
            connection.request("GET", "/v1/status")
            return json.load(connection.getresponse())
        finally:
            connection.close()

    def wait(self, condition, timeout=120):
        while time.monotonic() - self.began < timeout:
            if self.process.poll() is not None:
                break
            try:
                status = self.status()
                if condition(status):
                    return status
            except OSError:
                pass
            time.sleep(0.05)
        sys.exit("bench_vipd.py: vipd did not get there:\n" + open(self.log.name).read()[-2000:])

    def memory(self):
        """Resident now and at most, bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return [int(text.split(f"{name}:")[1].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")]

    def kill(self):
        self.process.kill()
        self.process.wait()


TASK = """{"id": "a%(i)d.%(k)d", "name": "a%(i)d", "framework_id": "f", "slave_id": "agent-10.1.%(n)d.%(k)d", \
"state": "TASK_RUNNING", "statuses": [{"state": "TASK_RUNNING", "timestamp": 1.0, "healthy": %(healthy)s, \
"container_status": {"network_infos": [{"ip_addresses": [{"ip_address": "10.1.%(n)d.%(k)d"}]}]}}], \
"resources": {"ports": "[%(port)d-%(port)d]"}, "discovery": {"ports": {"ports": [{"number": %(port)d, "name": "p", \
"protocol": "tcp", "labels": {"labels": [{"key": "VIP_0", "value": "%(vip)s"}, \
{"key": "network-scope", "value": "host"}]}}]}}}"""


class Document:
    """A Mesos document, whose tasks are kept as text: as objects they would fill the guest."""

    def __init__(self, directory):
        self.path = pathlib.Path(directory, "tasks.json")
        self.apps = [self.app(i) for i in range(VIPS)]
        self.agents = ",\n".join(
            f'{{"id": "agent-10.1.{n}.{k}", "hostname": "10.1.{n}.{k}", "pid": "slave(1)@10.1.{n}.{k}:5051"}}'
            for n in range(200) for k in range(BACKENDS))
        self.write()

    def app(self, i, ill=None):
        vip = f"99.1.{i >> 8}.{i & 255}:80"
        return ",\n".join(TASK % {"i": i, "k": k, "n": i % 200, "port": 20000 + i % 10000, "vip": vip,
                                  "healthy": "false" if k == ill else "true"} for k in range(BACKENDS))

    def write(self):
        new = self.path.with_suffix(".new")
        with open(new, "w") as f:
            f.write(f'{{"slaves": [{self.agents}],\n"frameworks": [{{"id": "f", "name": "marathon", "tasks": [')
            for i, app in enumerate(self.apps):
                f.write(",\n" * (i > 0) + app)
            f.write("]}]}\n")
        new.rename(self.path)


def count_destinations():
    with open("/proc/net/ip_vs") as f:
        return sum(1 for line in f if line.startswith("  ->")) - 1  # the heading


def main():
    guest.enter()
    subprocess.run("ip addr add 10.9.9.9/32 dev lo", shell=True, check=True)
    with tempfile.TemporaryDirectory() as directory:
        document = Document(directory)
        objects = VIPS * (1 + BACKENDS)
        print(f"{VIPS} VIPs with {BACKENDS} backends each, a document of "
              f"{document.path.stat().st_size / 1e6:.0f} MB", flush=True)
        vipd = Vipd(directory, f"file:{document.path}")

        def in_step(status):
            return status["kernel"]["in_sync"] and status["kernel"]["services"] == VIPS
        vipd.start()
        status = vipd.wait(in_step)
        print(f"first start: {time.monotonic() - vipd.began:.2f} s from exec to the last acknowledgement, "
              f"{status['kernel']['steps']} commands, longest hold of the loop {status['kernel']['longest_hold']} s")
        resident, peak = vipd.memory()
        print(f"memory: {resident / 1e6:.1f} MB resident, {resident / objects:.0f} bytes for each of {objects} services "
              f"and destinations; {peak / 1e6:.1f} MB at most")
        vipd.kill()

        vipd.start()
        status = vipd.wait(in_step)
        print(f"start with everything in place: {time.monotonic() - vipd.began:.2f} s, "
              f"{status['kernel']['steps']} commands (target none: {'MISSED' if status['kernel']['steps'] else 'met'})")
        resident, peak = vipd.memory()
        print(f"memory: {resident / 1e6:.1f} MB resident, {peak / 1e6:.1f} MB at most", flush=True)

        for change in range(CHANGES):
            steps, runs = status["kernel"]["steps"], status["kernel"]["runs"]
            document.apps[VIPS // 2] = document.app(VIPS // 2, None if change % 2 else BACKENDS // 2)
            document.write()
            vipd.began = time.monotonic()
            status = vipd.wait(lambda s: s["kernel"]["runs"] > runs and s["kernel"]["in_sync"])
            print(f"one backend changed: {status['kernel']['steps'] - steps} command, "
                  f"{status['kernel']['last_duration']} s from when the document was opened to the kernel")
        print(f"longest hold of the loop: {status['kernel']['longest_hold']} s", flush=True)

        subprocess.run(["ipvsadm", "-C"], check=True)
        began = time.monotonic()
        while count_destinations() < VIPS * BACKENDS:
            if time.monotonic() - began > 200:
                sys.exit("bench_vipd.py: not repaired")
            time.sleep(1)
        guest.verdict("ipvsadm -C of it all is repaired after", time.monotonic() - began, 30, " s", at_least=False)
        print(f"longest hold of the loop: {vipd.status()['kernel']['longest_hold']} s")
        vipd.kill()


if __name__ == "__main__":
    main()
