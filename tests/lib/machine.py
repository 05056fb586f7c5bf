# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian with systemd in a node's network namespace, for the package to be installed into.

    with Machine(node, root) as m:
        m.run("systemctl start vipd")
"""
import pathlib
import subprocess

from cluster import Failure, wait_until

BOOT = pathlib.Path(__file__).resolve().parent / "boot_root"


class Machine:
    def __init__(self, node, root):
        self.node = node
        self._root = root
        self.scratch = node.cluster.dir / f"machine-{node.name}"
        self.scratch.mkdir()

    def __enter__(self):
        self._process = self.node.spawn(f"machine-{self.node.name}", [BOOT, self._root, self.scratch])
        self.pid = wait_until(self._first_process, "the machine has a first process")
        wait_until(self._is_up, "systemd is up", timeout=120, interval=0.3)
        return self

    def __exit__(self, *exc):
        self._process.kill()

    def _first_process(self):
        """systemd, once the script that mounts its root has become it."""
        if not self._process.running:
            raise RuntimeError(self._process.output())
        pid = self._process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return children and pathlib.Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n" and int(children[0])

    def _is_up(self):
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, command, check=True, timeout=60, input=None):
        """Runs a line of the shell in it and returns the CompletedProcess."""
        done = subprocess.run(["nsenter", f"--target={self.pid}", "--all", "--", "/bin/sh", "-c", command],
                              text=True, timeout=timeout, input=input,
                              stdin=None if input is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"})
        if check and done.returncode:
            raise Failure(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def path(self, path):
        """A path of its as one of ours."""
        return pathlib.Path(f"/proc/{self.pid}/root/{path}")

    def show(self, unit, name):
        """A property of a unit."""
        return self.run(f"systemctl show -P {name} {unit}").stdout.strip()

    def journal(self, unit, since=None):
        return self.run(f"journalctl --no-pager -o short-monotonic -u {unit}").stdout
