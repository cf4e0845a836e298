"""Strips over lambda: drawn as jobs, the newest of each owner kept with its masks; a drawing's key is its owner, over a restart too. Knows no torch and no page."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, replace

from ..errors import AssistantError, NotFoundError
from ..requests import STRENGTHS, Engine, Masks, Settings, SweepReply, SweepRequest
from .records import KeptStrip, kept_strip_of, settings_of
from .jobs import DrawingJob, DrawingJobs, JobRunner
from .store import Store

HELD = 32  # strips whose masks are held in memory


class SweepJobs(DrawingJobs):
    """Thread-safe; what an owner drew is its own.

    Args:
        library: an owner's concepts.
    """

    def __init__(self, engine: Engine, library: Callable[[str], object], store: Store, runner: JobRunner) -> None:
        super().__init__(runner)
        self._engine, self._library, self._store = engine, library, store
        self._masks: OrderedDict[str, Masks] = OrderedDict()

    def draw(self, owner: str, prompt: str, settings: Settings, strengths: tuple[float, ...] = STRENGTHS) -> DrawingJob:
        """Queue a strip; one that is being drawn is given up. Until it is there the one before is `newest`; what fails is in `DrawingJob.error`.

        Raises:
            BusyError: too many wait.
        """
        def work(drawing: DrawingJob) -> None:
            request = SweepRequest(prompt, self._library(owner), strengths, settings)
            try:
                for event in self._follow(drawing, self._engine.strip(request, drawing.cancel)):
                    if isinstance(event, SweepReply) and not event.stopped:
                        self._keep(owner, prompt, event)
            except AssistantError:
                self._ask(owner, "")
                raise

        self._runner.check_room()
        self._ask(owner, json.dumps({"prompt": prompt, "settings": asdict(settings), "strengths": strengths}))
        return self.put(DrawingJob(owner, owner, "strip", work))

    def stop(self, key: str, owner: str = "") -> None:
        super().stop(key, owner)
        self._ask(key, "")

    def interrupted(self, owner: str) -> str | None:
        """The prompt of a strip that was asked for when the program ended; None: there is none."""
        asked = self._asked(owner)
        return asked["prompt"] if asked and self.now(owner) is None else None

    def again(self, owner: str) -> DrawingJob:
        """Draw what was interrupted. Raises NotFoundError: nothing was."""
        asked = self._asked(owner)
        if not asked:
            raise NotFoundError("No strip was interrupted.", "Draw one.")
        return self.draw(owner, asked["prompt"], settings_of(asked["settings"]), tuple(asked["strengths"]))

    def newest(self, owner: str) -> KeptStrip:
        """Raises NotFoundError: none has been drawn."""
        rows = self._store.rows("SELECT content FROM strips WHERE owner = ? AND content <> ''", (owner,))
        if not rows:
            raise NotFoundError("There is no strip yet.", "Draw one.")
        return kept_strip_of(rows[0]["content"])

    def masks(self, owner: str) -> Masks | None:
        """Of the newest strip; None: its window was closed."""
        one = self.newest(owner)
        if one.masks is None:
            return None
        if one.masks not in self._masks:
            self._masks[one.masks] = self._engine.masks(self._store.read_picture(one.masks), [self._store.read_picture(name) for name in one.pictures])
            while len(self._masks) > HELD:
                self._masks.popitem(last=False)
        return self._masks[one.masks]

    def settings_of(self, owner: str, number: int) -> Settings:
        """What a picture of the newest strip is drawn again with, in the chat.

        Raises:
            NotFoundError: there is no such picture.
        """
        one = self.newest(owner)
        if not 0 <= number < len(one.pictures):
            raise NotFoundError(f"There is no picture {number + 1} in this strip of {len(one.pictures)}.", "Choose one that is.")
        return replace(one.settings, imagination=one.strengths[number], auxiliary=one.noun)

    # inside

    def _asked(self, owner: str) -> dict | None:
        rows = self._store.rows("SELECT asked FROM strips WHERE owner = ? AND asked <> ''", (owner,))
        return json.loads(rows[0]["asked"]) if rows else None

    def _ask(self, owner: str, asked: str) -> None:
        with self._store.transaction() as db:
            db.execute("INSERT INTO strips (owner, asked) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET asked = excluded.asked", (owner, asked))

    def _keep(self, owner: str, prompt: str, reply: SweepReply) -> None:
        keep = self._store.files.keep
        one = KeptStrip(tuple(keep(p.png) for p in reply.pictures), tuple(p.strength for p in reply.pictures), prompt,
                        keep(reply.auxiliary_png) if reply.auxiliary_png else None, reply.read, reply.auxiliary, reply.noun, reply.concept, reply.settings,
                        reply.seconds, reply.changes, keep(reply.masks.packed()) if reply.masks is not None else None)
        names = [name for name in (*one.pictures, one.other, one.masks) if name]
        with self._store.transaction() as db:
            db.execute("UPDATE strips SET asked = '', content = ?, pictures = ? WHERE owner = ?", (json.dumps(asdict(one)), json.dumps(names), owner))
