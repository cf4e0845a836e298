"""One scene, one picture, and where its subject is. The same scene always gives the same bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image, ImageChops

from .backgrounds import GROUND, sheet_of
from .styles import PAINTERS, Figure
from .subjects import SubjectLayers, draw_subject
from .scene import PAIR_MIDDLES, Scene

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
        layers = (Image.alpha_composite(a, b) for a, b in ((first.behind, other.behind), (first.body, other.body), (first.front, other.front)))
        first = Figure(*layers, ImageChops.lighter(first.mask, other.mask), (*first.shadows, *other.shadows))
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
