"""Turns a conversation into token ids with a place for the picture. Training and chat share it, token for token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..config import LanguageConfig
from ..errors import WeightsError


class Tokenizer(Protocol):
    bos_token_id: int
    eos_token_id: int
    all_special_tokens: list[str]

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...
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
