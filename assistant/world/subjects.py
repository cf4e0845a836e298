"""Draws the subject of a scene: the body with its pattern, accessories behind and in front, the body's mask.

Knows no backdrop, light or style; those are laid around and over these layers by others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import animals_other, animals_sitting, objects
from .canvas import INK, PAPER, Anchors, Colour, Canvas, mix
from .geometry import Affine, affine, blob, box, ellipse, rounded, then, tube, warp
from .scene import COLOURS, Scene

DRAW = {
    "cat": animals_sitting.cat, "dog": animals_sitting.dog, "bear": animals_sitting.bear,
    "bunny": animals_sitting.bunny, "fox": animals_sitting.fox,
    "owl": animals_other.owl, "duck": animals_other.duck, "fish": animals_other.fish, "turtle": animals_other.turtle,
    "robot": objects.robot, "teapot": objects.teapot, "mug": objects.mug, "car": objects.car, "boot": objects.boot,
    "backpack": objects.backpack, "vase": objects.vase,
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
    board_jobs = Canvas(scene)
    wear(board_jobs, DRAW[scene.individual.kind](board_jobs))
    painted, foot = board_jobs.paint(px, ground)
    return SubjectLayers(painted["behind"], painted["body"], painted["front"], painted["body"].getchannel("A"), foot)


def wear(e: Canvas, anchors: Anchors) -> None:
    """Draw every accessory of the scene, behind or in front."""
    draw = {"hat": _hat, "crown": _crown, "flower": _flower, "sunglasses": _sunglasses, "scarf": _scarf,
            "bow tie": _bow_tie, "balloon": _balloon, "umbrella": _umbrella}
    for accessory in e.scene.accessories:
        colour = COLOURS[accessory.colour]
        if accessory.colour == e.scene.individual.colour:  # a red hat on a red cat needs another edge
            e.trim = mix(colour, PAPER, 0.7) if sum(colour) < 420 else mix(colour, INK, 0.6)
        draw[accessory.name](e, anchors, colour)
        e.trim = None
    e.layer = "body"


def _on_head(a: Anchors, degrees: float = 0.0, floor: float = 0.0) -> Affine:
    """Unit: half the head's width; origin on the crown of the head."""
    x, y, half = a.head
    half = max(half, floor)
    return then(affine(degrees, half, half, x, y), a.head_frame)


def _band(colour: Colour) -> Colour:
    return mix(colour, PAPER, 0.55) if sum(colour) < 330 else mix(colour, INK, 0.5)


def _hat(e: Canvas, a: Anchors, colour: Colour) -> None:
    f = _on_head(a, -5, 0.17)
    e.layer = "front"
    e.mass(blob((-0.68, 0.1), (-0.66, -0.5), (-0.5, -1.0), (0, -1.1), (0.5, -1.0), (0.66, -0.5), (0.68, 0.1),
                (0, 0.25)), colour=colour, frame=f,
           details=((blob((-1, -0.28), (0, -0.14), (1, -0.28), (1, 0.3), (0, 0.4), (-1, 0.3)), _band(colour)),))
    e.mass(blob((-1.4, -0.02), (-0.7, -0.1), (0, 0.02), (0.7, -0.1), (1.4, -0.02), (1.0, 0.24), (0, 0.34),
                (-1.0, 0.24)), colour=colour, frame=f)


def _crown(e: Canvas, a: Anchors, colour: Colour) -> None:
    f = _on_head(a, 0, 0.17)
    e.layer = "front"
    e.mass(rounded((-0.8, 0.22), (-0.95, -0.85), (-0.45, -0.3), (0, -1.1), (0.45, -0.3), (0.95, -0.85), (0.8, 0.22),
                   r=0.08),
           colour=colour, frame=f, details=((box(-1, -0.02, 1, 0.4, 0.01), mix(colour, PAPER, 0.35)),))
    jewel = (226, 60, 84) if np.abs(np.subtract(colour, (214, 52, 70))).sum() > 160 else (80, 170, 230)
    for x, y, r in ((0, -0.24, 0.15), (-0.95, -0.88, 0.13), (0, -1.15, 0.13), (0.95, -0.88, 0.13)):
        e.mass(ellipse(x, y, r, r, n=16), colour=jewel if y > -0.5 else mix(colour, PAPER, 0.35), frame=f, shaded=False)


