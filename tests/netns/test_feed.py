# SPDX-License-Identifier: GPL-2.0-or-later
"""The way from a Mesos master to the table: events, TLS, credentials, and masters that fail. One vipd without a
kernel and stand-in masters on loopback; whatever the masters do, no VIP is withdrawn that the tasks still have."""
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest
from cluster import MASTER, VIPCTL, VIPD, Process, wait_until

sys.path.insert(0, str(MASTER.parent))
from standin_control import UnixConnection, call  # noqa: E402

VIP = "tcp 1.2.3.4:5000"


class Master:
    def __init__(self, bench, port, *options):
        self.address, self.bench = f"127.0.0.1:{port}", bench
        self.socket = bench.dir / f"master-{port}.sock"
        self.options = options
        bench.masters.append(self)
        self.start()

    def start(self):
        self.socket.unlink(missing_ok=True)
        self.process = Process("master", [sys.executable, MASTER, "--listen", self.address,
                                          "--also", f"unix:{self.socket}", *self.options],
                               self.bench.dir / "master.log")
        self.process.wait_listening(self.socket)
        self.do("agent", hostname="10.0.0.5")

    def do(self, operation, **arg):
        return call(f"unix:{self.socket}", operation, arg)

    def deploy(self, instances, **more):
        self.do("app", id="/web", instances=instances, ports=[{"labels": {"VIP_0": "1.2.3.4:5000"}}], **more)

    def tasks(self):
        return self.do("tasks")["tasks"]

    def backends(self):
        return sorted(f"{t['address']}:{t['ports'][0]}" for t in self.tasks())


class Bench:
    """A vipd, and a place for masters and files."""

    def __init__(self, directory):
        self.dir, self.masters = pathlib.Path(directory), []
        self.vipd = None

    def master(self, port=5050, *options):
        return Master(self, port, *options)

    def start(self, masters, **options):
        options = {"poll_interval": "300ms", "request_timeout": "2s", "log_level": "debug", **options}
        command = [VIPD, "--config=/dev/null", "--kernel=none", "--node-address=127.0.0.1", "--cni-dir=",
                   f"--masters={masters}", f"--socket={self.dir}/vipd.sock", f"--state-dir={self.dir}/state"]
        command += [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        self.vipd = Process("vipd", list(map(str, command)), self.dir / "vipd.log")
        self.vipd.wait_listening(self.dir / "vipd.sock")

    def get(self, path):
        connection = UnixConnection(self.dir / "vipd.sock", 10)
        try:
            connection.request("GET", path)
            return json.load(connection.getresponse())
        finally:
            connection.close()

    def source(self):
        return self.get("/v1/status")["source"]

    def table(self):
        return self.get("/v1/status")["table"]

    def backends(self):
        """Of the one VIP; none before there is a table."""
        vips = self.get("/v1/vips")
        return sorted(f"{b['ip']}:{b['port']}" for v in vips if "error" not in vips for b in v["backend"])

    def weights(self):
        return sorted(b["weight"] for v in self.get("/v1/table") for b in v["backends"])

    def wait_same(self, master):
        wait_until(lambda: self.backends() == master.backends(), "the table is the master's")

    def log(self):
        return (self.dir / "vipd.log").read_text()

    def close(self):
        for process in [self.vipd] + [m.process for m in self.masters]:
            if process:
                process.kill()


@pytest.fixture
def bench():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="vipd-feed-") as directory:
        b = Bench(directory)
        with contextlib.closing(b):
            yield b


def never_withdrawn(bench, n):
    assert "removed" not in "".join(l for l in bench.log().splitlines() if "table:" in l and "0 removed" not in l)
    assert len(bench.backends()) == n


# Events


def subscribe(bench, master, **options):
    bench.start(f"http://{master.address}", **{"mesos_api": "subscribe", "poll_interval": "1h", **options})
    wait_until(lambda: bench.source()["subscribed"], "vipd subscribes")


