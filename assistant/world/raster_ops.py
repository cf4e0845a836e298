"""The brushes all styles share: filling a sheet's shapes, masks, edges, washes. Knows no style, context or subject."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from .display_list import Colour, Shape, DisplayList, mix


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
    return Image.fromarray(rows.round().astype(np.uint8)[:, None]).resize((px, px), Image.NEAREST)


def _terraces(image: Image.Image) -> Image.Image:
    """A vertical gradient as five sheets of paper with waving upper edges."""
    px, steps = image.width, 5
    draw = ImageDraw.Draw(image, "RGBA")
    colours = [image.getpixel((0, min(px - 1, round(px * (i + 0.5) / steps)))) for i in range(steps)]
    image.paste(colours[0], (0, 0, px, px))
    for i, colour in enumerate(colours[1:], 1):
        edge = [(px * j / 12, px * (i / steps - 0.05 + 0.035 * math.sin(j * 0.5 + 2.1 * i))) for j in range(13)]
        for shift, shade in ((-5, (20, 16, 40, 30)), (0, (*mix(colour, (255, 255, 255), 0.10), 255)),
                             (3, (*colour, 255))):
            draw.polygon([(0, px), *((x, y + shift) for x, y in edge), (px, px)], shade)
    return image


def _trace(draw: ImageDraw.ImageDraw, shape: Shape, px: int, fill: tuple | None, line: tuple | None, width: int,
           shift: float = 0.0) -> None:
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


def paint(sheet: DisplayList, px: int, fill: Callable[[Shape], Colour] = lambda shape: shape.colour,
          line: Callable[[Shape], Colour] | None = None, width: int = 2, sky: tuple[Colour, ...] | None = None,
          layered: bool = False) -> Image.Image:
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
            spot = falloff(64).resize((max(2, round(2 * rx * big)), max(2, round(2 * ry * big))), Image.BILINEAR)
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
    return Image.fromarray(grid).resize((size, size), Image.BICUBIC)


@lru_cache(maxsize=4)
def rim(size: int, seed: int, reach: float) -> Image.Image:
    """Paper left bare: 255 at the frame's edge, fading inwards with a ragged boundary, L."""
    axis = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32) / size
    ragged = (np.asarray(waves(size, seed, 6), np.float32) / 255 - 0.5) * reach
    inward = np.minimum(axis[:, None], axis[None, :]) + ragged
    return Image.fromarray((255 * np.clip(1 - (inward - reach * 0.35) / 0.025, 0, 1)).astype(np.uint8))
