"""What a mixing board says, as plain values: whose picture, which references with which weights, how far towards them.

Eq. 4 of CAFE, `alpha F(w) + (1 - alpha) F(x)`, for any number of references: `sum_i a_i F(w_i) + (1 - sum_i a_i) F(x)`. Here the
a_i are worked out; the vectors are `mixing`'s business. No torch, no gradio, no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Union

from .errors import InputError
from .requests import Cancel, Photo, Progress, Settings

MOST_SOURCES, MOST_SUBJECTS, MOST_CELLS = 8, 4, 64
STRIP, GRID, FRAMES = 7, 5, 17  # cells of a strip, of each side of a grid, frames of a film


@dataclass(frozen=True)
class Source:
    """What a mix takes its semantics from: F(w) of a picture or, without one, H(s) of a sentence about the subject."""

    photo: Photo | None = None
    words: str = ""
    weight: float = 1.0  # -1 to 1; below 0: away from it
    on: bool = True


@dataclass(frozen=True)
class Mix:
    """The subject x, and what its picture should be like."""

    subjects: tuple[Photo, ...]  # photos of one subject
    sources: tuple[Source, ...] = ()
    alpha: float = 0.5  # 0: as the subject's own picture is; 1: as the sources say
    words: str = ""  # what was said with its pictures, which it calls image 1, 2, ...: the subject's first, then the sources'


@dataclass(frozen=True)
class MixRequest:
    """Pictures to draw together, from one seed: mixes of the same subjects and sources with other weights."""

    mixes: tuple[Mix, ...]
    settings: Settings = field(default_factory=Settings)
    film: bool = False  # and one moving picture of all, in order


@dataclass(frozen=True)
class Sketch:
    """Event: what the pictures will be like, one PNG each, long before they are done."""

    pngs: tuple[bytes, ...]


@dataclass(frozen=True)
class MixedImage:
    """One drawn mix. `png` carries `metadata`, the whole board in it, as a text chunk."""

    png: bytes
    mix: Mix
    metadata: dict[str, Any]
    subject: float  # similarity to the nearest photo of the subject (the papers' presets: DINO), 0 to 1
    sources: tuple[float | None, ...]  # CLIP similarity to each source, 0 to 1; None: words that this preset cannot compare with
    advice: str = ""  # far from the subject: which way to move


@dataclass(frozen=True)
class MixReply:
    """Event, always the last."""

    pictures: tuple[MixedImage, ...]
    seed: int
    settings: Settings  # as used
    seconds: float
    stopped: bool = False
    film: bytes | None = None  # GIF


MixEvent = Union[Sketch, Progress, MixReply]


def check(mix: Mix) -> Mix:
    """Refuse what cannot be mixed.

    Raises:
        InputError: names the value and the limit.
    """
    if not mix.subjects:
        raise InputError("The board has no subject yet.", "Add a picture of what should be drawn.")
    for name, count, most in (("photos of the subject", len(mix.subjects), MOST_SUBJECTS), ("references", len(mix.sources), MOST_SOURCES)):
        if count > most:
            raise InputError(f"The board has {count} {name}; it can have {most}.", "Take one away.")
    if not 0.0 <= mix.alpha <= 1.0:
        raise InputError(f"Alpha is {mix.alpha:g}; it can be 0 to 1.", "Choose a value in between.")
    for number, source in enumerate(mix.sources, 1):
        if not -1.0 <= source.weight <= 1.0:
            raise InputError(f"The weight of reference {number} is {source.weight:g}; it can be -1 to 1.", "Choose a value in between.")
        if source.photo is None and not source.words.strip():
            raise InputError(f"Reference {number} is empty.", "Give it a picture or words, or take it away.")
    return mix


def coefficients(mix: Mix) -> tuple[float, ...]:
    """(1 - sum a, a_1, ..., a_n), which sum to one: what F(x) and every source count.

    a_i is alpha times the weight of a source that is on. Where they would sum to more than 1, the sources share what there is:
    each is divided by the sum, and F(x) is left with nothing rather than with less than nothing, which nobody asks for by
    liking two pictures fully. A sum below 0 stands as it is: away from the sources is towards the subject.
    """
    parts = [mix.alpha * source.weight if source.on else 0.0 for source in mix.sources]
    total = math.fsum(parts)
    if total > 1.0:
        return (0.0, *(part / total for part in parts))
    return (1.0 - total, *parts)


def strip(mix: Mix, count: int = STRIP) -> tuple[Mix, ...]:
    """Alpha from 0 to 1 in `count` even steps."""
    return tuple(replace(mix, alpha=k / (count - 1)) for k in range(count))


def grid(mix: Mix, side: int = GRID) -> tuple[Mix, ...]:
    """Rows of the first source's weight, 1 at the top to 0, by columns of the second's, 0 to 1: of those that are on; alpha is 1.

    Raises:
        InputError: fewer than two are on.
    """
    on = [k for k, source in enumerate(mix.sources) if source.on]
    if len(on) < 2:
        raise InputError("A grid goes over the weights of two references, and "
                         f"{'only one is' if on else 'none is'} on.", "Add another, or draw the strip.")
    first, second = on[:2]

    def cell(down: float, across: float) -> Mix:
        weights = {first: down, second: across}
        return replace(mix, alpha=1.0, sources=tuple(replace(s, weight=weights.get(k, s.weight)) for k, s in enumerate(mix.sources)))

    steps = [k / (side - 1) for k in range(side)]
    return tuple(cell(1.0 - down, across) for down in steps for across in steps)


def as_names(mix: Mix) -> dict[str, Any]:
    """A mix as JSON values, pictures by their SHA-256."""
    return {"subjects": [photo.sha256 for photo in mix.subjects], "alpha": mix.alpha,
            "sources": [{"picture": s.photo.sha256 if s.photo else None, "words": s.words, "weight": s.weight, "on": s.on} for s in mix.sources]}


def read_names(value: Any) -> dict[str, Any]:
    """What `as_names` wrote, checked: it may come out of a file that anybody made.

    Raises:
        InputError: it is no board.
    """
    try:
        subjects = [_name(name) for name in value["subjects"]][:MOST_SUBJECTS]
        sources = [{"picture": _name(s["picture"]) if s["picture"] else None, "words": str(s["words"])[:400],
                    "weight": _within(s["weight"], -1.0, 1.0), "on": bool(s["on"])} for s in value["sources"]][:MOST_SOURCES]
        return {"subjects": subjects, "alpha": _within(value["alpha"], 0.0, 1.0), "sources": sources}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError("The board in this picture cannot be read.", "Add its pictures one by one.") from error


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("not a name of a picture")
    return value


def _within(value: Any, low: float, high: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return min(max(number, low), high)


class MixEngine(Protocol):
    """What a session needs of the engine for a board."""

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        """Yield Sketch and Progress, then exactly one MixReply.

        Raises:
            AssistantError: with a sentence and a remedy.
        """
        ...

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        """A picture that the base text-to-image model draws of words, as PNG. Raises AssistantError."""
        ...
