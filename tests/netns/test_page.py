# SPDX-License-Identifier: GPL-2.0-or-later
"""The page that vipd serves, in a real browser: what it shows, that it follows what happens, that it says when vipd is
gone. Screenshots go to the results folder (page-*.png), to be looked at."""
import os
import pathlib
import signal

import pytest
from browser import CHROMIUM, Browser
from cluster import VIPCTL
from overlay import BACKEND_PORT

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium: tools/deps page")

RESULTS = os.environ.get("VIPD_RESULTS")
ROW = "[...document.querySelectorAll('#vips > tbody > tr.vip')]"
NAMES = f"{ROW}.map(r => r.querySelector('.vipname').textContent).join()"


@pytest.fixture
def results(tmp_path):
    return pathlib.Path(RESULTS) if RESULTS else tmp_path


def task(node, number, label, port, healthy=True):
    status = {"state": "TASK_RUNNING", "timestamp": 1.0, "container_status": {
        "network_infos": [{"ip_addresses": [{"ip_address": node.address}]}]}}
    if not healthy:
        status["healthy"] = False
    return {"id": f"{label.strip('/').replace('/', '_').split(':')[0]}.{number}f3a-71c2-11e7-9a1d-70b3d5800001",
            "name": label, "framework_id": "f", "slave_id": f"s{node.number}", "state": "TASK_RUNNING",
            "discovery": {"ports": {"ports": [{"number": port, "protocol": "tcp", "labels": {"labels": [
                {"key": "VIP_0", "value": label}, {"key": "network-scope", "value": "host"}]}}]}},
            "statuses": [status]}


APPS = [("/redis:6379", 3), ("/shop/frontend:80", 9), ("/shop/cart:8080", 4), ("/shop/search/elasticsearch:9200", 5),
        ("/kafka/broker:9092", 3), ("/metrics/influxdb:8086", 1), ("10.250.0.17:5432", 2), ("/auth:443", 2),
        ("/payments/ledger-service:7000", 2), ("/mail:25", 1)]


def tasks(overlay, apps=None):
    nodes, made = overlay.nodes, []
    for k, (label, n) in enumerate(apps or APPS):
        for i in range(n):
            made.append(task(nodes[(k + i) % len(nodes)], len(made), label, 31000 + len(made), healthy=(k, i) != (1, 4)))
    return made


@pytest.mark.overlay(nodes=12)
def test_page(overlay, results, tmp_path):
    overlay.up()
    overlay.write_document(tasks(overlay))
    node = overlay.nodes[0]
    url = node.run([str(VIPCTL), f"--socket={node.socket}", "dashboard"]).stdout.strip()
    assert url == "http://127.0.0.1:62080/"
    with Browser(tmp_path, node.netns) as b:
        b.size(1440, 1000)
        b.open(url)
        check_content(b)
        b.screenshot(results / "page-light.png")
        b.run(f"{ROW}.find(r => r.innerText.includes('frontend')).click()")
        b.wait("document.querySelectorAll('tr.detail table tr').length == 10")
        assert "unhealthy" in b.run("document.querySelector('tr.detail').innerText")
        b.screenshot(results / "page-dark.png", dark=True)
        check_keys(b)
        check_updates(overlay, b)
        b.size(760, 900)
        b.screenshot(results / "page-narrow.png")
        assert b.run("document.documentElement.scrollWidth <= innerWidth"), "it fits a narrow window"
        assert b.complaints == [] and b.failed == []
        b.size(1440, 1000)
        check_gone(overlay, b, results)


def check_content(b):
    b.wait(f"{ROW}.length == 11")
    assert b.run("document.title") == "vipd 10.9.0.1" and b.run("document.getElementById('state').innerText") == "live"
    text = b.run("document.body.innerText")
    assert "redis.marathon:6379" in text and "9.9.9.9:80" in text and "12 nodes" in text
    assert b.run("document.querySelectorAll('#graph .member').length") == 12
    assert b.run("document.querySelectorAll('#graph .edge:not(.half)').length") >= 12
    assert b.run("document.querySelectorAll('#graph .member.self').length") == 1
    frontend = f"{ROW}.find(r => r.innerText.includes('frontend'))"
    assert b.run(f"{frontend}.querySelectorAll('.marks i').length") == 9
    assert b.run(f"{frontend}.querySelectorAll('.marks i.zero').length") == 1, "one is unhealthy"
    assert b.run("document.querySelectorAll('#events tr').length") > 30
    # No label reaches over the edge of the graph or onto another.
    assert b.run("""(() => { const all = [...document.querySelectorAll('#graph text')].map(t => t.getBoundingClientRect());
        const box = document.getElementById('graph').getBoundingClientRect();
        return all.every(r => r.left >= box.left && r.right <= box.right && r.top >= box.top && r.bottom <= box.bottom) &&
            all.every((p, i) => all.every((q, k) => k <= i || p.right < q.left || q.right < p.left || p.bottom < q.top || q.bottom < p.top)); })()""")


