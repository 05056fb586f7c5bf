# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package on a Debian with systemd: installed as docs/install.md says, run in the sandbox of
its unit, upgraded under load, purged.

The machine is a node of a cluster whose other nodes have none; its master and its tasks are stand-ins."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from cluster import MASTER, REPO, Cluster, Failure, has_iptables, wait_until
from machine import Machine

PACKAGES = pathlib.Path(os.environ["VIPD_PACKAGES"])
CAPABILITIES = {10: "net_bind_service", 12: "net_admin", 13: "net_raw"}
VIP = "1.2.3.4:5000"
CONFIG = "[vipd]\nmasters = %s\npoll_interval = 200ms\n"
# What a newly started vipd may take, in a guest on a busy machine.
PATIENCE = 30


@pytest.fixture(scope="module")
def cluster():
    with Cluster(nodes=2) as c:
        c.deploy("/web", {"VIP_0": "/web:80", "VIP_1": VIP}, instances=2)
        yield c


@pytest.fixture(scope="module")
def bare(cluster):
    """The machine, with nothing of vipd in it unless a test has installed it."""
    with Machine(cluster.nodes[0], os.environ["VIPD_ROOT"]) as m:
        for name in ("first", "second"):
            m.path(f"/root/{name}.deb").write_bytes((PACKAGES / f"{name}.deb").read_bytes())
        # As the guide has it.
        shutil.copy(m.path("/root/first.deb"), m.path("/root/vipd_0.1.0_amd64.deb"))
        m.before = everything(m), m.node.kernel_state()
        yield m


@pytest.fixture
def machine(bare):
    """The machine with vipd installed, configured and running."""
    if bare.run("dpkg -s vipd", check=False).returncode:
        install(bare, "first")
    if not bare.path("/etc/vipd/vipd.conf").exists():
        configure(bare)
    bare.run("systemctl start vipd")
    wait_until(lambda: vip_answers(bare), "the VIP answers", PATIENCE)
    return bare


def guide(page, section):
    """What the operator's guide types in a section: (command, the lines typed after it), of each root's
    prompt."""
    text = (REPO / "docs" / page).read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        for command in re.split(r"^# ", block, flags=re.M)[1:]:
            first, *typed = command.splitlines(keepends=True)
            yield first.rstrip(), "".join(typed)


def follow(machine, page, section):
    """Types what the guide says. A status of 1 of vipctl is an answer: what is not well is looked at by the
    tests. Beside it a guest without iptables needs to be told, and the table takes a moment."""
    n = 0
    for command, typed in guide(page, section):
        done = machine.run(f"cd /root; {command}", check=False, timeout=120, input=typed)
        assert done.returncode == 0 or (command.startswith("vipctl") and done.returncode == 1), \
            f"{command}: {done.stdout}{done.stderr}"
        if "/etc/vipd/vipd.conf" in command and not has_iptables():
            machine.run("grep -q ^rules /etc/vipd/vipd.conf || echo rules = no >>/etc/vipd/vipd.conf")
        if command in ("systemctl start vipd", "systemctl restart vipd"):
            wait_until(lambda: json.loads(machine.run("vipctl status --json", check=False).stdout)["table"]["known"],
                       "vipd has a table", PATIENCE)
        n += 1
    assert n > 1, f"{page} has no such section any more, or no commands: {section}"


def install(machine, name):
    machine.run(f"dpkg -i /root/{name}.deb", timeout=120)


def configure(machine, more="", master="http://10.0.0.1:5050"):
    machine.run("[ -e /etc/vipd/key ] || (umask 077; vipctl keygen >/etc/vipd/key)")
    # User-Mode Linux has none.
    machine.path("/etc/vipd/vipd.conf").write_text(CONFIG % master + more + ("" if has_iptables() else "rules = no\n"))


def vip_answers(machine):
    try:
        return machine.node.ask(VIP, timeout=1)
    except Failure:
        return False


def pid(machine):
    """vipd's, as the machine counts; 0 if it does not run."""
    return int(machine.show("vipd", "MainPID"))


def proc_status(machine):
    return dict(re.findall(r"^(\w+):\s*(.*)$", machine.run(f"cat /proc/{pid(machine)}/status").stdout, re.M))


