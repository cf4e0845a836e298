"""Mixing boards: what lies on each and was drawn of it, on disk, and boards being drawn: the newest wish of a board wins, and the page watches.

A board is one row of JSON; its pictures lie with all others, named by their SHA-256, and are its owner's to see. A drawing goes on whether or not a page looks; what
comes of it is kept on the board before anybody is told.
"""

from __future__ import annotations

import functools
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from ..requests import (FRAMES, MOST_SOURCES, MOST_SUBJECTS, Engine, Mix, MixReply, MixRequest, MixedImage, Photo, Settings, Source, check_mix, grid,
                        read_names, strip, within)
from ..errors import InputError, NotFoundError, PhotoError, StorageError
from ..files import KEY, text_in
from .jobs import DrawingJob, DrawingJobs, JobRunner
from .records import ROW, Board, Cell, Reference, board_of, columns
from .store import Store
from .uploads import read_photo

MOST_BOARDS = 200
_GONE = ("This board is not here any more.", "Open another, or begin a new one.")


def _one_at_a_time(method: Callable) -> Callable:
    """What is read, changed and written again must not be changed by another thread in between."""
    @functools.wraps(method)
    def locked(self: Boards, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return method(self, *args, **kwargs)
    return locked


class Boards:
    """The table `boards`. Thread-safe. Every method that takes an owner raises NotFoundError for what is another's."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, threading.RLock()

    # whole boards

    def of(self, owner: str) -> list[Board]:
        """Last used first."""
        return [board_of(row) for row in self._store.rows(
            "SELECT * FROM boards WHERE owner = ? AND deleted IS NULL ORDER BY updated DESC LIMIT ?", (owner, MOST_BOARDS))]

    def get(self, board_id: str, owner: str) -> Board:
        rows = self._store.rows("SELECT * FROM boards WHERE id = ? AND owner = ? AND deleted IS NULL", (board_id, owner))
        if not rows:
            raise NotFoundError(*_GONE)
        return board_of(rows[0])

    @_one_at_a_time
    def create(self, owner: str, **said: Any) -> Board:
        """A new board, empty but for what is `said`."""
        now, count = time.time(), len(self._store.rows("SELECT 1 FROM boards WHERE owner = ?", (owner,)))
        title = said.pop("title", f"Board {count + 1}")
        one = Board(secrets.token_urlsafe(12), owner, title, now, now, **{"seed": secrets.randbelow(2**31), **said})
        with self._store.transaction() as db:
            db.execute("INSERT INTO boards (id, owner, title, created, updated, content, pictures) VALUES (?, ?, ?, ?, ?, ?, ?)",
                       (*(getattr(one, name) for name in ROW), *columns(one)))
        return one

    @_one_at_a_time
    def duplicate(self, board_id: str, owner: str) -> Board:
        one = self.get(board_id, owner)
        said = {f.name: getattr(one, f.name) for f in fields(Board) if f.name not in (*ROW, "asked")}
        return self.create(owner, title=f"{one.title.removesuffix(' (copy)')[:50]} (copy)", **said)

    @_one_at_a_time
    def rename(self, board_id: str, owner: str, title: str) -> Board:
        return self._keep(replace(self.get(board_id, owner), title=" ".join(title.split())[:60] or "Untitled"))

    @_one_at_a_time
    def delete(self, board_id: str, owner: str) -> None:
        """Out of sight; `restore` brings it back until the next start."""
        self.get(board_id, owner)
        with self._store.transaction() as db:
            db.execute("UPDATE boards SET deleted = ? WHERE id = ? AND owner = ?", (time.time(), board_id, owner))

    @_one_at_a_time
    def restore(self, board_id: str, owner: str) -> Board:
        with self._store.transaction() as db:
            db.execute("UPDATE boards SET deleted = NULL WHERE id = ? AND owner = ?", (board_id, owner))
        return self.get(board_id, owner)

    # what lies on one

    @_one_at_a_time
    def add_subject(self, board_id: str, owner: str, photo: Photo) -> Board:
        one = self.get(board_id, owner)
        if len(one.subjects) >= MOST_SUBJECTS:
            raise InputError(f"The board has {len(one.subjects)} photos of its subject already, which is as many as fit.", "Take one away first.")
        return self._keep(replace(one, subjects=(*one.subjects, self._store.files.keep(photo.png))))

    @_one_at_a_time
    def add_reference(self, board_id: str, owner: str, photo: Photo | None = None, words: str = "", origin: str = "added") -> Board:
        one = self.get(board_id, owner)
        if len(one.references) >= MOST_SOURCES:
            raise InputError(f"The board has {len(one.references)} references already, which is as many as fit.", "Take one away first.")
        words = " ".join(words.split())[:400]
        if photo is None and not words:
            raise InputError("There are no words for this reference yet.", "Write what it should be like.")
        name = self._store.files.keep(photo.png) if photo else None
        return self._keep(replace(one, references=(*one.references, Reference(name, words, origin=origin))))

    @_one_at_a_time
    def take(self, board_id: str, owner: str, what: str, number: int) -> Board:
        """Take a subject's photo or a reference away: `what` is "subject" or "reference"."""
        one = self.get(board_id, owner)
        name = "subjects" if what == "subject" else "references"
        held = list(getattr(one, name))
        if not 0 <= number < len(held):
            raise NotFoundError("This picture is not on the board any more.", "Reload the page.")
        del held[number]
        return self._keep(replace(one, **{name: tuple(held)}))

    @_one_at_a_time
    def swap(self, board_id: str, owner: str, number: int) -> Board:
        """Reference `number` becomes the subject, and the subject's first photo that reference."""
        one = self.get(board_id, owner)
        if not 0 <= number < len(one.references) or one.references[number].picture is None:
            raise NotFoundError("This reference has no picture.", "Choose one that has.")
        references = list(one.references)
        subject = references[number].picture
        if one.subjects:
            references[number] = replace(references[number], picture=one.subjects[0], words="", origin="added")
        else:
            del references[number]
        return self._keep(replace(one, subjects=(subject,), references=tuple(references)))

    @_one_at_a_time
    def set(self, board_id: str, owner: str, alpha: float | None = None, weights: Sequence[float] = (), **said: Any) -> Board:
        """Alpha, the references' weights in order as far as given, and numbers by name."""
        one = self.get(board_id, owner)
        references = tuple(replace(r, weight=within(weights[k], -1, 1)) if k < len(weights) else r for k, r in enumerate(one.references))
        return self._keep(replace(one, alpha=one.alpha if alpha is None else within(alpha, 0, 1), references=references, **said))

    @_one_at_a_time
    def turn(self, board_id: str, owner: str, number: int) -> Board:
        """A reference on or off."""
        one = self.get(board_id, owner)
        return self._keep(replace(one, references=tuple(replace(r, on=not r.on) if k == number else r for k, r in enumerate(one.references))))

    @_one_at_a_time
    def pick(self, board_id: str, owner: str, number: int) -> Board:
        """Go on from a cell of the map: its weights are the board's, its picture the result."""
        one = self.get(board_id, owner)
        if not 0 <= number < len(one.cells):
            raise NotFoundError("This picture is not on the board any more.", "Draw the map again.")
        cell = one.cells[number]
        if len(cell.weights) != len(one.references):
            raise NotFoundError("The references have changed since this was drawn.", "Draw the map again.")
        references = tuple(replace(r, weight=w, on=on) for r, w, on in zip(one.references, cell.weights, cell.on))
        return self._keep(replace(one, alpha=cell.alpha, references=references, result=cell))

    @_one_at_a_time
    def drawn(self, board_id: str, owner: str, kind: str, cells: Sequence[Cell]) -> Board:
        """Keep what was drawn: of kind "" the result, else a map."""
        one = replace(self.get(board_id, owner), asked=None)
        return self._keep(replace(one, result=cells[0]) if not kind else replace(one, kind=kind, cells=tuple(cells)))

    @_one_at_a_time
    def ask(self, board_id: str, owner: str, asked: tuple[str, str] | None) -> None:
        """Keep that something is to be drawn, kind and words, or that nothing is any more."""
        one = self.get(board_id, owner)
        if one.asked != asked:
            self._keep(replace(one, asked=asked), one.updated)

    def mix(self, one: Board) -> Mix:
        """As the engine takes it. Raises NotFoundError: a picture of it is not in the store."""
        return Mix(tuple(self._store.photo(name, self._store.mask(one.owner, name)) for name in one.subjects),
                   tuple(Source(self._store.photo(r.picture) if r.picture else None, "" if r.picture else r.words, r.weight, r.on)
                         for r in one.references), one.alpha)

    # boards in pictures

    def rebuild(self, owner: str, source: bytes) -> tuple[Board, int]:
        """A new board as the PNG says that it was drawn from, and how many of its pictures are not this owner's to use here.

        Raises:
            PhotoError: there is no board in this picture.
        """
        said = board_in(source)
        if said is None:
            raise PhotoError("There is no board in this picture.", "Drop a PNG that was drawn on a board and downloaded here.")
        value = read_names(said.get("board"))
        here = {name for name in [*value["subjects"], *(s["picture"] for s in value["sources"])] if name and self._may(owner, name)}
        references = tuple(Reference(s["picture"], s["words"], s["weight"], s["on"], "added" if s["picture"] else "words")
                           for s in value["sources"] if s["picture"] is None or s["picture"] in here)
        subjects = tuple(name for name in value["subjects"] if name in here)
        missing = len(value["subjects"]) + len(value["sources"]) - len(subjects) - len(references)
        numbers = {to: float(said[name]) for name, to in (("keep_subject", "keep_subject"), ("follow_words", "follow"))
                   if isinstance(said.get(name), (int, float)) and 0 <= said[name] <= 10}
        if isinstance(said.get("seed"), int) and 0 <= said["seed"] < 2**63:
            numbers["seed"] = said["seed"]
        return self.create(owner, subjects=subjects, references=references, alpha=value["alpha"], **numbers), missing

    def _may(self, owner: str, name: str) -> bool:
        try:
            self._store.picture_for(owner, name)
        except NotFoundError:
            return False
        return True

    def _keep(self, one: Board, updated: float | None = None) -> Board:
        one = replace(one, updated=updated or time.time())
        with self._store.transaction() as db:
            db.execute("UPDATE boards SET title = ?, updated = ?, content = ?, pictures = ? WHERE id = ? AND owner = ?",
                       (one.title, one.updated, *columns(one), one.id, one.owner))
        return one


def board_in(png: bytes) -> dict[str, Any] | None:
    """What a PNG says of the board it was drawn on; None: it is none of ours."""
    try:
        said = json.loads(text_in(png, KEY) or "null")
    except (ValueError, RecursionError):  # a file that anybody made
        return None
    return said if isinstance(said, dict) and "board" in said else None


FILMS = 16  # moving pictures held in memory


class BoardJobs(DrawingJobs):
    """A drawing's key is its board's id."""

    def __init__(self, engine: Engine, store: Store, runner: JobRunner) -> None:
        super().__init__(runner)
        self.boards, self._engine, self._files, self._asking = Boards(store), engine, store.files, threading.Lock()
        self._films: OrderedDict[str, bytes] = OrderedDict()

    # wishes

    def begin(self, owner: str, mix: Mix, settings: Settings) -> Board:
        """A new board of a mix that comes from elsewhere."""
        for photo in (*mix.subjects, *(s.photo for s in mix.sources if s.photo)):
            self._files.keep(photo.png)
        references = tuple(Reference(s.photo.sha256 if s.photo else None, s.words, s.weight, s.on, "chat") for s in mix.sources)
        seed = {} if settings.seed is None else {"seed": settings.seed}
        return self.boards.create(owner, subjects=tuple(p.sha256 for p in mix.subjects), references=references, alpha=mix.alpha,
                                  keep_subject=settings.keep_subject, follow=settings.follow_words, **seed)

    def draw(self, board_id: str, owner: str, settings: Settings, kind: str = "") -> DrawingJob:
        """Draw a board's result, a map or a film. What the board was drawing before is given up.

        Raises:
            InputError: the board cannot be drawn so; nothing is given up then.
            BusyError: too many wait.
        """
        one = self.boards.get(board_id, owner)
        mix = self.boards.mix(one)
        check_mix(mix)
        mixes = {"": lambda: (mix,), "strip": lambda: strip(mix), "grid": lambda: grid(mix), "film": lambda: strip(mix, FRAMES)}[kind]()
        settings = replace(settings, seed=one.seed, keep_subject=one.keep_subject, follow_words=one.follow)
        request = MixRequest(mixes, settings, film=kind == "film")
        return self._ask(DrawingJob(board_id, owner, kind, lambda sitting: self._draw(sitting, request)))

    def again(self, board_id: str, owner: str, settings: Settings) -> DrawingJob:
        """Draw what was interrupted. Raises NotFoundError: nothing was."""
        one = self.boards.get(board_id, owner)
        if one.asked is None:
            raise NotFoundError("No drawing of this board was interrupted.", "Draw one.")
        kind, words = one.asked
        return self.imagine(board_id, owner, words, replace(settings, seed=one.seed)) if kind == "imagine" else self.draw(board_id, owner, settings, kind)

    def stop(self, key: str, owner: str = "") -> None:
        super().stop(key, owner)
        self._over(key, owner)

    def imagine(self, board_id: str, owner: str, words: str, settings: Settings) -> DrawingJob:
        """Let the base model draw a reference from words; it lies on the board when it is done."""
        def work(sitting: DrawingJob) -> None:
            photo = read_photo(self._engine.imagine(words, settings, sitting.cancel))
            if not sitting.cancel.is_set():
                self.boards.add_reference(board_id, owner, photo, words, "drawn")

        return self._ask(DrawingJob(board_id, owner, "imagine", work), words)

    def film(self, board_id: str, owner: str) -> bytes | None:
        """The last moving picture of a board, GIF; None: it was not asked for since the start."""
        self.boards.get(board_id, owner)
        return self._films.get(board_id)

    # inside

    def _ask(self, sitting: DrawingJob, words: str = "") -> DrawingJob:
        """Queue it; that it was asked for is kept until it is over, and over the end of the program."""
        work = sitting.work

        def until_over(sitting: DrawingJob) -> None:
            try:
                if work is not None:
                    work(sitting)
            finally:
                with self._asking:
                    if self.now(sitting.key, sitting.owner) is sitting and not self._runner.closing:
                        self._over(sitting.key, sitting.owner)

        sitting.work = until_over
        self._runner.check_room()
        with self._asking:
            self.boards.ask(sitting.key, sitting.owner, (sitting.kind, words))
            return self.put(sitting)

    def _over(self, board_id: str, owner: str) -> None:
        with suppress(NotFoundError, StorageError):  # deleted meanwhile; what cannot be written is offered once more at the next start
            self.boards.ask(board_id, owner, None)

    def _draw(self, sitting: DrawingJob, request: MixRequest) -> None:
        for event in self._follow(sitting, self._engine.mix(request, sitting.cancel)):
            if isinstance(event, MixReply) and not event.stopped and not sitting.cancel.is_set():
                self._keep(sitting, event)

    def _keep(self, sitting: DrawingJob, reply: MixReply) -> None:
        if reply.film is not None:
            self._films[sitting.key] = reply.film
            while len(self._films) > FILMS:
                self._films.popitem(last=False)
            return
        with suppress(NotFoundError):  # deleted meanwhile
            self.boards.drawn(sitting.key, sitting.owner, sitting.kind, [self._cell(p) for p in reply.pictures])

    def _cell(self, one: MixedImage) -> Cell:
        return Cell(self._files.keep(one.png), one.mix.alpha, tuple(s.weight for s in one.mix.sources), tuple(s.on for s in one.mix.sources),
                    one.subject, one.sources, one.advice)
