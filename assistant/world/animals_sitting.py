"""What cat, dog, bear, bunny and fox look like: they sit facing us. Knows poses as frames and flags; no pixels.

Each function draws on the easel from back to front and returns the anchors where accessories go.
"""

from __future__ import annotations

from .faces import cheeks, eyes, mouth, pair
from .canvas import INK, PAPER, Anchors, Colour, Canvas, mix, pale
from .geometry import Affine, blob, ellipse, rounded, tube

NECK = (0.0, -0.44)  # where a sitting animal's head joins


def _head_frame(e: Canvas) -> Affine:
    if e.resting:
        return e.joint(*NECK, degrees=6, dx=0.20, dy=0.12)
    return e.joint(*NECK, degrees=-9 if e.leaning else 4 if e.jumping else 0, dy=-0.01 if e.jumping else 0.0)


def _sit(e: Canvas, size: float) -> None:
    """The frame of an animal that sits facing us; resting, it lies like a loaf with its head beside."""
    e.stand(size, rest=(1.45, 0.66))


def _torso(e: Canvas, wide: float, foot: Colour) -> None:
    """Legs, trunk with belly, arms: what cat, dog, bear, bunny and fox share."""
    if e.jumping:
        for s in (-1, 1):
            e.mass(tube((s * 0.12, -0.14), (s * 0.2, -0.04), (s * 0.27, 0.05), widths=(0.1, 0.085, 0.075)))
            e.mass(ellipse(s * 0.3, 0.07, 0.095, 0.065, -s * 25), colour=foot)
    trunk = blob((-0.13, -0.47), (0.13, -0.47), (wide * 0.85, -0.28), (wide, -0.1), (wide * 0.72, -0.01),
                 (0, 0), (-wide * 0.72, -0.01), (-wide, -0.1), (-wide * 0.85, -0.28))
    belly = ((ellipse(0, -0.17, wide * 0.6, 0.17), e.second),) if e.plain and not e.resting else ()
    e.mass(trunk, coat=True, details=belly)
    if e.resting:
        e.mass(ellipse(-0.12, -0.12, 0.115, 0.14, 12), coat=True)
        e.mass(tube((-0.16, -0.035), (-0.06, -0.03), widths=0.036), colour=foot)
        return
    if not e.jumping:
        for s in (-1, 1):
            e.mass(ellipse(s * 0.125, -0.045, 0.105, 0.06), colour=foot)
    arms = {-1: ((-0.17, -0.38), (-0.25, -0.28), (-0.235, -0.17)), 1: ((0.17, -0.38), (0.25, -0.28), (0.235, -0.17))}
    if e.jumping:
        arms = {s: ((s * 0.15, -0.37), (s * 0.28, -0.42), (s * 0.39, -0.52)) for s in (-1, 1)}
    elif e.leaning:
        arms[1] = ((0.16, -0.36), (0.3, -0.36), (0.41, -0.46))
    for line in arms.values():
        e.mass(tube(*line, widths=(0.05, 0.062, 0.066)))


def _paws(e: Canvas, foot: Colour, frame: Affine) -> None:
    """Two paws under the chin of a lying animal."""
    if e.resting:
        for x in (-0.12, 0.14):
            e.mass(ellipse(x, -0.385, 0.1, 0.05), colour=foot, frame=frame)


def _sitting_anchors(e: Canvas, head: Affine, top: float, half: float, at: tuple[tuple[float, float, float], ...],
                     chin: float = -0.415) -> Anchors:
    hand = (0.41, -0.46) if e.leaning else (0.39, -0.52) if e.jumping else (0.24, -0.2)
    return Anchors((0, top, half), head, at, head, (0, chin, 0.2), head, hand, e.body)


def _nose(e: Canvas, y: float, w: float, frame: Affine, colour: Colour = INK) -> None:
    e.flat(rounded((-w, y - w * 0.55), (w, y - w * 0.55), (0, y + w * 0.75), r=w * 0.8), colour=colour, frame=frame)


