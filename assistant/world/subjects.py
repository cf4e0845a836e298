"""Draws the subject of a scene: the body with its pattern, accessories behind and in front, the body's mask.

The seven things stand here, each with a small face, the nine animals in `animals`. Backdrop, light and style are laid around and over these layers by others.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from . import animals
from .animals import cheeks, eyes, mouth
from .canvas import INK, PAPER, Affine, Anchors, Canvas, Colour, affine, blob, box, ellipse, mix, rounded, then, tube, warp
from .scene import COLOURS, SLOTS, Scene

STEEL = (176, 184, 196)
RUBBER = (58, 56, 66)
LEAF = (84, 162, 78)
GLASS = (206, 232, 244)


def robot(e: Canvas) -> Anchors:
    e.stand(0.98, rest=(1.1, 0.7), jump_tilt=-7)
    k = e.part
    head = e.joint(0, -0.5, degrees=-9 if e.leaning else 7 if e.resting else 0, dy=0.03 if e.resting else -0.02 if e.jumping else 0)
    limb, hand_colour = mix(e.colour, STEEL, 0.75), e.second if e.plain else e.colour
    for s in (-1, 1):
        out = 0.12 if e.jumping else 0.16 if e.resting else 0.0
        e.mass(tube((s * 0.12, -0.16), (s * (0.12 + out), -0.06), widths=0.05), colour=limb, shaded=False)
        e.mass(box(s * (0.13 + out) - 0.1, -0.09, s * (0.13 + out) + 0.1, 0, 0.05), colour=hand_colour)
        if e.jumping or (e.leaning and s == 1):
            line, hand = ((s * 0.22, -0.42), (s * 0.33, -0.48), (s * 0.38, -0.6)), (s * 0.39, -0.64)
        elif e.resting:
            line, hand = ((s * 0.22, -0.36), (s * 0.33, -0.24), (s * 0.33, -0.12)), (s * 0.33, -0.08)
        else:
            line, hand = ((s * 0.22, -0.42), (s * 0.33, -0.36), (s * 0.33, -0.24)), (s * 0.33, -0.19)
        e.mass(tube(*line, widths=0.042), colour=limb, shaded=False)
        e.mass(ellipse(*hand, 0.07, 0.07), colour=hand_colour)
    panel = ((box(-0.13, -0.37, 0.13, -0.2, 0.04), e.second), (ellipse(-0.065, -0.285, 0.032, 0.032, n=14),
                                                               (232, 76, 70)),
             (ellipse(0.065, -0.285, 0.032, 0.032, n=14), (250, 206, 70))) if e.plain else \
        ((ellipse(0.0, -0.16, 0.04, 0.04, n=14), PAPER),)
    e.mass(box(-0.24, -0.5, 0.24, -0.1, 0.07), coat=True, details=panel)
    e.mass(box(-0.09, -0.54, 0.09, -0.47, 0.02), colour=limb, shaded=False)
    e.mass(tube((0, -0.88), (0, -0.94 - 0.07 * k), widths=0.02), colour=limb, frame=head, shaded=False)
    e.mass(ellipse(0, -0.97 - 0.07 * k, 0.055, 0.055), colour=e.second, frame=head)
    for s in (-1, 1):
        e.mass(box(s * 0.335 - 0.05, -0.77, s * 0.335 + 0.05, -0.61, 0.04), colour=e.second, frame=head)
    e.mass(box(-0.32, -0.9, 0.32, -0.52, 0.1), coat=True, frame=head)
    screen = mix(e.colour, PAPER, 0.72)
    e.mass(box(-0.255, -0.83, 0.255, -0.585, 0.07), colour=screen, frame=head, shaded=False, details=cheeks(0, -0.655, 0.185, 0.045))
    at = ((-0.12, -0.735, 0.062), (0.12, -0.735, 0.062))
    eyes(e, at, head, screen)
    mouth(e, 0, -0.655, 0.06, head)
    hand = (0.39, -0.62) if e.jumping or e.leaning else (0.33, -0.2)
    return Anchors((0, -0.91, 0.24), head, at, head, (0, -0.51, 0.19), head, hand, e.body)


def teapot(e: Canvas) -> Anchors:
    e.stand(1.1, rest=(1.12, 0.75), jump_tilt=-12)
    k, h = e.part, e.scene.individual.head
    lift = 0.1 if e.jumping else 0.0
    e.mass(tube((-0.28, -0.5), (-0.44, -0.54), (-0.46 - 0.07 * k, -0.36), (-0.42, -0.2), (-0.27, -0.17), widths=0.042),
           colour=e.second if e.plain else e.colour)
    e.mass(tube((0.22, -0.2), (0.38, -0.26), (0.4 + 0.03 * k, -0.44), (0.48 + 0.07 * k, -0.57), widths=(0.12, 0.09, 0.06, 0.048)), coat=True)
    e.mass(tube((0.445 + 0.07 * k, -0.6), (0.53 + 0.07 * k, -0.57), widths=0.03), colour=e.second, shaded=False)
    e.mass(box(-0.19, -0.07, 0.19, 0, 0.03), colour=e.second)
    body = blob((0, -0.655), (0.2, -0.61), (0.34, -0.44), (0.34, -0.24), (0.2, -0.06), (0, -0.035),
                (-0.2, -0.06), (-0.34, -0.24), (-0.34, -0.44), (-0.2, -0.61))
    e.mass(body, coat=True, details=cheeks(0, -0.305, 0.22, 0.055))
    lid = then(affine(14 if e.jumping else -8 if e.resting else 0, sx=h, sy=h, dy=-0.61 - lift), e.body)
    e.mass(ellipse(0, -0.17, 0.06, 0.058), colour=e.second, frame=lid)
    dome = blob((-0.21, 0.01), (-0.17, -0.08), (0, -0.13), (0.17, -0.08), (0.21, 0.01), (0, 0.045))
    e.mass(dome, coat=True, frame=lid)
    if e.plain:
        e.flat(tube((-0.2, -0.005), (0, 0.03), (0.2, -0.005), widths=0.016), colour=e.second, frame=lid)
    at = ((-0.12, -0.405, 0.062), (0.12, -0.405, 0.062))
    eyes(e, at, e.body)
    mouth(e, 0, -0.3, 0.065, e.body, coat=True)
    return Anchors((0, -0.16, 0.15), lid, at, e.body, (0, -0.2, 0.31), e.body, (-0.44, -0.42), e.body)


def mug(e: Canvas) -> Anchors:
    e.stand(1.12, rest=(1.14, 0.72), jump_tilt=-13)
    k, h = e.part, e.scene.individual.head
    e.mass(tube((0.22, -0.56), (0.4, -0.59), (0.43 + 0.07 * k, -0.36), (0.38, -0.17), (0.2, -0.17), widths=0.05), colour=e.second if e.plain else e.colour)
    top = -0.68 - 0.12 * (h - 1)
    wall = rounded((-0.31, top), (0.31, top), (0.27, -0.06), (0.2, 0), (-0.2, 0), (-0.27, -0.06), r=0.06)
    band = ((box(-0.4, -0.1, 0.4, 0.1, 0.01), e.second),) if e.plain else ()
    e.mass(wall, coat=True, details=(*band, *cheeks(0, -0.335, 0.2, 0.055)))
    e.mass(ellipse(0, top, 0.31, 0.075, n=36), colour=mix(e.colour, PAPER, 0.25), shaded=False)
    e.flat(ellipse(0, top + 0.006, 0.262, 0.05, n=32), colour=(112, 66, 40))
    if e.jumping:
        for x, y, r in ((-0.12, 0.1, 0.042), (0.03, 0.17, 0.05), (0.17, 0.1, 0.036)):
            e.mass(ellipse(x, top - y, r, r * 1.2, n=16), colour=(112, 66, 40), shaded=False)
    elif not e.resting:
        bend = 0.05 if e.leaning else 0.0
        for x, tall in ((-0.09, 0.17), (0.07, 0.22)):
            e.mass(tube((x, top - 0.07), (x + 0.035, top - 0.07 - tall * 0.35), (x - 0.02 - bend, top - 0.07 - tall * 0.7),
                        (x + 0.02 - bend, top - 0.07 - tall), widths=(0.012, 0.022, 0.02, 0.008)), colour=(236, 238, 244), shaded=False)
    at = ((-0.12, -0.45, 0.064), (0.12, -0.45, 0.064))
    eyes(e, at, e.body)
    mouth(e, 0, -0.335, 0.065, e.body, coat=True)
    return Anchors((0, top - 0.02, 0.22), e.body, at, e.body, (0, -0.205, 0.275), e.body, (0.4, -0.34), e.body)


def car(e: Canvas) -> Anchors:
    e.stand(1.12, rest=(1.05, 0.76), jump_tilt=-14)
    k, h = e.part, e.scene.individual.head
    top = -0.66 - 0.16 * (h - 1)
    cabin = rounded((-0.36, -0.34), (-0.26, top), (0.15, top), (0.31, -0.34), r=0.11)
    e.mass(cabin, coat=True)
    pane = top + 0.065
    e.mass(rounded((-0.275, -0.35), (-0.215, pane), (-0.1, pane), (-0.1, -0.35), r=0.04), colour=GLASS, shaded=False)
    e.mass(rounded((-0.05, -0.35), (-0.05, pane), (0.12, pane), (0.245, -0.35), r=0.05), colour=GLASS, shaded=False)
    hull = blob((-0.5, -0.3), (-0.46, -0.385), (-0.2, -0.39), (0.1, -0.385), (0.36, -0.365), (0.51, -0.28), (0.52, -0.16), (0.46, -0.1), (0.1, -0.09),
                (-0.2, -0.09), (-0.47, -0.1), (-0.51, -0.18))
    stripe = ((box(-0.7, -0.155, 0.7, -0.0, 0.01), e.second),) if e.plain else ()
    e.mass(hull, coat=True, details=stripe)
    e.mass(box(0.42, -0.145, 0.565, -0.075, 0.03), colour=STEEL, shaded=False)
    e.mass(box(-0.56, -0.145, -0.42, -0.075, 0.03), colour=STEEL, shaded=False)
    e.mass(ellipse(0.465, -0.265, 0.046, 0.055), colour=(255, 236, 150), shaded=False)
    drop, flat = (0.05, 1.0) if e.jumping else (0.0, 0.8 if e.resting else 1.0)
    r = 0.125 * (0.85 + 0.15 * k)
    for x in (-0.29, 0.29):
        cy = -0.1 + drop
        e.mass(ellipse(x, cy, r * (1.1 if e.resting else 1), r * flat), colour=RUBBER, shaded=False)
        e.mass(ellipse(x, cy, r * 0.56, r * 0.56 * flat), colour=e.second, shaded=False)
    at = ((-0.01, -0.465, 0.056), (0.135, -0.465, 0.056))
    eyes(e, at, e.body, GLASS)
    mouth(e, 0.065, -0.3, 0.065, e.body, coat=True)
    return Anchors((-0.06, top, 0.19), e.body, at, e.body, (0.05, -0.2, 0.17), e.body, (-0.4, -0.4), e.body)


def boot(e: Canvas) -> Anchors:
    e.stand(0.98, rest=(1.12, 0.7), jump_tilt=-14)
    k, h = e.part, e.scene.individual.head
    top = -0.9 - 0.12 * (h - 1)
    flop = 0.07 if e.jumping else 0.0
    e.mass(tube((-0.25, top + 0.16), (-0.37 - 0.02 * k, top + 0.06 - flop), (-0.25, top + 0.02), widths=0.03), colour=e.second)
    leather = blob((-0.29, top + 0.05), (-0.26, top), (0.1, top), (0.15, top + 0.07), (0.13, -0.52), (0.19, -0.36), (0.36, -0.32), (0.5, -0.22), (0.5, -0.08),
                   (0.4, -0.05), (-0.1, -0.05), (-0.27, -0.06), (-0.3, -0.2), (-0.25, -0.45))
    cap = ((ellipse(0.5, -0.12, 0.15, 0.18), e.second),) if e.plain else ()
    e.mass(leather, coat=True, details=(*cap, (ellipse(-0.16, -0.55, 0.045, 0.035, n=14), (240, 96, 104, 120)),
                                       (ellipse(0.09, -0.55, 0.045, 0.035, n=14), (240, 96, 104, 120))))
    e.mass(box(-0.31, top - 0.05, 0.17, top + 0.07, 0.05), colour=e.second if e.plain else mix(e.colour, INK, 0.15))
    e.mass(rounded((-0.32, -0.1), (0.52, -0.1), (0.53, -0.02), (0.48, 0), (0.02, 0), (-0.0, -0.035), (-0.08, -0.035), (-0.1, 0), (-0.3, 0), r=0.03),
           colour=mix(e.second, INK, 0.25))
    lace = PAPER if sum(e.colour) < 560 else mix(e.second, INK, 0.2)
    for x, y in ((0.1, -0.42), (0.165, -0.35), (0.25, -0.3)):
        e.mass(tube((x - 0.06, y + 0.05), (x + 0.03, y - 0.02), widths=0.018), colour=lace, shaded=False)
    wave = -0.1 * k if e.jumping else 0.08 * k
    for dx in (0.06, 0.15):
        e.mass(tube((0.13, -0.43), (0.13 + dx, -0.47 + wave * 0.2), (0.15 + dx * 1.3, -0.42 + wave), widths=0.016), colour=lace, shaded=False)
    at = ((-0.13, -0.66, 0.06), (0.05, -0.66, 0.06))
    eyes(e, at, e.body)
    mouth(e, -0.035, -0.56, 0.055, e.body, coat=True)
    return Anchors((-0.07, top - 0.04, 0.21), e.body, at, e.body, (-0.05, -0.48, 0.19), e.body, (-0.3, -0.5), e.body)


def backpack(e: Canvas) -> Anchors:
    e.stand(1.0, rest=(1.14, 0.68), jump_tilt=-12)
    k, h = e.part, e.scene.individual.head
    swing = 0.13 if e.jumping else 0.05 if e.leaning else 0.0
    for s in (-1, 1):
        e.mass(tube((s * 0.24, -0.74), (s * (0.37 + swing + 0.05 * k), -0.56 - swing), (s * (0.37 + swing), -0.28 - swing), (s * 0.28, -0.1),
                    widths=(0.045, 0.05, 0.05, 0.04)), colour=e.second if e.plain else mix(e.colour, INK, 0.13))
    e.mass(tube((-0.1, -0.84), (-0.1, -0.93 - 0.03 * k), (0.1, -0.93 - 0.03 * k), (0.1, -0.84), widths=0.03), colour=e.second)
    bag = rounded((-0.3, -0.62), (-0.24, -0.88), (0.24, -0.88), (0.3, -0.62), (0.33, -0.08), (0.26, 0), (-0.26, 0), (-0.33, -0.08), r=0.13)
    e.mass(bag, coat=True, details=cheeks(0, -0.475, 0.215, 0.05))
    for s in (-1, 1):
        e.mass(box(s * 0.325 - 0.06, -0.24, s * 0.325 + 0.06, -0.04, 0.05), colour=mix(e.colour, INK, 0.13))
    y = -0.36 - 0.1 * (h - 1)
    e.mass(rounded((-0.22, y), (0.22, y), (0.235, -0.03), (-0.235, -0.03), r=0.08), coat=not e.plain, colour=e.second if e.plain else e.colour)
    dark = mix(e.second if e.plain else e.colour, INK, 0.4)
    e.flat(tube((-0.17, y + 0.075), (0.17, y + 0.075), widths=0.014), colour=dark)
    e.mass(tube((0.12, y + 0.085), (0.12, y + 0.145), widths=0.022), colour=(250, 214, 90), shaded=False)
    at = ((-0.125, -0.585, 0.062), (0.125, -0.585, 0.062))
    eyes(e, at, e.body)
    mouth(e, 0, -0.475, 0.065, e.body, coat=True)
    return Anchors((0, -0.88, 0.2), e.body, at, e.body, (0, -0.385, 0.3), e.body, (0.39, -0.4), e.body)


def vase(e: Canvas) -> Anchors:
    e.stand(0.98, rest=(1.16, 0.74), jump_tilt=-12)
    k, h = e.part, e.scene.individual.head
    droop, wide = (0.11, 1.0) if e.resting else (0.0, 1.35 if e.jumping else 1.0)
    lip = 0.165 * h
    e.mass(ellipse(0, -0.7, lip, 0.04), colour=mix(e.colour, INK, 0.4), shaded=False)
    for x, tall, bud in ((-0.27, 0.19, False), (0.28, 0.17, False), (-0.1, 0.31, True), (0.12, 0.26, True)):
        tip = (x * wide * (1 + 2.5 * droop), -0.72 - tall * k + droop * 1.6)
        e.mass(tube((x * 0.25, -0.66), (x * 0.55, -0.74 - tall * 0.3), tip, widths=0.016), colour=mix(LEAF, INK, 0.12), shaded=False)
        angle = (-62 if x < 0 else 62) * (abs(x) * 3 + 0.2) + (40 if x > 0 else -40) * (droop > 0)
        leaf = then(affine(angle, sx=k**0.5, sy=k**0.5), affine(dx=tip[0], dy=tip[1]))
        if bud:
            e.mass(warp(rounded((-0.085, -0.11), (-0.04, -0.07), (0, -0.13), (0.04, -0.07), (0.085, -0.11), (0.075, 0.04), (0, 0.085), (-0.075, 0.04), r=0.035),
                        leaf), colour=mix(e.second, PAPER, 0.3))
        else:
            e.mass(warp(blob((0, 0.1), (0.065, 0.02), (0.045, -0.08), (0, -0.15), (-0.045, -0.08), (-0.065, 0.02)), leaf), colour=LEAF)
    pot = blob((-lip, -0.705), (0, -0.672), (lip, -0.705), (lip * 0.93, -0.66), (0.095, -0.6), (0.12, -0.54), (0.28, -0.44), (0.325, -0.31), (0.25, -0.14),
               (0.14, -0.06), (0.17, 0), (-0.17, 0), (-0.14, -0.06), (-0.25, -0.14), (-0.325, -0.31), (-0.28, -0.44), (-0.12, -0.54), (-0.095, -0.6),
               (-lip * 0.93, -0.66))
    foot = ((box(-0.5, -0.07, 0.5, 0.1, 0.01), e.second),)
    ring = ((tube((-0.14, -0.555), (0, -0.535), (0.14, -0.555), widths=0.024), e.second),) if e.plain else ()
    e.mass(pot, coat=True, details=(*foot, *ring, *cheeks(0, -0.265, 0.215, 0.052)))
    at = ((-0.115, -0.36, 0.062), (0.115, -0.36, 0.062))
    eyes(e, at, e.body)
    mouth(e, 0, -0.26, 0.065, e.body, coat=True)
    return Anchors((0, -0.74, 0.19), e.body, at, e.body, (0, -0.565, 0.135), e.body, (0.31, -0.3), e.body)


DRAW = {"cat": animals.cat, "dog": animals.dog, "bear": animals.bear, "bunny": animals.bunny, "fox": animals.fox, "owl": animals.owl, "duck": animals.duck,
        "fish": animals.fish, "turtle": animals.turtle, "robot": robot, "teapot": teapot, "mug": mug, "car": car, "boot": boot, "backpack": backpack,
        "vase": vase,}


@dataclass(frozen=True)
class SubjectLayers:
    """A subject to lay on a backdrop, from back to front: behind, body, front."""

    behind: Image.Image  # RGBA, px x px: what is behind the body (balloon, umbrella)
    body: Image.Image  # RGBA, px x px: the subject with its pattern and outline
    front: Image.Image  # RGBA, px x px: what it wears
    mask: Image.Image  # L, px x px: 255 on the body, accessories left out


def draw_subject(scene: Scene, px: int, ground: float = 0.86) -> SubjectLayers:
    """Draw the subject on a canvas of `px` x `px` pixels, without antialiasing: draw larger and reduce.

    It is `scene.scale` of the canvas high (less if it jumps or would not fit), its middle at `scene.x` (moved where the frame
    would cut it), its feet at `ground` (or above, if it jumps).
    """
    canvas = Canvas(scene)
    wear(canvas, DRAW[scene.individual.kind](canvas))
    painted = canvas.paint(px, ground)
    return SubjectLayers(painted["behind"], painted["body"], painted["front"], painted["body"].getchannel("A"))


def wear(e: Canvas, anchors: Anchors) -> None:
    """Draw every accessory of the scene, behind or in front."""
    draw = {"hat": _hat, "crown": _crown, "flower": _flower, "sunglasses": _sunglasses, "scarf": _scarf,
            "bow tie": _bow_tie, "balloon": _balloon, "umbrella": _umbrella}
    for accessory in e.scene.accessories:
        colour = COLOURS[accessory.colour]
        if accessory.colour == e.scene.individual.colour:  # a red hat on a red cat needs another edge
            e.trim = mix(colour, PAPER, 0.7) if sum(colour) < 420 else mix(colour, INK, 0.6)
        e.layer = "behind" if SLOTS[accessory.name] == "side" else "front"
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
    e.mass(blob((-0.68, 0.1), (-0.66, -0.5), (-0.5, -1.0), (0, -1.1), (0.5, -1.0), (0.66, -0.5), (0.68, 0.1), (0, 0.25)), colour=colour, frame=f,
           details=((blob((-1, -0.28), (0, -0.14), (1, -0.28), (1, 0.3), (0, 0.4), (-1, 0.3)), _band(colour)),))
    e.mass(blob((-1.4, -0.02), (-0.7, -0.1), (0, 0.02), (0.7, -0.1), (1.4, -0.02), (1.0, 0.24), (0, 0.34), (-1.0, 0.24)), colour=colour, frame=f)


def _crown(e: Canvas, a: Anchors, colour: Colour) -> None:
    f = _on_head(a, 0, 0.17)
    e.mass(rounded((-0.8, 0.22), (-0.95, -0.85), (-0.45, -0.3), (0, -1.1), (0.45, -0.3), (0.95, -0.85), (0.8, 0.22), r=0.08), colour=colour, frame=f,
           details=((box(-1, -0.02, 1, 0.4, 0.01), mix(colour, PAPER, 0.35)),))
    jewel = (226, 60, 84) if np.abs(np.subtract(colour, (214, 52, 70))).sum() > 160 else (80, 170, 230)
    for x, y, r in ((0, -0.24, 0.15), (-0.95, -0.88, 0.13), (0, -1.15, 0.13), (0.95, -0.88, 0.13)):
        e.mass(ellipse(x, y, r, r, n=16), colour=jewel if y > -0.5 else mix(colour, PAPER, 0.35), frame=f, shaded=False)


def _flower(e: Canvas, a: Anchors, colour: Colour) -> None:
    x, y, half = a.head
    f = then(affine(10, half, half, x - half * 0.85, y - half * 0.08), a.head_frame)
    e.mass(blob((0.2, 0.3), (0.75, 0.35), (0.95, 0.7), (0.5, 0.7)), blob((-0.2, 0.35), (-0.8, 0.3), (-1.0, 0.6), (-0.5, 0.7)), colour=(84, 162, 78), frame=f,
           shaded=False)
    turns = np.radians(np.arange(5) * 72 - 90)
    e.mass(*(ellipse(0.48 * c, 0.48 * s, 0.37, 0.37, n=20) for c, s in zip(np.cos(turns).tolist(), np.sin(turns).tolist())), colour=colour, frame=f)
    heart = (250, 206, 70) if colour[0] < 225 or colour[1] < 120 or colour[2] > 120 else (150, 84, 40)
    e.mass(ellipse(0, 0, 0.29, 0.29, n=20), colour=heart, frame=f, shaded=False)


def _sunglasses(e: Canvas, a: Anchors, colour: Colour) -> None:
    """Square-round lenses, dark with a glint, in broad frames of the accessory's colour."""
    (x0, y0, r0), (x1, y1, r1) = a.eyes
    gap = abs(x1 - x0) / 2
    for x, y, r in reversed(a.eyes):
        w = min(max(r * 1.55, 0.105) * (r / max(r0, r1)) ** 0.5, gap * 0.93 + 0.02)
        h = max(w * 0.84, 0.085)
        e.mass(rounded((x - w, y - h), (x + w, y - h), (x + w * 0.86, y + h), (x - w * 0.86, y + h), r=w * 0.55), colour=colour, frame=a.face_frame)
        w, h = w * 0.68, h * 0.62
        e.flat(rounded((x - w, y - h), (x + w, y - h), (x + w * 0.84, y + h), (x - w * 0.84, y + h), r=w * 0.55), colour=(36, 32, 48), frame=a.face_frame)
        e.flat(tube((x - w * 0.5, y + h * 0.1), (x - w * 0.05, y - h * 0.55), widths=w * 0.13), colour=(176, 186, 214), frame=a.face_frame)
    e.mass(tube((x0 + r0, (y0 + y1) / 2 - 0.03), (x1 - r1, (y0 + y1) / 2 - 0.03), widths=0.024), colour=colour, frame=a.face_frame, shaded=False)