def wait_restarted(machine, before):
    def restarted():
        now = pid(machine)
        return now not in (0, before) and machine.show("vipd", "ActiveState") == "active" and now
    return wait_until(restarted, "systemd has started vipd anew", PATIENCE, 0.2)


def load_of(machine):
    """Clients of the VIP on the machine: of all kinds, and enough that each connection matters."""
    return machine.node.load(VIP, new=50, connections=4, streams=4, rate=200)


def assert_unhurt(report):
    assert report["failures"]["total"] == 0 and report["streams"]["open"] == 4, report
    assert report["requests"]["answered"] > 100, report


def everything(machine):
    """All files of the machine that do not belong to the moment."""
    passing = ("/run", "/tmp", "/root", "/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/var/log",
               "/var/tmp")
    return set(machine.run("find / -xdev " + " ".join(f"! -path '{p}/*'" for p in passing)).stdout.splitlines())


def test_lintian_has_nothing_to_say():
    assert (PACKAGES / "lintian").read_text() == ""


def test_installed_it_waits_for_a_configuration(bare):
    install(bare, "first")
    assert bare.show("vipd", "ActiveState") == "inactive" and bare.show("vipd", "ConditionResult") == "no"
    assert bare.run("systemctl is-enabled vipd").stdout.strip() == "enabled"
    checked = bare.run("vipd --check-config", check=False)
    assert checked.returncode == 2 and "/etc/vipd/vipd.conf does not exist" in checked.stderr


def test_the_guide_leads_to_the_first_vip(bare):
    follow(bare, "install.md", "On each node")
    follow(bare, "install.md", "The first VIP")
    follow(bare, "install.md", "The overlay")
    assert vip_answers(bare) and "1.2.3.4" in bare.run("vipctl vips").stdout
    assert "10.0.0.11" in bare.run("vipctl members").stdout


def test_the_guide_can_be_read_there(machine):
    pages = [p.relative_to(REPO) for p in (REPO / "docs").glob("*.md")]
    assert pages
    machine.run("head -q -n1 " + " ".join(f"/usr/share/doc/vipd/{p}" for p in ("README.md", *pages)))


def test_the_example_is_a_configuration(machine):
    example = "/usr/share/doc/vipd/examples/vipd.conf"
    machine.run(f"sed 's|^#masters =.*|masters = http://10.0.0.1:5050|' {example} >/tmp/vipd.conf")
    assert "masters = http://10.0.0.1:5050" in machine.run("vipd --config=/tmp/vipd.conf --check-config").stdout


def test_it_has_the_rights_that_it_needs_and_no_others(machine):
    status = proc_status(machine)
    bounding = int(status["CapBnd"], 16)
    assert {n for n in range(64) if bounding >> n & 1} == set(CAPABILITIES)
    assert status["CapEff"] == status["CapBnd"] and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    # It can do with these all that it has to.
    journal = machine.journal("vipd")
    assert "sysctl net.ipv4.vs.expire_nodest_conn: 1" in journal or \
        machine.run("cat /proc/sys/net/ipv4/vs/expire_nodest_conn").stdout == "1\n"
    assert "not permitted" not in journal and "Read-only" not in journal and "firewall: " not in journal, journal
    assert not has_iptables() or "VIPD" in machine.run("iptables-save").stdout
    assert machine.run("vipctl diff", check=False).returncode == 0


def test_its_exposure_is_what_the_guide_says(machine):
    rated = machine.run("systemd-analyze security --offline=yes /lib/systemd/system/vipd.service").stdout
    exposure = re.search(r"Overall exposure level for vipd.service: ([0-9.]+)", rated)[1]
    assert f"rates its exposure {exposure} " in (REPO / "docs" / "security.md").read_text()


def test_logs_have_priorities(machine):
    started = machine.run("journalctl -u vipd -p notice -o cat _PID=$(systemctl show -P MainPID vipd)").stdout
    assert re.search(r"^vipd \S+ started", started, re.M) and "<5>" not in started


def test_the_overlay_runs_ahead_of_others(machine):
    before = pid(machine)
    machine.run("systemctl restart vipd")
    now = wait_restarted(machine, before)
    policies = wait_until(lambda: (lambda p: "RR" in p and p)(
        machine.run(f"ps -L -o cls= -p {now}").stdout.split()), "the overlay's thread is a real-time one")
    assert policies.count("RR") == 1 and machine.run("vipctl members").stdout.count("10.0.0.11")