def cat(e: Canvas) -> Anchors:
    _sit(e, 0.97)
    k, foot = e.part, e.colour
    if e.resting:
        tail = tube((-0.16, -0.04), (-0.3, -0.06), (-0.34 - 0.03 * k, -0.2), (-0.3, -0.3 * k - 0.02),
                    widths=(0.045, 0.04, 0.036))
    else:
        lift = 0.06 if e.jumping else 0.0
        tail = tube((0.16, -0.07), (0.33, -0.07 - lift), (0.42, -0.22 - lift), (0.36, -0.36 * k - lift),
                    (0.43, -0.47 * k - lift), widths=(0.055, 0.05, 0.048, 0.045))
    e.mass(tail, coat=True)
    head = _head_frame(e)
    _torso(e, 0.235, foot)
    face = blob((0, -0.9), (0.2, -0.86), (0.31, -0.7), (0.33, -0.59), (0.2, -0.44), (0, -0.405),
                (-0.2, -0.44), (-0.33, -0.59), (-0.31, -0.7), (-0.2, -0.86))
    ears = [rounded((s * 0.07, -0.84), (s * (0.27 + 0.02 * k), -0.86 - 0.24 * k), (s * 0.33, -0.66), r=0.07)
            for s in (-1, 1)]
    inner = [rounded((s * 0.15, -0.87), (s * (0.25 + 0.02 * k), -0.85 - 0.16 * k), (s * 0.285, -0.76), r=0.05)
             for s in (-1, 1)]
    snout = ellipse(0, -0.535, 0.13, 0.085)
    e.mass(*ears, face, coat=True, frame=head, details=(
        *((i, e.second) for i in inner), (snout, pale(e.colour)), *cheeks(0, -0.555, 0.225, 0.055)))
    whisker = INK if sum(e.colour) > 330 else PAPER
    for s in (-1, 1):
        for y, lift in ((-0.565, -0.03), (-0.515, 0.02)):
            e.flat(tube((s * 0.2, y), (s * 0.39, y + lift), widths=0.009), colour=whisker, frame=head)
    at = pair(0.15, -0.655, 0.066)
    eyes(e, at, head)
    _nose(e, -0.565, 0.036, head, colour=(226, 92, 110))
    mouth(e, 0, -0.53, 0.07, head, cat=True)
    _paws(e, foot, head)
    return _sitting_anchors(e, head, -0.89, 0.22, at)


def dog(e: Canvas) -> Anchors:
    _sit(e, 1.03)
    k, foot = e.part, e.colour
    if e.resting:
        e.mass(tube((-0.18, -0.08), (-0.3, -0.14), (-0.33, -0.24 * k), widths=(0.05, 0.04, 0.03)), coat=True)
    else:
        e.mass(tube((-0.15, -0.1), (-0.3, -0.2), (-0.35, -0.36 * k), widths=(0.06, 0.05, 0.035)), coat=True)
    head = _head_frame(e)
    _torso(e, 0.24, foot)
    face = blob((0, -0.92), (0.18, -0.88), (0.26, -0.72), (0.28, -0.57), (0.2, -0.44), (0, -0.4),
                (-0.2, -0.44), (-0.28, -0.57), (-0.26, -0.72), (-0.18, -0.88))
    e.mass(face, coat=True, frame=head, details=cheeks(0, -0.52, 0.235, 0.05))
    e.mass(ellipse(0, -0.515, 0.165, 0.115), colour=pale(e.colour), frame=head)
    swing = 0.14 if e.jumping else 0.0
    ear = e.second if e.plain else mix(e.colour, INK, 0.15)
    for s in (-1, 1):
        e.mass(tube((s * 0.2, -0.87), (s * (0.33 + swing * 0.6), -0.78 - swing * 0.2),
                    (s * (0.355 + swing), -0.78 + 0.26 * k - swing * 1.3), widths=(0.05, 0.085, 0.1)), colour=ear,
                    frame=head)
    at = pair(0.125, -0.69, 0.06)
    eyes(e, at, head)
    _nose(e, -0.575, 0.062, head)
    mouth(e, 0, -0.495, 0.075, head)
    if not e.jumping and not e.resting:
        e.flat(tube((0.03, -0.455), (0.035, -0.42), widths=0.03), colour=(238, 104, 116), frame=head)
    _paws(e, foot, head)
    return _sitting_anchors(e, head, -0.91, 0.2, at, chin=-0.395)


def bear(e: Canvas) -> Anchors:
    _sit(e, 1.05)
    k, foot = e.part, e.colour
    head = _head_frame(e)
    _torso(e, 0.29, foot)
    face = ellipse(0, -0.65, 0.315, 0.255, n=36)
    ears = [ellipse(s * 0.24, -0.845, 0.105 * k, 0.105 * k) for s in (-1, 1)]
    e.mass(*ears, coat=True, frame=head, details=tuple((ellipse(s * 0.24, -0.84, 0.055 * k, 0.055 * k), e.second)
                                                       for s in (-1, 1)))
    e.mass(face, coat=True, frame=head, details=cheeks(0, -0.56, 0.235, 0.058))
    e.mass(ellipse(0, -0.545, 0.13, 0.1), colour=pale(e.colour), frame=head)
    at = pair(0.135, -0.675, 0.056)
    eyes(e, at, head)
    e.flat(ellipse(0, -0.595, 0.056, 0.038, n=16), colour=INK, frame=head)
    mouth(e, 0, -0.53, 0.06, head)
    _paws(e, foot, head)
    return _sitting_anchors(e, head, -0.895, 0.2, at, chin=-0.4)


