# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds up what the rings of tests/run have reported:  tally.py RESULTS PATTERN RING...

Each ring leaves RING*.xml in JUnit's format and its exit status in RING.status. A ring that failed
without a failed case (a crash, a time-out) counts as a failed case, and so does one that ran none,
unless a pattern selected the cases."""
import collections
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def cases(path):
    """(name, "passed" | "failed" | "skipped", reason) of each case in a report."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        outcome, reason = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, reason = "failed", child.get("message") or ""
            elif child.tag == "skipped" and outcome == "passed":
                outcome, reason = "skipped", child.get("message") or "no reason given"
        yield name, outcome, reason.splitlines()[0] if reason else ""


def tally_ring(ring, results, selected):
    """The ring's cases, with one more for what no case tells."""
    found = []
    for report in sorted(results.glob(f"{ring}*.xml")):
        try:
            found += cases(report)
        except ElementTree.ParseError as e:
            found.append((report.name, "failed", f"the report is broken: {e}"))
    status_file = results / f"{ring}.status"
    status = int(status_file.read_text()) if status_file.exists() else -1
    if status != 0 and not any(outcome == "failed" for _, outcome, _ in found):
        # pytest's 5: the pattern selected nothing.
        if not (selected and status == 5):
            found.append((f"ring {ring}", "failed", f"it ended with status {status}"))
    if not found and not selected:
        found.append((f"ring {ring}", "failed", "it ran no test"))
    return found


def main(results, pattern, *rings):
    total = collections.Counter()
    for ring in rings:
        found = tally_ring(ring, pathlib.Path(results), bool(pattern))
        count = collections.Counter(outcome for _, outcome, _ in found)
        total += count
        print(f"{ring:8} {count['passed']:5} passed {count['failed']:5} failed {count['skipped']:5} skipped")
        for name, outcome, reason in found:
            if outcome != "passed":
                print(f"    {outcome}: {name}" + (f": {reason}" if reason else ""))
    if not total:
        print("no test matches the pattern")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
    return 1 if total["failed"] or not total else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
