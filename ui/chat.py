"""What the page does when somebody does something. Handlers take values and return components' new values.

The browser is trusted with nothing but words, uploads and names of things; every name is checked against the owner by
the session. Watching is one generator (`watch`) for every way a turn can have started, a reload included.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from assistant.errors import AssistantError, BusyError, MessageError, NotFoundError
from assistant.requests import Event, Photo, Progress, Reply, Settings, Waiting, Words
from assistant.session.uploads import read_photo
from . import generation_panel, presenters
from ui.panel import Panel, PanelContext, Updates, fresh_pulse, pressed, read_index

MAX_WINDOWS = 4096  # remembered browser windows


@dataclass(frozen=True)
class PageComponents:
    """The components that handlers write to."""

    chat: gr.Chatbot
    box: gr.MultimodalTextbox
    conversation: gr.Textbox  # id of the conversation in view, "" for a new one
    pulse: gr.Textbox  # changes when there may be something to watch
    stage: gr.HTML
    notice: gr.HTML
    list: gr.HTML
    gallery: gr.HTML
    seed: gr.Textbox


class ChatController:
    """Handlers of one page, for all its visitors.

    Args:
        panels: in the order in which handlers get the values of their inputs.
    """

    def __init__(self, place: PanelContext, parts: PageComponents, panels: Sequence[Panel], page: gr.Blocks) -> None:
        self.place, self.manager, self.owners, self.parts, self.panels, self.page = place, place.manager, place.owners, parts, tuple(panels), page
        self._under = tuple((f"{panel.name}.{act}", label) for panel in panels for act, label in panel.turn_acts)
        self._masks = self.manager.info().masks
        self._watching: OrderedDict[str, str] = OrderedDict()  # browser session: the pulse of the watch that may write
        self._acts: dict[str, Callable[..., Updates]] = {
            "new": self._new, "open": self._open, "delete": self._delete, "restore": self._restore, "rename": self._rename,
            "subject": self._subject, "wish": self._wish, "redraw": self._redraw, "retry": self._redraw,
            "pin": self._pin, "unpin": self._unpin, "use": self._use,
            "without": self._without}

    # events of gradio

    def load(self, address: str, request: gr.Request) -> Updates:
        """The page was opened or reloaded; `address` is the conversation its address names."""
        try:
            owner = self.owner(request)
            if address:
                try:
                    return self._view(owner, address)
                except NotFoundError as error:
                    return self._view(owner, "", error)
            view = self._view(owner, "")
            view.pop(self.parts.stage)  # it is there from the start, and a subject may have been chosen meanwhile
            return view
        except AssistantError as error:
            return self._tell(error)

    def send(self, request: gr.Request, message: dict[str, Any] | None, conversation: str, *values: Any) -> Updates:
        """The box was sent. On an error everything typed stays where it is."""
        self._only(request)
        message = message or {}
        files = message.get("files") or []
        try:
            owner = self.owner(request)
            photo, *others = [self.place.uploaded(file, owner) for file in files] or [None]
            updates = self._send(owner, conversation, message.get("text") or "", photo, self.settings(values), others)
        except BusyError as error:  # another window may have asked: what is being answered is shown, with its Stop
            return self._view(owner, conversation, error) if conversation else self._tell(error)
        except AssistantError as error:
            return self._tell(error)
        self.place.forget(*files)  # the store has its own copy
        return {**updates, self.parts.box: gr.update(value={"text": "", "files": []}, submit_btn=False, stop_btn=True)}

    def look(self, message: dict[str, Any] | None, request: gr.Request) -> Updates:
        """Something came into the box: what is no picture is said before it is sent."""
        try:
            for file in (message or {}).get("files") or []:
                read_photo(self.place.uploaded(file, self.owner(request)))
        except AssistantError as error:
            return {self.parts.notice: presenters.notice(error)}
        return {self.parts.notice: ""}

    def act(self, event: gr.EventData, request: gr.Request, conversation: str, message: dict[str, Any] | None,
            *values: Any) -> Updates:
        """Something with data-act was pressed."""
        self._only(request)
        one = pressed(event)
        act = self._acts.get(one.act)
        if act is None:
            return self._tell("")
        try:
            return act(owner=self.owner(request), argument=one.argument, conversation=conversation, message=message or {}, values=values,
                       fields=one.fields)
        except AssistantError as error:
            return self._tell(error)

    def stop(self, conversation: str, request: gr.Request) -> Updates:
        try:
            self.manager.stop(conversation, self.owner(request))
        except AssistantError as error:
            return {self.parts.notice: presenters.notice(error)}
        return {self.parts.notice: ""}

    def watch(self, conversation: str, seed: Any, pulse: str, request: gr.Request) -> Iterator[Updates]:
        """Follow the turn in work, if there is one, to its end; then show what has become of it.

        A later action in the same window ends it. (Gradio's own `cancels` misses a watch that has just begun.)
        """
        self._only(request, pulse)
        under, moved = None, {}
        try:
            owner = self.owner(request)
            events = self.manager.attach(conversation, owner) if conversation else None
            if events is not None and self._watching.get(request.session_hash or "") == pulse:
                turns = self.manager.open(conversation, owner)[1]
                before = presenters.conversation_messages(turns[:-1], _pinned(seed), self._under, self._masks)
                before.append(presenters.user_message(turns[-1], self._masks))
                yield {self.parts.box: gr.update(submit_btn=False, stop_btn=True)}  # it may have begun in another window
                for live, under in live_messages(turns[-1].id, events):
                    if self._watching.get(request.session_hash or "") != pulse:
                        return
                    yield {self.parts.chat: [*before, live]}
                answered = self.manager.turn(turns[-1].id, owner)
                moved = {part: value for panel in self.panels for part, value in panel.answered(answered, owner).items()}
        except AssistantError:
            pass  # the turn carries its sentence
        if self._watching.get(request.session_hash or "") != pulse:
            return
        try:  # also if there was none: it may have ended since the page was drawn
            view = self._view(self.owner(request), conversation, pinned=_pinned(seed), under=under)  # raises again for who has no cookie
            for kept in (self.parts.pulse, self.parts.conversation, self.parts.stage, self.parts.notice):
                view.pop(kept)
            yield {**view, **moved}
        except AssistantError as error:
            yield {self.parts.notice: presenters.notice(error)}

    # acts

    def _new(self, owner: str, **_: Any) -> Updates:
        return self._view(owner, "")

    def _open(self, owner: str, argument: str, **_: Any) -> Updates:
        return self._view(owner, argument)

    def _delete(self, owner: str, argument: str, conversation: str, **_: Any) -> Updates:
        gone = self.manager.open(argument, owner)[0]
        self.manager.delete(argument, owner)
        view = self._view(owner, "" if argument == conversation else conversation)
        return {**view, self.parts.notice: presenters.deleted_notice(gone, argument == conversation)}

    def _restore(self, owner: str, argument: str, conversation: str, **_rest: Any) -> Updates:
        """The reader stays where they are, unless that is the place the conversation was deleted from."""
        which, _, shown = argument.partition(" ")
        self.manager.restore(which, owner)
        return self._view(owner, conversation or (which if shown else ""))

    def _rename(self, owner: str, argument: str, conversation: str, fields: dict[str, str], **_: Any) -> Updates:
        self.manager.rename(argument, owner, fields.get("title", "").strip() or self.manager.open(argument, owner)[0].title)
        return {**self._tell(""), self.parts.list: presenters.conversation_list(self.manager.list(owner), conversation, time.time())}

    def _subject(self, owner: str, argument: str, conversation: str, message: dict[str, Any], **_: Any) -> Updates:
        number, _wish = self._ready(argument)
        empty = not conversation
        return {**self._tell(""), self.parts.stage: presenters.stage(self.manager.info(), empty, number),
                **self._put(self.manager.info().subjects[number].photo, message)}

    def _wish(self, owner: str, argument: str, conversation: str, values: Any, **_: Any) -> Updates:
        number, wish = self._ready(argument)
        subject = self.manager.info().subjects[number]
        updates = self._send(owner, conversation, subject.wishes[wish], subject.photo, self.settings(values))
        return {**updates, self.parts.box: gr.update(value={"text": "", "files": []}, submit_btn=False, stop_btn=True)}

    def _redraw(self, owner: str, argument: str, conversation: str, values: Any, **_: Any) -> Updates:
        settings = self.settings(values)
        self.manager.redraw(read_index(argument), owner, settings)
        return self._view(owner, conversation, pinned=settings.seed)

    def _without(self, owner: str, argument: str, conversation: str, values: Any, **_rest: Any) -> Updates:
        turn, _, part = argument.partition("_")
        settings = self.settings(values)
        self.manager.without(read_index(turn), read_index(part), settings, owner)
        return self._view(owner, conversation, pinned=settings.seed)

    def _pin(self, owner: str, argument: str, conversation: str, **_: Any) -> Updates:
        seed = next((t.seed for t in self.manager.open(conversation, owner)[1] if str(t.id) == argument), None)
        view = self._view(owner, conversation, pinned=seed)
        return {**view, self.parts.seed: "" if seed is None else str(seed)}

    def _unpin(self, owner: str, conversation: str, **_: Any) -> Updates:
        return {**self._view(owner, conversation), self.parts.seed: ""}

    def _use(self, owner: str, argument: str, message: dict[str, Any], **_: Any) -> Updates:
        photo = self.manager.picture_as_photo(read_index(argument), owner)
        return {**self._tell(""), **self._put(photo, message)}

    # inside

    def _only(self, request: gr.Request, pulse: str = "") -> None:
        """From now on only the watch of this pulse writes to this window, unless a later one does already: pulses only grow, and a busy machine may
        bring an earlier one late. The hash guards no secret, just the view."""
        window = request.session_hash or ""
        last = self._watching.get(window, "")
        if pulse and (len(pulse), pulse) < (len(last), last):
            return
        self._watching[window] = pulse
        self._watching.move_to_end(window)
        while len(self._watching) > MAX_WINDOWS:
            self._watching.popitem(last=False)

    def owner(self, request: gr.Request) -> str:
        return self.owners.of(request.username, request.cookies)

    def settings(self, values: Sequence[Any]) -> Settings:
        """What all panels together say of how to draw."""
        found, at = Settings(), 0
        for panel in self.panels:
            found = panel.settings(found, *values[at:at + len(panel.inputs)])
            at += len(panel.inputs)
        return found

    def put(self, name: str, owner: str, message: dict[str, Any]) -> Updates:
        """A kept picture of this owner's into the box, beside the words that are in it. Raises AssistantError."""
        return self._put(read_photo(self.manager.picture(name, owner)), message)

    def _put(self, photo: Photo, message: dict[str, Any]) -> Updates:
        """Into the box, beside the words that are in it already."""
        return {self.parts.box: gr.update(value={"text": message.get("text") or "", "files": [self.place.shown(photo)]})}

    def say(self, owner: str, conversation: str, text: str, settings: Settings) -> Updates:
        """Send a message for a panel, drawn with just these settings. Raises AssistantError."""
        updates = self._send(owner, conversation, text, None, settings)
        return {**updates, self.parts.box: gr.update(submit_btn=False, stop_btn=True)}

    def _send(self, owner: str, conversation: str, text: str, photo: Any, settings: Settings, others: Sequence[Any] = ()) -> Updates:
        where = conversation or self.manager.new(owner).id
        try:
            self.manager.send(where, text, photo, settings, owner, others)
        except AssistantError:
            if not conversation:
                self.manager.delete(where, owner)
            raise
        return self._view(owner, where, pinned=settings.seed)

    def _tell(self, error: AssistantError | str) -> Updates:
        return {self.parts.notice: presenters.notice(error), self.parts.pulse: fresh_pulse()}

    def _view(self, owner: str, conversation: str, error: AssistantError | str = "", pinned: int | None = None,
              under: str | None = None) -> Updates:
        """Everything that shows a conversation, or the empty page."""
        turns = self.manager.open(conversation, owner)[1] if conversation else []
        busy = bool(turns) and turns[-1].status in ("waiting", "running")
        messages = presenters.conversation_messages(turns[:-1] if busy else turns, pinned, self._under, self._masks)
        if under and not busy:
            messages[-1] = presenters.reply_message(turns[-1], pinned, under, self._under)
        if busy:
            messages += [presenters.user_message(turns[-1], self._masks), presenters.live_message(turns[-1].id, turns[-1].reply)]
        return {
            self.parts.chat: messages,
            self.parts.conversation: conversation,
            self.parts.stage: presenters.stage(self.manager.info(), empty=not turns),
            self.parts.notice: presenters.notice(error),
            self.parts.list: presenters.conversation_list(self.manager.list(owner), conversation, time.time()),
            self.parts.gallery: presenters.gallery(self.manager.gallery(owner)),
            self.parts.box: gr.update(submit_btn=not busy, stop_btn=busy),
            self.parts.pulse: fresh_pulse(),
        }

    def _ready(self, argument: str) -> tuple[int, int]:
        """ "3.1" is wish 1 of ready subject 3; "3" is the subject."""
        first, _, second = argument.partition(".")
        number, wish = read_index(first), read_index(second or "0")
        subjects = self.manager.info().subjects
        if number >= len(subjects) or (second and wish >= len(subjects[number].wishes)):
            raise NotFoundError("This ready subject is not here any more.", "Reload the page.")
        return number, wish


def _pinned(seed: Any) -> int | None:
    try:
        return generation_panel.read_seed(seed)
    except MessageError:
        return None


def live_messages(turn_id: int, events: Iterator[Event]) -> Iterator[tuple[presenters.Message, str | None]]:
    """Events to the message of a turn in work, as often as it changes, and the address of its newest preview."""
    text, waiting, progress, shown, started = "", None, None, (), None
    for event in events:
        left = None
        if isinstance(event, Waiting):
            waiting = event.position
        elif isinstance(event, Words):
            text, waiting = text + event.delta, None
        elif isinstance(event, Progress):
            waiting, progress = None, event
            shown = (*shown[-1:], event.step) if event.preview else shown
            if started is None:
                started = (time.monotonic(), event.step)
            elif event.step > started[1]:
                pace = (time.monotonic() - started[0]) / (event.step - started[1])
                left = pace * (event.steps - event.step)
        elif isinstance(event, Reply):
            return
        yield (presenters.live_message(turn_id, text, waiting, progress, shown, left),
               presenters.live_address(turn_id, shown[-1]) if shown else None)
