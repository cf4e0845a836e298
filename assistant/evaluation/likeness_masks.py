"""How well DCI's masks find the subject: intersection over union with the true mask, per scale, on fresh drawings of what was learned.

The drawn world knows where its subject is. A drawing that was not learned from takes the place of the first guess, the UNet goes on
from it as it does from any, and the masks of the window are compared with the renderer's.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..concepts.branches import branches, together
from ..concepts.mask_pictures import at_scale, overlaid, overlap, scales
from ..control.dci import Seen
from ..miniature.renderer import render
from ..miniature.world import sample_scene
from .likeness import DRAWN, Lab, Learned, Row
from .metrics import mean

FRESH = 4  # drawings of each subject
SHOWN, CELL, GAP = 8, 128, 6


def masks(lab: Lab) -> dict:
    """Per scale: the concept branch's sum over its token set (eq. 3), and eq. 4's mask of the concept branch."""
    found: dict[str, dict[str, list[float]]] = {"eq. 3, V* and noun": {}, "eq. 4, the concept's": {}}
    examples = []
    for number in range(lab.subjects):
        who, rng = lab.who(number), random.Random(f"masks/{number}")
        drawings = [render(replace(sample_scene(rng, who.one, None), accessories=()), lab.config.decoder.image_size) for _ in range(FRESH)]
        rng = random.Random(f"masks/{number}")
        places = [sample_scene(rng, who.one, None).context for _ in range(FRESH)]
        pictures = np.stack([np.asarray(d.image) for d in drawings])
        truth = torch.from_numpy(np.stack([np.asarray(d.mask, np.float32) for d in drawings]))
        truth, concept, seen = truth / truth.max(), lab.concept(number, Learned()), Seen()
        several = [branches(lab.base, concept, f"a <one> in the {p}", lab.noun(who, p, Row(""))) for p in places]
        guess = lab.base.encode_image(torch.from_numpy(pictures))
        together(several).draw(range(FRESH), steps=DRAWN, seen=seen, guess=guess)
        turned = {layer: [1 - m for m in steps] for layer, steps in seen.auxiliary.items()}
        for name, kept in zip(found, (seen.concept, turned)):
            for side in scales(kept):
                found[name].setdefault(side, []).extend(overlap(at_scale(kept, side), truth))
        if len(examples) < SHOWN:
            examples.append([pictures[0], np.repeat((truth[0] * 255).byte().numpy()[..., None], 3, 2),
                             *(overlaid(pictures[0], at_scale(seen.concept, side)[0], 0.7) for side in scales(seen.concept))])
        lab.say(f"subject {number + 1} of {lab.subjects}")
    return {"study": "masks", "base": lab.identity, "subjects": lab.subjects, "drawings": FRESH, "examples": examples,
            "rows": {name: {side: mean(values) for side, values in by.items()} for name, by in found.items()}}


def write_masks(found: dict, out: Path) -> str:
    """`out`.json, .md, and .webp with examples: drawing, true mask, and the concept's mask at every scale, laid over it."""
    examples, sides = found.pop("examples"), list(next(iter(found["rows"].values())))
    lines = ["| IoU with the subject | " + " | ".join(sides) + " |", "|---|" + "---|" * len(sides)]
    for name, by in found["rows"].items():
        lines.append(f"| {name} | " + " | ".join(f"{by[s]['value']:.3f} ± {(by[s]['high'] - by[s]['low']) / 2:.3f}" for s in sides) + " |")
    lines += ["", f"{found['subjects']} held-out subjects x {found['drawings']} drawings that were not learned from; masks averaged over a scale's layers, heads "
              "and the window's steps, stretched, cut at one half; ±: half of a 95 % interval."]
    text = "\n".join(lines) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    sheet = Image.new("RGB", (len(examples[0]) * (CELL + GAP) + GAP, len(examples) * (CELL + GAP) + GAP + 16), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for k, title in enumerate(["drawing", "true mask", *sides]):
        pen.text((GAP + k * (CELL + GAP), 2), title, (60, 60, 66), font)
    for row, cells in enumerate(examples):
        for column, cell in enumerate(cells):
            image = Image.fromarray(cell).resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(image, (GAP + column * (CELL + GAP), 16 + GAP + row * (CELL + GAP)))
    sheet.save(out.with_suffix(".webp"), quality=72, method=6)
    return text
