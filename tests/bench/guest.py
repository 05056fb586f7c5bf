# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks that need a kernel with IPVS have in common."""
import os
import pathlib
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]


def enter(kernel=None, timeout=600):
    """Goes on as root in a kernel with IPVS: this one, or a guest in which the script is run again."""
    if "VIPD_BENCH_INSIDE" in os.environ:
        return
    os.environ["VIPD_BENCH_INSIDE"] = "1"
    which = [f"--{kernel}"] if kernel and "VIPD_KERNEL" not in os.environ else []
    command = [str(REPO / "tools" / "guest"), *which, "--timeout", str(timeout), "--",
               sys.executable, *map(os.path.abspath, sys.argv)]
    sys.exit(subprocess.run(command).returncode)


def verdict(name, value, target, unit="", at_least=True):
    """One line about a figure that has a target."""
    met = value >= target if at_least else value <= target
    print(f"{name}: {value:.3g}{unit} (target {'at least' if at_least else 'at most'} {target:g}{unit}: "
          f"{'met' if met else 'MISSED'})", flush=True)
