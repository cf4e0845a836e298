"""Boards being drawn: the newest wish of a board wins, boards of all owners take turns, and the page watches. Knows no disk.

A drawing goes on whether or not a page looks; what comes of it is kept on the board before anybody is told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from assistant.board import FRAMES, Mix, Mixed, Mixer, MixReply, MixRequest, Sketch, check, grid, strip
from assistant.errors import AssistantError, BusyError, NotFoundError
from assistant.messages import Progress, Settings
from assistant.session.records import Board, Cell, Reference
from assistant.session.boards import Boards
from assistant.session.intake import read_photo
from assistant.session.queue import FairQueue
from assistant.session.store import Store

FILMS = 16  # moving pictures held in memory

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Sitting:
    """One wish of a board, from the click to the picture. `sketches` are PNGs, good to look at while it is drawn."""

    board_id: str
    owner: str
    kind: str
    work: Callable[[Sitting], None]
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


class Easel:
    """Args: device: called for a context in which the device is this drawing's."""

    def __init__(self, engine: Mixer, store: Store, device: Callable[[], AbstractContextManager], queue_size: int = 16) -> None:
        self.boards = Boards(store)
        self._engine, self._device, self._queue_size = engine, device, queue_size
        self._changed = threading.Condition()
        self._queue: FairQueue[Sitting] = FairQueue()
        self._latest: OrderedDict[str, Sitting] = OrderedDict()  # by board
        self._films: OrderedDict[str, bytes] = OrderedDict()
        self._closing = False
        self._worker = threading.Thread(target=self._work, name="easel", daemon=True)
        self._worker.start()

    # wishes

    def begin(self, owner: str, mix: Mix, settings: Settings) -> Board:
        """A new board of a mix that comes from elsewhere."""
        for photo in (*mix.subjects, *(s.photo for s in mix.sources if s.photo)):
            self.boards.keep(photo.png)
        references = tuple(Reference(s.photo.sha256 if s.photo else None, s.words, s.weight, s.on, "chat") for s in mix.sources)
        seed = {} if settings.seed is None else {"seed": settings.seed}
        return self.boards.create(owner, subjects=tuple(p.sha256 for p in mix.subjects), references=references, alpha=mix.alpha,
                                  keep_subject=settings.keep_subject, follow=settings.follow_words, **seed)

    def draw(self, board_id: str, owner: str, settings: Settings, kind: str = "") -> Sitting:
        """Draw a board's result, a map or a film. What the board was drawing before is given up.

        Raises:
            InputError: the board cannot be drawn so; nothing is given up then.
            BusyError: too many wait.
        """
        one = self.boards.get(board_id, owner)
        mix = self.boards.mix(one)
        check(mix)
        mixes = {"": lambda: (mix,), "strip": lambda: strip(mix), "grid": lambda: grid(mix), "film": lambda: strip(mix, FRAMES)}[kind]()
        settings = replace(settings, seed=one.seed, keep_subject=one.keep_subject, follow_words=one.follow)
        request = MixRequest(mixes, settings, film=kind == "film")
        return self._put(Sitting(board_id, owner, kind, lambda sitting: self._draw(sitting, request)))

    def imagine(self, board_id: str, owner: str, words: str, settings: Settings) -> Sitting:
        """Let the base model draw a reference from words; it lies on the board when it is done."""
        self.boards.get(board_id, owner)

        def work(sitting: Sitting) -> None:
            photo = read_photo(self._engine.imagine(words, settings, sitting.cancel))
            if not sitting.cancel.is_set():
                self.boards.add_reference(board_id, owner, photo, words, "drawn")

        return self._put(Sitting(board_id, owner, "imagine", work))

    def stop(self, board_id: str, owner: str) -> None:
        self.boards.get(board_id, owner)
        with self._changed:
            if board_id in self._latest:
                self._latest[board_id].cancel.set()

    def now(self, board_id: str, owner: str) -> Sitting | None:
        """The board's newest wish, done or not."""
        with self._changed:
            found = self._latest.get(board_id)
        return found if found is not None and found.owner == owner else None

    def watch(self, sitting: Sitting) -> Iterator[Sitting]:
        """Yield the sitting whenever something has come of it, until it is over."""
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda: sitting.news != seen or sitting.done)
                seen, done = sitting.news, sitting.done
            yield sitting
            if done:
                return

    def film(self, board_id: str, owner: str) -> bytes | None:
        """The last moving picture of a board, GIF; None: it was not asked for since the start."""
        self.boards.get(board_id, owner)
        return self._films.get(board_id)

    def close(self, seconds: float = 5.0) -> None:
        with self._changed:
            self._closing = True
            for sitting in self._latest.values():
                sitting.cancel.set()
            self._changed.notify_all()
        self._worker.join(seconds)

    # inside

    def _put(self, sitting: Sitting) -> Sitting:
        with self._changed:
            before = self._latest.get(sitting.board_id)
            if len(self._queue) >= self._queue_size:
                raise BusyError(f"{len(self._queue)} others are waiting already, which is as many as fit.", "Try again in a minute.")
            if before is not None and not before.done:
                before.cancel.set()
                if self._queue.remove(before):
                    before.done = True
            self._latest[sitting.board_id] = sitting
            self._latest.move_to_end(sitting.board_id)
            while len(self._latest) > 256 and next(iter(self._latest.values())).done:
                self._latest.popitem(last=False)
            self._queue.put(sitting.owner, sitting)
            self._changed.notify_all()
        return sitting

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or len(self._queue))
                if self._closing:
                    return
                sitting = self._queue.take()
            try:
                with self._device():
                    if not sitting.cancel.is_set():
                        sitting.work(sitting)
            except AssistantError as error:
                sitting.error = error
            except Exception as error:
                _log.exception("board %s failed", sitting.board_id)
                sitting.error = AssistantError(f"A fault in the program ended this drawing ({type(error).__name__}).",
                                               "Draw it again; if it happens again, the server's log says more.")
            self._tell(sitting, done=True)

    def _draw(self, sitting: Sitting, request: MixRequest) -> None:
        for event in self._engine.mix(request, sitting.cancel):
            if isinstance(event, Sketch):
                self._tell(sitting, sketches=event.pngs)
            elif isinstance(event, Progress):
                self._tell(sitting, step=event.step, steps=event.steps, began=sitting.began or time.monotonic())
            elif isinstance(event, MixReply) and not event.stopped and not sitting.cancel.is_set():
                self._keep(sitting, event)

    def _keep(self, sitting: Sitting, reply: MixReply) -> None:
        if sitting.kind == "film":
            self._films[sitting.board_id] = reply.film
            while len(self._films) > FILMS:
                self._films.popitem(last=False)
            return
        try:
            self.boards.drawn(sitting.board_id, sitting.owner, sitting.kind, [self._cell(p) for p in reply.pictures])
        except NotFoundError:  # deleted meanwhile
            pass

    def _cell(self, one: Mixed) -> Cell:
        return Cell(self.boards.keep(one.png), one.mix.alpha, tuple(s.weight for s in one.mix.sources), tuple(s.on for s in one.mix.sources),
                    one.subject, one.sources, one.advice)

    def _tell(self, sitting: Sitting, **values: object) -> None:
        with self._changed:
            for name, value in values.items():
                setattr(sitting, name, value)
            sitting.news += 1
            self._changed.notify_all()
