"""What the store hands out: plain, frozen values. Knows no disk."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field, fields
from typing import Any

from assistant.messages import Settings

STATUSES = ("waiting", "running", "done", "stopped", "failed", "interrupted")


@dataclass(frozen=True)
class Conversation:
    """Times are seconds since the epoch."""

    id: str
    owner: str
    title: str
    created: float
    updated: float


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


@dataclass(frozen=True)
class Findings:
    """What `Store.verify` found, by SHA-256. Strays are files no turn points to: harmless."""

    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    strays: tuple[str, ...]


def turn_of(row: sqlite3.Row) -> StoredTurn:
    """A row of the table `turns` as a value."""
    values = dict(row)
    for name in ("metadata", "likeness", "seconds"):
        values[name] = json.loads(values[name])
    known = {f.name for f in fields(Settings)}  # a later version may have had more
    values["settings"] = Settings(**{k: v for k, v in json.loads(values["settings"]).items() if k in known})
    return StoredTurn(**values)
