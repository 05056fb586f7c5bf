# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP to a vipd's port, which listens on the loopback of its own network namespace."""
import ctypes
import http.client
import os
import socket
import subprocess
import threading

PORT = 62080
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def connect_in(netns, address=("127.0.0.1", PORT), timeout=10):
    """A TCP connection made inside /run/netns/NETNS: a socket stays in the namespace of its making."""
    made = []

    def make():  # a namespace is a thread's own, so this thread ends with it
        fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {netns}")
            made.append(socket.create_connection(address, timeout))
        except OSError as e:
            made.append(e)
        finally:
            os.close(fd)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


class PortConnection(http.client.HTTPConnection):
    def __init__(self, netns, port=PORT, timeout=20):
        super().__init__("127.0.0.1", port, timeout=timeout)
        self.netns = netns

    def connect(self):
        self.sock = connect_in(self.netns, (self.host, self.port), self.timeout)


def get(netns, path, method="GET", headers=None, port=PORT):
    """The answer: (status, headers, body as text)."""
    connection = PortConnection(netns, port)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def metrics(netns):
    """All samples of /metrics, {"name{labels}": value}, after promtool had nothing to say about them."""
    status, headers, text = get(netns, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    check = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    assert check.returncode == 0 and not check.stderr, check.stderr
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines() if line and not line.startswith("#")}
