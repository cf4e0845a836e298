"""A first guess of the whole picture, from which a small decoder need not invent everything out of noise.

A UNet applies the same kernels everywhere, and a small one learns only slowly what belongs where. Two hidden layers that have
a weight for every place learn that in minutes, and learn no detail. So the guess gives the scene and the rough subject, and
the decoder takes it from there, as SDEdit (Meng et al., 2022) goes on from a drawn sketch. Not part of CAFE: full size has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GAIN = 0.7  # what a guidance strength counts here: a mean needs less of it than a denoiser


class FirstGuess(nn.Module):
    """E's class token and F(target) or H(s) -> latents.

    Args:
        patch_width, semantic_width: d_E and d_F.
        hidden: width of the two hidden layers.
        shape: (C, h, w) of the latents.
    """

    def __init__(self, patch_width: int, semantic_width: int, hidden: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(nn.Linear(patch_width + semantic_width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
                                    nn.Linear(hidden, shape[0] * shape[1] * shape[2]))

    def forward(self, patches: Tensor, semantics: Tensor) -> Tensor:
        """E(x), (B, N, d_E) with the class token first, and (B, d_F) -> scaled latents (B, C, h, w).

        It was trained to do without either: zeros are no E(x), or no F.
        """
        seen = torch.cat([patches[:, 0], semantics], 1)
        return self.layers(seen.to(self.layers[0].weight.dtype)).unflatten(1, self.shape)

    @torch.no_grad()
    def guided(self, patches: Tensor, semantics: Tensor, keep_subject: float, follow_words: float) -> Tensor:
        """With a strength for each source, combined as `rows.cafe_plan` combines predictions; float32 (B, C, h, w).

        A strength of 1 / GAIN is the guess itself; more makes it more vivid.
        """
        keep, follow = GAIN * keep_subject, GAIN * follow_words
        no_patches, no_words = torch.zeros_like(patches[:, :1]), torch.zeros_like(semantics)
        none, subject, both = self(torch.cat([no_patches, patches[:, :1], patches[:, :1]]),
                                   torch.cat([no_words, no_words, semantics])).float().chunk(3)
        return none + keep * (subject - none) + follow * (both - subject)
