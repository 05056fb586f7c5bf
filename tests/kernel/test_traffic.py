# SPDX-License-Identifier: GPL-2.0-or-later
"""What went through a VIP: counted by the kernel, shown by /v1/top, vipctl top and /metrics alike."""
import json
import re

from cluster import wait_until
from port import get

VIP = "1.2.3.4:5000"
N = 40


def row(node, path="/v1/top?backends=10"):
    return next(v for v in node.api(path)["vips"] if v["vip"] == VIP)


def counted(node):
    """The VIP's row once the kernel's counters have all N connections."""
    def all_counted():
        r = row(node)
        assert r.get("connections") == N, r.get("connections")
        return r
    return wait_until(all_counted, f"{N} connections are counted")


def test_counters_are_the_kernels(cluster):
    cluster.start_vipds([cluster.master])
    cluster.deploy("/web", {"VIP_0": VIP}, instances=3)
    cluster.deploy("/idle", {"VIP_0": "/idle:80"})
    cluster.wait_backends(f"tcp {VIP}", cluster.backends("/web"), [cluster.master])
    node = cluster.master
    assert len(node.ask(VIP, N)) == N
    top = counted(node)
    assert sum(b["connections"] for b in top["backends"]) == N
    assert all(b["connections"] > 0 and b["bytes_out"] > 0 for b in top["backends"])
    # The same by another tool.
    stats = node.run("ipvsadm -Ln --stats --exact").stdout
    kernel = {m[1]: [int(x) for x in m[2].split()] for m in re.finditer(r"->? *(\S+:\d+) +([\d ]+)", stats)}
    for b in top["backends"]:
        assert kernel[f"{b['address']}:{b['port']}"] == [
            b["connections"], b["packets_in"], b["packets_out"], b["bytes_in"], b["bytes_out"]], stats
    # vipctl, as a person runs it: the busiest first
    listing = node.vipctl("top", "--once", "--sort=bytes", json=False).stdout.splitlines()
    assert listing[0].startswith("2 of 2 VIPs, by bytes; counted")
    words = listing[3].split()
    assert words[0] == VIP and str(N) in words, listing
    assert [v["vip"] for v in node.vipctl("top", "idle")["vips"]] == ["idle.marathon.l4lb.thisdcos.directory:80"]
    # Prometheus
    text = get(node.netns, "/metrics")[2]
    assert f'vipd_vip_connections_total{{vip="{VIP}",protocol="tcp"}} {N}\n' in text
    assert len(re.findall(rf'vipd_backend_sent_bytes_total{{vip="{VIP}",protocol="tcp",backend="[^"]+"}} [1-9]', text)) == 3


def test_rates_and_connections(cluster):
    cluster.start_vipds([cluster.master])
    cluster.deploy("/web", {"VIP_0": VIP}, instances=2)
    cluster.wait_backends(f"tcp {VIP}", cluster.backends("/web"), [cluster.master])
    node = cluster.master
    load = node.load(VIP, streams=3, connections=2)

    def busy():
        r = row(node)
        assert r["active"] >= 3 and (r["connection_rate"] or 0) > 1 and r["bytes_out_rate"] > 100, json.dumps(r)
        return True
    wait_until(busy, "connections and rates are seen", interval=0.5)
    load.stop()
    wait_until(lambda: row(node)["connection_rate"] == 0, "the rate is 0 again", interval=0.5)


def test_many_vips_have_few_metrics(cluster):
    cluster.start_vipds([cluster.master], metrics_max=7)
    for i in range(4):
        cluster.deploy(f"/web{i}", {"VIP_0": f"1.2.3.{i + 1}:80"}, instances=2, command=False)
    cluster.wait_in_step([cluster.master])
    wait_until(lambda: len(cluster.master.api("/v1/table")) == 4, "all VIPs are there")
    text = wait_until(lambda: next((t for t in [get(cluster.master.netns, "/metrics")[2]]
                                    if "vipd_vips_left_out 2\n" in t), None), "two are shown, two left out")
    assert len(re.findall(r"^vipd_vip_connections_total{", text, re.M)) == 2
    assert len(re.findall(r"^vipd_backend_connections_total{", text, re.M)) == 4
