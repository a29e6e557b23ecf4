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
    ("ratio, processor", "Processor time, as a multiple of ours", "×"),
    ("peak memory", "Peak memory for the largest photo", " MB"),
]
NAMES = {"ours": "vintedbot-ingest"}
BAR, STEP, GAP, LEFT, NAME, WIDTH, TOP = 11, 15, 9, 130, 110, 210, 34
STYLE = """text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}
.bar{fill:#8c959f}.ours{fill:#0969da}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#6e7681}.ours{fill:#4493f8}}"""


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def blocks():
    """The formats of the first summary table, each with the rows of its participants as dictionaries by column."""
    lines = (ROOT / "BENCHMARKS.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| photos | participant |"))
    header, formats = cells(lines[start]), []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        row = dict(zip(header, cells(line)))
        if row["photos"]:
            formats.append((row["photos"].rpartition(" (")[0], []))
        formats[-1][1].append(row)
    return formats


def number(text):
    return None if text == "–" else float(text.removesuffix("x").removesuffix("MB"))


def bars(formats, x, column, title, unit):
    yield f'<text class="title" x="{x}" y="18">{title}</text>'
    most = max(number(row[column]) or 0 for _, rows in formats for row in rows)
    y = TOP
    for _, rows in formats:
        for row in rows:
            value = number(row[column])
            length = 0 if value is None else max(2, round(WIDTH * value / most))
            if length:
                kind = "bar ours" if row["participant"] == "ours" else "bar"
                yield f'<rect class="{kind}" x="{x}" y="{y}" width="{length}" height="{BAR}" rx="2"/>'
            text = "cannot read it" if value is None else f"{value:g}{unit}"
            yield f'<text x="{x + length + 6}" y="{y + BAR - 1}">{text}</text>'
            y += STEP
        y += GAP


def labels(formats):
    y = TOP
    for name, rows in formats:
        yield f'<text class="title" x="8" y="{y + BAR - 1}">{name}</text>'
        for row in rows:
            participant = row["participant"].partition(",")[0]
            yield f'<text x="{LEFT + NAME - 8}" y="{y + BAR - 1}" text-anchor="end">{NAMES.get(participant, participant)}</text>'
            y += STEP
        y += GAP


def chart():
    formats = blocks()
    step = WIDTH + 90
    width = LEFT + NAME + step * len(PANELS)
    height = TOP + sum(STEP * len(rows) + GAP for _, rows in formats)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>Time and memory of vintedbot-ingest, Pillow, sharp and libvips for the same photos on one core</title>",
        f"<style>{STYLE}</style>",
        *labels(formats),
    ]
    for n, (column, title, unit) in enumerate(PANELS):
        parts.extend(bars(formats, LEFT + NAME + n * step, column, title, unit))
    return "\n".join([*parts, "</svg>"]) + "\n"


if sys.argv[1:] == ["--check"]:
    if CHART.read_text() != chart():
        sys.exit("docs/compare.svg is not up to date with BENCHMARKS.md: run `make chart`")
else:
    CHART.write_text(chart())
