"""Trains the base model and CAFE's decoder together on one UNet, before each goes on alone.

A quarter of each step draws from words (base.py), the rest from E(x) and F(target) (cafe.py), which is harder. What a cat in
the snow looks like is learned once for both; text states and E(x) have one width, so that even keys and values are shared
until they part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..config import AssistantConfig
from .base import BaseTask
from .cafe import CafeTask
from .data import World
from .examples import DrawnPairs


class TrunkTask:
    name, lr = "trunk", 3e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 32) -> None:
        self.batch_size = batch_size
        self.base = BaseTask(config, world, device, init / "base/vae", batch_size // 4)
        self.cafe = CafeTask(config, DrawnPairs(config, world, device, init), device, init, batch_size - batch_size // 4,
                             shared=(self.base.unet, self.base.layout))
        self.matrices = self.base.matrices

    def modules(self) -> Mapping[str, nn.Module]:
        return {**self.base.modules(), **self.cafe.modules()}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return {f"{of}.{k}": t for of, task in (("base", self.base), ("cafe", self.cafe)) for k, t in task.batch(rng).items()}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = 0.0, {}
        for of, task in (("base", self.base), ("cafe", self.cafe)):
            task.done = self.done
            own = {k.removeprefix(f"{of}."): t for k, t in batch.items() if k.startswith(f"{of}.")}
            loss, said = task.loss(own, generator)
            total, parts = total + loss * task.batch_size / self.batch_size, {**parts, **{f"{of}_{k}": v for k, v in said.items()}}
        return total, parts

    def export(self, folder: Path) -> None:
        """`base` and `cafe` below `folder`, as those two tasks write them."""
        self.base.export(folder / "base")
        self.cafe.export(folder / "cafe")

    def sheet(self, path: Path) -> None:
        """Two sheets: of words, and beside it of photos."""
        self.base.sheet(path)
        self.cafe.sheet(path.with_stem(path.stem + "-cafe"))
