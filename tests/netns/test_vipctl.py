# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command of vipctl against a live vipd, for people and for programs, and without one."""
import json
import os
import re
import subprocess

import pytest
from overlay import REPO, VIPCTL, wait_until

# What a command that needs more is given; each of the others runs without arguments.
ARGUMENTS = {"vip": ["9.9.9.9"], "why": ["9.9.9.9:80"], "table": ["--state={document}"], "watch": ["--once"],
             "top": ["--once"]}
# They need no vipd.
OFFLINE = {"keygen", "table", "version", "doctor"}
# One JSON document a line.
LINES = {"watch"}


def commands():
    text = subprocess.run([VIPCTL, "--help"], text=True, check=True, stdout=subprocess.PIPE).stdout
    return re.findall(r"^  ([a-z]+) ", text, re.M)


@pytest.fixture
def node(overlay):
    overlay.start()
    node = overlay.nodes[0]
    wait_until(lambda: node.ask("/v1/table"), "it has a table")
    return node


def run(node, *args, socket=None):
    return subprocess.run(["nsenter", f"--net=/run/netns/{node.netns}", str(VIPCTL), f"--socket={socket or node.socket}",
                           *args], text=True, capture_output=True, timeout=60)


def words(command, overlay):
    return [command] + [a.format(document=overlay.document) for a in ARGUMENTS.get(command, [])]


@pytest.mark.overlay(nodes=2)
def test_every_command_in_both_forms(overlay, node):
    overlay.wait_all_up()
    for command in [c for c in commands() if c != "flush"] + ["flush"]:
        # What is so at one moment may be otherwise at the next, so both forms are asked until they agree.
        text, for_programs = wait_until(
            lambda c=command: (r := (run(node, *words(c, overlay)), run(node, *words(c, overlay), "--json")))
            and r[0].returncode == r[1].returncode and r, f"{command} has one exit status")
        assert text.returncode in (0, 1) and "vipctl: " not in text.stderr, (command, text)
        assert text.stdout or command == "diff", command
        assert not any(line != line.rstrip() for line in text.stdout.splitlines()), (command, text.stdout)
        documents = for_programs.stdout.splitlines() if command in LINES else [for_programs.stdout]
        for document in documents:
            json.loads(document)


@pytest.mark.overlay(nodes=1)
def test_every_command_without_a_vipd(overlay):
    [node] = overlay.nodes
    for command in set(commands()) - OFFLINE - {"flush"}:  # that one then calls vipd itself
        done = run(node, *words(command, overlay))
        assert done.returncode == 1 and not done.stdout, (command, done)
        assert "no vipd answers" in done.stderr and "vipctl doctor" in done.stderr, (command, done)


@pytest.mark.overlay(nodes=1)
def test_bad_usage_is_told_with_what_was_meant(overlay, node):
    def told(*args, status=2):
        done = run(node, *args)
        assert done.returncode == status and not done.stdout, (args, done)
        return done.stderr
    assert "did you mean status?" in told("statsu")
    assert "did you mean --once?" in told("watch", "--onec")
    assert "Usage: vipctl vip " in told("vip")
    assert "Usage: vipctl diff" in told("diff", "x")
    assert "auto, always or never" in told("--color=maybe", "status")
    assert "needs a value" in told("status", "--socket")
    assert "vipctl top --help" in told("top", "--sort=foo") and "vipctl watch --help" in told("watch", "--last=x")
    assert "did you mean" not in told("foo")  # top has one letter of it
    assert "did you mean 9.9.9.9:80?" in told("vip", "9.9.9.8:80", status=1)
    assert "Usage: vipctl [OPTION]" in told()
    done = run(node, "why", "9.9.9:80")
    assert done.returncode == 1 and "did you mean 9.9.9.9:80?" in done.stderr


@pytest.mark.overlay(nodes=1)
def test_completion_knows_what_is_there(overlay, node):
    def complete(line):
        script = f"""
            PATH={VIPCTL.parent}:$PATH
            source {REPO}/tools/vipctl.bash
            COMP_LINE={line!r} COMP_POINT={len(line)} COMP_WORDS=($COMP_LINE '') COMP_CWORD=2
            _vipctl && printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return subprocess.run(["nsenter", f"--net=/run/netns/{node.netns}", "bash", "--norc", "-c", script], text=True,
                              check=True, stdout=subprocess.PIPE).stdout.split()
    vipctl = f"vipctl --socket={node.socket}"
    for line, words in [("vip ", ["9.9.9.9", "9.9.9.9:80"]), ("why 9.9.9.9:", ["80"]), ("why t", ["t0"]),
                        ("backends ", [node.address])]:
        # It gives vipd a second, which a busy machine may not have.
        wait_until(lambda l=line, w=words: complete(f"{vipctl} {l}") == w, f"{line!r} is completed")
    node.stop()
    assert complete(f"{vipctl} vip ") == []


@pytest.mark.overlay(nodes=1)
def test_another_tasks_name_does_not_drive_the_terminal(overlay, node):
    task = {"id": "evil\x1b[2J", "name": "evil", "framework_id": "f", "slave_id": "s0", "state": "TASK_RUNNING",
            "discovery": {"ports": {"ports": [{"number": 1, "protocol": "tcp", "labels": {"labels": [
                {"key": "VIP_0", "value": "\x1b[31m/x:99999"}]}}]}}}
    overlay.write_document([task])
    wait_until(lambda: node.get("/v1/status")["table"]["rejected"], "the task is seen")
    for command in (["status"], ["why", "evil"], ["doctor"]):
        assert "\x1b" not in run(node, *command).stdout, command
    assert "\\u001b" in run(node, "status", "--json").stdout


@pytest.mark.overlay(nodes=1)
def test_a_narrow_terminal_cuts_names_not_addresses(overlay, node):
    """The lines of a table fit; what is cut says so."""
    document = json.loads(overlay.document.read_text())
    document["frameworks"][0]["tasks"][0]["id"] = "a-task-with-a-name-" + "x" * 100
    overlay.document.with_suffix(".new").write_text(json.dumps(document))
    overlay.document.with_suffix(".new").rename(overlay.document)
    wait_until(lambda: "xxx" in node.get("/v1/table")[0]["backends"][0]["task"], "the name is there")
    code = (f"import fcntl, os, pty, struct, sys, termios\n"
            f"pid, fd = pty.fork()\n"
            f"if pid == 0:\n"
            f"    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('4H', 24, 90, 0, 0))\n"
            f"    os.execv({str(VIPCTL)!r}, ['vipctl', '--socket={node.socket}', 'backends'])\n"
            f"data = b''\n"
            f"try:\n"
            f"    while piece := os.read(fd, 65536):\n"
            f"        data += piece\n"
            f"except OSError:\n"
            f"    pass\n"
            f"sys.stdout.write(data.decode())\n")
    lines = subprocess.run(["nsenter", f"--net=/run/netns/{node.netns}", "/usr/bin/python3", "-c", code], text=True, check=True,
                           stdout=subprocess.PIPE, env={**os.environ, "NO_COLOR": "1"}).stdout.splitlines()
    assert max(map(len, lines)) <= 90 and "..." in lines[1] and f"{node.address}:8080" in lines[1], lines
