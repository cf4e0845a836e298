"""What a subject wears, read from F: a caption names it, so F knows it, while M's means of E over a coarse grid lose what is small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 384


class WornReader(nn.Module):
    """A perceptron on F's direction.

    Args:
        semantic_width: d_F. things, colours: their names.
    """

    def __init__(self, semantic_width: int, things: Sequence[str], colours: Sequence[str]) -> None:
        super().__init__()
        self.things, self.colours = tuple(things), tuple(colours)
        self.inner = nn.Sequential(nn.Linear(semantic_width, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, len(things) * (1 + len(colours))))

    def forward(self, semantics: Tensor) -> Tensor:
        """F (B, d_F) -> logits of each thing, (B, things, 1 + colours): absent, or there in that colour."""
        direction = F.normalize(semantics.float(), dim=-1) * semantics.shape[-1] ** 0.5
        return self.inner(direction).unflatten(1, (len(self.things), 1 + len(self.colours)))

    @torch.no_grad()
    def read(self, semantics: Tensor) -> tuple[str, ...]:
        """What is worn in the picture of F (1, d_F): "red hat", in the order of the things."""
        likely = self(semantics)[0].argmax(1).tolist()
        return tuple(f"{self.colours[k - 1]} {thing}" for k, thing in zip(likely, self.things) if k)
