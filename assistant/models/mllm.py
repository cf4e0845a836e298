"""M, the frozen Llama, with V, H and the learnable token (CAFE, section 3, eq. 2): a conversation becomes token ids, M streams words, then gives H(s).

Training and chat share the template, token for token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, StaticCache

from ..config import LanguageConfig
from ..errors import DeviceError, WeightsError
from ..plan import Plan, read_line
from ..requests import Cancel


class Tokenizer(Protocol):
    bos_token_id: int
    eos_token_id: int
    all_special_tokens: list[str]

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...
    def decode(self, token_ids: list[int], skip_special_tokens: bool = ...) -> str: ...
    def convert_tokens_to_ids(self, token: str) -> int: ...


@dataclass(frozen=True)
class Prompt:
    """Token ids; `picture` is the index before which E(x)'s tokens are spliced in, None without a picture."""

    ids: tuple[int, ...]
    picture: int | None


class PromptBuilder:
    """Llama-2's chat template, LLaVA's splice: `<s>[INST] PICTURE words [/INST] reply </s>` and so on, turn by turn."""

    def __init__(self, config: LanguageConfig, tokenizer: Tokenizer) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.draw_id = tokenizer.convert_tokens_to_ids(config.draw_token) if config.draw_token else None
        self.plan_ids = tuple(tokenizer.convert_tokens_to_ids(mark) for mark in config.plan_marks)
        if None in self.plan_ids:
            raise WeightsError(f"The tokenizer lacks the plan's marks {' and '.join(config.plan_marks)}.", "Get the tokenizer that belongs to these weights.")
        self._head = [tokenizer.bos_token_id, *self._encode(config.user_prefix)]
        self._tail = self._encode(config.user_suffix)
        marks = {t for t in tokenizer.all_special_tokens} | {config.user_prefix.strip(), config.user_suffix.strip()}
        self._marks = re.compile("|".join(re.escape(m) for m in sorted(marks, key=len, reverse=True) if m))

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def user(self, text: str) -> list[int]:
        """A user's words; marks of the template are taken out, so that nobody can speak for the assistant."""
        text = " ".join(self._marks.sub(" ", text).split())
        return self._encode(text.lower() if self.config.lowercase_user else text)

    def plan(self, *lines: str) -> list[int]:
        """Lines of a plan, each between its marks; nothing where the model writes none, or of an empty line."""
        return [i for line in lines if self.plan_ids and line
                for i in (self.plan_ids[0], *self._encode(" ".join(self._marks.sub(" ", line).split())), self.plan_ids[1])]

    def reply(self, text: str, drew: bool, plan: Sequence[str] = ()) -> list[int]:
        """A reply behind its plan's lines, closed with the draw token if it came with a picture, then the end of the turn."""
        closing = [self.draw_id] if drew and self.draw_id is not None else []
        return [*self.plan(*plan), *self._encode(text), *closing, self.tokenizer.eos_token_id]

    def opening(self, text: str, picture: bool, room: int | None = None, seen: str = "") -> Prompt:
        """One user message up to where the reply begins, cut to `room` tokens of words at the end. `seen`: what stands before it, a plan's
        line that follows the picture."""
        return Prompt((*self._head, *self.plan(seen), *self.user(text)[:room], *self._tail), len(self._head) if picture else None)

    def looking(self) -> Prompt:
        """Up to where a model says what a picture shows: the line that `opening` takes as `seen`."""
        return Prompt((*self._head, *self.plan_ids[:1]), len(self._head))

    def build(self, history: Sequence[tuple[str, str, bool, Sequence[str]]], text: str, picture: bool, picture_tokens: int, plan: Sequence[str] = (),
              seen: str = "") -> Prompt:
        """A whole conversation whose picture belongs to its first turn, up to the reply, or to the end of the plan's lines if they are given.

        Oldest turns but the first (which holds the picture) are dropped until all fits into the context.

        Args:
            history: (user, reply, drew, the plan's lines) of earlier turns since the picture came, oldest first.
            picture_tokens: how many the picture takes.
            seen: what stands before the first of them, as a plan's line.
        """
        room = self.config.context - self.config.max_new_tokens - 4 - (picture_tokens if picture else 0)
        turns = [(u, [*self.reply(r, d, p)]) for u, r, d, p in history]
        while True:
            texts = [*(u for u, _ in turns), text]
            opened = [self.opening(t, picture and i == 0, max(16, room // 2), "" if i else seen) for i, t in enumerate(texts)]
            ids = [i for k, o in enumerate(opened) for i in (*o.ids, *(turns[k][1] if k < len(turns) else self.plan(*plan)))]
            if len(ids) <= room or not turns:
                return Prompt(tuple(ids), opened[0].picture)
            turns.pop(1 if len(turns) > 1 else 0)


TOP_P = 0.9


@torch.no_grad()
def sampled(llm: Any, prompt: Mapping[str, Tensor], cache: Any, most: int, temperature: float | Callable[[], float], generator: torch.Generator,
            cancel: Cancel, top_p: float = TOP_P) -> Iterator[int]:
    """Yield up to `most` token ids; whoever reads them stops where a reply ends, and that last token is then not in the cache.

    Args:
        llm: a transformers causal or image-text-to-text language model.
        prompt: what its first call is given: inputs_embeds, (1, N, d_M), or input_ids, (1, N), with all that a processor returns beside them.
        cache: a transformers cache, filled as it goes.
        temperature: of every token, or asked for before each.
        generator: a CPU generator; the only source of chance.
        cancel: read before each token; set, the tokens end.

    Raises:
        DeviceError: the model's numbers overflow in its dtype.
    """
    out = llm(**prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
    for _ in range(most):
        if cancel.is_set():
            return
        logits = out.logits[0, -1].float().cpu()
        if logits.isnan().any():
            dtype = str(out.logits.dtype).removeprefix("torch.")
            raise DeviceError(f"The language model gives NaN in {dtype}.", f"Start with --dtype {'float32' if dtype == 'bfloat16' else 'bfloat16, or float32'}."
                              if dtype != "float32" else "Get its weights again, or name another with --llm.")
        token = pick(logits, temperature() if callable(temperature) else temperature, top_p, generator)
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


def cache_of(llm: Any, length: int, static: bool) -> Any:
    """An empty cache for `length` tokens, prompt and reply.

    A static one has one shape from the first token to the last, so that a step is the same program with the same addresses; it is held whole
    from the start.
    """
    if not static:
        return DynamicCache(config=llm.config)  # whose layers may be of several kinds
    most = getattr(llm.config.get_text_config(decoder=True), "max_position_embeddings", length)
    return StaticCache(config=llm.config, max_cache_len=max(length, min(most, -(-length // STEP) * STEP)))


def pooled(patches: Tensor, side: int | None) -> Tensor:
    """What M reads of E(x), (B, 1 + n * n, d): the class token and the means of a side x side grid's cells; None: all of it."""
    if side is None:
        return patches
    n = math.isqrt(patches.shape[1] - 1)
    grid = patches[:, 1:].transpose(1, 2).unflatten(2, (n, n))
    return torch.cat([patches[:, :1], F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)], 1)


SCENE = 64  # tokens of what a picture shows, at most
UNSAID = "I lost the thread. Could you say it in other words?"


class Bridge(nn.Module):
    """All that CAFE trains on the language side: V (d_E -> d_M), H (d_M -> d_F) and the learnable token (d_M)."""

    def __init__(self, config: LanguageConfig, patch_width: int) -> None:
        super().__init__()
        hidden, inner = config.llama["hidden_size"], config.semantic_hidden
        self.V = nn.Linear(patch_width, hidden)
        self.H = nn.Linear(hidden, config.semantic_width) if not inner else nn.Sequential(
            nn.Linear(hidden, inner), nn.SiLU(), nn.Linear(inner, config.semantic_width))
        self.token = nn.Parameter(torch.zeros(hidden))


@dataclass
class MllmOutput:
    """What a reply has become so far; complete once `stream` is exhausted."""

    text: str = ""
    plan: Plan | None = None  # that it wrote before its words, or that it was given
    draw: bool = False
    hidden: Tensor | None = None  # s, (1, d_M), when `draw`
    stopped: bool = False


class MultimodalLLM(nn.Module):
    """M with its bridges.

    Args:
        llama: a transformers `LlamaForCausalLM`.
        builder: the prompt builder of its tokenizer.
        taught: all words that it was taught to say, in lower case; none: it knows more than can be listed.
        outside: what the decoder is known not to draw, in lower case and the singular -> as it is said; M passes over some of it.

    Attributes:
        static_cache: keep keys and values in a place of fixed size.
    """

    def __init__(self, config: LanguageConfig, llama: Any, bridge: Bridge, builder: PromptBuilder, taught: frozenset[str] = frozenset(),
                 outside: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.config, self.llama, self.bridge, self.builder = config, llama, bridge, builder
        self.taught, self.outside = taught, outside or {}
        self.static_cache = False

    @property
    def model(self) -> nn.Module:
        """What takes up memory."""
        return self.llama

    @property
    def where(self) -> torch.device:
        """The device that M computes on; its weights may be elsewhere between calls."""
        return self.bridge.token.device

    def embed(self, prompt: Prompt, patches: Tensor | None) -> Tensor:
        """(1, N, d_M): the prompt's embeddings with V of E(x), pooled if the preset says so, spliced in at `prompt.picture`."""
        table = self.llama.get_input_embeddings()
        words = table(torch.tensor([prompt.ids], device=self.where)).to(self.where)
        if prompt.picture is None or patches is None:
            return words
        seen = self.bridge.V(pooled(patches.to(self.bridge.V.weight.dtype), self.config.picture_side)).to(words.dtype)
        return torch.cat([words[:, :prompt.picture], seen, words[:, prompt.picture:]], dim=1)

    @torch.no_grad()
    def scene(self, patches: Tensor, cancel: Cancel) -> str:
        """What the picture of E(x), (1, 257, d_E), shows, as a plan's line, without chance; empty where no plan is written."""
        if not self.builder.plan_ids:
            return ""
        embedded = self.embed(self.builder.looking(), patches)
        cache = cache_of(self.llama, embedded.shape[1] + SCENE, self.static_cache)
        ids = self._line(sampled(self.llama, {"inputs_embeds": embedded}, cache, SCENE, 0.0, torch.Generator(), cancel))
        return self.builder.tokenizer.decode(ids or [], skip_special_tokens=True).strip()

    def _line(self, tokens: Iterator[int]) -> list[int] | None:
        """The ids up to the mark behind a plan's line; None: it never came to an end."""
        ids: list[int] = []
        for token in tokens:
            if token == self.builder.plan_ids[1]:
                return ids
            if token != self.builder.plan_ids[0]:
                ids.append(token)
        return None

    @torch.no_grad()
    def stream(self, prompt: Prompt, patches: Tensor | None, spoken: MllmOutput, temperature: float, generator: torch.Generator,
               cancel: Cancel, top_p: float = TOP_P, known: Callable[[Plan], str | None] | None = None,
               settled: Callable[[str], tuple[Plan | None, str]] = lambda line: (read_line(line), "")) -> Iterator[str]:
        """Yield the reply piece by piece and fill `spoken`; s is taken at the learnable token appended after it. The line of its plan is
        written without chance, and is not yielded.

        Args:
            patches: E(x), (1, 257, d_E), or None.
            generator: a CPU generator; the only source of chance.
            known: told the plan once it is written, or at once if it is given; what it returns, if anything, is the reply then, and M's own
                words are not heard.
            settled: a written line -> the plan, and the line that M reads behind its own, if any.
        """
        tokenizer, embedded = self.builder.tokenizer, self.embed(prompt, patches)
        most = self.config.max_new_tokens
        cache = cache_of(self.llama, embedded.shape[1] + 2 * most + 2, self.static_cache)  # a plan, words, and the two that `_state` reads
        if self.builder.plan_ids and spoken.plan is None:
            ids = self._line(sampled(self.llama, {"inputs_embeds": embedded}, cache, most, 0.0, generator, cancel))
            spoken.plan, line = settled(tokenizer.decode(ids, skip_special_tokens=True).strip()) if ids is not None else (None, "")
            if spoken.plan is None:  # it never came to an end, or is none
                spoken.stopped = cancel.is_set()
                spoken.text = "" if spoken.stopped else UNSAID
                yield spoken.text
                return
            embedded = self.llama.get_input_embeddings()(torch.tensor([[self.builder.plan_ids[1], *self.builder.plan(line)]], device=self.where))
        words = known(spoken.plan) if known is not None and spoken.plan is not None else None  # in place of M's own
        if words is not None:
            spoken.text = words
            yield words
            if spoken.plan is not None and not spoken.plan.draws:
                return
        ids = []
        for token in sampled(self.llama, {"inputs_embeds": embedded}, cache, most, temperature, generator, cancel, top_p):
            if token in (tokenizer.eos_token_id, self.builder.draw_id):
                spoken.draw = token == self.builder.draw_id
                break
            ids.append(token)
            if words is not None:
                continue
            text = tokenizer.decode(ids, skip_special_tokens=True)
            if not text.endswith("\ufffd") and len(text) > len(spoken.text):  # a character may need several tokens
                delta, spoken.text = text[len(spoken.text):], text
                yield delta
        else:
            spoken.stopped = cancel.is_set()
        if self.builder.draw_id is None and not spoken.stopped:  # however the reply ended, by itself or by its limit
            spoken.draw = patches is not None
        if spoken.draw:
            spoken.hidden = self._state(cache, self.builder.draw_id)

    def _state(self, cache: Any, draw_id: int | None) -> Tensor:
        """s, (1, d_M): one more forward over the draw token (sampled, not yet read) and the learnable token."""
        table = self.llama.get_input_embeddings()
        ids = [draw_id] if draw_id is not None else []
        tail = [table(torch.tensor([ids], device=self.where))] if ids else []
        tail.append(self.bridge.token.to(table.weight.dtype).view(1, 1, -1))
        out = self.llama.model(inputs_embeds=torch.cat(tail, dim=1), past_key_values=cache, use_cache=True)
        return out.last_hidden_state[:, -1]

    @torch.no_grad()
    def semantics(self, hidden: Tensor) -> Tensor:
        """H(s): (1, d_M) -> (1, d_F), a stand-in for F(target)."""
        return self.bridge.H(hidden.to(self.bridge.token.dtype))
