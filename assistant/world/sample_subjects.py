"""Draws the ready subjects that the page offers: eight individuals from outside the training set, with wishes for each."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

from .captions import describe
from .renderer import render
from .scene import COLOURS, PATTERNS, Individual, can_pair, individual_held_out, sample_individual, sample_scene

_CAST = (  # kind, colour, pattern, context, style, wishes; the second colour is the first that makes the individual held out
    ("cat", "orange", "striped", "garden", "flat", ("I want something creative for this one, can you help?", "on the moon, with a crown")),
    ("robot", "teal", "plain", "city", "flat", ("something cosy, please", "as a watercolour in the forest")),
    ("teapot", "blue", "spotted", "kitchen", "watercolour", ("surprise me", "at the castle, at sunset")),
    ("bunny", "pink", "patched", "farm", "papercut", ("make it dreamy", "in the snow with a red scarf")),
    ("owl", "purple", "starry", "forest", "flat", ("something spooky for a poster", "in the library, pixel art")),
    ("fox", "red", "plain", "mountains", "pencil", ("a summer postcard", "at night in the city, neon")),
    ("turtle", "green", "checked", "beach", "flat", ("an adventure!", "underwater, jumping")),
    ("backpack", "yellow", "striped", "mountains", "pixel", ("make an ad for it", "in the desert with sunglasses")),
)


def _cast(rng: random.Random, kind: str, colour: str, pattern: str) -> Individual:
    """A held-out individual of that kind and colour; if no second colour makes one with that pattern, another pattern."""
    for wanted in (pattern, *(p for p in PATTERNS if p != pattern)):
        for second in COLOURS:
            who = replace(sample_individual(rng), kind=kind, colour=colour, second=second, pattern=wanted)
            if second != colour and can_pair(colour, second) and individual_held_out(who):
                return who
    raise ValueError(f"every {colour} {kind} is trained on")


def write_ready_subjects(folder: Path, size: int) -> None:
    """Write eight PNG files and subjects.json."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = []
    for number, (kind, colour, pattern, context, style, wishes) in enumerate(_CAST):
        rng = random.Random(f"ready/{number}")
        who = _cast(rng, kind, colour, pattern)
        scene = replace(sample_scene(rng, who, None), context=context, style=style, light="day", pose="standing",
                        accessories=(), scale=0.65, x=0.5)
        name = f"{number}-{kind}.png"
        render(scene, size).image.save(folder / name)
        listing.append({"file": name, "name": describe(who), "wishes": list(wishes)})
    (folder / "subjects.json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")
