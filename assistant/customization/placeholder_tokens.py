"""Words of a concept's own: learned vectors among a prompt's ordinary tokens, and where each of them stands.

Knows the tokenizer and the table of embeddings; knows neither training nor pictures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConceptError

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
        return sum(n for k, n in self.parts() if k == kind)

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
    """Put pieces together; what goes beyond the tokenizer's length is cut off, as `Diffusion.encode_text` does.

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


def embed(table: torch.nn.Embedding, spelled: TokenizedPrompt, slots: Sequence[int], vectors: Tensor) -> Tensor:
    """Token embeddings (N, d) of a prompt with `vectors` (len(slots), d) at the positions `slots`."""
    plain = table(torch.tensor(spelled.ids, device=table.weight.device))
    return plain.index_put((torch.tensor(tuple(slots), device=plain.device, dtype=torch.long),), vectors.to(plain))
