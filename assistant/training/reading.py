"""What E's tokens say, as amounts of visual words: the linear map that V starts as, and M learns to read through its errors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..miniature.visual_words import VISUAL_WORDS
from .data import LABELS, World
from .diffusion import ridge
from .dino import CLASSES

QUIET = 0.2  # weight of a patch that should say nothing, beside the class token's 1


def amounts(labels: Tensor) -> Tensor:
    """(N, 17) class numbers -> (N, 171): 1 where a picture has that visual word, else 0."""
    columns = []
    for i, (name, size) in enumerate(zip(LABELS, CLASSES)):
        if name != "eyes":  # no word names them
            columns.append(F.one_hot(labels[:, i].long(), size)[:, 1 if i > LABELS.index("eyes") else 0:])
    found = torch.cat(columns, 1).float()
    assert found.shape[1] == len(VISUAL_WORDS)
    return found


def word_reader(world: World, patches: Tensor) -> nn.Linear:
    """Least squares from E's class token to its picture's words, and from other tokens to none.

    Args:
        patches: E of every ready picture as M reads it, (N, P, d_E), the class token first.
    """
    said = amounts(torch.from_numpy(world["labels"][:len(patches)].copy())).to(patches.device)
    quiet = patches[::8, 1::max(1, patches.shape[1] // 16)].float().flatten(0, 1)
    reader = nn.Linear(patches.shape[2], said.shape[1]).to(patches.device).requires_grad_(False)
    ridge(reader, torch.cat([patches[:, 0].float(), QUIET * quiet]), torch.cat([said, said.new_zeros(len(quiet), said.shape[1])]),
          torch.cat([torch.ones(len(said)), torch.full((len(quiet),), QUIET)]).to(patches.device))
    return reader
