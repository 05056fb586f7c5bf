# SPDX-License-Identifier: GPL-2.0-or-later
"""Names come after their VIP is complete in the kernel, and go before it does."""
import json
import re
import signal
import subprocess

import pytest
from cluster import says, wait_until
from test_namespaces import containers  # noqa: F401: a fixture

ZONE = "l4lb.thisdcos.directory"
SERVER = "127.0.0.61"

# Asks for a name again and again until it is told to end; prints how often which answer came.
WATCHER = r"""
import json, signal, socket, struct, sys, time
name, ended, counts = sys.argv[1], [], {}
signal.signal(signal.SIGTERM, lambda *a: ended.append(1))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.61", 53))
s.settimeout(0.5)
labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
deadline = time.monotonic() + 60
while not ended and time.monotonic() < deadline:
    try:
        s.send(struct.pack(">HHHHHH", 1, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1))
        a = s.recv(4096)
        what = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN"][a[3] & 15] + (" with address" if a[7] else "")
    except OSError:
        what = "nobody"
    if not counts:
        print("asking", flush=True)
    counts[what] = counts.get(what, 0) + 1
    time.sleep(0.002)
print(json.dumps(counts))
"""


def dig(run, name, *options, server=SERVER):
    out = run(f"dig +tries=2 +time=2 @{server} {name} {' '.join(options)}")
    return re.search(r"status: (\w+)", out)[1], re.findall(r"\sIN\s+A+\s+(\S+)$", out, re.M)


def shell(node):
    return lambda command: node.run(command).stdout


def test_host_and_container_resolve_and_reach_a_vip(cluster, containers):  # noqa: F811
    c, node = containers(1), cluster.nodes[0]
    node.start_vipd(dns_listen=f"{SERVER},172.16.1.1")
    cluster.deploy("/web", {"VIP_0": "/web:80"}, instances=2)
    cluster.wait_in_step([node])
    name = f"web.marathon.{ZONE}"
    status, addresses = dig(shell(node), name)
    assert status == "NOERROR" and len(addresses) == 1
    assert {says(a)["says"] for a in node.ask(f"{addresses[0]}:80", 4)} == {"web"}
    for how in ("", "+tcp"):
        assert dig(c.run, name, how, server="172.16.1.1") == (status, addresses)
    assert dig(c.run, f"ns.{ZONE}", server="172.16.1.1") == ("NOERROR", ["172.16.1.1"])


def routed(node, address):
    return bool(node.run(f"ip route show table local {address}").stdout)


def test_a_name_comes_after_the_last_step_of_its_vip(cluster):
    """The route, which is the last, fails at first: its source is no address of this node yet."""
    node = cluster.nodes[0]
    node.start_vipd(node_address="10.0.0.99")
    cluster.deploy("/web", {"VIP_0": "/web:80"})
    name = f"web.marathon.{ZONE}"
    wait_until(node.services, "the service is there")
    [vip] = node.services()
    address = vip.split()[1].split(":")[0]
    wait_until(lambda: node.status()["kernel"]["failing_steps"], "the route is refused")
    assert not routed(node, address)
    assert dig(shell(node), name) == ("NXDOMAIN", [])
    node.run("ip addr add 10.0.0.99/32 dev eth0")
    try:
        wait_until(lambda: dig(shell(node), name) == ("NOERROR", [address]), "the name resolves")
        assert routed(node, address)
    finally:
        node.run("ip addr del 10.0.0.99/32 dev eth0")


def test_a_name_goes_before_its_vip(cluster):
    """While the last connections drain, the VIP is in the kernel and its name is not told any more."""
    node = cluster.nodes[0]
    node.start_vipd(drain_timeout="5s")
    cluster.deploy("/web", {"VIP_0": "/web:80"})
    name = f"web.marathon.{ZONE}"
    wait_until(lambda: dig(shell(node), name)[0] == "NOERROR", "the name resolves")
    [address] = dig(shell(node), name)[1]
    stream = node.load(f"{address}:80", connections=0, streams=1)
    wait_until(lambda: sum(node.connections(f"tcp {address}:80").values()) == 1, "a connection is open")
    cluster.control("remove", app="/web")
    wait_until(lambda: dig(shell(node), name) == ("NXDOMAIN", []), "the name is gone")
    assert node.services()[f"tcp {address}:80"] and routed(node, address)
    wait_until(lambda: not node.services(), "the VIP is gone")
    assert not routed(node, address)
    stream.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_denies_no_name(cluster, how):
    """A client sees no answer, SERVFAIL, or the address; never that there is no such name."""
    node = cluster.nodes[0]
    node.start_vipd()
    cluster.deploy("/web", {"VIP_0": "/web:80"}, instances=2)
    name = f"web.marathon.{ZONE}"
    wait_until(lambda: dig(shell(node), name)[0] == "NOERROR", "the name resolves")
    watcher = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.netns}", "/usr/bin/python3", "-c", WATCHER, name],
                               text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert watcher.stdout.readline() == "asking\n"
    node.stop_vipd(how)
    node.start_vipd()
    wait_until(lambda: dig(shell(node), name)[0] == "NOERROR", "the name resolves again")
    watcher.terminate()
    counts = json.loads(watcher.communicate(timeout=30)[0])
    assert set(counts) <= {"NOERROR with address", "nobody", "SERVFAIL"} and "NOERROR with address" in counts, counts


def test_what_is_not_programmed_has_no_name(cluster):
    """Somebody else's service stands where the VIP would be."""
    node = cluster.nodes[0]
    node.start_vipd(audit_interval="500ms")
    cluster.deploy("/web", {"VIP_0": "/web:80"})
    name = f"web.marathon.{ZONE}"
    wait_until(lambda: dig(shell(node), name)[0] == "NOERROR", "the name resolves")
    [address] = dig(shell(node), name)[1]
    cluster.control("remove", app="/web")
    wait_until(lambda: dig(shell(node), name)[0] == "NXDOMAIN", "the name is gone")
    cluster.wait_backends(f"tcp {address}:80", None, [node])
    node.run(f"ipvsadm -A -t {address}:80 -s rr")
    cluster.deploy("/web", {"VIP_0": "/web:80"})
    wait_until(lambda: node.status()["kernel"]["conflicts"] == 1, "vipd sees it")
    assert dig(shell(node), name)[0] == "NXDOMAIN"
    node.run(f"ipvsadm -D -t {address}:80")
    wait_until(lambda: dig(shell(node), name)[0] == "NOERROR", "the name resolves once the VIP is there")
