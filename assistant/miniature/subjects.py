"""Draws the subject of a scene: the body with its pattern, accessories behind and in front, the body's mask.

Knows no backdrop, light or style; those are laid around and over these layers by others.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from . import animals_other, animals_sitting, things
from .accessories import wear
from .painting import Easel
from .world import Scene

DRAW = {
    "cat": animals_sitting.cat, "dog": animals_sitting.dog, "bear": animals_sitting.bear,
    "bunny": animals_sitting.bunny, "fox": animals_sitting.fox,
    "owl": animals_other.owl, "duck": animals_other.duck, "fish": animals_other.fish, "turtle": animals_other.turtle,
    "robot": things.robot, "teapot": things.teapot, "mug": things.mug, "car": things.car, "boot": things.boot,
    "backpack": things.backpack, "vase": things.vase,
}


@dataclass(frozen=True)
class SubjectLayers:
    """A subject to lay on a backdrop, from back to front: behind, body, front."""

    behind: Image.Image  # RGBA, px x px: what is behind the body (balloon, umbrella)
    body: Image.Image  # RGBA, px x px: the subject with its pattern and outline
    front: Image.Image  # RGBA, px x px: what it wears
    mask: Image.Image  # L, px x px: 255 on the body, accessories left out
    foot: tuple[float, float]  # x, y in pixels where it touches, or would touch, the ground


def draw_subject(scene: Scene, px: int, ground: float = 0.86) -> SubjectLayers:
    """Draw the subject on a canvas of `px` x `px` pixels, without antialiasing: draw larger and reduce.

    It is `scene.scale` of the canvas high (less if it jumps or would not fit), its middle at `scene.x` (moved where the frame
    would cut it), its feet at `ground` (or above, if it jumps).
    """
    easel = Easel(scene)
    wear(easel, DRAW[scene.individual.kind](easel))
    painted, foot = easel.paint(px, ground)
    return SubjectLayers(painted["behind"], painted["body"], painted["front"], painted["body"].getchannel("A"), foot)
