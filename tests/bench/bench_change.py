#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One destination of a large table changed, from table to kernel; and a reconcile that finds nothing to do.

usage: bench_change.py BENCH_CHANGE"""
import subprocess
import sys

import guest

guest.enter()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
