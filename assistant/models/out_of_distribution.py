"""Out-of-distribution detection: whether a picture is unlike all that E and F were trained on, so that nobody is told that a photo of a
corgi is a fish. Knows no words and no requests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OutOfDistribution(nn.Module):
    """Logistic regression on E's class token, the mean and the spread of its patches, and F's direction.

    Args:
        patch_width: d_E. semantic_width: d_F.
    """

    def __init__(self, patch_width: int, semantic_width: int) -> None:
        super().__init__()
        width = 3 * patch_width + semantic_width
        self.linear = nn.Linear(width, 1)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    @staticmethod
    def features(patches: Tensor, semantics: Tensor) -> Tensor:
        """E (B, N, d_E), the class token first, and F (B, d_F) -> (B, 3 d_E + d_F)."""
        rest = patches[:, 1:].float()
        return torch.cat([patches[:, 0].float(), rest.mean(1), rest.std(1), F.normalize(semantics.float(), dim=-1)], 1)

    def forward(self, patches: Tensor, semantics: Tensor) -> Tensor:
        """Logits (B,): above 0 the picture is out of distribution."""
        return self.linear((self.features(patches, semantics) - self.mean) / self.std)[:, 0]