def test_events_become_backends(bench):
    """The whole life of a task, without one poll after the first."""
    m = bench.master()
    m.deploy(1)
    subscribe(bench, m)
    bench.wait_same(m)
    m.do("scale", app="/web", instances=3)
    bench.wait_same(m)
    assert len(bench.backends()) == 3
    task = m.tasks()[0]["id"]
    m.do("health", task=task, healthy=False)
    wait_until(lambda: bench.weights() == [0, 1, 1], "the unhealthy one has weight 0")
    m.do("health", task=task, healthy=True)
    wait_until(lambda: bench.weights() == [1, 1, 1], "it is healthy again")
    m.do("end", task=task, state="TASK_KILLING")
    wait_until(lambda: bench.weights() == [0, 1, 1], "it is being killed")
    m.do("end", task=task)
    bench.wait_same(m)
    # An agent and a framework that come later, and go.
    m.do("agent", hostname="10.0.0.6")
    m.do("app", id="/other", framework="other", agents=["10.0.0.6"], ports=[{"labels": {"VIP_0": "1.2.3.4:5000"}}])
    bench.wait_same(m)
    assert len(bench.backends()) == 3
    m.do("remove-agent", hostname="10.0.0.6")
    bench.wait_same(m)
    assert bench.source()["polls"] == 1 and m.do("polls")["total"] == 0


def test_an_event_is_in_the_table_at_once(bench):
    """200 ms to the kernel is the promise; here the table, with the time of this test's own steps."""
    m = bench.master()
    m.deploy(5)
    subscribe(bench, m)
    bench.wait_same(m)
    took = []
    for n in (6, 7, 8, 5, 9):
        m.do("scale", app="/web", instances=n)
        begun = time.monotonic()
        wait_until(lambda: len(bench.backends()) == n, "the change arrives", interval=0.002)
        took.append(time.monotonic() - begun)
    assert sorted(took)[2] < 0.2, took


def test_polls_replace_a_subscription_that_fails(bench):
    m = bench.master()
    m.deploy(2)
    m.do("stream", stream="refuse")
    bench.start(f"http://{m.address}", mesos_api="subscribe")
    bench.wait_same(m)
    assert not bench.source()["subscribed"] and "400" in bench.source()["lost"]
    m.do("scale", app="/web", instances=3)
    bench.wait_same(m)
    m.do("stream", stream="ok")
    wait_until(lambda: bench.source()["subscribed"], "vipd subscribes when it can")
    assert bench.source()["lost"] is None
    for break_it in (lambda: m.do("stream", stream="ok"), lambda: m.do("inject", text="12\n{\"a\": nonsense")):
        n = bench.source()["subscriptions"]
        break_it()
        m.do("scale", app="/web", instances=len(m.tasks()) + 1)
        bench.wait_same(m)
        wait_until(lambda: bench.source()["subscriptions"] > n and bench.source()["subscribed"], "it recovers")
    assert bench.source()["ok"]
    never_withdrawn(bench, 5)


def test_silence_ends_a_subscription(bench):
    m = bench.master()
    m.deploy(2)
    m.do("stream", stream="ok", heartbeat=0.2)
    subscribe(bench, m, poll_interval="300ms")
    time.sleep(2)
    assert bench.source()["subscriptions_lost"] == 0, "heartbeats are enough to keep it"
    m.do("stream", stream="silent", heartbeat=0.2)
    wait_until(lambda: "silent for" in bench.log(), "vipd notices that it hears nothing")
    m.do("scale", app="/web", instances=3)
    bench.wait_same(m)


# TLS and credentials


def openssl(directory, *args):
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)


def make_certificate(directory, name, *extensions):
    """NAME.pem with certificate and key, by the CA ca.pem (made first)."""
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
           "-keyout", f"{name}.key"]
    if name == "ca":
        openssl(directory, *new, "-x509", "-days", "2", "-out", "ca.pem")
        return
    openssl(directory, *new, "-out", f"{name}.csr")
    (directory / f"{name}.ext").write_text("\n".join(extensions) + "\n")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
            "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    (directory / f"{name}.pem").write_text((directory / f"{name}.crt").read_text() +
                                           (directory / f"{name}.key").read_text())


@pytest.fixture
def certificates(bench):
    make_certificate(bench.dir, "ca")
    make_certificate(bench.dir, "server", "subjectAltName=IP:127.0.0.1")
    make_certificate(bench.dir, "client", "extendedKeyUsage=clientAuth")
    return bench.dir


def test_tls_with_a_client_certificate(bench, certificates):
    d = certificates
    m = bench.master(5050, "--cert", d / "server.pem", "--client-ca", d / "ca.pem")
    m.deploy(3)
    # Behind the path prefix of DC/OS' Admin Router.
    bench.start(f"https://{m.address}/mesos", tls_ca=d / "ca.pem", tls_cert=d / "client.crt", tls_key=d / "client.key")
    bench.wait_same(m)
    assert bench.source()["url"] == f"https://{m.address}/mesos/state"


