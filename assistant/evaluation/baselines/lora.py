"""DreamBooth-LoRA (Hu et al., 2021): DreamBooth's words, with low-rank updates of every attention layer by peft."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ...errors import ConfigError
from .baseline import Baseline

RANK = 4


class DreamBoothLora(Baseline):
    name, lr = "DreamBooth-LoRA", 1e-3

    def learned(self) -> Sequence[nn.Parameter]:
        """Raises ConfigError without peft."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ConfigError("DreamBooth-LoRA needs peft, which is not installed.", "pip install -r tests/requirements.txt") from error
        targets = {self.model.unet: ["to_q", "to_k", "to_v", "to_out.0"], self.model.text_encoder: ["q_proj", "v_proj"]}
        for module, names in targets.items():
            inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names), module)
        return [p for module in targets for n, p in module.named_parameters() if "lora_" in n]
