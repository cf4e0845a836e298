"""The panel "Likeness": between what was learned and what was said. A strip over lambda, where each branch acted, and a pick.

What is drawn is kept by the session; the panel shows it. The slider also holds for the chat, for messages that name such a concept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.routing import Route

from assistant.errors import AssistantError, ConceptError, MessageError, PhotoError
from assistant.messages import Progress, Settings, Task
from assistant.session.intake import read_photo
from assistant.session.manager import SessionManager
from assistant.strip import STRENGTHS, StripReply
from ui.drawing import read_seed
from ui.owners import Owners
from ui.panel import Panel, Place, Press, Updates, pressed, read_number
from ui.pictures import enlarge, served
from ui.html import say
from ui.presenters import notice

_LOOK = "() => document.querySelector('.likeness-strip')?.scrollIntoView({block: 'center', behavior: 'smooth'})"
KIND = "ico"  # what is learned here; other concepts have no likeness to slide
WATCH_EVERY = 0.8  # seconds
BRANCHES = (("Imagination (auxiliary branch)", "auxiliary"), ("Likeness (concept branch)", "concept"))


class Likeness(Panel):
    """See the module."""

    name, title = "likeness", "Likeness"

    @staticmethod
    def fits(manager: SessionManager) -> bool:
        return manager.strips is not None

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.strips, self.learning = place.manager.strips, place.manager.learning
        self._picked: dict[str, int] = {}
        usual = Settings()
        gr.HTML('<p class="quiet">Looks like it but ignores your words? Follows your words but is not it any more? Draw a strip and pick.</p>')
        self.shelf = gr.HTML("", elem_id="likeness-shelf")
        with gr.Accordion("Learn something for this", open=False, elem_id="likeness-learn") as self.lesson:
            self.drop = gr.File(file_count="multiple", file_types=["image"], label="1 to 8 pictures of it", elem_id="likeness-drop", height=116)
            with gr.Row(elem_id="likeness-words"):
                self.noun = gr.Textbox(label="What kind of thing", placeholder="cat, mug, ...", max_length=60, min_width=100, elem_id="likeness-noun")
                self.called = gr.Textbox(label="Its name", placeholder="rex", max_length=40, min_width=100, elem_id="likeness-name")
            self.steps = gr.Slider(20, 1000, 300, step=10, label="Steps", info="More is truer to the pictures, and more stubborn. Usually 300.",
                                   buttons=[], elem_id="likeness-steps")
            self.learn = gr.Button("Learn it", elem_id="likeness-begin")
        self.lessons = gr.HTML("", elem_id="likeness-lessons")
        self.prompt = gr.Textbox(label="What to draw", placeholder="<rex> in the snow at night", max_length=400, lines=2, elem_id="likeness-prompt")
        self.strength = gr.Slider(-2, 2, usual.imagination, step=0.1, buttons=[], elem_id="likeness-lambda", label="Likeness ↔ imagination",
                                  info=f"Left: nearer to your pictures. Right: nearer to your words. Usually {usual.imagination:g} (λ). Holds in the chat too.")
        with gr.Accordion("More", open=False, elem_id="likeness-more"):
            self.window = gr.Slider(0, 1, usual.window, step=0.05, buttons=[], label="Window", elem_id="likeness-window",
                                    info=f"Share of the drawing in which imagination is heard. Usually {usual.window:g}; 0: never.")
            self.auxiliary = gr.Textbox(label="Imagine instead of it", placeholder="proposed for each prompt", max_length=40, elem_id="likeness-noun-other",
                                        info="Any common noun but its own. Empty: one that is likely there.")
            self.seed = gr.Textbox(label="Seed", placeholder="new each time", max_length=20, elem_id="likeness-seed")
        with gr.Row():
            self.go = gr.Button("Draw the strip", variant="primary", elem_id="likeness-draw")
            self.halt = gr.Button("Stop", elem_id="likeness-stop", visible=False)
        self.notice = gr.HTML("", elem_id="likeness-notice")
        self.result = gr.HTML("", elem_id="likeness-result")
        with gr.Column(visible=False, elem_id="likeness-masks") as self.viewer:
            self.scale = gr.Dropdown([], label="Where it acted, by scale", elem_id="likeness-scale", filterable=False)
            self.branch = gr.Dropdown(BRANCHES, value="auxiliary", label="Which branch", elem_id="likeness-branch", filterable=False)
            self.opacity = gr.Slider(0, 1, 0.6, step=0.05, label="Opacity", buttons=[], elem_id="likeness-opacity")
            with gr.Row():
                self.step = gr.Dropdown([], label="Step", min_width=100, elem_id="likeness-step", filterable=False)
                self.head = gr.Dropdown([], label="Head", min_width=100, elem_id="likeness-head", filterable=False)
            self.mask = gr.HTML("", elem_id="likeness-mask")
        self.inputs = [self.strength, self.window, self.auxiliary]

    def settings(self, so_far: Settings, strength: Any = None, window: Any = None, auxiliary: Any = "") -> Settings:
        usual = Settings()
        return replace(so_far, imagination=read_number(strength, usual.imagination), window=read_number(window, usual.window),
                       auxiliary=str(auxiliary or "").strip()[:40])

    def wire(self, desk: Any, courier: gr.HTML) -> None:
        self.desk = desk
        self.timer = gr.Timer(WATCH_EVERY, active=False)
        self.shown = gr.Textbox("", visible="hidden")  # changes with the strip in view
        common = dict(api_visibility="private", show_progress="hidden")
        lines = [self.shelf, self.lessons, self.timer]
        look = [self.scale, self.branch, self.opacity, self.step, self.head]
        drawn = [self.notice, self.result, self.go, self.halt, self.viewer, *look, self.mask, self.seed, self.shown]
        parts = desk.parts
        page = [parts.chat, parts.box, parts.conversation, parts.pulse, parts.stage, parts.notice, parts.list, parts.gallery, parts.seed]
        desk.page.load(self._load, None, [*lines, *drawn], **common)
        self.timer.tick(self._live, None, lines, **common)
        self.learn.click(self._learn, [self.drop, self.noun, self.called, self.steps], [*lines, self.notice, self.lesson, self.drop, self.noun, self.called], **common)
        asked = [self.prompt, self.window, self.auxiliary, self.seed]
        for start in (self.go.click, self.prompt.submit):
            start(self._draw, asked, drawn, **common).then(None, js=_LOOK, **common)
        self.halt.click(self._stop, None, None, **common)
        courier.click(self._act, [self.prompt, parts.conversation], [*drawn, *page, *lines, self.prompt, self.strength, self.auxiliary], trigger_mode="multiple", **common)
        for one in look:
            one.change(self._mask, look, [self.mask, self.notice], trigger_mode="always_last", **common)

    # events

    def _load(self, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            return {**self._lines(owner), **self._view(owner)}
        except AssistantError as error:
            return {self.notice: notice(error)}

    def _live(self, request: gr.Request) -> Updates:
        try:
            return self._lines(self.desk.owner(request))
        except AssistantError:
            return {self.timer: gr.Timer(active=False)}

    def _learn(self, files: Any, noun: str, name: str, steps: Any, request: gr.Request) -> Updates:
        """On an error all that was chosen stays."""
        try:
            owner, noun, name = self.desk.owner(request), (noun or "").strip(), (name or "").strip().strip("<>")
            files = files if isinstance(files, list) else [files] if files else []
            if not files:
                raise PhotoError("There is nothing to learn from yet.", "Add some pictures above.")
            if not noun or not name:
                raise MessageError("It needs a kind and a name.", "Say for instance: cat, rex.")
            photos = tuple(read_photo(Path(str(file))) for file in files)
            self.learning.begin(owner, Task(name, noun, photos, kind=KIND, options={"steps": int(min(1000, max(1, read_number(steps, 300))))}))
        except AssistantError as error:
            return {self.notice: notice(error)}
        self.place.forget(*map(str, files))
        return {**self._lines(owner), self.notice: "", self.lesson: gr.Accordion(open=False), self.drop: None, self.noun: "", self.called: ""}

    def _draw(self, prompt: str, window: Any, auxiliary: str, seed: Any, request: gr.Request) -> Iterator[Updates]:
        try:
            owner = self.desk.owner(request)
            info = self.place.manager.info()
            settings = self.settings(Settings(seed=read_seed(seed), steps=info.steps, scheduler=info.sampler, preview_every=0), None, window, auxiliary)
            yield {self.notice: "", self.go: gr.update(interactive=False), self.halt: gr.update(visible=True), self.result: drawing(None, 0.0)}
            began, pace = time.monotonic(), 0.0
            for event in self.strips.draw(owner, prompt or "", settings):
                if isinstance(event, Progress):
                    pace = (time.monotonic() - began) / event.step
                    yield {self.result: drawing(event, pace * (event.steps - event.step))}
                elif not event.stopped:
                    self._pick(owner, min(range(len(STRENGTHS)), key=lambda k: abs(STRENGTHS[k] - settings.imagination)))
            yield {**self._view(owner), self.notice: ""}
        except AssistantError as error:
            yield {**self._view(owner), self.notice: notice(error)}

    def _stop(self, request: gr.Request) -> None:
        self.strips.stop(self.desk.owner(request))

    def _act(self, event: gr.EventData, request: gr.Request, prompt: str, conversation: str) -> Updates:
        press = pressed(event)
        work = getattr(self, f"_do_{press.act}", None) if press.act.isalpha() else None
        if work is None:
            return {self.notice: ""}
        try:
            return {self.notice: "", **work(self.desk.owner(request), press, prompt or "", conversation)}
        except AssistantError as error:
            return {self.notice: notice(error)}

    def _mask(self, scale: Any, branch: Any, opacity: Any, step: Any, head: Any, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            return {self.mask: mask(self._address(owner, scale, branch, opacity, step, head), branch == "auxiliary", self.strips.newest(owner))}
        except AssistantError as error:
            return {self.notice: notice(error)}

    # acts

    def _do_use(self, owner: str, press: Press, prompt: str, conversation: str) -> Updates:
        """A concept's chip: its name into the prompt."""
        name = f"<{press.argument}>"
        return {self.prompt: prompt if name in prompt else f"{prompt.rstrip()} {name} ".lstrip()}

    def _do_pick(self, owner: str, press: Press, prompt: str, conversation: str) -> Updates:
        reply = self.strips.newest(owner)
        chosen = self.strips.settings_of(owner, int(press.argument) if press.argument.isdecimal() and len(press.argument) < 3 else -1)
        self._pick(owner, int(press.argument))
        return {**self._view(owner), self.strength: chosen.imagination, self.auxiliary: reply.noun}

    def _do_send(self, owner: str, press: Press, prompt: str, conversation: str) -> Updates:
        """The picture that was picked, into the conversation: the same words and settings, hence the same picture."""
        reply, number = self.strips.newest(owner), self._picked.get(owner, 0)
        return self.desk.say(owner, conversation, reply.pictures[number].metadata["prompt"], self.strips.settings_of(owner, number))

    # inside

    def _pick(self, owner: str, number: int) -> None:
        self._picked[owner] = number
        while len(self._picked) > 4096:
            self._picked.pop(next(iter(self._picked)))

    def _lines(self, owner: str) -> Updates:
        """What can be used, and what is being learned for here."""
        library = self.learning.library(owner)
        there = [e for e in library.entries() if e.kind == KIND]
        open_ = [one for one in self.learning.lessons(owner) if one.kind == KIND and one.status in ("waiting", "running", "failed", "interrupted")]
        return {self.shelf: shelf(there), self.lessons: lessons(open_), self.timer: gr.Timer(active=any(one.open for one in open_))}

    def _view(self, owner: str) -> Updates:
        """The newest strip, as it was picked from, or nothing."""
        idle = {self.go: gr.update(interactive=True), self.halt: gr.update(visible=False)}
        try:
            reply = self.strips.newest(owner)
        except AssistantError:
            return {**idle, self.result: "", self.viewer: gr.update(visible=False)}
        number, masks = min(self._picked.get(owner, 0), len(reply.pictures) - 1), reply.masks
        out = {**idle, self.result: strip(reply, number, self._version(reply)), self.seed: str(reply.settings.seed), self.viewer: gr.update(visible=masks is not None)}
        if masks is not None:
            scale = masks.scales[-1]
            address = self._address(owner, scale, "auxiliary", 0.6, 0, 0)
            out |= {self.scale: gr.Dropdown([(scale_said(s), s) for s in masks.scales], value=scale), self.branch: "auxiliary", self.opacity: 0.6,
                    self.step: gr.Dropdown([("mean", 0), *((str(k), k) for k in range(1, masks.steps + 1))], value=0),
                    self.head: gr.Dropdown([("mean", 0), *((str(k), k) for k in range(1, masks.heads + 1))], value=0),
                    self.mask: mask(address, True, reply)}
        return out

    def _version(self, reply: Any) -> str:
        return f"{id(reply):x}"

    def _address(self, owner: str, scale: Any, branch: Any, opacity: Any, step: Any, head: Any) -> str:
        return (f"likeness/mask/{self._picked.get(owner, 0)}.png?scale={str(scale)[:20].replace(' ', '+')}&branch={'concept' if branch == 'concept' else 'auxiliary'}"
                f"&opacity={read_number(opacity, 0.6):.2f}&step={int(read_number(step, 0))}&head={int(read_number(head, 0))}&v={self._version(self.strips.newest(owner))}")

    @staticmethod
    def routes(manager: SessionManager, owners: Owners) -> list[Route]:
        """`likeness/<n>.png`, `likeness/other.png` (the auxiliary branch) and `likeness/mask/<n>.png`, of the owner's newest strip."""
        def picture(find: Callable[[StripReply, Request], bytes]) -> Callable[[Request], bytes]:
            def found(request: Request) -> bytes:
                png = find(manager.strips.newest(owners.visitor(request)), request)
                return enlarge(png) if png and "download" not in request.query_params else png
            return found

        def mask(reply: StripReply, request: Request) -> bytes:
            query = request.query_params
            if reply.masks is None:
                raise ConceptError("There are no masks.")
            step, head = int(query.get("step", "0")), int(query.get("head", "0"))
            return reply.masks.over(request.path_params["n"], query.get("scale", ""), float(query.get("opacity", "0.6")), query.get("branch") != "concept",
                                    step - 1 if step else None, head - 1 if head else None)

        return [served(f"/likeness/{path}.png", picture(find), "private, max-age=3600", saved_as=lambda _: "likeness.png") for path, find in (
            ("other", lambda reply, _: reply.auxiliary_png), ("mask/{n:int}", mask),
            ("{n:int}", lambda reply, request: reply.pictures[request.path_params["n"]].png))]


