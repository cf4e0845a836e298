"""What the nine animals look like, in body coordinates, and the eyes, cheeks and mouths of everyone.

Each function draws on the canvas from back to front and returns the anchors where accessories go. Poses come as frames and flags.
"""

from .canvas import INK, PAPER, Affine, Anchors, Canvas, Colour, Points, Shade, affine, blob, ellipse, mix, pale, rounded, then, tube, warp

CHEEK: Shade = (240, 96, 104, 120)
DARK = 280  # sum of red, green and blue under which a line must be light: black and brown
SIZES = {"dots": 0.60, "round": 1.0, "big": 1.42, "sleepy": 1.12}  # radius relative to the round eye's


def pair(x: float, y: float, r: float) -> tuple[tuple[float, float, float], ...]:
    """Two equal eyes, x to either side of the middle."""
    return ((-x, y, r), (x, y, r))


def eyes(e: Canvas, at: tuple[tuple[float, float, float], ...], frame: Affine, ground: Colour | None = None) -> None:
    """Eyes at (x, y, radius of a round eye); closed when resting. `ground`: what they lie on, if not the coat."""
    style, gap = e.scene.individual.eyes, abs(at[0][0] - at[1][0])
    quiet = not e.plain and ground is None  # marks of a pattern would drown thin lines
    ground = ground or e.colour
    for x, y, r in at:
        R = r * SIZES[style]
        if e.resting:
            _closed(e, x, y, min(r, gap * 0.36), frame, ground, quiet)
        elif style == "dots":
            if quiet or sum(ground) < 330:
                e.flat(ellipse(x, y, R * 1.5, R * 1.6, n=18), colour=mix(ground, PAPER, 0.75), frame=frame)
            e.flat(ellipse(x, y, R, R * 1.15, n=18), colour=INK, frame=frame)
            e.flat(ellipse(x - R * 0.3, y - R * 0.4, R * 0.32, R * 0.32, n=8), colour=PAPER, frame=frame)
        elif style == "sleepy":
            _sleepy(e, x, y, R, frame, ground)
        else:
            e.flat(ellipse(x, y, R * 1.16, R * 1.2), colour=INK, frame=frame)
            e.flat(ellipse(x, y, R, R * 1.04), colour=PAPER, frame=frame)
            inner = 0.56 if style == "round" else 0.72
            e.flat(ellipse(x + R * 0.1, y + R * 0.08, R * inner, R * (inner + 0.06), n=20), colour=INK, frame=frame)
            e.flat(ellipse(x - R * 0.14, y - R * 0.28, R * 0.26, R * 0.26, n=10), colour=PAPER, frame=frame)
            if style == "big":
                e.flat(ellipse(x + R * 0.36, y + R * 0.36, R * 0.15, R * 0.15, n=8), colour=PAPER, frame=frame)


def _sleepy(e: Canvas, x: float, y: float, R: float, frame: Affine, ground: Colour) -> None:
    """Half under a lid whose edge hangs in the middle: a straight one looks cross."""
    dark = mix(ground, INK, 0.75)
    e.flat(ellipse(x, y, R * 1.16, R * 1.2), colour=dark, frame=frame)
    e.flat(ellipse(x, y, R, R * 1.04), colour=PAPER, frame=frame)
    e.flat(ellipse(x, y + R * 0.36, R * 0.5, R * 0.5, n=18), colour=INK, frame=frame)
    edge = [(x - R * 1.14, y - R * 0.12), (x, y + R * 0.26), (x + R * 1.14, y - R * 0.12)]
    upper = [(a, b - R * 0.1) for a, b in edge]
    e.flat(_lid(x, y - R * 0.12, R * 1.17), tube(*edge, widths=R * 0.14), colour=dark, frame=frame)
    e.flat(_lid(x, y - R * 0.1, R * 1.06), tube(*upper, widths=R * 0.14), blob(*upper, (x, y - R * 0.3)),
           colour=mix(ground, INK if sum(ground) > 170 else PAPER, 0.2), frame=frame)


def _lid(x: float, y: float, r: float) -> Points:
    whole = ellipse(x, y, r, r * 1.03)
    return whole[whole[:, 1] <= y + 1e-6]


def _closed(e: Canvas, x: float, y: float, r: float, frame: Affine, ground: Colour, quiet: bool) -> None:
    line = ((x - r * 1.15, y - r * 0.1), (x, y + r * 0.55), (x + r * 1.15, y - r * 0.1))
    if quiet:
        e.flat(tube(*line, widths=r * 0.72), colour=ground, frame=frame)
    e.flat(tube(*line, widths=r * 0.25), colour=INK if sum(ground) > DARK else mix(ground, PAPER, 0.85), frame=frame)


