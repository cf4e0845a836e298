"""Backdrops as lists of plain shapes in unit coordinates, coloured by the light, and what all styles use to paint them.

`backgrounds` records shapes here, back to front, a sky, a palm or a tower in one call; a style of `renderer` decides how each shape is painted
(filled, outlined, cast in paper).
"""

import math
import random
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
from PIL import Image, ImageChops, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Shape(NamedTuple):
    """One form; points are fractions of the frame, (0, 0) the upper left corner."""

    kind: str  # "poly": outline; "oval": centre and radii; "line": a stroke; "glow": centre and radii, soft
    points: tuple[Point, ...]
    colour: Colour
    width: float = 0.0  # of a line, as a fraction of the frame
    edge: bool = True  # False: a detail without outline or paper shadow of its own
    lit: bool = False  # True: gives light itself
    alpha: int = 255


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour t of the way from a to b."""
    red, green, blue = (round(x + (y - x) * t) for x, y in zip(a, b))
    return red, green, blue


def grade(colour: Colour, light: str) -> Colour:
    """A thing's daylight colour as it looks in the given light."""
    r, g, b = colour
    if light == "sunset":
        return mix((r, round(g * 0.83), round(b * 0.78)), (246, 132, 76), 0.15)
    if light == "night":
        return (round(r * 0.37 + 4), round(g * 0.46 + 10), round(b * 0.60 + 42))
    return colour


class DisplayList:
    """Shapes in painting order, the gradient behind them, and the random source that lays them out."""

    def __init__(self, light: str, rng: random.Random) -> None:
        self.light, self.rng = light, rng
        self.gradient: tuple[Colour, ...] = ((255, 255, 255), (255, 255, 255))  # evenly spaced, top to bottom
        self.shapes: list[Shape] = []
        self.indoors = False  # True: the gradient is a wall

    def by_light(self, day, sunset, night):
        """The value that belongs to this sheet's light."""
        return {"day": day, "sunset": sunset, "night": night}[self.light]

    def _add(self, kind, points, colour, width=0.0, edge=True, lit=False, alpha=255) -> None:
        colour = colour if lit else grade(colour, self.light)
        self.shapes.append(Shape(kind, tuple(points), colour, width, edge, lit, alpha))

    def poly(self, points, colour: Colour, **how) -> None:
        self._add("poly", points, colour, **how)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, **how) -> None:
        self._add("poly", ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour, **how)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour, **how) -> None:
        self._add("oval", ((x, y), (rx, ry)), colour, **how)

    def disc(self, x: float, y: float, r: float, colour: Colour, **how) -> None:
        self._add("oval", ((x, y), (r, r)), colour, **how)

    def line(self, points, width: float, colour: Colour, **how) -> None:
        self._add("line", points, colour, width=width, **how)

    def glow(self, x: float, y: float, r: float, colour: Colour, alpha: int = 160, ry: float | None = None) -> None:
        """A soft light that fades to nothing at its radius."""
        self._add("glow", ((x, y), (r, ry or r)), colour, edge=False, lit=True, alpha=alpha)

    # ---- forms made of one outline, so that every style can trace them

    def land(self, y: float, swell: float, colour: Colour, waves: float = 1.5, **how) -> None:
        """Ground from a gently waving upper edge at height y down to the bottom."""
        phase = self.rng.uniform(0, 6.28)
        top = [(i / 16, y + swell * math.sin(phase + waves * 6.28 * i / 16)) for i in range(-1, 18)]
        self.poly((*top, (1.07, 1.02), (-0.07, 1.02)), colour, **how)

    def bumpy(self, x: float, y: float, rx: float, ry: float, bumps: int, depth: float, colour: Colour, **how) -> None:
        """A round form with a scalloped edge: a tree's crown, a bush, a flower."""
        turn = self.rng.uniform(0, 3.14)
        points, steps = [], bumps * 5
        for i in range(steps):
            a = 6.2832 * i / steps
            r = 1 - depth + depth * abs(math.sin(bumps * a / 2 + turn))
            points.append((x + rx * r * math.cos(a), y + ry * r * math.sin(a)))
        self.poly(points, colour, **how)

    def dome(self, x: float, y: float, rx: float, ry: float, colour: Colour, **how) -> None:
        """Half an oval above height y; below it with a negative ry."""
        self.poly([(x + rx * math.cos(a / 8 * 3.1416), y - ry * math.sin(a / 8 * 3.1416)) for a in range(9)], colour, **how)

    def strip(self, spine, colour: Colour) -> None:
        """An upright band along a spine of (x, y, half its width there)."""
        self.poly((*((x - half, y) for x, y, half in spine), *((x + half, y) for x, y, half in reversed(spine))), colour)

    def cloud(self, x: float, y: float, w: float, colour: Colour, **how) -> None:
        """A flat-bottomed cloud w wide, its foot at height y."""
        lobes = ((-0.34, 0.15), (-0.10, 0.25), (0.17, 0.20), (0.38, 0.11))
        if self.rng.random() < 0.5:
            lobes = tuple((-cx, r) for cx, r in reversed(lobes))
        top = []
        for i in range(33):
            u = -0.5 + i / 32
            h = max((math.sqrt(max(0.0, r * r - (u - cx) ** 2)) for cx, r in lobes), default=0)
            top.append((x + u * w, y - (h + 0.03) * w * 1.1))
        self.poly((*top, (x + 0.48 * w, y), (x - 0.48 * w, y)), colour, **how)

    def star(self, x: float, y: float, r: float, colour: Colour, points: int = 4, inner: float = 0.36, **how) -> None:
        ring = [(x + (r if i % 2 == 0 else r * inner) * math.sin(math.pi * i / points),
                 y - (r if i % 2 == 0 else r * inner) * math.cos(math.pi * i / points)) for i in range(2 * points)]
        self.poly(ring, colour, **how)

    def fir(self, x: float, foot: float, h: float, colour: Colour, snow: bool = False) -> None:
        """A conifer of three tiers, white-tipped in snow."""
        w = h * 0.46
        self.rect(x - h * 0.045, foot - h * 0.14, x + h * 0.045, foot, (112, 76, 52), edge=False)
        for tier, (low, high, wide) in enumerate(((0.10, 0.56, 1.0), (0.34, 0.78, 0.78), (0.58, 1.0, 0.55))):
            half = w * wide / 2
            self.poly(((x - half, foot - h * low), (x, foot - h * high), (x + half, foot - h * low)), mix(colour, (255, 255, 255), 0.07 * tier))
            if snow:
                t = 0.48
                base = foot - h * (high - (high - low) * t)
                self.poly(((x - half * t, base), (x, foot - h * high), (x + half * t, base), (x + half * t * 0.4, base - h * 0.045), (x, base + h * 0.03),
                           (x - half * t * 0.4, base - h * 0.045)), (248, 251, 255), edge=False)


