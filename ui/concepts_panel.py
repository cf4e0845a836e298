"""The panel "Concepts": pictures in, a name, what it is for, watch it being learned, then <name> in any message or on the likeness slider.

What is chosen but not yet learned is kept per owner, so that a reload loses nothing.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.routing import Route

from . import concept_cards as cards
from .auth import Owners
from .image_routes import enlarge, served
from .panel import QUIET, ButtonEvent, Panel, PanelContext, Updates, needed, own_line, pressed, read_data
from assistant.errors import AssistantError, MessageError, PhotoError
from assistant.requests import DatasetAdvice, Photo, Settings, TrainingSpec
from assistant.session.manager import SessionManager
from assistant.session.training_jobs import MOST_PICTURES
from assistant.session.uploads import read_photo

MAX_DRAFTS = 256  # owners that are remembered


@dataclass
class Draft:
    """Pictures in their order, what was painted on each, and what is to be said of them."""

    photos: list[Photo] = field(default_factory=list)
    masks: list[Photo | None] = field(default_factory=list)
    advice: DatasetAdvice = DatasetAdvice()


class Drafts:
    """Args: advise: what can be said of pictures."""

    def __init__(self, advise: Callable[[Sequence[Photo]], DatasetAdvice]) -> None:
        self._advise = advise
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, owner: str) -> Draft:
        with self._lock:
            draft = self._drafts.setdefault(owner, Draft())
            self._drafts.move_to_end(owner)
            while len(self._drafts) > MAX_DRAFTS:
                self._drafts.popitem(last=False)
            return draft

    def forget(self, owner: str) -> None:
        with self._lock:
            self._drafts.pop(owner, None)

    def take(self, owner: str, photo: Photo) -> None:
        """Raises PhotoError: it is there already, or there are as many as can be learned from."""
        draft = self.of(owner)
        if any(photo.sha256 == one.sha256 for one in draft.photos):
            raise PhotoError("This picture is among them already.", "Choose another one.")
        if len(draft.photos) >= MOST_PICTURES:
            raise PhotoError(f"{MOST_PICTURES} pictures are chosen, which is as many as can be learned from.", "Take one away first.")
        draft.photos.append(photo)
        draft.masks.append(None)
        draft.advice = self._advise(draft.photos)

    def remove(self, owner: str, at: int) -> None:
        draft = self.of(owner)
        if 0 <= at < len(draft.photos):
            del draft.photos[at], draft.masks[at]
            draft.advice = self._advise(draft.photos)

    def paint(self, owner: str, at: int, address: str) -> None:
        """Where the subject is in a picture: a PNG in a data address, "" to take it away again. Raises PhotoError."""
        draft = self.of(owner)
        if 0 <= at < len(draft.masks):
            draft.masks[at] = read_photo(read_data(address)) if address else None


USUAL = TrainingSpec.kind
MOST_WORDS = 200  # characters of what is tried out
WATCH_EVERY = 0.8  # seconds
_ORDER = ("running", "waiting")  # of lessons, then the others, the newest first


class ConceptsPanel(Panel):
    """See the module."""

    name, title, turn_acts = "concepts", "Concepts", (("take", "Learn this"),)

    @staticmethod
    def fits(manager: SessionManager) -> bool:
        return manager.learning is not None

    def __init__(self, place: PanelContext) -> None:
        super().__init__(place)
        self.learning = needed(place.manager.learning)
        self.drafts = Drafts(self.learning.advise)
        gr.HTML('<p class="quiet">Teach me one thing from a few pictures; then write its name in any message, as '
                '<b>&lt;name&gt;</b>.</p>')
        self.drop = gr.File(file_count="multiple", label="Drop, paste or choose 1 to 8 pictures of it",
                            elem_id="concept-drop", height=92)
        with gr.Accordion("From your pictures", open=False, elem_id="concept-sources") as sources:
            self.sources = gr.HTML("")
        self.opened = sources.expand
        self.chosen = gr.HTML("", elem_id="concept-chosen")
        with gr.Row(elem_id="concept-words"):
            self.noun = gr.Textbox(label="What kind of thing", placeholder="cat, mug, ...", max_length=60, elem_id="concept-noun")
            self.called = gr.Textbox(label="Its name", placeholder="tom", max_length=40, elem_id="concept-name")
        self.kinds = gr.CheckboxGroup([(words.capitalize(), kind) for kind, words in cards.KINDS.items()], value=[USUAL], label="What it is for",
                                      visible=place.manager.strips is not None, elem_id="concept-kinds")
        with gr.Accordion("More", open=False, elem_id="concept-more"):
            self.steps = gr.Slider(0, 2000, 0, step=10, label="Steps", buttons=[],
                                   info=f"More is truer to the pictures, and holds on to their places. 0: as usual ({_usual(place.manager.info().lesson_steps)}).")
            self.residuals = gr.Slider(1, 4, 1, step=1, label="Residuals", info="For several in one picture: more is truer, and less varied. Usually 1.", buttons=[])
            self.flip = gr.Checkbox(False, label="Mirrored pictures too", info="Not for writing, or what differs left and right.")
        self.learn = gr.Button("Learn it", variant="primary", elem_id="concept-learn")
        self.notice = gr.HTML("", elem_id="concept-notice")
        own_line(self.name)
        gr.HTML("<h3>Learned</h3>", elem_classes="heading")
        self.lessons = gr.HTML("", elem_id="concept-lessons")
        self.shelf = gr.HTML("", elem_id="concept-shelf")
        self.strip = gr.HTML("", elem_id="concept-tries")
        # no gr.UploadButton: it takes one file and no second
        self.take_in = gr.File(label="Import a concept", height=36, elem_id="concept-import")
        self.strengths = gr.Textbox("", visible="hidden", elem_id="concept-strengths")
        self.inputs = [self.strengths]

    def settings(self, so_far: Settings, given: Any = "") -> Settings:
        return strengths(so_far, given)

    def wire(self, desk: Any, courier: gr.HTML) -> None:
        self.desk = desk
        # outside the tab, so that they are there before it is opened
        self.names = gr.HTML("", elem_id="concept-names")
        self.seen = gr.Textbox("", visible="hidden")  # changes with the shelf
        self.timer = gr.Timer(WATCH_EVERY, active=False)
        around = [desk.parts.conversation]
        form = [self.noun, self.called, self.kinds, self.steps, self.residuals, self.flip]
        live = [self.lessons, self.shelf, self.names, self.seen, self.timer]
        picked = [self.chosen, self.noun, self.notice]
        desk.page.load(self._load, [self.noun], [*live, *picked], **QUIET)
        self.timer.tick(self._tick, [self.seen], live, **QUIET)
        self.drop.upload(self._add, [self.drop, self.noun], [self.drop, *picked], **QUIET)
        for fresh in (self.opened, desk.parts.gallery.change, desk.parts.conversation.change, self.chosen.change):
            fresh(self._sources, around, [self.sources], **QUIET)
        self.learn.click(self._learn, form, [*live, *picked, self.called], **QUIET)
        self.take_in.upload(self._import, [self.take_in], [*live, self.notice, self.take_in], **QUIET)
        courier.click(self._act, [*around, self.noun, self.seen], [*live, *picked, self.sources, self.strip],
                      trigger_mode="multiple", **QUIET)

    # events

    def _load(self, noun: str, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            return {**self._live(owner), **self._picked(owner, noun)}
        except AssistantError as error:
            return self._tell(error)

    def _tick(self, seen: str, request: gr.Request) -> Updates:
        try:
            return self._live(self.desk.owner(request), seen)
        except AssistantError as error:
            return self._tell(error)

    def _add(self, files: Any, noun: str, request: gr.Request) -> Updates:
        """Pictures were dropped. What cannot be read is said; the others are taken."""
        updates: Updates = {self.drop: None}
        try:
            owner = self.desk.owner(request)
            faults = []
            for file in files if isinstance(files, list) else [files] if files else []:
                try:
                    self.drafts.take(owner, read_photo(self.place.uploaded(str(file), owner)))
                except AssistantError as error:
                    faults.append(f"{error.sentence} {error.remedy}")
                self.place.forget(str(file))
            return {**updates, **self._picked(owner, noun), self.notice: cards.notice(" ".join(dict.fromkeys(faults)))}
        except AssistantError as error:
            return {**updates, **self._tell(error)}

    def _sources(self, conversation: str, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            turns = self.place.manager.open(conversation, owner)[1] if conversation else []
            own = [name for t in reversed(turns) for name in (t.picture, t.photo) if name]
            taken = {one.sha256 for one in self.drafts.of(owner).photos}
            return {self.sources: cards.sources(self.place.manager.gallery(owner), own, taken)}
        except AssistantError as error:
            return {self.sources: cards.notice(str(error))}

    def _learn(self, noun: str, name: str, kinds: Any, steps: Any, residuals: Any, flip: Any, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            draft, noun, name = self.drafts.of(owner), (noun or "").strip(), (name or "").strip().strip("<>")
            if not draft.photos:
                raise PhotoError("There is nothing to learn from yet.", "Drop some pictures above.")
            if not noun:
                raise MessageError("What kind of thing is it?", "Say it in a word, for instance: mug.")
            if not name:
                raise MessageError("It has no name yet.", "Give it one; you will write it as <name>.")
            kind, *others = [one for one in cards.KINDS if one in (kinds or ())] or [USUAL]
            task = TrainingSpec(name, noun, tuple(draft.photos), tuple(draft.masks), kind, options(kind, self.place.manager.info().lesson_steps[kind], steps, residuals, flip))
            self.learning.begin(owner, task, *others)
        except AssistantError as error:
            return self._tell(error)
        self.drafts.forget(owner)
        return {**self._live(owner), **self._picked(owner, ""), self.noun: "", self.called: "", self.notice: ""}

    def _import(self, file: Any, request: gr.Request) -> Updates:
        again: Updates = {self.take_in: None}
        try:
            owner = self.desk.owner(request)
            name = self.learning.library(owner).take_in(self.place.uploaded(str(file), owner))
            return {**again, **self._live(owner), self.notice: cards.notice(f"<{name}> is on the shelf.", fault=False)}
        except AssistantError as error:
            return {**again, **self._tell(error)}

    def _act(self, event: gr.EventData, request: gr.Request, conversation: str, noun: str, seen: str) -> Iterator[Updates]:
        """Something of this panel was pressed."""
        press = pressed(event)
        work = getattr(self, f"_do_{press.act}", None) if press.act.isalpha() else None
        if work is None:
            return
        try:
            owner = self.desk.owner(request)
            for updates in work(owner, press, noun) or ({},):
                yield {**self._live(owner, seen), self.notice: "", **updates}
        except AssistantError as error:
            yield self._tell(error)

    # acts: generators or None; each gets the owner, the press and the noun in the box

    def _do_take(self, owner: str, press: ButtonEvent, noun: str) -> Iterator[Updates]:
        self.drafts.take(owner, self.place.kept(self.place.manager.turn(_number(press), owner).picture or "", owner))
        yield self._picked(owner, noun)

    def _do_pick(self, owner: str, press: ButtonEvent, noun: str) -> Iterator[Updates]:
        self.drafts.take(owner, self.place.kept(press.argument, owner))
        yield self._picked(owner, noun)

    def _do_remove(self, owner: str, press: ButtonEvent, noun: str) -> Iterator[Updates]:
        self.drafts.remove(owner, _number(press, -1))
        yield self._picked(owner, noun)

    def _do_mask(self, owner: str, press: ButtonEvent, noun: str) -> Iterator[Updates]:
        self.drafts.paint(owner, _number(press, -1), press.fields.get("painted", ""))
        yield self._picked(owner, noun)

    def _do_stop(self, owner: str, press: ButtonEvent, _: str) -> None:
        self.learning.stop(_number(press), owner)

    def _do_resume(self, owner: str, press: ButtonEvent, _: str) -> None:
        self.learning.resume(_number(press), owner)

    def _do_drop(self, owner: str, press: ButtonEvent, _: str) -> None:
        self.learning.drop(_number(press), owner)

    def _do_also(self, owner: str, press: ButtonEvent, _: str) -> None:
        name, _, kind = press.argument.partition(" ")
        self.learning.begin_also(owner, name, kind)

    def _do_save(self, owner: str, press: ButtonEvent, _: str) -> Iterator[Updates]:
        library, name = self.learning.library(owner), press.argument
        to = press.fields.get("name", "").strip().strip("<>")
        library.describe(name, press.fields.get("description", "").strip())
        if to and to != name:
            self.learning.rename(owner, name, to)
        yield {**self._live(owner), self.notice: cards.notice("Saved.", fault=False)}

    def _do_duplicate(self, owner: str, press: ButtonEvent, _: str) -> Iterator[Updates]:
        fresh = self.learning.library(owner).duplicate(press.argument)
        yield {**self._live(owner), self.notice: cards.notice(f"<{fresh}> is a copy of <{press.argument}>.", fault=False)}

    def _do_delete(self, owner: str, press: ButtonEvent, _: str) -> Iterator[Updates]:
        self.learning.library(owner).delete(press.argument)
        yield {**self._live(owner), self.notice: cards.notice(f"The concept <{press.argument}> is deleted.", False, undo=press.argument)}

    def _do_restore(self, owner: str, press: ButtonEvent, _: str) -> Iterator[Updates]:
        name = self.learning.library(owner).restore(press.argument)
        yield {**self._live(owner), self.notice: cards.notice(f"<{name}> is back.", fault=False)}

    def _do_try(self, owner: str, press: ButtonEvent, _: str) -> Iterator[Updates]:
        """A strip: the concept with what was pressed and with nothing else, from one seed."""
        name, _, which = press.argument.partition(" ")
        words = press.fields.get("words", "").strip()[:MOST_WORDS] if which == "own" else ""
        words = words or cards.TRIES[int(which) % len(cards.TRIES) if which.isdecimal() else 0]
        texts, seed = (f"<{name}>", words if f"<{name}>" in words else f"<{name}> {words}"), time.time_ns() % 2**31
        done: list[tuple[str, bytes | None]] = []
        for text in texts:
            yield {self.strip: cards.tried([*done, (text, None)], f"Drawing, seed {seed}")}
            done.append((text, self.learning.try_out(owner, text, seed, threading.Event())))
        yield {self.strip: cards.tried(done, f"Seed {seed}")}

    # inside

    def _picked(self, owner: str, noun: str) -> Updates:
        draft = self.drafts.of(owner)
        suggested = draft.advice.noun if draft.photos and not (noun or "").strip() else gr.skip()
        return {self.chosen: cards.chosen(draft.photos, draft.masks, draft.advice), self.noun: suggested}

    def _live(self, owner: str, seen: str | None = None) -> Updates:
        """Lessons as they are; the shelf, if it is not the one in view already."""
        found, entries = self.learning.lessons(owner), self.learning.library(owner).entries()
        shown = [one for one in found if one.status in ("waiting", "running", "interrupted", "failed")]
        shown.sort(key=lambda one: (_ORDER.index(one.status) if one.open else len(_ORDER), one.id if one.open else -one.id))
        version = str(hash((tuple((e.name, e.kind, e.steps, e.size, e.description) for e in entries), tuple((one.id, one.name, one.status) for one in found))))
        updates: Updates = {self.lessons: cards.lessons([(one, self.learning.waiting(one.id)) for one in shown]),
                            self.timer: gr.Timer(active=any(one.open for one in shown))}
        if version != seen:
            usable = ",".join(dict.fromkeys(e.name for e in entries if not e.problem))
            kinds = tuple(cards.KINDS) if self.place.manager.strips is not None else ()
            offers = {kind: self.learning.expected(owner, kind, self.place.manager.info().lesson_steps[kind]) for kind in kinds}
            updates |= {self.shelf: cards.shelf(entries, found, offers), self.seen: version, self.names: f'<span data-names="{usable}"></span>'}
        return updates

    def _tell(self, error: AssistantError) -> Updates:
        return {self.notice: cards.notice(f"{error.sentence} {error.remedy}")}

    @staticmethod
    def routes(manager: SessionManager, owners: Owners) -> list[Route]:
        """`concepts/<name>.png` and `concepts/<name>.safetensors`, of the owner's own."""
        def library(request: Request) -> Any:
            return needed(manager.learning).library(owners.visitor(request))

        return [served("/concepts/{name:str}.png", lambda request: enlarge(library(request).get(request.path_params["name"]).thumbnail)),
                served("/concepts/{name:str}.safetensors",
                       lambda request: library(request).file(request.path_params["name"], request.query_params.get("kind", "")).read_bytes(), "no-store",
                       "application/octet-stream", lambda request: f"{request.path_params['name']}.safetensors")]


