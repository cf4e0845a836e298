"""Where a language model keeps keys and values while it speaks: in a place that grows, or in one of fixed size. Same tokens from both."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import DynamicCache, StaticCache

STEP = 256  # lengths are rounded up to it, so that few are ever compiled


def cache_of(llm: nn.Module, length: int, static: bool) -> Any:
    """An empty cache for `length` tokens, prompt and reply.

    A static one has one shape from the first token to the last, so that a step is the same program with the same addresses; it is held whole
    from the start.
    """
    if not static:
        return DynamicCache()
    most = getattr(llm.config, "max_position_embeddings", length)
    return StaticCache(config=llm.config, max_cache_len=max(length, min(most, -(-length // STEP) * STEP)))