WAYS = {"down": "on the way down", "middle": "in the middle", "up": "on the way up"}


def shelf(entries: Sequence[Any]) -> str:
    """Chips of the concepts that have a likeness to slide; what cannot be used says why."""
    if not entries:
        return '<p class="quiet">Nothing is learned for this yet. Open the line below and show me something.</p>'
    chips = "".join(f'<button type="button" class="chip" data-act="likeness.use" data-arg="{escape(e.name)}">&lt;{say(e.name)}&gt; <span class="quiet">{say(e.noun)}</span></button>'
                    for e in entries if not e.problem)
    problems = "".join(f'<p class="quiet">{say(e.problem)}</p>' for e in entries if e.problem)
    return f'<div class="likeness-chips">{chips}</div>{problems}'


def lessons(found: Sequence[Any]) -> str:
    lines = []
    for one in found:
        if one.error:
            lines.append(f'<div class="fault">{say(one.error)}</div>')
            continue
        share = 100 * one.step / max(1, one.steps)
        left = f", about {one.left:.0f} s left" if one.left and one.left >= 1 else ""
        lines.append(f'<div class="likeness-lesson">Learning &lt;{say(one.name)}&gt;, step {one.step} of {one.steps or "…"}{left}'
                     f'<span class="bar"><span style="width:{share:.0f}%"></span></span></div>')
    return "".join(lines)


