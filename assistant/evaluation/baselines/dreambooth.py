"""DreamBooth (Ruiz et al., 2023): every weight of UNet, text encoder and reader of words, under a rare word, the prior preserved."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from .baseline import Baseline


class DreamBooth(Baseline):
    name, lr = "DreamBooth", 1e-4

    def learned(self) -> Sequence[nn.Parameter]:
        modules = (self.model.unet, self.model.text_encoder, self.model.text_reader)
        return [p for module in modules if module is not None for p in module.parameters()]