def test_reload(machine):
    before = pid(machine)
    configure(machine, "drain_timeout = 7s\n")
    machine.run("systemctl reload vipd")
    wait_until(lambda: "reload: done" in machine.journal("vipd"), "the journal tells of the reload")
    assert pid(machine) == before and machine.show("vipd", "ActiveState") == "active"
    machine.path("/etc/vipd/vipd.conf").write_text("[vipd]\nnonsense = 1\n")
    machine.run("systemctl reload vipd")
    wait_until(lambda: "nothing was changed" in machine.journal("vipd"), "a bad configuration is refused")
    assert pid(machine) == before and vip_answers(machine)
    configure(machine)


def test_a_bad_configuration_does_not_start_again_and_again(machine):
    machine.run("systemctl stop vipd")
    machine.path("/etc/vipd/vipd.conf").write_text("[vipd]\nnonsense = 1\n")
    assert machine.run("systemctl start vipd", check=False).returncode != 0
    assert machine.show("vipd", "NRestarts") == "0" and machine.show("vipd", "ActiveState") == "failed"
    assert "/etc/vipd/vipd.conf:2: " in machine.journal("vipd")
    configure(machine)
    machine.run("systemctl start vipd")


def test_stopped_it_leaves_the_kernel_forwarding(machine):
    machine.run("systemctl stop vipd")
    assert vip_answers(machine)
    assert not machine.path("/run/vipd").exists() and machine.path("/var/lib/vipd").is_dir()
    machine.run("systemctl start vipd")


def test_a_master_by_https(machine):
    """TLS in the sandbox too."""
    where = machine.node.cluster.dir
    subprocess.run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=master "
                   "-addext subjectAltName=IP:10.0.0.1 -keyout tls.key -out tls.crt && cat tls.crt tls.key >tls.pem",
                   shell=True, cwd=where, check=True, capture_output=True)
    machine.node.cluster.master.spawn("https", ["/usr/bin/python3", MASTER, "--listen", "10.0.0.1:5443",
                                                "--cert", where / "tls.pem"])
    machine.path("/etc/vipd/ca.pem").write_bytes((where / "tls.crt").read_bytes())
    configure(machine, "tls_ca = /etc/vipd/ca.pem\n", "https://10.0.0.1:5443")
    machine.run("systemctl restart vipd")

    def status():
        return json.loads(machine.run("vipctl status --json", check=False).stdout)
    wait_until(lambda: status()["source"]["ok"] and status()["table"]["known"], "a document has come", PATIENCE)
    configure(machine)
    machine.run("systemctl restart vipd")


def test_killed_it_comes_back(machine):
    load = load_of(machine)
    before = pid(machine)
    machine.run(f"kill -KILL {before}")
    wait_restarted(machine, before)
    wait_until(lambda: machine.run("vipctl diff", check=False).returncode == 0, "it is in step again")
    assert_unhurt(load.stop())


def test_hanging_it_is_replaced(machine):
    assert machine.show("vipd", "WatchdogUSec") == "30s"
    machine.run("mkdir -p /run/systemd/system/vipd.service.d && cd /run/systemd/system/vipd.service.d && "
                "printf '[Service]\\nWatchdogSec=2s\\nTimeoutAbortSec=2s\\n' >quick.conf && systemctl daemon-reload && "
                "systemctl restart vipd")
    before = pid(machine)
    time.sleep(3)
    assert pid(machine) == before, "the watchdog is fed"
    load = load_of(machine)
    machine.run(f"kill -STOP {before}")
    wait_restarted(machine, before)
    assert_unhurt(load.stop())
    assert "Watchdog timeout" in machine.journal("vipd")
    machine.run("rm -r /run/systemd/system/vipd.service.d && systemctl daemon-reload && systemctl restart vipd")


