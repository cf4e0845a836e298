"""Trains E: a Dinov2Model whose tokens keep who is in a picture (class token) and what each patch shows (patch tokens).

Two pictures of one individual attract each other (InfoNCE); masked patches must be painted from their surroundings, as in
iBOT and MAE; small linear heads name the picture's attributes and mark the subject. The heads are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from ..config import AssistantConfig
from ..miniature.world import ACCESSORIES, COLOURS, CONTEXTS, EYES, KINDS, LIGHTS, PATTERNS, POSES, STYLES
from ..miniature.patches import principal
from ..weights import save_module
from .data import World

CLASSES = (len(KINDS), len(COLOURS), len(COLOURS), len(PATTERNS), len(CONTEXTS), len(LIGHTS), len(STYLES), len(POSES),
           len(EYES), *(1 + len(COLOURS),) * len(ACCESSORIES))


class Heads(nn.Module):
    """What hangs on E while it learns."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.who = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 128))
        self.names = nn.Linear(width, sum(CLASSES))
        self.paint = nn.Linear(width, 3 * patch * patch)
        self.subject = nn.Linear(width, 1)
        self.temperature = nn.Parameter(torch.tensor(2.5))


@torch.no_grad()
def begin_from_pixels(projection: nn.Conv2d, positions: nn.Parameter, examples: Tensor) -> None:
    """Give a vision transformer a start that random weights would spend most of a short training on.

    Its patch embedding becomes the patches' principal components, its positions become two-dimensional sines and cosines.

    Args:
        positions: (1, 1 + side * side, d) or (1 + side * side, d), the class token's first.
        examples: normalised pictures (B, 3, H, W).
    """
    width, patch = projection.out_channels, projection.kernel_size[0]
    x = examples.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    directions, spread = principal(x, min(width, x.shape[1]))
    directions = directions / spread[:, None].clamp_min(0.05 * spread.max()).sqrt()
    projection.weight[:len(directions)] = directions.view(-1, 3, patch, patch)
    if projection.bias is not None:
        projection.bias.zero_()
    table = positions.view(-1, positions.shape[-1])
    side, quarter = int((len(table) - 1) ** 0.5), width // 4
    waves = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    at = torch.arange(side)[:, None] * waves  # (side, d/4)
    one = torch.cat([at.sin(), at.cos()], 1)
    both = torch.cat([one[:, None].expand(-1, side, -1), one[None].expand(side, -1, -1)], -1).flatten(0, 1)
    table[1:, :both.shape[1]] = 0.5 * both


def attribute_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over all attributes, and each one's accuracy; logits (B, sum(CLASSES)), labels (B, 17)."""
    parts = logits.float().split(CLASSES, dim=1)
    loss = sum(F.cross_entropy(p, labels[:, i].long()) for i, p in enumerate(parts)) / len(parts)
    return loss, torch.stack([(p.argmax(1) == labels[:, i]).float().mean() for i, p in enumerate(parts)]).detach()


class DinoTask:
    name, lr = "dino", 1.5e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, batch_size: int = 32, compiled: bool = False) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.dino = Dinov2Model(Dinov2Config(**config.vision.dino, use_mask_token=True))
        begin_from_pixels(self.dino.embeddings.patch_embeddings.projection, self.dino.embeddings.position_embeddings,
                          self._pixels(torch.from_numpy(world["images"][:128].copy())))
        self.dino.to(device).train()
        if compiled:
            self.dino.compile()
        self.patch = config.vision.dino["patch_size"]
        self.heads = Heads(config.vision.patch_width, self.patch).to(device)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"dino": self.dino, "heads": self.heads}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        a, b = self.world.pairs(rng, self.batch_size // 2)
        at = np.concatenate([a, b])
        hidden = rng.random((len(at), 256)) < np.where(rng.random((len(at), 1)) < 0.25, 0.3, 0.0)
        return {"images": torch.from_numpy(self.world["images"][at]), "labels": torch.from_numpy(self.world["labels"][at]),
                "masks": torch.from_numpy(self.world["masks"][at]), "hidden": torch.from_numpy(hidden)}

    def _pixels(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1)
                     for v in (self.config.vision.dino_mean, self.config.vision.dino_std))
        return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = self._pixels(batch["images"])
        out = self.dino(pixel_values=x, bool_masked_pos=batch["hidden"]).last_hidden_state
        first, patches = out[:, 0], out[:, 1:]
        who = F.normalize(self.heads.who(first).float(), dim=-1)
        a, b = who.chunk(2)
        logits = self.heads.temperature.exp().clamp(max=50) * a @ b.T
        own = torch.arange(len(a), device=x.device)
        same = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        names, right = attribute_loss(self.heads.names(first), batch["labels"])
        p, side = self.patch, x.shape[-1] // self.patch
        target = x.unflatten(2, (side, p)).unflatten(4, (side, p)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)
        paint = (self.heads.paint(patches).float() - target).abs().mean()
        subject = F.binary_cross_entropy_with_logits(self.heads.subject(patches).squeeze(-1).float(),
                                                     batch["masks"].flatten(1).float() / 255)
        loss = 0.3 * same + 4 * names + paint + subject
        return loss, {"same": (logits.argmax(1) == own).float().mean(), "kind": right[0], "colour": right[1], "second": right[2],
                      "pattern": right[3], "style": right[6], "worn": right[9:].mean(), "paint": paint.detach(),
                      "subject": subject.detach()}

    def export(self, folder: Path) -> None:
        save_module(self.dino, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at."""
