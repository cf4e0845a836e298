"""The panel "Mix": a subject, pictures it should be like, and what comes of them. Everything is kept on the board at once.

What the browser sends is words, uploads and names of things; each is checked against the owner by the session.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.routing import Route

from assistant.requests import MOST_SOURCES, Photo, Settings
from assistant.errors import AssistantError, InputError, NotFoundError
from assistant.session.records import Board, StoredTurn
from assistant.session.boards import board_in
from assistant.session.uploads import read_photo
from assistant.session.manager import SessionManager
from . import presenters as views
from ui.auth import Owners
from ui.panel import QUIET, WORDS_ONLY, Panel, PanelContext, ButtonEvent, Updates, fresh_pulse, own_line, pressed, read_index, read_number
from ui.image_routes import enlarge, served

_BEARER = "window.cafeMix(trigger, upload);"  # mix.js


class MixingPanel(Panel):
    """Args: place: the page around."""

    name, title = "mix", "Mix"
    turn_acts = (("add", "To board"),)

    def __init__(self, place: PanelContext) -> None:
        super().__init__(place)
        self.board_jobs, self.boards = place.manager.board_jobs, place.manager.board_jobs.boards
        self.bar = gr.HTML(views.bar([], None), elem_id="mix-bar")
        own_line(self.name)
        self.notice = gr.HTML(elem_id="mix-notice")
        self.alpha = gr.HTML(elem_id="mix-alpha")
        with gr.Row(elem_id="mix-desk"):
            with gr.Column(min_width=0, elem_id="mix-laid"):
                self.form = gr.HTML(views.form(None, place.manager.info()), elem_id="mix-form")
                self.shelf = gr.HTML(views.shelf(None, place.manager.info(), []), elem_id="mix-shelf")
            self.result = gr.HTML(elem_id="mix-result")

    @staticmethod
    def routes(manager: SessionManager, owners: Owners) -> list[Route]:
        """`boards/<id>/sketch/<n>.png`: what is being drawn; `boards/<id>/film.gif`: the last path."""
        def sketch(request: Request) -> bytes | None:
            now = manager.board_jobs.now(request.path_params["board"], owners.visitor(request))
            return enlarge(now.sketches[request.path_params["n"]], 256) if now is not None else None

        return [served("/boards/{board:str}/sketch/{n:int}.png", sketch),
                served("/boards/{board:str}/film.gif", lambda request: manager.board_jobs.film(request.path_params["board"], owners.visitor(request)),
                       kind="image/gif")]

    def wire(self, desk: Any, courier: gr.HTML) -> None:
        self.desk = desk
        bearer = gr.HTML("", js_on_load=_BEARER, elem_classes="courier")
        self.board, self.pulse = gr.Textbox(visible="hidden", elem_id="mix-board"), gr.Textbox(visible="hidden", elem_id="mix-pulse")
        shown = [self.bar, self.notice, self.alpha, self.form, self.shelf, self.result, self.board, self.pulse]
        self.moved = [one for one in shown if one is not self.notice]
        quiet: dict[str, Any] = {**QUIET, "trigger_mode": "multiple"}
        for source in (courier, bearer):
            source.click(self.act, [self.board, desk.parts.box], [*shown, desk.parts.box], js=WORDS_ONLY, api_name="mix_act", **quiet)
        self.pulse.change(self.watch, [self.board, self.pulse], shown, api_name="mix_watch", js="(...values) => { window.cafeMixIdle(); return values; }", **quiet)
        desk.page.load(self.load, None, shown, api_name="mix_load", **QUIET)
        desk.parts.gallery.change(self.refresh, [self.board], [self.shelf], **QUIET)

    def answered(self, turn: StoredTurn, owner: str) -> Updates:
        """A reply that speaks of a board has it beside it."""
        return self._view(owner, self.boards.get(turn.board, owner)) if turn.board and not turn.redraw_of else {}

    # events

    def load(self, request: gr.Request) -> Updates:
        """The board that was used last is open again."""
        try:
            owner = self.desk.owner(request)
            boards = self.boards.of(owner)
            return self._view(owner, boards[0] if boards else None)
        except AssistantError as error:
            return {self.notice: views.mixing_notice(error)}

    def refresh(self, board: str, request: gr.Request) -> Updates:
        """There are other pictures at hand."""
        try:
            owner = self.desk.owner(request)
            return {self.shelf: self._shelf(owner, self.boards.get(board, owner) if board else None)}
        except AssistantError:
            return {self.shelf: gr.skip()}

    def act(self, event: gr.EventData, request: gr.Request, board: str, box: Any) -> Updates:
        """Something of the panel's was pressed, let go or dropped. On an error everything stays where it is."""
        one = pressed(event)
        does = getattr(self, f"_act_{one.act}", None) if one.act.isalpha() else None
        if does is None:
            return {self.pulse: fresh_pulse()}
        try:
            owner = self.desk.owner(request)
            return {self.notice: "", self.pulse: fresh_pulse(), **does(owner, board, one, box)}
        except AssistantError as error:
            return {self.notice: views.mixing_notice(error), self.pulse: fresh_pulse()}

    def watch(self, board: str, pulse: str, request: gr.Request) -> Iterator[Updates]:
        """Follow what the board draws, as long as it is the newest."""
        yield {self.notice: gr.skip()}  # a generator that yields nothing empties its outputs
        try:
            owner = self.desk.owner(request)
            sitting = self.board_jobs.now(board, owner) if board else None
            if sitting is None:
                return
            for now in self.board_jobs.watch(sitting):
                if self.board_jobs.now(board, owner) is not sitting:
                    return
                if not now.done:
                    yield {self.result: views.result(self.boards.get(board, owner), now)}
            view = self._view(owner, self.boards.get(board, owner))
            kept = (self.result, self.form, self.shelf) if sitting.kind == "imagine" else (self.result,)
            yield {part: view[part] for part in kept}
            if sitting.kind == "imagine" and sitting.error is None:  # the board has a reference more
                yield self._drawn(owner, self.boards.get(board, owner), self.result, self.pulse)
        except AssistantError as error:
            yield {self.notice: views.mixing_notice(error)}

    # whole boards

    def _act_open(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._shown(owner, self.boards.get(one.argument, owner))

    def _act_board(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        """From a turn of the chat that lies on one."""
        turn = self.place.manager.turn(read_index(one.argument), owner)
        return self._shown(owner, self.boards.get(turn.board or "", owner))

    def _act_new(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._view(owner, self._create(owner))

    def _act_rename(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        renamed = self.boards.rename(board, owner, one.argument)
        return {self.bar: views.bar(self.boards.of(owner), renamed)}

    def _act_copy(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._view(owner, self.boards.duplicate(board, owner))

    def _act_delete(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        title = self.boards.get(board, owner).title
        self.board_jobs.stop(board, owner)
        self.boards.delete(board, owner)
        rest = self.boards.of(owner)
        return {**self._view(owner, rest[0] if rest else None), self.notice: views.mixing_notice(f"The board “{title}” is deleted.", undo=board)}

    def _act_restore(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._view(owner, self.boards.restore(one.argument, owner))

    # what lies on it

    def _act_put(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        """Uploaded files; a picture that carries a board brings it back instead."""
        paths = _paths(one.fields.get("paths", "[]"))
        files = [self.place.upload(path, owner).read_bytes() for path in paths]
        photos = [(read_photo(data), data) for data in files]  # all or none
        self.place.forget(*paths)
        if len(files) == 1 and one.argument != "subject" and board_in(files[0]) is not None:
            rebuilt, missing = self.boards.rebuild(owner, files[0])
            lost = f"{missing} of its pictures {'is' if missing == 1 else 'are'} not in this data folder; add {'it' if missing == 1 else 'them'} again."
            return {**self._shown(owner, rebuilt), self.notice: views.mixing_notice(f"This picture brought its board back. {lost if missing else ''}".strip())}
        return self._added(owner, board, one.argument, [photo for photo, _ in photos], "added")

    def _act_bring(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        """A picture that is on the page already: "reference.<name>", or a ready subject's number."""
        what, _, name = one.argument.partition(".")
        if name.startswith("ready"):
            subjects, number = self.place.manager.info().subjects, read_index(name[5:])
            if number >= len(subjects):
                raise NotFoundError("This ready subject is not here any more.", "Reload the page.")
            photo = subjects[number].photo
        else:
            photo = self.place.kept(name, owner)
        return self._added(owner, board, what, [photo], "gallery")

    def _act_add(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._added(owner, board, "auto", [self.place.kept(self.place.manager.turn(read_index(one.argument), owner).picture or "", owner)], "chat")

    def _act_take(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        what, _, number = one.argument.partition(".")
        return self._drawn(owner, self.boards.take(board, owner, what, read_index(number)))

    def _act_swap(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._drawn(owner, self.boards.swap(board, owner, read_index(one.argument)))

    def _act_turn(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._drawn(owner, self.boards.turn(board, owner, read_index(one.argument)))

    def _act_words(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        where = board or self._create(owner).id
        return self._drawn(owner, self.boards.add_reference(where, owner, words=one.fields.get("words", ""), origin="words"))

    def _act_imagine(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        words = " ".join(one.fields.get("words", "").split())
        if not words:
            raise InputError("There are no words for this reference yet.", "Write what it should be like.")
        where = self.boards.get(board, owner) if board else self._create(owner)
        if len(where.references) >= MOST_SOURCES:
            raise InputError(f"The board has {len(where.references)} references already, which is as many as fit.", "Take one away first.")
        sitting = self.board_jobs.imagine(where.id, owner, words, self._settings(where.seed))
        return {self.board: where.id, self.result: views.result(where, sitting), self.pulse: fresh_pulse()}

    def _act_set(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        """A slider was let go. The form stays as it is: another may be held already."""
        held = self.boards.get(board, owner)
        weights = [read_number(one.fields.get(f"w{k}"), r.weight) for k, r in enumerate(held.references)]
        changed = self.boards.set(board, owner, read_number(one.fields.get("alpha"), held.alpha), weights,
                                  keep_subject=min(max(read_number(one.fields.get("keep"), held.keep_subject), 0.0), 10.0),
                                  follow=min(max(read_number(one.fields.get("follow"), held.follow), 0.0), 10.0))
        return self._drawn(owner, changed, self.result, self.pulse)

    # what comes of it

    def _act_seed(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._drawn(owner, self.boards.set(board, owner, seed=secrets.randbelow(2**31)))

    def _map(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        sitting = self.board_jobs.draw(board, owner, self._settings(), one.act)
        return {self.result: views.result(self.boards.get(board, owner), sitting), self.pulse: fresh_pulse()}

    _act_strip = _act_grid = _act_film = _map

    def _act_again(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        sitting = self.board_jobs.again(board, owner, self._settings())
        return {self.result: views.result(self.boards.get(board, owner), sitting), self.pulse: fresh_pulse()}

    def _act_pick(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        return self._view(owner, self.boards.pick(board, owner, read_index(one.argument)))

    def _act_stop(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        self.board_jobs.stop(board, owner)
        return {}

    def _act_send(self, owner: str, board: str, one: ButtonEvent, box: Any) -> Updates:
        """The result becomes the next turn's picture; what is written in the box stays."""
        cell = self.boards.get(board, owner).result
        if cell is None:
            raise NotFoundError("Nothing has been drawn on this board yet.", "Add a subject and a reference.")
        return self.desk.put(cell.picture, owner, box if isinstance(box, dict) else {})

    # inside

    def _added(self, owner: str, board: str, what: str, photos: list[Photo], origin: str) -> Updates:
        one = self.boards.get(board, owner) if board else self._create(owner)
        free = MOST_SOURCES - len(one.references) + (what != "reference" and not one.subjects)
        if what != "subject" and len(photos) > free:  # all or none
            raise InputError(f"{len(one.references) + len(photos)} references are more than the {MOST_SOURCES} that fit on a board.", "Choose fewer.")
        for photo in photos:
            if what == "subject" or (what != "reference" and not one.subjects):
                one = self.boards.add_subject(one.id, owner, photo)
            else:
                one = self.boards.add_reference(one.id, owner, photo, origin=origin)
        return self._drawn(owner, one)

    def _drawn(self, owner: str, one: Board, *parts: Any) -> Updates:
        """The board as it is now, being drawn anew if it has a subject. `parts`: only these are shown anew."""
        if one.subjects:
            self.board_jobs.draw(one.id, owner, self._settings())
        view = self._view(owner, one)
        return {part: view[part] for part in parts} if parts else view

    def _shown(self, owner: str, one: Board) -> Updates:
        return self._view(owner, one) if one.result or not one.subjects else self._drawn(owner, one)

    def _view(self, owner: str, one: Board | None) -> Updates:
        manager = self.place.manager
        return {self.bar: views.bar(self.boards.of(owner), one), self.alpha: views.alpha(one),
                self.form: views.form(one, manager.info()), self.shelf: self._shelf(owner, one),
                self.result: views.result(one, self.board_jobs.now(one.id, owner) if one else None), self.board: one.id if one else "",
                self.pulse: fresh_pulse()}

    def _shelf(self, owner: str, one: Board | None) -> str:
        return views.shelf(one, self.place.manager.info(), self.place.manager.gallery(owner))

    def _create(self, owner: str) -> Board:
        """An empty board, with the preset's strengths."""
        info = self.place.manager.info()
        return self.boards.create(owner, alpha=info.alpha, keep_subject=info.keep_subject, follow=info.follow_words)

    def _settings(self, seed: int | None = None) -> Settings:
        info = self.place.manager.info()
        return Settings(seed=seed, steps=info.steps, scheduler=info.sampler)


def _paths(text: str) -> list[str]:
    """What a browser sent as the paths of uploads. Raises InputError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(path, str) and "\0" not in path and len(path) < 4096 for path in found):
        raise InputError("What was dropped did not arrive whole.", "Drop it again.")
    return found
