#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""New connections per second and throughput from a node to three backends on other nodes: directly, by way of a VIP
that vipd has programmed, of an nftables DNAT map, and of HAProxy in TCP mode on the node itself.

Each way has a node of its own, so that none pays for another's hooks. Where the kernel has iptables there are three
VIPs: with rules=no, which is what IPVS itself costs; with masquerade=no; and with the default settings. In the
latter each connection has an entry in connection tracking, which masquerading and stateful firewalls need, as with
nftables' DNAT, and one in IPVS besides: so that one is not to be far ahead of nftables.

The ways are taken in turns for many short rounds, and a ratio is the median of the rounds' own ratios, so that what
else happens on the machine hits both sides alike. Everything, both ends included, runs on one machine's processors: the figures say what a connection or
a byte costs as a whole, and the ratios are milder than those of the ways alone.

usage: bench_traffic.py BENCH_TRAFFIC [--stock]"""
import os
import statistics
import sys

import guest

sys.path.insert(0, str(guest.REPO / "tests" / "lib"))
ROUNDS = int(os.environ.get("VIPD_BENCH_ROUNDS") or 15)
SECONDS = 0.4
PORT = 5000
VIP, DNAT, PROXY = f"1.2.3.4:{PORT}", f"1.2.3.5:{PORT}", f"127.0.0.1:{PORT}"

HAPROXY = """
global
  maxconn 20000
defaults
  mode tcp
  option splice-auto
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen bench
  bind {proxy}
  balance leastconn
{servers}
"""

NFTABLES = """
table ip bench {{
  chain output {{
    type nat hook output priority -100;
    ip daddr {address} tcp dport {port} dnat to numgen random mod {n} map {{ {backends} }}
  }}
}}
"""


def start_vipd(cluster, node, backends, **options):
    from paper import Backend, Paper
    paper = Paper(node.dir / "tasks.json")
    paper.set_app("/bench", {"VIP_0": VIP}, [Backend(b.address, PORT) for b in backends])
    paper.write()
    node.start_vipd(masters=None, source=paper.source, **options)
    cluster.wait_backends(f"tcp {VIP}", {f"{b.address}:{PORT}" for b in backends}, [node])
    cluster.wait_in_step([node])


def start_nftables(node, backends):
    rules = NFTABLES.format(address=DNAT.split(":")[0], port=PORT, n=len(backends),
                            backends=", ".join(f"{i} : {b.address}" for i, b in enumerate(backends)))
    return node.run(["nft", "-f", "-"], input=rules, check=False).returncode == 0


def start_haproxy(cluster, node, backends):
    from cluster import wait_until
    config = cluster.dir / "haproxy.cfg"
    config.write_text(HAPROXY.format(proxy=PROXY, servers="\n".join(
        f"  server {b.name} {b.address}:{PORT}" for b in backends)))
    node.spawn("haproxy", ["haproxy", "-db", "-f", config])
    wait_until(lambda: f"{PROXY} " in node.run("ss -Hltn").stdout, "haproxy listens")


def prepare(cluster):
    """Servers, and the ways to them: {name: (the client's node, its target)}."""
    from cluster import has_iptables, wait_until
    direct, vip, vip_lean, vip_default, nftables, haproxy, *backends = cluster.nodes
    for b in backends:
        b.spawn(f"server-{b.name}", [sys.argv[1], "serve", PORT])
        wait_until(lambda b=b: f":{PORT} " in b.run("ss -Hltn").stdout, "the server listens")
    for node in cluster.nodes[:6]:
        # A closed loop of short connections uses up the ports of a source otherwise.
        node.run("sysctl -qw net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1")
    ways = {"direct": (direct, f"{backends[0].address}:{PORT}"), "VIP": (vip, VIP)}
    start_vipd(cluster, vip, backends, rules="no")
    if has_iptables():
        for way, node, options in (("VIP, no masquerade", vip_lean, {"masquerade": "no"}), ("VIP, default", vip_default, {})):
            start_vipd(cluster, node, backends, **options)
            wait_until(lambda node=node: node.status()["firewall"]["ok"], "the rules are in place")
            ways[way] = (node, VIP)
    if start_nftables(nftables, backends):
        ways["nftables"] = (nftables, DNAT)
    else:
        print("nftables: this kernel has not its IPv4 tables (meson test --benchmark traffic-stock)")
    start_haproxy(cluster, haproxy, backends)
    ways["HAProxy"] = (haproxy, PROXY)
    return ways


def measure(ways, how):
    """The rates per second of each way, round by round."""
    rates = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, (node, target) in ways.items():
            rates[way].append(float(node.run([sys.argv[1], how, target, SECONDS]).stdout))
    return rates


def ratio(ours, theirs):
    return statistics.median(a / b for a, b in zip(ours, theirs))


def report(ways):
    connects, bytes_ = measure(ways, "connect"), measure(ways, "stream")
    for way in ways:
        print(f"{way:18} {statistics.median(connects[way]):8.0f} new connections/s "
              f"{statistics.median(bytes_[way]) / 1e6:8.1f} MB/s   "
              f"{ratio(connects[way], connects['direct']):.2f} and {ratio(bytes_[way], bytes_['direct']):.2f} of direct")
    for vip in [way for way in ways if way.startswith("VIP")]:
        guest.verdict(f"throughput of the {vip} against direct", ratio(bytes_[vip], bytes_["direct"]), 0.95)
        for other in ("nftables", "HAProxy"):
            if other in ways:
                guest.verdict(f"new connections of the {vip} against {other}", ratio(connects[vip], connects[other]), 1)


def main():
    guest.enter("stock" if "--stock" in sys.argv else None, timeout=900)
    from cluster import Cluster
    sys.argv[1] = os.path.abspath(sys.argv[1])
    with Cluster(nodes=9) as cluster:
        ways = prepare(cluster)
        print(f"kernel {os.uname().release}, {os.cpu_count()} processors")
        report(ways)


if __name__ == "__main__":
    main()
