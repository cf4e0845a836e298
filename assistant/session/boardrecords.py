"""A mixing board as it is kept: plain, frozen values, to and from a row. Knows no disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any


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

    def pictures(self) -> tuple[str, ...]:
        """Names of all files it needs."""
        found = [*self.subjects, *(r.picture for r in self.references), self.result and self.result.picture, *(c.picture for c in self.cells)]
        return tuple(dict.fromkeys(name for name in found if name))


ROW = ("id", "owner", "title", "created", "updated")


def board_of(row: Any) -> Board:
    known = {f.name for f in fields(Board)}
    said = {k: v for k, v in json.loads(row["content"]).items() if k in known}
    said["references"] = tuple(Reference(**r) for r in said.get("references", ()))
    said["cells"] = tuple(_cell(c) for c in said.get("cells", ()))
    said["result"] = _cell(said["result"]) if said.get("result") else None
    said["subjects"] = tuple(said.get("subjects", ()))
    return Board(**{name: row[name] for name in ROW}, **said)


def _cell(value: dict[str, Any]) -> Cell:
    return Cell(**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})


def columns(one: Board) -> tuple[str, str]:
    """Content and pictures of the board's row."""
    said = {k: v for k, v in asdict(one).items() if k not in ROW}
    return json.dumps(said), json.dumps(one.pictures())
