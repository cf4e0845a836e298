"""The panel "Likeness": between what was learned and what was said. A strip over lambda, where each branch acted, and a pick.

What is drawn is kept by the session; the panel shows it. The slider also holds for the chat, for messages that name such a concept, and
a lambda that is said there moves it. What is learned, and how, is in the panel Concepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.routing import Route

from assistant.errors import AssistantError, ConceptError, NotFoundError
from assistant.requests import STRENGTHS, Masks, Settings
from assistant.session.manager import SessionManager
from assistant.session.records import KeptStrip, StoredTurn
from assistant.session.jobs import DrawingJob
from assistant.session.sweep_jobs import SweepJobs
from ui.concept_cards import offer
from ui.generation_panel import read_seed
from ui.auth import Owners
from ui.panel import QUIET, WORDS_ONLY, Panel, PanelContext, ButtonEvent, Updates, fresh_pulse, needed, own_line, pressed, read_number, slider
from ui.image_routes import served
from .presenters import notice, picture_address, say

_LOOK = "() => document.querySelector('.likeness-strip')?.scrollIntoView({block: 'start', behavior: 'smooth'})"
KIND = "ico"  # the method whose concepts have a likeness to slide
BRANCHES = (("Imagination", "auxiliary"), ("Likeness", "concept"))
WIDE = 0.8  # a window in which imagination is heard long
SHADE = 0.45  # opacity of a mask, usually: the picture stays to be seen
ALIKE = 0.01  # mean difference, 0 to 1, of two pictures that look the same


class FidelityPanel(Panel):
    """See the module."""

    name, title = "likeness", "Likeness"

    @staticmethod
    def fits(manager: SessionManager) -> bool:
        return manager.strips is not None

    def __init__(self, place: PanelContext) -> None:
        super().__init__(place)
        self.strips, self.learning = needed(place.manager.strips), needed(place.manager.learning)
        self._picked: dict[str, int] = {}
        usual, window = Settings(), place.manager.info().window
        gr.HTML('<p class="quiet">Looks like it but ignores your words? Follows your words but is not it any more? Draw a strip and pick.</p>')
        self.shelf = gr.HTML("", elem_id="likeness-shelf")
        self.prompt = gr.Textbox(label="What to draw", placeholder="<rex> in the snow at night", max_length=400, lines=2, elem_id="likeness-prompt")
        self.strength = slider(-2, 2, usual.imagination, step=0.1, buttons=[], elem_id="likeness-lambda", label="Likeness ↔ imagination",
                                  info=f"Left: nearer to your pictures. Right: nearer to your words. Usually {usual.imagination:g} (λ). Holds in the chat too.")
        with gr.Accordion("More", open=False, elem_id="likeness-more"):
            self.window = slider(0, 1, window, step=0.05, buttons=[], label="Window", elem_id="likeness-window",
                                    info=f"Share of the drawing in which imagination is heard. Usually {window:g}; 0: never.")
            self.auxiliary = gr.Textbox(label="Imagine instead of it", placeholder="proposed for each prompt", max_length=40, elem_id="likeness-noun-other",
                                        info="Any common noun but its own. Empty: one that is likely there.")
            self.seed = gr.Textbox(label="Seed", placeholder="new each time", max_length=20, elem_id="likeness-seed")
        self.go = gr.Button("Draw the strip", variant="primary", elem_id="likeness-draw")
        self.notice = gr.HTML("", elem_id="likeness-notice")
        own_line(self.name)
        self.doing = gr.HTML("", elem_id="likeness-doing")
        self.result = gr.HTML("", elem_id="likeness-result")
        with gr.Column(visible=False, elem_id="likeness-masks") as self.viewer:
            self.mask = gr.HTML("", elem_id="likeness-mask")
            self.branch = gr.Radio(BRANCHES, value="auxiliary", show_label=False, container=False, elem_id="likeness-branch")
            self.scale = gr.Dropdown([], label="Where it acted, by scale", elem_id="likeness-scale", filterable=False)
            with gr.Accordion("More", open=False, elem_id="likeness-detail"):
                self.opacity = gr.Slider(0, 1, SHADE, step=0.05, label="Opacity", buttons=[], elem_id="likeness-opacity")
                with gr.Row():
                    self.step = gr.Dropdown([], label="Step", min_width=100, elem_id="likeness-step", filterable=False)
                    self.head = gr.Dropdown([], label="Head", min_width=100, elem_id="likeness-head", filterable=False)
        self.inputs = [self.strength, self.window, self.auxiliary]
        self.moved = [self.strength, self.result, self.viewer, self.scale, self.branch, self.opacity, self.step, self.head, self.mask, self.seed]

    def settings(self, so_far: Settings, strength: Any = None, window: Any = None, auxiliary: Any = "") -> Settings:
        usual = Settings()
        return replace(so_far, imagination=read_number(strength, usual.imagination), window=read_number(window, self.place.manager.info().window),
                       auxiliary=str(auxiliary or "").strip()[:40])

    def answered(self, turn: StoredTurn, owner: str) -> Updates:
        """Where a message said a lambda, the slider shows it, and so does the strip, if one of its pictures has it."""
        said = turn.metadata.get("said")
        if not isinstance(said, dict) or "imagination" not in said:
            return {}
        strength = read_number(said["imagination"], turn.settings.imagination)
        try:
            self._pick(owner, self.strips.newest(owner).strengths.index(strength))
        except (NotFoundError, ValueError):  # there is no strip, or none of its pictures is that one
            return {self.strength: strength}
        return {**self._view(owner), self.strength: strength}

    def wire(self, desk: Any, courier: gr.HTML) -> None:
        self.desk = desk
        self.pulse = gr.Textbox("", visible="hidden", elem_id="likeness-pulse")
        look = [self.scale, self.branch, self.opacity, self.step, self.head]
        drawn = [self.notice, self.doing, self.result, self.viewer, *look, self.mask, self.seed]
        parts = desk.parts
        page = [parts.chat, parts.box, parts.conversation, parts.pulse, parts.stage, parts.notice, parts.list, parts.gallery, parts.seed]
        asked = [self.prompt, self.window, self.auxiliary, self.seed]
        desk.page.load(self._load, None, [*drawn, self.pulse], **QUIET)
        next(panel for panel in desk.panels if panel.name == "concepts").seen.change(self._shelf, None, [self.shelf], **QUIET)
        for start in (self.go.click, self.prompt.submit):
            start(self._draw, asked, [self.notice, self.doing, self.pulse], **QUIET)
        self.pulse.change(self._watch, None, drawn, trigger_mode="multiple", **QUIET).then(None, js=_LOOK, **QUIET)
        courier.click(self._act, [*asked, parts.conversation, parts.box], [*drawn, self.pulse, *page, self.strength, self.auxiliary, self.window],
                      trigger_mode="multiple", js=WORDS_ONLY, **QUIET)
        for one in look:
            one.change(self._mask, look, [self.mask, self.notice], trigger_mode="always_last", **QUIET)

    # events

    def _load(self, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            now, asked = self.strips.now(owner), self.strips.interrupted(owner)
            going_on = {self.pulse: fresh_pulse()} if now is not None and not now.done else {}
            return {**self._view(owner), self.doing: interrupted(asked) if asked else "", **going_on}
        except AssistantError as error:
            return {self.notice: notice(error)}

    def _shelf(self, request: gr.Request) -> Updates:
        try:
            owner = self.desk.owner(request)
            entries, found = self.learning.library(owner).entries(), self.learning.lessons(owner)
            slides = {e.name.lower() for e in entries if e.kind == KIND} | {one.name.lower() for one in found if one.kind == KIND and one.open}
            kept = {one.name.lower() for one in found}
            others = [e.name for e in entries if e.name.lower() in kept - slides and not e.problem]
            return {self.shelf: shelf([e for e in entries if e.kind == KIND], others, self.learning.expected(owner, KIND, self.place.manager.info().lesson_steps[KIND]))}
        except AssistantError:
            return {self.shelf: gr.skip()}

    def _draw(self, prompt: str, window: Any, auxiliary: str, seed: Any, request: gr.Request) -> Updates:
        try:
            return self._begun(self.desk.owner(request), prompt, window, auxiliary, seed)
        except AssistantError as error:
            return {self.notice: notice(error)}

    def _watch(self, request: gr.Request) -> Iterator[Updates]:
        """Follow the strip that is being drawn, as long as it is the newest."""
        yield {self.notice: ""}
        try:
            owner = self.desk.owner(request)
            drawing = self.strips.now(owner)
            for now in self.strips.watch(drawing) if drawing is not None else ():
                if self.strips.now(owner) is not drawing:
                    return
                yield {self.doing: doing(now, self.strips.waiting(now))}
            if drawing is not None and drawing.error is None and not drawing.cancel.is_set():
                one = self.strips.newest(owner)
                self._pick(owner, min(range(len(one.strengths)), key=lambda k: abs(one.strengths[k] - one.settings.imagination)))
            yield {**self._view(owner), self.doing: "", self.notice: notice(drawing.error) if drawing is not None else ""}
        except AssistantError as error:
            yield {self.doing: "", self.notice: notice(error)}

    def _act(self, event: gr.EventData, request: gr.Request, prompt: str, window: Any, auxiliary: str, seed: Any, conversation: str, box: Any) -> Updates:
        press = pressed(event)
        work = getattr(self, f"_do_{press.act}", None) if press.act.isalpha() else None
        if work is None:
            return {self.notice: ""}
        try:
            return {self.notice: "", **work(self.desk.owner(request), press, (prompt or "", window, auxiliary, seed, box or {}), conversation)}
        except AssistantError as error:
            return {self.notice: notice(error)}

    def _mask(self, scale: Any, branch: Any, opacity: Any, step: Any, head: Any, request: gr.Request) -> Updates:
        try:
            return {self.mask: self._over(self.desk.owner(request), scale, branch, opacity, step, head)}
        except AssistantError as error:
            return {self.notice: notice(error)}

    # acts: each gets the owner, the press, what is asked for (prompt, window, noun, seed, the message box), and the conversation in view

    def _do_stop(self, owner: str, press: ButtonEvent, asked: Sequence[Any], conversation: str) -> Updates:
        self.strips.stop(owner)
        return {}

    def _do_again(self, owner: str, press: ButtonEvent, asked: Sequence[Any], conversation: str) -> Updates:
        self.strips.again(owner)
        return {self.pulse: fresh_pulse()}

    def _do_wide(self, owner: str, press: ButtonEvent, asked: Sequence[Any], conversation: str) -> Updates:
        """The same strip, in which imagination is heard for longer."""
        one = self.strips.newest(owner)
        return {**self._begun(owner, one.prompt, WIDE, asked[2], one.settings.seed), self.window: WIDE}

    def _do_pick(self, owner: str, press: ButtonEvent, asked: Sequence[Any], conversation: str) -> Updates:
        chosen = self.strips.settings_of(owner, int(press.argument) if press.argument.isdecimal() and len(press.argument) < 3 else -1)
        self._pick(owner, int(press.argument))
        return {**self._view(owner), self.strength: chosen.imagination, self.auxiliary: chosen.auxiliary}

    def _do_subject(self, owner: str, press: ButtonEvent, asked: Sequence[Any], conversation: str) -> Updates:
        """The picture that was picked becomes the next turn's, as everywhere else."""
        return self.desk.put(self.strips.newest(owner).pictures[self._picked.get(owner, 0)], owner, asked[4])

    def _do_send(self, owner: str, press: ButtonEvent, asked: Sequence[Any], conversation: str) -> Updates:
        """The picture that was picked, into the conversation: the same words and settings, hence the same picture."""
        return self.desk.say(owner, conversation, self.strips.newest(owner).prompt, self.strips.settings_of(owner, self._picked.get(owner, 0)))

    # inside

    def _begun(self, owner: str, prompt: str, window: Any, auxiliary: str, seed: Any) -> Updates:
        info = self.place.manager.info()
        settings = self.settings(Settings(seed=read_seed(seed), steps=info.steps, scheduler=info.sampler, preview_every=0), None, window, auxiliary)
        drawing = self.strips.draw(owner, prompt or "", settings, STRENGTHS)
        return {self.notice: "", self.doing: doing(drawing, self.strips.waiting(drawing)), self.pulse: fresh_pulse()}

    def _pick(self, owner: str, number: int) -> None:
        self._picked[owner] = number
        while len(self._picked) > 4096:
            self._picked.pop(next(iter(self._picked)))

    def _view(self, owner: str) -> Updates:
        """The newest strip, as it was picked from, or nothing."""
        try:
            one, masks = self.strips.newest(owner), self.strips.masks(owner)
        except NotFoundError:
            return {self.result: "", self.viewer: gr.update(visible=False)}
        out = {self.result: strip(one, min(self._picked.get(owner, 0), len(one.pictures) - 1)), self.seed: str(one.settings.seed),
               self.viewer: gr.update(visible=masks is not None)}
        if masks is not None:
            scale = masks.scales[-1]
            out |= {self.scale: gr.Dropdown([(scale_said(s), s) for s in masks.scales], value=scale), self.branch: "auxiliary", self.opacity: SHADE,
                    self.step: gr.Dropdown([("mean", 0), *((str(k), k) for k in range(1, masks.steps + 1))], value=0),
                    self.head: gr.Dropdown([("mean", 0), *((str(k), k) for k in range(1, masks.heads + 1))], value=0),
                    self.mask: self._over(owner, scale, "auxiliary", SHADE, 0, 0)}
        return out

    def _over(self, owner: str, scale: Any, branch: Any, opacity: Any, step: Any, head: Any) -> str:
        """The picked picture with a mask, and in words where that is."""
        one, number = self.strips.newest(owner), self._picked.get(owner, 0)
        query = {"scale": str(scale)[:20].replace(" ", "+"), "branch": "concept" if branch == "concept" else "auxiliary", "opacity": f"{read_number(opacity, SHADE):.2f}",
                 "step": int(read_number(step, 0)), "head": int(read_number(head, 0)), "v": one.pictures[0][:8]}
        where = masks_of(self.strips, owner).where(number, str(scale), *chosen_mask(query))
        return mask(f"likeness/mask/{number}.png?{'&'.join(f'{k}={v}' for k, v in query.items())}", where, branch == "auxiliary", one)

    @staticmethod
    def routes(manager: SessionManager, owners: Owners) -> list[Route]:
        """`likeness/mask/<n>.png`, of the owner's newest strip; its pictures lie with all others."""
        def mask(request: Request) -> bytes:
            query, masks = request.query_params, masks_of(needed(manager.strips), owners.visitor(request))
            return masks.over(request.path_params["n"], query.get("scale", ""), float(query.get("opacity", SHADE)), *chosen_mask(query))

        return [served("/likeness/mask/{n:int}.png", mask, "private, max-age=3600", saved_as=lambda _: "likeness.png")]


