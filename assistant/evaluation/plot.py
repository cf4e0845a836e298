"""Plots with 95 % intervals, drawn with Pillow: curves over strips of pictures, and fidelity against editability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, PALE, LINE = (255, 255, 255), (30, 30, 34), (110, 110, 118), (222, 222, 226)
COLOURS = ((44, 95, 102), (86, 160, 168), (176, 96, 40), (216, 154, 72), (120, 40, 90), (90, 110, 40), (60, 60, 160), (160, 60, 60))
CELL, GAP, PLOT, MARGIN = 96, 4, 300, 44  # pixels
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 980, 620, 70, 30, 250, 60  # pixels of `fidelity`
Point = tuple[float, float, float, float]  # x, value, low, high


def curves(series: Mapping[str, Sequence[Point]], strips: Sequence[Sequence[Image.Image]], mark: float, label: str) -> Image.Image:
    """Shares (0 to 1) over x (0 to 1), a vertical line at `mark`; below, a strip a row: the source, a picture for each x, the aim."""
    columns = len(strips[0])
    width = columns * (CELL + GAP) + 2 * MARGIN
    sheet = Image.new("RGB", (width, PLOT + 2 * MARGIN + len(strips) * (CELL + GAP) + GAP), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    # a picture lies under its own place on the curve
    left, right = MARGIN + 1.5 * (CELL + GAP), width - MARGIN - 1.5 * (CELL + GAP)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * (right - left), MARGIN + (1 - y) * PLOT

    for k in range(6):
        pen.line((at(0, k / 5), at(1, k / 5)), LINE)
        pen.text((left - 34, at(0, k / 5)[1] - 7), f"{k / 5:.1f}", PALE, font)
    pen.line((at(mark, 0), at(mark, 1)), PALE, 1)
    pen.text((at(mark, 1)[0] - 30, MARGIN - 18), f"{label} {mark:.1f}", PALE, font)
    ends = []
    for colour, (name, points) in zip(COLOURS, series.items()):
        shade = tuple(255 - (255 - c) // 4 for c in colour)
        for x, _, low, high in points:
            pen.line((at(x, low), at(x, high)), shade, 3)
        pen.line([at(x, value) for x, value, *_ in points], colour, 3, "curve")
        ends.append([at(1, points[-1][1])[1] - 7, name, colour])
    ends.sort(key=lambda end: end[0])
    for k, end in enumerate(ends):  # names do not lie over each other
        if k:
            end[0] = max(end[0], ends[k - 1][0] + 15)
        pen.text((right + 10, end[0]), end[1], end[2], font)
    for row, strip in enumerate(strips):
        for column, picture in enumerate(strip):
            shown = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(shown, (MARGIN + column * (CELL + GAP), PLOT + 2 * MARGIN + row * (CELL + GAP)))
    pen.text((MARGIN + 40, PLOT + 2 * MARGIN - 18), "x", PALE, font)
    pen.text((width - MARGIN - CELL // 2 - 8, PLOT + 2 * MARGIN - 18), "w", PALE, font)
    for k in range(columns - 2):
        pen.text((at(k / (columns - 3), 0)[0] - 9, PLOT + 2 * MARGIN - 18), f"{k / (columns - 3):.1f}", PALE, font)
    return sheet


def series_of(label: str) -> str:
    """Rows of one series differ in what stands behind the last comma, or in lambda."""
    return "DCI" if "λ =" in label or label.startswith("T_a") else label.rpartition(",")[0] or label


def fidelity(rows: Sequence[dict], x: str = "subject", y: str = "prompt") -> Image.Image:
    """A point a row with its intervals, rows of one series joined. `rows`: label, and of both measures value, low, high."""
    low, high = ([fold(r[m][key] for r in rows) for m in (x, y)] for key, fold in (("low", min), ("high", max)))
    span = [max(1e-3, b - a) for a, b in zip(low, high)]
    low, span = [a - 0.04 * s for a, s in zip(low, span)], [1.08 * s for s in span]
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(13), ImageFont.load_default(11)

    def at(a: float, b: float) -> tuple[float, float]:
        return (LEFT + (a - low[0]) / span[0] * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - (b - low[1]) / span[1] * (HEIGHT - TOP - BOTTOM))

    for k in range(6):
        a, b = low[0] + span[0] * k / 5, low[1] + span[1] * k / 5
        pen.line((at(a, low[1]), at(a, low[1] + span[1])), LINE)
        pen.line((at(low[0], b), at(low[0] + span[0], b)), LINE)
        pen.text((at(a, low[1])[0] - 12, HEIGHT - BOTTOM + 6), f"{a:.2f}", PALE, small)
        pen.text((LEFT - 36, at(low[0], b)[1] - 7), f"{b:.2f}", PALE, small)
    pen.text((LEFT, HEIGHT - BOTTOM + 26), "the subject, found by the judge", INK, font)
    pen.text((8, 8), "the prompt, found by the judge", INK, font)
    names = list(dict.fromkeys(series_of(r["label"]) for r in rows))
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        shade = tuple(255 - (255 - c) // 4 for c in colour)
        own = [r for r in rows if series_of(r["label"]) == name]
        if all(r["learned"]["steps"] != own[0]["learned"]["steps"] for r in own[1:]):
            own.sort(key=lambda r: r["learned"]["steps"])
        for r in own:
            pen.line((at(r[x]["low"], r[y]["value"]), at(r[x]["high"], r[y]["value"])), shade, 1)
            pen.line((at(r[x]["value"], r[y]["low"]), at(r[x]["value"], r[y]["high"])), shade, 1)
        points = [at(r[x]["value"], r[y]["value"]) for r in own]
        if len(points) > 1:
            pen.line(points, colour, 2, "curve")
        for r, (px, py) in zip(own, points):
            pen.ellipse((px - 4, py - 4, px + 4, py + 4), colour)
            tail = r["label"].rpartition(",")[2].rpartition("λ = ")[2].strip() if len(own) > 1 else ""
            pen.text((px + 6, py - 14), tail.removesuffix(" steps"), colour, small)
        pen.ellipse((WIDTH - RIGHT + 14, TOP + 18 * number + 4, WIDTH - RIGHT + 22, TOP + 18 * number + 12), colour)
        pen.text((WIDTH - RIGHT + 28, TOP + 18 * number), name[:36], INK, small)
    return sheet
