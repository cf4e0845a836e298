"""Closed outlines as arrays of points, and the canvas that collects them in colour on three layers and turns them into pixels.

Outlines are float64 [n, 2] in whatever unit the numbers given have; affine maps are [2, 3] arrays applied with `warp`. The canvas knows poses only as affine maps
and the individual only as colours, proportions and pattern; what a cat looks like is written in `animals`. Subjects are drawn in body coordinates; a frame (an
affine map) takes them to the stage, whose unit is `scene.scale` times the canvas; the stage is laid on the canvas once, at the end.
"""

import math
import random
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .display_list import Colour, mix
from .scene import COLOURS, Scene

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
    return 0.5 * np.concatenate([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)


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
    radii = np.full(m, widths) if isinstance(widths, (int, float)) else np.interp(np.linspace(0, 1, m), np.linspace(0, 1, len(widths)), widths)
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


Shade = tuple[int, int, int, int]
DARK = 170  # red, green and blue together: a darker colour has a lighter rim
INK: Colour = (44, 38, 52)  # eyes and mouths
PAPER: Colour = (252, 251, 247)
OUTLINE = 0.0105  # of the canvas side
INSIDE = 0.012  # of the canvas side kept free at the frame's edge
PAIR_ROOM = 0.56  # width of the canvas, at most, for one of two heroes
JUMP, LIFT = 0.8, 0.2  # a jumping hero is drawn smaller, so that what it wears fits above it, and so far above the ground


def rim(colour: Colour) -> Colour:
    """The outline: darker than its own colour, but lighter for black, which would swallow it."""
    if sum(colour) < DARK:
        return mix(colour, (128, 126, 144), 0.62)
    return tuple(round(c * f) for c, f in zip(colour, (0.66, 0.62, 0.66)))  # type: ignore[return-value]


def pale(colour: Colour) -> Colour:
    """A muzzle or inner side of the same hue."""
    return mix(colour, (255, 250, 240), 0.3 if sum(colour) < DARK else 0.5)


@dataclass
class Mass:
    """Outlines that are one mass: one rim behind them, one coat of colour, marks, shade, details."""

    outlines: list[Points]  # on the stage
    colour: Colour
    marks: np.ndarray | None  # [count, points, 2] on the stage
    mark_colour: Colour
    details: list[tuple[Points, Shade]]  # cut by the outlines
    rim: Colour | None
    shaded: bool


@dataclass(frozen=True)
class Anchors:
    """Where accessories go. Lengths in the coordinates of their frame."""

    head: tuple[float, float, float]  # x, y of the crown of the head, half its width there
    head_frame: Affine
    eyes: tuple[tuple[float, float, float], ...]  # x, y, radius of a round eye, the far eye last
    face_frame: Affine
    neck: tuple[float, float, float]  # x, y, half width
    neck_frame: Affine
    side: tuple[float, float]  # where a string or a handle is held; accessories rise from there away from x = 0
    side_frame: Affine


@dataclass
class Canvas:
    """One subject being drawn. `body` and `head` are the frames of the pose; kinds may turn them further."""

    scene: Scene
    body: Affine = field(init=False)
    layers: dict[str, list[Mass]] = field(init=False)

    def __post_init__(self) -> None:
        one = self.scene.individual
        self.colour, self.second = COLOURS[one.colour], COLOURS[one.second]
        self.plain, self.part, self.pose = one.pattern == "plain", one.part, self.scene.pose
        self.jumping, self.leaning, self.resting = (self.pose == p for p in ("jumping", "leaning", "resting"))
        self.layers = {"behind": [], "body": [], "front": []}
        self.layer = "body"
        self.trim: Colour | None = None  # the rim of what is drawn next, if not of its own colour
        self.pattern = marks(one.pattern, one.layout)
        self.stand(1.0)

    def stand(self, size: float, rest: tuple[float, float] = (1.12, 0.72), jump_tilt: float = -9.0) -> None:
        """Set the body's frame: `size` of the kind; `rest` is how wide and high it is when resting."""
        one = self.scene.individual
        sx, sy = size * one.width, size * one.height
        tilt = 14.0 if self.leaning else jump_tilt if self.jumping else 0.0
        if self.resting:
            sx, sy = sx * rest[0], sy * rest[1]
        self.upright = affine(tilt)
        self.size = size
        self.body = then(affine(sx=sx, sy=sy), self.upright)

    def joint(self, x: float, y: float, degrees: float = 0.0, dx: float = 0.0, dy: float = 0.0) -> Affine:
        """The frame of a head that sits at (x, y) of the body: not squashed with it, turned and moved by the pose."""
        one = self.scene.individual
        tilt = self.upright
        at = warp(np.array((x, y)), self.body) + warp(np.array((dx, dy)) * self.size, affine())
        sx, sy = self.size * one.head * one.width**0.6, self.size * one.head * one.height**0.6
        turned = then(then(affine(sx=sx, sy=sy, dx=-x * sx, dy=-y * sy), affine(degrees)), tilt)
        return then(turned, affine(dx=at[0], dy=at[1]))

    def mass(self, *outlines: Points, colour: Colour | None = None, frame: Affine | None = None, coat: bool = False,
             details: tuple[tuple[Points, Colour | Shade], ...] = (), outlined: bool = True, shaded: bool = True) -> None:
        """Add a mass. `coat`: it wears the individual's pattern."""
        frame = self.body if frame is None else frame
        colour = self.colour if colour is None else colour
        worn = warp(self.pattern, frame) if coat and len(self.pattern) else None
        self.layers[self.layer].append(Mass(
            [warp(o, frame) for o in outlines], colour, worn, self.second,
            [(warp(d, frame), c if len(c) == 4 else (*c, 255)) for d, c in details], (self.trim or rim(colour))
            if outlined else None, shaded))

    def flat(self, *outlines: Points, colour: Colour, frame: Affine | None = None) -> None:
        """A detail without rim or shade."""
        self.mass(*outlines, colour=colour, frame=frame, outlined=False, shaded=False)

    def lowest(self) -> float:
        """Where the ground would be on the stage."""
        return float(max(o[:, 1].max() for m in self.layers["body"] for o in m.outlines))

    def reach(self, side: float, top: float, bottom: float) -> float:
        """How far the body goes to a side (1 or -1) of the stage between two heights."""
        own = np.concatenate([o for m in self.layers["body"] for o in m.outlines])
        own = own[(own[:, 1] > top) & (own[:, 1] < bottom), 0]
        return float((side * own).max()) if len(own) else 0.0

    def paint(self, px: int, ground: float) -> dict[str, Image.Image]:
        """Lay the stage on the canvas: layers as RGBA px x px.

        What it wears neither shrinks nor moves a subject; what it holds is drawn where the frame has room.
        """
        unit, margin = self.scene.scale * px * (JUMP if self.jumping else 1.0), INSIDE * px + OUTLINE * px
        lift = LIFT if self.jumping else 0.0
        own = np.concatenate([o for m in self.layers["body"] for o in m.outlines])
        bottom = own[:, 1].max()
        top = bottom - own[:, 1].min() + lift
        wide = np.ptp(own[:, 0])
        unit *= min(1.0, ((ground - OUTLINE) * px - margin) / (top * unit), (px * (1.0 if self.scene.companion is None else PAIR_ROOM) - 2 * margin) / (wide * unit))
        facing = -1.0 if self.scene.flip else 1.0
        x = self.scene.x * px - facing * unit * (own[:, 0].min() + own[:, 0].max()) / 2
        reach = np.sort(facing * unit * np.array((own[:, 0].min(), own[:, 0].max())))
        x = min(max(x, margin - reach[0]), px - margin - reach[1])
        lay = np.array(((facing * unit, 0, x), (0, unit, ground * px - OUTLINE * px - unit * (bottom + lift))))
        painted = {}
        for name, masses in self.layers.items():
            painted[name] = Image.new("RGBA", (px, px))
            draw = ImageDraw.Draw(painted[name])
            at = _inside(masses, lay, px, margin) if name == "behind" and masses else lay
            for m in masses:
                _paint_mass(painted[name], draw, m, at, px)
        return painted


def _inside(masses: list[Mass], lay: Affine, px: int, margin: float) -> Affine:
    """`lay`, moved so that the masses keep clear of the frame's top and sides."""
    drawn = np.concatenate([warp(o, lay) for m in masses for o in m.outlines])
    (left, top), (right, _) = drawn.min(0), drawn.max(0)
    across = max(0.0, margin - left) - max(0.0, right - (px - margin))
    return then(lay, affine(dx=across, dy=max(0.0, margin - top)))


def _paint_mass(image: Image.Image, draw: ImageDraw.ImageDraw, mass: Mass, lay: Affine, px: int) -> None:
    outlines = [warp(o, lay) for o in mass.outlines]
    if mass.rim is not None:
        for o in outlines:
            draw.polygon(grown(o, OUTLINE * px).ravel().tolist(), fill=mass.rim)
    if mass.marks is None and not mass.details and not mass.shaded:
        for o in outlines:
            draw.polygon(o.ravel().tolist(), fill=mass.colour)
        return
    corner = np.floor(np.min([o.min(0) for o in outlines], 0)) - 1
    far = np.ceil(np.max([o.max(0) for o in outlines], 0)) + 2
    size = int(far[0] - corner[0]), int(far[1] - corner[1])
    coat, mask = Image.new("RGB", size, mass.colour), Image.new("L", size)
    over, cut = ImageDraw.Draw(coat, "RGBA"), ImageDraw.Draw(mask)
    for o in outlines:
        cut.polygon((o - corner).ravel().tolist(), fill=255)
    if mass.marks is not None:
        worn = warp(mass.marks, lay) - corner
        seen = (worn.max(1) > 0).all(1) & (worn.min(1) < size).all(1)
        for m in worn[seen].reshape(int(seen.sum()), -1).tolist():
            over.polygon(m, fill=mass.mark_colour)
    for detail, shade in mass.details:
        over.polygon((warp(detail, lay) - corner).ravel().tolist(), fill=shade)
    if mass.shaded:
        # Everything that a copy of the outlines, moved to the upper left where the light is, leaves uncovered.
        depth = 0.07 * float(min(size)) + 0.004 * px
        shadow = Image.new("L", size, 38)
        lit = ImageDraw.Draw(shadow)
        for o in outlines:
            lit.polygon((o - corner - (depth * 0.8, depth)).ravel().tolist(), fill=0)
        coat.paste((34, 20, 60), mask=shadow)
    image.paste(coat, (int(corner[0]), int(corner[1])), mask)


LEFT, TOP, RIGHT, BOTTOM = -0.8, -1.35, 0.8, 0.2  # the region that marks cover
MIDDLE, REACH = np.array(((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)), 1.1  # its middle, and how far its corners are


@lru_cache(maxsize=256)
def marks(pattern: str, layout: int) -> np.ndarray:
    """[count, points, 2]: the polygons to fill with the second colour; count 0 if plain."""
    if pattern == "plain":
        return np.zeros((0, 3, 2))
    rng = random.Random(layout)
    return np.stack({"striped": _stripes, "spotted": _spots, "patched": _patches, "checked": _checks, "starry": _stars}[pattern](rng))


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
    inside = np.any(np.all(squares > (LEFT, TOP), 2), 1) & np.any(np.all(squares < (RIGHT, BOTTOM), 2), 1)
    return squares[inside]


def _stars(rng: random.Random) -> list[Points]:
    r = rng.uniform(0.078, 0.095)
    return [star(x, y, r * rng.uniform(0.9, 1.1), degrees=rng.uniform(0, 72)) for x, y in _grid(rng, r * rng.uniform(2.5, 2.8), r * 0.2, rng.uniform(0, 60))]
