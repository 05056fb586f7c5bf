# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTTP port: what it answers, to whom, and that whoever treats it badly harms only himself."""
import json
import select
import selectors
import signal
import socket
import subprocess
import time

import pytest
from cluster import VIPCTL, UnixConnection
from overlay import wait_until
from port import PORT, connect_in, get, metrics


@pytest.fixture
def node(overlay):
    overlay.up()
    return overlay.nodes[0]


def ask_json(node, path, **more):
    status, _, body = get(node.netns, path, **more)
    assert status == 200, body
    return json.loads(body)


@pytest.mark.overlay(nodes=2)
def test_views(node):
    status = ask_json(node, "/v1/status")
    assert status["table"]["vips"] == 1
    assert status["http"]["listen"] == f"127.0.0.1:{PORT}" and status["http"]["error"] is None
    assert len(ask_json(node, "/v1/nodes")) == 2
    [vip] = ask_json(node, "/v1/table")
    assert vip["vip"] == "9.9.9.9:80" and len(vip["backends"]) == 2
    # dcos-net's shape, to the letter
    assert ask_json(node, "/v1/vips") == [
        {"vip": "9.9.9.9:80", "protocol": "tcp",
         "backend": [{"ip": "10.9.0.1", "port": 8080}, {"ip": "10.9.0.2", "port": 8080}]}]
    lines = get(node.netns, "/v1/events?last=5")[2].splitlines()
    assert "hello" in json.loads(lines[0])


@pytest.mark.overlay(nodes=1)
def test_etag(overlay, node):
    status, headers, body = get(node.netns, "/v1/vips")
    tag = headers["ETag"]
    assert status == 200 and tag.startswith('"') and headers["Cache-Control"] == "no-cache"
    for have in (tag, f'"other", W/{tag}', "*"):
        again = get(node.netns, "/v1/vips", headers={"If-None-Match": have})
        assert again[0] == 304 and again[2] == "" and again[1]["ETag"] == tag
    assert get(node.netns, "/v1/vips", headers={"If-None-Match": '"other"'})[0] == 200
    overlay.write_document([{**json.loads(overlay.document.read_text())["frameworks"][0]["tasks"][0], "id": "t9",
                             "discovery": {"ports": {"ports": [{
                                 "number": 8081, "protocol": "udp",
                                 "labels": {"labels": [{"key": "VIP_0", "value": "/web:80"}]}}]}}}])
    status, headers, body = wait_until(
        lambda: next((a for a in [get(node.netns, "/v1/vips", headers={"If-None-Match": tag})] if a[0] == 200), None),
        "the table has changed")
    assert headers["ETag"] != tag
    assert [v["vip"] for v in json.loads(body)] == ["9.9.9.9:80", "web.marathon.l4lb.thisdcos.directory:80"]


@pytest.mark.overlay(nodes=1)
def test_only_to_be_looked_at(node):
    for path, method, status in (
            ("/v1/flush", "POST", 403), ("/v1/why?q=9.9.9.9", "GET", 403), ("/v1/diff", "GET", 403),
            ("/v1/table?fresh=1", "GET", 403), ("/v1/status", "POST", 405), ("/v1/status", "DELETE", 405),
            ("/v1/flush", "GET", 405), ("/nothing", "GET", 404), ("/v1/events?since=x", "GET", 400),
            ("/v1/vips", "OPTIONS", 405)):
        got, headers, body = get(node.netns, path, method)
        assert got == status, f"{method} {path}: {got}"
        assert json.loads(body)["error"], "every refusal is JSON, and says why"
        assert "Access-Control-Allow-Origin" not in headers
        assert (got == 405) == ("Allow" in headers)
    assert len(node.weights()) == 1, "nothing was flushed"
    status, headers, body = get(node.netns, "/v1/vips", "HEAD")
    assert status == 200 and body == "" and headers["ETag"]


@pytest.mark.overlay(nodes=1)
def test_names_are_strangers(node):
    """A page whose own name was made to lead to 127.0.0.1 is told nothing (DNS rebinding)."""
    for host in ("evil.example", f"evil.example:{PORT}", "localhost.evil.example", "127.0.0.1.evil.example", "[::1",
                 "127.0.0.1:x", ""):
        status, _, body = get(node.netns, "/v1/status", headers={"Host": host})
        assert status == 421 and "error" in body, host
    for host in (f"127.0.0.1:{PORT}", "localhost", f"LOCALHOST:{PORT}", "[::1]:80", "10.0.0.1"):
        assert get(node.netns, "/v1/status", headers={"Host": host})[0] == 200, host
    # The control socket is nobody's but root's.
    connection = UnixConnection(str(node.socket), timeout=5)
    connection.request("GET", "/v1/status", headers={"Host": "vipd"})
    assert connection.getresponse().status == 200
    connection.close()


