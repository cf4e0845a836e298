"""What commands write: JSON, Markdown tables with 95 % intervals, sheets of pictures, plots by matplotlib."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .errors import ConfigError


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


INCH = 100  # pixels
CELL, GAP = 96, 4  # pixels, of a strip
Point = tuple[float, float, float, float]  # x, value, low, high


def figure(width: float, height: float) -> Any:
    """A matplotlib Figure of so many pixels, with no state outside it. Raises ConfigError: there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("Plots need matplotlib, which is not installed.", "Run: pip install -r tests/requirements.txt") from error
    return Figure((width / INCH, height / INCH), INCH, layout="constrained")


def _save(whole: Any, place: Path) -> None:
    from matplotlib import rc_context

    place.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": place.stem}):  # the same plot gives the same file
        whole.savefig(place, **({"metadata": {"Date": None}} if place.suffix == ".svg" else {}))


def lines(place: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], x: str, columns: int, logarithmic: bool = False) -> None:
    """Write panels by title, each with lines by name through points (x, y), y from 0 on; the last y stands beside a name."""
    rows = -(-len(panels) // columns)
    whole = figure(400 * columns, 320 * rows)
    for axes, (title, series) in zip(whole.subplots(rows, columns, squeeze=False).flat, panels.items()):
        for name, points in series.items():
            if points:
                axes.plot(*zip(*sorted(points)), ".-", label=f"{name} {max(points)[1]:.3g}")
        axes.set(title=title, xlabel=x, xscale="log" if logarithmic else "linear")
        axes.set_xlim(None if logarithmic else 0)
        axes.set_ylim(0)
        axes.grid(alpha=0.4)
        axes.legend(fontsize="small")
    _save(whole, place)


def over_strips(place: Path, series: Mapping[str, Sequence[Point]], strips: Sequence[Sequence[Image.Image]], mark: float, label: str) -> None:
    """Shares (0 to 1) over x (0 to 1), a vertical line at `mark`; below, a strip a row: the source, a picture for each x, the aim."""
    width, height = (n * (CELL + GAP) for n in (len(strips[0]), len(strips)))
    whole, step = figure(width, height + 400), 1 / (len(strips[0]) - 3)
    span = -1.5 * step, 1 + 1.5 * step  # so that a picture lies under its own place on the curve
    above, below = whole.subplots(2, 1, sharex=True, height_ratios=(400, height))
    for name, points in series.items():
        at, value, low, high = np.array(points).T
        above.errorbar(at, value, (value - low, high - value), label=name)
    above.axvline(mark, color="grey", linestyle=":")
    above.set(xlim=span, ylim=(0, 1), title=f"{label} {mark:.1f}: both most often")
    above.grid(alpha=0.4)
    above.legend(loc="center right", fontsize="small")
    below.imshow(sheet(strips, CELL, GAP), extent=(*span, 0, 1), aspect="auto")
    below.set(xticks=[span[0] + step / 2, *np.linspace(0, 1, len(strips[0]) - 2), span[1] - step / 2], yticks=[],
              xticklabels=["x", *(f"{k * step:.1f}" for k in range(len(strips[0]) - 2)), "w"])
    _save(whole, place)


def series_of(label: str) -> str:
    """Rows of one series differ in what stands behind the last comma, or in lambda."""
    return "DCI" if "λ =" in label or label.startswith("T_a") else label.rpartition(",")[0] or label


def fidelity(place: Path, rows: Sequence[dict]) -> None:
    """Subject against prompt: a point a row with its intervals, rows of one series joined. `rows`: label, and of both value, low, high."""
    whole = figure(980, 620)
    axes, measures = whole.subplots(), ("subject", "prompt")
    for name in dict.fromkeys(series_of(r["label"]) for r in rows):
        own = [r for r in rows if series_of(r["label"]) == name]
        if all(r["learned"]["steps"] != own[0]["learned"]["steps"] for r in own[1:]):
            own.sort(key=lambda r: r["learned"]["steps"])
        (a, b), (a_error, b_error) = zip(*((  # of both measures the values, and how far the intervals go below and above
            np.array([r[m]["value"] for r in own]), np.abs([[r[m][end] - r[m]["value"] for r in own] for end in ("low", "high")])) for m in measures))
        axes.errorbar(a, b, b_error, a_error, fmt="o-", elinewidth=0.5, label=name)
        for r, at in zip(own if len(own) > 1 else (), zip(a, b)):
            tail = r["label"].rpartition(",")[2].rpartition("λ = ")[2].strip()
            axes.annotate(tail.removesuffix(" steps"), at, (5, 5), textcoords="offset points", fontsize="small")
    axes.set(xlabel="the subject, found by the judge", ylabel="the prompt, found by the judge")
    axes.grid(alpha=0.4)
    whole.legend(loc="outside right upper", fontsize="small")
    _save(whole, place)


def histograms(place: Path, panels: Sequence[tuple[str, dict[str, Sequence[int]], dict[str, float]]]) -> None:
    """Write panels below each other, each with its share of counts per bin.

    Args:
        panels: title, counts by name (as many bins each, from -1 to 1), and upright marks by name.
    """
    whole = figure(480, 230 * len(panels))
    for axes, (title, series, marks) in zip(whole.subplots(len(panels), squeeze=False).flat, panels):
        for name, counts in series.items():
            axes.stairs(np.divide(counts, max(1, sum(counts))), np.linspace(-1.0, 1.0, len(counts) + 1), label=name)
        for name, value in marks.items():
            axes.axvline(value, color="grey", linestyle=":")
            axes.text(value, axes.get_ylim()[1], f"{name} {value:.2f}", color="grey", rotation=90, va="top", fontsize="x-small")
        axes.set(title=title)
        axes.legend(fontsize="small")
    _save(whole, place)
