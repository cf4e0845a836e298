"""What the store hands out: plain, frozen values. Knows no disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..requests import Settings

STATUSES = ("waiting", "running", "done", "stopped", "failed", "interrupted")


@dataclass(frozen=True)
class Conversation:
    """Times are seconds since the epoch."""

    id: str
    owner: str
    title: str
    created: float
    updated: float
    cover: str | None = None  # its newest picture, or else photo


@dataclass(frozen=True)
class StoredTurn:
    """One turn as kept. `photo` and `picture` are names of files (SHA-256 of their bytes)."""

    id: int
    conversation_id: str
    created: float
    text: str
    photo: str | None
    settings: Settings
    reply: str = ""
    picture: str | None = None
    seed: int | None = None
    status: str = "waiting"  # one of STATUSES
    error: str | None = None
    redraw_of: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    likeness: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    others: tuple[str, ...] = ()  # more pictures that were sent: references
    board: str | None = None  # the mixing board they lie on
    mask: str | None = None  # painted, of its subject, that it was or is to be drawn with


@dataclass(frozen=True)
class Findings:
    """What `Store.verify` found, by SHA-256. Strays are files no turn points to: harmless."""

    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    strays: tuple[str, ...]


@dataclass(frozen=True)
class TrainingJob:
    """A concept that is being learned, or was. Pictures, masks and previews are names of files."""

    id: int
    owner: str
    created: float
    updated: float
    kind: str
    name: str
    noun: str
    pictures: tuple[str, ...]
    masks: tuple[str | None, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    status: str = "waiting"  # one of STATUSES, or dropped
    attempt: int = 0  # how often it was taken up
    step: int = 0  # done, as far as is durable
    steps: int = 0  # in all; 0 before it was first taken up
    losses: tuple[float, ...] = ()  # of every step, or thinned evenly
    previews: tuple[tuple[int, str], ...] = ()  # (step, picture), oldest first
    error: str | None = None
    seconds: float = 0.0  # that its steps have taken
    left: float | None = None  # seconds, while it runs, as far as known

    @property
    def open(self) -> bool:
        """Waiting or running."""
        return self.status in ("waiting", "running")


def lesson_of(row: Mapping[str, Any]) -> TrainingJob:
    """A row of the table `lessons` as a value."""
    values = dict(row)
    for name in ("pictures", "masks", "losses", "previews"):
        values[name] = tuple(tuple(one) if isinstance(one, list) else one for one in json.loads(values[name]))
    return TrainingJob(**{**values, "options": json.loads(values["options"])})


def turn_of(row: Mapping[str, Any]) -> StoredTurn:
    """A row of the table `turns` as a value."""
    values = dict(row)
    for name in ("metadata", "likeness", "seconds"):
        values[name] = json.loads(values[name])
    values["others"] = tuple(json.loads(values["others"]))
    values["settings"] = settings_of(json.loads(values["settings"]))
    return StoredTurn(**values)


def settings_of(said: Mapping[str, Any]) -> Settings:
    """Settings as they were kept; a later version may have had more."""
    known = {f.name for f in fields(Settings)}
    return Settings(**{k: v for k, v in said.items() if k in known})


@dataclass(frozen=True)
class KeptStrip:
    """An owner's newest strip over lambda. Pictures are names of files."""

    pictures: tuple[str, ...]
    strengths: tuple[float, ...]
    prompt: str  # as it was typed
    other: str | None  # what the auxiliary branch saw; None: the window was closed
    read: str
    auxiliary: str
    noun: str
    concept: str
    settings: Settings
    seconds: float
    changes: tuple[float, ...]  # see `requests.SweepReply`
    masks: str | None


def kept_strip_of(content: str) -> KeptStrip:
    values = _tuples(json.loads(content))
    return KeptStrip(**{**values, "settings": settings_of(values["settings"])})


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


@dataclass(frozen=True)
class Reference:
    """A picture by its name, or words alone; `words` beside a picture: what it was drawn from."""

    picture: str | None = None
    words: str = ""
    weight: float = 1.0
    on: bool = True
    origin: str = "added"  # or gallery, chat, drawn, words: where it came from


@dataclass(frozen=True)
class Cell:
    """A drawn picture of a board, and the weights it was drawn with."""

    picture: str
    alpha: float
    weights: tuple[float, ...]
    on: tuple[bool, ...]
    subject: float = 0.0  # DINO similarity to it
    sources: tuple[float | None, ...] = ()  # CLIP similarity to each reference, None where it cannot be told
    advice: str = ""


@dataclass(frozen=True)
class Board:
    """Times are seconds since the epoch; pictures are names of files."""

    id: str
    owner: str
    title: str
    created: float
    updated: float
    subjects: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    alpha: float = 0.5
    seed: int = 0
    keep_subject: float = 2.0
    follow: float = 2.0
    result: Cell | None = None
    kind: str = ""  # of the map: "strip" or "grid"
    cells: tuple[Cell, ...] = ()
    asked: tuple[str, str] | None = None  # kind and words of a drawing that has not ended

    def pictures(self) -> tuple[str, ...]:
        """Names of all files it needs."""
        found = [*self.subjects, *(r.picture for r in self.references), self.result and self.result.picture, *(c.picture for c in self.cells)]
        return tuple(dict.fromkeys(name for name in found if name))


ROW = ("id", "owner", "title", "created", "updated")


def board_of(row: Any) -> Board:
    known = {f.name for f in fields(Board)}
    said = {k: v for k, v in json.loads(row["content"]).items() if k in known}
    said["references"] = tuple(Reference(**r) for r in said.get("references", ()))
    said["cells"] = tuple(Cell(**_tuples(c)) for c in said.get("cells", ()))
    said["result"] = Cell(**_tuples(said["result"])) if said.get("result") else None
    said["subjects"] = tuple(said.get("subjects", ()))
    said["asked"] = tuple(said["asked"]) if said.get("asked") else None
    return Board(**{name: row[name] for name in ROW}, **said)


def columns(one: Board) -> tuple[str, str]:
    """Content and pictures of the board's row."""
    said = {k: v for k, v in asdict(one).items() if k not in ROW}
    return json.dumps(said), json.dumps(one.pictures())
