# SPDX-License-Identifier: GPL-2.0-or-later
"""Client of the stand-in master's control interface, by TCP ("HOST:PORT") or by a Unix socket
("unix:PATH"), which reaches it from any network namespace."""
import http.client
import json
import socket


class ControlError(Exception):
    """The master refused an operation, or cannot be reached; the text says which."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP by a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def call(master, operation, arg=None, timeout=30):
    """Does one operation and returns its answer's object."""
    if master.startswith("unix:"):
        connection = UnixConnection(master[len("unix:"):], timeout)
    else:
        connection = http.client.HTTPConnection(master, timeout=timeout)
    try:
        connection.request("POST", f"/control/{operation}", json.dumps(arg or {}).encode())
        response = connection.getresponse()
        answer = json.load(response)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise ControlError(f"no answer from {master}: {e}") from e
    finally:
        connection.close()
    if response.status != 200:
        raise ControlError(answer.get("error", f"status {response.status}"))
    return answer