WHITE = (252, 252, 250)
BLUE = ((96, 182, 240), (196, 232, 250))
LAMP = (255, 222, 130)


def sides(s: DisplayList) -> tuple[float, float]:
    """The two sides of the frame in random order, as -1 and 1: where the larger and the smaller telling thing go."""
    return s.rng.choice(((-1, 1), (1, -1)))


def at(side: float, offset: float) -> float:
    """The x that lies `offset` inside the frame from its left (-1) or right (1) edge."""
    return offset if side < 0 else 1 - offset


def stars(s: DisplayList, count: int, low: float = 0.5) -> None:
    for i in range(count):
        x = (i + s.rng.uniform(0.1, 0.9)) / count
        s.star(x, s.rng.uniform(0.03, low), s.rng.uniform(0.014, 0.026), (255, 246, 206), edge=False, lit=True)


def sky(s: DisplayList, horizon: float = 0.6, clouds: int = 2, day: tuple[Colour, ...] = BLUE) -> None:
    """Gradient, sun or moon, and clouds or stars; `day` is the gradient by day."""
    s.gradient = s.by_light(day, ((112, 74, 150), (238, 112, 92), (255, 190, 96), (255, 222, 150)), ((10, 14, 50), (26, 38, 96), (56, 74, 140)))
    side = s.rng.choice((-1, 1))
    x = at(side, s.rng.uniform(0.12, 0.24))
    if s.light == "day":
        y = s.rng.uniform(0.11, 0.17)
        s.glow(x, y, 0.26, (255, 250, 200), 190)
        s.disc(x, y, 0.075, (255, 226, 92), lit=True)
    elif s.light == "sunset":
        y = horizon - s.rng.uniform(0.10, 0.16)
        s.glow(x, y, 0.55, (255, 232, 130), 220)
        s.disc(x, y, 0.115, (255, 240, 164), lit=True)
    else:
        y = s.rng.uniform(0.12, 0.18)
        s.glow(0.5, horizon, 1.25, (92, 126, 206), 235, 0.46)  # haze in moonlight, for things to stand out against
        stars(s, 15, horizon - 0.08)
        s.glow(x, y, 0.24, (150, 176, 240), 150)
        s.disc(x, y, 0.078, (250, 244, 212), lit=True)
        s.disc(x - 0.022, y - 0.018, 0.017, (222, 214, 184), edge=False, lit=True)
        s.disc(x + 0.026, y + 0.022, 0.022, (222, 214, 184), edge=False, lit=True)
    fluff = s.by_light(WHITE, (255, 176, 140), (66, 84, 146))
    for i in range(clouds if s.light != "night" else min(1, clouds)):
        s.cloud(at(-side if i % 2 == 0 else side, s.rng.uniform(0.14, 0.34)), s.rng.uniform(0.16, 0.30) + 0.1 * (i > 0),
                s.rng.uniform(0.24, 0.34), fluff, lit=True)


