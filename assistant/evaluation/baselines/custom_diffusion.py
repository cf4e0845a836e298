"""Custom Diffusion (Kumari et al., 2023): keys and values of every cross-attention layer, and a new token before the class noun."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .baseline import TOKEN, Baseline


class CustomDiffusion(Baseline):
    name, lr = "Custom Diffusion", 3e-4

    def learned(self) -> Sequence[nn.Parameter]:
        self.phrase = f"{TOKEN} {self.noun}"
        layers = self.model.cross_layers().values()
        return [p for attn in layers for p in (attn.to_k.weight, attn.to_v.weight)] + [self.new_token()]

    def storage(self) -> int:
        return 2 * (sum(p.numel() for p in self.parameters[:-1]) + self.parameters[-1].shape[1])
