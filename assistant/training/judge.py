"""Trains the judge on a set of renders of its own (another seed than everything it judges).

Every cell that shows the subject is asked for the subject's names too, which teaches shapes far sooner than the whole picture's
answer. Some pictures are blurred and noisy, so that softness is not taken for a name. The extra heads are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..evaluation.judge import HEADS, SIZES, Judge, save_judge
from ..miniature.world import ACCESSORIES
from .data import World

WEIGHTS = (3, 6, 2, 8, 2, 1, 2, 1, 0.2, *(3,) * len(ACCESSORIES))  # kinds and places are soon known
ABSENT = 0.25  # at first, how much an accessory counts that is not worn: nine in ten are not
FAIR = 0.7  # from here on as much as one that is
SOFT, NOISY = 0.3, 0.03  # share of blurred pictures; noise of at most this deviation


class JudgeTask:
    name, lr = "judge", 2e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, batch_size: int = 64) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.judge = Judge().to(device).train()
        self.local = nn.ModuleList(nn.Linear(width, sum(SIZES)) for width in Judge.WIDTHS[1:]).to(device)
        self.matrices = {f"judge.{n}" for n, p in self.judge.named_parameters() if p.ndim == 4 and n.startswith(("near", "far"))}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"judge": self.judge, "local": self.local}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        return {k: torch.from_numpy(self.world[k][at]) for k in ("images", "labels", "masks")}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        def lot() -> Tensor:
            return torch.rand(batch["images"].shape[0], 1, 1, 1, device=self.device, generator=generator)

        x = batch["images"].permute(0, 3, 1, 2).float() / 255
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = torch.where(lot() < SOFT, x + lot() * (soft - x), x)
        x = x + NOISY * lot() * torch.randn(x.shape, device=x.device, generator=generator)
        grids, labels, share = self.judge.grids(x), batch["labels"].long(), batch["masks"][:, None].float() / 255
        losses, right = self._names(self.judge.out(self.judge.pooled(*grids)), labels)
        loss = losses + F.binary_cross_entropy_with_logits(self.judge.subject(grids[0]), share)
        shown = {}
        for k, (grid, head) in enumerate(zip(grids, self.local)):
            of, _, y, z = (F.adaptive_avg_pool2d(share, grid.shape[-1]) > 0.5).nonzero(as_tuple=True)
            found, hits = self._names(head(grid[of, :, y, z]), labels[of])
            loss, shown[f"local{k}"] = loss + found / 2, hits[0]
        return loss, {k: right[i] for i, k in enumerate(HEADS) if i < 8} | shown | {
            "worn": torch.stack(right[-len(ACCESSORIES):]).mean()}

    def _names(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Weighted mean cross-entropy, and each name's accuracy."""
        loss, right = 0.0, []
        for i, (weight, part) in enumerate(zip(WEIGHTS, logits.float().split(SIZES, 1))):
            rare = part.new_ones(part.shape[1])
            if i >= len(WEIGHTS) - len(ACCESSORIES) and self.done < FAIR:
                rare[0] = ABSENT
            loss = loss + weight / sum(WEIGHTS) * F.cross_entropy(part, labels[:, i], rare)
            right.append((part.argmax(1) == labels[:, i]).float().mean().detach())
        return 4 * loss, right

    def export(self, folder: Path) -> None:
        save_judge(self.judge, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at."""
