"""Where quadruplets begin: a photo, an instruction, and the dialogue around it, by the drawn world's templates.

At full size the photos are a collection of pictures, the instructions a list, and the dialogue a language model's; whatever has the
form of `Wanted` will do.
"""

import random
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..world import vocabulary as v
from ..world.captions import attributes, describe
from ..world.dialogues import dialogue
from ..world.renderer import render
from ..world.scene import Individual, Scene


@dataclass(frozen=True)
class Wanted:
    """A target to be made."""

    seed: int
    photo: Image.Image  # x
    words: str  # the instruction, without naming the subject: "on the beach at night, in pencil"
    line: str  # the instruction about this class of subject, which a target is compared with: "a cat on the beach ..."
    y: str  # what the user says
    reply: str
    who: dict[str, Any]  # ground truth of the photo's subject
    asked: dict[str, Any]  # ground truth of what a target should show


def instruction(scene: Scene) -> str:
    """All of a scene but its subject, in a caption's canonical words."""
    worn = v.listing([v.wear(a.name, a.colour) for a in scene.accessories])
    parts = ["" if scene.pose == "standing" else scene.pose, f"wearing {worn}" if worn else "",
             "underwater" if scene.context == "underwater" else v.CONTEXT_SAID[scene.context][0],
             "" if scene.light == "day" else v.LIGHT_SAID[scene.light][0]]
    return " ".join(p for p in parts if p) + ", " + v.STYLE_SAID[scene.style][0]


def subject(kind: str, colour: str, second: str, pattern: str) -> str:
    """A subject in a caption's canonical words: "a red cat with white stripes"."""
    return v.an(describe(Individual(kind, colour, second, pattern, "", 0, 1.0, 1.0, 1.0, 1.0)))


def drawn_wish(seed: int, index: int, side: int, held_out: bool = False) -> Wanted:
    """Wish number `index` of a seed: a drawn photo (`side` pixels) and a first request that is answered with a picture."""
    lots = random.Random(f"{seed}/{index}/wish")
    while True:
        talk = dialogue(lots, held_out, turns=1)
        said, target = talk.exchanges[0], talk.exchanges[0].target
        if talk.photo is not None and target is not None and target.companion is None:
            break
    words = instruction(target)
    one = talk.photo.individual
    who = {"kind": one.kind, "colour": one.colour, "second": one.second, "pattern": one.pattern, "eyes": one.eyes, "layout": one.layout}
    return Wanted(lots.randrange(2**31), render(talk.photo, side).image, words, f"{v.an(one.kind)} {words}", said.user, said.reply, who,
                  attributes(target))