def drawing(progress: Progress | None, left: float) -> str:
    if progress is None:
        return '<div class="likeness-lesson" role="status">Reading both prompts</div>'
    more = f", about {left:.0f} s left" if left >= 1 else ""
    return (f'<div class="likeness-lesson" role="status">Drawing, step {progress.step} of {progress.steps}{more}'
            f'<span class="bar"><span style="width:{100 * progress.step / max(1, progress.steps):.0f}%"></span></span></div>')


def strip(reply: StripReply, chosen: int, version: str) -> str:
    """The strip to pick from; below, both branches side by side."""
    cells = "".join(
        f'<button type="button" class="likeness-cell" data-act="likeness.pick" data-arg="{k}" aria-pressed="{str(k == chosen).lower()}" title="λ = {one.strength:g}">'
        f'<img src="likeness/{k}.png?v={version}" alt="λ = {one.strength:g}"><span>{one.strength:g}</span></button>' for k, one in enumerate(reply.pictures))
    ends = '<div class="likeness-ends"><span>likeness</span><span>imagination</span></div>'
    picked = reply.pictures[chosen]
    acts = (f'<div class="acts"><button type="button" class="act" data-act="likeness.send">Send to the chat</button>'
            f'<a class="act" href="likeness/{chosen}.png?download&v={version}" download>Download</a></div>')
    pair = f'<figure><img src="likeness/{chosen}.png?v={version}" alt="The picture that was picked"><figcaption>{say(reply.read)}</figcaption></figure>'
    if reply.auxiliary_png:
        pair += (f'<figure><img src="likeness/other.png?v={version}" alt="What was imagined instead"><figcaption>{say(reply.auxiliary)}</figcaption></figure>')
    note = "" if reply.auxiliary_png else '<p class="quiet">The window is closed: imagination was not heard, and all are the same picture.</p>'
    return (f'<div class="likeness-strip" data-count="{len(reply.pictures)}">{cells}</div>{ends}{note}'
            f'<p class="likeness-said">λ = {picked.strength:g}, seed {reply.settings.seed}, {reply.seconds:.0f} s</p>{acts}<div class="likeness-pair">{pair}</div>')


def scale_said(scale: str) -> str:
    side, _, way = scale.partition(" ")
    return f"{side} × {side}, {WAYS.get(way, way)}"


def mask(address: str, auxiliary: bool, reply: StripReply) -> str:
    noun = say(reply.noun)
    said = (f"Brighter: there the drawing listened more to “{say(reply.auxiliary)}” (the imagination, with a {noun} in its place)." if auxiliary else
            f"Brighter: there the drawing listened more to “{say(reply.read)}” (what was learned).")
    return (f'<figure class="likeness-over"><img src="{escape(address)}" alt="A mask over the picture"><figcaption>{said} Things enter at coarse scales, '
            f'style and surface at fine ones.</figcaption></figure><a class="act" href="{escape(address)}&amp;download" download>Save as PNG</a>')
