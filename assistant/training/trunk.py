"""Trains the base model and CAFE's decoder as one UNet: half of each step draws from captions (base.py), half from E(x) and
F(target) (cafe.py).

Text states and E(x) have one width, so both pass the same keys and values; V_H alone is CAFE's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..config import AssistantConfig
from ..weights import load_tensors, save_cafe
from .base import BaseTask
from .cafe import CafeTask
from .data import World
from .examples import DrawnPairs


class TrunkTask:
    name, lr = "trunk", 2e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 64, warm: Path | None = None) -> None:
        """`init`: a folder with the trained vae, dino and clip. `warm`: a folder whose base and cafe to go on from."""
        self.batch_size = batch_size
        self.base = BaseTask(config, world, device, init / "base/vae", batch_size // 2, warm and warm / "base")
        self.cafe = CafeTask(config, DrawnPairs(config, world, device, init), device, init, batch_size - batch_size // 2,
                             shared=(self.base.unet, self.base.layout))
        if warm:
            load_tensors(warm / "cafe/semantic_values.safetensors", self.cafe.values)
        self.matrices = self.base.matrices

    def modules(self) -> Mapping[str, nn.Module]:
        return {**self.base.modules(), **self.cafe.modules()}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return {f"{of}.{k}": t for of, task in (("base", self.base), ("cafe", self.cafe)) for k, t in task.batch(rng).items()}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts, self.cafe.done = 0.0, {}, self.done
        for of, task in (("base", self.base), ("cafe", self.cafe)):
            own = {k.removeprefix(f"{of}."): t for k, t in batch.items() if k.startswith(f"{of}.")}
            loss, said = task.loss(own, generator)
            total, parts = total + loss * task.batch_size / self.batch_size, {**parts, **{f"{of}_{k}": v for k, v in said.items()}}
        return total, parts

    def export(self, folder: Path) -> None:
        """`base` and `cafe` below `folder`, as those two tasks write them."""
        self.base.export(folder / "base")
        save_cafe(None, self.cafe.values, folder / "cafe")

    def sheet(self, path: Path) -> None:
        """Two sheets: of words, and beside it of photos."""
        self.base.sheet(path)
        self.cafe.sheet(path.with_stem(path.stem + "-cafe"))