def bunny(e: Canvas) -> Anchors:
    _sit(e, 0.86)
    k, foot = e.part, e.colour
    e.mass(ellipse(-0.24, -0.1, 0.095, 0.09), colour=e.second if e.plain else pale(e.colour))
    head = _head_frame(e)
    _torso(e, 0.22, foot)
    lean = 0.1 if e.jumping else 0.0
    for s in (-1, 1):
        if e.resting:
            line = ((s * 0.12, -0.8), (s * 0.3, -0.93), (s * (0.34 + 0.12 * k), -0.86 + 0.1 * k))
        else:
            tip = (s * (0.2 + lean), -0.9 - 0.36 * k)
            line = ((s * 0.11, -0.8), (s * (0.13 + lean * 0.3), -0.87 - 0.16 * k), tip)
        e.mass(tube(*line, widths=(0.06, 0.085, 0.06)), coat=True, frame=head,
               details=((tube(*line, widths=(0.02, 0.046, 0.024)), e.second),))
    face = blob((0, -0.87), (0.2, -0.82), (0.3, -0.65), (0.28, -0.5), (0.14, -0.41), (0, -0.395),
                (-0.14, -0.41), (-0.28, -0.5), (-0.3, -0.65), (-0.2, -0.82))
    e.mass(face, coat=True, frame=head, details=(
        (ellipse(-0.055, -0.525, 0.085, 0.075), pale(e.colour)), (ellipse(0.055, -0.525, 0.085, 0.075), pale(e.colour)),
        *cheeks(0, -0.55, 0.22, 0.06)))
    at = pair(0.145, -0.655, 0.064)
    eyes(e, at, head)
    _nose(e, -0.57, 0.04, head, colour=(226, 92, 110))
    mouth(e, 0, -0.53, 0.06, head, cat=True)
    if not e.jumping and not e.resting:
        e.flat(rounded((-0.034, -0.503), (0.034, -0.503), (0.034, -0.445), (-0.034, -0.445), r=0.015), colour=INK,
               frame=head)
        e.flat(rounded((-0.026, -0.503), (0.026, -0.503), (0.026, -0.452), (-0.026, -0.452), r=0.012), colour=PAPER,
               frame=head)
    _paws(e, foot, head)
    return _sitting_anchors(e, head, -0.875, 0.19, at, chin=-0.39)


def fox(e: Canvas) -> Anchors:
    _sit(e, 0.99)
    k = e.part
    white = e.second if e.plain else pale(e.colour)
    foot = mix(e.colour, INK, 0.45) if sum(e.colour) > 330 else mix(e.colour, PAPER, 0.25)
    if e.resting:
        line = ((-0.08, -0.06), (-0.3, -0.05), (-0.44, -0.22), (-0.34, -0.44 * k))
    else:
        up = 0.08 if e.jumping else 0.0
        line = ((-0.1, -0.08), (-0.32, -0.07 - up), (-0.43, -0.28 - up), (-0.37 - 0.04 * k, -0.5 * k - up))
    tail = tube(*line, widths=(0.05, 0.115 * k, 0.14 * k, 0.1 * k, 0.015))
    tx, ty = line[-1]
    tip = ellipse(tx, ty, 0.13 * k, 0.13 * k)
    e.mass(tail, coat=True, details=((tip, white),))
    head = _head_frame(e)
    _torso(e, 0.2, foot)
    ears = [rounded((s * 0.05, -0.8), (s * 0.24, -0.84 - 0.28 * k), (s * 0.33, -0.66), r=0.05) for s in (-1, 1)]
    e.mass(*ears, coat=True, frame=head, details=tuple(
        (rounded((s * 0.13, -0.82), (s * 0.23, -0.84 - 0.19 * k), (s * 0.28, -0.73), r=0.04), mix(e.colour, INK, 0.6))
        for s in (-1, 1)))
    face = blob((0, -0.86), (0.19, -0.82), (0.3, -0.69), (0.4, -0.53), (0.22, -0.47), (0.09, -0.385), (0, -0.355),
                (-0.09, -0.385), (-0.22, -0.47), (-0.4, -0.53), (-0.3, -0.69), (-0.19, -0.82))
    masks = tuple((blob((0, -0.54), (s * 0.12, -0.575), (s * 0.3, -0.56), (s * 0.46, -0.52), (s * 0.2, -0.4),
                        (0, -0.3)), white)
                  for s in (-1, 1))
    e.mass(face, coat=True, frame=head, details=(*masks, *cheeks(0, -0.535, 0.24, 0.05)))
    at = pair(0.145, -0.645, 0.058)
    eyes(e, at, head)
    e.flat(ellipse(0, -0.405, 0.052, 0.042, n=16), colour=INK, frame=head)
    if e.jumping:
        mouth(e, 0, -0.36, 0.05, head)
    _paws(e, foot, head)
    return _sitting_anchors(e, head, -0.85, 0.2, at, chin=-0.36)
