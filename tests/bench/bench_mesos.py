#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time and memory of reading a 45 MB document into the table, against json-c parsing it
whole. Best of five runs each, since other work on the machine only ever adds.

usage: bench_mesos.py BENCH_MESOS GEN_STATE"""

import os
import subprocess
import sys
import tempfile

RUNS = 5
CPU_TARGET, MEMORY_TARGET = 0.1, 32


def measure(bench, mode, path):
    runs = [[float(x) for x in subprocess.run([bench, mode, path], check=True, text=True,
                                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
             .stdout.split()] for _ in range(RUNS)]
    return [min(column) for column in zip(*runs)]


def main():
    bench, generate = sys.argv[1:3]
    for percent in (10, 100):
        with tempfile.NamedTemporaryFile(suffix=".json") as f:
            subprocess.run([sys.executable, generate, "--vip-percent", str(percent)], stdout=f, check=True)
            size = os.path.getsize(f.name)
            ours, theirs = (measure(bench, mode, f.name) for mode in ("vipd", "json-c"))
        print(f"50,000 tasks, {percent} % with VIPs, {size / 1e6:.1f} MB:")
        for name, (cpu, peak, longest, end) in (("vipd", ours), ("json-c", theirs)):
            print(f"  {name:6}  {cpu:7.1f} ms CPU  {peak / 1024:6.1f} MiB peak  "
                  f"longest piece {longest:.2f} ms  end {end:.1f} ms")
        ratio, peak = ours[0] / theirs[0], ours[1] / 1024
        print(f"  CPU ratio {ratio:.3f} (target {CPU_TARGET}: {'met' if ratio <= CPU_TARGET else 'MISSED'}), "
              f"peak {peak:.1f} MiB (target {MEMORY_TARGET}: {'met' if peak <= MEMORY_TARGET else 'MISSED'})")


if __name__ == "__main__":
    main()
