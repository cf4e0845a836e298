"""Trains the judge on a set of renders of its own (another seed than everything it judges)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..evaluation.judge import HEADS, SIZES, Judge, save_judge
from .data import World


class JudgeTask:
    name, lr = "judge", 2e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, batch_size: int = 256) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.judge = Judge().to(device).train()
        self.matrices = {f"judge.{n}" for n, p in self.judge.named_parameters() if p.ndim == 4 and n.startswith("blocks")}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"judge": self.judge}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        return {"images": torch.from_numpy(self.world["images"][at]), "labels": torch.from_numpy(self.world["labels"][at])}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["images"].permute(0, 3, 1, 2).float() / 255
        x = x + 0.03 * torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator) * torch.randn(
            x.shape, device=x.device, generator=generator)
        parts = self.judge(x).float().split(SIZES, 1)
        labels = batch["labels"].long()
        losses = [F.cross_entropy(p, labels[:, i]) for i, p in enumerate(parts)]
        right = [(p.argmax(1) == labels[:, i]).float().mean() for i, p in enumerate(parts)]
        return sum(losses) / len(losses), {k: right[i] for i, k in enumerate(HEADS) if i < 8} | {"worn": sum(right[9:]) / 8}

    def export(self, folder: Path) -> None:
        save_judge(self.judge, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at."""
