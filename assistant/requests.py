"""What crosses the engine's edge: plain, frozen values. No torch, no gradio, no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Union

from .errors import InputError
from .plan import Plan

SCHEDULERS = ("dpm++", "ddim", "unipc")
FLOW = "flow"  # the sampler of flow-matching decoders, which have no other: Euler


@dataclass(frozen=True)
class Photo:
    """A picture that has been checked and normalised: upright, 8-bit sRGB, alpha laid on white, stored as PNG."""

    png: bytes
    width: int  # pixels
    height: int  # pixels
    sha256: str  # of `png`; the name under which the store keeps it


@dataclass(frozen=True)
class Settings:
    """How to draw. Every field has a default that needs no decision."""

    seed: int | None = None  # None: draw one; the reply says which
    steps: int = 20  # denoising steps, 1 to 100
    scheduler: str = "dpm++"  # one of SCHEDULERS, or FLOW
    keep_subject: float = 2.0  # guidance strength of E(x), 0 to 10
    follow_words: float = 2.0  # guidance strength of H(s) or F(w), 0 to 10
    preview_every: int = 4  # steps between previews; 0: none
    strengths: Mapping[str, float] = field(default_factory=dict)  # learned concept -> how strongly it acts, 0 to 2; usually 1
    temperature: float = 0.4  # of the reply's words; 0: greedy
    candidates: int = 1  # pictures drawn at most, 1 to 8, until one shows all of its plan; the best is kept
    imagination: float = 0.0  # DCI's lambda, -2 (near the pictures a concept was learned from) to 2 (near the words)
    window: float | None = None  # share of the steps in which DCI's auxiliary branch acts; 0: not at all; None: as usual for the engine
    auxiliary: str = ""  # DCI's auxiliary noun; empty: one is proposed


_LIMITS = {"steps": (1, 100), "keep_subject": (0.0, 10.0), "follow_words": (0.0, 10.0), "temperature": (0.0, 2.0),
           "preview_every": (0, 100), "candidates": (1, 8), "imagination": (-2.0, 2.0), "window": (0.0, 1.0)}
_CALLED = {"imagination": "lambda (likeness or imagination)"}  # settings that people know by another name


def check(settings: Settings) -> Settings:
    """Refuse what cannot be drawn with.

    Raises:
        InputError: names the setting, its value and its limits.
    """
    for name, (low, high) in _LIMITS.items():
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{_CALLED.get(name, name.replace('_', ' '))} is {value:g}; it can be {low:g} to {high:g}.", "Choose a value in between.")
    if settings.scheduler not in (*SCHEDULERS, FLOW):
        raise InputError(f"There is no sampler {settings.scheduler!r}.", f"Choose one of {', '.join(SCHEDULERS)}.")
    if settings.seed is not None and not 0 <= settings.seed < 2**63:
        raise InputError(f"The seed {settings.seed} is out of range.", f"Choose a whole number from 0 to {2**63 - 1}.")
    return settings


@dataclass(frozen=True)
class Turn:
    """One earlier turn of a conversation, oldest first in `Request.history`."""

    user: str
    reply: str
    photo: Photo | None = None  # the picture the user added in that turn
    drew: bool = False  # whether the reply came with a picture
    plan: Plan | None = None  # that the reply began with
    picture: Photo | None = None  # that the reply came with; of the newest such turn only


@dataclass(frozen=True)
class Request:
    """One turn to answer. The subject is the newest photo of the conversation, this turn's first."""

    text: str
    photo: Photo | None = None
    history: tuple[Turn, ...] = ()
    settings: Settings = field(default_factory=Settings)
    plan: Plan | None = None  # what is to be seen, already decided: the words follow it
    like: Photo | None = None  # w: F(w) takes the place of H(s), and the language model is skipped
    redraw: Mapping[str, Any] | None = None  # metadata of an earlier picture: its words and H(s) again, drawn anew
    others: tuple[Photo, ...] = ()  # further pictures that came with the text, the subject left out
    library: Any = None  # the owner's learned concepts, as the engine's `Trainer` opened them; a text names them <so>
    examples: Callable[[str], Sequence[Photo]] | None = None  # name of a concept -> the photos it was learned from, as far as they are kept
    mix: Any = None  # a `board_requests.Mix` takes the place of H(s), and `say` of the language model's words
    say: str = ""


@dataclass(frozen=True)
class Words:
    """Event: the reply's next piece of text."""

    delta: str


@dataclass(frozen=True)
class Progress:
    """Event: a denoising step is done; `preview` is a small PNG or None."""

    step: int
    steps: int
    preview: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """Event, always the last: the whole answer. `png` already carries `metadata` as text chunks."""

    text: str
    png: bytes | None  # None: an answer in words only
    seed: int
    settings: Settings  # as used
    metadata: dict[str, Any]  # all that is needed to draw the picture again
    likeness: dict[str, float] = field(default_factory=dict)  # 0 to 1, e.g. {"subject": 0.8, "words": 0.7}
    seconds: dict[str, float] = field(default_factory=dict)  # "first_word", "words", "picture"
    stopped: bool = False  # the user pressed Stop; text and picture are what there was
    plan: Plan | None = None  # that the words and the picture follow
    missing: tuple[str, ...] = ()  # what of the plan is not to be seen in the picture, in words


