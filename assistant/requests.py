"""What crosses the engine's edge, as plain, frozen values: turns, mixing boards, strips over lambda. No torch, no gradio, no files.

Eq. 4 of CAFE, `alpha F(w) + (1 - alpha) F(x)`, for any number of references: `sum_i a_i F(w_i) + (1 - sum_i a_i) F(x)`. The a_i are worked out here; the vectors are
`generation.mixing`'s business. A strip is one prompt with a learned concept, one seed, from likeness to imagination; its masks come as an object of the engine's that
draws them when a picture is asked for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Union

from .errors import InputError
from .plan import Plan

SCHEDULERS = ("dpm++", "ddim", "unipc")
LCM = "lcm"  # the sampler of models with LCM-LoRA beside them: few steps, no guidance
FLOW = "flow"  # the sampler of flow-matching decoders, which have no other: Euler
MASKED = (0.01, 0.9)  # share of a photo that a subject takes: outside, nothing was found, or there is nothing to take away


@dataclass(frozen=True)
class Photo:
    """A picture that has been checked and normalised: upright, 8-bit sRGB, alpha laid on white, stored as PNG."""

    png: bytes
    width: int  # pixels
    height: int  # pixels
    sha256: str  # of `png`; the name under which the store keeps it
    mask: bytes | None = None  # PNG, one channel, of the photo's size: 255 where its subject is, painted by hand; None: the engine finds it

    @property
    def mask_name(self) -> str | None:
        """As `sha256`, of the mask."""
        return hashlib.sha256(self.mask).hexdigest() if self.mask is not None else None


@dataclass(frozen=True)
class Settings:
    """How to draw. Every field has a default that needs no decision."""

    seed: int | None = None  # None: draw one; the reply says which
    steps: int = 20  # denoising steps, 1 to 100
    scheduler: str = "dpm++"  # one of SCHEDULERS, LCM or FLOW
    keep_subject: float = 2.0  # guidance strength of E(x), 0 to 10
    follow_words: float = 2.0  # guidance strength of H(s) or F(w), 0 to 10
    preview_every: int = 4  # steps between previews; 0: none
    strengths: Mapping[str, float] = field(default_factory=dict)  # learned concept -> how strongly it acts, 0 to 2; usually 1
    temperature: float = 0.4  # of the reply's words; 0: greedy
    candidates: int = 1  # pictures drawn at most, 1 to 8, until one shows all of its plan; the best is kept
    imagination: float = 0.0  # DCI's lambda, -2 (near the pictures a concept was learned from) to 2 (near the words)
    window: float | None = None  # share of the steps in which DCI's auxiliary branch acts; 0: not at all; None: as usual for the engine
    auxiliary: str = ""  # DCI's auxiliary noun; empty: one is proposed

    @property
    def fixed_seed(self) -> int:
        """The seed, of settings that are drawn with: the engine has chosen one by then."""
        assert self.seed is not None
        return self.seed

    @property
    def fixed_window(self) -> float:
        """As `fixed_seed`."""
        assert self.window is not None
        return self.window


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
    if settings.scheduler not in (*SCHEDULERS, LCM, FLOW):
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
    metadata: Mapping[str, Any] | None = None  # of that picture, with which it is drawn again when an undo goes back to it


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
    mix: Any = None  # a `requests.Mix` takes the place of H(s), and `say` of the language model's words
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
    alpha: float = 0.5  # of a mix, usually
    masks: bool = False  # whether a photo's subject is cut out before it is drawn from, so that a mask changes something


class Cancel(Protocol):
    """`threading.Event` fits."""

    def is_set(self) -> bool: ...


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

    @property
    def step(self) -> int:
        """How many are done."""
        ...

    @property
    def steps(self) -> int:
        """How many there are in all."""
        ...

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


def check_mix(mix: Mix) -> Mix:
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
                    "weight": within(s["weight"], -1.0, 1.0), "on": bool(s["on"])} for s in value["sources"]][:MOST_SOURCES]
        return {"subjects": subjects, "alpha": within(value["alpha"], 0.0, 1.0), "sources": sources}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError("The board in this picture cannot be read.", "Add its pictures one by one.") from error


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("not a name of a picture")
    return value


def within(value: Any, low: float, high: float) -> float:
    """A number brought into range. Raises ValueError, TypeError: it is none."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return min(max(number, low), high)


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
        """All that `Engine.masks` needs beside the pictures, as a PNG."""
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


class Engine(Protocol):
    """What a session needs of an engine. Every method that draws raises AssistantError, with a sentence and a remedy; nothing half-done is left behind."""

    @property
    def trainer(self) -> Trainer | None:
        """Learns concepts; None: there is no base model to learn them for, nor to draw strips of them."""
        ...

    def info(self) -> EngineInfo: ...

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        """Yield Words, then Progress, then exactly one Reply."""
        ...

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        """Yield Sketch and Progress, then exactly one MixReply."""
        ...

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        """A picture that the base text-to-image model draws of words, as PNG."""
        ...

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]:
        """Yield Progress, then exactly one SweepReply."""
        ...

    def subject_mask(self, photo: Photo, words: str = "") -> bytes:
        """What is drawn of a photo, as `Photo.mask`: its own mask, or as the subject that `words` name is found; all of it where nothing is cut out."""
        ...

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        """The masks that `Masks.packed` gave, over the pictures (PNG) of their strip."""
        ...
