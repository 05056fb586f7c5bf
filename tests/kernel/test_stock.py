# SPDX-License-Identifier: GPL-2.0-or-later
"""Where IPVS and iptables rules work together. User-Mode Linux has no iptables: the ring `stock` runs these
in Debian's own kernel.

Node 1 has a container behind it: a network namespace on a bridge, with addresses that the other nodes have
no way back to."""
import pathlib
import signal
import subprocess
import time

import pytest
from cluster import BUILD, HELLOWORLD, REPO, Node, ip, says, wait_until

VIP, VIP6 = "1.2.3.4:5000", "[fd01:d::1]:80"
CONTAINER, CONTAINER6 = "172.18.0.2", "fd00:bb::2"
AUDIT = {"audit_interval": "1s"}


def iptables(node, rules):
    """Rules of both families, as iptables and ip6tables take them."""
    node.run("set -e\n" + "\n".join(f"iptables {r}\nip6tables {r}" for r in rules))


def rule_lines(node):
    """The nat and filter tables' rules, without counters."""
    text = "".join(node.run(f"{save} -t {t}").stdout for save in ("iptables-save", "ip6tables-save")
                   for t in ("nat", "filter"))
    return sorted(l for l in text.splitlines() if l.startswith("-A"))


def foreign_rules(node):
    return [l for l in rule_lines(node) if "VIPD" not in l]


