"""DreamBooth (Ruiz et al., 2023): every weight of UNet and text encoder, under a rare word, the prior preserved."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .baseline import Baseline


class DreamBooth(Baseline):
    name, lr = "DreamBooth", 1e-4

    def learned(self) -> Sequence[nn.Parameter]:
        return [p for module in (self.model.unet, self.model.text_encoder) for p in module.parameters()]