@pytest.mark.parametrize("options, says", [
    ({}, "certificate"),                       # nobody known vouches for the master
    ({"tls_ca": "ca.pem"}, "failed"),          # no client certificate
])
def test_tls_that_does_not_hold_is_refused(bench, certificates, options, says):
    d = certificates
    m = bench.master(5050, "--cert", d / "server.pem", "--client-ca", d / "ca.pem")
    bench.start(f"https://{m.address}", **{k: d / v for k, v in options.items()})
    wait_until(lambda: bench.source()["error"], "the poll fails")
    assert bench.source()["documents"] == 0, says


def write_secret(path, text):
    path.touch(mode=0o600)
    path.write_text(text + "\n")


@pytest.mark.parametrize("kind, secret, header", [
    ("token", "abc.def.ghi", "token=abc.def.ghi"),
    ("token", "Bearer xyz", "Bearer xyz"),
    ("basic", "vipd:s3cret", "Basic dmlwZDpzM2NyZXQ="),
])
def test_credentials(bench, kind, secret, header):
    m = bench.master()
    m.deploy(2)
    m.do("authorization", value=header)
    write_secret(bench.dir / "secret", "wrong:one")
    bench.start(f"http://{m.address}", **{f"auth_{kind}_file": bench.dir / "secret"})
    wait_until(lambda: "401" in (bench.source()["error"] or ""), "the wrong one is refused")
    write_secret(bench.dir / "secret", secret)
    bench.wait_same(m)
    # What is secret is nowhere to be seen.
    seen = bench.log() + json.dumps(bench.get("/v1/status")) + \
        pathlib.Path(f"/proc/{bench.vipd.pid}/cmdline").read_text()
    for word in secret.split(":") + header.split():
        assert word in ("Bearer", "Basic", "vipd") or word not in seen
    (bench.dir / "secret").chmod(0o644)
    wait_until(lambda: "others may read" in (bench.source()["error"] or ""), "a readable secret is not used")


def test_credentials_go_to_the_masters_only(bench):
    """A redirect is followed with them to a master that is configured, and without them to any other."""
    lags, leads, stranger = bench.master(5050), bench.master(5051), bench.master(5052)
    write_secret(bench.dir / "secret", "abc")
    leads.deploy(2)
    lags.do("leader", leader=leads.address)
    bench.start(f"http://{lags.address},http://{leads.address}", auth_token_file=bench.dir / "secret")
    bench.wait_same(leads)
    assert set(leads.do("shown")["shown"]) == {"token=abc"}
    leads.do("leader", leader=stranger.address)
    stranger.do("authorization", value="token=abc")
    lags.do("leader", leader=stranger.address)
    wait_until(lambda: "none of the masters" in (bench.source()["error"] or ""), "it is said why it fails")
    assert set(stranger.do("shown")["shown"]) == {None}
    never_withdrawn(bench, 2)


# Masters that fail


@pytest.mark.parametrize("api", ["state", "v1", "subscribe"])
def test_leader_changes_and_restarts_withdraw_nothing(bench, api):
    a, b = bench.master(5050), bench.master(5051)
    a.deploy(12)
    state = {path: json.dumps(a_state(a, path)) for path in ("/state", "/api/v1")}
    b.do("leader", leader=a.address)
    bench.start(f"http://{a.address},http://{b.address}", mesos_api=api)
    bench.wait_same(a)
    # The leader dies in the middle of an answer; nobody leads; the other one does.
    a.do("mode", mode="truncated")
    a.do("stream", stream="refuse")
    wait_until(lambda: not bench.source()["ok"], "an answer is cut")
    a.process.kill()
    b.do("leader", leader="none")
    wait_until(lambda: any(w in (bench.source()["error"] or "") for w in ("503", "connect")),
               "nobody leads")
    b.do("raw", document=state["/state" if api == "state" else "/api/v1"])
    b.do("stream", stream="refuse")
    b.do("leader", leader="self")
    wait_until(lambda: bench.source()["ok"], "the other one leads")
    never_withdrawn(bench, 12)
    # The first one restarts and knows nothing yet: an empty answer counts only when it is repeated, and here
    # the tasks are back before that.
    b.process.kill()
    a.start()
    a.do("raw", document=state["/state" if api == "state" else "/api/v1"])
    a.do("stream", stream="refuse")
    wait_until(lambda: bench.source()["ok"], "the first one leads again")
    never_withdrawn(bench, 12)


