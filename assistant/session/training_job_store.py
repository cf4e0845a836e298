"""Lessons on disk: what is being learned, how far it is, and the checkpoint to go on from. Knows no engine.

A checkpoint is durable before the row says how far it goes; the concept is durable before the row says done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import BusyError, NotFoundError, StorageError
from ..files import png_size, write_whole
from ..requests import Photo, TrainingSpec
from .records import TrainingJob, lesson_of
from .store import Store

MOST_LOSSES = 1024  # kept of a lesson; beyond that every second one is


class TrainingJobStore:
    """The table `lessons` and the folder of checkpoints. Thread-safe. Raises as `Store` does."""

    def __init__(self, store: Store) -> None:
        self._store, self._folder = store, store.folder / "lessons"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The data folder {self._folder} cannot be used ({error}).",
                               "Give another one with --data-dir.") from error
        known = {f"{row[0]}.state" for row in store.rows("SELECT id FROM lessons WHERE status <> 'done'")}
        for file in self._folder.iterdir():  # left-overs, and states of what is finished or gone
            if file.name not in known:
                file.unlink(missing_ok=True)

    def add(self, owner: str, tasks: Sequence[TrainingSpec], again: bool = False) -> list[TrainingJob]:
        """Keep what is to be learned of one name, pictures included, before anything is; all of it or nothing.

        Args:
            again: the name may be begun already, by another method.
        """
        now, numbers, one = time.time(), [], tasks[0]
        names = [self._store.files.keep(photo.png) for photo in one.pictures]
        painted = [self._store.files.keep(mask.png) if mask else None for mask in one.masks]
        with self._store.transaction() as db:
            begun = db.execute("SELECT status FROM lessons WHERE owner = ? AND name = ? AND (kind = ? OR NOT ?) AND status IN "
                               "('waiting', 'running', 'interrupted', 'failed')", (owner, one.name, one.kind, again)).fetchone()
            if begun and begun[0] in ("waiting", "running"):
                raise BusyError(f"<{one.name}> is being learned already.", "Wait for it, or choose another name.")
            if begun:
                raise BusyError(f"Learning <{one.name}> was begun before and is not finished.",
                                "Go on with it or discard it, or choose another name.")
            for task in tasks:
                numbers.append(db.execute(
                    "INSERT INTO lessons (owner, created, updated, kind, name, noun, pictures, masks, options) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (owner, now, now, task.kind, task.name, task.noun, json.dumps(names), json.dumps(painted),
                     json.dumps(dict(task.options)))).lastrowid)
        return [self.get(number, owner) for number in numbers]

    def get(self, number: int, owner: str) -> TrainingJob:
        rows = self._store.rows("SELECT * FROM lessons WHERE id = ? AND owner = ? AND status <> 'dropped'",
                                (number, owner))
        if not rows:
            raise NotFoundError("This is not being learned any more.", "Reload the page.")
        return lesson_of(self._store.now("lessons", rows[0]))

    def of(self, owner: str) -> list[TrainingJob]:
        """This owner's, the newest first."""
        return [lesson_of(self._store.now("lessons", row)) for row in self._store.rows(
            "SELECT * FROM lessons WHERE owner = ? AND status <> 'dropped' ORDER BY id DESC", (owner,))]

    def claim(self, number: int) -> bool:
        """Take up a lesson that waits; False if it does not any more. Counts attempts."""
        with self._store.transaction() as db:
            return db.execute("UPDATE lessons SET status = 'running', attempt = attempt + 1, error = NULL, updated = ? "
                              "WHERE id = ? AND status = 'waiting'", (time.time(), number)).rowcount == 1

    def await_turn(self, number: int, owner: str) -> None:
        """Back into the queue."""
        with self._store.transaction() as db:
            if db.execute("UPDATE lessons SET status = 'waiting', updated = ? WHERE id = ? AND owner = ? AND status IN "
                          "('stopped', 'failed', 'interrupted')", (time.time(), number, owner)).rowcount == 0:
                raise NotFoundError("This is not waiting to be gone on with.", "Reload the page.")

    def save(self, number: int, state: bytes, step: int, steps: int, losses: Sequence[float],
             previews: Sequence[tuple[int, str]], seconds: float) -> None:
        """Make what is learned so far durable."""
        try:
            write_whole(self._state(number), state)
        except OSError as error:
            raise StorageError(f"What is learned could not be saved in {self._folder} ({error.strerror or error}).",
                               "Free some space or check the folder's permissions.") from error
        with self._store.transaction() as db:
            db.execute("UPDATE lessons SET step = ?, steps = ?, losses = ?, previews = ?, seconds = ?, updated = ? WHERE id = ?",
                       (step, steps, json.dumps(thinned(losses)), json.dumps(previews), seconds, time.time(), number))

    def state(self, number: int) -> bytes | None:
        """What `save` kept; None: nothing yet."""
        try:
            return self._state(number).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"What was learned cannot be read from {self._folder} ({error.strerror or error}).",
                               "Check the folder's permissions.") from error

    def drop(self, number: int) -> None:
        with self._store.transaction() as db:
            db.execute("UPDATE lessons SET status = 'dropped', updated = ? WHERE id = ?", (time.time(), number))

    def end(self, number: int, status: str, error: str | None = None) -> None:
        """It is over, for now or for good. As `Store.end`, which raises nothing."""
        kept = self._store.end("lessons", number, status=status, error=error, updated=time.time())
        if kept and status == "done":
            self._state(number).unlink(missing_ok=True)

    def rename(self, owner: str, name: str, to: str) -> None:
        """A concept has another name now: what is learned on goes there.

        Raises:
            BusyError: it is being learned right now.
        """
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM lessons WHERE owner = ? AND name = ? AND status IN ('waiting', 'running')",
                          (owner, name)).fetchone():
                raise BusyError(f"<{name}> is being learned right now.", "Rename it when that is done, or stop it first.")
            db.execute("UPDATE lessons SET name = ? WHERE owner = ? AND name = ? AND status IN "
                       "('done', 'stopped', 'interrupted', 'failed')", (to, owner, name))

    def preview(self, png: bytes) -> str:
        """Keep a picture; its name, for `save`."""
        return self._store.files.keep(png)

    def picture(self, name: str) -> Photo:
        png = self._store.read_picture(name)
        return Photo(png, *png_size(png), name)

    def _state(self, number: int) -> Path:
        return self._folder / f"{number}.state"


def thinned(losses: Sequence[float]) -> list[float]:
    """At most MOST_LOSSES of them, evenly chosen."""
    every = -(-len(losses) // MOST_LOSSES) or 1
    return [round(float(loss), 6) for loss in losses[::every]]
