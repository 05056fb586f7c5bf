# SPDX-License-Identifier: GPL-2.0-or-later
"""Someone without the key, at the overlay's port. Run in a node's namespace:

    stranger.py capture FILE SECONDS          writes the frames of the overlay that pass eth0
    stranger.py packets COUNT ADDRESS FILE    sends random, truncated, forged and replayed packets
    stranger.py replay FILE                   puts all captured frames on the wire again
    stranger.py connections COUNT ADDRESS     opens connections: silent ones, and such that talk nonsense
    stranger.py hold COUNT ADDRESS SECONDS   opens connections, says one byte, and keeps them
    stranger.py probes COUNT ADDRESS          connects and resets at once

It prints one line of JSON."""
import json
import os
import random
import socket
import struct
import sys
import time

PORT = 61420
ETH_P_ALL = 3


def capture(path, seconds):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.bind(("eth0", 0))
    s.settimeout(0.1)
    frames, end = [], time.monotonic() + float(seconds)
    while time.monotonic() < end:
        try:
            frame = s.recv(2000)
        except TimeoutError:
            continue
        if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP and \
                PORT in struct.unpack("!HH", frame[34:38]):
            frames.append(frame)
    with open(path, "wb") as f:
        for frame in frames:
            f.write(struct.pack("!H", len(frame)) + frame)
    return {"frames": len(frames)}


def read_frames(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at < len(data):
        n = struct.unpack_from("!H", data, at)[0]
        yield data[at + 2:at + 2 + n]
        at += 2 + n


def replay(path):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.bind(("eth0", 0))
    n = 0
    for frame in read_frames(path):
        s.send(frame)
        n += 1
    return {"frames": n}


def packets(count, address, path):
    rng = random.Random(1)
    payloads = [frame[42:] for frame in read_frames(path)] or [b"\x10" * 100]
    made = []
    for i in range(400):
        p = bytearray(rng.choice(payloads))
        kind = i % 4
        if kind == 0:
            p = rng.randbytes(rng.randrange(1, 1400))
        elif kind == 1:
            p = p[:rng.randrange(len(p))]
        elif kind == 2:  # the head is right, the rest is not
            p[28:] = rng.randbytes(len(p) - 28)
        made.append(bytes(p))
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((address, PORT))
    sent = answered = 0
    s.setblocking(False)
    began = time.monotonic()
    for i in range(int(count)):
        try:
            s.send(made[i % 400])
            sent += 1
        except OSError:
            pass
    seconds = time.monotonic() - began
    time.sleep(0.5)
    try:
        while s.recv(2000):
            answered += 1
    except OSError:
        pass
    return {"sent": sent, "answered": answered, "per_second": round(sent / seconds)}


def connections(count, address):
    made, refused, answered, held = 0, 0, 0, []
    for i in range(int(count)):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.settimeout(1)
        try:
            s.connect((address, PORT))
            made += 1
            if i % 2:
                s.send(os.urandom(1 + i % 200))
        except OSError:
            refused += 1
        held.append(s)
        if len(held) > 500:
            old = held.pop(0)
            try:
                old.setblocking(False)
                answered += len(old.recv(100))
            except OSError:
                pass
            old.close()
    return {"made": made, "failed": refused, "bytes_answered": answered}


def hold(count, address, seconds):
    held = []
    for _ in range(int(count)):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.settimeout(1)
        try:
            s.connect((address, PORT))
            s.send(b"x")
        except OSError:
            pass
        held.append(s)
    time.sleep(float(seconds))
    return {"held": len(held)}


def probes(count, address):
    answered = 0
    for _ in range(int(count)):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.settimeout(1)
        try:
            s.connect((address, PORT))
            answered += 1
        except OSError:
            pass
        s.close()
    return {"answered": answered}


if __name__ == "__main__":
    print(json.dumps({f.__name__: f for f in (capture, packets, replay, connections, hold, probes)}
                     [sys.argv[1]](*sys.argv[2:])))
