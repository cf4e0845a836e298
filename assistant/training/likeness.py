"""Trains the embeddings of the papers' metrics on the judge's features and the judge's own set. Minutes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..evaluation.judge import Likeness, load_judge, save_likeness
from .data import CAPTIONS, VIEWS, World

SHAKEN = 0.1  # how far features are shaken in training, in their deviations


class LikenessTask:
    """`judge` is a folder with a trained judge."""

    name, lr = "likeness", 1e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, judge: Path, batch_size: int = 256) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.features = _features(world, judge, device)
        self.likeness = Likeness(config.decoder.text).to(device).train()
        self.likeness.mean.copy_(self.features.float().mean(0)), self.likeness.deviation.copy_(self.features.float().std(0) + 1e-3)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"likeness": self.likeness}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        a, b = self.world.pairs(rng, self.batch_size)
        one = np.unique(a // VIEWS, return_index=True)[1]  # each individual once, or it would be its own contrast
        a, b = a[one], b[one]
        texts = self.world["captions"][a, rng.integers(0, CAPTIONS, len(a))].astype(np.int64)
        return {"a": torch.from_numpy(a), "b": torch.from_numpy(b), "texts": torch.from_numpy(texts)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        a, b = (self._shaken(batch[k], generator) for k in ("a", "b"))
        one = self.likeness
        scales = one.temperature.exp().clamp(max=60)
        same, same_right = _contrast(scales[0] * one.individual(a) @ one.individual(b).T)
        told, told_right = _contrast(scales[1] * one.picture(a) @ one.caption(batch["texts"]).T)
        return same + told, {"same": same_right, "caption": told_right, "of": torch.tensor(float(len(a)))}

    def _shaken(self, at: Tensor, generator: torch.Generator) -> Tensor:
        x = self.features[at].float()
        return x + SHAKEN * self.likeness.deviation * torch.randn(x.shape, device=x.device, generator=generator)

    def export(self, folder: Path) -> None:
        save_likeness(self.likeness, folder)


def _contrast(logits: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE both ways, and the share found."""
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2, (logits.argmax(1) == own).float().mean()


@torch.no_grad()
def _features(world: World, folder: Path, device: str) -> Tensor:
    """Of every ready picture, (N, 576) in half precision; zero where a set is not ready."""
    judge, images = load_judge(folder).to(device), world["images"]
    out = torch.zeros(len(images), judge.FEATURES, dtype=torch.float16, device=device)
    for g in np.array_split(world.groups, max(1, len(world.groups) // 64)):
        at = (g[:, None] * VIEWS + np.arange(VIEWS)).ravel()
        x = torch.from_numpy(images[at]).to(device).permute(0, 3, 1, 2).float() / 255
        out[torch.from_numpy(at)] = judge.features(x).half()
    return out
