"""Eyes, cheeks and mouths, for everyone in the drawn world. Knows where a face is told to be, not whose it is."""

from __future__ import annotations

from .canvas import INK, PAPER, Colour, Canvas, Shade, mix
from .geometry import Affine, Points, blob, ellipse, tube

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
    lines = [((x, y), (x + s * w * 0.5, y + w * 0.38), (x + s * w, y)) for s in (-1, 1)] if cat else [
        ((x - w, y), (x, y + w * 0.55), (x + w, y))]
    if coat and not e.plain:  # a quiet ground, or the marks would drown it
        e.flat(*(tube(*line, widths=w * 0.45) for line in lines), colour=e.colour, frame=frame)
    light = coat and sum(e.colour) < DARK
    e.flat(*(tube(*line, widths=0.013) for line in lines), colour=mix(e.colour, PAPER, 0.85) if light else INK,
           frame=frame)


def _smile(x: float, y: float, w: float) -> Points:
    whole = ellipse(x, y, w * 0.95, w * 1.05)
    return whole[whole[:, 1] >= y - 1e-6]
