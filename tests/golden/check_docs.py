#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The man pages name every key and command that the programs have, and no others.

    check_docs.py VIPD VIPCTL SOURCE_ROOT
"""
import pathlib
import re
import subprocess
import sys

vipd, vipctl, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compare(what, program, page):
    problems = [f"{what} {x}: not in the man page" for x in sorted(program - page)]
    problems += [f"{what} {x}: only in the man page" for x in sorted(page - program)]
    for p in problems:
        print(p)
    return len(problems)


text = output(vipd, "--help")
keys = {k.replace("-", "_") for k in re.findall(r"^  --([a-z0-9-]+)=", text.split("wins over the file")[1], re.M)}
page = (root / "agent" / "vipd.conf.5").read_text()
page_keys = {k for line in re.findall(r"^\.It Sy (.*)$", page, re.M) for k in re.split(r" ?, ?", line.strip())}
commands = set(re.findall(r"^  ([a-z]+) ", output(vipctl, "--help"), re.M))
page_commands = set(re.findall(r"^\.It Cm ([a-z]+)", (root / "tools" / "vipctl.8").read_text(), re.M))

assert len(keys) > 10 and len(commands) > 5, "the help texts do not look as this test expects"
sys.exit(compare("key", keys, page_keys) + compare("command", commands, page_commands) > 0)
