"""How well DCI's masks find the subject: intersection over union with where the judge finds it in the picture that was drawn.

The masks are those of the window, early in denoising; the judge looks at the finished picture. How well the judge's own regions
agree with the renderer's masks, on drawings, stands beside.
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
from ..miniature.vocabulary import CONTEXT_SAID
from ..miniature.world import sample_scene
from ..mllm.vision import pixels
from .likeness import DRAWN, Lab, Learned, Row
from .metrics import mean

FRESH = 4  # pictures of each subject
SHOWN, CELL, GAP = 8, 128, 6
JUDGE = "the judge's region, on drawings"


def masks(lab: Lab) -> dict:
    """Per scale and per layer: the concept branch's sum over its token set (eq. 3), and eq. 4's mask of the concept branch."""
    found: dict[str, dict[str, list[float]]] = {"eq. 3, V* and noun": {}, "eq. 4, the concept's": {}, JUDGE: {}}
    examples = []
    for number in range(lab.subjects):
        who, rng = lab.who(number), random.Random(f"masks/{number}")
        scenes = [replace(sample_scene(rng, who.one, None), accessories=()) for _ in range(FRESH)]
        prompts = [f"a <one> {CONTEXT_SAID[scene.context][0]}" for scene in scenes]
        drawings = [render(scene, lab.config.decoder.image_size) for scene in scenes]
        true = torch.from_numpy(np.stack([np.asarray(d.mask, np.float32) / 255 for d in drawings]))
        found[JUDGE].setdefault("16", []).extend(overlap(lab.witness.where(pixels([d.image for d in drawings])), true))
        concept, seen = lab.concept(number, Learned()), Seen()
        several = [branches(lab.base, concept, p, lab.noun(who, p, Row(""))) for p in prompts]
        pictures = lab.base.decode(together(several).draw(range(FRESH), steps=DRAWN, seen=seen).latents)
        where = lab.witness.where(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        turned = {layer: [1 - m for m in steps] for layer, steps in seen.auxiliary.items()}
        for name, kept in zip(found, (seen.concept, turned)):
            for scale, layers in scales(kept).items():
                found[name].setdefault(scale, []).extend(overlap(at_scale(kept, scale), where))
                for layer in layers if len(layers) > 1 else ():
                    found[name].setdefault(layer, []).extend(overlap(at_scale({layer: kept[layer]}, scale), where))
        if len(examples) < SHOWN:
            examples.append([pictures[0], overlaid(pictures[0], where[0], 0.7),
                             *(overlaid(pictures[0], at_scale(seen.concept, scale)[0], 0.7) for scale in scales(seen.concept))])
        lab.say(f"subject {number + 1} of {lab.subjects}")
    return {"study": "masks", "base": lab.identity, "subjects": lab.subjects, "pictures": FRESH, "examples": examples, "scales": list(scales(seen.concept)),
            "rows": {name: {scale: mean(values) for scale, values in by.items()} for name, by in found.items()}}


def write_masks(found: dict, out: Path) -> str:
    """`out`.json, .md, and .webp with examples: picture, where the judge finds the subject, and the concept's mask at every scale, laid over it."""
    examples, names = found.pop("examples"), list(found["rows"])
    lines = ["| IoU with the subject | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for side in dict.fromkeys(s for by in found["rows"].values() for s in by):
        cells = (by.get(side) for by in found["rows"].values())
        lines.append(f"| {side} | " + " | ".join(f"{c['value']:.3f} ± {(c['high'] - c['low']) / 2:.3f}" if c else "" for c in cells) + " |")
    lines += ["", f"{found['subjects']} held-out subjects x {found['pictures']} pictures from noise in {DRAWN} steps; masks averaged over a scale's layers, heads "
              "and the window's steps, stretched, cut at one half; the subject's region is the judge's, in the finished picture; ±: half of a 95 % interval."]
    text = "\n".join(lines) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    sheet = Image.new("RGB", (len(examples[0]) * (CELL + GAP) + GAP, len(examples) * (CELL + GAP) + GAP + 16), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for k, title in enumerate(["picture", "the judge's region", *found["scales"]]):
        pen.text((GAP + k * (CELL + GAP), 2), title, (60, 60, 66), font)
    for row, cells in enumerate(examples):
        for column, cell in enumerate(cells):
            image = Image.fromarray(cell).resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(image, (GAP + column * (CELL + GAP), 16 + GAP + row * (CELL + GAP)))
    sheet.save(out.with_suffix(".webp"), quality=72, method=6)
    return text
