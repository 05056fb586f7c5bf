# SPDX-License-Identifier: GPL-2.0-or-later
"""vipd goes away, or is kept from running, on a host that lives: no backend leaves any kernel."""
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from overlay import PORT, REPO, wait_until

GEN_STATE = REPO / "tests" / "bench" / "gen_state.py"
STRANGER = REPO / "tests" / "lib" / "stranger.py"


def seen_as(o, node, status, timeout=5):
    for n in filter(lambda n: n.running, o.others(node)):
        wait_until(lambda n=n: n.members().get(node.address) == status, f"{node} is {status} for {n}", timeout, 0.02)


def told(n, kind, node):
    """The texts of its events of this kind about the other node, without the address."""
    return [e["detail"][len(node.address) + 2:] for e in n.events()
            if e.get("kind") == kind and e["detail"].startswith(f"{node.address}: ")]


@pytest.mark.overlay(nodes=12)
def test_killed_and_started(overlay):
    overlay.up()
    when = time.monotonic()
    for victim in overlay.nodes[2:5]:
        victim.stop(signal.SIGKILL)
        seen_as(overlay, victim, "agentless")
    time.sleep(3)
    overlay.start(overlay.nodes[2:5])
    overlay.wait_all_up()
    others = overlay.others(*overlay.nodes[2:5])
    assert overlay.disturbed(when, nodes=others) == []
    for n in others:
        for victim in overlay.nodes[2:5]:
            assert told(n, "vipd-gone", victim) == ["its vipd is gone, its host answers: its backends stay"]
            [back] = told(n, "vipd-back", victim)
            assert 3 <= float(re.fullmatch(r"after (\d+\.\d) s", back)[1]) <= time.monotonic() - when


@pytest.mark.overlay(nodes=12)
def test_stopped_for_ten_seconds(overlay):
    overlay.up()
    when = time.monotonic()
    victim = overlay.nodes[6]
    victim.send(signal.SIGSTOP)
    seen_as(overlay, victim, "stalled", 10)
    time.sleep(max(0, when + 10 - time.monotonic()))
    victim.send(signal.SIGCONT)
    overlay.wait_all_up()
    assert overlay.disturbed(when) == []
    for n in overlay.others(victim):
        assert told(n, "vipd-stalled", victim) == ["its vipd is stalled, its host answers: its backends stay"]
        assert len(told(n, "vipd-back", victim)) == 1


@pytest.mark.overlay(nodes=3)
def test_a_stopped_one_answers_any_number_of_probes(overlay):
    overlay.up()
    victim = overlay.nodes[2]
    victim.send(signal.SIGSTOP)
    done = overlay.nodes[0].run([sys.executable, str(STRANGER), "probes", "6000", victim.address], timeout=120)
    victim.send(signal.SIGCONT)
    assert done.stdout.strip() == '{"answered": 6000}'


@pytest.mark.overlay(nodes=3)
def test_a_file_of_members_that_is_none(overlay):
    """A pipe that nobody writes to, and more nonsense than is read."""
    a, b, _ = overlay.nodes
    os.mkfifo(a.dir / "members")
    (b.dir / "members").write_text("no address\n" * 1000000)
    overlay.up()
    assert "members: not a regular file; no members are remembered" in a.log.read_text()


@pytest.mark.overlay(nodes=30)
def test_thirty_restart_one_by_one_and_all_at_once(overlay):
    overlay.up()
    when = time.monotonic()
    for n in overlay.nodes:
        n.stop()
        n.start()
        wait_until(lambda n=n: n.ask("/v1/status"), f"{n} runs")
    overlay.wait_all_up()
    assert overlay.disturbed(when) == []
    for n in overlay.nodes:
        n.send(signal.SIGTERM)
    for n in overlay.nodes:
        n.stop()
    overlay.start()
    overlay.wait_all_up()
    assert overlay.disturbed(when) == []