def cheeks(x: float, y: float, spread: float, r: float) -> tuple[tuple[Points, Shade], ...]:
    """Two blushes, as details of the mass they lie on."""
    return tuple((ellipse(x + s * spread, y, r, r * 0.72, n=16), CHEEK) for s in (-1, 1))


def mouth(e: Canvas, x: float, y: float, w: float, frame: Affine, cat: bool = False, coat: bool = False) -> None:
    """`w`: half its width. Open when jumping, else a smile, small when resting. `coat`: it lies on the coat."""
    if e.jumping:
        e.flat(_smile(x, y, w), colour=(122, 34, 48), frame=frame)
        e.flat(ellipse(x, y + w * 0.62, w * 0.42, w * 0.26, n=14), colour=(240, 110, 116), frame=frame)
        return
    w = w * 0.7 if e.resting and not cat else w
    lines = [((x, y), (x + s * w * 0.5, y + w * 0.38), (x + s * w, y)) for s in (-1, 1)] if cat else [((x - w, y), (x, y + w * 0.55), (x + w, y))]
    if coat and not e.plain:  # a quiet ground, or the marks would drown it
        e.flat(*(tube(*line, widths=w * 0.45) for line in lines), colour=e.colour, frame=frame)
    light = coat and sum(e.colour) < DARK
    e.flat(*(tube(*line, widths=0.013) for line in lines), colour=mix(e.colour, PAPER, 0.85) if light else INK, frame=frame)


def _smile(x: float, y: float, w: float) -> Points:
    whole = ellipse(x, y, w * 0.95, w * 1.05)
    return whole[whole[:, 1] >= y - 1e-6]


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


def _sitting_anchors(e: Canvas, head: Affine, top: float, half: float, at: tuple[tuple[float, float, float], ...], chin: float = -0.415) -> Anchors:
    hand = (0.41, -0.46) if e.leaning else (0.39, -0.52) if e.jumping else (0.24, -0.2)
    return Anchors((0, top, half), head, at, head, (0, chin, 0.2), head, hand, e.body)


def _nose(e: Canvas, y: float, w: float, frame: Affine, colour: Colour = INK) -> None:
    e.flat(rounded((-w, y - w * 0.55), (w, y - w * 0.55), (0, y + w * 0.75), r=w * 0.8), colour=colour, frame=frame)


