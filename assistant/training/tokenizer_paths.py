"""Where training finds the shipped tokenizers."""

from functools import cache
from typing import Any

from transformers import AutoTokenizer, CLIPTokenizer

from ..config import AssistantConfig
from ..manifest import CHECKPOINTS


def caption_tokenizer(config: AssistantConfig) -> Any:
    return _read(CLIPTokenizer, f"{config.folder}/base/tokenizer")


def dialogue_tokenizer(config: AssistantConfig) -> Any:
    return _read(AutoTokenizer, f"{config.folder}/llama")


@cache
def _read(kind: Any, place: str) -> Any:
    return kind.from_pretrained(CHECKPOINTS / place)
