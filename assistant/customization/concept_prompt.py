"""Prompts with concepts in them: "<mug> on the beach" -> the words the base model reads, and where each concept stands.

Knows tokenizers and names, no pictures and no files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConceptError, NotFoundError
from ..plan import NAMED

_ORDER = re.compile(r"^\W*(?:(?:please|now|ok|okay|so|and|hi|hello)\b[\s,]*|(?:can|could|would|will) you\b\s*|i(?: would|'d)? (?:want|like|need)\b\s*"
                    r"|let me see\b\s*|(?:how|what) about\b\s*|why not\b\s*|(?:to )?(?:draw|paint|sketch|make|create|generate|show|give|put|take|bring|let"
                    r"|imagine|have)\b(?: (?:me|us))?\b\s*)+", re.IGNORECASE)
_BARE = re.compile(r"(?:^|[,.;:]|\b(?:and|or|of|with|to|by|for|from|near|beside|behind|on|in|at|under|over|like|into|versus|plus))\s*$", re.IGNORECASE)

_WORD = re.compile(r"[^\W\d_][\w-]+")


def plain(text: str) -> str:
    """A wish without its asking: "now draw it at night!" -> "it at night"."""
    return _ORDER.sub("", text).strip().rstrip(" ?!.")


def caption(text: str, nouns: Mapping[str, str]) -> str:
    """A wish as the base model's captions are put: "please draw <mug> on the beach" -> "a <mug> on the beach".

    Args:
        nouns: as in `write`; the article is that of the noun.
    """
    text = plain(text)
    known, pieces, at = {name.lower(): noun for name, noun in nouns.items()}, [], 0
    for found in NAMED.finditer(text):
        before = text[at:found.start()]
        article = "an " if known.get(found[1].lower(), "")[:1].lower() in tuple("aeiou") else "a "
        pieces += [before, article if _BARE.search(before) else "", found[0]]
        at = found.end()
    return "".join([*pieces, text[at:]])


def unmarked(text: str, learned: Collection[str]) -> str:
    """A text in which only learned names stand in brackets: of another <word> the brackets go, and all of what is none, as <b> or <lora:x:1>."""
    known = {name.lower() for name in learned}
    marked = NAMED.sub(lambda found: found[0] if found[1].lower() in known else f" {found[1]} " if _WORD.fullmatch(found[1]) else " ", text)
    return " ".join(marked.split()) if marked != text else text


@dataclass(frozen=True)
class ResolvedPrompt:
    """What the base model reads, and for each concept in it, by name, the spans of characters where it stands."""

    text: str
    spans: Mapping[str, tuple[tuple[int, int], ...]]


def write(prompt: str, nouns: Mapping[str, str]) -> ResolvedPrompt:
    """Put each `<name>`'s class noun in its place.

    Args:
        nouns: name of every concept there is -> its class noun. Names are compared without regard to case.

    Raises:
        NotFoundError: a `<name>` that is none of them.
    """
    known = {name.lower(): name for name in nouns}
    pieces, spans, at, length = [], {}, 0, 0
    for found in NAMED.finditer(prompt):
        name = known.get(found[1].lower())
        if name is None:
            listing = ", ".join(f"<{n}>" for n in sorted(nouns)) or "none yet"
            raise NotFoundError(f"There is no concept <{found[1]}>; there are: {listing}.", "Learn it first, or write it without < >.")
        before = prompt[at:found.start()]
        start = length + len(before)
        pieces += [before, nouns[name]]
        spans.setdefault(name, []).append((start, start + len(nouns[name])))
        length, at = start + len(nouns[name]), found.end()
    return ResolvedPrompt("".join([*pieces, prompt[at:]]), {name: tuple(of) for name, of in spans.items()})


def token_positions(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Positions of the tokens that spell these spans of characters, in the text as `Diffusion.encode_text` cuts it.

    Args:
        tokenizer: a fast CLIPTokenizer.

    Raises:
        ConceptError: the text is so long that one of the spans was cut off.
    """
    length = tokenizer.model_max_length
    offsets = tokenizer(text, truncation=True, max_length=length, return_offsets_mapping=True)["offset_mapping"]
    found: list[int] = []
    for start, end in spans:
        own = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        if not own or offsets[own[-1]][1] < end:
            raise ConceptError(f"The word {text[start:end]!r} stands beyond the {length} tokens that the base model reads.",
                               "Move it nearer to the beginning, or shorten the prompt.")
        found += own
    return tuple(found)


def residual_positions(own: Sequence[int], count: int, length: int) -> tuple[tuple[int, ...], ...]:
    """Where each of a concept's `count` residuals acts: the first at the noun's own tokens, each further one at the next token
    behind them, whose state a causal text encoder has made from the noun.

    Args:
        own: `token_positions` of the concept. length: N, tokens of the prompt with its padding.
    """
    return (tuple(own), *((min(own[-1] + k, length - 1),) for k in range(1, count)))
