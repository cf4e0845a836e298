"""A first guess of the whole picture, from which a small decoder need not invent everything out of noise.

A UNet applies the same kernels everywhere, and a small one learns only slowly what belongs where. Layers that have a weight for
every place learn that in minutes, and all the sooner as a picture book is made: a stage set, a hero, and where one hides the
other. The decoder takes it from there, as SDEdit (Meng et al., 2022) goes on from a drawn sketch. Not part of CAFE: full size
has none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .rows import cafe_plan, guide

GAIN = 0.7  # what a guidance strength counts here: a mean needs less of it than a denoiser
DEPTHS = 5, 6  # layers of the background's half and of the subject's


class Residual(nn.Module):
    """(B, in) -> (B, width), in `depth` layers that each add to what there is."""

    def __init__(self, width_in: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width if k else width_in, width) for k in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.layers[0](x))
        for layer in self.layers[1:]:
            x = x + F.silu(layer(x))
        return x


class FirstGuess(nn.Module):
    """E's class token and F(target) or H(s) -> latents: a background, a subject, and a mask that lays one over the other.

    Args:
        patch_width, semantic_width: d_E and d_F.
        hidden: width of the subject's layers; the background's have half.
        shape: (C, h, w) of the latents.
    """

    def __init__(self, patch_width: int, semantic_width: int, hidden: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        channels, places = shape[0], shape[1] * shape[2]
        self.behind = Residual(patch_width + semantic_width, hidden // 2, DEPTHS[0])
        self.before = Residual(patch_width + semantic_width, hidden, DEPTHS[1])
        self.background, self.subject = nn.Linear(hidden // 2, channels * places), nn.Linear(hidden, channels * places)
        self.mask = nn.Linear(hidden, places)
        nn.init.zeros_(self.mask.weight)

    def parts(self, patches: Tensor, semantics: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the mask's logits (B, h, w): above 0 there is more subject than background."""
        seen = torch.cat([patches[:, 0], semantics], 1).to(self.mask.weight.dtype)
        subject = self.before(seen)
        logits = self.mask(subject).unflatten(1, self.shape[1:])
        background = self.background(self.behind(seen)).unflatten(1, self.shape)
        return torch.lerp(background, self.subject(subject).unflatten(1, self.shape), logits.sigmoid()[:, None]), logits

    def forward(self, patches: Tensor, semantics: Tensor) -> Tensor:
        """E(x), (B, N, d_E) with the class token first, and (B, d_F) -> scaled latents (B, C, h, w).

        It was trained to do without either: zeros are no E(x), or no F.
        """
        return self.parts(patches, semantics)[0]

    @torch.no_grad()
    def guided(self, patches: Tensor, semantics: Tensor, keep_subject: float, follow_words: float) -> Tensor:
        """With a strength for each source, by the plan that guides the denoiser; float32 (B, C, h, w).

        A strength of 1 / GAIN is the guess itself; more makes it more vivid.
        """
        plan = cafe_plan(GAIN * keep_subject, GAIN * follow_words)
        guesses = {row.name: self(patches[:, :1] * (row.tokens is not None), semantics * (row.vector is not None)).float()
                   for row in plan.rows}
        return guide(plan.streams[0], guesses)
