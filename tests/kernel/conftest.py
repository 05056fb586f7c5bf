# SPDX-License-Identifier: GPL-2.0-or-later
import os

import pytest
from cluster import has_iptables

# Half of what they are about would be missing.
collect_ignore = [] if has_iptables() else ["test_stock.py"]


def pytest_sessionstart(session):
    if not os.path.exists("/proc/net/ip_vs"):
        pytest.exit("these scenarios need a kernel with IPVS: run `tests/run kernel`, or pytest under tools/guest",
                    returncode=4)