def masks_of(strips: SweepJobs, owner: str) -> Masks:
    """Of the owner's newest strip. Raises ConceptError: it has none."""
    masks = strips.masks(owner)
    if masks is None:
        raise ConceptError("There are no masks of this strip: its window was 0.", "Draw it with a longer window.")
    return masks


def chosen_mask(query: Any) -> tuple[bool, int | None, int | None]:
    """Branch, step and head of a mask's address, as `Masks.over` takes them."""
    step, head = int(query.get("step", "0")), int(query.get("head", "0"))
    return query.get("branch") != "concept", step - 1 if step else None, head - 1 if head else None


WAYS = {"down": "on the way down", "middle": "in the middle", "up": "on the way up"}


def shelf(entries: Sequence[Any], others: Sequence[str], seconds: float | None) -> str:
    """Chips of the concepts that have a likeness to slide; what cannot be used says why; what can be learned for it too."""
    chips = "".join(f'<button type="button" class="chip" data-insert="&lt;{escape(e.name)}&gt;" data-into="likeness-prompt">&lt;{say(e.name)}&gt; <span class="quiet">{say(e.noun)}</span></button>'
                    for e in entries if not e.problem)
    problems = "".join(f'<p class="quiet">{say(e.problem)}</p>' for e in entries if e.problem)
    offers = "".join(offer(name, KIND, seconds, f"Learn &lt;{say(name)}&gt; for the slider too") for name in others)
    empty = '' if entries else ('<p class="quiet">Nothing is learned for this yet. <button type="button" class="act" data-panel="concepts">Learn something in Concepts</button></p>')
    return f'{empty}<div class="likeness-chips">{chips}</div>{problems}<div class="acts">{offers}</div>'


