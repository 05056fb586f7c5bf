#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs, their help, the man pages and the completion agree: each names every key, command and option
that the program has, and no others; the man pages are well formed; metrics that docs/ names are there.

    check_docs.py VIPD VIPCTL VIPLOAD SOURCE_ROOT
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

vipd, vipctl, vipload, root = *sys.argv[1:4], pathlib.Path(sys.argv[4])
PAGES = {name: root / folder / name
         for folder, name in [("agent", "vipd.8"), ("agent", "vipd.conf.5"), ("tools", "vipctl.8"),
                              ("tools", "vipload.1")]}
problems = []


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def compare(what, program, other, where="the man page"):
    problems.extend(f"{what} {x}: not in {where}" for x in sorted(program - other))
    problems.extend(f"{what} {x}: only in {where}" for x in sorted(other - program))


def options_of(text):
    """Long options at the beginnings of a help text's lines, without what follows their '='."""
    return set(re.findall(r"^\s+(?:-\w, )?--([a-z0-9-]+)", text, re.M))


def flags_of(mdoc):
    """Long options in macros of mdoc: `.It Fl -json`, `Op Fl -once`, `Fl c , Fl -config`."""
    return set(re.findall(r"\bFl -([a-z0-9-]+)", mdoc))


# vipd: every key of the configuration, every option of the program itself.

own, keys = output(vipd, "--help").split("wins over the file")
keys = {k.replace("-", "_") for k in re.findall(r"^  --([a-z0-9-]+)=", keys, re.M)}
items = re.findall(r"^\.It Sy (.*)$", PAGES["vipd.conf.5"].read_text(), re.M)
assert len(keys) > 10, "vipd --help does not look as this test expects"
compare("key", keys, {k for line in items for k in re.split(r" ?, ?", line.strip())})
compare("vipd's option --", options_of(own), flags_of("\n".join(
    re.findall(r"^\.It .*$", PAGES["vipd.8"].read_text(), re.M))))

compare("vipload's option --", options_of(output(vipload, "--help")), flags_of("\n".join(
    re.findall(r"^\.It .*$", PAGES["vipload.1"].read_text(), re.M))))

# vipctl: every command, and the options of each.

page = PAGES["vipctl.8"].read_text()
text = output(vipctl, "--help")
commands = re.findall(r"^  ([a-z]+) ", text, re.M)
common = options_of(text)
parts = dict(re.findall(r"^\.It Cm ([a-z]+)(.*?)(?=^\.It |^\.S[hs] |\Z)", page, re.M | re.S))
assert len(commands) > 5, "vipctl --help does not look as this test expects"
compare("command", set(commands), set(parts))
compare("vipctl's option --", common, flags_of("\n".join(re.findall(r"^\.It Fl .*$", page, re.M))))
for command in commands:
    help_text = output(vipctl, command, "--help")
    compare(f"vipctl {command} --", options_of(help_text), flags_of(parts.get(command, "")) - common)
    if "unknown option" not in subprocess.run([vipctl, command, "--no-such-option"], capture_output=True,
                                              text=True).stderr:
        problems.append(f"vipctl {command} takes --no-such-option")

checks = set(re.findall(r'^\t\{"([a-z]+)", check_', (root / "tools" / "doctor" / "checks.c").read_text(), re.M))
assert len(checks) > 10, "checks.c does not look as this test expects"
compare("doctor's check", checks, set(re.findall(r"^\.It Sy ([a-z]+)$", page.split(".Sh DOCTOR")[1], re.M)))

# What the guide says to alert on is there.

sources = "".join(p.read_text() for p in (root / "agent" / "serve").glob("*.c"))
metrics = {(p.name, m) for p in (root / "docs").glob("*.md") for m in re.findall(r"\bvipd_[a-z_]*[a-z]\b", p.read_text())}
assert metrics, "docs/ does not look as this test expects"
problems.extend(f"{page}: no metric {m}" for page, m in sorted(metrics) if f'"{m}"' not in sources)

# The completion offers the same.


def complete(line):
    """What the completion offers at the end of `line`."""
    script = f"""
        PATH={os.path.dirname(vipctl)}:$PATH
        source {root}/tools/vipctl.bash
        COMP_LINE={line!r} COMP_POINT={len(line)}
        COMP_WORDS=($COMP_LINE '') COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _vipctl && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(output("bash", "--norc", "-c", script).split())


compare("command", set(commands), complete("vipctl "), "the completion")
compare("command", {c for c in commands if c.startswith("ve")}, complete("vipctl ve"), "the completion")
for command in commands:
    options = options_of(output(vipctl, command, "--help")) | common
    compare(f"vipctl {command} --", options, {w.strip("-=") for w in complete(f"vipctl {command} --")},
            "the completion")
compare("colour", {"never"}, complete("vipctl --color=n"), "the completion")

# The pages are well formed. Style, and where sentences begin, are ours to choose.


def lint(name, command, page, ignored=None):
    if not shutil.which(command[0]):
        print(f"{name} is not installed: its part was left out")
        return
    done = subprocess.run(command + [page], capture_output=True, text=True)
    for line in (done.stdout + done.stderr).splitlines():
        if line.strip() and not (ignored and re.search(ignored, line)):
            problems.append(line.replace(f"{root}/", ""))


for page in PAGES.values():
    lint("mandoc", ["mandoc", "-T", "lint", "-W", "warning"], page, r"new sentence, new line|outdated mandoc\.db")
    lint("groff", ["groff", "-mdoc", "-ww", "-z", "-Tutf8"], page)

for problem in problems:
    print(problem)
sys.exit(bool(problems))
