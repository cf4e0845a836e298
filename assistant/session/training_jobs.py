"""Concepts being learned beside the chat, whatever the method is: one queue, the library of each owner, and lessons on disk.

The device is asked for one step at a time, so that a turn of the chat waits for one step at most. What is learned is durable every few seconds: a crash costs no more
than that, and the next start offers to go on. A checkpoint is durable before the row says how far it goes; the concept is durable before the row says done.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import AssistantError, BusyError, NotFoundError, PhotoError, StorageError
from ..files import write_whole
from ..requests import Cancel, DatasetAdvice, Engine, Photo, Reply, Request, Settings, Trainer, TrainingRun, TrainingSpec
from .jobs import DeviceLock, JobRunner
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
            raise NotFoundError("This lesson is not here any more.", "Reload the page.")
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
                raise NotFoundError("This lesson cannot be gone on with: it runs, is done, or is not here any more.", "Reload the page.")

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

    def _state(self, number: int) -> Path:
        return self._folder / f"{number}.state"


def thinned(losses: Sequence[float]) -> list[float]:
    """At most MOST_LOSSES of them, evenly chosen."""
    every = -(-len(losses) // MOST_LOSSES) or 1
    return [round(float(loss), 6) for loss in losses[::every]]


SAVE_EVERY = 4.0  # seconds; a crash costs no more learning than that
PREVIEWS = 6  # of a lesson, the one before the first step included
MOST_PICTURES = 8
MOST_LESSONS = 256  # that may wait
PASSES = {"infusion": 4, "ico": 7}  # of the UNet in a step of each method; one backward is two


class _JobState:
    """A `runner.Job`: what is known of a lesson that waits or runs, but not yet on disk."""

    def __init__(self, lesson: TrainingJob, learn: Callable[[_JobState], None], end: Callable[[_JobState, AssistantError | None], None]) -> None:
        self.cancel, self.lesson, self.owner, self._learn, self._end = threading.Event(), lesson, lesson.owner, learn, end
        self.losses, self.previews, self.seconds = list(lesson.losses), list(lesson.previews), lesson.seconds

    def run(self) -> None:
        self._learn(self)

    def end(self, error: AssistantError | None) -> None:
        self._end(self, error)


@dataclass(frozen=True)
class _Either:
    """A flag for whatever can be broken off: Stop, or a turn that wants the device."""

    cancel: Cancel
    wanted: Callable[[], bool]

    def is_set(self) -> bool:
        return self.cancel.is_set() or self.wanted()


class TrainingJobs:
    """Thread-safe. Every method that takes an owner raises NotFoundError for what is another's.

    Args:
        engine: shows what was learned. trainer: the engine's.
        device: shared with the chat.
    """

    def __init__(self, engine: Engine, trainer: Trainer, store: Store, device: DeviceLock) -> None:
        self._engine, self._trainer, self._store, self._device, self._lessons = engine, trainer, store, device, TrainingJobStore(store)
        self._libraries: dict[str, Any] = {}
        self._runner = JobRunner(device, MOST_LESSONS, holds=False)
        self._changed = self._runner.changed
        self._courses: dict[int, _JobState] = {}  # by lesson: waiting or running

    # the library

    def library(self, owner: str) -> Any:
        """This owner's concepts: the engine's own object, opened once."""
        with self._changed:
            if owner not in self._libraries:
                folder = self._store.folder / "concepts" / hashlib.sha256(owner.encode()).hexdigest()[:16]
                self._libraries[owner] = self._trainer.open(folder)
            return self._libraries[owner]

    def rename(self, owner: str, name: str, to: str) -> None:
        """Rename a concept, and what is to be learned on of it.

        Raises:
            ConceptError: the new name cannot be. BusyError: it is being learned right now.
        """
        library, name, to = self.library(owner), *(unicodedata.normalize("NFC", one) for one in (name, to))
        if to.lower() != name.lower():
            library.check_free(to)
        self._lessons.rename(owner, name, to)
        library.rename(name, to)

    def try_out(self, owner: str, text: str, seed: int, cancel: Cancel) -> bytes | None:
        """One picture of a text with concepts in it, kept nowhere; a turn of the chat goes first. None: cancelled."""
        usual = self._engine.info()
        request = Request(text, settings=Settings(seed=seed, steps=usual.steps, scheduler=usual.sampler, preview_every=0), library=self.library(owner))
        flag = _Either(cancel, self._device.wanted)
        while not cancel.is_set():
            with self._device.step(cancel) as mine:
                reply = next((e for e in self._engine.respond(request, flag) if isinstance(e, Reply)), None) if mine else None
            if reply is not None and not reply.stopped:
                return reply.png
        return None

    def examples(self, owner: str, name: str) -> tuple[Photo, ...]:
        """The photos that a concept was learned from; none where they are not kept, or it was learned elsewhere."""
        found = self.kept(owner, name)
        try:
            return tuple(map(self._store.photo, found.pictures)) if found is not None else ()
        except NotFoundError:  # a lost file must not end a turn
            return ()

    # lessons

    def advise(self, pictures: Sequence[Photo]) -> DatasetAdvice:
        return self._trainer.advise(pictures)

    def begin(self, owner: str, task: TrainingSpec, *others: str) -> TrainingJob:
        """Check, keep and queue; returns the first lesson.

        Args:
            others: methods by which the same is learned behind it.

        Raises:
            PhotoError: no pictures, or too many. BusyError: one of that name is being learned already.
            ConceptError: a name that cannot be written, or is taken.
        """
        if not 1 <= len(task.pictures) <= MOST_PICTURES:
            raise PhotoError(f"{len(task.pictures)} pictures were given; a concept is learned from 1 to {MOST_PICTURES}.",
                             "Add one." if not task.pictures else "Take some away.")
        task = replace(task, name=unicodedata.normalize("NFC", task.name))  # as messages are
        self.library(owner).check_free(task.name)
        begun = self._lessons.add(owner, [task, *(replace(task, kind=kind, options=_shared(task.options)) for kind in others)])
        for lesson in begun:
            self._put(lesson.id, owner)
        return begun[0]

    def begin_also(self, owner: str, name: str, kind: str) -> TrainingJob:
        """Learn what is learned already by another method too, from its kept photos.

        Raises:
            NotFoundError: no photos of it are kept. ConceptError, BusyError: it is learned so already, or being learned.
        """
        found = self.kept(owner, name)
        if found is None:
            raise NotFoundError(f"The photos of <{name}> are not kept here.", "Add them above, and learn it under another name.")
        self.library(owner).check_free(name, kind)
        task = replace(self._task(found), kind=kind, options=_shared(found.options))
        lesson = self._lessons.add(owner, [task], again=True)[0]
        self._put(lesson.id, owner)
        return lesson

    def kept(self, owner: str, name: str) -> TrainingJob | None:
        """The newest lesson of a name; its photos are kept."""
        return next((one for one in self._lessons.of(owner) if one.name.lower() == name.lower()), None)

    def expected(self, owner: str, kind: str, steps: int) -> float | None:
        """Seconds that many steps take by a method, told from the newest lessons, of another method if need be; None: not known yet."""
        paces = {one.kind: one.seconds / one.step for one in reversed(self._lessons.of(owner)) if one.step and one.seconds}
        other = kind if kind in paces else next(iter(paces), None)
        return paces[other] * PASSES[kind] / PASSES[other] * steps if other in PASSES else None

    def resume(self, number: int, owner: str) -> None:
        """Go on with one that was stopped or interrupted, or failed."""
        self._lessons.await_turn(number, owner)
        self._put(number, owner)

    def stop(self, number: int, owner: str) -> None:
        """What is learned so far is kept, and can be gone on with."""
        lesson, course = self._lessons.get(number, owner), self._courses.get(number)
        if course is not None and self._runner.cancel(course):
            self._over(course, None, "stopped" if lesson.step else "interrupted")

    def drop(self, number: int, owner: str) -> None:
        """Forget a lesson, its photos too; what it has put into the library stays."""
        self.stop(number, owner)
        with self._changed:
            self._changed.wait_for(lambda: number not in self._courses, 30)
        self._lessons.drop(number)

    def lessons(self, owner: str) -> list[TrainingJob]:
        """This owner's, the newest first, as they are this moment."""
        live = {number: course.lesson for number, course in list(self._courses.items()) if course.lesson.status == "running"}
        return [live.get(one.id, one) if one.status == "running" else one for one in self._lessons.of(owner)]  # one that is over is so before it leaves `_courses`

    def lesson(self, number: int, owner: str) -> TrainingJob:
        return next((one for one in self.lessons(owner) if one.id == number), None) or self._lessons.get(number, owner)

    def waiting(self, number: int) -> int:
        """How many lessons are before this one."""
        course = self._courses.get(number)
        return self._runner.position(course) or 0 if course is not None else 0

    def close(self, seconds: float = 5.0) -> None:
        """Save what is learned and end. What runs or waits is offered to be gone on with at the next start."""
        self._runner.close(seconds)

    # inside

    def _put(self, number: int, owner: str) -> None:
        with self._changed:
            course = self._courses[number] = _JobState(self._lessons.get(number, owner), self._learn, self._over)
            self._runner.put(course)

    def _over(self, run: _JobState, error: AssistantError | None, status: str = "") -> None:
        try:
            if error is not None or status:
                self._lessons.end(run.lesson.id, status or "failed", None if error is None else str(error))
        finally:
            with self._changed:
                self._courses.pop(run.lesson.id, None)
                self._changed.notify_all()

    def _learn(self, run: _JobState) -> None:
        lesson = run.lesson
        if not self._lessons.claim(lesson.id):
            return
        run.lesson, task = replace(lesson, status="running"), self._task(lesson)
        with self._device.step(run.cancel) as mine:
            if not mine:
                self._lessons.end(lesson.id, "interrupted")
                return
            course = self._trainer.begin(task, self._lessons.state(lesson.id))
        run.losses = _padded(run.losses, course.step)
        saved = time.monotonic()
        self._show(run, course, None)
        began, first = time.monotonic(), course.step
        while course.step < course.steps and not run.cancel.is_set():
            if course.step >= len(run.previews) * course.steps / (PREVIEWS - 1):
                self._preview(run, course)
            with self._device.step(run.cancel) as mine:
                if mine:
                    at = time.monotonic()
                    run.losses.append(course.advance())
                    run.seconds += time.monotonic() - at
            pace = (time.monotonic() - began) / max(1, course.step - first)
            self._show(run, course, pace * (course.steps - course.step))
            if time.monotonic() - saved > SAVE_EVERY:
                self._save(run, course)
                saved = time.monotonic()
        self._end(run, course)

    def _task(self, lesson: TrainingJob) -> TrainingSpec:
        return TrainingSpec(lesson.name, lesson.noun, tuple(map(self._store.photo, lesson.pictures)),
                    tuple(self._store.photo(mask) if mask else None for mask in lesson.masks), lesson.kind, lesson.options)

    def _preview(self, run: _JobState, course: TrainingRun, last: bool = False) -> None:
        """Draw one; a turn that comes meanwhile goes first, and it is tried again after the next step."""
        flag = _Either(run.cancel if not last else threading.Event(), self._device.wanted)
        while True:
            with self._device.step(flag.cancel) as mine:
                png = course.preview(flag) if mine else None
            if png is not None:
                run.previews.append((course.step, self._store.files.keep(png)))
                self._save(run, course)  # whose picture it is stands in the row
            if png is not None or not last or not self._device.wanted():
                return

    def _end(self, run: _JobState, course: TrainingRun) -> None:
        """Stopped, closing, or learned: first the state, then the concept, then the word."""
        self._save(run, course)
        if self._runner.closing or not course.step:
            self._lessons.end(run.lesson.id, "interrupted")
            return
        if not run.previews or run.previews[-1][0] != course.step:
            self._preview(run, course, last=True)
        thumbnail = self._store.read_picture(run.previews[-1][1]) if run.previews else b""
        course.keep(self.library(run.lesson.owner), thumbnail)
        self._lessons.end(run.lesson.id, "done" if course.step >= course.steps else "stopped")

    def _save(self, run: _JobState, course: TrainingRun) -> None:
        self._lessons.save(run.lesson.id, course.state(), course.step, course.steps, run.losses, run.previews, run.seconds)

    def _show(self, run: _JobState, course: TrainingRun, left: float | None) -> None:
        with self._changed:
            run.lesson = replace(run.lesson, step=course.step, steps=course.steps, losses=tuple(run.losses),
                                 previews=tuple(run.previews), seconds=run.seconds, left=left)


def _shared(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of a lesson's options every method has."""
    return {name: options[name] for name in ("steps", "flip") if name in options}


def _padded(losses: Sequence[float], steps: int) -> list[float]:
    """One loss a step, of what was kept: thinned, or a little behind."""
    if not losses:
        return []
    every = max(1, -(-steps // len(losses)))
    full = [loss for loss in losses for _ in range(every)][:steps]
    return full + [full[-1]] * (steps - len(full))