def window(s: DisplayList, x: float, y: float, w: float, h: float, frame: Colour) -> None:
    """A window whose panes show the light outside."""
    s.rect(x - w / 2 - 0.018, y - 0.018, x + w / 2 + 0.018, y + h + 0.018, frame)
    s.rect(x - w / 2, y, x + w / 2, y + h, s.by_light((158, 216, 248), (255, 150, 84), (20, 28, 80)), lit=True)
    if s.light == "day":
        s.cloud(x + w * 0.08, y + h * 0.56, w * 0.62, WHITE, edge=False, lit=True)
        s.rect(x - w / 2, y + h * 0.76, x + w / 2, y + h, (128, 190, 104), edge=False)
    elif s.light == "sunset":
        s.rect(x - w / 2, y + h * 0.5, x + w / 2, y + h, (255, 196, 100), edge=False, lit=True)
        s.disc(x - w * 0.14, y + h * 0.56, w * 0.22, (255, 244, 180), edge=False, lit=True)
    else:
        s.disc(x + w * 0.20, y + h * 0.28, w * 0.13, (250, 244, 212), edge=False, lit=True)
        s.star(x - w * 0.24, y + h * 0.24, 0.020, LAMP, edge=False, lit=True)
        s.star(x - w * 0.20, y + h * 0.72, 0.017, LAMP, edge=False, lit=True)
    s.line(((x, y), (x, y + h)), 0.014, frame, edge=False)
    s.line(((x - w / 2, y + h / 2), (x + w / 2, y + h / 2)), 0.014, frame, edge=False)


def tower(s: DisplayList, x: float, top: float, half: float, stone: Colour, roof: Colour) -> None:
    s.rect(x - half, top, x + half, 0.82, stone)
    s.rect(x + half * 0.35, top, x + half, 0.82, mix(stone, (80, 80, 120), 0.2), edge=False)
    s.rect(x - half * 1.2, top, x + half * 1.2, top + 0.04, mix(stone, WHITE, 0.25))
    peak = top - half * 1.75
    s.poly(((x - half * 1.3, top), (x, peak), (x + half * 1.3, top)), roof)
    s.line(((x, peak + 0.01), (x, peak - 0.085)), 0.012, (96, 84, 84), edge=False)
    s.poly(((x, peak - 0.085), (x + 0.085, peak - 0.058), (x, peak - 0.03)), (246, 190, 60))
    glass = s.by_light((74, 82, 116), (255, 220, 120), LAMP)
    for y in (top + 0.10, top + 0.25):
        if s.light == "night":
            s.glow(x, y + 0.03, 0.09, LAMP, 160)
        s.poly(((x - 0.026, y + 0.075), (x - 0.026, y + 0.02), (x, y - 0.012), (x + 0.026, y + 0.02), (x + 0.026, y + 0.075)), glass, lit=True)


def windmill(s: DisplayList, x: float) -> None:
    s.poly(((x - 0.075, 0.76), (x - 0.045, 0.38), (x + 0.045, 0.38), (x + 0.075, 0.76)), (240, 226, 204))
    s.poly(((x - 0.06, 0.385), (x, 0.31), (x + 0.06, 0.385)), (176, 90, 70))
    turn = s.rng.uniform(0, 1.57)
    for i in range(4):
        a = turn + i * 1.5708
        u, v, r = math.cos(a), math.sin(a), 0.17
        s.poly(((x, 0.385), (x + u * r, 0.385 + v * r), (x + u * r - v * 0.045, 0.385 + v * r + u * 0.045),
                (x + u * 0.04 - v * 0.045, 0.385 + v * 0.04 + u * 0.045)), (206, 120, 84))


