"""Goes on with a trained joint decoder by eq. 3, on pairs (photo, target) of any source.

A share of each step is captions of the drawn world, so that the base model, which is the same UNet, stays what it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import AssistantConfig
from ..errors import ConfigError
from ..weights import load_tensors
from .base import BaseTask
from .cafe import CafeTask
from .data import World
from .examples import PairSource
from .trunk import TrunkTask

CAPTIONS = 0.25  # share of a step that are captions
SOURCES = ("E", "F")


class FurtherTask(TrunkTask):
    """`init`: a folder with base and cafe. `sources`: which of "E" and "F" the decoder is given at all.

    Raises:
        ConfigError: no source, or one that is not known; or a decoder that is not joint.
    """

    name, lr = "further", 3e-4

    def __init__(self, config: AssistantConfig, world: World, source: PairSource, device: str, init: Path, batch_size: int = 64,
                 sources: tuple[str, ...] = SOURCES) -> None:
        if not sources or set(sources) - set(SOURCES):
            raise ConfigError(f"The sources are {sources}; there are {' and '.join(SOURCES)}.", "Give one of them, or both.")
        if not config.decoder.joint:
            raise ConfigError(f"The decoder of the preset {config.name!r} is not joint with its base model.", "Train it with: cafe")
        self.batch_size, self.source, self.sources = batch_size, source, sources
        captions = max(1, round(CAPTIONS * batch_size))
        self.base = BaseTask(config, world, device, init / "base/vae", captions, init / "base")
        self.cafe = CafeTask(config, source, device, init, batch_size - captions, shared=(self.base.unet, self.base.layout))
        load_tensors(init / "cafe/semantic_values.safetensors", self.cafe.values)
        self.matrices = self.base.matrices

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        found = super().batch(rng)
        for keep, name in zip(found["cafe.keep"], SOURCES):  # (2, B): E's, F's
            keep *= name in self.sources
        return found

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        base, cafe = ({k.removeprefix(f"{of}."): t for k, t in batch.items() if k.startswith(f"{of}.")} for of in ("base", "cafe"))
        self.cafe.done = self.done
        (first, said), (second, shown) = self.base.loss(base, generator), self.cafe.loss(cafe, generator)
        self.base.layout.grid = None  # of pairs without labels; a UNet that holds a graph cannot be copied
        share = self.base.batch_size / self.batch_size
        return share * first + (1 - share) * second, {"base_v": said["v"], "cafe_v": shown.get("v", second.detach())}

    def sheet(self, path: Path) -> None:
        """The pictures that a round makes, or a table's, show what was learned."""
