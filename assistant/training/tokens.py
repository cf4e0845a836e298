"""Where training finds the shipped tokenizers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from transformers import AutoTokenizer, CLIPTokenizer

from ..config import AssistantConfig

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


def caption_tokenizer(config: AssistantConfig):
    return _clip(str(CHECKPOINTS / config.folder / "base" / "tokenizer"))


def dialogue_tokenizer(config: AssistantConfig):
    return _llama(str(CHECKPOINTS / config.folder / "llama"))


@cache
def _clip(folder: str):
    return CLIPTokenizer.from_pretrained(folder)


@cache
def _llama(folder: str):
    return AutoTokenizer.from_pretrained(folder)