def cat(e: Canvas) -> Anchors:
    _sit(e, 0.97)
    k, foot = e.part, e.colour
    if e.resting:
        tail = tube((-0.16, -0.04), (-0.3, -0.06), (-0.34 - 0.03 * k, -0.2), (-0.3, -0.3 * k - 0.02), widths=(0.045, 0.04, 0.036))
    else:
        lift = 0.06 if e.jumping else 0.0
        tail = tube((0.16, -0.07), (0.33, -0.07 - lift), (0.42, -0.22 - lift), (0.36, -0.36 * k - lift),
                    (0.43, -0.47 * k - lift), widths=(0.055, 0.05, 0.048, 0.045))
    e.mass(tail, coat=True)
    head = _head_frame(e)
    _torso(e, 0.235, foot)
    face = blob((0, -0.9), (0.2, -0.86), (0.31, -0.7), (0.33, -0.59), (0.2, -0.44), (0, -0.405), (-0.2, -0.44), (-0.33, -0.59), (-0.31, -0.7), (-0.2, -0.86))
    ears = [rounded((s * 0.07, -0.84), (s * (0.27 + 0.02 * k), -0.86 - 0.24 * k), (s * 0.33, -0.66), r=0.07) for s in (-1, 1)]
    inner = [rounded((s * 0.15, -0.87), (s * (0.25 + 0.02 * k), -0.85 - 0.16 * k), (s * 0.285, -0.76), r=0.05) for s in (-1, 1)]
    snout = ellipse(0, -0.535, 0.13, 0.085)
    e.mass(*ears, face, coat=True, frame=head, details=(*((i, e.second) for i in inner), (snout, pale(e.colour)), *cheeks(0, -0.555, 0.225, 0.055)))
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
    face = blob((0, -0.92), (0.18, -0.88), (0.26, -0.72), (0.28, -0.57), (0.2, -0.44), (0, -0.4), (-0.2, -0.44), (-0.28, -0.57), (-0.26, -0.72), (-0.18, -0.88))
    e.mass(face, coat=True, frame=head, details=cheeks(0, -0.52, 0.235, 0.05))
    e.mass(ellipse(0, -0.515, 0.165, 0.115), colour=pale(e.colour), frame=head)
    swing = 0.14 if e.jumping else 0.0
    ear = e.second if e.plain else mix(e.colour, INK, 0.15)
    for s in (-1, 1):
        e.mass(tube((s * 0.2, -0.87), (s * (0.33 + swing * 0.6), -0.78 - swing * 0.2), (s * (0.355 + swing), -0.78 + 0.26 * k - swing * 1.3),
                    widths=(0.05, 0.085, 0.1)), colour=ear, frame=head)
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
    e.mass(*ears, coat=True, frame=head, details=tuple((ellipse(s * 0.24, -0.84, 0.055 * k, 0.055 * k), e.second) for s in (-1, 1)))
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
        e.mass(tube(*line, widths=(0.06, 0.085, 0.06)), coat=True, frame=head, details=((tube(*line, widths=(0.02, 0.046, 0.024)), e.second),))
    face = blob((0, -0.87), (0.2, -0.82), (0.3, -0.65), (0.28, -0.5), (0.14, -0.41), (0, -0.395), (-0.14, -0.41), (-0.28, -0.5), (-0.3, -0.65), (-0.2, -0.82))
    e.mass(face, coat=True, frame=head, details=(
        (ellipse(-0.055, -0.525, 0.085, 0.075), pale(e.colour)), (ellipse(0.055, -0.525, 0.085, 0.075), pale(e.colour)),
        *cheeks(0, -0.55, 0.22, 0.06)))
    at = pair(0.145, -0.655, 0.064)
    eyes(e, at, head)
    _nose(e, -0.57, 0.04, head, colour=(226, 92, 110))
    mouth(e, 0, -0.53, 0.06, head, cat=True)
    if not e.jumping and not e.resting:
        e.flat(rounded((-0.034, -0.503), (0.034, -0.503), (0.034, -0.445), (-0.034, -0.445), r=0.015), colour=INK, frame=head)
        e.flat(rounded((-0.026, -0.503), (0.026, -0.503), (0.026, -0.452), (-0.026, -0.452), r=0.012), colour=PAPER, frame=head)
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
    inner = [rounded((s * 0.13, -0.82), (s * 0.23, -0.84 - 0.19 * k), (s * 0.28, -0.73), r=0.04) for s in (-1, 1)]
    e.mass(*ears, coat=True, frame=head, details=tuple((i, mix(e.colour, INK, 0.6)) for i in inner))
    face = blob((0, -0.86), (0.19, -0.82), (0.3, -0.69), (0.4, -0.53), (0.22, -0.47), (0.09, -0.385), (0, -0.355),
                (-0.09, -0.385), (-0.22, -0.47), (-0.4, -0.53), (-0.3, -0.69), (-0.19, -0.82))
    masks = tuple((blob((0, -0.54), (s * 0.12, -0.575), (s * 0.3, -0.56), (s * 0.46, -0.52), (s * 0.2, -0.4), (0, -0.3)), white) for s in (-1, 1))
    e.mass(face, coat=True, frame=head, details=(*masks, *cheeks(0, -0.535, 0.24, 0.05)))
    at = pair(0.145, -0.645, 0.058)
    eyes(e, at, head)
    e.flat(ellipse(0, -0.405, 0.052, 0.042, n=16), colour=INK, frame=head)
    if e.jumping:
        mouth(e, 0, -0.36, 0.05, head)
    _paws(e, foot, head)
    return _sitting_anchors(e, head, -0.85, 0.2, at, chin=-0.36)


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
            e.mass(blob((s * 0.2, -0.52), (s * 0.4, -0.66), (s * 0.56, -0.72), (s * 0.55, -0.5), (s * 0.46, -0.36), (s * 0.24, -0.22)),
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
            e.mass(blob((s * 0.31, -0.53), (s * (0.39 + out), -0.4), (s * (0.4 + out), -0.2), (s * (0.3 + out), -0.07), (s * 0.25, -0.3)),
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
            e.mass(blob((x - 0.05 + swing, -0.035), (x + 0.07 + swing, -0.045), (x + 0.11 + swing, -0.005), (x - 0.03 + swing, 0)), colour=orange, shaded=False)
    low = -0.02 if e.resting else -0.09
    body = blob((-0.44, -0.44 - 0.08 * (k - 1)), (-0.3, -0.37), (-0.05, -0.42), (0.16, -0.5), (0.31, -0.38), (0.29, -0.2), (0.12, low), (-0.14, low),
                (-0.33, -0.18))
    if e.jumping:  # the far wing
        e.mass(blob((0.02, -0.36), (0.0, -0.6), (0.08, -0.7 * k ** 0.3), (0.16, -0.6), (0.16, -0.4)), colour=mix(e.colour, INK, 0.15))
    head = e.joint(0.17, -0.5, dx=0.0, dy=0.14 if e.resting else 0.0, degrees=14 if e.resting else -8 if e.leaning else 0)
    e.mass(tube((0.17, -0.34), (0.175, -0.6), widths=(0.14, 0.115)), coat=True)
    e.mass(body, coat=True)
    skull = ellipse(0.17, -0.735, 0.215, 0.2, n=32)
    tuft = tube((0.15, -0.9), (0.1, -0.97), (0.05, -0.96), widths=(0.035, 0.028, 0.016))
    e.mass(tuft, skull, coat=True, frame=head, details=((ellipse(0.09, -0.65, 0.055, 0.04, n=14), CHEEK),))
    gape = 0.055 if e.jumping else 0.0
    e.mass(blob((0.29, -0.66), (0.42, -0.645 + gape), (0.44, -0.61 + gape), (0.36, -0.59 + gape), (0.27, -0.61)),
           colour=mix(orange, INK, 0.18), frame=head, shaded=False)
    e.mass(blob((0.3, -0.755), (0.37, -0.745), (0.45, -0.69), (0.52, -0.675), (0.49, -0.63), (0.38, -0.63), (0.28, -0.645)), colour=orange, frame=head)
    at = ((0.15, -0.785, 0.056), (0.29, -0.79, 0.05))
    eyes(e, at, head)
    wing_colour = e.second if e.plain else mix(e.colour, INK, 0.12)
    if e.jumping:
        wing = blob((-0.12, -0.3), (-0.2, -0.5), (-0.3, -0.66), (-0.14, -0.66), (0.02, -0.54), (0.08, -0.36), (0.0, -0.27))
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
    tail = blob((-0.26, -0.41), (-0.4, -0.52), (-0.5 * k ** 0.5, -0.68 * k ** 0.4 + wag), (-0.56 * k ** 0.5, -0.58 + wag), (-0.5, -0.4 + wag),
                (-0.56 * k ** 0.5, -0.22 + wag), (-0.5 * k ** 0.5, -0.12 / k + wag), (-0.4, -0.28))
    e.mass(tail, colour=fin)
    e.mass(blob((-0.22, -0.62), (-0.14, -0.8 - 0.07 * k), (0.06, -0.82 - 0.09 * k), (0.16, -0.82), (0.22, -0.64)), colour=mix(e.colour, INK, 0.13))
    e.mass(blob((0.02, -0.14), (-0.06, -0.02), (-0.18, 0.0), (-0.18, -0.1), (-0.12, -0.2)), colour=fin)
    body = blob((-0.34, -0.41), (-0.2, -0.6), (0.06, -0.71), (0.3, -0.65), (0.45, -0.46), (0.43, -0.36), (0.3, -0.2), (0.06, -0.12), (-0.2, -0.22))
    belly = ((ellipse(0.14, -0.08, 0.34, 0.14), e.second),) if e.plain else ()
    scales = tuple((tube((x, y - 0.055), (x + 0.035, y), (x, y + 0.055), widths=0.009), mix(e.colour, INK, 0.2))
                   for x, y in ((-0.12, -0.43), (-0.02, -0.52), (-0.02, -0.34), (-0.2, -0.34))) if e.plain else ()
    e.mass(body, coat=True, details=(*belly, *scales, (ellipse(0.27, -0.33, 0.06, 0.045, n=16), CHEEK)))
    turn = 35 if e.jumping else -20 if e.leaning else 0
    flipper = then(affine(turn), affine(dx=0.06, dy=-0.36))
    e.mass(warp(blob((0.02, -0.06), (-0.1, -0.08), (-0.19 * k, -0.01), (-0.13, 0.08), (0.01, 0.07)), flipper), colour=e.second)
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
            e.mass(tube((x, -0.2), (x + spread, -0.055), widths=(0.08, 0.072)), colour=mix(skin, INK, 0.18) if far else skin)
    e.mass(tube((0.26, -0.2), (0.36, -0.28), (0.4, -0.42), widths=(0.09, 0.085, 0.08)), colour=skin, frame=e.body if not e.resting else head)
    e.mass(ellipse(0.42, -0.52, 0.175, 0.165, n=30), colour=skin, frame=head, details=((ellipse(0.36, -0.455, 0.045, 0.034, n=14), CHEEK),))
    shell = blob((-0.42, -0.16), (-0.43, -0.32), (-0.32, -0.58), (-0.06, -0.7), (0.2, -0.58), (0.32, -0.32), (0.32, -0.16), (0.1, -0.13), (-0.2, -0.13))
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
