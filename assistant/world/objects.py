"""What the seven things look like, in body coordinates, each with a small face. Knows no pixels and no accessories.

Each function draws on the easel from back to front and returns the anchors where accessories go.
"""

from __future__ import annotations

from .faces import cheeks, eyes, mouth
from .canvas import INK, PAPER, Anchors, Canvas, mix
from .geometry import affine, blob, box, ellipse, rounded, then, tube, warp

STEEL = (176, 184, 196)
RUBBER = (58, 56, 66)
LEAF = (84, 162, 78)
GLASS = (206, 232, 244)


def robot(e: Canvas) -> Anchors:
    e.stand(0.98, rest=(1.1, 0.7), jump_tilt=-7)
    k = e.part
    head = e.joint(0, -0.5, degrees=-9 if e.leaning else 7 if e.resting else 0,
                   dy=0.03 if e.resting else -0.02 if e.jumping else 0)
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
    e.mass(box(-0.255, -0.83, 0.255, -0.585, 0.07), colour=screen, frame=head, shaded=False,
           details=cheeks(0, -0.655, 0.185, 0.045))
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
    e.mass(tube((0.22, -0.2), (0.38, -0.26), (0.4 + 0.03 * k, -0.44), (0.48 + 0.07 * k, -0.57),
                widths=(0.12, 0.09, 0.06, 0.048)), coat=True)
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
    e.mass(tube((0.22, -0.56), (0.4, -0.59), (0.43 + 0.07 * k, -0.36), (0.38, -0.17), (0.2, -0.17), widths=0.05),
           colour=e.second if e.plain else e.colour)
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
            e.mass(tube((x, top - 0.07), (x + 0.035, top - 0.07 - tall * 0.35),
                        (x - 0.02 - bend, top - 0.07 - tall * 0.7),
                        (x + 0.02 - bend, top - 0.07 - tall), widths=(0.012, 0.022, 0.02, 0.008)),
                        colour=(236, 238, 244), shaded=False)
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
    hull = blob((-0.5, -0.3), (-0.46, -0.385), (-0.2, -0.39), (0.1, -0.385), (0.36, -0.365), (0.51, -0.28),
                (0.52, -0.16), (0.46, -0.1),
                (0.1, -0.09), (-0.2, -0.09), (-0.47, -0.1), (-0.51, -0.18))
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
    e.mass(tube((-0.25, top + 0.16), (-0.37 - 0.02 * k, top + 0.06 - flop), (-0.25, top + 0.02), widths=0.03),
           colour=e.second)
    leather = blob((-0.29, top + 0.05), (-0.26, top), (0.1, top), (0.15, top + 0.07), (0.13, -0.52), (0.19, -0.36),
                   (0.36, -0.32), (0.5, -0.22),
                   (0.5, -0.08), (0.4, -0.05), (-0.1, -0.05), (-0.27, -0.06), (-0.3, -0.2), (-0.25, -0.45))
    cap = ((ellipse(0.5, -0.12, 0.15, 0.18), e.second),) if e.plain else ()
    e.mass(leather, coat=True, details=(*cap, (ellipse(-0.16, -0.55, 0.045, 0.035, n=14), (240, 96, 104, 120)),
                                       (ellipse(0.09, -0.55, 0.045, 0.035, n=14), (240, 96, 104, 120))))
    e.mass(box(-0.31, top - 0.05, 0.17, top + 0.07, 0.05), colour=e.second if e.plain else mix(e.colour, INK, 0.15))
    e.mass(rounded((-0.32, -0.1), (0.52, -0.1), (0.53, -0.02), (0.48, 0), (0.02, 0), (-0.0, -0.035), (-0.08, -0.035),
                   (-0.1, 0), (-0.3, 0), r=0.03),
           colour=mix(e.second, INK, 0.25))
    lace = PAPER if sum(e.colour) < 560 else mix(e.second, INK, 0.2)
    for x, y in ((0.1, -0.42), (0.165, -0.35), (0.25, -0.3)):
        e.mass(tube((x - 0.06, y + 0.05), (x + 0.03, y - 0.02), widths=0.018), colour=lace, shaded=False)
    wave = -0.1 * k if e.jumping else 0.08 * k
    for dx in (0.06, 0.15):
        e.mass(tube((0.13, -0.43), (0.13 + dx, -0.47 + wave * 0.2), (0.15 + dx * 1.3, -0.42 + wave), widths=0.016),
               colour=lace, shaded=False)
    at = ((-0.13, -0.66, 0.06), (0.05, -0.66, 0.06))
    eyes(e, at, e.body)
    mouth(e, -0.035, -0.56, 0.055, e.body, coat=True)
    return Anchors((-0.07, top - 0.04, 0.21), e.body, at, e.body, (-0.05, -0.48, 0.19), e.body, (-0.3, -0.5), e.body)


