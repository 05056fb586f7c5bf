#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vipctl table on the documents in mesos/: X.json must give X.table.json, byte for byte, with
the options in X.args if there is one; X.bad must be refused with a place.

usage: run_mesos.py VIPCTL [--write]   (--write: take what is printed now; then read the diff)"""

import json
import pathlib
import subprocess
import sys

import reference

HERE = pathlib.Path(__file__).resolve().parent / "mesos"


def run(vipctl, path, args=()):
    return subprocess.run([vipctl, "table", f"--state={path}", "--json", *args], capture_output=True)


def ranges(args):
    given = dict(a.split("=") for a in args if "=" in a)
    return {v: tuple(given[o].split("-")) if o in given else reference.RANGES[v]
            for v, o in ((4, "--named-range"), (6, "--named-range6"))}


def check_table(vipctl, path, write):
    args_file = path.with_suffix(".args")
    args = args_file.read_text().split() if args_file.exists() else []
    expected = path.with_suffix(".table.json")
    result = run(vipctl, path, args)
    if result.returncode != 0:
        return result.stderr.decode()
    if write:
        expected.write_bytes(result.stdout)
    if result.stdout != expected.read_bytes():
        return f"have {result.stdout.decode()}want {expected.read_text()}"
    want = reference.table(json.loads(path.read_bytes()), ranges(args), "--no-ipv6" not in args)
    if json.loads(result.stdout) != want:
        return f"reference.py wants {json.dumps(want, indent=1)}"
    return None


def check_refused(vipctl, path):
    result = run(vipctl, path)
    if result.returncode == 1 and not result.stdout and f"{path}: byte ".encode() in result.stderr:
        return None
    return f"status {result.returncode}, stdout {result.stdout}, stderr {result.stderr}"


def main():
    vipctl, write = sys.argv[1], "--write" in sys.argv
    tables = [p for p in sorted(HERE.glob("*.json")) if not p.name.endswith(".table.json")]
    checks = [(p, check_table(vipctl, p, write)) for p in tables]
    checks += [(p, check_refused(vipctl, p)) for p in sorted(HERE.glob("*.bad"))]
    for path, error in checks:
        print(f"{'not ok' if error else 'ok'} - {path.name}")
        if error:
            print(error)
    return 1 if not checks or any(error for _, error in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