@pytest.mark.parametrize("api", ["state", "v1", "subscribe"])
def test_agents_that_are_not_back_yet_keep_their_backends(bench, api):
    """A master that takes over knows its agents from the registry, and their tasks only as they register."""
    a, b = bench.master(5050), bench.master(5051)
    for m in (a, b):
        m.do("agent", hostname="10.0.0.6")
        m.do("agent", hostname="node-7.example", address="10.0.0.7")
        m.do("app", id="/web", agents=["10.0.0.5", "10.0.0.6", "node-7.example"], instances=12,
             ports=[{"labels": {"VIP_0": "1.2.3.4:5000"}}])
    b.do("leader", leader=a.address)
    bench.start(f"http://{a.address},http://{b.address}", mesos_api=api)
    bench.wait_same(a)
    before = bench.backends()
    # The leader dies, the other takes over and has heard from nobody.
    b.do("failover")
    a.process.kill()
    b.do("leader", leader="self")
    wait_until(lambda: bench.table()["agents_awaited"] == 3, "the new master is listened to")
    assert bench.table()["backends_kept"] == 12
    assert bench.backends() == before and bench.weights() == [1] * 12
    # An agent is back, and has lost a task meanwhile.
    ended = next(t for t in b.tasks() if t["address"] == "10.0.0.6")
    b.do("end", task=ended["id"])
    b.do("reregister", hostname="10.0.0.6")
    bench.wait_same(b)
    assert len(before) - len(bench.backends()) == 1
    never_withdrawn(bench, 11)
    assert (bench.table()["agents_awaited"], bench.table()["backends_kept"]) == (2, 8)
    status = subprocess.run([VIPCTL, f"--socket={bench.dir}/vipd.sock", "status"], capture_output=True, text=True)
    assert "has not heard from 2 agents yet since its failover; 8 backends of theirs stay" in status.stdout
    # Of another it is known only that there is such a one: it stays as well, whatever its name may mean.
    b.do("reregister", hostname="10.0.0.5")
    wait_until(lambda: bench.table()["backends_kept"] == 4, "one is left")
    assert bench.backends() == b.backends()
    b.do("reregister", hostname="node-7.example")
    wait_until(lambda: bench.table()["agents_awaited"] == 0, "all are back")
    bench.wait_same(b)
    never_withdrawn(bench, 11)
    assert bench.log().count("has not heard from") == 1 and bench.log().count("has heard from all agents") == 1


def test_an_agent_that_does_not_come_back_is_given_up(bench):
    m = bench.master()
    m.do("agent", hostname="10.0.0.6")
    m.deploy(4)
    bench.start(f"http://{m.address}")
    bench.wait_same(m)
    m.do("failover", agents=["10.0.0.6"])
    wait_until(lambda: bench.table()["backends_kept"] == 2, "one agent is not back yet")
    assert len(bench.backends()) == 4
    m.do("remove-agent", hostname="10.0.0.6")
    bench.wait_same(m)
    assert len(bench.backends()) == 2


def a_state(master, path):
    connection = UnixConnection(master.socket, 10)
    try:
        if path == "/state":
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps({"type": "GET_STATE"}))
        return json.load(connection.getresponse())
    finally:
        connection.close()


def test_agents_by_name_are_resolved(bench):
    """An agent registered by name, whose pid gives no address, is looked up."""
    m = bench.master()
    m.do("agent", hostname="localhost", pid="slave(1)@localhost:5051")
    m.do("app", id="/web", agents=["localhost"], ports=[{"labels": {"VIP_0": "1.2.3.4:5000"}}])
    bench.start(f"http://{m.address}")
    wait_until(lambda: [b.split(":")[0] for b in bench.backends()] == ["127.0.0.1"], "the name has an address")


def test_unchanged_documents_make_no_tables(bench):
    m = bench.master()
    m.deploy(4)
    bench.start(f"http://{m.address}", poll_interval="100ms")
    bench.wait_same(m)
    before = bench.source()
    later = wait_until(lambda: (s := bench.source())["documents"] > before["documents"] + 5 and s, "it polls on")
    assert later["unchanged"] - before["unchanged"] == later["documents"] - before["documents"]