def _flower(e: Canvas, a: Anchors, colour: Colour) -> None:
    x, y, half = a.head
    f = then(affine(10, half, half, x - half * 0.85, y - half * 0.08), a.head_frame)
    e.layer = "front"
    e.mass(blob((0.2, 0.3), (0.75, 0.35), (0.95, 0.7), (0.5, 0.7)), blob((-0.2, 0.35), (-0.8, 0.3), (-1.0, 0.6),
        (-0.5, 0.7)),
           colour=(84, 162, 78), frame=f, shaded=False)
    turns = np.radians(np.arange(5) * 72 - 90)
    e.mass(*(ellipse(0.48 * c, 0.48 * s, 0.37, 0.37, n=20) for c, s in zip(np.cos(turns).tolist(),
        np.sin(turns).tolist())),
           colour=colour, frame=f)
    heart = (250, 206, 70) if colour[0] < 225 or colour[1] < 120 or colour[2] > 120 else (150, 84, 40)
    e.mass(ellipse(0, 0, 0.29, 0.29, n=20), colour=heart, frame=f, shaded=False)


def _sunglasses(e: Canvas, a: Anchors, colour: Colour) -> None:
    """Square-round lenses, dark with a glint, in broad frames of the accessory's colour."""
    (x0, y0, r0), (x1, y1, r1) = a.eyes
    gap = abs(x1 - x0) / 2
    e.layer = "front"
    for x, y, r in reversed(a.eyes):
        w = min(max(r * 1.55, 0.105) * (r / max(r0, r1)) ** 0.5, gap * 0.93 + 0.02)
        h = max(w * 0.84, 0.085)
        e.mass(rounded((x - w, y - h), (x + w, y - h), (x + w * 0.86, y + h), (x - w * 0.86, y + h), r=w * 0.55),
               colour=colour, frame=a.face_frame)
        w, h = w * 0.68, h * 0.62
        e.flat(rounded((x - w, y - h), (x + w, y - h), (x + w * 0.84, y + h), (x - w * 0.84, y + h), r=w * 0.55),
               colour=(36, 32, 48), frame=a.face_frame)
        e.flat(tube((x - w * 0.5, y + h * 0.1), (x - w * 0.05, y - h * 0.55), widths=w * 0.13),
               colour=(176, 186, 214), frame=a.face_frame)
    e.mass(tube((x0 + r0, (y0 + y1) / 2 - 0.03), (x1 - r1, (y0 + y1) / 2 - 0.03), widths=0.024), colour=colour,
           frame=a.face_frame, shaded=False)


def _scarf(e: Canvas, a: Anchors, colour: Colour) -> None:
    x, y, half = a.neck
    light = mix(colour, INK, 0.28) if sum(colour) > 330 else mix(colour, PAPER, 0.45)
    f = then(affine(dx=x, dy=y), a.neck_frame)
    e.layer = "front"
    sway = -0.1 if e.jumping else 0.0
    room = (e.lowest() - float(warp(np.array((x, y)), a.neck_frame)[1])) / e.size - 0.07
    hang = min(0.28, room)
    line = ((half * 0.45, 0.05), (half * 0.62 - sway * 0.5, hang * 0.57 + sway * 0.4),
            (half * 0.5 - sway * 2, hang + sway))
    if room < 0.14:  # no room to hang: lies on the ground
        line = ((half * 0.45, 0.05), (half + 0.05, 0.04), (half + 0.2, max(room, 0.05)))
    stripes = tuple((warp(box(-0.12, -0.016, 0.12, 0.016, 0.005), affine(sway * 240, 1, 1,
        line[1][0] * (1 - t) + line[2][0] * t,
                                                                     line[1][1] * (1 - t) + line[2][1] * t)), light)
                                                                         for t in (0.2, 0.75))
    e.mass(tube(*line, widths=(0.05, 0.062, 0.072)), colour=colour, frame=f, details=stripes)
    e.mass(tube((-half - 0.03, -0.02), (-half * 0.5, 0.03), (0, 0.045), (half * 0.5, 0.03), (half + 0.03, -0.02),
                widths=0.056), colour=colour, frame=f,
           details=tuple((tube((half * t - 0.012, -0.06), (half * t + 0.012, 0.12), widths=0.015), light)
                         for t in (-0.75, -0.25, 0.2)))
    e.mass(ellipse(half * 0.48, 0.045, 0.062, 0.062), colour=colour, frame=f)


