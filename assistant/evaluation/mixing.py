"""What alpha does (CAFE, eq. 4): held-out subjects x drawn towards held-out pictures w, alpha from 0 to 1, named by the judge.

Pairs are made by seed, none is chosen: x and w differ in kind, colour, place and style, so that whatever is found in a picture came
from one of the two. Every pair is drawn at every alpha in one batch and from one seed, by the same way through as the page's;
once with the subject kept as the page keeps it, and once with E nearly silent, where F has to carry the subject too.
"""

import io
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..board_requests import Mix, MixReply, MixRequest, Source, strip
from ..requests import Settings
from ..world.captions import attributes
from ..world.scene import Scene, sample_individual, sample_scene
from ..models.vision_encoders import pixels
from ..engine import Assistant
from .. import report
from .test_cases import AttributeJudge
from .metrics import mean, share
from ..report import over_strips, spread, table
from .sample_grid import photo_of

ALPHAS = 11
OF_W, OF_X = ("context", "style"), ("kind", "colour")
KEEPS = {"as the page draws": 2.0, "E nearly silent": 0.25}  # strength of E
SHOWN = 4  # pairs whose strips are part of the picture


@dataclass(frozen=True)
class Pair:
    x: Scene
    w: Scene


def pairs(count: int) -> list[Pair]:
    """Seeds 0 to `count` less one."""
    out = []
    for seed in range(count):
        rng = random.Random(f"mixing/{seed}")
        x = sample_scene(rng, sample_individual(rng, held_out=True), None)
        while True:
            w = sample_scene(rng, sample_individual(rng, held_out=True), None)
            a, b = attributes(x), attributes(w)
            if all(a[name] != b[name] for name in (*OF_W, *OF_X)):
                out.append(Pair(x, w))
                break
    return out


def measure(assistant: Assistant, witness: AttributeJudge, count: int, steps: int, say: Callable[[str], None] = print) -> dict:
    """Share of pictures with w's place and style, with x's kind and colour, and with all of them, at every alpha and both KEEPS."""
    found = {"pairs": count, "steps": steps, "weights": assistant.weights, "seeds": f"0 to {count - 1}", "curves": {}, "strips": []}
    for name, keep in KEEPS.items():
        rows = []
        for seed, pair in enumerate(pairs(count)):
            settings = Settings(seed=seed, steps=steps, keep_subject=keep, preview_every=0)
            row, pictures = _row(assistant, witness, pair, settings)
            rows.append(row)
            if seed < SHOWN and not found["curves"]:
                found["strips"].append(pictures)
            if (seed + 1) % 16 == 0:
                say(f"mixing, {name}: {seed + 1} of {count} pairs")
        found["curves"][name] = {"keep subject": keep, **_curve(rows)}
    return found


def _row(assistant: Assistant, witness: AttributeJudge, pair: Pair, settings: Settings) -> tuple[list[dict], list[Image.Image]]:
    """One pair at every alpha: what is found, and x, the pictures, w."""
    size = assistant.config.decoder.image_size
    mix = Mix((photo_of(pair.x, size),), (Source(photo_of(pair.w, size)),))
    *_, reply = assistant.mix(MixRequest(strip(mix, ALPHAS), settings), threading.Event())
    assert isinstance(reply, MixReply)
    pictures = [Image.open(io.BytesIO(p.png)) for p in reply.pictures]
    x, w = attributes(pair.x), attributes(pair.w)
    found = [{**{name: there.get(name) == w[name] for name in OF_W}, **{name: there.get(name) == x[name] for name in OF_X},
              "subject": p.subject, "reference": p.sources[0]} for there, p in zip(witness.names(pixels(pictures)), reply.pictures)]
    return found, [Image.open(io.BytesIO(mix.subjects[0].png)), *pictures, Image.open(io.BytesIO(mix.sources[0].photo.png))]


def _curve(rows: list[list[dict]]) -> dict:
    """Pairs by alphas -> a line for every alpha, the best of them, and how monotone each column is."""
    lines = []
    for k in range(ALPHAS):
        here = [row[k] for row in rows]
        lines.append({"alpha": k / (ALPHAS - 1), **{name: share([r[name] for r in here]) for name in (*OF_W, *OF_X)},
                      "w's place and style": share([all(r[n] for n in OF_W) for r in here]),
                      "x's kind and colour": share([all(r[n] for n in OF_X) for r in here]),
                      "both": share([all(r[n] for n in (*OF_W, *OF_X)) for r in here]),
                      "DINO to x": mean([r["subject"] for r in here]), "CLIP to w": mean([r["reference"] for r in here])})
    best = max(lines, key=lambda line: line["both"]["value"])
    trends = {**dict.fromkeys((*OF_W, "CLIP to w"), True), **dict.fromkeys((*OF_X, "DINO to x"), False)}
    return {"rows": lines, "best alpha": best["alpha"], "best": best["both"],
            "change": {name: lines[-1][name]["value"] - lines[0][name]["value"] for name in trends},
            "against": {name: against(lines, name, rising) for name, rising in trends.items()}}


def against(rows: list[dict], name: str, rising: bool) -> float:
    """How far the curve ever goes back on what it had reached: 0 for a monotone one."""
    values = np.array([row[name]["value"] for row in rows]) * (1 if rising else -1)
    return float((np.maximum.accumulate(values) - values).max())


def write(found: dict, out: Path) -> str:
    """`out`.json, `out`.md and `out`.webp (the page's curves over strips); returns the Markdown."""
    strips, names = found.pop("strips"), (*OF_W, *OF_X, "w's place and style", "x's kind and colour", "both", "DINO to x", "CLIP to w")
    lines = []
    for title, curve in found["curves"].items():
        lines += [f"Keep the subject {curve['keep subject']:g} ({title}):", "",
                  *table(names, {f"{row['alpha']:.1f}": [spread(row[n], 2) for n in names] for row in curve["rows"]}, "alpha")]
        said = ", ".join(f"{name} {curve['change'][name]:+.2f} ({value:.2f})" for name, value in curve["against"].items())
        lines += ["", f"Both are right most often at alpha {curve['best alpha']:.1f}: {curve['best']['value']:.2f} "
                  f"({curve['best']['low']:.2f} to {curve['best']['high']:.2f}). From alpha 0 to 1, and in brackets the largest step back on the way: {said}.", ""]
    lines.append(f"{found['pairs']} held-out pairs, seeds {found['seeds']}, {found['steps']} steps, weights {found['weights']}; half widths of 95 % "
                 "intervals. Place and style are w's, kind and colour x's, as the judge names them.")
    text = report.write(found, lines, out)
    shown = next(iter(found["curves"].values()))
    series = {name: [(row["alpha"], row[name]["value"], row[name]["low"], row[name]["high"]) for row in shown["rows"]]
              for name in (*OF_W, *OF_X, "both", "DINO to x")}
    over_strips(out.with_suffix(".webp"), series, strips, shown["best alpha"], "alpha")
    return text
