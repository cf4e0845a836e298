"""CAFE's table 3: the same decoder trained on D1 (filtered automatically), D2 (by people), D3 (SID's own) and D4 = D1 + D3.

All go on from the weights that ship and see as many samples. "People" are the drawn world's ground truth: what the method took the
photo's subject for, and, where there is a judge, what it sees in the target. Measured on individuals that were never trained on,
with instructions that M reads (H(s)), by any `Eyes`; only the decoder differs between rows, E, F and M are the same.
"""

import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from ..generation.base import ImageFeatures
from ..files import SHARED, write_whole
from ..world.scene import CONTEXTS, LIGHTS, POSES, STYLES
from ..models.vision_encoders import pixels
from ..engine import Assistant
from ..data import build, filters, target_generators
from ..data.shards import Quadruplet, Reader
from ..data.instructions import Wanted, drawn_wish
from ..training.self_distillation import Run
from ..checkpoints import load_cafe
from .. import report
from .test_cases import SUBJECT, AttributeJudge
from .metrics import mean, share
from ..report import interval

HELD_OUT = 53  # seed of the wishes that are measured on
BATCH = 16
ROWS = ("D1", "D2", "D3", "D4")
ABOUT = {"D1": "filtered automatically", "D2": "D1 filtered by ground truth", "D3": "SID: eq. 4, filtered automatically", "D4": "D1 + D3"}
STAGE = {"context": CONTEXTS, "light": LIGHTS, "style": STYLES, "pose": POSES}


@dataclass(frozen=True)
class Asked:
    """What is measured on: wishes, E(x) of their photos (n, 257, d_E), and H(s) of M's answers (n, d_F)."""

    wishes: list[Wanted]
    patches: Tensor
    semantics: Tensor


def ask(assistant: Assistant, count: int, place: Path) -> Asked:
    """`count` instructions about held-out individuals, read by M; H(s) is kept in the file `place`. What M answers in words only
    is left out."""
    side, image_generator = assistant.config.decoder.image_size, assistant.image_generator
    wishes = [drawn_wish(HELD_OUT, n, side, held_out=True) for n in range(count)]
    looks = [image_generator.look(pixels([w.photo for w in wishes[k:k + BATCH]])) for k in range(0, count, BATCH)]
    patches, semantics = torch.cat([s.patches for s in looks]), torch.cat([s.semantics for s in looks])
    if not place.exists():
        states, drew, nothing = [], [], patches.new_zeros(1, assistant.config.language.semantic_width)
        for k, wish in enumerate(wishes):
            found = image_generator.hear(f"draw it {wish.words}", ImageFeatures(patches[k:k + 1], semantics[k:k + 1]), threading.Event())
            drew.append(found is not None)
            states.append(found if drew[-1] else nothing)
        write_whole(place, save({"semantics": torch.cat(states), "drew": torch.tensor(drew)}), SHARED)
    found = load_file(place)
    at = found["drew"].nonzero()[:, 0]
    return Asked([wishes[k] for k in at.tolist()], patches[at], found["semantics"][at])


def people(witness: AttributeJudge | None) -> Callable[[Quadruplet], bool]:
    """Whether a person would keep a target: its method took the photo's subject for what it is, and the judge, if there is one,
    finds in the target that subject and all that was asked for."""

    def keeps(sample: Quadruplet) -> bool:
        who, asked = sample.about["photo"], sample.about["asked"]
        wanted = {k: who[k] for k in SUBJECT if k != "second" or who["pattern"] != "plain"}
        if any(sample.about["told"]["seen"][k] != v for k, v in wanted.items()):
            return False
        if witness is None:
            return True
        there = witness.names(pixels([Image.open(io.BytesIO(sample.target))]))[0]
        return all(there[k] == v for k, v in (wanted | {k: asked[k] for k in STAGE}).items())

    return keeps


@torch.no_grad()
def measure(run: Run, asked: Asked, eyes: filters.Embedder, weights: Path, witness: AttributeJudge | None = None) -> dict[str, list[Any]]:
    """Answers by the decoder in `weights`: of each case DINO-I, CLIP-T, and what the judge finds rightly."""
    decoder = load_cafe(run.parts.config, weights)
    out: dict[str, list[Any]] = {"dino": [], "clip": []}
    for start in range(0, len(asked.wishes), BATCH):
        wishes, patches, semantics = (x[start:start + BATCH] for x in (asked.wishes, asked.patches, asked.semantics))
        made = target_generators.draw(decoder, patches, semantics, [w.seed for w in wishes], run.sizes.steps)
        for found in filters.scores(eyes, [w.photo for w in wishes], made, [w.line for w in wishes]):
            out["dino"].append(found["dino"]), out["clip"].append(found["clip"])
        for wish, there in zip(wishes, witness.names(pixels(made)) if witness else ()):
            wanted = {**{k: wish.who[k] for k in SUBJECT}, **{k: wish.asked[k] for k in STAGE}}
            if wish.who["pattern"] == "plain":
                del wanted["second"]
            for k, v in wanted.items():
                out.setdefault(k, []).append(there[k] == v)
    return out


