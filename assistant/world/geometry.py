"""Closed outlines as arrays of points: ellipses, soft blobs, rounded polygons, tubes. Knows no colours and no pixels.

Every function returns float64 [n,
                                2], x to the right and y down, in whatever unit the numbers given have. Affine maps are
[2, 3] arrays applied with `warp`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

Points = np.ndarray  # [n, 2]
Affine = np.ndarray  # [2, 3]
_CORNER = np.linspace(0, 1, 7)[None, :, None]
_CAP = np.linspace(-math.pi / 2, math.pi / 2, 9)[1:-1, None]
_CAP_COS, _CAP_SIN = np.cos(_CAP), np.sin(_CAP)


@lru_cache(maxsize=None)
def _circle(n: int) -> Points:
    turn = np.arange(n) * (2 * math.pi / n)
    return np.stack([np.cos(turn), np.sin(turn)], 1)


@lru_cache(maxsize=None)
def _neighbours(n: int) -> np.ndarray:
    """[4, n]: of each point of a closed outline the one before, itself, the next, the one after (np.roll is slow)."""
    return (np.arange(n) + np.arange(-1, 3)[:, None]) % n


@lru_cache(maxsize=None)
def _spline_basis(n: int) -> np.ndarray:
    """Catmull-Rom weights [n, 4] of the four neighbouring control points."""
    t = np.arange(n)[:, None] / n
    return 0.5 * np.concatenate([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2],
                                1)


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0, n: int = 28) -> Points:
    points = _circle(n) * (rx, ry)
    if degrees:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        points = points @ np.array(((c, s), (-s, c)))
    return points + (cx, cy)


def blob(*controls: tuple[float, float], n: int = 7) -> Points:
    """A smooth closed curve through the control points."""
    p = np.array(controls, dtype=np.float64)
    near = p[_neighbours(len(p)).T]  # [m, 4, 2]
    return (_spline_basis(n) @ near).reshape(-1, 2)


def rounded(*corners: tuple[float, float], r: float) -> Points:
    """A polygon whose corners are rounded, each starting `r` (or half of the side) before the corner."""
    p = np.array(corners, dtype=np.float64)
    last, _, following, _ = _neighbours(len(p))
    before, after = p[last] - p, p[following] - p
    before *= np.minimum(0.5, r / np.maximum(np.hypot(*before.T), 1e-9))[:, None]
    after *= np.minimum(0.5, r / np.maximum(np.hypot(*after.T), 1e-9))[:, None]
    t = _CORNER
    return (p[:, None] + (1 - t) ** 2 * before[:, None] + t**2 * after[:, None]).reshape(-1, 2)


def box(x0: float, y0: float, x1: float, y1: float, r: float) -> Points:
    return rounded((x0, y0), (x1, y0), (x1, y1), (x0, y1), r=r)


def spline(*controls: tuple[float, float], n: int = 6) -> Points:
    """An open smooth curve through the control points."""
    p = np.array(controls, dtype=np.float64)
    if len(p) == 2:
        return p
    padded = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    near = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]], 1)
    return np.concatenate([(_spline_basis(n) @ near).reshape(-1, 2), p[-1:]])


def tube(*controls: tuple[float, float], widths: float | tuple[float, ...]) -> Points:
    """A tail, limb or thick line: a smooth curve with round ends; `widths` are radii spread evenly along it."""
    line = spline(*controls)
    m = len(line)
    radii = np.full(m, widths) if isinstance(widths, (int, float)) else np.interp(
        np.linspace(0, 1, m), np.linspace(0, 1, len(widths)), widths)
    step = np.empty_like(line)
    step[1:-1], step[0], step[-1] = line[2:] - line[:-2], line[1] - line[0], line[-1] - line[-2]
    step /= np.maximum(np.hypot(*step.T), 1e-9)[:, None]
    side = np.stack([-step[:, 1], step[:, 0]], 1) * radii[:, None]
    end = line[-1] + _CAP_COS * radii[-1] * step[-1] + _CAP_SIN * side[-1]
    start = line[0] - _CAP_COS * radii[0] * step[0] - _CAP_SIN * side[0]
    return np.concatenate([line - side, end, (line + side)[::-1], start])


def star(cx: float, cy: float, r: float, tips: int = 5, inner: float = 0.5, degrees: float = -90.0) -> Points:
    turn = math.radians(degrees) + np.arange(2 * tips) * (math.pi / tips)
    radius = np.where(np.arange(2 * tips) % 2 == 0, r, r * inner)
    return np.stack([cx + radius * np.cos(turn), cy + radius * np.sin(turn)], 1)


def affine(degrees: float = 0.0, sx: float = 1.0, sy: float = 1.0, dx: float = 0.0, dy: float = 0.0) -> Affine:
    """Scale, then rotate (clockwise on a y-down page), then move."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array(((c * sx, -s * sy, dx), (s * sx, c * sy, dy)))


def then(first: Affine, second: Affine) -> Affine:
    """The map that applies `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]], 1)


def warp(points: Points, by: Affine) -> Points:
    """[..., 2] -> [..., 2]."""
    return points @ by[:, :2].T + by[:, 2]


def grown(points: Points, by: float) -> Points:
    """The outline pushed outwards by `by`; corners sharper than 90 degrees are not pushed to a spike."""
    last, _, following, _ = _neighbours(len(points))
    after = points[following]
    ahead = after - points[last]
    area = float(points[:, 0] @ after[:, 1] - points[:, 1] @ after[:, 0])
    ahead *= (math.copysign(by, area) / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9))[:, None]
    ahead = ahead[:, ::-1]
    return points + ahead * (1, -1)
