"""What owl, duck, fish and turtle look like, in body coordinates. Knows poses as frames and flags; no pixels.

Each function draws on the easel from back to front and returns the anchors where accessories go.
"""

from __future__ import annotations

from .faces import CHEEK, eyes, mouth, pair
from .canvas import INK, PAPER, Anchors, Colour, Canvas, mix, pale
from .geometry import Points, affine, blob, ellipse, rounded, then, tube, warp


def owl(e: Canvas) -> Anchors:
    e.stand(1.0, rest=(1.18, 0.74))
    k, h = e.part, e.scene.individual.head
    amber = (238, 158, 40) if e.scene.individual.colour not in ("orange", "yellow") else (206, 92, 36)
    drop = 0.08 if e.jumping else 0.0
    for s in (-1, 1):
        for i in (-1, 0, 1):
            e.mass(tube((s * 0.12, -0.06), (s * 0.12 + i * 0.05, 0.0 + drop), widths=0.026), colour=amber, shaded=False)
    if e.jumping:
        for s in (-1, 1):
            e.mass(blob((s * 0.2, -0.52), (s * 0.4, -0.66), (s * 0.56, -0.72), (s * 0.55, -0.5), (s * 0.46, -0.36),
                        (s * 0.24, -0.22)),
                   colour=mix(e.colour, INK, 0.14), coat=False)
    trunk = blob((0, -0.88), (0.2, -0.88), (0.335, -0.72), (0.35, -0.45), (0.31, -0.15), (0.16, -0.02), (0, 0),
                 (-0.16, -0.02), (-0.31, -0.15), (-0.35, -0.45), (-0.335, -0.72), (-0.2, -0.88))
    ears = [rounded((s * 0.08, -0.84), (s * 0.33, -0.9 - 0.17 * k), (s * 0.335, -0.62), r=0.04) for s in (-1, 1)]
    feathers: list[tuple[Points, Colour]] = []
    if e.plain:
        feathers.append((ellipse(0, -0.2, 0.215, 0.27), e.second))
        dark = mix(e.second, INK, 0.2)
        for x, y in ((-0.1, -0.3), (0.0, -0.3), (0.1, -0.3), (-0.05, -0.22), (0.05, -0.22), (0, -0.14)):
            feathers.append((tube((x - 0.032, y), (x, y + 0.03), (x + 0.032, y), widths=0.009), dark))
    e.mass(*ears, trunk, coat=True, details=tuple(feathers))
    if not e.jumping:
        for s in (-1, 1):
            out = 0.12 if e.leaning and s == 1 else 0.0
            e.mass(blob((s * 0.31, -0.53), (s * (0.39 + out), -0.4), (s * (0.4 + out), -0.2),
                        (s * (0.3 + out), -0.07), (s * 0.25, -0.3)),
                   colour=mix(e.colour, INK if sum(e.colour) > 170 else PAPER, 0.14))
    disc = e.second if e.plain else pale(e.colour)
    r = 0.155 * h
    disc = mix(disc, PAPER, 0.45)
    e.mass(*(ellipse(s * 0.135, -0.645, r, r * 1.02) for s in (-1, 1)), colour=disc, shaded=False,
           details=tuple((ellipse(s * 0.24, -0.5, 0.04, 0.03, n=12), CHEEK) for s in (-1, 1)))
    at = pair(0.135, -0.65, 0.088 * h)
    eyes(e, at, e.body, disc)
    e.mass(rounded((-0.055, -0.59), (0.055, -0.59), (0, -0.47), r=0.025), colour=amber)
    hand = (0.52, -0.62) if e.jumping else (0.46, -0.2) if e.leaning else (0.36, -0.24)
    return Anchors((0, -0.885, 0.2), e.body, at, e.body, (0, -0.435, 0.29), e.body, hand, e.body)


