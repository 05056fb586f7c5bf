#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Publishing the table over the overlay (sim-publish) against every agent polling a state document with as
many tasks, all of them behind VIPs.

    bench_publish.py SIM-PUBLISH GEN_STATE [OPTIONS OF SIM-PUBLISH]
"""
import subprocess
import sys
import zlib

TASKS = 50000


def document_sizes(gen_state):
    """Bytes of the document, plain and as a master would gzip it."""
    gzip = zlib.compressobj(6, zlib.DEFLATED, 31)
    plain = small = 0
    with subprocess.Popen([sys.executable, gen_state, "--tasks", str(TASKS)], stdout=subprocess.PIPE) as p:
        while chunk := p.stdout.read(1 << 20):
            plain += len(chunk)
            small += len(gzip.compress(chunk))
    return plain, small + len(gzip.flush())


def main():
    sim, gen_state, *options = sys.argv[1:]
    plain, gzipped = document_sizes(gen_state)
    print(f"a document of {TASKS} tasks: {plain} bytes, gzipped {gzipped}", flush=True)
    return subprocess.run([sim, "--document", str(plain), "--gzipped", str(gzipped), *options]).returncode


if __name__ == "__main__":
    sys.exit(main())