def palm(s: DisplayList, x: float, foot: float, h: float, lean: float) -> None:
    bend = lean * s.rng.uniform(0.02, 0.09)
    s.strip([(x + bend * t * t, foot - h * t, 0.030 - 0.012 * t) for t in (i / 8 for i in range(9))], (156, 108, 66))
    top, crown = foot - h, x + bend
    for angle in (200, 160, 235, 128, 340, 20, 300, 52):
        a = math.radians(angle + s.rng.uniform(-8, 8))
        length, droop = s.rng.uniform(0.19, 0.24), 0.10
        upper, lower = [], []
        for i in range(7):
            t = i / 6
            px = crown + length * t * math.cos(a)
            py = top + length * t * math.sin(a) * 0.62 - 0.03 * math.sin(3.14 * t) + droop * t * t
            half = 0.034 * math.sin(3.14 * min(0.95, 0.15 + t * 0.85))
            upper.append((px, py - half))
            lower.append((px, py + half))
        s.poly((*upper, *reversed(lower)), mix((50, 146, 74), (116, 190, 80), s.rng.random()))
    for dx in (-0.022, 0.022):
        s.disc(crown + dx, top + 0.025, 0.022, (112, 70, 44), edge=False)


def cactus(s: DisplayList, x: float, foot: float, h: float) -> None:
    green, w = (64, 148, 84), h * 0.19
    for side, low, high in ((-1, 0.34, 0.74), (1, 0.46, 0.88)):
        reach = side * h * 0.25
        s.line(((x, foot - h * low), (x + reach, foot - h * low), (x + reach, foot - h * high)), w * 0.62, green)
    s.line(((x, foot), (x, foot - h)), w, mix(green, (120, 190, 100), 0.25))
    s.line(((x, foot), (x, foot - h * 0.96)), w * 0.18, (44, 116, 70), edge=False)
    s.bumpy(x, foot - h - w * 0.45, w * 0.36, w * 0.34, 5, 0.3, (240, 110, 150), edge=False)


@lru_cache(maxsize=128)
def times(factor: float, plus: int = 0) -> list[int]:
    """A table for `Image.point` of one band: v * factor + plus, kept within a byte."""
    return [min(255, max(0, round(v * factor + plus))) for v in range(256)]


