"""Textual Inversion (Gal et al., 2022): one new token's embedding, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .baseline import TOKEN, Baseline


class TextualInversion(Baseline):
    name, lr, prior = "Textual Inversion", 0.01, 0.0

    def learned(self) -> Sequence[nn.Parameter]:
        self.phrase = TOKEN
        return [self.new_token()]

    def storage(self) -> int:
        return 2 * self.parameters[0].shape[1]
