"""Subjects and prompts of the studies that fine-tune: held-out individuals in a few photos each, and what is asked of them.

Validation individuals (constants are chosen on them) are others than the test's. Everything follows from a number.
"""

import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..world.captions import read
from ..world.renderer import render
from ..world.scene import POSES, Individual, Scene, sample_individual, sample_scene
from .test_cases import SUBJECT, AttributeJudge

PROMPTS = (
    "a <one> in space", "a <one> on the beach, pixel art", "a <one> in the snow at night", "a <one> in the library wearing a red hat",
    "a <one> underwater, watercolour", "a <one> in the desert at sunset", "a <one> at the castle, pencil sketch",
    "a <one> on the farm wearing a blue scarf", "a <one> in the clouds, neon", "a <one> in the city at night, paper cut",
    "a <one> in the forest with a yellow balloon", "a <one> at the volcano",
    # the full list goes on
    "a <one> in the kitchen, watercolour", "a <one> in the mountains at sunset", "a <one> on stage wearing a purple crown",
    "a <one> in the garden, pixel art", "a <one> in space at night, neon", "a <one> on the beach wearing green sunglasses",
    "a <one> in the snow, paper cut", "a <one> at the castle at night", "a <one> in the library, pencil sketch",
    "a <one> in the desert with a red umbrella", "a <one> in the clouds at sunset, watercolour", "a <one> in the city wearing a pink bow tie")
PHOTOS = 4


@dataclass(frozen=True)
class Subject:
    """A held-out individual and the scenes it is learned from."""

    number: int
    one: Individual
    scenes: tuple[Scene, ...]

    @property
    def noun(self) -> str:
        return self.one.kind

    def pictures(self, size: int) -> Tensor:
        """uint8 (PHOTOS, size, size, 3)."""
        return torch.from_numpy(np.stack([np.asarray(render(scene, size).image) for scene in self.scenes]))

    def truth(self) -> dict[str, str]:
        """What the judge should find, in the form of `reading.attributes`."""
        return {k: getattr(self.one, k) for k in SUBJECT if k != "second" or self.one.pattern != "plain"}


def subject(number: int) -> Subject:
    """Individual `number` of Infusion's comparison, in any combination of kind, place and style."""
    rng = random.Random(f"evaluation/concept/{number}")
    one = sample_individual(rng, held_out=True)
    return Subject(number, one, tuple(sample_scene(rng, one, None) for _ in range(PHOTOS)))


def bare_subject(number: int, group: str = "test") -> Subject:
    """Individual `number` of a group, with nothing worn, in PHOTOS scenes; in the group "narrow" all of them in one place, light and
    style, as people's photos of a thing at home are: only the pose differs."""
    rng = random.Random(f"{group}/{number}")
    one = sample_individual(rng, held_out=True)
    scenes = tuple(replace(sample_scene(rng, one, None), accessories=()) for _ in range(PHOTOS))
    return Subject(number, one, tuple(replace(scenes[0], pose=pose) for pose in POSES) if group == "narrow" else scenes)


def scores(witness: AttributeJudge, who: Subject, prompts: list[str], pictures: np.ndarray) -> list[dict[str, float]]:
    """Of each picture (B, H, W, 3) of a prompt: how much of the subject is there, how much of the prompt, by the judge (shares of what
    was to be seen), and DINO-I, CLIP-I to the photos, CLIP-T to the prompt without V* (cosines)."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    features, own = witness.features(x), witness.features(who.pictures(x.shape[-1]).permute(0, 3, 1, 2).float() / 255)
    like = witness.likeness
    dino = (like.individual(features) @ like.individual(own).T).mean(1)
    clip = (like.picture(features) @ like.picture(own).T).mean(1)
    text = (like.picture(features) * witness.caption([p.replace("<one>", who.one.kind) for p in prompts])).sum(1)
    out = []
    for k, (said, prompt) in enumerate(zip(witness.names(x), prompts)):
        asked = read(prompt.replace("<one>", "thing"))
        worn = dict(said["accessories"])
        hits = [said[name] == value for name, value in asked.items() if name != "accessories"]
        hits += [name in worn for name, _ in asked.get("accessories", ())]
        out.append({"subject": float(np.mean([said[n] == v for n, v in who.truth().items()])), "prompt": float(np.mean(hits)),
                    "DINO-I": float(dino[k]), "CLIP-I": float(clip[k]), "CLIP-T": float(text[k])})
    return out