def doing(drawing: DrawingJob, waiting: int | None) -> str:
    """What a strip in work does."""
    left = f", about {drawing.left:.0f} s left" if drawing.left is not None and drawing.left >= 1 else ""
    said = f"Drawing, step {drawing.step} of {drawing.steps}{left}" if drawing.step else "Reading both prompts"
    if waiting is not None:
        said = f"Waiting: {waiting - 1 or 'one'} {'others are' if waiting > 2 else 'other is'} drawn first."
    share = 100 * drawing.step / max(1, drawing.steps)
    return (f'<div class="likeness-doing" role="status">{said}<span class="bar"><span style="width:{share:.0f}%"></span></span>'
            '<div class="acts"><button type="button" class="act" data-act="likeness.stop">Stop</button></div></div>')


def interrupted(prompt: str) -> str:
    return (f'<div class="note">The program ended while a strip of “{say(prompt)}” was drawn. '
            '<button type="button" class="act" data-act="likeness.again">Draw it again</button></div>')


def strip(one: KeptStrip, chosen: int) -> str:
    """The strip to pick from; below, both branches side by side."""
    last = len(one.pictures) - 1
    ends = {0: " likeness", last: " imagination"}
    cells = "".join(
        f'<button type="button" class="likeness-cell" data-act="likeness.pick" data-arg="{k}" aria-pressed="{str(k == chosen).lower()}" title="λ = {strength:g}">'
        f'<img src="{picture_address(name)}" alt="λ = {strength:g}"><span>{strength:g}{ends.get(k, "")}</span></button>'
        for k, (name, strength) in enumerate(zip(one.pictures, one.strengths)))
    acts = (f'<div class="acts"><button type="button" class="act" data-act="likeness.subject" data-ui="close">Use as subject</button>'
            '<button type="button" class="act" data-act="likeness.send" title="The same words and lambda as a message: the same picture, and the talk goes on from there">'
            'Draw it in the chat</button>'
            f'<a class="act" href="{picture_address(one.pictures[chosen], show=False)}" download>Download</a></div>')
    pair = f'<figure><img src="{picture_address(one.pictures[chosen])}" alt="The picture that was picked"><figcaption>{say(one.read)}</figcaption></figure>'
    if one.other:
        pair += f'<figure><img src="{picture_address(one.other)}" alt="What was imagined instead"><figcaption>{say(one.auxiliary)}</figcaption></figure>'
    return (f'<div class="likeness-strip" data-count="{len(one.pictures)}">{cells}</div><p class="likeness-said">{changed(one)}</p>'
            f'<p class="likeness-said">λ = {one.strengths[chosen]:g}, seed {one.settings.seed}, {one.seconds:.0f} s</p>{acts}<div class="likeness-pair">{pair}</div>')


