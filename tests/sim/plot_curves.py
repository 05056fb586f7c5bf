#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws what sim-curves printed as SVG: plot_curves.py CURVES.csv > detector-curves.svg

Three columns (loss, length of a test, period of heartbeats), two rows (false verdicts, detection
time). The dotted line is the default. Plain SVG, no library."""

import csv
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP_X, GAP_Y = 250, 170, 62, 40, 66, 62
COLOURS = {"defaults": "#1b6ca8", "always 4 pings": "#c8553d", "SWIM": "#6b8f3c"}
COLUMNS = [
    ("loss", "loss of every packet, each way [%]", None, 6),
    ("test", "length of a test [ms], 1 % loss", 120, 6),
    ("beat", "period of heartbeats [ms], 1 % loss", 250, 5),
]
FALSE_TICKS = [0, 1, 10, 100, 1000]
TIME_TICKS = [100, 200, 500, 1000, 2000, 5000, 10000, 30000]


def false_y(v):
    """0 at the bottom, then a decade above 0.1 each."""
    return 0 if v <= 0.1 else (math.log10(v) + 1) / 4.3


def time_y(v):
    return (math.log10(max(v, 100)) - 2) / math.log10(30000 / 100)


def text(x, y, s, anchor="middle", size=11, extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {extra}>'
            f"{s}</text>")


def line(points, colour, dash=""):
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'stroke-dasharray="{dash}"/>')


def panel(rows, column, x0, y0, key_list, to_y, ticks, label):
    name, x_label, default, n_ticks = column
    rows = [r for r in rows if r["panel"] == name]
    top_x = max(float(r["x"]) for r in rows)
    out = [f'<rect x="{x0}" y="{y0}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>']

    def at(x, v):
        return x0 + x / top_x * WIDTH, y0 + HEIGHT - to_y(v) * HEIGHT

    for t in ticks:
        y = at(0, t)[1]
        out.append(f'<line x1="{x0}" x2="{x0 + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        out.append(text(x0 - 5, y + 4, t, "end", 10))
    for i in range(n_ticks + 1):
        x = top_x * i / n_ticks
        out.append(text(at(x, 0)[0], y0 + HEIGHT + 14, f"{x:.0f}", size=10))
    out.append(text(x0 + WIDTH / 2, y0 + HEIGHT + 30, x_label))
    out.append(text(x0, y0 - 8, label, "start", 11, 'font-weight="bold"'))
    if default:
        x = at(default, 0)[0]
        out.append(line([(x, y0), (x, y0 + HEIGHT)], "#555", "2 3"))
    for variant, colour in COLOURS.items():
        mine = sorted((r for r in rows if r["variant"] == variant), key=lambda r: float(r["x"]))
        for key, dash in key_list:
            points = [at(float(r["x"]), float(r[key])) for r in mine if float(r[key]) >= 0]
            if points:
                out.append(line(points, colour, dash))
    return out


def main():
    with open(sys.argv[1], newline="") as f:
        rows = list(csv.DictReader(f))
    width = LEFT + 3 * WIDTH + 2 * GAP_X + 20
    height = TOP + 2 * HEIGHT + 2 * GAP_Y + 14
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           'font-family="sans-serif">', f'<rect width="{width}" height="{height}" fill="white"/>']
    for i, column in enumerate(COLUMNS):
        x = LEFT + i * (WIDTH + GAP_X)
        out += panel(rows, column, x, TOP, [("false_per_hour", "")], false_y, FALSE_TICKS,
                     "live nodes called down, per hour")
        out += panel(rows, column, x, TOP + HEIGHT + GAP_Y, [("p50_ms", ""), ("p99_ms", "5 3")],
                     time_y, TIME_TICKS, "ms until all know a crash (dashed: slowest)")
    for i, (variant, colour) in enumerate(COLOURS.items()):
        x = LEFT + i * 150
        out.append(line([(x, height - 10), (x + 24, height - 10)], colour))
        out.append(text(x + 30, height - 6, variant, "start"))
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
