"""What alpha does (CAFE, eq. 4): held-out subjects x drawn towards held-out pictures w, alpha from 0 to 1, named by the judge.

Pairs are made by seed, none is chosen: x and w differ in kind, colour, place and style, so that whatever is found in a picture came
from one of the two. Every pair is drawn at every alpha in one batch and from one seed, by the same way through as the page's.
"""

from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..board import Mix, MixReply, MixRequest, Source, strip
from ..messages import Settings
from ..miniature.reading import attributes
from ..miniature.world import Scene, sample_individual, sample_scene
from ..mllm.vision import pixels
from ..pipeline import Assistant
from .cases import Witness
from .metrics import mean, share
from .plot import curves
from .sheet import photo_of

ALPHAS = 11
OF_W, OF_X = ("context", "style"), ("kind", "colour")
SHOWN = 6  # pairs whose strips are part of the picture


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


def measure(assistant: Assistant, witness: Witness, count: int, steps: int, say: Callable[[str], None] = print) -> dict:
    """Share of pictures with w's place and style, with x's kind and colour, and with all of them, at every alpha."""
    size, rows, strips = assistant.config.decoder.image_size, [], []
    for seed, pair in enumerate(pairs(count)):
        mix = Mix((photo_of(pair.x, size),), (Source(photo_of(pair.w, size)),))
        settings = Settings(seed=seed, steps=steps, preview_every=0)
        *_, reply = assistant.mix(MixRequest(strip(mix, ALPHAS), settings), threading.Event())
        assert isinstance(reply, MixReply)
        pictures = [Image.open(io.BytesIO(p.png)) for p in reply.pictures]
        x, w = attributes(pair.x), attributes(pair.w)
        rows.append([{**{name: there.get(name) == w[name] for name in OF_W}, **{name: there.get(name) == x[name] for name in OF_X},
                      "subject": p.subject, "reference": p.sources[0]}
                     for there, p in zip(witness.names(pixels(pictures)), reply.pictures)])
        if seed < SHOWN:
            strips.append([Image.open(io.BytesIO(mix.subjects[0].png)), *pictures, Image.open(io.BytesIO(mix.sources[0].photo.png))])
        if (seed + 1) % 16 == 0:
            say(f"mixing: {seed + 1} of {count} pairs")
    found = {"pairs": count, "steps": steps, "weights": assistant.weights, "seeds": f"0 to {count - 1}", "rows": []}
    for k in range(ALPHAS):
        here = [row[k] for row in rows]
        line = {"alpha": k / (ALPHAS - 1), **{name: share([r[name] for r in here]) for name in (*OF_W, *OF_X)},
                "w's place and style": share([all(r[n] for n in OF_W) for r in here]), "x's kind and colour": share([all(r[n] for n in OF_X) for r in here]),
                "both": share([all(r[n] for n in (*OF_W, *OF_X)) for r in here]),
                "DINO to x": mean([r["subject"] for r in here]), "CLIP to w": mean([r["reference"] for r in here])}
        found["rows"].append(line)
    best = max(found["rows"], key=lambda line: line["both"]["value"])
    found["best alpha"], found["best"] = best["alpha"], best["both"]
    found["against"] = {name: against(found["rows"], name, rising) for name, rising in
                        (*((n, True) for n in (*OF_W, "CLIP to w")), *((n, False) for n in (*OF_X, "DINO to x")))}
    return {**found, "strips": strips}


def against(rows: list[dict], name: str, rising: bool) -> float:
    """How far the curve ever goes back on what it had reached: 0 for a monotone one."""
    values = np.array([row[name]["value"] for row in rows]) * (1 if rising else -1)
    return float((np.maximum.accumulate(values) - values).max())


def write(found: dict, out: Path) -> str:
    """`out`.json, `out`.md and `out`.webp (curves over strips); returns the Markdown."""
    strips = found.pop("strips")
    names = (*OF_W, *OF_X, "w's place and style", "x's kind and colour", "both", "DINO to x", "CLIP to w")
    lines = ["| alpha | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in found["rows"]:
        cells = (f"{row[n]['value']:.2f} ± {(row[n]['high'] - row[n]['low']) / 2:.2f}" for n in names)
        lines.append(f"| {row['alpha']:.1f} | " + " | ".join(cells) + " |")
    back = ", ".join(f"{name} {value:.2f}" for name, value in found["against"].items())
    lines += ["", f"{found['pairs']} held-out pairs, seeds {found['seeds']}, {found['steps']} steps, weights {found['weights']}; half widths of "
              f"95 % intervals. Place and style are w's, kind and colour x's. Both are right most often at alpha {found['best alpha']:.1f}: "
              f"{found['best']['value']:.2f} ({found['best']['low']:.2f} to {found['best']['high']:.2f}). Largest step back on each curve: {back}."]
    text = "\n".join(lines) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    series = {name: [(row["alpha"], row[name]["value"], row[name]["low"], row[name]["high"]) for row in found["rows"]] for name in (*OF_W, *OF_X, "both")}
    curves(series, strips, found["best alpha"], "alpha").save(out.with_suffix(".webp"), quality=82)
    return text
