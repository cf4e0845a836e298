"""Conversations in motion: who is answered next, what is kept, what is told to whoever watches. One device, one worker.

The order of things: what a person sends is checked, kept, queued; the worker answers it; what comes is kept, then told.
Knows no torch (the engine comes in as an object) and no page.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..requests import Engine, EngineInfo, Event, Mix, Photo, Progress, Reply, Request, Settings, Source, Turn, Words, check_mix
from ..errors import AssistantError, BusyError, NotFoundError, StorageError
from ..plan import Plan, parts_of, plan_in
from . import uploads
from .jobs import DeviceLock, JobRunner, TurnJob
from .boards import BoardJobs
from .uploads import read_mask, read_photo, read_text
from .training_jobs import TrainingJobs
from .records import Conversation, StoredTurn
from .store import Store
from .sweep_jobs import SweepJobs

HISTORY_TURNS = 24  # the engine is told no more of a conversation than this
MIXED_ALPHA = 0.9  # of pictures that were sent together: mostly F(w), since E(x) keeps the subject
SAVE_WORDS_EVERY = 0.5  # seconds; a crash costs no more words than that

_log = logging.getLogger(__name__)


class SessionManager:
    """Thread-safe. Every method that takes an owner raises NotFoundError for what is another's.

    Args:
        engine: answers one request at a time.
        store: keeps everything.
        queue_size: turns, boards and strips that may wait, beside the one in work.

    Attributes:
        board_jobs: draws boards. learning: learns concepts, strips: draws them over lambda; None: the engine has no base model for that.
    """

    def __init__(self, engine: Engine, store: Store, queue_size: int = 16) -> None:
        self._engine, self._store, device = engine, store, DeviceLock()
        self._device = device
        self._runner = JobRunner(device, queue_size)
        self._changed = self._runner.changed
        self._jobs: dict[str, TurnJob] = {}  # by conversation: waiting or running
        self._sending: set[str] = set()  # conversations whose new turn is being kept
        self.board_jobs = BoardJobs(engine, store, self._runner)
        self.learning = TrainingJobs(engine, engine.trainer, store, device) if engine.trainer is not None else None
        self.strips = SweepJobs(engine, self.learning.library, store, self._runner) if self.learning is not None else None

    def info(self) -> EngineInfo:
        return self._engine.info()

    # conversations

    def new(self, owner: str) -> Conversation:
        return self._store.create(owner)

    def list(self, owner: str) -> list[Conversation]:
        return self._store.conversations(owner)

    def open(self, conversation_id: str, owner: str) -> tuple[Conversation, list[StoredTurn]]:
        """A conversation and its turns, oldest first. A turn in work has status waiting or running: see `attach`."""
        return self._store.conversation(conversation_id, owner), self._store.turns(conversation_id, owner)

    def rename(self, conversation_id: str, owner: str, title: str) -> None:
        self._store.rename(conversation_id, owner, title)

    def delete(self, conversation_id: str, owner: str) -> None:
        """Stops what runs there. `restore` brings it back for a day."""
        self.stop(conversation_id, owner)
        self._store.delete(conversation_id, owner)

    def restore(self, conversation_id: str, owner: str) -> None:
        self._store.restore(conversation_id, owner)

    # turns

    def send(self, conversation_id: str, text: str, photo: bytes | str | Path | Photo | None, settings: Settings,
             owner: str, others: Sequence[bytes | str | Path | Photo] = (), plan: Plan | None = None) -> Iterator[Event]:
        """Check, keep and queue a turn; return its events. The turn goes on if nobody reads them.

        Args:
            others: more pictures than one: who is the subject is inferred from the text, all are laid on a new board, and
                the answer is drawn from it.
            plan: what is to be seen, already decided; the words follow it.

        Returns:
            Iterator over Waiting, Words, Progress and at last one Reply; it raises AssistantError if the turn fails.

        Raises (at once, with nothing kept):
            PhotoError, MessageError: what was sent cannot be used.
            BusyError: this conversation is being answered, or the queue is full.
            NotFoundError: no such conversation.
        """
        if photo is not None and not isinstance(photo, Photo):
            photo = read_photo(photo)
        text = read_text(text, photo is not None)
        if others and photo is not None:
            photos = [photo, *(one if isinstance(one, Photo) else read_photo(one) for one in others)]
            return self._enqueue_mixed(conversation_id, text, photos, settings, owner)
        return self._enqueue(conversation_id, text, photo, settings, owner, plan=plan)

    def without(self, turn_id: int, number: int, settings: Settings, owner: str) -> Iterator[Event]:
        """Send a new turn: the picture of a turn without part `number` of its plan (`parts_of`). As `send`."""
        turn = self._store.turn(turn_id, owner)
        found = parts_of(plan) if (plan := plan_in(turn.metadata)) else []
        if number >= len(found) or found[number].without is None:
            raise NotFoundError("This picture has no such part.", "Say in words what should go.")
        subject = turn.metadata.get("reference")  # a newer photo may have come since
        newest = next((t.photo for t in reversed(self._store.turns(turn.conversation_id, owner)) if t.photo), None)
        photo = self._store.photo(subject) if subject and subject != newest else None
        return self.send(turn.conversation_id, found[number].asked, photo, settings, owner, plan=found[number].without)

    def redraw(self, turn_id: int, owner: str, settings: Settings) -> Iterator[Event]:
        """Draw an earlier turn's picture anew, e.g. with another seed, as a new turn; one without a picture is answered
        again from the start. As `send`."""
        turn = self._store.turn(turn_id, owner)
        photo = self._store.photo(turn.photo) if turn.photo else None
        others = [self._store.photo(name) for name in turn.others]
        mixed: dict[str, Any] = {"plan": plan_in(turn.metadata)} if turn.metadata.get("given") and not turn.picture else {}
        if turn.board and not turn.metadata:
            mixed = {"mix": self.board_jobs.boards.mix(self.board_jobs.boards.get(turn.board, owner)), "say": turn.reply}
        return self._enqueue(turn.conversation_id, turn.text, photo, settings, owner, turn, others, turn.board, **mixed)

    def turn(self, turn_id: int, owner: str) -> StoredTurn:
        return self._store.turn(turn_id, owner)

    def picture_as_photo(self, turn_id: int, owner: str) -> Photo:
        """The picture a reply drew, ready to be the subject of a next turn."""
        turn = self._store.turn(turn_id, owner)
        if turn.picture is None:
            raise NotFoundError("This answer has no picture.", "Choose one that has.")
        return read_photo(self._store.read_picture(turn.picture))

    # what is drawn of a photo

    def subject_mask(self, turn_id: int, owner: str) -> Photo:
        """The photo that came with a turn, and with it the mask that turns from now on are drawn with: painted, or as the engine finds it.

        Raises:
            NotFoundError: it came with none, or this engine cuts nothing out.
        """
        turn, name = self._masked_turn(turn_id, owner)
        photo = self._store.photo(name, self._store.mask(owner, name))
        if photo.mask is None:
            plan = plan_in(turn.metadata)
            with self._device.turn():
                photo = replace(photo, mask=self._engine.subject_mask(photo, plan.subject if plan is not None else ""))
        return photo

    def keep_mask(self, turn_id: int, owner: str, painted: bytes | None) -> None:
        """What was painted over the photo of a turn is its mask from now on, in all conversations of this owner; None: as the engine finds it.

        Raises:
            NotFoundError, PhotoError: see `subject_mask` and `read_mask`.
        """
        name = self._masked_turn(turn_id, owner)[1]
        self._store.keep_mask(owner, name, None if painted is None else read_mask(painted, self._store.photo(name)))

    def _masked_turn(self, turn_id: int, owner: str) -> tuple[StoredTurn, str]:
        turn = self._store.turn(turn_id, owner)
        if turn.photo is None or not self.info().masks:
            raise NotFoundError("There is no photo here of which a part is cut out.", "Choose one in a preset that cuts subjects out, open or sdxl.")
        return turn, turn.photo

    def attach(self, conversation_id: str, owner: str) -> Iterator[Event] | None:
        """Events of the turn in work, from its beginning; None: nothing is in work there."""
        self._store.conversation(conversation_id, owner)
        with self._changed:
            job = self._jobs.get(conversation_id)
        return job.watch() if job else None

    def preview(self, turn_id: int, owner: str) -> bytes | None:
        """The newest preview of a turn in work, or what came of it: PNG. None: nothing yet."""
        with self._changed:
            job = next((j for j in self._jobs.values() if j.turn_id == turn_id and j.owner == owner), None)
        if job is not None:
            return job.preview
        picture = self._store.turn(turn_id, owner).picture
        return self._store.read_picture(picture) if picture else None

    def stop(self, conversation_id: str, owner: str) -> bool:
        """Stop the turn in work, waiting or running. Returns whether there was one."""
        self._store.conversation(conversation_id, owner)
        with self._changed:
            job = self._jobs.get(conversation_id)
            if job is None:
                return False
            waiting = self._runner.cancel(job)
        if waiting:  # the worker will never see it
            asked = job.request.settings
            self._finish(job, Reply("", None, asked.seed or 0, asked, {}, stopped=True), status="stopped")
        return True

    def gallery(self, owner: str) -> list[StoredTurn]:
        return self._store.gallery(owner)

    def picture(self, name: str, owner: str) -> bytes:
        """PNG of a picture or photo in this owner's conversations, exactly as it was drawn or normalised."""
        return self._store.picture_for(owner, name)

    def drain(self, seconds: float) -> bool:
        """Wait until no turn, board or strip is in work or waits, at most so long; whether none is."""
        return self._runner.drain(seconds)

    def close(self, seconds: float = 5.0) -> None:
        """Stop what runs and end the worker. What waits is marked as interrupted at the next start."""
        self._runner.close(seconds)
        if self.learning is not None:
            self.learning.close(seconds)

    # inside

    def _enqueue_mixed(self, conversation_id: str, text: str, photos: list[Photo], settings: Settings, owner: str) -> Iterator[Event]:
        who = uploads.infer(text, len(photos))
        subject, others = photos[who.subject], [photos[k] for k in who.references]
        mix = check_mix(Mix((subject,), tuple(Source(one) for one in others), MIXED_ALPHA, uploads.numbered(text, who)))
        board = self.board_jobs.begin(owner, mix, settings)
        try:  # from the board's seed, so that the answer is what the board shows
            return self._enqueue(conversation_id, text, subject, replace(settings, seed=board.seed), owner, others=others,
                                 board=board.id, mix=mix, say=uploads.sentence(who))
        except AssistantError:
            self.board_jobs.boards.delete(board.id, owner)
            raise

    def _enqueue(self, conversation_id: str, text: str, photo: Photo | None, settings: Settings, owner: str,
                 again: StoredTurn | None = None, others: Sequence[Photo] = (), board: str | None = None,
                 **more: Any) -> Iterator[Event]:
        turns = self._store.turns(conversation_id, owner)
        redraw_of = (again.redraw_of or again.id) if again else None  # the first of its kind, however often redrawn
        history = self._history(turns, before=redraw_of)
        subject = photo or next((turn.photo for turn in reversed(history) if turn.photo), None)
        mask = None
        if subject is not None and self.info().masks:  # a picture is redrawn with the mask that it was drawn with
            mask = again.mask if again is not None and again.picture else self._store.mask(owner, subject.sha256)
        if subject is not None and mask is not None:
            masked = replace(subject, mask=self._store.read_mask(mask))
            photo = masked if photo is not None else None
            history = tuple(replace(turn, photo=masked) if turn.photo == subject else turn for turn in history)
            if (mix := more.get("mix")) is not None:
                more["mix"] = replace(mix, subjects=(masked, *mix.subjects[1:]))
        if self.learning is not None:
            more |= {"library": self.learning.library(owner), "examples": partial(self.learning.examples, owner)}
        request = Request(text, photo, history, settings, redraw=again.metadata if again and again.picture else None, others=tuple(others), **more)
        given = {"plan": request.plan.as_json(), "given": True} if request.plan is not None else {}  # for another try, if this one does not end well
        with self._changed:
            if conversation_id in self._jobs or conversation_id in self._sending:
                raise BusyError("This conversation is still being answered.", "Wait for it, or press Stop.")
            self._runner.check_room(len(self._sending))
            self._sending.add(conversation_id)
        try:  # the disk may take its time: nobody else waits for it
            turn = self._store.add_turn(conversation_id, owner, text, photo, settings, redraw_of, others, board, given, mask)
            job = TurnJob(turn.id, conversation_id, owner, request, self._changed, self._runner.position, self._answer, self._keep_error)
            with self._changed:
                self._jobs[conversation_id] = job
                self._runner.put(job, sure=True)
        finally:
            with self._changed:
                self._sending.discard(conversation_id)
        return job.watch()

    def _history(self, turns: list[StoredTurn], before: int | None) -> tuple[Turn, ...]:
        """What the engine is told: answered turns, a redrawn one in its newest form, the newest photo among them."""
        latest: dict[int, StoredTurn] = {}
        for turn in turns:
            if turn.status in ("done", "stopped", "interrupted") and (turn.reply or turn.picture):
                latest[turn.redraw_of or turn.id] = turn
        kept = [turn for first, turn in sorted(latest.items()) if before is None or first < before]
        recent = kept[-HISTORY_TURNS:]
        if not any(turn.photo for turn in recent):
            recent = [turn for turn in kept[:-HISTORY_TURNS] if turn.photo][-1:] + recent
        newest = next((t.id for t in reversed(recent) if t.picture), None)
        return tuple(Turn(t.text, t.reply, self._kept(t.photo), t.picture is not None, plan_in(t.metadata), self._kept(t.picture) if t.id == newest else None,
                          t.metadata if t.picture else None) for t in recent)

    def _kept(self, name: str | None) -> Photo | None:
        try:
            return self._store.photo(name) if name else None
        except NotFoundError:  # a lost file must not end the conversation
            _log.warning("the picture %s is missing", name)
            return None

    def _answer(self, job: TurnJob) -> None:
        self._jot(job, status="running")
        saved = time.monotonic()
        for event in self._engine.respond(job.request, job.cancel):
            if isinstance(event, Reply):
                self._keep_reply(job, event)
                return
            first_step = isinstance(event, Progress) and job.progress is None
            job.tell(event)
            if first_step or (isinstance(event, Words) and time.monotonic() - saved > SAVE_WORDS_EVERY):
                self._jot(job, reply=job.text)
                saved = time.monotonic()
        raise AssistantError("The answer ended before it was complete.", "Send it again.")

    def _jot(self, job: TurnJob, **values: Any) -> None:
        """Keep how far a turn is, if that can be done at once: without it only a crash costs more words."""
        try:
            self._store.update_turn(job.turn_id, wait=0.0, **values)
        except StorageError as error:
            _log.warning("turn %d: how far it is could not be kept (%s)", job.turn_id, error)

    def _keep_reply(self, job: TurnJob, reply: Reply) -> None:
        self._store.update_turn(
            job.turn_id, reply=reply.text, picture=reply.png, seed=reply.seed, settings=reply.settings,
            metadata=reply.metadata, likeness=reply.likeness, seconds=reply.seconds)
        self._finish(job, reply, status="stopped" if reply.stopped else "done")

    def _keep_error(self, job: TurnJob, error: AssistantError) -> None:
        self._finish(job, error, reply=job.text, status="failed", error=str(error))

    def _finish(self, job: TurnJob, last: Reply | AssistantError, **values: Any) -> None:
        """The last thing of every turn: no disk keeps a conversation from being gone on with."""
        try:
            self._store.end("turns", job.turn_id, **values)
        finally:
            with self._changed:
                self._jobs.pop(job.conversation_id, None)
            job.tell(last)
