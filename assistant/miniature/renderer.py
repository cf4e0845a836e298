"""One scene, one picture, and where its subject is. The same scene always gives the same bytes."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from assistant.miniature.scenery import GROUND, sheet_of
from assistant.miniature.styles import PAINTERS, Figure
from assistant.miniature.subjects import SubjectLayers, draw_subject
from assistant.miniature.world import Scene

TINTS = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.93, 0.88), "night": (0.88, 0.91, 1.0)}  # light on the subject


@dataclass(frozen=True)
class Rendering:
    """A finished picture."""

    image: Image.Image  # RGB, size x size
    mask: Image.Image  # L, size x size: the subject's body without its accessories, antialiased


def render(scene: Scene, size: int = 128, supersample: int = 3) -> Rendering:
    """Draw a scene.

    Args:
        scene: what to draw; its seed lays out the backdrop.
        size: side of the picture in pixels.
        supersample: the subject is drawn this many times larger and reduced.

    Raises:
        KeyError: the scene names something that `world` does not.
    """
    layers = draw_subject(scene, size * supersample, GROUND)
    figure = _figure(scene, layers, size, supersample)
    image = PAINTERS[scene.style](sheet_of(scene), figure, size, scene.seed)
    return Rendering(image, figure.mask)


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
    return Figure(small(layers.behind), small(layers.body), small(layers.front), mask, shadow)
