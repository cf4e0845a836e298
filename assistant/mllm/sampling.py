"""Token after token from a causal language model. Knows no prompt, no template and no pictures: embeddings in, token ids out.

A loop of our own, because `generate` draws from the global random state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, StaticCache

from ..messages import Cancel

TOP_P = 0.9


@torch.no_grad()
def sampled(llm: nn.Module, embeddings: Tensor, cache: Any, most: int, temperature: float | Callable[[], float], generator: torch.Generator,
            cancel: Cancel, top_p: float = TOP_P) -> Iterator[int]:
    """Yield up to `most` token ids; whoever reads them stops where a reply ends, and that last token is then not in the cache.

    Args:
        llm: a transformers causal language model.
        embeddings: of the prompt, (1, N, d_M).
        cache: a transformers cache, filled as it goes.
        temperature: of every token, or asked for before each.
        generator: a CPU generator; the only source of chance.
        cancel: read before each token; set, the tokens end.
    """
    out = llm(inputs_embeds=embeddings, past_key_values=cache, use_cache=True, logits_to_keep=1)
    for _ in range(most):
        if cancel.is_set():
            return
        token = pick(out.logits[0, -1].float().cpu(), temperature() if callable(temperature) else temperature, top_p, generator)
        yield token
        out = llm(input_ids=torch.tensor([[token]], device=out.logits.device), past_key_values=cache, use_cache=True)


def pick(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Nucleus sampling from (vocabulary,) logits; greedy at temperature 0."""
    if temperature <= 0:
        return int(logits.argmax())
    probs, order = torch.softmax(logits / temperature, dim=-1).sort(descending=True)
    probs = probs * ((probs.cumsum(-1) - probs) < top_p)
    return int(order[torch.multinomial(probs, 1, generator=generator)])


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