def _number(press: ButtonEvent, otherwise: int = 0) -> int:
    return int(press.argument) if press.argument.isdecimal() and len(press.argument) < 16 else otherwise


MOST = 64  # strengths that are taken from one page


def strengths(so_far: Settings, given: Any) -> Settings:
    """A JSON object, name -> strength; what is not one is passed over, and so is the usual strength of 1."""
    try:
        found = json.loads(given) if isinstance(given, str) and given else {}
    except ValueError:
        found = {}
    kept: dict[str, float] = {}
    for name, value in list(found.items())[:MOST] if isinstance(found, dict) else ():
        if isinstance(value, (int, float)) and math.isfinite(value) and value != 1:
            kept[str(name)[:40]] = min(max(float(value), 0.0), 2.0)
    return replace(so_far, strengths=kept) if kept else so_far


def _usual(steps: Mapping[str, int]) -> str:
    return ", ".join(f"{steps[kind]} for {words}" for kind, words in cards.KINDS.items())


def options(kind: str, usual: int, steps: Any, residuals: Any, flip: Any) -> dict[str, Any]:
    """How a concept is learned."""
    own = {"residuals": _whole(residuals, 1, 4, 1)} if kind == USUAL else {}
    return {"steps": _whole(steps, 20, 2000, usual) if steps else usual, "flip": bool(flip), **own}


def _whole(value: Any, low: int, high: int, usual: int) -> int:
    return int(min(max(value, low), high)) if isinstance(value, (int, float)) and math.isfinite(value) else usual
