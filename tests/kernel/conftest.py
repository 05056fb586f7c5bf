# SPDX-License-Identifier: GPL-2.0-or-later
import os

import pytest


def pytest_sessionstart(session):
    if not os.path.exists("/proc/net/ip_vs"):
        pytest.exit("these scenarios need a kernel with IPVS: run `tests/run kernel`, or pytest under tools/guest",
                    returncode=4)