def test_containers_with_the_drop_in(machine):
    """A container of another user, by its process; and a namespace that is bound to a path."""
    machine.run("mkdir -p /run/dcos/cni/l4lb && ip netns add late && ip -n late link set lo up")
    machine.run("systemd-run --unit=container --property=PrivateNetwork=yes --uid=daemon sleep infinity")
    main = machine.show("container", "MainPID")
    machine.path("/run/dcos/cni/l4lb/by-process").write_text(f"/proc/{main}/ns/net")
    machine.path("/run/dcos/cni/l4lb/by-path").write_text("/run/netns/late")
    refused = wait_until(lambda: "Operation not permitted" in namespaces(machine) and namespaces(machine),
                         "vipctl tells that vipd may not go in")
    machine.run("mkdir -p /etc/systemd/system/vipd.service.d && cp /usr/share/doc/vipd/examples/"
                "container-namespaces.conf /etc/systemd/system/vipd.service.d/ && systemctl daemon-reload && "
                "systemctl restart vipd")
    for where in ("ip netns exec late", f"nsenter --net=/proc/{main}/ns/net"):
        wait_until(lambda: "1.2.3.4" in machine.run(f"{where} ip route show table local").stdout,
                   f"the container's namespace has the VIP's route ({where}); before: {refused}; "
                   f"now: {namespaces(machine)}", PATIENCE)
    machine.run("rm -r /etc/systemd/system/vipd.service.d /run/dcos; systemctl stop container; ip netns del late; "
                "systemctl daemon-reload; systemctl restart vipd")


def namespaces(machine):
    return machine.run("vipctl namespaces", check=False).stdout


def test_moved_from_dcos_l4lb_as_the_guide_says(machine):
    """What dcos-l4lb leaves behind stands in vipd's way until it is taken away."""
    machine.run("vipctl flush; systemctl stop vipd; rm /etc/vipd/vipd.conf")
    machine.path("/etc/systemd/system/dcos-net.service").write_text(
        "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    machine.run("systemctl daemon-reload; systemctl enable --now dcos-net; ip link add minuteman type dummy; "
                "ip link set minuteman up; ip addr add 1.2.3.4/32 dev minuteman; "
                "ipset create dcos-l4lb hash:ip,port counters; "
                "ipset create dcos-l4lb-ipv6 hash:ip,port family inet6 counters; ipvsadm -A -t 1.2.3.4:5000 -s wlc")
    if has_iptables():
        machine.run('for c in OUTPUT PREROUTING; do iptables -t nat -I $c -m set --match-set dcos-l4lb dst,dst '
                    '-m comment --comment "Skip DC/OS L4LB traffic" -j RETURN; done')
    follow(machine, "migration.md", "Before: look, without touching")
    assert machine.node.services() == {"tcp 1.2.3.4:5000": {}}, "vipd has touched nothing"
    follow(machine, "migration.md", "The change, node by node")
    wait_until(lambda: vip_answers(machine), "vipd has taken over", PATIENCE)
    assert machine.run("vipctl diff").stdout == "" and "dcos" not in machine.run("ipset list -n").stdout
    machine.run("rm /etc/systemd/system/dcos-net.service; systemctl daemon-reload")
    configure(machine)
    machine.run("systemctl restart vipd")


def test_upgraded_under_load(machine):
    version = machine.run("dpkg-query -W -f '${Version}' vipd").stdout
    before, ipvs = pid(machine), machine.node.services()
    load = load_of(machine)
    install(machine, "second")
    wait_restarted(machine, before)
    wait_until(lambda: machine.run("vipctl diff", check=False).returncode == 0, "it is in step again")
    assert_unhurt(load.stop())
    assert machine.run("dpkg-query -W -f '${Version}' vipd").stdout == version + "+next"
    assert machine.node.services() == ipvs


def test_removed_and_purged(machine):
    """Last, as it takes away what the others use."""
    files, kernel = machine.before
    assert machine.path("/etc/vipd/key").exists() and machine.path("/var/lib/vipd/node").exists()
    machine.run("dpkg --remove vipd", timeout=120)
    after = machine.node.kernel_state()
    for what in ("ipvs", "set", "route", "route6", "link"):
        assert after[what] == kernel[what], what
    assert not has_iptables() or "VIPD" not in machine.run("iptables-save; ip6tables-save").stdout
    assert machine.path("/etc/vipd/key").exists()
    machine.run("dpkg --purge vipd", timeout=120)
    assert everything(machine) - files == set()
    assert machine.run("systemctl --failed --no-legend").stdout == ""
