"""M as training needs it: frozen, in one of three precisions, on the device. Gradients pass through it to V and the token."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError, DeviceError
from ..weights import load_llama

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
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DeviceError("A language model in 4 bits needs the package bitsandbytes, which is not installed.",
                          "Run: pip install bitsandbytes, or use --language-dtype bfloat16.")
    from transformers import BitsAndBytesConfig

    coarse = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
    return load_llama(folder, torch.bfloat16, quantization_config=coarse, device_map={"": device})
