"""One scene, one picture in one of six styles, and where its subject is. The same scene always gives the same bytes.

Every texture is coarse and regular (features of 3 px or more at 128 px), so that a small autoencoder can keep it.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from .backgrounds import GROUND, sheet_of
from .display_list import Colour, DisplayList, falloff, grown, lay, mix, moved, paint, rim, seams, times, towards, waves
from .scene import PAIR_MIDDLES, Scene
from .subjects import SubjectLayers, draw_subject

PAPER = (250, 244, 230)
INK = (62, 60, 68)


@dataclass(frozen=True)
class Figure:
    """One hero, or two side by side, as layers of one size, all RGBA but `mask` (L), and where the shadows lie."""

    behind: Image.Image
    body: Image.Image
    front: Image.Image
    mask: Image.Image
    shadows: tuple[tuple[float, float, float, float], ...]  # centre x, y and radii, fractions of the frame

    def joined(self) -> Image.Image:
        return Image.alpha_composite(Image.alpha_composite(self.behind, self.body), self.front)


def _shadow(image: Image.Image, figure: Figure, colour: Colour, strength: int) -> None:
    """A soft round shadow of each hero on the ground, in place."""
    for shadow in figure.shadows:
        x, y, rx, ry = (v * image.width for v in shadow)
        spot = falloff(64).resize((max(2, round(2.4 * rx)), max(2, round(2.4 * ry))), Image.Resampling.BILINEAR)
        spot = spot.point(times(strength / 140))
        image.paste(colour, (round(x - 1.2 * rx), round(y - 1.2 * ry)), spot)


def _halo(image: Image.Image, figure: Figure, strength: float = 0.55) -> None:
    """A soft light behind a dark figure, a soft shade behind a light one, so that any colour stands out; in place."""
    mask = figure.mask
    bright = np.asarray(figure.body.convert("L"), np.float32)
    inside = np.asarray(mask, np.float32)
    level = float((bright * inside).sum() / max(1.0, inside.sum()))
    glow = mask.resize((64, 64), Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(3.0)).resize(mask.size, Image.Resampling.BILINEAR)
    glow = glow.point(times(1.5 * strength))
    image.paste((255, 246, 222) if level < 150 else (44, 44, 74), (0, 0), glow)


# ---- the six

def flat(sheet: DisplayList, figure: Figure, size: int, seed: int) -> Image.Image:
    """Clean shapes."""
    image = paint(sheet, size)
    _shadow(image, figure, (24, 20, 48), 120)
    _halo(image, figure, 0.42)
    lay(image, figure.joined())
    return image


@lru_cache(maxsize=4)
def _hatching(size: int, slope: int) -> Image.Image:
    """Lines 8 px apart at 128 px, the same in every cell of the latents' grid."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) * (128 / size)
    wave = np.sin((x + slope * y) * 2 * np.pi / 8)
    return Image.fromarray((255 * np.clip(0.5 + 0.8 * wave, 0, 1)).astype(np.uint8))


def pencil(sheet: DisplayList, figure: Figure, size: int, seed: int) -> Image.Image:
    """Coloured pencil on cream paper: grey outlines, slanted hatching, a little less colour."""
    pale = sheet.by_light(0.28, 0.28, 0.34)
    sky = tuple(mix(c, PAPER, pale) for c in sheet.gradient)
    image = paint(sheet, size, lambda s: mix(s.colour, PAPER, pale), lambda s: mix(INK, s.colour, 0.25), 3, sky)
    light = towards(image, PAPER, sheet.by_light(0.24, 0.22, 0.15))
    image = Image.composite(image, light, _hatching(size, 1))
    _shadow(image, figure, INK, 110)
    image.paste(PAPER, (0, 0), rim(size, seed % 3, 0.035))
    whole = figure.joined()
    image.paste(PAPER, (0, 0), grown(whole.getchannel("A"), 2))
    line = grown(whole.getchannel("A"), 1)
    image.paste(INK, (0, 0), line)
    soft = towards(whole, PAPER, 0.06)
    soft = Image.composite(soft, towards(whole, PAPER, 0.16), _hatching(size, -1))
    lay(image, soft)
    image.paste(INK, (0, 0), seams(whole, 2.2).point(times(0.75)))
    return image


