"""Boards being drawn: the newest wish of a board wins, and the page watches. Knows no disk.

A drawing goes on whether or not a page looks; what comes of it is kept on the board before anybody is told.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from ..board_requests import FRAMES, Mix, MixedImage, MixEngine, MixReply, MixRequest, check, grid, strip
from ..errors import NotFoundError
from ..requests import Settings
from .records import Board, Cell, Reference
from .boards import Boards
from .uploads import read_photo
from .job_runner import DrawingJob, DrawingJobs, JobRunner
from .store import Store

FILMS = 16  # moving pictures held in memory


class BoardJobs(DrawingJobs):
    """A drawing's key is its board's id."""

    def __init__(self, engine: MixEngine, store: Store, runner: JobRunner) -> None:
        super().__init__(runner)
        self.boards, self._engine = Boards(store), engine
        self._films: OrderedDict[str, bytes] = OrderedDict()

    # wishes

    def begin(self, owner: str, mix: Mix, settings: Settings) -> Board:
        """A new board of a mix that comes from elsewhere."""
        for photo in (*mix.subjects, *(s.photo for s in mix.sources if s.photo)):
            self.boards.keep(photo.png)
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
        check(mix)
        mixes = {"": lambda: (mix,), "strip": lambda: strip(mix), "grid": lambda: grid(mix), "film": lambda: strip(mix, FRAMES)}[kind]()
        settings = replace(settings, seed=one.seed, keep_subject=one.keep_subject, follow_words=one.follow)
        request = MixRequest(mixes, settings, film=kind == "film")
        return self.put(DrawingJob(board_id, owner, kind, lambda sitting: self._draw(sitting, request)))

    def imagine(self, board_id: str, owner: str, words: str, settings: Settings) -> DrawingJob:
        """Let the base model draw a reference from words; it lies on the board when it is done."""
        self.boards.get(board_id, owner)

        def work(sitting: DrawingJob) -> None:
            photo = read_photo(self._engine.imagine(words, settings, sitting.cancel))
            if not sitting.cancel.is_set():
                self.boards.add_reference(board_id, owner, photo, words, "drawn")

        return self.put(DrawingJob(board_id, owner, "imagine", work))

    def film(self, board_id: str, owner: str) -> bytes | None:
        """The last moving picture of a board, GIF; None: it was not asked for since the start."""
        self.boards.get(board_id, owner)
        return self._films.get(board_id)

    # inside

    def _draw(self, sitting: DrawingJob, request: MixRequest) -> None:
        for event in self._follow(sitting, self._engine.mix(request, sitting.cancel)):
            if isinstance(event, MixReply) and not event.stopped and not sitting.cancel.is_set():
                self._keep(sitting, event)

    def _keep(self, sitting: DrawingJob, reply: MixReply) -> None:
        if sitting.kind == "film":
            self._films[sitting.key] = reply.film
            while len(self._films) > FILMS:
                self._films.popitem(last=False)
            return
        try:
            self.boards.drawn(sitting.key, sitting.owner, sitting.kind, [self._cell(p) for p in reply.pictures])
        except NotFoundError:  # deleted meanwhile
            pass

    def _cell(self, one: MixedImage) -> Cell:
        return Cell(self.boards.keep(one.png), one.mix.alpha, tuple(s.weight for s in one.mix.sources), tuple(s.on for s in one.mix.sources),
                    one.subject, one.sources, one.advice)