def _scarf(e: Canvas, a: Anchors, colour: Colour) -> None:
    x, y, half = a.neck
    light = mix(colour, INK, 0.28) if sum(colour) > 330 else mix(colour, PAPER, 0.45)
    f = then(affine(dx=x, dy=y), a.neck_frame)
    sway = -0.1 if e.jumping else 0.0
    room = (e.lowest() - float(warp(np.array((x, y)), a.neck_frame)[1])) / e.size - 0.07
    hang = min(0.28, room)
    line = ((half * 0.45, 0.05), (half * 0.62 - sway * 0.5, hang * 0.57 + sway * 0.4), (half * 0.5 - sway * 2, hang + sway))
    if room < 0.14:  # no room to hang: lies on the ground
        line = ((half * 0.45, 0.05), (half + 0.05, 0.04), (half + 0.2, max(room, 0.05)))
    (x0, y0), (x1, y1) = line[1:]
    stripe = box(-0.12, -0.016, 0.12, 0.016, 0.005)
    stripes = tuple((warp(stripe, affine(sway * 240, 1, 1, x0 * (1 - t) + x1 * t, y0 * (1 - t) + y1 * t)), light) for t in (0.2, 0.75))
    e.mass(tube(*line, widths=(0.05, 0.062, 0.072)), colour=colour, frame=f, details=stripes)
    e.mass(tube((-half - 0.03, -0.02), (-half * 0.5, 0.03), (0, 0.045), (half * 0.5, 0.03), (half + 0.03, -0.02), widths=0.056), colour=colour, frame=f,
           details=tuple((tube((half * t - 0.012, -0.06), (half * t + 0.012, 0.12), widths=0.015), light) for t in (-0.75, -0.25, 0.2)))
    e.mass(ellipse(half * 0.48, 0.045, 0.062, 0.062), colour=colour, frame=f)


