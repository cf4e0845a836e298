"""Infusion's comparison for people: JSON, a Markdown table, curves, a sheet of results. Makes nothing up: all is of cells and studies."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..world.renderer import render
from .. import report
from .concept_prompts import LINES, draw_concepts, draw_plain, said
from .infusion import BASE, INFUSION, METHODS, SPREAD, USUAL, Protocol, learned
from .metrics import mean, share
from .dci_subjects import subject

COSINES = ("CLIP-T", "CLIP-I", "DINO-I")
CELL, GAP, QUALITY = 128, 4, 44


def summary(cells: dict[str, list[dict]]) -> dict[str, Any]:
    """Method -> step -> every measure with its 95 % interval, pictures of all individuals together."""
    out: dict[str, Any] = {}
    for method, found in cells.items():
        for step in sorted({s for cell in found for s in cell["steps"]}, key=int):
            at = [cell["steps"][step] for cell in found if step in cell["steps"]]
            hits = [cell["hits"] for cell in at]
            row: dict[str, Any] = {name: share([hit for h in hits for hit in h.get(name, ())]) for name in sorted({n for h in hits for n in h})}
            row["kind and colour"] = share([a and b for h in hits for a, b in zip(h["kind"], h["colour"])])
            row["asked"] = share([hit for h in hits for name, all_of in h.items() if name.startswith("asked") for hit in all_of])
            row |= {name: mean([v for cell in at for v in cell[name]]) for name in COSINES}
            for name in ("w2", "fisher", "seconds"):
                values = [cell[name] for cell in at if cell.get(name) is not None]
                if values:
                    row[name] = mean(values) if len(values) > 1 else {"value": values[0], "low": values[0], "high": values[0], "count": 1}
            out.setdefault(method, {})[step] = {**row, "individuals": len(at)}
        out[method]["storage"] = found[0]["storage"]
    return out


def write(protocol: Protocol, cells: dict[str, list[dict]], studies: dict[str, dict], out: Path) -> str:
    """`out`.json, `out`.md, `out`-curves.png and `out`.webp; returns the Markdown."""
    found = summary(cells)
    fair = summary({m: c[:protocol.compared] for m, c in cells.items()})
    about = {"weights": protocol.weights, "individuals": protocol.individuals, "compared": protocol.compared, "prompts": len(LINES),
             "steps": USUAL}
    everything = {**about, "all": found, f"first {protocol.compared}": fair, **studies}
    text = report.write(everything, [f"All methods, {USUAL} steps; individuals x prompts: {protocol.compared} x {len(LINES)}.", "",
                      *_table(fair), "", f"Infusion on {protocol.individuals} individuals beside the base model's own pictures of the noun.", "",
                      *_table({m: found[m] for m in (BASE, INFUSION)}), "", *_studies(studies),
                      "Asked: what the prompt names beside the subject (place, style, thing worn and its colour, light, pose).",
                      f"95 % intervals; seconds of one core; w2 between {len(LINES)} x {SPREAD} latents before and after, on the base model's "
                      f"row between two sets of seeds; weights {protocol.weights}."], out)
    curves(fair, out.with_name(f"{out.name}-curves.png"))
    sheet(protocol, out.with_suffix(".webp"))
    return text


def _show(value: dict | None) -> str:
    if value is None:
        return ""
    digits = 3 if abs(value["value"]) < 10 else 1
    half = (value["high"] - value["low"]) / 2
    return f"{value['value']:.{digits}f}" + (f" ± {half:.{digits}f}" if half == half and half > 0 else "")


def _table(rows: dict[str, Any]) -> list[str]:
    columns = ("kind", "colour", "kind and colour", "pattern", "asked", *COSINES, "w2", "fisher", "seconds")
    at = {method: found for method, steps in rows.items() if (found := steps.get(str(USUAL), steps.get("0"))) is not None}
    return report.table((*columns, "bytes"), {m: [*(_show(found.get(c)) for c in columns), f"{rows[m]['storage']:,}"] for m, found in at.items()}, "method")


def _studies(studies: dict[str, dict]) -> list[str]:
    lines: list[str] = []
    for title, rows in studies.items():
        columns = ("moved", "kind and colour") if title == "layers and bits" else ("share",)
        cells = {name: [_show(row) if columns == ("share",) else _show(row.get(c)) for c in columns] for name, row in rows.items()}
        lines += [*report.table(columns, cells, title), ""]
    return lines


def curves(rows: dict[str, Any], place: Path) -> None:
    """W2, the Fisher divergence, and the judge's subject and prompt over training steps, a panel each."""
    panels = {"2-Wasserstein distance of latents": "w2", "latent Fisher divergence": "fisher", "kind and colour right": "kind and colour",
              "what the prompt asks for right": "asked"}
    report.lines(place, {title: {m: [(int(s), found[name]["value"]) for s, found in rows[m].items() if s.isdigit() and name in found]
                               for m in METHODS if m in rows} for title, name in panels.items()}, "steps", 2, logarithmic=True)


def sheet(protocol: Protocol, place: Path, rows: int = 8, columns: Sequence[int] = tuple(range(len(LINES)))) -> None:
    """The first individuals, a row each: two of its pictures, then each prompt by the base model (above) and by Infusion (below); none chosen."""
    rows = min(rows, protocol.individuals)
    small, line = CELL // 2 + CELL // 4, 26  # the side of a picture; the titles' height
    found: list[list[Image.Image | np.ndarray]] = []
    for number in range(rows):
        one = subject(number)
        seeds = [1000 * number + k for k in range(len(LINES))]
        with torch.no_grad():
            plain = draw_plain(protocol.base, [said(q, one.noun) for q in LINES], seeds)
            own = draw_concepts(protocol.base, [said(q, "<it>") for q in LINES], {"it": one.noun}, {"it": learned(protocol, number)}, seeds)
        for k, latents in enumerate((plain, own)):
            drawn = protocol.base.decode(latents)
            found.append([render(one.scenes[k], CELL).image, *(drawn[c] for c in columns)])
    whole = report.sheet(found, small, GAP, line)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(9)
    for c in columns:
        pen.text(((c + 1) * (small + GAP) + GAP, 2), textwrap.fill(LINES[c].replace("{}", "…"), 20), (30, 30, 34), font)
    whole.save(place, quality=QUALITY, method=6)