def _bow_tie(e: Canvas, a: Anchors, colour: Colour) -> None:
    x, y, half = a.neck
    f = then(affine(0, 1, 1, x, y + 0.035), a.neck_frame)
    e.layer = "front"
    for s in (-1, 1):
        e.mass(rounded((s * 0.01, -0.03), (s * 0.2, -0.115), (s * 0.2, 0.115), (s * 0.01, 0.03), r=0.045),
               colour=colour, frame=f)
    e.mass(box(-0.048, -0.052, 0.048, 0.052, 0.03), colour=mix(colour, INK, 0.22)
           if sum(colour) > 330 else mix(colour, PAPER, 0.3), frame=f, shaded=False)


def _held(a: Anchors) -> tuple[np.ndarray, float]:
    """Where a string or handle is held, on the stage, and the side it is on."""
    at = warp(np.array(a.side), a.side_frame)
    return at, 1.0 if at[0] > 0 else -1.0


def _balloon(e: Canvas, a: Anchors, colour: Colour) -> None:
    (x, y), side = _held(a)
    top = min(float(y) - 0.42, -0.72)
    cx = side * max(abs(x) + 0.12, e.reach(side, top - 0.2, top + 0.25) + 0.1)
    f = affine(side * 8, 0.185, 0.185, cx, top)
    stage = affine()
    e.layer = "behind"
    e.flat(tube((x, y), (x * 0.4 + cx * 0.6, y * 0.6 + top * 0.4), (cx - side * 0.03, top + 0.24), widths=0.009),
           colour=mix(INK, PAPER, 0.35), frame=stage)
    e.mass(rounded((-0.18, 1.4), (0.18, 1.4), (0, 1.12), r=0.06), colour=colour, frame=f, shaded=False)
    e.mass(blob((0, -1.18), (0.72, -0.9), (1.0, -0.2), (0.72, 0.6), (0, 1.2), (-0.72, 0.6), (-1.0, -0.2),
                (-0.72, -0.9)), colour=colour, frame=f,
           details=((ellipse(-0.4, -0.52, 0.2, 0.32, 28, n=16), (255, 255, 255, 150)),))


def _umbrella(e: Canvas, a: Anchors, colour: Colour) -> None:
    (x, y), side = _held(a)
    top = min(float(y) - 0.5, -0.95)
    cx = side * max(abs(x) + 0.06, e.reach(side, top - 0.1, top + 0.15) + 0.14)
    f = affine(side * 12, side * 1.16, 1.16, cx, top)
    light = mix(colour, PAPER, 0.4) if sum(colour) < 640 else mix(colour, INK, 0.14)
    e.layer = "behind"
    e.mass(tube((x, y + 0.06), (cx, top), widths=0.02), colour=(132, 92, 62), frame=affine(), shaded=False)
    e.mass(tube((0, -0.2), (0, -0.27), widths=0.016), colour=(132, 92, 62), frame=f, shaded=False)
    dome = blob((-0.31, 0.06), (-0.25, -0.12), (-0.12, -0.215), (0, -0.24), (0.12, -0.215), (0.25, -0.12),
                (0.31, 0.06), (0.2, 0.02), (0.11, 0.06),
                (0, 0.02), (-0.11, 0.06), (-0.2, 0.02))
    e.mass(dome, colour=colour, frame=f, details=(
        (blob((0, -0.26), (0.085, -0.1), (0.11, 0.1), (-0.11, 0.1), (-0.085, -0.1)), light),))