def duck(e: Canvas) -> Anchors:
    e.stand(1.02, rest=(1.1, 0.82))
    k = e.part
    orange = (240, 146, 36) if e.scene.individual.colour not in ("orange", "yellow", "red", "brown") else \
        (222, 84, 30) if e.scene.individual.colour != "red" else (248, 196, 60)
    if not e.resting:
        for x in (-0.08, 0.1):
            swing = -0.1 if e.jumping else 0.0
            e.mass(tube((x, -0.14), (x + swing * 0.6, -0.03), widths=0.024), colour=orange, shaded=False)
            e.mass(blob((x - 0.05 + swing, -0.035), (x + 0.07 + swing, -0.045), (x + 0.11 + swing, -0.005),
                        (x - 0.03 + swing, 0)),
                   colour=orange, shaded=False)
    low = -0.02 if e.resting else -0.09
    body = blob((-0.44, -0.44 - 0.08 * (k - 1)), (-0.3, -0.37), (-0.05, -0.42), (0.16, -0.5), (0.31, -0.38),
                (0.29, -0.2),
                (0.12, low), (-0.14, low), (-0.33, -0.18))
    if e.jumping:  # the far wing
        e.mass(blob((0.02, -0.36), (0.0, -0.6), (0.08, -0.7 * k ** 0.3), (0.16, -0.6), (0.16, -0.4)),
               colour=mix(e.colour, INK, 0.15))
    head = e.joint(0.17, -0.5, dx=0.0, dy=0.14 if e.resting else 0.0,
                   degrees=14 if e.resting else -8 if e.leaning else 0)
    e.mass(tube((0.17, -0.34), (0.175, -0.6), widths=(0.14, 0.115)), coat=True)
    e.mass(body, coat=True)
    skull = ellipse(0.17, -0.735, 0.215, 0.2, n=32)
    tuft = tube((0.15, -0.9), (0.1, -0.97), (0.05, -0.96), widths=(0.035, 0.028, 0.016))
    e.mass(tuft, skull, coat=True, frame=head, details=((ellipse(0.09, -0.65, 0.055, 0.04, n=14), CHEEK),))
    gape = 0.055 if e.jumping else 0.0
    e.mass(blob((0.29, -0.66), (0.42, -0.645 + gape), (0.44, -0.61 + gape), (0.36, -0.59 + gape), (0.27, -0.61)),
           colour=mix(orange, INK, 0.18), frame=head, shaded=False)
    e.mass(blob((0.3, -0.755), (0.37, -0.745), (0.45, -0.69), (0.52, -0.675), (0.49, -0.63), (0.38, -0.63),
                (0.28, -0.645)),
           colour=orange, frame=head)
    at = ((0.15, -0.785, 0.056), (0.29, -0.79, 0.05))
    eyes(e, at, head)
    wing_colour = e.second if e.plain else mix(e.colour, INK, 0.12)
    if e.jumping:
        wing = blob((-0.12, -0.3), (-0.2, -0.5), (-0.3, -0.66), (-0.14, -0.66), (0.02, -0.54), (0.08, -0.36),
                    (0.0, -0.27))
    elif e.leaning:
        wing = blob((0.1, -0.36), (0.06, -0.22), (-0.1, -0.2), (-0.42, -0.26), (-0.32, -0.34), (-0.1, -0.4))
    else:
        wing = blob((0.12, -0.36), (0.08, -0.2), (-0.08, -0.15), (-0.3, -0.26), (-0.24, -0.34), (-0.06, -0.38))
    e.mass(wing, colour=wing_colour)
    return Anchors((0.16, -0.925, 0.155), head, at, head, (0.18, -0.535, 0.16), head, (-0.22, -0.34), e.body)


def fish(e: Canvas) -> Anchors:
    e.stand(1.02, rest=(1.05, 0.74), jump_tilt=-24)
    k, h = e.part, e.scene.individual.head
    fin = e.second if e.plain else mix(e.colour, INK, 0.13)
    wag = -0.08 if e.jumping else 0.06 if e.leaning else 0.0
    tail = blob((-0.26, -0.41), (-0.4, -0.52), (-0.5 * k ** 0.5, -0.68 * k ** 0.4 + wag),
                (-0.56 * k ** 0.5, -0.58 + wag), (-0.5, -0.4 + wag),
                (-0.56 * k ** 0.5, -0.22 + wag), (-0.5 * k ** 0.5, -0.12 / k + wag), (-0.4, -0.28))
    e.mass(tail, colour=fin)
    e.mass(blob((-0.22, -0.62), (-0.14, -0.8 - 0.07 * k), (0.06, -0.82 - 0.09 * k), (0.16, -0.82), (0.22, -0.64)),
           colour=mix(e.colour, INK, 0.13))
    e.mass(blob((0.02, -0.14), (-0.06, -0.02), (-0.18, 0.0), (-0.18, -0.1), (-0.12, -0.2)), colour=fin)
    body = blob((-0.34, -0.41), (-0.2, -0.6), (0.06, -0.71), (0.3, -0.65), (0.45, -0.46), (0.43, -0.36), (0.3, -0.2),
                (0.06, -0.12), (-0.2, -0.22))
    belly = ((ellipse(0.14, -0.08, 0.34, 0.14), e.second),) if e.plain else ()
    scales = tuple((tube((x, y - 0.055), (x + 0.035, y), (x, y + 0.055), widths=0.009), mix(e.colour, INK, 0.2))
                   for x, y in ((-0.12, -0.43), (-0.02, -0.52), (-0.02, -0.34), (-0.2, -0.34))) if e.plain else ()
    e.mass(body, coat=True, details=(*belly, *scales, (ellipse(0.27, -0.33, 0.06, 0.045, n=16), CHEEK)))
    turn = 35 if e.jumping else -20 if e.leaning else 0
    flipper = then(affine(turn), affine(dx=0.06, dy=-0.36))
    e.mass(warp(blob((0.02, -0.06), (-0.1, -0.08), (-0.19 * k, -0.01), (-0.13, 0.08), (0.01, 0.07)), flipper),
           colour=e.second)
    at = ((0.2, -0.5, 0.082 * h), (0.37, -0.51, 0.066 * h))
    eyes(e, at, e.body)
    if e.jumping:
        e.flat(ellipse(0.41, -0.345, 0.04, 0.05), colour=(122, 34, 48))
    elif e.resting:
        e.flat(ellipse(0.42, -0.35, 0.025, 0.025, n=12), colour=(122, 34, 48))
    else:
        mouth(e, 0.365, -0.35, 0.052, e.body, coat=True)
    return Anchors((0.15, -0.72, 0.17), e.body, at, e.body, (0.22, -0.215, 0.22), e.body, (-0.2, -0.56), e.body)


