#!/usr/bin/env python3
"""Draws the charts of docs/ from tables in BENCHMARKS.md, which `make compare` and `make load` print.

    tools/chart.py            writes docs/compare.svg and docs/load.svg
    tools/chart.py --check    exits with 1 if they are not what the tables give
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# (column of the table, title of the panel, unit)
PANELS = [
    ("ratio, processor", "Processor time, as a multiple of ours", "×"),
    ("peak memory", "Peak memory for the largest photo", " MB"),
]
NAMES = {"ours": "vintedbot-ingest"}
BAR, STEP, GAP, LEFT, NAME, WIDTH, TOP = 11, 15, 9, 130, 110, 210, 34
LOAD_LEFT = 70
STYLE = """text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}
.bar{fill:#8c959f}.ours{fill:#0969da}.axis{stroke:#d1d9e0}.line{fill:none;stroke:#0969da;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.bar{fill:#6e7681}.ours{fill:#4493f8}.axis{stroke:#3d444d}.line{stroke:#4493f8}}"""


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(first_cells):
    """The rows of the first table of BENCHMARKS.md whose header begins with these cells, as dictionaries by column."""
    lines = (ROOT / "BENCHMARKS.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {' | '.join(first_cells)} |"))
    header = cells(lines[start])
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        yield dict(zip(header, cells(line)))


def blocks():
    """The formats of the summary of `make compare`, each with the rows of its participants."""
    formats = []
    for row in table(["photos", "participant"]):
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


def compare():
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


def round_top(most):
    """The end of an axis that reaches `most`: 1, 2 or 5 times a power of ten, or a multiple of it."""
    step = 10 ** (len(str(int(most))) - 1)
    return next(top for top in (step, 2 * step, 3 * step, 4 * step, 5 * step, 6 * step, 8 * step, 10 * step) if top >= most)


def curve(rows, column, title, unit, y):
    """One panel: a line over the seconds of the run, with an axis that starts at 0."""
    last, top = float(rows[-1]["second"]) or 1, round_top(max(float(row[column]) for row in rows))
    across, high = 640, 110

    def place(row):
        return f"{LOAD_LEFT + across * float(row['second']) / last:.1f} {y + high - high * float(row[column]) / top:.1f}"

    yield f'<text class="title" x="8" y="{y - 10}">{title}</text>'
    for part in (0, 0.5, 1):
        at = y + high - high * part
        yield f'<path class="axis" d="M{LOAD_LEFT} {at:g}h{across}"/>'
        yield f'<text x="{LOAD_LEFT - 6}" y="{at + 4:g}" text-anchor="end">{top * part:g}{unit}</text>'
    yield f'<path class="line" d="M{" L".join(place(row) for row in rows)}"/>'


def load():
    rows = list(table(["second", "idle connections"]))
    idle, photos = (max(int(row[name]) for row in rows) for name in ("idle connections", "photos answered"))
    first = next(row for row in rows if int(row["photos answered"]))
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 350" role="img">',
        f"<title>Memory and health checks of the server under {photos:,} slow phones and {idle:,} idle connections</title>",
        f"<style>{STYLE}</style>",
        *curve(rows, "VmRSS, MiB", "Memory (VmRSS)", " MiB", 34),
        *curve(rows, "slowest health check, ms", "Slowest health check of each second", " ms", 194),
        f'<text x="{LOAD_LEFT}" y="326">Seconds 0 to {rows[-1]["second"]}: {idle:,} idle connections, then {photos:,} photos; '
        f'the first is answered in second {first["second"]}.</text>',
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


CHARTS = {ROOT / "docs/compare.svg": compare, ROOT / "docs/load.svg": load}

for path, draw in CHARTS.items():
    if sys.argv[1:] != ["--check"]:
        path.write_text(draw())
    elif path.read_text() != draw():
        sys.exit(f"docs/{path.name} is not up to date with BENCHMARKS.md: run `make chart`")
