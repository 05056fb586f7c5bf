# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/haproxy.cfg: HAProxy takes it, and it lets the outside in to a VIP."""
import shutil

import pytest
from cluster import REPO, says, wait_until

CONFIG = REPO / "docs" / "haproxy.cfg"


@pytest.fixture
def haproxy(cluster):
    assert shutil.which("haproxy"), "haproxy is missing: tools/deps test"
    node = cluster.nodes[0]
    node.run(["haproxy", "-c", "-f", CONFIG])
    return node.spawn("haproxy", ["haproxy", "-db", "-f", CONFIG])


def test_haproxy_lets_the_outside_in(cluster, haproxy):
    """HTTP to an IP VIP: new connections are balanced, and a backend that goes is not noticed."""
    node, outside = cluster.nodes[0], cluster.master
    node.start_vipd()
    cluster.deploy("/web", {"VIP_0": "1.2.3.4:5000"}, instances=2)
    cluster.wait_backends("tcp 1.2.3.4:5000", cluster.backends("/web"), [node])

    # The first one too: HAProxy may keep its connection, and then all others go to the other backend.
    answers = wait_until(lambda: outside.ask(f"{node.address}:80"), "HAProxy answers")
    answers += outside.ask(f"{node.address}:80", 8)
    assert len({says(a)["pid"] for a in answers}) == 2, (answers, haproxy.output())
    load = outside.load(f"{node.address}:80", new=20, connections=2, rate=20)
    cluster.scale("/web", 1)
    cluster.wait_backends("tcp 1.2.3.4:5000", cluster.backends("/web"), [node])
    report = load.stop()
    assert report["failures"]["total"] == 0, report
