#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`meson install` installs just what installed.txt names, and what is a program runs.

    check_install.py MESON BUILD_FOLDER LIST
"""
import json
import pathlib
import subprocess
import sys
import tempfile

meson, build, wanted = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])


def option(name):
    options = json.loads(subprocess.run([meson, "introspect", "--buildoptions", build], check=True,
                                        stdout=subprocess.PIPE).stdout)
    return next(o["value"] for o in options if o["name"] == name)


with tempfile.TemporaryDirectory() as root:
    subprocess.run([meson, "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", root], check=True)
    prefix = pathlib.Path(root + option("prefix"))
    have = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if not p.is_dir()}
    outside = {str(p) for p in pathlib.Path(root).rglob("*") if not p.is_dir()} - {str(prefix / h) for h in have}
    for program in ("sbin/vipd", "bin/vipctl"):
        subprocess.run([prefix / program, "--help"], check=True, stdout=subprocess.DEVNULL)

names = {line for line in wanted.read_text().splitlines() if line and not line.startswith("#")}
for name in sorted(have - names):
    print(f"{name}: installed, but {wanted.name} does not name it")
for name in sorted(names - have):
    print(f"{name}: not installed")
for path in sorted(outside):
    print(f"{path}: outside the prefix")
sys.exit(have != names or bool(outside))