def pixel(sheet: DisplayList, figure: Figure, size: int, seed: int) -> Image.Image:
    """Chunky pixels (four wide at 128, which divides the latents' cells) in few colours, the figure hard-edged with a dark outline."""
    cell = max(1, round(size * 4 / 128))
    image = paint(sheet, size)
    _shadow(image, figure, (24, 20, 48), 130)
    sharp = figure.joined().filter(ImageFilter.UnsharpMask(size / 128 * 3, 120, 0))  # eyes and stripes outlive the reduction
    small, whole = image.reduce(cell), sharp.reduce(cell)
    hard = whole.getchannel("A").point([255 if v > 120 else 0 for v in range(256)])
    small.paste((36, 32, 50), (0, 0), grown(hard, 1))
    small.paste(whole.convert("RGB"), (0, 0), hard)
    small = small.quantize(24, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE).convert("RGB")
    return small.resize((cell * small.width, cell * small.height), Image.Resampling.NEAREST).crop((0, 0, size, size))


def watercolour(sheet: DisplayList, figure: Figure, size: int, seed: int) -> Image.Image:
    """Light blotchy washes with soft, bleeding edges; the paper shows at the rim."""
    image = towards(paint(sheet, size), (255, 252, 244), 0.17)
    image = _bleed(image, size, seed % 7, 2.6).filter(ImageFilter.GaussianBlur(size / 128 * 0.8))
    image = image.filter(ImageFilter.UnsharpMask(size / 128 * 3, 90, 0))  # pigment pools along the edges of a wash
    pale = towards(image, (255, 253, 247), 0.34)
    image = Image.composite(image, pale, waves(size, seed % 7 + 20, 7))
    image.paste((255, 253, 247), (0, 0), rim(size, seed % 5 + 40, 0.075))
    whole = figure.joined()
    alpha = whole.getchannel("A")
    image.paste((255, 253, 247), (0, 0), grown(alpha, 2).filter(ImageFilter.GaussianBlur(size / 128 * 1.6)))
    _shadow(image, figure, (90, 90, 130), 110)
    wash = Image.composite(towards(whole, (255, 252, 244), 0.03), towards(whole, (255, 252, 244), 0.22), waves(size, seed % 7 + 60, 6))
    inner = alpha.filter(ImageFilter.GaussianBlur(size / 128 * 1.8))
    pooled = ImageChops.multiply(ImageChops.subtract(alpha, inner).point(times(2.0)), alpha)
    wash.putalpha(alpha.filter(ImageFilter.GaussianBlur(size / 128 * 0.7)))
    lay(image, wash)
    image.paste(towards(whole, (30, 24, 60), 0.30).convert("RGB"), (0, 0), pooled.point(times(0.67)))
    return image


def _bleed(image: Image.Image, size: int, seed: int, reach: float) -> Image.Image:
    """Shift every pixel a little along two smooth random fields."""
    dx = (np.asarray(waves(size, seed + 80, 9), np.float32) / 127.5 - 1) * reach * size / 128
    dy = (np.asarray(waves(size, seed + 100, 9), np.float32) / 127.5 - 1) * reach * size / 128
    y, x = np.mgrid[0:size, 0:size]
    pixels = np.asarray(image)
    return Image.fromarray(pixels[np.clip(y + dy.astype(np.int32), 0, size - 1), np.clip(x + dx.astype(np.int32), 0, size - 1)])


def _vivid(colour: Colour) -> Colour:
    """The colour's own hue as bright as a tube of gas."""
    low, high = min(colour), max(colour)
    keep = 0.55 * low
    red, green, blue = (min(255, round((c - keep) * 240 / max(40.0, high - keep))) for c in colour)
    return red, green, blue


