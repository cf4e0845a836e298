"""One queue for one device: turns, boards and strips of all owners are done one after the other, owners in turn, so that one with ten wishes keeps nobody waiting.

Lessons, in a queue of their own, are done beside them, a step at a time. A turn that is waiting or being answered may be watched by anyone, at any time; the work
goes on whether or not a page looks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ..requests import Cancel, Event, Progress, Reply, Request, Sketch, Waiting, Words
from ..errors import AssistantError, BusyError

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Round-robin among owners, first come first served within one. Not thread-safe: the caller holds a lock."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()  # the next owner's line first

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def put(self, owner: str, item: Item) -> None:
        self._lines.setdefault(owner, deque()).append(item)

    def take(self) -> Item:
        """Raises KeyError: empty."""
        owner, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[owner] = line  # behind everyone else
        return item

    def remove(self, item: Item) -> bool:
        """Whether it was there."""
        for owner, line in self._lines.items():
            if item in line:
                line.remove(item)
                if not line:
                    del self._lines[owner]
                return True
        return False

    def position(self, item: Item) -> int | None:
        """1 is next; None: not here."""
        return next((n for n, other in enumerate(self.order(), start=1) if other is item), None)

    def order(self) -> list[Item]:
        """All items, in the order in which `take` would give them if nothing more came."""
        lines = [list(line) for line in self._lines.values()]
        longest = max(map(len, lines), default=0)
        return [line[n] for n in range(longest) for line in lines if n < len(line)]


class DeviceLock:
    """A lock with two kinds of holders. Who holds it for a step gives it back soon; a turn that comes is next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = False
        self._turns = 0  # waiting, or held

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Held while a turn is answered."""
        with self._changed:
            self._turns += 1
            self._changed.wait_for(lambda: not self._held)
            self._held = True
        try:
            yield
        finally:
            with self._changed:
                self._turns -= 1
                self._held = False
                self._changed.notify_all()

    @contextmanager
    def step(self, cancel: Cancel) -> Iterator[bool]:
        """Held for a step of something long, once no turn wants it; False, and not held, if cancelled before that.
        Whoever sets the cancel flag calls `wake`."""
        with self._changed:
            self._changed.wait_for(lambda: cancel.is_set() or not (self._held or self._turns))
            mine = not cancel.is_set()
            self._held = self._held or mine
        try:
            yield mine
        finally:
            if mine:
                with self._changed:
                    self._held = False
                    self._changed.notify_all()

    def wanted(self) -> bool:
        """Whether a turn waits, or holds it: what can be broken off and done later should be."""
        return self._turns > 0

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


_log = logging.getLogger(__name__)


class Job(Protocol):
    """What a runner needs of a piece of work."""

    owner: str
    cancel: threading.Event

    def run(self) -> None: ...

    def end(self, error: AssistantError | None) -> None:
        """Called once, when `run` is over or has failed."""
        ...


class JobRunner:
    """Thread-safe.

    Args:
        device: held while a job runs; what is being learned waits meanwhile.
        queue_size: jobs that may wait, beside the one that runs.
        holds: False: a job takes the device itself, for as long as it needs it.
    """

    def __init__(self, device: DeviceLock, queue_size: int = 16, holds: bool = True) -> None:
        self._device, self._queue_size, self._holds, self.closing = device, queue_size, holds, False
        self.changed = threading.Condition()  # notified whenever the queue or a job changes
        self._queue: FairQueue[Job] = FairQueue()
        self._running: Job | None = None
        self._worker = threading.Thread(target=self._work, name="runner", daemon=True)
        self._worker.start()

    def check_room(self, coming: int = 0) -> None:
        """Raises BusyError: as many wait as may, with those that are `coming`."""
        with self.changed:
            if len(self._queue) + coming >= self._queue_size:
                raise BusyError(f"{len(self._queue)} others are waiting already, which is as many as fit.", "Try again in a minute.")

    def put(self, job: Job, sure: bool = False) -> None:
        """Raises BusyError: as many wait as may, unless its room was made `sure` of."""
        with self.changed:
            if not sure:
                self.check_room()
            self._queue.put(job.owner, job)
            self.changed.notify_all()

    def cancel(self, job: Job) -> bool:
        """Stop a job; whether it was still waiting, and never runs."""
        job.cancel.set()
        self._device.wake()
        with self.changed:
            found = self._queue.remove(job)
            self.changed.notify_all()
        return found

    def position(self, job: Job) -> int | None:
        """1 is next; None: it does not wait."""
        with self.changed:
            return self._queue.position(job)

    def drain(self, seconds: float) -> bool:
        """Wait until nothing runs or waits; False: it still does after so many seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: self._running is None and not len(self._queue), seconds)

    def close(self, seconds: float = 5.0) -> None:
        """Stop what runs and end the worker; what waits never runs."""
        with self.changed:
            self.closing = True
            for job in [*self._queue.order(), *([self._running] if self._running is not None else [])]:
                job.cancel.set()
            self.changed.notify_all()
        self._device.wake()
        self._worker.join(seconds)

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.closing or len(self._queue))
                if self.closing:
                    return
                job = self._running = self._queue.take()
                self.changed.notify_all()  # the others moved up
            failed = None
            try:
                with self._device.turn() if self._holds else nullcontext():
                    job.run()
            except AssistantError as error:
                failed = error
            except Exception as error:
                _log.exception("a job failed")
                failed = AssistantError(f"A fault in the program ended this ({type(error).__name__}).",
                                        "Try again; if it happens again, the server's log says more.")
            try:
                job.end(failed)
            except Exception:  # the others' jobs go on
                _log.exception("a job could not be ended")
            with self.changed:
                self._running = None
                self.changed.notify_all()


