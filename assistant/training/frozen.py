"""M as training needs it: frozen, in one of three precisions, on the device. Gradients pass through it to V and the token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError, DeviceError
from ..weights import can_quantise, in_4_bits, load_llama

KINDS = ("float32", "bfloat16", "4bit")


def frozen_llama(folder: Path, device: str, kind: str = "float32") -> tuple[nn.Module, Any]:
    """M and its tokenizer. 4bit is NF4 with bfloat16 arithmetic (Dettmers et al., 2023).

    Raises:
        ConfigError: another kind than `KINDS`.
        DeviceError: 4bit without bitsandbytes.
        WeightsError: `folder` holds no Llama.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no precision named {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
    if kind != "4bit":
        llama, tokenizer = load_llama(folder, torch.float32 if kind == "float32" else torch.bfloat16)
        return llama.to(device), tokenizer
    if not can_quantise():
        raise DeviceError("A language model in 4 bits needs the package bitsandbytes, which is not installed.",
                          "Run: pip install bitsandbytes, or use --language-dtype bfloat16.")
    return load_llama(folder, torch.bfloat16, **in_4_bits(torch.device(device), torch.bfloat16))