@pytest.mark.overlay(nodes=12)
def test_busy_processors_are_no_death(overlay):
    overlay.up()
    when = time.monotonic()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        time.sleep(8)
    finally:
        for p in busy:
            p.kill()
            p.wait()
    assert overlay.disturbed(when) == []
    assert overlay.wait_all_up() is None


@pytest.mark.overlay(nodes=4)
def test_pings_keep_time_while_a_large_document_is_parsed(overlay):
    """50 MB to parse, and all its VIPs to be programmed, in the same process."""
    overlay.up(log_level="warning")
    victim = overlay.nodes[1]
    victim.stop()
    large = overlay.dir / "large.json"
    with open(large, "w") as f:
        subprocess.run([sys.executable, str(GEN_STATE), "--tasks", "55000"], stdout=f, check=True)
    when = time.monotonic()
    victim.start(source=f"file:{large}", log_level="warning")
    wait_until(lambda: (victim.ask("/v1/status") or {}).get("kernel", {}).get("in_sync")
               and victim.get("/v1/status")["table"]["vips"] > 1000, "the document is in the kernel", 120, 0.5)
    took = time.monotonic() - when
    links = victim.links()
    turn, late = links["transport"]["longest_turn"], links["gossip"]["lateness"]
    status = victim.get("/v1/status")
    print(f"{status['table']['backends']} backends in {status['kernel']['steps']} steps, {took:.1f} s; "
          f"longest turn {1e3 * turn:.1f} ms, lateness {1e3 * late:.1f} ms")
    assert turn < 0.05 and late < 0.1
    others = overlay.others(victim)
    assert overlay.disturbed(when, nodes=others) == []
    assert all(n.members()[victim.address] == "up" for n in others)


@pytest.mark.overlay(nodes=3)
def test_a_taken_port_is_told_and_waited_for(overlay):
    a, b, c = overlay.nodes
    taker = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{c.netns}", sys.executable, "-c",
         f"import socket, time; s = socket.socket(); s.bind(('{c.address}', {PORT})); s.listen(); time.sleep(99)"])
    try:
        wait_until(lambda: str(PORT) in c.run("ss -Hltn").stdout, "the port is taken")
        overlay.start()
        overlay.wait_all_up([a, b])
        said = wait_until(lambda: c.ask("/v1/status"), "vipd runs all the same")["overlay"]
        assert not said["on"] and f"{PORT} is taken by another program" in said["off_because"]
        assert c.weights() == {n.address: 1 for n in overlay.nodes}
    finally:
        taker.kill()
        taker.wait()
    overlay.wait_all_up(timeout=20)


@pytest.mark.overlay(nodes=6)
def test_a_node_moves_to_another_address(overlay):
    overlay.up(nodes=overlay.nodes[:5])
    moving = overlay.nodes[5]
    moving.start(node_address=None)
    overlay.wait_all_up()
    old, new = moving.address, "10.9.77.77"
    moving.run(f"ip addr del {old}/16 dev eth0; ip addr add {new}/16 dev eth0")
    moving.address = new
    overlay.write_document()  # vipd looks at its addresses with each document
    for n in overlay.nodes:
        wait_until(lambda n=n: n.members().get(new) == "up", f"{n} sees {moving} at its new address", 30)
    assert moving.members()[overlay.nodes[0].address] == "up"


@pytest.mark.overlay(nodes=4)
def test_ipv6_alone(overlay):
    for n in overlay.nodes:
        n.run(f"ip addr flush dev eth0; ip addr add fd00:99::{n.number + 1}/64 dev eth0 nodad")
        n.address = f"fd00:99::{n.number + 1}"
    overlay.vip = "[fd00:aa::1]:80"
    overlay.write_document()
    for n in overlay.nodes:
        n.start(node_address=None, node_address6=n.address, ipv6="yes")
    overlay.wait_all_up()
    lost = overlay.nodes[3]
    when = overlay.cut(lost)
    assert len(overlay.first_out(lost, when)) == 3
