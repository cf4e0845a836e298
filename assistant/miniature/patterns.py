"""The marks of an individual's pattern in body coordinates. Knows neither kinds nor poses: the body's mask cuts them.

Body coordinates: a standing subject of average build is 1 high, feet at y = 0, top at y = -1, middle at x = 0. Because
the marks depend on (pattern, layout) only, an individual wears them in the same places of its body in every picture.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np

from .shapes import Points, ellipse, star

LEFT, TOP, RIGHT, BOTTOM = -0.8, -1.35, 0.8, 0.2  # the region that marks cover
MIDDLE, REACH = np.array(((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)), 1.1  # its middle, and how far its corners are


@lru_cache(maxsize=256)
def marks(pattern: str, layout: int) -> np.ndarray:
    """[count, points, 2]: the polygons to fill with the second colour; count 0 if plain."""
    if pattern == "plain":
        return np.zeros((0, 3, 2))
    rng = random.Random(layout)
    return np.stack({"striped": _stripes, "spotted": _spots, "patched": _patches,
                     "checked": _checks, "starry": _stars}[pattern](rng))


def _turned(points: Points, degrees: float) -> Points:
    """[..., 2] rotated about the middle of the region."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - MIDDLE) @ np.array(((c, s), (-s, c))) + MIDDLE


def _grid(rng: random.Random, step: float, jitter: float, degrees: float) -> list[tuple[float, float]]:
    """Centres of a rotated, jittered brick grid with a random origin, those inside the region."""
    ox, oy, n = rng.uniform(0, step), rng.uniform(0, step), int(REACH / step) + 1
    row, column = np.mgrid[-n:n, -n:n].reshape(2, -1)
    sites = np.stack([(column + 0.5 * (row % 2)) * step + ox, row * step * 0.87 + oy], 1) + MIDDLE
    return [(x + rng.uniform(-jitter, jitter), y + rng.uniform(-jitter, jitter))
            for x, y in _turned(sites, degrees).tolist() if LEFT < x < RIGHT and TOP < y < BOTTOM]


def _stripes(rng: random.Random) -> list[Points]:
    width, gap = rng.uniform(0.066, 0.085), rng.uniform(0.09, 0.115)
    degrees = rng.choice((0, 90, 35, -35)) + rng.uniform(-10, 10)
    wave, phase, start = rng.uniform(0, 0.022), rng.uniform(0, 6), rng.uniform(0, width + gap)
    x = np.linspace(-1.2, 1.2, 17)
    bend = wave * np.sin(x * 9 + phase)
    rows = []
    for i in range(-8, 9):
        y = (TOP + BOTTOM) / 2 + i * (width + gap) + start + bend
        rows.append(_turned(np.concatenate([np.stack([x, y], 1), np.stack([x, y + width], 1)[::-1]]), degrees))
    return rows


def _spots(rng: random.Random) -> list[Points]:
    r = rng.uniform(0.052, 0.072)
    return [ellipse(x, y, r * rng.uniform(0.85, 1.15), r * rng.uniform(0.85, 1.15), n=16)
            for x, y in _grid(rng, r * rng.uniform(3.0, 3.5), r * 0.35, rng.uniform(0, 60))]


def _patches(rng: random.Random) -> list[Points]:
    blots = []
    for x, y in _grid(rng, rng.uniform(0.37, 0.45), 0.06, rng.uniform(0, 60)):
        r, a, b = rng.uniform(0.115, 0.155), rng.uniform(0, 6.3), rng.uniform(0, 6.3)
        turn = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        radius = r * (1 + 0.18 * np.sin(2 * turn + a) + 0.12 * np.sin(3 * turn + b))
        blots.append(np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], 1))
    return blots


def _checks(rng: random.Random) -> np.ndarray:
    side, degrees = rng.uniform(0.095, 0.125), rng.choice((0, 45)) + rng.uniform(-12, 12)
    origin, n = MIDDLE + (rng.uniform(0, side), rng.uniform(0, side)), int(REACH / side) + 1
    at = np.mgrid[-n:n, -n:n].reshape(2, -1).T
    at = at[at.sum(1) % 2 == 0] * side + origin
    a = side * 0.95  # a little less than half of the coat, which gives the subject its name
    squares = _turned(at[:, None] + np.array(((0, 0), (a, 0), (a, a), (0, a))), degrees)
    inside = (squares > (LEFT, TOP)).all(2).any(1) & (squares < (RIGHT, BOTTOM)).all(2).any(1)
    return squares[inside]


def _stars(rng: random.Random) -> list[Points]:
    r = rng.uniform(0.078, 0.095)
    return [star(x, y, r * rng.uniform(0.9, 1.1), degrees=rng.uniform(0, 72))
            for x, y in _grid(rng, r * rng.uniform(2.5, 2.8), r * 0.2, rng.uniform(0, 60))]
