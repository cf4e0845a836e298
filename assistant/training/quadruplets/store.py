"""A store of pictures by their F, from which eq. 4's reference w is retrieved by words."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...miniature.renderer import render
from ...miniature.world import sample_individual, sample_scene
from ...mllm.vision import Vision, pixels
from .filters import Eyes

BATCH = 64


def drawn_pool(seed: int, count: int, side: int) -> Iterable[Image.Image]:
    """Pictures of training individuals in training combinations, for the miniature's store."""
    for index in range(count):
        lots = random.Random(f"{seed}/{index}/store")
        yield render(sample_scene(lots, sample_individual(lots)), side).image


class Store:
    """Pictures as F tells them, (N, d_F) at the decoder's norm, and what their F is compared with words in."""

    def __init__(self, semantics: Tensor, eyes: Eyes) -> None:
        self.semantics, self.eyes = semantics, eyes
        self.directions = F.normalize(semantics.float(), dim=-1)

    @classmethod
    def of(cls, place: Path, pool: Iterable[Image.Image], vision: Vision, eyes: Eyes) -> Store:
        """Read from the file `place`, or made from `pool` and written there."""
        if not place.exists():
            found, waiting = [], []
            for picture in pool:
                waiting.append(picture)
                if len(waiting) == BATCH:
                    found.append(vision.semantics(pixels(waiting)).float())
                    waiting = []
            if waiting:
                found.append(vision.semantics(pixels(waiting)).float())
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_suffix(".new")
            save_file({"semantics": torch.cat(found)}, fresh)
            fresh.replace(place)
        return cls(load_file(place)["semantics"], eyes)

    def nearest(self, lines: Sequence[str], seeds: Sequence[int] = ()) -> Tensor:
        """F of the picture that F's text tower finds nearest to each caption, (len(lines), d_F). A `methods.Reference`."""
        return self.semantics[(self.eyes.caption(list(lines)) @ self.directions.T).argmax(1)]
