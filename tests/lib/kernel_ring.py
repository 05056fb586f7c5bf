# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of the ring `kernel` that runs inside the guest:  kernel_ring.py RESULTS PATTERN

First the programs tests/kernel/test_*.c, each in a network namespace of its own, which report in TAP;
then the scenarios of pytest. Reports go to RESULTS as kernel-*.xml."""
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VIPD_BUILD", REPO / "build"))
PROGRAM_SECONDS = 120

TAP_LINE = re.compile(r"(ok|not ok)\b\s*(\d+)?\s*(?:- )?(.*?)(?:\s*#\s*(skip|todo)\b\s*(.*))?$", re.IGNORECASE)


def read_tap(text):
    """(name, "ok" | "not ok" | "skip", reason, diagnostics before it) of each line of TAP, and how many
    were planned, or None."""
    found, notes, planned = [], [], None
    for line in text.splitlines():
        plan = re.fullmatch(r"1\.\.(\d+).*", line)
        m = TAP_LINE.fullmatch(line)
        if plan:
            planned = int(plan[1])
        elif m:
            outcome = "skip" if (m[4] or "").lower() == "skip" else m[1].lower()
            found.append((m[3] or f"case {m[2]}", outcome, m[5] or "", "\n".join(notes)))
            notes = []
        elif line:
            notes.append(line)
    return found, planned, "\n".join(notes)


def run_program(program):
    """Runs one program, prints what it said if it failed, and returns its suite for the report."""
    suite = ElementTree.Element("testsuite", name=program.name)
    began = time.monotonic()
    try:
        done = subprocess.run(["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0"', program],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=PROGRAM_SECONDS,
                              env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP"))
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as e:
        output, status = (e.stdout or b"").decode(errors="replace"), f"time-out after {PROGRAM_SECONDS} s"
    found, planned, rest = read_tap(output)
    failed = False
    for name, outcome, reason, notes in found:
        case = ElementTree.SubElement(suite, "testcase", classname=program.name, name=name)
        if outcome == "not ok":
            failed = True
            ElementTree.SubElement(case, "failure", message=notes[:300]).text = notes
        elif outcome == "skip":
            ElementTree.SubElement(case, "skipped", message=reason)
    if (status != 0 and not failed) or not found or (planned is not None and len(found) < planned):
        failed = True
        case = ElementTree.SubElement(suite, "testcase", classname=program.name, name="the program itself")
        message = f"status {status}, {len(found)} of {planned} cases; {rest[-300:]}"
        ElementTree.SubElement(case, "failure", message=message).text = output
    print(f"{'FAIL' if failed else 'ok  '} {program.name}: {len(found)} cases, {time.monotonic() - began:.1f} s",
          flush=True)
    if failed:
        print(output, flush=True)
    return suite, failed


def run_programs(results, pattern):
    programs = sorted(p for p in (BUILD / "tests" / "kernel").glob("test_*")
                      if p.is_file() and not p.suffix and os.access(p, os.X_OK) and pattern in p.name)
    suites = ElementTree.Element("testsuites")
    any_failed = False
    for program in programs:
        suite, failed = run_program(program)
        suites.append(suite)
        any_failed |= failed
    ElementTree.ElementTree(suites).write(results / "kernel-programs.xml")
    return any_failed


def main(results, pattern=""):
    results = pathlib.Path(results)
    failed = run_programs(results, pattern)
    scenarios = subprocess.run(
        ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no", "--durations=10",
         f"--junitxml={results}/kernel-scenarios.xml", "-o", "junit_suite_name=kernel"]
        + (["-k", pattern] if pattern else []) + ["tests/kernel"], cwd=REPO)
    return 1 if failed else scenarios.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
