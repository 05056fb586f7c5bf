# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has the key, who has not, and how keys change. The counts of the stranger's packets and connections
are scaled down; VIPD_STRANGER=1000000,10000 sends as many as may be wished."""
import json
import os
import resource
import signal
import sys
import time

import pytest
from overlay import REPO, wait_until

STRANGER = REPO / "tests" / "lib" / "stranger.py"
PACKETS, CONNECTIONS = map(int, os.environ.get("VIPD_STRANGER", "100000,1500").split(","))


def stranger(node, *words):
    return json.loads(node.run([sys.executable, str(STRANGER), *map(str, words)], timeout=600).stdout)


@pytest.mark.overlay(nodes=6)
def test_another_key_is_another_world(overlay):
    *members, alone = overlay.nodes
    other = overlay.write_keys([overlay.new_key()], overlay.dir / "other-key")
    alone.start(key_file=other)
    overlay.up(nodes=members)
    wait_until(lambda: alone.ask("/v1/links"), "it runs")
    time.sleep(3)
    assert alone.members() == {alone.address: "up"}
    assert all(alone.address not in n.members() for n in members)
    assert sum(n.links()["transport"]["unknown_key"] + n.links()["transport"]["handshakes_failed"]
               for n in members) > 0


@pytest.mark.overlay(nodes=6)
def test_another_cluster_with_the_same_key_too(overlay):
    *members, alone = overlay.nodes
    alone.start(cluster="another")
    overlay.up(nodes=members)
    time.sleep(3)
    assert alone.members() == {alone.address: "up"}
    assert all(alone.address not in n.members() for n in members)


@pytest.mark.overlay(nodes=6)
def test_keys_rotate_without_a_stop(overlay):
    overlay.up()
    when = time.monotonic()
    old, new = overlay.key_file.read_text().strip(), overlay.new_key()
    for keys in [old, new], [new, old], [new]:
        overlay.write_keys(keys)
        for n in overlay.nodes:
            n.send(signal.SIGHUP)
            time.sleep(0.1)
        time.sleep(1)
    time.sleep(12)  # links of the old key have ended by now
    overlay.wait_all_up()
    assert overlay.disturbed(when) == []
    # Who has only the old key is out.
    late = overlay.nodes[5]
    late.stop()
    late.start(key_file=overlay.write_keys([old], overlay.dir / "old-key"))
    wait_until(lambda: late.ask("/v1/links"), "it runs")
    time.sleep(2)
    assert late.members() == {late.address: "up"}


@pytest.mark.overlay(nodes=3)
def test_a_broken_key_file_changes_nothing(overlay):
    overlay.up()
    overlay.key_file.write_text("nonsense\n")
    for n in overlay.nodes:
        n.send(signal.SIGHUP)
    time.sleep(2)
    overlay.wait_all_up()
    assert "the keys stay as they are" in overlay.nodes[0].log.read_text()


@pytest.mark.overlay(nodes=6)
def test_a_stranger_changes_nothing(overlay):
    *members, outsider = overlay.nodes
    overlay.up(nodes=members)
    target = members[1]
    captured = overlay.dir / "captured"
    assert stranger(target, "capture", captured, 4)["frames"] > 20
    stranger(outsider, "packets", 2000, target.address, captured)  # what it costs once
    before, memory, when = target.links()["transport"], target.rss(), time.monotonic()

    sent = stranger(outsider, "packets", PACKETS, target.address, captured)
    after = target.links()
    assert sent["sent"] > PACKETS / 2
    refused = {k: after["transport"][k] - before[k] for k in ("forged", "replayed", "malformed", "unknown_key")}
    print(f"{sent}, {refused}, lateness {1e3 * after['gossip']['lateness']:.1f} ms, "
          f"longest turn {1e3 * after['transport']['longest_turn']:.1f} ms")
    assert sum(refused.values()) > 1000
    assert sent["answered"] == 0, "a packet to another's address, or of one who is believed, is not answered"

    made = stranger(outsider, "connections", CONNECTIONS, target.address)
    print(made)
    assert made["bytes_answered"] == 0
    # And all that was said, from where it was said, once more.
    assert stranger(outsider, "replay", captured)["frames"] > 20
    time.sleep(3)
    assert target.rss() - memory < 4 << 20, "memory grew"
    assert overlay.disturbed(when, nodes=members) == []
    for n in members:
        assert n.members() == {m.address: "up" for m in members}
    assert target.links()["gossip"]["lateness"] < 0.25


@pytest.mark.overlay(nodes=4)
def test_a_capture_means_nothing_to_who_has_restarted(overlay):
    *members, outsider = overlay.nodes
    overlay.up(nodes=members)
    captured = overlay.dir / "captured"
    assert stranger(members[1], "capture", captured, 3)["frames"] > 20
    for n in members:
        n.stop()
    stranger(outsider, "replay", captured)
    members[1].start(contacts=None)
    wait_until(lambda: members[1].ask("/v1/links"), "it runs")
    for _ in range(3):
        stranger(outsider, "replay", captured)
        time.sleep(0.5)
    assert members[1].members() == {members[1].address: "up"}
    assert members[1].links()["gossip"]["members"] == 1


@pytest.mark.overlay(nodes=4)
def test_no_descriptor_left_for_links(overlay):
    """What it has goes on, it does not spin, and afterwards all is as before."""
    *members, outsider = overlay.nodes
    overlay.up(nodes=members)
    target = members[1]
    when = time.monotonic()
    # All but a few are taken; the control socket needs one for each question.
    used = max(map(int, os.listdir(f"/proc/{target.process.pid}/fd"))) + 1
    resource.prlimit(target.process.pid, resource.RLIMIT_NOFILE, (used + 6, 4096))
    before = target.cpu()
    stranger(outsider, "hold", 40, target.address, 1.5)
    assert target.cpu() - before < 0.5, "it spins"
    resource.prlimit(target.process.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    assert target.links()["transport"]["accepts_paused"] > 0
    overlay.wait_all_up(members)
    assert overlay.disturbed(when, nodes=members) == []