def check_keys(b):
    """The keyboard alone: filter, move, open, leave."""
    b.press("Escape")
    b.wait("document.querySelectorAll('tr.detail').length == 0")
    b.press("/", "/")
    b.type("shop")
    b.wait(f"{NAMES}.split('shop').length == 4 && {ROW}.length == 3")
    assert b.run("[...document.querySelectorAll('#events tr')].every(r => r.innerText.includes('shop'))")
    b.press("Escape")
    b.press("Escape")
    b.wait(f"{ROW}.length == 11")
    b.press("ArrowDown")
    b.press("ArrowDown")
    b.press("Enter")
    b.wait("document.querySelectorAll('tr.vip')[1].getAttribute('aria-expanded') == 'true'")
    b.press("Escape")
    b.run("document.querySelector('button[data-sort=name]').click()")
    b.wait("document.querySelector('th[aria-sort=ascending]')?.innerText == 'VIP'")


def check_updates(overlay, b):
    """Without a hand: another document, a node that dies."""
    overlay.write_document(tasks(overlay, APPS[:-1] + [("/brand-new:81", 2)]))
    b.wait(f"{NAMES}.includes('brand-new.marathon:81') && !{NAMES}.includes('mail')")
    assert "vip-added brand-new.marathon:81" in b.run("document.getElementById('events').innerText")
    lost = overlay.nodes[7]
    overlay.delete_namespace(lost)
    b.wait("document.querySelectorAll('#graph .member.down').length == 1")
    b.wait("document.getElementById('tiles').innerText.includes('1 down')")
    b.wait(f"document.getElementById('events').innerText.includes('node-down {lost.address}')")
    b.wait("document.querySelectorAll('.marks i.zero, .marks i.out').length > 2")
    assert b.run(f"[...document.querySelectorAll('#graph text.down')].map(t => t.textContent).join()") == lost.address


def check_gone(overlay, b, results):
    overlay.nodes[0].stop(signal.SIGKILL)
    b.wait("document.body.classList.contains('stale')")
    assert "does not answer since" in b.run("document.getElementById('state').innerText")
    assert b.run(f"{ROW}.length") == 11, "what it said last is still there, faded"
    b.screenshot(results / "page-gone.png")
    overlay.nodes[0].start()
    b.wait("!document.body.classList.contains('stale')", timeout=20)
    b.wait(f"{ROW}.length == 11 && document.querySelectorAll('#events tr').length > 20")


@pytest.mark.overlay(nodes=1)
def test_page_is_locked(overlay, tmp_path):
    """Labels that are scripts stay text, and nothing but the page's own script may run."""
    evil = "/<img src=x onerror=document.title=1>:80"
    overlay.start(key_file="/nonexistent")
    overlay.write_document([task(overlay.nodes[0], 0, evil, BACKEND_PORT + 1),
                            {**task(overlay.nodes[0], 1, "/plain:81", BACKEND_PORT + 2), "id": "<script>document.title=2</script>"}])
    with Browser(tmp_path, overlay.nodes[0].netns) as b:
        b.open("http://127.0.0.1:62080/")
        b.wait(f"{ROW}.length == 3")
        assert "The overlay is off: " in b.run("document.getElementById('graph-empty').innerText")
        b.run(f"{ROW}.find(r => r.innerText.includes('plain')).click()")
        b.wait("document.body.innerText.includes('<script>document.title=2</script>')")
        assert b.complaints == [], "nor is anything asked for that is not there"
        assert b.run("document.title").startswith("vipd ")
        b.run("""(() => { const s = document.createElement('script'); s.textContent = 'document.title = 3';
                 document.body.append(s); })()""")
        b.wait("document.title != '3' && true")
        assert any("Content Security Policy" in c for c in b.complaints)
        blocked = b.run("fetch('http://127.0.0.2:62080/v1/status').then(() => 'asked', () => 'blocked')")
        assert blocked == "blocked"