@lru_cache(maxsize=4)
def falloff(side: int) -> Image.Image:
    """A soft round spot, L, side by side."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    r = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    return Image.fromarray((255 * np.clip(1 - r, 0, 1) ** 1.4).astype(np.uint8))


def _gradient(colours: tuple[Colour, ...], px: int) -> Image.Image:
    strip = np.asarray(colours, np.float32)
    t = np.linspace(0, len(strip) - 1, px)
    rows = np.stack([np.interp(t, np.arange(len(strip)), strip[:, c]) for c in range(3)], 1)
    return Image.fromarray(rows.round().astype(np.uint8)[:, None]).resize((px, px), Image.Resampling.NEAREST)


def _terraces(image: Image.Image) -> Image.Image:
    """A vertical gradient as five sheets of paper with waving upper edges."""
    px, steps = image.width, 5
    draw = ImageDraw.Draw(image, "RGBA")
    colours = [cast(Colour, image.getpixel((0, min(px - 1, round(px * (i + 0.5) / steps))))) for i in range(steps)]
    image.paste(colours[0], (0, 0, px, px))
    for i, colour in enumerate(colours[1:], 1):
        edge = [(px * j / 12, px * (i / steps - 0.05 + 0.035 * math.sin(j * 0.5 + 2.1 * i))) for j in range(13)]
        for shift, shade in ((-5, (20, 16, 40, 30)), (0, (*mix(colour, (255, 255, 255), 0.10), 255)), (3, (*colour, 255))):
            draw.polygon([(0, px), *((x, y + shift) for x, y in edge), (px, px)], shade)
    return image


def _trace(draw: ImageDraw.ImageDraw, shape: Shape, px: int, fill: tuple | None, line: tuple | None, width: int, shift: float = 0.0) -> None:
    """Fill a shape, outline it, or both; `shift` moves it down right by so many pixels."""
    if shape.kind == "oval":
        (x, y), (rx, ry) = shape.points
        box = ((x - rx) * px + shift, (y - ry) * px + shift, (x + rx) * px + shift, (y + ry) * px + shift)
        draw.ellipse(box, fill, line, width)
        return
    points = [(x * px + shift, y * px + shift) for x, y in shape.points]
    if shape.kind == "poly":
        if fill:
            draw.polygon(points, fill)
        if line:
            draw.line(points + points[:1], line, width)
        return
    stroke = max(1, round(shape.width * px))
    for colour, thick in ((line, stroke + 2 * width), (fill, stroke)):
        if colour:
            draw.line(points, colour, thick, "curve")
            if thick > 4:
                for x, y in (points[0], points[-1]):
                    draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), colour)


def paint(sheet: DisplayList, px: int, fill: Callable[[Shape], Colour] = lambda shape: shape.colour, line: Callable[[Shape], Colour] | None = None,
          width: int = 2, sky: tuple[Colour, ...] | None = None, layered: bool = False) -> Image.Image:
    """Paint every shape at twice px and reduce it: RGB, px by px.

    Args:
        fill: a shape's fill.
        line: an outlined shape's line colour; None draws no lines.
        width: of lines, in pixels of the double size.
        sky: gradient in place of the sheet's own.
        layered: cast each shape as a sheet of paper, with a shadow below and a light edge above.
    """
    big = 2 * px
    image = _gradient(sky or sheet.gradient, big)
    if layered and not sheet.indoors:
        image = _terraces(image)
    draw = ImageDraw.Draw(image, "RGBA")
    for shape in sheet.shapes:
        colour = fill(shape)
        if shape.kind == "glow":
            (x, y), (rx, ry) = shape.points
            spot = falloff(64).resize((max(2, round(2 * rx * big)), max(2, round(2 * ry * big))), Image.Resampling.BILINEAR)
            spot = spot.point(times(shape.alpha / 255))
            image.paste(colour, (round((x - rx) * big), round((y - ry) * big)), spot)
            continue
        if layered and shape.edge and shape.alpha == 255:
            _trace(draw, shape, big, (20, 16, 40, 46), None, 0, 7)
            _trace(draw, shape, big, (20, 16, 40, 64), None, 0, 4)
            _trace(draw, shape, big, (*mix(colour, (255, 255, 255), 0.34), 255), None, 0, -1.5)
        edge = (*line(shape), 255) if line and shape.edge else None
        _trace(draw, shape, big, (*colour, shape.alpha), edge, width)
    return image.reduce(2)


def lay(image: Image.Image, layer: Image.Image) -> None:
    image.paste(layer, (0, 0), layer)


def moved(image: Image.Image, dx: int, dy: int) -> Image.Image:
    """The image shifted right and down, empty where nothing moves in."""
    return image.crop((-dx, -dy, image.width - dx, image.height - dy))


def grown(alpha: Image.Image, px: int) -> Image.Image:
    """The mask px wider all round; several times as fast as a rank filter."""
    for _ in range(px):
        for dx, dy in ((1, 0), (0, 1)):
            alpha = ImageChops.lighter(alpha, ImageChops.lighter(moved(alpha, dx, dy), moved(alpha, -dx, -dy)))
    return alpha


def seams(layer: Image.Image, gain: float) -> Image.Image:
    """Where a layer's colours change sharply within its outline, L: 255 on strong edges."""
    colours, alpha = layer.convert("RGB"), layer.getchannel("A").point([255 if v > 200 else 0 for v in range(256)])
    total = Image.new("L", layer.size)
    for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        r, g, b = ImageChops.difference(colours, moved(colours, dx, dy)).split()
        jump = ImageChops.lighter(ImageChops.lighter(r, g), b)
        total = ImageChops.lighter(total, ImageChops.darker(jump, ImageChops.darker(alpha, moved(alpha, dx, dy))))
    return total.point(times(gain, round(-40 * gain)))


def towards(image: Image.Image, colour: Colour, amount: float) -> Image.Image:
    """Every pixel `amount` of the way towards one colour; works on RGB and keeps the alpha of RGBA."""
    if image.mode == "RGB":
        return Image.blend(image, Image.new("RGB", image.size, colour), amount)
    table = [round(v + (c - v) * amount) for c in colour for v in range(256)]
    return image.point(table + list(range(256)))


@lru_cache(maxsize=32)
def waves(size: int, seed: int, cells: int) -> Image.Image:
    """A smooth random field, L, from cells by cells random values."""
    grid = np.random.default_rng(seed).integers(0, 256, (cells, cells), dtype=np.uint8)
    return Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)


@lru_cache(maxsize=4)
def rim(size: int, seed: int, reach: float) -> Image.Image:
    """Paper left bare: 255 at the frame's edge, fading inwards with a ragged boundary, L."""
    axis = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32) / size
    ragged = (np.asarray(waves(size, seed, 6), np.float32) / 255 - 0.5) * reach
    inward = np.minimum(axis[:, None], axis[None, :]) + ragged
    return Image.fromarray((255 * np.clip(1 - (inward - reach * 0.35) / 0.025, 0, 1)).astype(np.uint8))