def talk(node, text, timeout=5):
    with connect_in(node.netns, timeout=timeout) as s:
        s.sendall(text)
        with s.makefile("rb") as f:
            return f.readline()


@pytest.mark.overlay(nodes=1)
def test_malformed_and_large(node):
    head = b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    assert b" 413 " in talk(node, head + b"Content-Length: 100000000\r\n\r\n")
    assert b" 413 " in talk(node, head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert b" 431 " in talk(node, head + b"X: " + b"a" * 100000 + b"\r\n\r\n")
    assert b" 414 " in talk(node, b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 400 " in talk(node, b"GET /v1/status HTTP/1.1\r\n\r\n"), "no Host"
    assert b" 200 " not in talk(node, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"), "TLS"
    assert get(node.netns, "/v1/status")[0] == 200


@pytest.mark.overlay(nodes=1)
def test_crowd(node):
    """Two hundred clients that say nothing, or half a request now and then: others are answered beside them,
    vipctl's socket does not even notice, and they are put out after ten seconds however they trickle."""
    crowd = []
    for i in range(200):
        s = connect_in(node.netns)
        if i % 2:
            s.sendall(b"GET /v1/status HTTP/1.1\r\nX")
        crowd.append(s)
        if i % 20 == 0:
            assert get(node.netns, "/v1/status")[0] == 200, f"answered beside {i}"
    assert node.get("/v1/status")["http"]["clients"] <= 64
    last = crowd[-1]
    began = time.monotonic()

    def trickle_until_out():
        with_end = select.select([last], [], [], 0)[0]
        if not with_end:
            last.sendall(b"-")
            return False
        return True
    try:
        wait_until(trickle_until_out, "the last of them is put out", timeout=25, interval=0.5)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert time.monotonic() - began > 8, "not before its time"
    for s in crowd:
        s.close()
    http = node.get("/v1/status")["http"]
    assert http["overtime"] >= 100


@pytest.mark.overlay(nodes=1)
def test_watchers_are_few(overlay, node):
    watchers = []
    for _ in range(16):
        s = connect_in(node.netns)
        s.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b" 200 " in s.recv(1000)
        watchers.append(s)
    status, _, body = get(node.netns, "/v1/events?follow=1")
    assert status == 503 and "watching" in body
    assert len(ask_json(node, "/v1/table")) == 1, "who only asks is answered"
    for s in watchers:
        s.close()

    def forgotten():
        # Seen when there is something to say, else with the next sign of life.
        overlay.vip = "9.9.9.8:80" if overlay.vip == "9.9.9.9:80" else "9.9.9.9:80"
        overlay.write_document()
        return node.get("/v1/status")["http"]["streams"] == 0
    wait_until(forgotten, "their places are free again", interval=0.3)


def all_answers(sockets):
    """What comes on all of these until each is closed."""
    poller, got = selectors.DefaultSelector(), {s: b"" for s in sockets}
    for s in sockets:
        poller.register(s, selectors.EVENT_READ)
    while poller.get_map():
        ready = poller.select(20)
        assert ready, "the last ones are answered, too"
        for key, _ in ready:
            data = key.fileobj.recv(1 << 16)
            got[key.fileobj] += data
            if not data:
                poller.unregister(key.fileobj)
    return got.values()


@pytest.mark.overlay(nodes=2)
def test_hammered(node):
    """Fifty clients that ask for much, without a pause: each is answered in the end, and vipctl between them."""
    ask = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    sockets = [connect_in(node.netns) for _ in range(50)]
    for s in sockets:
        s.sendall((ask + b"\r\n") * 9 + ask + b"Connection: close\r\n\r\n")
    began = time.monotonic()
    assert node.get("/v1/status")["version"]
    between = time.monotonic() - began
    answers = list(all_answers(sockets))
    everything = time.monotonic() - began
    assert [a.count(b"HTTP/1.1 200 OK") for a in answers] == [10] * 50
    assert between < everything / 2, f"vipctl waited {between:.3f} s, all others {everything:.3f} s"
    assert node.get("/v1/status")["http"]["deferred"] > 50
    for s in sockets:
        s.close()


@pytest.mark.overlay(nodes=1)
def test_port_taken(overlay):
    """Somebody else has the port (dcos-net, say): vipd works on, and takes it when it is free."""
    node = overlay.nodes[0]
    blocker = node_listener(node)
    node.start(audit_interval="200ms")
    status = wait_until(lambda: node.ask("/v1/status"), "vipd answers at its socket")
    assert "in use" in status["http"]["error"]
    blocker.kill()
    blocker.wait()
    wait_until(lambda: node.ask("/v1/status")["http"]["error"] is None, "the port is had")
    assert get(node.netns, "/v1/status")[0] == 200
    log = node.log.read_text()
    assert log.count("Address already in use") == 1 and "can be had now" in log


def node_listener(node):
    code = (f"import socket, time; s = socket.socket(); s.bind(('127.0.0.1', {PORT})); s.listen(); "
            "print(flush=True); time.sleep(60)")
    p = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.netns}", "/usr/bin/python3", "-c", code],
                         stdout=subprocess.PIPE)
    p.stdout.readline()
    return p


def dashboard(node):
    return subprocess.run([VIPCTL, f"--socket={node.socket}", "dashboard"], capture_output=True, text=True)


@pytest.mark.overlay(nodes=1)
def test_off_and_elsewhere(overlay):
    node = overlay.nodes[0]
    node.start(http_listen="")
    wait_until(lambda: node.ask("/v1/status"), "vipd answers at its socket")
    assert node.get("/v1/status")["http"]["listen"] is None
    with pytest.raises(ConnectionRefusedError):
        connect_in(node.netns)
    done = dashboard(node)
    assert done.returncode == 1 and "http_listen is empty" in done.stderr and not done.stdout
    node.stop()
    node.start(http_listen="10.9.0.1:8080")
    wait_until(lambda: node.ask("/v1/status"), "vipd answers at its socket")
    assert "no loopback address" in node.log.read_text()
    assert dashboard(node).stdout == "http://10.9.0.1:8080/\n"
    with connect_in(node.netns, ("10.9.0.1", 8080)) as s:
        s.sendall(b"GET /v1/status HTTP/1.0\r\n\r\n")
        assert s.recv(100, socket.MSG_WAITALL).startswith(b"HTTP/1.")


@pytest.mark.overlay(nodes=3)
def test_metrics(overlay, node):
    s = metrics(node.netns)
    assert s["vipd_table_vips"] == 1 and s["vipd_table_backends"] == 3
    assert s['vipd_overlay_members{status="up"}'] == 2
    assert s['vipd_events_total{kind="vip-added"}'] == 1
    assert s['vipd_cause_to_kernel_seconds_count{cause="document"}'] >= 4
    assert sum(1 for name in s if name.startswith("vipd_overlay_round_trip_seconds{")) == 2
    assert all(name.startswith("vipd_") for name in s)
    # Another document, a dead neighbour: the counters follow.
    overlay.write_document([{"id": "bad"}])
    overlay.delete_namespace(overlay.nodes[2])
    wait_until(lambda: metrics(node.netns)['vipd_overlay_members{status="down"}'] == 1,
               "the dead node is seen")
    s = metrics(node.netns)
    assert s["vipd_source_documents_total"] == 2
    assert s['vipd_cause_to_kernel_seconds_count{cause="node"}'] >= 1
    assert s['vipd_http_requests_total{door="port"}'] >= 3


@pytest.mark.overlay(nodes=2)
def test_top_without_kernel(node):
    top = ask_json(node, "/v1/top?backends=10")
    assert "kernel = none" in top["error"] and top["vips_all"] == 1
    [vip] = top["vips"]
    assert vip["vip"] == "9.9.9.9:80" and "active" not in vip and len(vip["backends"]) == 2
    assert ask_json(node, "/v1/top?filter=9.9.9&limit=0")["vips_meant"] == 1
    assert ask_json(node, "/v1/top?filter=redis")["vips"] == []
    assert get(node.netns, "/v1/top?sort=beauty")[0] == 400
    assert get(node.netns, "/v1/top?limit=-1")[0] == 400


@pytest.mark.overlay(nodes=1)
def test_reload_moves_the_port(overlay):
    node = overlay.nodes[0]
    config = overlay.dir / "vipd.conf"
    config.write_text("[vipd]\nhttp_listen = 127.0.0.1:1080\n")
    node.start(config=config)
    wait_until(lambda: node.ask("/v1/status"), "vipd answers at its socket")
    follower = connect_in(node.netns, ("127.0.0.1", 1080))
    follower.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 200 " in follower.recv(1000)
    config.write_text("[vipd]\nhttp_listen = 127.0.0.1:1081\n")
    node.send(signal.SIGHUP)
    wait_until(lambda: node.get("/v1/status")["http"]["listen"] == "127.0.0.1:1081", "it has moved")
    assert get(node.netns, "/v1/status", port=1081)[0] == 200
    with pytest.raises(ConnectionRefusedError):
        connect_in(node.netns, ("127.0.0.1", 1080))
    while follower.recv(1000):
        pass  # to its end
    follower.close()
