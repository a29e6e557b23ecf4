#!/usr/bin/env python3
"""Draws docs/compare.svg from the newest summary table of `make compare` in BENCHMARKS.md.

    tools/chart.py            writes the file
    tools/chart.py --check    exits with 1 if the file is not the one that the table gives
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "docs/compare.svg"
# (column of the table, title of the panel, unit)
PANELS = [
    ("median ratio, clock", "Time for a photo, as a multiple of ours", "×"),
    ("peak memory, largest", "Peak memory for a photo of 48 megapixels", " MB"),
]
NAMES = {"ours": "vintedbot-ingest"}
BAR, LEFT, WIDTH, TOP = 18, 130, 250, 48
STYLE = """text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}
.bar{fill:#8c959f}.ours{fill:#0969da}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#6e7681}.ours{fill:#4493f8}}"""


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def summary():
    """The rows of the first summary table, each as a dictionary by column."""
    lines = (ROOT / "BENCHMARKS.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| summary of"))
    header = cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(["name", *header[1:]], cells(line))))
    return rows


def number(text):
    return float(text.removesuffix("x").removesuffix("MB"))


def panel(rows, x, column, title, unit):
    values = [(row["name"], number(row[column])) for row in rows]
    values.sort(key=lambda value: value[1])
    largest = values[-1][1]
    yield f'<text class="title" x="{x}" y="{TOP - 22}">{title}</text>'
    for n, (name, value) in enumerate(values):
        y = TOP + n * (BAR + 10)
        length = max(2, round(WIDTH * value / largest))
        kind = "bar ours" if name == "ours" else "bar"
        yield f'<text x="{x + LEFT - 8}" y="{y + 14}" text-anchor="end">{NAMES.get(name, name)}</text>'
        yield f'<rect class="{kind}" x="{x + LEFT}" y="{y}" width="{length}" height="{BAR}" rx="2"/>'
        yield f'<text x="{x + LEFT + length + 6}" y="{y + 14}">{value:g}{unit}</text>'


def chart():
    rows = summary()
    step = LEFT + WIDTH + 70
    height = TOP + len(rows) * (BAR + 10)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {step * len(PANELS)} {height}" role="img">',
        "<title>Time and memory of vintedbot-ingest, libvips, sharp and Pillow for the same photos on one core</title>",
        f"<style>{STYLE}</style>",
    ]
    for n, (column, title, unit) in enumerate(PANELS):
        parts.extend(panel(rows, n * step + 8, column, title, unit))
    return "\n".join([*parts, "</svg>"]) + "\n"


if sys.argv[1:] == ["--check"]:
    if CHART.read_text() != chart():
        sys.exit("docs/compare.svg is not up to date with BENCHMARKS.md: run `make chart`")
else:
    CHART.write_text(chart())