def table3(run: Run, assistant: Assistant, eyes: filters.Embedder, cases: int, seeds: int, witness: AttributeJudge | None = None) -> dict[str, Any]:
    """Data, filters, SID's round, training of every row, measures; whatever is in `run.folder` already is kept."""
    sizes, place = run.sizes, run.folder
    d1 = run.first_data()
    chosen = place / "d2.json"
    if not chosen.exists():
        started, keeps = time.monotonic(), people(witness)
        keys = [s.key for s in Reader(d1, rank=0, world=1).epoch(0, 0) if keeps(s)]
        write_whole(chosen, json.dumps(sorted(keys)).encode(), SHARED)
        run.log("d2", started, kept=len(keys))
    human = set(json.loads(chosen.read_text()))
    data, start = {"D1": run.pairs(d1), "D2": run.pairs(d1, only=human.__contains__)}, run.parts.folder
    d3 = run.more_data(1, run.train("D1-0", data["D1"], start, 0, sizes.samples))
    run.plot([d1, d3])
    data |= {"D3": run.pairs(d3), "D4": run.pairs(d1, d3)}

    asked = ask(assistant, cases, place / "asked.safetensors")
    found: dict[str, list[dict]] = {"start": [measure(run, asked, eyes, start, witness)]}
    for row in ROWS:
        trained = [run.train(f"{row}-{seed}", data[row], start, seed, sizes.samples) for seed in range(seeds)]
        found[row] = [measure(run, asked, eyes, weights, witness) for weights in trained]
    costs = {"D1": build.cost(d1), "D3": build.cost(d3)}
    first_only, both = costs["D1"]["seconds"] / 60, sum(c["seconds"] for c in costs.values()) / 60
    minutes = {"D1": first_only, "D2": first_only, "D3": both, "D4": both}  # D3 is made by a decoder that was trained on D1
    rows = {row: _summary(found[row], found["D1"]) for row in found}
    for row in ROWS:
        rows[row] |= {"samples": len(data[row]), "minutes of data": round(minutes[row], 1)}
    return {"rows": rows, "attempts": {k: c["attempts"] for k, c in costs.items()}, "thresholds": run.calibration()["thresholds"],
            "samples seen": sizes.samples // sizes.batch * sizes.batch, "steps": sizes.steps, "seeds": seeds, "cases": len(asked.wishes), "asked": cases,
            "people": "ground truth of what the method saw" + (", and the judge" if witness else ""), "weights": run.parts.weights}


def _summary(found: Sequence[dict[str, list]], first: Sequence[dict[str, list]]) -> dict[str, Any]:
    """Of every measure its mean over cases, each the mean of its trainings; the difference to `first` in the same cases; and the
    means of the trainings, which tell how much chance there is in training."""
    out: dict[str, Any] = {}
    for name in found[0]:
        if name in ("dino", "clip"):
            own, theirs = (torch.tensor([r[name] for r in runs], dtype=torch.float64).mean(0) for runs in (found, first))
            out[name] = {**mean(own.tolist()), "less D1": mean((own - theirs).tolist()), "trainings": [sum(r[name]) / len(r[name]) for r in found]}
        else:
            out[name] = share([hit for r in found for hit in r[name]])
    return out


def write(found: dict[str, Any], out: Path) -> str:
    """`out`.json and `out`.md; returns the Markdown."""
    names = [k for k in ("kind", "colour", "pattern", "context", "style") if k in found["rows"]["D1"]]
    rows = {f"{row}: {ABOUT.get(row, 'the weights that ship')}": [
        str(values.get("samples", "")), str(values.get("minutes of data", "")), interval(values["dino"]), interval(values["clip"]),
        *(interval(values[k]["less D1"] if row != "D1" else None) for k in ("dino", "clip")), *(interval(values[k]) for k in names)]
        for row, values in found["rows"].items()}
    columns = ("samples", "minutes", "DINO-I", "CLIP-T", "DINO-I less D1", "CLIP-T less D1", *names)
    return report.write(found, [*report.table(columns, rows, "data"), "", f"{found['cases']} held-out cases, {found['seeds']} trainings of each row, each of {found['samples seen']} samples; {found['steps']} steps; 95 % intervals; "
                        f"minutes of data on one core. People: {found['people']}."], out)