def _bow_tie(e: Canvas, a: Anchors, colour: Colour) -> None:
    x, y, half = a.neck
    f = then(affine(0, 1, 1, x, y + 0.035), a.neck_frame)
    for s in (-1, 1):
        e.mass(rounded((s * 0.01, -0.03), (s * 0.2, -0.115), (s * 0.2, 0.115), (s * 0.01, 0.03), r=0.045), colour=colour, frame=f)
    e.mass(box(-0.048, -0.052, 0.048, 0.052, 0.03), colour=mix(colour, INK, 0.22) if sum(colour) > 330 else mix(colour, PAPER, 0.3), frame=f, shaded=False)


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
    e.flat(tube((x, y), (x * 0.4 + cx * 0.6, y * 0.6 + top * 0.4), (cx - side * 0.03, top + 0.24), widths=0.009), colour=mix(INK, PAPER, 0.35), frame=stage)
    e.mass(rounded((-0.18, 1.4), (0.18, 1.4), (0, 1.12), r=0.06), colour=colour, frame=f, shaded=False)
    e.mass(blob((0, -1.18), (0.72, -0.9), (1.0, -0.2), (0.72, 0.6), (0, 1.2), (-0.72, 0.6), (-1.0, -0.2), (-0.72, -0.9)), colour=colour, frame=f,
           details=((ellipse(-0.4, -0.52, 0.2, 0.32, 28, n=16), (255, 255, 255, 150)),))