@dataclass(eq=False)
class DrawingJob:
    """A board or a strip, from the click to the picture. `sketches` are PNGs, good to look at while it is drawn."""

    key: str  # what is drawn: a board's id, an owner's strip
    owner: str
    kind: str
    work: Callable[[DrawingJob], None] | None  # until it is over, with all pictures that go into it
    told: Callable[..., None] = lambda *_, **__: None
    cancel: threading.Event = field(default_factory=threading.Event)
    sketches: tuple[bytes, ...] = ()
    step: int = 0
    steps: int = 0
    began: float | None = None  # time.monotonic() of the first step
    done: bool = False
    error: AssistantError | None = None
    news: int = 0  # counts up with every change

    @property
    def left(self) -> float | None:
        """Seconds it still takes, as far as known."""
        if self.began is None or self.step < 2:
            return None
        return (time.monotonic() - self.began) / (self.step - 1) * (self.steps - self.step)

    def run(self) -> None:
        if self.work is not None and not self.cancel.is_set():
            self.work(self)

    def end(self, error: AssistantError | None) -> None:
        self.told(self, done=True, error=error, work=None)


class DrawingJobs:
    """Drawings of one kind, the newest of each key, done or not; one that is asked for anew gives the one before up. The page watches, or does not.

    `owner`, everywhere: whose the drawing is; where it is left out, the key is the owner.
    """

    def __init__(self, runner: JobRunner) -> None:
        self._runner = runner
        self._latest: OrderedDict[str, DrawingJob] = OrderedDict()

    def put(self, drawing: DrawingJob) -> DrawingJob:
        """Raises BusyError: as many wait as may; what was being drawn goes on then."""
        drawing.told = self._tell
        with self._runner.changed:
            self._runner.check_room()
            self._give_up(self._latest.get(drawing.key))
            self._latest[drawing.key] = drawing
            self._latest.move_to_end(drawing.key)
            while len(self._latest) > 256 and next(iter(self._latest.values())).done:
                self._latest.popitem(last=False)
            self._runner.put(drawing)
        return drawing

    def stop(self, key: str, owner: str = "") -> None:
        self._give_up(self.now(key, owner))

    def now(self, key: str, owner: str = "") -> DrawingJob | None:
        found = self._latest.get(key)
        return found if found is not None and found.owner == (owner or key) else None

    def waiting(self, drawing: DrawingJob) -> int | None:
        """Its place in the queue, 1 is next; None: it does not wait."""
        return self._runner.position(drawing)

    def watch(self, drawing: DrawingJob) -> Iterator[DrawingJob]:
        """Yield the drawing whenever something has come of it, until it is over."""
        seen = None
        while True:
            with self._runner.changed:
                self._runner.changed.wait_for(lambda: (drawing.news, self.waiting(drawing)) != seen or drawing.done)
                seen, done = (drawing.news, self.waiting(drawing)), drawing.done
            yield drawing
            if done:
                return

    # inside

    def _follow(self, drawing: DrawingJob, events: Iterator[Any]) -> Iterator[Any]:
        """Take in what is progress, and yield the rest."""
        for event in events:
            if isinstance(event, Sketch):
                self._tell(drawing, sketches=event.pngs)
            elif isinstance(event, Progress):
                self._tell(drawing, step=event.step, steps=event.steps, began=drawing.began or time.monotonic())
            else:
                yield event

    def _give_up(self, drawing: DrawingJob | None) -> None:
        if drawing is not None and not drawing.done:
            if self._runner.cancel(drawing):
                drawing.end(None)

    def _tell(self, drawing: DrawingJob, **values: object) -> None:
        with self._runner.changed:
            for name, value in values.items():
                setattr(drawing, name, value)
            drawing.news += 1
            self._runner.changed.notify_all()


