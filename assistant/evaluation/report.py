"""What every command of the evaluation writes: JSON, a Markdown table with intervals, sheets of pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def interval(of: Mapping | None) -> str:
    """A value with its 95 % interval: "0.812 (0.790 to 0.830)"."""
    return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})" if of else ""


def spread(of: Mapping | None, digits: int = 3) -> str:
    """A value with half the width of its 95 % interval: "0.812 ± 0.020"."""
    return f"{of['value']:.{digits}f} ± {(of['high'] - of['low']) / 2:.{digits}f}" if of else ""


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]], corner: str = "") -> list[str]:
    """Lines of a Markdown table; a row's name stands in its first column."""
    return [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|",
            *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items())]


def write(found: Mapping, lines: Sequence[str], out: Path) -> str:
    """Write `out`.json and `out`.md; returns the Markdown."""
    text = "\n".join(lines) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def sheet(rows: Sequence[Sequence[Image.Image | np.ndarray]], cell: int, gap: int, top: int = 0) -> Image.Image:
    """Pictures in rows, each `cell` pixels wide and high, with `gap` pixels around each and `top` free above all."""
    whole = Image.new("RGB", (max(map(len, rows)) * (cell + gap) + gap, top + len(rows) * (cell + gap) + gap), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            shown = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
            whole.paste(shown.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS), (gap + x * (cell + gap), top + gap + y * (cell + gap)))
    return whole
