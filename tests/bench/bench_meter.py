#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs to look at the traffic of 10,000 VIPs with 10 backends each: a first reading of the kernel's
counters, one while nothing goes on, an audit beside them; and the answers made of them.

usage: bench_meter.py VIPD"""
import re
import subprocess
import tempfile
import time

import guest
from bench_vipd import BACKENDS, VIPS, Document, UnixConnection, Vipd


def ask(vipd, path):
    """The answer's text, and how long it took."""
    connection = UnixConnection(vipd.socket, 60)
    began = time.monotonic()
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode(), time.monotonic() - began
    finally:
        connection.close()


def figure(vipd, name):
    return float(re.search(rf"^{name} (\S+)$", ask(vipd, "/metrics")[0], re.M)[1])


def reading(vipd, number):
    """How long this one took; asks until it is made."""
    while figure(vipd, "vipd_meter_readings_total") < number:
        time.sleep(0.2)
    return figure(vipd, "vipd_meter_duration_seconds")


def main():
    guest.enter()
    subprocess.run("ip addr add 10.9.9.9/32 dev lo", shell=True, check=True)
    with tempfile.TemporaryDirectory() as directory:
        vipd = Vipd(directory, f"file:{Document(directory).path}")
        vipd.start()
        vipd.wait(lambda s: s["kernel"]["in_sync"] and s["kernel"]["services"] == VIPS)
        print(f"{VIPS} VIPs with {BACKENDS} backends each", flush=True)
        first = reading(vipd, 1)
        idle = reading(vipd, 2)
        audit = vipd.wait(lambda s: s["kernel"]["audits"] > 0)["kernel"]["last_audit_duration"]
        print(f"counters of all services and destinations: {first * 1e3:.0f} ms; when nothing has gone on since: "
              f"{idle * 1e3:.0f} ms; an audit: {audit * 1e3:.0f} ms")
        guest.verdict("idle reading, of a first one", idle / first, 0.5, at_least=False)
        for path in ("/v1/top", "/v1/top?limit=100&backends=50", "/metrics"):
            best, size = min((t, len(text)) for text, t in (ask(vipd, path) for _ in range(5)))
            print(f"{path}: {best * 1e3:.1f} ms, {size} bytes")
        vipd.kill()


if __name__ == "__main__":
    main()