class TurnJob:
    """The state of one turn between `send` and its last event.

    Args:
        changed: one condition for all jobs of a manager; notified whenever anything here or in the queue changes.
        position: this job's place in the queue, None once it has left; called with `changed` held.
        work, fail: answer the turn, and keep why that failed.
    """

    def __init__(self, turn_id: int, conversation_id: str, owner: str, request: Request,
                 changed: threading.Condition, position: Callable[[TurnJob], int | None],
                 work: Callable[[TurnJob], None], fail: Callable[[TurnJob, AssistantError], None]) -> None:
        self.turn_id, self.conversation_id, self.owner, self.request = turn_id, conversation_id, owner, request
        self.cancel = threading.Event()
        self.text = ""
        self.progress: Progress | None = None
        self.preview: bytes | None = None
        self.reply: Reply | None = None
        self.error: AssistantError | None = None
        self._changed, self._position, self._work, self._fail = changed, position, work, fail

    def run(self) -> None:
        self._work(self)

    def end(self, error: AssistantError | None) -> None:
        if error is not None:
            self._fail(self, error)

    def tell(self, event: Event | AssistantError) -> None:
        """Take in an event, and wake whoever watches."""
        with self._changed:
            if isinstance(event, Words):
                self.text += event.delta
            elif isinstance(event, Progress):
                self.progress = event
                self.preview = event.preview or self.preview
            elif isinstance(event, Reply):
                self.reply = event
            elif isinstance(event, AssistantError):
                self.error = event
            self._changed.notify_all()

    def watch(self) -> Iterator[Event]:
        """Yield what there is so far, then what comes, up to the Reply. A slow watcher gets the newest, not a backlog.

        Raises:
            AssistantError: the turn failed.
        """
        place, letters, progress = None, 0, None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self.reply or self.error or len(self.text) > letters or self.progress is not progress
                                                    or self._position(self) != place))
                now, text, latest = self._position(self), self.text, self.progress
                reply, error = self.reply, self.error
            if now is not None and now != place and not (reply or error):
                yield Waiting(now)
            place = now
            if len(text) > letters:
                yield Words(text[letters:])
                letters = len(text)
            if latest is not None and latest is not progress:
                yield latest
                progress = latest
            if error is not None:
                raise error
            if reply is not None:
                yield reply
                return
