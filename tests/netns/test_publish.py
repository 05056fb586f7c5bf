# SPDX-License-Identifier: GPL-2.0-or-later
"""The table comes by the overlay: masters publish, agents follow, and poll only when nobody publishes."""
import contextlib
import re
import signal
import time

import pytest
from cluster import call
from masters import PORT, Masters
from overlay import wait_until
from port import metrics


@contextlib.contextmanager
def published(overlay, n_masters=3, truth=1, **options):
    """A cluster in which the first master leads and everyone follows its vipd."""
    with Masters(overlay, n_masters) as m:
        m.lead(overlay.nodes[0])
        m.set_truth(truth)
        overlay.start(**m.options, **options)
        m.wait_modes(overlay.nodes[0])
        m.wait_all_hold(truth)
        yield m


def backend_losses(overlay, since):
    """Steps since then that took a backend of the VIP that all documents have."""
    return [(n, t, text) for n in overlay.nodes for t, text in n.steps()
            if t >= since and "1.2.3.4:80" in text and ("del" in text or "weight 0" in text)]


def numbers(node):
    """The truths that this node's kernel would have had, one after the other."""
    return [int(m[1]) - 1000 for _, text in node.steps()
            if (m := re.search(r"^service add tcp 1\.2\.3\.5:(\d+)", text))]


