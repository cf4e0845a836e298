"""Draws histograms as a small picture, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

INKS = ((52, 100, 208), (214, 52, 50), (74, 160, 70), (136, 76, 184), (240, 136, 36))
WIDTH, HEIGHT, MARGIN = 420, 150, 26


def plot(path: Path, panels: Sequence[tuple[str, dict[str, Sequence[int]], dict[str, float]]], low: float = -1.0, high: float = 1.0) -> None:
    """Write panels below each other as PNG, each with its share of counts per bin.

    Args:
        panels: title, counts by name (as many bins each, from `low` to `high`), and upright marks by name.
    """
    whole = Image.new("RGB", (WIDTH + 2 * MARGIN, len(panels) * (HEIGHT + 3 * MARGIN)), "white")
    pen = ImageDraw.Draw(whole)
    for number, (title, series, marks) in enumerate(panels):
        top = number * (HEIGHT + 3 * MARGIN) + MARGIN
        bottom = top + HEIGHT
        pen.text((MARGIN, top - 18), title, fill="black")
        pen.line((MARGIN, bottom, MARGIN + WIDTH, bottom), fill="black")
        shares = {name: [c / max(1, sum(counts)) for c in counts] for name, counts in series.items()}
        tallest = max((max(s, default=0.0) for s in shares.values()), default=0.0) or 1.0
        for k, (name, share) in enumerate(shares.items()):
            ink, step, points = INKS[k % len(INKS)], WIDTH / len(share), []
            for i, value in enumerate(share):
                y = bottom - value / tallest * HEIGHT
                points += [(MARGIN + i * step, y), (MARGIN + (i + 1) * step, y)]
            pen.line(points, fill=ink, width=2)
            pen.text((MARGIN + 4, top + 12 * k), name, fill=ink)
        for value in (low, 0.0, high):
            pen.text((MARGIN + (value - low) / (high - low) * WIDTH - 4, bottom + 3), f"{value:g}", fill="black")
        for name, value in marks.items():
            x = MARGIN + (value - low) / (high - low) * WIDTH
            pen.line((x, top, x, bottom), fill=(120, 120, 120))
            pen.text((x + 3, bottom + 14), f"{name} {value:.2f}", fill=(90, 90, 90))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path)
