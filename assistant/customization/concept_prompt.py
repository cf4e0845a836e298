"""Prompts with concepts in them: "<mug> on the beach" -> the words the base model reads, and where each concept stands.

A concept of ICO has words of its own: learned vectors among a prompt's ordinary tokens.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConceptError, NotFoundError
from ..plan import NAMED, a_or_an

Piece = str | int  # words, or how many learned vectors stand here

_PART = re.compile(r"([IT])([1-9]\d?)|(E)")


@dataclass(frozen=True)
class ContextTemplate:
    """How a prompt is put together while a concept is learned (ICO, eq. 2), written as a line: "I4 T2 E I2".

    I<n>: n vectors of one picture's own, T<n>: n vectors that all pictures share and that are kept, E: the class noun; other words
    stand as they are, so that "a photo of a T3 E" is the manual template.

    Raises:
        ConceptError: no E or several, or no T.
    """

    line: str

    def __post_init__(self) -> None:
        kinds = [kind for kind, _ in self.parts()]
        if kinds.count("E") != 1 or "T" not in kinds:
            raise ConceptError(f"The prompt scheme {self.line!r} needs the class noun E once, and shared vectors T.", 'Write for instance "I1 T3 E I1".')

    def parts(self) -> list[tuple[str, str | int]]:
        """("I" or "T", count), ("E", "") and ("word", it), in order."""
        out: list[tuple[str, str | int]] = []
        for word in self.line.split():
            found = _PART.fullmatch(word)
            out.append(("word", word) if not found else ("E", "") if found[3] else (found[1], int(found[2])))
        return out

    def count(self, kind: str) -> int:
        """Vectors of kind "I" or "T" in all."""
        return sum(int(n) for k, n in self.parts() if k == kind)

    def pieces(self, noun: str, whole: bool = False) -> tuple[Piece, ...]:
        """What stands in a prompt where the concept is named: T and E in their order; `whole`: all of the line."""
        chosen = [(k, v) for k, v in self.parts() if whole or k in "TE"]
        return tuple(noun if k == "E" else v for k, v in chosen)


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as tokens, with places for learned vectors.

    Attributes:
        ids: (N) token numbers with start, end and padding. at: the positions of each piece, in order. end: of the text's end.
        cut: the words beyond the tokenizer's length.
    """

    ids: tuple[int, ...]
    at: tuple[tuple[int, ...], ...]
    end: int
    cut: str = ""

    @property
    def words(self) -> tuple[int, ...]:
        """Positions of all real tokens: neither start, end nor padding."""
        return tuple(range(1, self.end))


def tokenize_with_placeholders(tokenizer: Any, pieces: Sequence[Piece], needed: Sequence[int] = ()) -> TokenizedPrompt:
    """Put pieces together; what goes beyond the tokenizer's length is cut off, as `LatentDiffusion.encode_text` does.

    Args:
        tokenizer: a CLIPTokenizer. needed: which pieces must not be cut off; vectors never are.

    Raises:
        ConceptError: a piece that must not be cut off lies beyond the end.
    """
    length, hold = tokenizer.model_max_length, tokenizer.unk_token_id
    ids, at, cut = [tokenizer.bos_token_id], [], []
    for number, piece in enumerate(pieces):
        own = [hold] * piece if isinstance(piece, int) else tokenizer(piece, add_special_tokens=False)["input_ids"]
        if len(ids) + len(own) > length - 1 and (isinstance(piece, int) or number in needed):
            raise ConceptError(f"The concept stands beyond the {length} tokens that the base model reads.",
                               "Move it nearer to the beginning, or shorten the prompt.")
        at.append(tuple(p for p in range(len(ids), len(ids) + len(own)) if p < length - 1))
        cut += (ids + own)[length - 1:]
        ids = (ids + own)[: length - 1]
    end = len(ids)
    ids += [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (length - end - 1)
    return TokenizedPrompt(tuple(ids), tuple(at), end, tokenizer.decode(cut) if cut else "")


def embed(words: Callable[[Tensor, int], Tensor], spelled: TokenizedPrompt, slots: Sequence[int], vectors: Tensor) -> Tensor:
    """Token embeddings (N, d) of a prompt with `vectors` (len(slots), d) at the positions `slots`; the others are `words`, of `LatentDiffusion`."""
    plain = words(torch.tensor(spelled.ids), spelled.end)
    return plain.index_put((torch.tensor(tuple(slots), device=plain.device, dtype=torch.long),), vectors.to(plain))


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
        pieces += [before, f"{a_or_an(known.get(found[1].lower(), ''))} " if _BARE.search(before) else "", found[0]]
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


def not_learned(name: str, names: Collection[str]) -> NotFoundError:
    """What is said of a `<name>` that is none of these."""
    listed = ", ".join(f"<{n}>" for n in sorted(names)) or "none yet"
    return NotFoundError(f"There is no concept <{name}>; there are: {listed}.", "Learn it first, or write it without < >.")


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
            raise not_learned(found[1], nouns)
        before = prompt[at:found.start()]
        start = length + len(before)
        pieces += [before, nouns[name]]
        spans.setdefault(name, []).append((start, start + len(nouns[name])))
        length, at = start + len(nouns[name]), found.end()
    return ResolvedPrompt("".join([*pieces, prompt[at:]]), {name: tuple(of) for name, of in spans.items()})


def token_positions(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Positions of the tokens that spell these spans of characters, in the text as `LatentDiffusion.encode_text` cuts it.

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
