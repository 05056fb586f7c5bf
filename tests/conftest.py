# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scenarios in netns/ and kernel/ share: a cluster per test, and its logs with a failure."""
import os
import pathlib
import random
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
from cluster import Cluster  # noqa: E402
from overlay import Overlay  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "overlay(nodes, **options): how many vipds without a kernel, and their options")
    config.addinivalue_line("markers", "cluster(nodes=2, **more): what the test's cluster is like")


_running = {}  # by what they are like: making one anew for each test would take most of the time


@pytest.fixture
def cluster(request):
    """A cluster of processes as new: two agents' nodes and the master's, no vipd yet."""
    marker = request.node.get_closest_marker("cluster")
    kind = {"nodes": 2, **(marker.kwargs if marker else {})}
    key = repr(sorted(kind.items()))
    if key not in _running:
        _running[key] = Cluster(**kind).__enter__()
    yield _running[key]
    try:
        _running[key].reset()
    except Exception:
        # The test has broken what a reset cannot mend; the next one gets a new cluster.
        _running.pop(key).close()


@pytest.fixture
def own_cluster():
    """One that no other test gets: for what a reset does not undo in a kernel, such as 120 s of trash."""
    with Cluster(nodes=2) as c:
        yield c


@pytest.fixture
def overlay(request):
    """Namespaces of as many nodes as the test's marker says, no vipd yet."""
    marker = request.node.get_closest_marker("overlay")
    options = {"nodes": 3, **(marker.kwargs if marker else {})}
    with Overlay(options.pop("nodes"), **options) as o:
        yield o


def pytest_sessionfinish(session):
    for c in _running.values():
        c.close()


@pytest.fixture
def rng(request):
    """Random numbers; the seed is shown with a failure (and always with pytest -s), and VIPD_SEED repeats it."""
    seed = int(os.environ.get("VIPD_SEED") or random.randrange(1 << 32))
    print(f"VIPD_SEED={seed}")
    return random.Random(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and "cluster" in getattr(item, "funcargs", {}):
        report.sections.append(("cluster logs", item.funcargs["cluster"].logs()))
    if report.failed and "own_cluster" in getattr(item, "funcargs", {}):
        report.sections.append(("cluster logs", item.funcargs["own_cluster"].logs()))
    if report.failed and "overlay" in getattr(item, "funcargs", {}):
        report.sections.append(("vipd logs", item.funcargs["overlay"].logs()))