@pytest.fixture
def container(cluster):
    """The container, as a node in which things can be run."""
    node = cluster.nodes[0]
    c = Node(cluster, "container", 99)
    ip([f"netns add {c.netns}"])
    ip(["link add br-ctr type bridge forward_delay 0", f"link add ctr0 type veth peer name eth0 netns {c.netns}",
        "link set ctr0 master br-ctr up", "link set br-ctr up", "addr add 172.18.0.1/24 dev br-ctr",
        "addr add fd00:bb::1/64 dev br-ctr nodad"], node.netns)
    ip(["link set lo up", "link set eth0 up", f"addr add {CONTAINER}/24 dev eth0",
        f"addr add {CONTAINER6}/64 dev eth0 nodad", "route add default via 172.18.0.1",
        "route add default via fd00:bb::1"], c.netns)
    node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    c.spawn("in-container", [HELLOWORLD, "-listen", ":8080", "-host", CONTAINER, "-say-string", "container"])
    yield c
    ip([f"netns del {c.netns}"])
    node.run("ip link del br-ctr; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    c.dir.rmdir()


@pytest.fixture
def host_daemons(cluster):
    """sshd, and one for each port of a VIP, on all addresses of node 1."""
    cluster.nodes[0].spawn("host-daemons", ["/usr/bin/python3", REPO / "tests" / "lib" / "probe.py", 22, 80])
    wait_until(lambda: ":22 " in cluster.nodes[0].run("ss -Hltn").stdout, "they listen")


def start(cluster):
    """vipd on node 1, and a VIP of each family whose backends are on node 2."""
    node, far = cluster.nodes
    node.start_vipd(wait=False, **AUDIT)
    cluster.deploy("/web", {"VIP_0": VIP}, instances=2, agents=[far.address])
    cluster.deploy("/six", {"VIP_0": VIP6}, network="container", families=[6], agents=[far.address])
    cluster.wait_backends(f"tcp {VIP}", cluster.backends("/web"), [node])
    wait_until(lambda: f"tcp {VIP6}" in node.services(), "the VIP of IPv6 is there")
    cluster.wait_in_step([node])
    wait_until(lambda: node.status()["firewall"]["ok"], "the rules are in place")
    return node


def test_a_container_behind_the_node_reaches_a_vip_on_another_node(cluster, container):
    node = start(cluster)
    far_pids = {t["pid"] for t in cluster.tasks("/web")}
    assert {says(a)["pid"] for a in container.ask(VIP, 4)} == far_pids
    assert len(container.ask(VIP6, 2)) == 2
    # A VIP whose only backend is the container that asks: it would answer itself past the node.
    cluster.deploy("/self", {"VIP_0": "1.2.3.5:80"}, network="container", address=CONTAINER, command=False,
                   agents=[node.address], ports=[{"name": "http", "protocol": "tcp", "container_port": 8080,
                                                  "labels": {"VIP_0": "1.2.3.5:80"}}])
    cluster.wait_backends("tcp 1.2.3.5:80", {f"{CONTAINER}:8080"}, [node])
    cluster.wait_in_step([node])
    assert {says(a)["says"] for a in container.ask("1.2.3.5:80", 2) + node.ask("1.2.3.5:80", 2)} == {"container"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_host_port_does_not_capture_the_vip(cluster, container, when):
    """The port of a VIP is mapped to the container as CNI's portmap does: for all local addresses."""
    capture = [f"-t nat -{'I' if when == 'after' else 'A'} {chain} -m addrtype --dst-type LOCAL -p tcp --dport 5000 "
               f"-j DNAT --to {CONTAINER}:8080" for chain in ("OUTPUT", "PREROUTING")]
    node = cluster.nodes[0]
    commands = "set -e\n" + "\n".join(f"iptables {c}" for c in capture)
    if when == "before":
        node.run(commands)
    start(cluster)
    if when == "after":
        node.run(commands)
        wait_until(lambda: all("VIPD" in node.run(f"iptables -t nat -S {chain}").stdout.splitlines()[1]
                               for chain in ("OUTPUT", "PREROUTING")), "its jumps are first again, in both chains")
        wait_until(lambda: node.status()["firewall"]["repairs"] >= 1, "the repair is counted")
    far_pids = {t["pid"] for t in cluster.tasks("/web")}
    assert {says(a)["pid"] for a in node.ask(VIP, 4) + container.ask(VIP, 4)} == far_pids
    # The mapping itself works on.
    assert {says(a)["says"] for a in cluster.master.ask(f"{node.address}:5000", 1) +
            node.ask(f"{node.address}:5000", 1)} == {"container"}
    assert len([l for l in foreign_rules(node) if "DNAT" in l]) == 2


def test_the_hosts_own_services_are_not_under_a_vip(cluster, container, host_daemons):
    node = start(cluster)
    for who in (node, container):
        for target in ("1.2.3.4:22", "[fd01:d::1]:22", "1.2.3.4:80"):
            began = time.monotonic()
            assert who.connect_error(target) == "refused", f"{who.name} to {target}"
            assert time.monotonic() - began < 5
    # They are where they were, and the VIPs and pings work.
    assert node.connect_error("10.0.0.11:22") is None
    node.ask(VIP, 1)
    for who in (node, container):
        who.run("ping -c 1 -W 2 1.2.3.4")
        who.run("ping -c 1 -W 2 fd01:d::1")
    # A datagram to no VIP's port is refused as well, not swallowed.
    refused = node.run(["/usr/bin/python3", "-c", """
import socket
for family, address in ((socket.AF_INET, "1.2.3.4"), (socket.AF_INET6, "fd01:d::1")):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(3)
    s.connect((address, 53))
    s.send(b"x")
    try:
        s.recv(10)
    except ConnectionRefusedError:
        print("refused")
"""])
    assert refused.stdout.split() == ["refused"] * 2


def test_rules_removed_by_hand_are_repaired(cluster):
    node = start(cluster)
    whole, repairs = rule_lines(node), 0
    assert len([l for l in whole if "VIPD" in l]) == 26, whole
    for damage in [
        ["-t nat -F", "-t nat -X", "-F VIPD-INPUT"],
        ["-D INPUT -j VIPD-INPUT"],
        ["-I INPUT -p tcp --dport 9 -j ACCEPT", "-A INPUT -j VIPD-INPUT"],
    ]:
        iptables(node, damage)
        wait_until(lambda: node.status()["firewall"]["repairs"] >= repairs + 2, f"repaired and counted: {damage}")
        repairs = node.status()["firewall"]["repairs"]
        # A check that ran between two of the commands counts too, so the rules may come a check later.
        wait_until(lambda: [l for l in rule_lines(node) if "VIPD" in l] == [l for l in whole if "VIPD" in l],
                   f"as they were: {damage}", 30)
        repairs = node.status()["firewall"]["repairs"]
    assert len([l for l in foreign_rules(node) if "--dport 9 " in l]) == 2
    # All at once, sets too, which only works without rules. The rules need the sets.
    node.run("for i in iptables ip6tables; do $i -t nat -F; $i -t nat -X; $i -F; $i -X; done; "
             "ipset destroy; ip link del vipd0; ipvsadm -C")
    began = time.monotonic()
    wait_until(lambda: [l for l in rule_lines(node) if "VIPD" in l] == [l for l in whole if "VIPD" in l] and
               node.status()["firewall"]["ok"], "all is in place again", 30)
    wait_until(lambda: node.diff() == "", "in step")
    print(f"all repaired after {time.monotonic() - began:.1f} s")
    node.ask(VIP, 2)


def test_flush_leaves_the_rules_of_others(cluster):
    node = cluster.nodes[0]
    iptables(node, ["-t nat -A PREROUTING -p tcp --dport 81 -j REDIRECT --to-ports 82", "-N OTHER", "-A OTHER -j ACCEPT",
                    "-A INPUT -p tcp --dport 83 -j OTHER", "-A INPUT -j ACCEPT"])
    before = rule_lines(node)
    start(cluster)
    assert foreign_rules(node) == before
    assert node.vipctl("flush", json=False).returncode == 0
    assert rule_lines(node) == before
    assert "vipd" not in node.run("ipset list -n; ip -o link").stdout and node.services() == {}
    # And a vipd that is killed and started leaves one set of rules, not two.
    for how in (signal.SIGKILL, signal.SIGTERM):
        node.stop_vipd(how)
        node.start_vipd(**AUDIT)
        cluster.wait_in_step([node])
        wait_until(lambda: node.status()["firewall"]["ok"], "the rules are in place")
        assert foreign_rules(node) == before
        assert sum("-j VIPD-INPUT" in l for l in rule_lines(node)) == 2


def test_a_full_conntrack_table_is_named(cluster):
    """Here connections are tracked, for vipd's rules masquerade: those to the master are enough."""
    node = cluster.nodes[0]
    maximum = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_max")
    before = maximum.read_text()
    node.start_vipd()

    def full():
        count = int(node.run("cat /proc/sys/net/netfilter/nf_conntrack_count").stdout)
        if count:
            maximum.write_text(str(count))
        return count
    try:
        wait_until(full, "connections are tracked")
        [f] = [f for f in node.vipctl("doctor")["findings"] if f["check"] == "conntrack"]
        assert f["severity"] == "error" and "table is full" in f["text"], f
        assert "nf_conntrack_max = " in f["evidence"] and "sysctl -w" in f["mend"], f
    finally:
        maximum.write_text(before)


def test_what_the_kernel_does_with_commands():
    """test_programming.c in this kernel as well; with several processors it has one test more."""
    done = subprocess.run(["unshare", "--net", BUILD / "tests" / "kernel" / "test_programming"], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200)
    assert done.returncode == 0, done.stdout