def changed(one: KeptStrip) -> str:
    """Between which lambdas the pictures of a strip differ, so that nobody looks for it elsewhere."""
    wide = ' <button type="button" class="act" data-act="likeness.wide">Let imagination be heard longer</button>' if one.settings.window is not None and one.settings.window < WIDE else ""
    if not one.other:
        return "The window is closed: imagination was not heard, and all are the same picture."
    most = max(one.changes, default=0.0)
    if most < ALIKE:
        return f"These look alike: here likeness and imagination hardly differ.{wide}"
    at = [k for k, change in enumerate(one.changes) if change >= max(ALIKE, most / 3)]
    low, high = one.strengths[at[0]], one.strengths[at[-1] + 1]
    alike = [f"{one.strengths[a]:g} to {one.strengths[b]:g} look alike" for a, b in ((0, at[0]), (at[-1] + 1, len(one.changes))) if b > a]
    return f"Most changes between λ = {low:g} and {high:g}{'; ' + ' and '.join(alike) if alike else ''}.{wide if alike else ''}"


def scale_said(scale: str) -> str:
    side, _, way = scale.partition(" ")
    return f"{side} × {side}, {WAYS.get(way, way)}"


def mask(address: str, where: str, auxiliary: bool, one: KeptStrip) -> str:
    """A picture coloured where a branch was heard, and that place in words."""
    heard = f"imagination (“{say(one.auxiliary)}”)" if auxiliary else f"what was learned (“{say(one.read)}”)"
    return (f'<figure class="likeness-over"><img src="{escape(address)}" alt="Coloured where {heard} was heard more: {where}"><figcaption><b>{where[0].upper() + where[1:]}</b>: '
            f'there {heard} was heard more. Things enter at coarse scales, style and surface at fine ones.</figcaption></figure>'
            f'<a class="act" href="{escape(address)}&amp;download" download>Save as PNG</a>')
