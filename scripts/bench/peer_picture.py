"""The picture of `peers`: for each server what its clients lost and had to open again, and its answers around a restart."""
from math import log10

from drawing import BLUE, GREY, GRID, ORANGE, legend, page, text

RED = "#b03a3a"
WIDTH, TOP, ROW, BOTTOM = 1100, 130, 40, 34
NAMES = 190  # the width of the column
PANELS = {"lost": (NAMES + 10, 640), "slow": (710, WIDTH - 70)}
BARS = {
    "lost": (RED, lambda row: sum(row["lost"].values())),
    "found closed": (ORANGE, lambda row: row["reconnects"]),
    "told to close": (GREY, lambda row: row["told"]),
}
DOTS = {
    "p99, steady": (BLUE, lambda row: row["steady"]["p99_ms"]),
    "p99, around": (ORANGE, lambda row: row["around"]["p99_ms"]),
    "longest, around": (RED, lambda row: row["around"]["max_ms"]),
}


def draw(rows, run):
    drawn = [row for row in rows if "failed" not in row]
    height = TOP + ROW * len(drawn) + BOTTOM + 16
    command, _, machine = run.partition(": ")
    parts = [*page(WIDTH, height, "What clients see of a restart, beside other servers", [command, machine])]
    for panel, title, legends in [("lost", "What clients lost, and connections that they had to open again", BARS),
                                  ("slow", "Milliseconds to an answer", DOTS)]:
        x, _ = PANELS[panel]
        parts += [text(x, TOP - 44, title, 'font-weight="bold"')]
        parts += legend([(name, colour) for name, (colour, _) in legends.items()], x + 4, TOP - 26, 120)
    for index, row in enumerate(drawn):
        y = TOP + ROW * index
        parts.append(f'<line x1="16" x2="{WIDTH - 16}" y1="{y - 6}" y2="{y - 6}" stroke="{GRID}"/>')
        parts.append(text(NAMES, y + 17, row["name"], 'text-anchor="end"' + (
            ' font-weight="bold"' if row["name"].startswith("heirloom") else "")))
    parts += [*bars(drawn), *dots(drawn)]
    absent = [row["name"] for row in rows if "failed" in row]
    said = [f"Not measured: {'; '.join(absent)}."] if absent else []
    parts += [text(16, height - 10, " ".join([*said, "Both scales are logarithmic. At the right: p99 around restarts against "
                                              "p99 steady."]), 'fill="#555"')]
    return "\n".join([*parts, "</svg>\n"])


def bars(rows):
    x0, x1 = PANELS["lost"]
    most = max([what(row) for row in rows for _, what in BARS.values()] + [10])
    # Nothing has no length, and one is not nothing.
    length = lambda count: log10(1 + count) / log10(1 + most) * (x1 - x0 - 50)
    for index, row in enumerate(rows):
        for at, (colour, what) in enumerate(BARS.values()):
            y, count = TOP + ROW * index + 11 * at, what(row)
            yield f'<rect x="{x0}" y="{y}" width="{length(count):.1f}" height="9" fill="{colour}"/>'
            yield text(x0 + length(count) + 4, y + 8.5, f"{count:,}", 'font-size="10"')


def dots(rows):
    x0, x1 = PANELS["slow"]
    values = [max(what(row), 0.01) for row in rows for _, what in DOTS.values()] or [1]
    low, high = floor_of_ten(min(values)), 10 * floor_of_ten(max(values))
    place = lambda value: x0 + log10(max(value, low) / low) / log10(high / low) * (x1 - x0)
    bottom, tick = TOP + ROW * len(rows) - 6, low
    while tick <= high * 1.01:
        yield f'<line x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="{GRID}"/>'
        yield text(place(tick), bottom + 14, f"{tick:g}", 'text-anchor="middle"')
        tick *= 10
    for index, row in enumerate(rows):
        y, found = TOP + ROW * index + 13, [what(row) for _, what in DOTS.values()]
        yield (f'<line x1="{place(min(found)):.1f}" x2="{place(max(found)):.1f}" y1="{y}" y2="{y}" stroke="{GREY}"/>')
        yield from (f'<circle cx="{place(what(row)):.1f}" cy="{y}" r="4" fill="{colour}"/>' for colour, what in DOTS.values())
        if row["steady"]["p99_ms"]:
            yield text(x1 + 10, y + 4, f"× {row['around']['p99_ms'] / row['steady']['p99_ms']:.1f}")


def floor_of_ten(value):
    """The power of ten below it."""
    power = 0.001
    while power * 10 <= value:
        power *= 10
    return power
