# SPDX-License-Identifier: GPL-2.0-or-later
"""Lives in a node's namespace, as the host's own daemons and as a local client:  probe.py PORT...

Listens by TCP on the ports, on all addresses of both families, and greets with HOST. On stdin it takes lines
`ADDRESS PORT ...` and answers each with a line of JSON: per target what a connection met, "refused",
"unreachable", "timeout", "silent" (made, and nothing was said), or the first bytes of what was said."""
import errno
import json
import selectors
import socket
import sys
import threading
import time

PATIENCE = 1.0  # s, for a connection and the first bytes: all of it is on one machine
GREETING = b"HOST\n"


def listen(port, family):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("::" if family == socket.AF_INET6 else "", port))
    s.listen(64)
    s.setblocking(False)
    return s


def serve(ports):
    chosen = selectors.DefaultSelector()
    for port in ports:
        for family in (socket.AF_INET, socket.AF_INET6):
            chosen.register(listen(port, family), selectors.EVENT_READ)

    def loop():
        while True:
            for key, _ in chosen.select():
                try:
                    connection, _ = key.fileobj.accept()
                    connection.sendall(GREETING)
                    connection.close()
                except OSError:
                    pass
    threading.Thread(target=loop, daemon=True).start()


def outcome(error):
    if error == errno.ECONNREFUSED:
        return "refused"
    if error in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EINVAL):
        return "unreachable"
    return "timeout" if error == errno.ETIMEDOUT else errno.errorcode.get(error, str(error))


def probe(targets):
    """All at once; [(address, port)] -> the list of what each met."""
    found, chosen = {}, selectors.DefaultSelector()
    for target in targets:
        s = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM)
        s.setblocking(False)
        error = s.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            found[target] = outcome(error)
            s.close()
        else:
            chosen.register(s, selectors.EVENT_WRITE, target)
    deadline = time.monotonic() + PATIENCE
    while chosen.get_map() and time.monotonic() < deadline:
        for key, events in chosen.select(deadline - time.monotonic()):
            s = key.fileobj
            error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not error and events & selectors.EVENT_WRITE:
                # Connected. A daemon of the host speaks first, a server of HTTP when asked.
                try:
                    s.send(b"GET / HTTP/1.1\r\nHost: probe\r\n\r\n")
                    chosen.modify(s, selectors.EVENT_READ, key.data)
                    continue
                except OSError as e:
                    error = e.errno
            if error:
                found[key.data] = outcome(error)
            else:
                try:
                    found[key.data] = s.recv(100).decode(errors="replace") or "closed"
                except OSError as e:
                    found[key.data] = outcome(e.errno)
            chosen.unregister(s)
            s.close()
    for key in list(chosen.get_map().values()):
        found[key.data] = "silent" if key.events & selectors.EVENT_READ else "timeout"
        key.fileobj.close()
    return [found[t] for t in targets]


def main():
    serve([int(p) for p in sys.argv[1:]])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        words = line.split()
        print(json.dumps(probe([(a, int(p)) for a, p in zip(words[::2], words[1::2])])), flush=True)
    threading.Event().wait()  # the daemons live on


if __name__ == "__main__":
    main()
