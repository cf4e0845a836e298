"""Curves with their 95 % intervals over strips of pictures, drawn with Pillow. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, PALE, LINE = (255, 255, 255), (30, 30, 34), (110, 110, 118), (222, 222, 226)
COLOURS = ((44, 95, 102), (86, 160, 168), (176, 96, 40), (216, 154, 72), (120, 40, 90), (140, 140, 146))
CELL, GAP, PLOT, MARGIN = 96, 4, 300, 44  # pixels
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