def neon(sheet: DisplayList, figure: Figure, size: int, seed: int) -> Image.Image:
    """Bright glowing outlines in each shape's own hue over dark fills; the figure's fill still says its colour."""
    night = (7, 7, 18)
    ground = sheet.by_light((20, 40, 78), (82, 26, 40), (4, 4, 14))
    image = paint(sheet, size, lambda s: mix(night, s.colour, 0.17 if not s.lit else 0.45 if s.edge or s.kind == "glow" else 0.75),
                  lambda s: mix(night, _vivid(s.colour), 0.86), 3, (ground, mix(ground, night, 0.5)))
    small = image.resize((size // 2, size // 2), Image.Resampling.BILINEAR)
    light = small.filter(ImageFilter.GaussianBlur(size / 128 * 2.2)).resize((size, size), Image.Resampling.BILINEAR)
    image = ImageChops.screen(image, light)
    whole = figure.joined()
    alpha = whole.getchannel("A")
    tube = grown(alpha, 1)
    half = whole.resize((size // 2, size // 2), Image.Resampling.BILINEAR).filter(ImageFilter.MaxFilter(3)).convert("RGB")
    spread = half.resize((size, size), Image.Resampling.BILINEAR).point(times(1.0, 50) * 3)
    aura = tube.resize((size // 2, size // 2), Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(size / 128 * 2.6))
    image.paste(spread, (0, 0), aura.resize((size, size), Image.Resampling.BILINEAR).point(times(0.7)))
    bright = spread.point(times(1.25, 26) * 3)
    image.paste(bright, (0, 0), tube)
    lay(image, towards(whole, night, 0.10))
    image.paste(bright, (0, 0), seams(whole, 1.2).point(times(0.4)))
    return image


def papercut(sheet: DisplayList, figure: Figure, size: int, seed: int) -> Image.Image:
    """Layers of muted paper, each with a drop shadow and a light edge."""
    image = paint(sheet, size, lambda s: mix(s.colour, (196, 182, 168), 0.16), layered=True)
    for layer, offset in ((figure.behind, 3), (figure.body, 4), (figure.front, 2)):
        alpha = layer.getchannel("A")
        if alpha.getbbox() is None:
            continue
        step = max(1, round(offset * size / 128))
        cast = moved(alpha.filter(ImageFilter.GaussianBlur(size / 128 * 1.3)), step, step)
        image.paste((20, 16, 40), (0, 0), cast.point(times(0.6)))
        image.paste((255, 250, 240), (0, 0), grown(alpha, 1).point(times(0.9)))
        lay(image, towards(layer, (196, 182, 168), 0.10))
    folds = moved(seams(figure.body, 1.6), 1, 1)
    inside = ImageChops.multiply(folds, figure.mask).point(times(0.4))
    image.paste((20, 16, 40), (0, 0), inside)
    return image


PAINTERS = {"flat": flat, "pencil": pencil, "pixel": pixel, "watercolour": watercolour, "neon": neon, "papercut": papercut}
TINTS = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.93, 0.88), "night": (0.88, 0.91, 1.0)}  # light on the subject


@dataclass(frozen=True)
class Rendering:
    """A finished picture."""

    image: Image.Image  # RGB, size x size
    mask: Image.Image  # L, size x size: the subject's body without its accessories, antialiased
    heroes: Image.Image  # the same of all heroes with what they wear and hold
    worn: Image.Image  # of what they wear and hold alone
    companion_mask: Image.Image | None = None  # as `mask`, of the second hero


def render(scene: Scene, size: int = 128, supersample: int = 3) -> Rendering:
    """Draw a scene.

    Args:
        scene: what to draw; its seed lays out the backdrop.
        size: side of the picture in pixels.
        supersample: the subject is drawn this many times larger and reduced.

    Raises:
        KeyError: the scene names something that `world` does not.
    """
    figures = [_figure(one, draw_subject(one, size * supersample, GROUND), size, supersample) for one in _heroes(scene)]
    whole = _together(figures)
    image = PAINTERS[scene.style](sheet_of(scene), whole, size, scene.seed)
    worn = Image.alpha_composite(whole.behind, whole.front).getchannel("A")
    return Rendering(image, figures[0].mask, whole.joined().getchannel("A"), worn, figures[1].mask if len(figures) > 1 else None)


def _heroes(scene: Scene) -> list[Scene]:
    """Each hero's own scene, from left to right."""
    if scene.companion is None:
        return [scene]
    return [scene, replace(scene, individual=scene.companion, x=PAIR_MIDDLES[1], accessories=())]


def _together(figures: list[Figure]) -> Figure:
    """One figure of all, later ones in front."""
    first, *others = figures
    for other in others:
        behind, body, front = (Image.alpha_composite(a, b) for a, b in ((first.behind, other.behind), (first.body, other.body), (first.front, other.front)))
        first = Figure(behind, body, front, ImageChops.lighter(first.mask, other.mask), (*first.shadows, *other.shadows))
    return first


def _figure(scene: Scene, layers: SubjectLayers, size: int, supersample: int) -> Figure:
    table = [round(v * t) for t in TINTS[scene.light] for v in range(256)] + list(range(256))

    def small(layer: Image.Image) -> Image.Image:
        """Reduced and tinted; only the part that is not empty is worked on."""
        out = Image.new("RGBA", (size, size))
        box = layer.getbbox()
        if box:
            x, y = box[0] // supersample, box[1] // supersample
            part = layer.crop((x * supersample, y * supersample, box[2], box[3]))
            out.paste(part.reduce(supersample).point(table), (x, y))
        return out

    mask = layers.mask.reduce(supersample)
    left, _, right, bottom = mask.getbbox() or (0, 0, size, size)
    air = max(0.0, GROUND - bottom / size)  # how far it jumps
    shrink = 1 / (1 + 4 * air)
    shadow = ((left + right) / size / 2, GROUND + 0.004, 0.46 * (right - left) / size * shrink, 0.042 * shrink)
    return Figure(small(layers.behind), small(layers.body), small(layers.front), mask, (shadow,))
