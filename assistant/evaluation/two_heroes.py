"""Two heroes in one picture, drawn from a caption: are both there, each in its own colour? The judge reads each half on its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..miniature.renderer import render
from ..miniature.scenery import GROUND
from ..miniature.world import PAIR_MIDDLES, PAIR_SIZE, SIZES, Scene, sample_individual, sample_scene, with_companion
from ..mllm.vision import pixels
from .cases import BATCH, Witness, caption_of
from .metrics import share

BESIDE = 0.08  # of the frame: how far beyond its middle a half is looked at


def pairs(count: int) -> list[Scene]:
    """Scenes of two held-out individuals each, seeds 0 to `count` less one, none chosen."""
    out = []
    for seed in range(count):
        rng = random.Random(f"evaluation/pair/{seed}")
        out.append(with_companion(rng, sample_scene(rng, sample_individual(rng, held_out=True), None), held_out=True))
    return out


def caption_of_pair(scene: Scene, number: int) -> str:
    """A caption that names both heroes with their colours."""
    colours = {scene.individual.colour, scene.companion.colour}
    return next(line for k in range(100) if all(c in (line := caption_of(scene, 1000 * k + number)) for c in colours))


def halves(x: Tensor) -> Iterator[Tensor]:
    """(B, 3, n, n) -> each hero's surroundings, enlarged so that it is as large as a hero alone, (B, 3, n, n) twice."""
    n = x.shape[-1]
    side = PAIR_SIZE / (sum(SIZES) / 2)
    steps = (torch.arange(n) + 0.5) / n * side
    for middle in PAIR_MIDDLES:
        across = middle - side / 2 + steps
        across = across.clamp(max=0.5 + BESIDE) if middle < 0.5 else across.clamp(min=0.5 - BESIDE)
        down = GROUND * (1 - side) + steps
        y, x_ = torch.meshgrid(2 * down - 1, 2 * across - 1, indexing="ij")
        grid = torch.stack((x_, y), -1).expand(len(x), n, n, 2).to(x)
        yield F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def measure(draw: Callable[[list[str], range], Tensor], witness: Witness, count: int) -> dict[str, dict]:
    """Shares of the first `count` pairs.

    Args:
        draw: captions and their seeds -> pictures (B, 3, n, n) in [0, 1].
    """
    hits: dict[str, list[bool]] = {"one of the kinds at least": [], "both kinds": [], "both kinds in their own colours": []}
    shown = pairs(count)
    for start in range(0, count, BATCH):
        part = shown[start:start + BATCH]
        x = draw([caption_of_pair(s, start + k) for k, s in enumerate(part)], range(start, start + len(part)))
        sides = [witness.names(half) for half in halves(x)]
        for scene, *names in zip(part, *sides):
            heroes = (scene.individual, scene.companion)
            kinds = [said["kind"] == one.kind for said, one in zip(names, heroes)]
            coloured = [said["colour"] == one.colour for said, one in zip(names, heroes)]
            for name, hit in zip(hits, (any(kinds), all(kinds), all(kinds) and all(coloured))):
                hits[name].append(hit)
    return {name: share(values) for name, values in hits.items()}


def drawings(count: int, size: int) -> Callable[[list[str], range], Tensor]:
    """The drawn world's own pictures in place of a model's: what the judge says of the truth."""
    shown = pairs(count)
    return lambda lines, seeds: pixels([render(shown[k], size).image for k in seeds])
