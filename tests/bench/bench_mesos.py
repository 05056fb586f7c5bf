#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a large cluster's document costs, against json-c parsing it whole: CPU time and memory of reading it for the
first time, again, and with one task in a hundred changed; and, polled by HTTP, how long it holds the event loop. The
best of a few runs each, since other work on the machine only ever adds.

usage: bench_mesos.py BENCH_MESOS BENCH_FEED GEN_STATE"""
import gzip
import http.server
import pathlib
import subprocess
import sys
import tempfile
import threading

RUNS = 3
CPU_TARGET, MEMORY_TARGET, HOLD_TARGET = 0.1, 32, 5
CASES = ("first", "again", "1 % changed")


def best(command):
    """Each line's fields: the least of all runs, or the text that all agree on."""
    runs = []
    for _ in range(RUNS):
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        runs.append([line.split() for line in done.stdout.splitlines()])
    return [[min(map(float, column)) if column[0][0].isdigit() else column[0] for column in zip(*lines)]
            for lines in zip(*runs)]


class Documents(http.server.BaseHTTPRequestHandler):
    """Serves the documents of a list, one per request, over and over."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.server.documents[self.server.n % len(self.server.documents)]
        self.server.n += 1
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def poll(bench_feed, paths):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Documents)
    server.documents, server.n = [gzip.compress(p.read_bytes(), 1) for p in paths], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lines = best([bench_feed, f"http://127.0.0.1:{server.server_port}", str(len(paths))])
    server.shutdown()
    server.server_close()
    return lines


def verdict(value, target):
    return "met" if value <= target else "MISSED"


def measure(percent, bench, bench_feed, generate, directory):
    paths = [directory / "first.json", directory / "changed.json"]
    for path, extra in zip(paths, ([], ["--replace-percent", "1"])):
        with open(path, "wb") as f:
            subprocess.run([sys.executable, generate, "--vip-percent", str(percent), *extra], stdout=f, check=True)
    series = [paths[0], paths[0], paths[1]]
    ours, polled = best([bench, "vipd", *map(str, series)]), poll(bench_feed, series)
    [[theirs, their_peak, _]] = best([bench, "json-c", str(paths[0])])
    print(f"50,000 tasks, {percent} % with VIP labels, {paths[0].stat().st_size / 1e6:.1f} MB; "
          f"json-c whole: {theirs:.0f} ms CPU, {their_peak / 1024:.0f} MiB")
    for case, (cpu, peak, what), (loop, _, hold, wall, feed_peak, feed_what) in zip(CASES, ours, polled):
        assert what == feed_what == ("unchanged" if case == "again" else "changed"), (case, what, feed_what)
        print(f"  {case:12} {cpu:7.1f} ms CPU, ratio {cpu / theirs:.3f} ({verdict(cpu / theirs, CPU_TARGET)}); "
              f"peak {peak / 1024:.1f} MiB ({verdict(peak / 1024, MEMORY_TARGET)}); {what}")
        print(f"  {'polled':>12} {loop:7.1f} ms CPU of the loop; longest hold {hold:.2f} ms CPU "
              f"({verdict(hold, HOLD_TARGET)}), {wall:.2f} ms by the clock; peak {feed_peak / 1024:.1f} MiB")


def main():
    bench, bench_feed, generate = sys.argv[1:4]
    print(f"targets: CPU ratio {CPU_TARGET}, peak {MEMORY_TARGET} MiB, longest hold {HOLD_TARGET} ms")
    for percent in (10, 100):
        with tempfile.TemporaryDirectory() as directory:
            measure(percent, bench, bench_feed, generate, pathlib.Path(directory))


if __name__ == "__main__":
    main()