@pytest.mark.overlay(nodes=8)
def test_agents_do_not_poll_and_changes_are_there_at_once(overlay):
    with published(overlay) as m:
        before = m.agents_polls()
        since = time.monotonic()
        late = []
        for number in range(2, 6):
            m.set_truth(number)
            wait_until(lambda number=number: m.holds(overlay.nodes[0]) == number, "the publisher has seen it", 10, 0.01)
            m.wait_all_hold(number, timeout=5)
            when = {n: [t for t, text in n.steps() if f"service add tcp 1.2.3.5:{1000 + number}" in text]
                    for n in overlay.nodes}
            assert all(len(t) == 1 for t in when.values()), when
            late.append(max(t[0] for t in when.values()) - when[overlay.nodes[0]][0])
        print(f"from the publisher's kernel to the last one's: {', '.join(f'{1e3 * t:.0f} ms' for t in late)}")
        assert sorted(late)[len(late) // 2] < 0.1
        time.sleep(3)
        # One that starts has it from a neighbour.
        node = overlay.nodes[7]
        node.stop()
        node.start(**m.options)
        m.wait_all_hold(5, [node], timeout=5)
        m.wait_modes(overlay.nodes[0], [node])
        assert m.agents_polls() == before
        assert backend_losses(overlay, since) == []
        leader, follower = metrics(overlay.nodes[0].netns), metrics(node.netns)
        assert leader['vipd_publisher_mode{mode="leading"}'] == 1 and leader["vipd_source_documents_total"] > 0
        assert follower['vipd_publisher_mode{mode="following"}'] == 1 and follower["vipd_source_up"] == 1
        # Nothing stands in the way of a VIP that no document of this node's has brought.
        traces = node.get("/v1/why?q=" + node.get("/v1/table")[0]["address"])
        assert all(t["ok"] for t in traces) and "published by" in traces[0]["steps"][0]["text"], traces


@pytest.mark.overlay(nodes=6)
def test_leaders_change_restart_and_overlap(overlay):
    with published(overlay) as m:
        first, second = overlay.nodes[:2]
        since = time.monotonic()
        before = m.agents_begun()
        # Another one leads, after a moment in which nobody does, and has not heard from most agents yet. What it
        # publishes has their backends all the same.
        m.lead(None)
        time.sleep(2)
        m.set_truth(2, recovered=range(1, 6))
        m.lead(second)
        m.wait_all_hold(2)
        m.wait_modes(second)
        assert second.get("/v1/status")["table"]["backends_kept"] == 5
        # It restarts.
        m.stop(second)
        time.sleep(3)
        m.start(second)
        m.lead(second)
        m.set_truth(3)
        m.wait_all_hold(3)
        m.wait_modes(second)
        # The first one leads again, while the second goes on saying that it does, with what it knew.
        m.tell(first, m.make_document(4), "self")
        m.wait_all_hold(4, timeout=30)
        m.wait_modes(first)
        m.lead(first)  # now the second one knows
        m.set_truth(5)
        m.wait_all_hold(5)
        assert m.agents_begun() == before
        assert backend_losses(overlay, since) == []
        assert all(numbers(n) == [1, 2, 3, 4, 5] for n in overlay.others(second))


@pytest.mark.overlay(nodes=6)
def test_the_publisher_is_killed_as_it_publishes(overlay):
    """At random moments around a change, again and again: everyone ends with the last truth."""
    with published(overlay) as m:
        first = overlay.nodes[0]
        since = time.monotonic()
        for number, pause in ((2, 0.2), (3, 0.6), (4, 1.0)):
            m.set_truth(number)
            time.sleep(pause)
            first.stop(signal.SIGKILL)
            first.start(**m.options)
            m.wait_all_hold(number)
        m.wait_modes(first)
        assert backend_losses(overlay, since) == []
        for n in overlay.others(first):
            assert numbers(n) == sorted(set(numbers(n))), "an older table came back"


@pytest.mark.overlay(nodes=5)
def test_without_a_publisher_they_poll_and_come_back(overlay):
    with published(overlay, n_masters=2, publisher_timeout="6s") as m:
        first = overlay.nodes[0]
        since = time.monotonic()
        first.stop(signal.SIGKILL)
        for n in overlay.others(first):
            wait_until(lambda n=n: m.mode(n) == "polling", f"{n} polls", 15, 0.1)
        m.set_truth(2)
        m.wait_all_hold(2, overlay.others(first))
        first.start(**m.options, publisher_timeout="6s")
        m.wait_modes(first, timeout=30)
        before = m.agents_polls()
        time.sleep(4)
        assert m.agents_polls() == before
        assert backend_losses(overlay, since) == []
        status = overlay.nodes[4].get("/v1/status")
        assert status["publisher"]["address"] == first.address
        assert status["publisher"]["mode"] == "following" and status["source"]["ok"]


@pytest.mark.overlay(nodes=4)
def test_who_is_no_master_is_not_believed(overlay):
    """An agent that is configured like a master, its own list included, speaks to deaf ears."""
    with published(overlay) as m:
        agent = overlay.nodes[3]
        agent.stop()
        m.start(agent)
        m.tell(agent, m.make_document(9), "self")
        agent.start(**{**m.options, "masters": f"http://{agent.address}:5050"})
        m.wait_all_hold(9, [agent])
        time.sleep(6)
        m.wait_modes(overlay.nodes[0], overlay.others(agent))
        m.wait_all_hold(1, overlay.others(agent), timeout=1)
        assert overlay.nodes[1].get("/v1/status")["publisher"]["disbelieved"] > 0


@pytest.mark.overlay(nodes=6)
def test_subscribed_beside_the_master_published_to_all(overlay):
    """A change takes two steps, an event and a delta, and nobody polls: not for it, and not when another master
    leads."""
    with Masters(overlay, 3) as m:
        first, second = overlay.nodes[:2]

        def everywhere(*operations):
            for n in m.nodes:
                call(m.control(n), "batch", {"operations": list(operations)})

        def lead(leader):
            for n in m.nodes:
                call(m.control(n), "leader", {"leader": "self" if n is leader else f"{leader.address}:{PORT}"})

        def app(number):
            return ["app", {"id": f"/n{number}", "framework": "marathon", "agents": [overlay.nodes[4].address],
                            "ports": [{"labels": {"VIP_0": f"1.2.3.5:{1000 + number}"}}]}]

        def change(number):
            everywhere(["remove", {"app": f"/n{number - 1}"}], app(number))

        everywhere(["raw", {"document": None}], *(["agent", {"hostname": n.address}] for n in overlay.nodes), app(1))
        lead(first)
        overlay.start(**{**m.options, "mesos_api": "subscribe", "poll_interval": "1h"})
        m.wait_modes(first)
        m.wait_all_hold(1)
        begun, took = m.agents_begun(), []
        for number in range(2, 9):
            change(number)
            since = time.monotonic()
            m.wait_all_hold(number, timeout=10)
            took.append(time.monotonic() - since)
        print(f"from the master's event to the last node's table: {', '.join(f'{1e3 * t:.0f} ms' for t in took)}")
        assert sorted(took)[len(took) // 2] < 0.5
        assert first.get("/v1/status")["source"]["subscribed"]
        lead(second)
        change(9)
        m.wait_modes(second)
        m.wait_all_hold(9)
        change(10)
        m.wait_all_hold(10, timeout=10)
        assert second.get("/v1/status")["source"]["subscribed"]
        assert m.agents_begun() == begun
        assert all(numbers(n) == sorted(set(numbers(n))) for n in overlay.nodes), "an older table came back"