def backpack(e: Canvas) -> Anchors:
    e.stand(1.0, rest=(1.14, 0.68), jump_tilt=-12)
    k, h = e.part, e.scene.individual.head
    swing = 0.13 if e.jumping else 0.05 if e.leaning else 0.0
    for s in (-1, 1):
        e.mass(tube((s * 0.24, -0.74), (s * (0.37 + swing + 0.05 * k), -0.56 - swing),
                    (s * (0.37 + swing), -0.28 - swing), (s * 0.28, -0.1),
                    widths=(0.045, 0.05, 0.05, 0.04)), colour=e.second if e.plain else mix(e.colour, INK, 0.13))
    e.mass(tube((-0.1, -0.84), (-0.1, -0.93 - 0.03 * k), (0.1, -0.93 - 0.03 * k), (0.1, -0.84), widths=0.03),
           colour=e.second)
    bag = rounded((-0.3, -0.62), (-0.24, -0.88), (0.24, -0.88), (0.3, -0.62), (0.33, -0.08), (0.26, 0), (-0.26, 0),
                  (-0.33, -0.08), r=0.13)
    e.mass(bag, coat=True, details=cheeks(0, -0.475, 0.215, 0.05))
    for s in (-1, 1):
        e.mass(box(s * 0.325 - 0.06, -0.24, s * 0.325 + 0.06, -0.04, 0.05), colour=mix(e.colour, INK, 0.13))
    y = -0.36 - 0.1 * (h - 1)
    e.mass(rounded((-0.22, y), (0.22, y), (0.235, -0.03), (-0.235, -0.03), r=0.08), coat=not e.plain,
           colour=e.second if e.plain else e.colour)
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
        e.mass(tube((x * 0.25, -0.66), (x * 0.55, -0.74 - tall * 0.3), tip, widths=0.016),
               colour=mix(LEAF, INK, 0.12), shaded=False)
        angle = (-62 if x < 0 else 62) * (abs(x) * 3 + 0.2) + (40 if x > 0 else -40) * (droop > 0)
        leaf = then(affine(angle, sx=k**0.5, sy=k**0.5), affine(dx=tip[0], dy=tip[1]))
        if bud:
            e.mass(warp(rounded((-0.085, -0.11), (-0.04, -0.07), (0, -0.13), (0.04, -0.07), (0.085, -0.11),
                                (0.075, 0.04), (0, 0.085),
                                (-0.075, 0.04), r=0.035), leaf), colour=mix(e.second, PAPER, 0.3))
        else:
            e.mass(warp(blob((0, 0.1), (0.065, 0.02), (0.045, -0.08), (0, -0.15), (-0.045, -0.08), (-0.065, 0.02)),
                        leaf), colour=LEAF)
    pot = blob((-lip, -0.705), (0, -0.672), (lip, -0.705), (lip * 0.93, -0.66), (0.095, -0.6), (0.12, -0.54),
               (0.28, -0.44), (0.325, -0.31),
               (0.25, -0.14), (0.14, -0.06), (0.17, 0), (-0.17, 0), (-0.14, -0.06), (-0.25, -0.14), (-0.325, -0.31),
               (-0.28, -0.44),
               (-0.12, -0.54), (-0.095, -0.6), (-lip * 0.93, -0.66))
    foot = ((box(-0.5, -0.07, 0.5, 0.1, 0.01), e.second),)
    ring = ((tube((-0.14, -0.555), (0, -0.535), (0.14, -0.555), widths=0.024), e.second),) if e.plain else ()
    e.mass(pot, coat=True, details=(*foot, *ring, *cheeks(0, -0.265, 0.215, 0.052)))
    at = ((-0.115, -0.36, 0.062), (0.115, -0.36, 0.062))
    eyes(e, at, e.body)
    mouth(e, 0, -0.26, 0.065, e.body, coat=True)
    return Anchors((0, -0.74, 0.19), e.body, at, e.body, (0, -0.565, 0.135), e.body, (0.31, -0.3), e.body)
