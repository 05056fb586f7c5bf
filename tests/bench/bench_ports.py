#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many new connections per second one client address can make to one VIP's port: a connection that the
client closes keeps its port in TIME_WAIT, and the range of ports is finite. docs/limits.md has the figures.

usage: bench_ports.py [SECONDS of each run at full speed]"""
import errno
import pathlib
import socket
import subprocess
import sys
import time

import guest

sys.path.insert(0, str(guest.REPO / "tests" / "lib"))
VIP = ("1.2.3.4", 5000)
DEFAULT = 60999 - 32768 + 1  # ports of the kernel's default range
RANGE = 32768, 36767  # enough to be used up quickly in a slow guest; what is measured does not depend on it
OLD_TIME_WAIT = 120   # seconds, as DC/OS' documentation counts; that makes its 235 per second


def connect_and_close(server_closes_first=False):
    with socket.create_connection(VIP, timeout=5) as s:
        if server_closes_first:
            s.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
            while s.recv(4096):
                pass


def run(seconds, server_closes_first=False):
    """Connects as fast as it can: how many there were, how long it took, and whether the ports ran out."""
    n, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            connect_and_close(server_closes_first)
        except OSError as e:
            if e.errno == errno.EADDRNOTAVAIL:
                return n, time.monotonic() - began, True
            raise
        n += 1
    return n, time.monotonic() - began, False


def until_one_works(began):
    while True:
        try:
            connect_and_close()
            return time.monotonic() - began
        except OSError as e:
            if e.errno != errno.EADDRNOTAVAIL:
                raise
        time.sleep(0.1)


def sysctl(name, value=None):
    path = pathlib.Path("/proc/sys/net/ipv4", name)
    if value is not None:
        path.write_text(f"{value}\n")
    return path.read_text().split()


def measure(seconds):
    ports = RANGE[1] - RANGE[0] + 1
    sysctl("ip_local_port_range", "%d %d" % RANGE)
    n, took, exhausted = run(seconds, server_closes_first=True)
    print(f"server closes first: {n} connections by {ports} ports, {n / took:.0f} per second, "
          f"{'then EADDRNOTAVAIL' if exhausted else 'no error'}", flush=True)
    began = time.monotonic()
    n, took, exhausted = run(60)
    print(f"client closes first, tcp_tw_reuse = {sysctl('tcp_tw_reuse')[0]} as the kernel has it: {n} connections by "
          f"{ports} ports, {n / took:.0f} per second, then {'EADDRNOTAVAIL' if exhausted else 'still no error'}", flush=True)
    if exhausted:
        wait = until_one_works(began)
        print(f"the first port is free again after {wait:.1f} s: with the default of {DEFAULT} ports {DEFAULT / wait:.0f} "
              f"new connections per second can go on for ever; {DEFAULT / OLD_TIME_WAIT:.0f} if TIME_WAIT took "
              f"{OLD_TIME_WAIT} s", flush=True)
    sysctl("tcp_tw_reuse", 1)
    time.sleep(2)
    n, took, exhausted = run(seconds)
    print(f"client closes first, tcp_tw_reuse = 1: {n} connections, {n / took:.0f} per second, "
          f"{'then EADDRNOTAVAIL' if exhausted else 'no error'}", flush=True)


def main():
    if sys.argv[1:2] == ["--inside"]:
        measure(float(sys.argv[2]))
        return
    guest.enter(timeout=300)
    from cluster import Cluster
    seconds = sys.argv[1] if len(sys.argv) > 1 else "10"
    with Cluster(nodes=1) as c:
        c.deploy("/web", {"VIP_0": "%s:%d" % VIP})
        c.master.start_vipd()
        c.wait_backends("tcp %s:%d" % VIP, c.backends("/web"), [c.master])
        subprocess.run(["nsenter", f"--net=/run/netns/{c.master.netns}", sys.executable, __file__, "--inside", seconds],
                       check=True)


if __name__ == "__main__":
    main()