def _umbrella(e: Canvas, a: Anchors, colour: Colour) -> None:
    (x, y), side = _held(a)
    top = min(float(y) - 0.5, -0.95)
    cx = side * max(abs(x) + 0.06, e.reach(side, top - 0.1, top + 0.15) + 0.14)
    f = affine(side * 12, side * 1.16, 1.16, cx, top)
    light = mix(colour, PAPER, 0.4) if sum(colour) < 640 else mix(colour, INK, 0.14)
    e.mass(tube((x, y + 0.06), (cx, top), widths=0.02), colour=(132, 92, 62), frame=affine(), shaded=False)
    e.mass(tube((0, -0.2), (0, -0.27), widths=0.016), colour=(132, 92, 62), frame=f, shaded=False)
    dome = blob((-0.31, 0.06), (-0.25, -0.12), (-0.12, -0.215), (0, -0.24), (0.12, -0.215), (0.25, -0.12), (0.31, 0.06), (0.2, 0.02), (0.11, 0.06), (0, 0.02),
                (-0.11, 0.06), (-0.2, 0.02))
    e.mass(dome, colour=colour, frame=f, details=((blob((0, -0.26), (0.085, -0.1), (0.11, 0.1), (-0.11, 0.1), (-0.085, -0.1)), light),))
