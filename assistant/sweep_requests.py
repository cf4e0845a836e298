"""A strip over lambda, as plain values: one prompt with a learned concept, one seed, from likeness to imagination.

No torch, no gradio, no files: masks come as an object of the engine's that draws them when a picture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Union

from .requests import Cancel, Progress, Settings

STRENGTHS = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0)  # usually
MOST = 9  # pictures of a strip


@dataclass(frozen=True)
class SweepRequest:
    """`settings` hold the seed, the window and the auxiliary noun; its own lambda is not read."""

    prompt: str  # names one concept <so>
    library: Any  # the owner's concepts
    strengths: tuple[float, ...] = STRENGTHS
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class SweepImage:
    """One picture of a strip; `png` carries `metadata`."""

    strength: float
    png: bytes
    metadata: dict[str, Any]


class Masks(Protocol):
    """DCI's masks of one strip."""

    scales: tuple[str, ...]  # "16 down", "8 up", ...
    steps: int  # in the window
    heads: int

    def over(self, number: int, scale: str, opacity: float, auxiliary: bool = True, step: int | None = None, head: int | None = None) -> bytes:
        """PNG of picture `number` with a branch's mask laid over it, brighter where that branch is heard more.

        Args:
            opacity: 0, the picture, to 1, the mask. auxiliary: which branch's. step, head: one of them; None: the mean.

        Raises:
            AssistantError: no such picture, scale, step or head.
        """
        ...

    def where(self, number: int, scale: str, auxiliary: bool = True, step: int | None = None, head: int | None = None) -> str:
        """In which part of picture `number` that mask is bright, in words: "the middle", "the top and the left". Arguments and errors as of `over`."""
        ...

    def packed(self) -> bytes:
        """All that `SweepEngine.masks` needs beside the pictures, as a PNG."""
        ...


@dataclass(frozen=True)
class SweepReply:
    """Event, always the last."""

    pictures: tuple[SweepImage, ...]
    auxiliary_png: bytes  # what the auxiliary branch saw when the window closed; empty: the window was closed from the start
    read: str  # the concept branch's prompt, with <name>
    auxiliary: str  # the auxiliary branch's prompt
    noun: str  # the auxiliary noun
    concept: str
    settings: Settings  # as used, with the seed
    masks: Masks | None  # None: the window was closed
    seconds: float
    changes: tuple[float, ...] = ()  # mean difference, 0 to 1, of each picture from the one before it
    stopped: bool = False


StripEvent = Union[Progress, SweepReply]


class SweepEngine(Protocol):
    """What a session needs of an engine that draws strips."""

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]: ...

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        """The masks that `Masks.packed` gave, over the pictures (PNG) of their strip."""
        ...
