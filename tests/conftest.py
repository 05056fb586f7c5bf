# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scenarios in netns/ and kernel/ share: a cluster per test, and its logs with a failure."""
import os
import pathlib
import random
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
from cluster import Cluster  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "cluster(nodes=2, **more): what the test's cluster is like")


@pytest.fixture
def cluster(request):
    """A running cluster of processes: two agents' nodes and the master's, no vipd yet."""
    marker = request.node.get_closest_marker("cluster")
    with Cluster(**{"nodes": 2, **(marker.kwargs if marker else {})}) as c:
        yield c


@pytest.fixture
def rng(request):
    """Random numbers; the seed is shown with a failure, and VIPD_SEED repeats it."""
    seed = int(os.environ.get("VIPD_SEED") or random.randrange(1 << 32))
    request.node.add_report_section("call", "seed", f"VIPD_SEED={seed}")
    return random.Random(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and "cluster" in getattr(item, "funcargs", {}):
        report.sections.append(("cluster logs", item.funcargs["cluster"].logs()))
