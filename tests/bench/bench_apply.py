#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A table of 10,000 services with 10 destinations each into the kernel: vipd's way against a bare loop of
prebuilt batches, against `ipvsadm --restore`, and against keepalived starting with the same configuration.
The latter two get a tenth of it, and their time is multiplied by ten, which favours them: both grow
faster than linearly.

usage: bench_apply.py BENCH_APPLY"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import guest

SERVICES, DESTINATIONS, PART, ROUNDS = 10000, 10, 10, 3


def table(n):
    """As bench_apply.c's."""
    for i in range(n):
        vip = f"11.{i >> 16}.{i >> 8 & 255}.{i & 255}"
        yield vip, [(f"10.1.{i % 200}.{j}", 20000 + i % 10000) for j in range(DESTINATIONS)]


def in_namespace(command):
    return ["unshare", "--net", "sh", "-c", f"ip link set lo up; exec {command}"]


def ipvsadm(n):
    lines = []
    for vip, backends in table(n):
        lines.append(f"-A -t {vip}:80 -s wlc")
        lines += [f"-a -t {vip}:80 -r {address}:{port} -m -w 1" for address, port in backends]
    began = time.monotonic()
    subprocess.run(in_namespace("ipvsadm --restore"), input="\n".join(lines) + "\n", text=True, check=True)
    return time.monotonic() - began


def keepalived_config(n, directory):
    lines = ["global_defs {\n  router_id bench\n}"]
    for vip, backends in table(n):
        lines.append(f"virtual_server {vip} 80 {{\n  lb_algo wlc\n  lb_kind NAT\n  protocol TCP")
        lines += [f"  real_server {address} {port} {{\n    weight 1\n  }}" for address, port in backends]
        lines.append("}")
    path = os.path.join(directory, "keepalived.conf")
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")
    return path


def count_objects(pid):
    with open(f"/proc/{pid}/net/ip_vs") as f:
        return sum(1 for line in f) - 3  # the heading


def keepalived(n, directory):
    path = keepalived_config(n, directory)
    command = (f"keepalived --dont-fork --check --no-syslog --use-file {path} --pid {directory}/pid "
               f"--checkers_pid {directory}/checkers")
    with open(f"{directory}/log", "w") as log:
        began = time.monotonic()
        process = subprocess.Popen(in_namespace(command), stdout=log, stderr=log)
        try:
            while count_objects(process.pid) < n * (1 + DESTINATIONS):
                if process.poll() is not None or time.monotonic() - began > 200:
                    print(open(f"{directory}/log").read()[-2000:], file=sys.stderr)
                    sys.exit("bench_apply.py: keepalived did not get there")
                time.sleep(0.05)
            return time.monotonic() - began
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def main():
    guest.enter(timeout=900)
    services = int(os.environ.get("VIPD_BENCH_SERVICES", SERVICES))
    done = subprocess.run([sys.argv[1], str(services), str(DESTINATIONS), str(ROUNDS)], text=True,
                          stdout=subprocess.PIPE, check=True)
    print(done.stdout, end="")
    ours = min(float(x) for x in re.findall(r"kernel_apply\(\): ([\d.]+)", done.stdout))
    guest.verdict("rate against the bare loop", float(re.search(r"bare loop: ([\d.]+)$", done.stdout, re.M)[1]), 0.85)
    theirs = min(ipvsadm(services // PART) for _ in range(2)) * PART
    print(f"ipvsadm --restore: {theirs:.1f} s ({PART} times that of a tenth)")
    guest.verdict("rate against ipvsadm --restore", theirs / ours, 50, " times")
    if not shutil.which("keepalived"):
        print("keepalived is not installed (tools/deps bench): not measured")
        return
    with tempfile.TemporaryDirectory() as directory:
        theirs = min(keepalived(services // PART, directory) for _ in range(2)) * PART
    print(f"keepalived: {theirs:.1f} s ({PART} times that of a tenth)")
    guest.verdict("rate against keepalived", theirs / ours, 5, " times")


if __name__ == "__main__":
    main()