def turtle(e: Canvas) -> Anchors:
    e.stand(1.08, rest=(1.08, 0.78))
    k = e.part
    skin = mix(e.colour, PAPER, 0.2) if sum(e.colour) < 640 else mix(e.colour, INK, 0.08)
    kick = 0.1 if e.jumping else 0.0
    e.mass(tube((-0.38, -0.14), (-0.5 - 0.03 * k, -0.1 - kick), widths=(0.05, 0.015)), colour=skin)
    head = e.joint(0.34, -0.3, degrees=-12 if e.leaning else -8 if e.jumping else 6 if e.resting else 0,
                   dx=-0.02 if e.resting else 0, dy=0.1 if e.resting else 0.0)
    for x, far in ((-0.17, True), (0.16, True), (-0.28, False), (0.26, False)):
        spread = kick * (1 if x > 0 else -1)
        if e.resting:
            e.mass(ellipse(x * 1.1, -0.05, 0.1, 0.05), colour=skin)
        else:
            e.mass(tube((x, -0.2), (x + spread, -0.055), widths=(0.08, 0.072)), colour=mix(skin, INK, 0.18)
                   if far else skin)
    e.mass(tube((0.26, -0.2), (0.36, -0.28), (0.4, -0.42), widths=(0.09, 0.085, 0.08)), colour=skin,
           frame=e.body if not e.resting else head)
    e.mass(ellipse(0.42, -0.52, 0.175, 0.165, n=30), colour=skin, frame=head,
           details=((ellipse(0.36, -0.455, 0.045, 0.034, n=14), CHEEK),))
    shell = blob((-0.42, -0.16), (-0.43, -0.32), (-0.32, -0.58), (-0.06, -0.7), (0.2, -0.58), (0.32, -0.32),
                 (0.32, -0.16),
                 (0.1, -0.13), (-0.2, -0.13))
    plates = ()
    if e.plain:
        dark = mix(e.colour, INK if sum(e.colour) > 170 else PAPER, 0.2)
        plates = tuple((tube(*line, widths=0.014), dark) for line in (
            ((-0.2, -0.36), (-0.06, -0.5), (0.1, -0.36), (0.04, -0.22), (-0.14, -0.22), (-0.2, -0.36)),
            ((-0.2, -0.36), (-0.4, -0.38)), ((-0.06, -0.5), (-0.06, -0.7)), ((0.1, -0.36), (0.3, -0.38))))
    e.mass(shell, coat=True, details=plates)
    e.mass(tube((-0.42, -0.15), (-0.2, -0.125), (0.1, -0.125), (0.31, -0.15), widths=0.045), colour=e.second)
    at = ((0.39, -0.565, 0.05), (0.51, -0.57, 0.045))
    eyes(e, at, head, skin)
    mouth(e, 0.47, -0.46, 0.055, head, coat=sum(skin) < 330)
    return Anchors((0.41, -0.67, 0.14), head, at, head, (0.395, -0.35, 0.11), head, (-0.2, -0.6), e.body)