@dataclass(frozen=True)
class Waiting:
    """Event, from the session only: others are drawn first. Position 1 is next."""

    position: int


Event = Union[Waiting, Words, Progress, Reply]


@dataclass(frozen=True)
class ReadySubject:
    """A picture the page offers to people who have none at hand."""

    name: str
    photo: Photo
    wishes: tuple[str, ...]  # suggested messages


@dataclass(frozen=True)
class Pace:
    """A sampler, a number of steps and of candidates in one word."""

    name: str  # "quick", "usual", "fine"
    scheduler: str  # one of the engine's samplers
    steps: int
    candidates: int = 1


@dataclass(frozen=True)
class EngineInfo:
    """What the page says about the engine that answers."""

    preset: str  # "miniature", "full", ...
    device: str  # "cpu", "cuda:0 (NVIDIA ...)"
    size: int  # side of its pictures, pixels
    notice: str  # one kind sentence: which size of model, and what that means for real photos
    weights: str  # short hash of all weight files
    subjects: tuple[ReadySubject, ...] = ()
    steps: int = Settings.steps  # of denoising, as this engine usually needs them
    sampler: str = Settings.scheduler  # that it usually draws with
    keep_subject: float = Settings.keep_subject  # usually
    follow_words: float = Settings.follow_words  # usually
    keep_subject_most: float = _LIMITS["keep_subject"][1]  # beyond it nothing changes
    paces: tuple[Pace, ...] = ()  # from the quickest on
    looks: bool = False  # whether it compares what it drew with its plan
    candidates: int = Settings.candidates  # usually
    window: float = 0.15  # of DCI, usually
    samplers: tuple[str, ...] = SCHEDULERS  # that it can draw with
    unheard: tuple[str, ...] = ()  # settings that change nothing in what it draws
    models: Mapping[str, str] = field(default_factory=dict)  # "Chat", or a panel's title -> the model that draws there, where it is not one for all
    lesson_steps: Mapping[str, int] = field(default_factory=lambda: {"infusion": 300, "ico": 300})  # way of learning a concept -> its usual steps


class Cancel(Protocol):
    """`threading.Event` fits."""

    def is_set(self) -> bool: ...


class Engine(Protocol):
    """What a session needs of an engine."""

    def info(self) -> EngineInfo: ...

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        """Yield Words, then Progress, then exactly one Reply.

        Raises:
            AssistantError: with a sentence and a remedy; nothing half-done is left behind.
        """
        ...


# Learning a concept. The engine knows how; when, and for whom, is the session's.


@dataclass(frozen=True)
class TrainingSpec:
    """A concept that is to be learned."""

    name: str  # as it will be written in a message: <name>
    noun: str  # what kind of thing it is, in the base model's words
    pictures: tuple[Photo, ...]
    masks: tuple[Photo | None, ...] = ()  # white where the subject is, one a picture; None: the engine finds it
    kind: str = "infusion"  # which method
    options: Mapping[str, Any] = field(default_factory=dict)  # of the method, as plain data; what is not named is as usual


@dataclass(frozen=True)
class DatasetAdvice:
    """What can be said of pictures before anything is learned from them."""

    noun: str = ""  # what they seem to show; "": the engine cannot tell
    warnings: tuple[str, ...] = ()  # each a sentence; learning is possible all the same


class TrainingRun(Protocol):
    """A task being learned, one step at a time: the session decides when, so that a turn waits for one step at most."""

    step: int  # done
    steps: int  # in all

    def advance(self) -> float:
        """One step of training; returns its loss."""
        ...

    def preview(self, cancel: Cancel) -> bytes | None:
        """What the concept looks like now, as PNG, always from the same seed; None: cancelled, or not of this method."""
        ...

    def state(self) -> bytes:
        """All that is needed to go on from here in another process. Never a pickle."""
        ...

    def keep(self, library: Any, thumbnail: bytes) -> None:
        """Put what is learned so far into a library, under the task's name. On return it is durable."""
        ...


class Trainer(Protocol):
    """What a session needs of an engine that learns."""

    def open(self, folder: Path) -> Any:
        """The library of concepts that lies in a folder."""
        ...

    def advise(self, pictures: Sequence[Photo]) -> DatasetAdvice: ...

    def begin(self, task: TrainingSpec, state: bytes | None = None) -> TrainingRun:
        """Start a task, or go on with it from a `TrainingRun.state`.

        Raises:
            AssistantError: it cannot be learned so; the sentence says why.
        """
        ...
