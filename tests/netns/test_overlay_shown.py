# SPDX-License-Identifier: GPL-2.0-or-later
"""What an operator is shown of trouble in the overlay: what is wrong, where, since when and what to do."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from overlay import BACKEND_PORT, VIPCTL, wait_until
from port import get


def vipctl(node, *words):
    return subprocess.run(["nsenter", f"--net=/run/netns/{node.netns}", str(VIPCTL), f"--socket={node.socket}",
                           *words], text=True, capture_output=True, timeout=60).stdout


def member(node, other):
    [line] = [text for text in vipctl(node, "members").splitlines() if text.startswith(f"{other.address} ")]
    return line


def why(node, other):
    return vipctl(node, "why", f"{other.address}:{BACKEND_PORT}")


def findings(node, check):
    return [f for f in json.loads(vipctl(node, "doctor", "--json"))["findings"] if f["check"] == check]


def wait_status(node, other, status):
    wait_until(lambda: node.members()[other.address] == status, f"{other} is {status}")


@pytest.mark.overlay(nodes=5)
def test_what_is_shown_of_a_host_that_dies_and_of_vipds_that_go_and_stall(overlay):
    overlay.up()
    a, *_, victim = overlay.nodes
    assert "(node)" not in why(a, victim) and "judges nobody" not in a.log.read_text()
    overlay.cut(victim)
    wait_status(a, victim, "down")
    assert re.search(r"down +\S+ m?s +- .*tested by ", member(a, victim)), member(a, victim)
    text = why(a, victim)
    assert "its node is down" in text and re.search(r"silent for \d+ s", text) and "someone" not in text, text
    assert re.search(rf"node {victim.address} is down: no answer from its vipd and its host, tested by "
                     r"(this node|10\.9\.\S+), for 0\.\d\d s", a.log.read_text())
    wait_until(lambda: "judges nobody" in vipctl(victim, "status"), "it knows that it is cut off")
    assert "judges nobody" in why(victim, a)
    overlay.mend(victim)
    overlay.wait_all_up()
    assert re.search(rf"node {victim.address} is up again, after \d", a.log.read_text())

    victim.send(signal.SIGSTOP)
    wait_status(a, victim, "stalled")
    assert "its host answers: so it stays" in why(a, victim)
    victim.send(signal.SIGCONT)
    wait_status(a, victim, "up")
    victim.stop(signal.SIGKILL)
    wait_status(a, victim, "agentless")
    assert "vipd has been gone for" in why(a, victim)
    assert f"{victim.address} is agentless: its vipd is gone, its host answers" in a.log.read_text()


@pytest.mark.overlay(nodes=4)
def test_what_is_shown_of_a_node_that_flaps(overlay):
    overlay.up()
    a, *_, flapping = overlay.nodes
    for n in (1, 2, 3):
        overlay.cut(flapping)
        wait_status(a, flapping, "down")
        overlay.mend(flapping)
        wait_status(a, flapping, "up")
    told = [(e["kind"], e.get("detail", "")) for e in a.events()
            if e.get("kind") in ("node-down", "node-up", "node-held") and flapping.address in e.get("detail", "")]
    assert [kind for kind, _ in told] == ["node-down", "node-up", "node-down", "node-held", "node-down", "node-held"]
    assert re.search(r"went down 3 times: held down for (9|10) s", told[-1][1]), told[-1]
    assert "it went down 3 times: held down for" in a.log.read_text()
    assert any("again and again" in f["text"] for f in findings(a, "overlay"))


@pytest.mark.overlay(nodes=4)
def test_what_is_shown_of_keys(overlay):
    *members, late = overlay.nodes
    overlay.up()
    old, new = overlay.key_file.read_text().strip(), overlay.new_key()
    own = overlay.write_keys([old], overlay.dir / "old-key")
    late.stop()
    late.start(key_file=own)
    overlay.wait_all_up()
    for keys in [old, new], [new, old], [new]:
        overlay.write_keys(keys)
        for n in members:
            n.send(signal.SIGHUP)
            time.sleep(0.1)
        shown = members[0].get("/v1/status")["overlay"]["keys"]
        assert len(shown) == len(keys)
        assert f"{len(keys)} key" in members[0].log.read_text() and f"; key {shown[0]}" in vipctl(members[0], "status")
        time.sleep(1)
    assert late.get("/v1/status")["overlay"]["keys"] != shown
    wait_until(lambda: any("another key" in f["text"] for f in findings(late, "overlay")), "its doctor tells", 40, 1)
    assert late.get("/v1/links")["transport"]["unknown_key"] > 0


@pytest.mark.overlay(nodes=4)
def test_what_is_shown_of_a_node_that_finds_nobody(overlay):
    *members, alone = overlay.nodes
    alone.start(key_file=overlay.write_keys([overlay.new_key()], overlay.dir / "other-key"))
    overlay.up(nodes=members)
    assert "no member of the overlay" in why(members[0], alone)
    wait_until(lambda: "no other node found by now" in alone.log.read_text(), "the log says so", 30)
    assert any("alone in the overlay" in f["text"] for f in findings(alone, "overlay"))


@pytest.mark.overlay(nodes=5)
def test_what_is_shown_where_udp_is_blocked(overlay):
    overlay.up()
    a, *_, blocked = overlay.nodes
    overlay.drop(f"oifname p{blocked.number} udp dport 61420")
    text = f"no UDP from {a.address} arrives here"
    wait_until(lambda: text in blocked.log.read_text(), "the log tells the direction", 20)
    wait_until(lambda: any("this node (the trouble is probably here)" in f["text"]
                           for f in findings(blocked, "peers")), "and the doctor the place", 20)
    assert f"no UDP from {blocked.address}" not in a.log.read_text()


@pytest.mark.overlay(nodes=5)
@pytest.mark.parametrize("ways", [("iifname",), ("iifname", "oifname")], ids=["out", "both"])
def test_what_is_shown_where_no_udp_leaves_a_node(overlay, ways):
    overlay.up()
    blocked = overlay.nodes[-1]
    overlay.drop(*(f"{way} p{blocked.number} udp dport 61420" for way in ways))
    wait_until(lambda: "OUR UDP IS NOT HEARD" in vipctl(blocked, "links"), "its own links tell", 30)
    wait_until(lambda: any("no UDP from this node reaches" in f["text"]
                           for f in findings(blocked, "peers")), "and its doctor", 20)


@pytest.mark.overlay(nodes=4)
def test_what_is_shown_of_ids_that_are_lost_and_copied(overlay):
    overlay.up()
    a, _, source, other = overlay.nodes
    other.stop()
    os.unlink(other.dir / "node")
    other.start()
    wait_until(lambda: len(a.get("/v1/nodes")) == 5, "it has another id")
    wait_until(lambda: "an earlier id of this address" in vipctl(a, "members"), "which is shown")
    assert all(f["severity"] in ("ok", "note") for f in findings(a, "overlay")), findings(a, "overlay")
    wait_until(lambda: get(a.netns, "/v1/nodes")[1]["ETag"] == get(a.netns, "/v1/nodes")[1]["ETag"],
               "ages are no part of the ETag", 10)
    wait_until(lambda: re.search(rf"node {other.address} \(id [0-9a-f]{{16}}\) is stalled", a.log.read_text()),
               "the log tells the two apart", 20)

    other.stop()
    shutil.copy2(source.dir / "node", other.dir / "node")
    other.start()
    wait_until(lambda: "ANOTHER VIPD speaks as this node" in vipctl(source, "status"), "the first one tells", 20)
    assert any("a state_dir was copied" in f["text"] for f in findings(source, "overlay"))
