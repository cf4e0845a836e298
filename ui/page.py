"""The page's layout, and which handler each event goes to. What handlers do is in `chat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import EventListenerMethod

from assistant.hub.download_job import DownloadJob
from assistant.session.manager import SessionManager
from . import presenters
from ui.api import Endpoints
from ui.chat import ChatController, PageComponents
from .concepts_panel import ConceptsPanel
from ui.generation_panel import GenerationPanel
from ui.fidelity_panel import FidelityPanel
from ui.mask_dialog import MaskDialog
from ui.mixing_panel import MixingPanel
from ui.auth import Belongings, Owners
from ui.panel import QUIET, WORDS_ONLY, Panel, PanelContext, courier, fresh_pulse
from ui.weights_card import WeightsCard

PANELS: tuple[type[Panel], ...] = (GenerationPanel, ConceptsPanel, FidelityPanel, MixingPanel)  # the right column, one module each; the first has the seed
HERE = Path(__file__).parent


class Page(gr.Blocks):
    """The page. `held`: what must live as long as it does. `own_link`: where a browser of this computer sees what was made here before."""

    held: tuple[Any, ...] = ()
    own_link: str = ""


def build(manager: SessionManager, owners: Owners, scratch: Path, belongings: Belongings, job: DownloadJob | None = None) -> Page:
    """Build the page.

    Args:
        job: the download of a preset that is to answer in this one's place.
        scratch: a private, temporary folder for pictures that are put into the box.
        belongings: whose uploads are.
    """
    info = manager.info()
    with Page(title="CAFE", fill_width=True, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.HTML(presenters.header(info), elem_id="top")
        card = WeightsCard(job, not owners.guests) if job is not None else None
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="left", scale=0, min_width=0):
                gr.HTML('<button type="button" class="new" data-act="new">New conversation</button>')
                conversations = gr.HTML(elem_id="conversations")
                gallery = gr.HTML(elem_id="gallery")
            with gr.Column(elem_id="middle", min_width=0):
                chat = gr.Chatbot(elem_id="chat", show_label=False, label="Conversation", buttons=[], container=False,
                                  latex_delimiters=[], sanitize_html=True, allow_tags=False, height="100%",
                                  feedback_options=None, group_consecutive_messages=False)
                stage = gr.HTML(presenters.stage(info, empty=True), elem_id="stage")
                notice = gr.HTML(elem_id="notice")
                box = gr.MultimodalTextbox(elem_id="box", show_label=False, label="Message", file_count="multiple", sources=["upload"],
                                           lines=1, max_lines=8, placeholder="Say anything", autofocus=True,
                                           max_plain_text_length=10**9)  # what is pasted stays text; the session says what is too much of it
                gr.HTML('<div id="status" role="status" aria-live="polite"></div>')
            with gr.Column(elem_id="right", scale=0, min_width=0), gr.Tabs(elem_id="panels"):
                place, panels = PanelContext(manager, owners, scratch, belongings), []
                for kind in (kind for kind in PANELS if kind.fits(manager)):
                    with gr.Tab(kind.title, id=kind.name, elem_id=f"panel-{kind.name}"):
                        panels.append(kind(place))
                        if kind.title in info.models:
                            gr.HTML(presenters.model(info.models[kind.title]))
            gr.HTML('<div id="scrim" data-ui="close"></div>')
        masks = MaskDialog(place) if MaskDialog.fits(manager) else None
        couriers = [courier(), *(courier(panel.name) for panel in panels)]
        conversation = gr.Textbox(visible="hidden", elem_id="conversation")
        pulse = gr.Textbox(visible="hidden", elem_id="pulse")

        parts = PageComponents(chat, box, conversation, pulse, stage, notice, conversations, gallery, panels[0].seed)
        desk = ChatController(place, parts, panels, page)
        told = _tell_failures(page, set(), "status")
        for panel, its in zip(panels, couriers[1:]):
            panel.wire(desk, its)
            told = _tell_failures(page, told, f"{panel.name}-status")
            if panel.inputs:
                _keep(page, f"{info.preset}-{panel.name}", panel.inputs)
        _wire(page, desk, parts, couriers[0])
        told = _tell_failures(page, told, "status")
        if masks is not None:
            masks.wire(desk)
            _tell_failures(page, told, "mask-status")
        Endpoints(place).offer()
        if card is not None:
            card.wire()
    return page


def _tell_failures(page: gr.Blocks, before: set[int], line: str) -> set[int]:
    """Where Gradio itself refuses what a handler that is not among those of `before` was to get, or cannot reach it, the page says so in this line.
    Returns all handlers there are."""
    for number, handler in list(page.fns.items()):
        if number not in before and handler.fn is not None:
            page.default_config.set_event_trigger([EventListenerMethod(None, "failure")], None, None, None, js=f"() => window.cafe.failed('{line}')", queue=False,
                                                  trigger_after=number, trigger_only_on_failure=True, api_visibility="private", show_progress="hidden")
    return set(page.fns)


def _keep(page: gr.Blocks, name: str, values: list[gr.components.Component]) -> None:
    """The browser keeps these values over a reload."""
    page.load(None, None, values, js=f"() => window.cafe.kept('{name}', {len(values)})", **QUIET)
    for one in values:
        one.change(  # pyright: ignore[reportAttributeAccessIssue]  # every component that gradio shows has it
            None, values, None, js=f"(...values) => window.cafe.keep('{name}', values)", **QUIET)


def _wire(page: gr.Blocks, desk: ChatController, parts: PageComponents, its: gr.HTML) -> None:
    """Handlers return at once; only `watch` lasts, and whatever changes the view starts it anew, by the pulse."""
    shown = [parts.chat, parts.box, parts.conversation, parts.pulse, parts.stage, parts.notice, parts.list,
             parts.gallery, parts.seed]
    inputs = [one for panel in desk.panels for one in panel.inputs]
    moved = [one for panel in desk.panels for one in panel.moved]
    parts.pulse.change(desk.watch, [parts.conversation, parts.seed, parts.pulse], [*shown, *moved], trigger_mode="multiple",
                       js="(...values) => { window.cafe.idle(); return values; }", **QUIET)
    parts.conversation.change(None, inputs=[parts.conversation], js="(id) => { window.cafe.address(id); }", **QUIET)
    sent = parts.box.submit(desk.send, [parts.box, parts.conversation, *inputs], shown, **QUIET)
    parts.box.stop(desk.stop, [parts.conversation], [parts.notice], **QUIET)
    pressed = its.click(desk.act, [parts.conversation, parts.box, *inputs], shown, js=WORDS_ONLY, trigger_mode="multiple", **QUIET)
    for done, js in ((sent, "() => window.cafe.done(false)"), (pressed, "() => window.cafe.done(true)")):
        done.success(None, js=js, **QUIET)
    glance = gr.HTML("", js_on_load="window.cafe.glancing(() => trigger('click'));", elem_classes="courier")
    glance.click(fresh_pulse, None, parts.pulse, trigger_mode="multiple", **QUIET)
    look = gr.HTML("", js_on_load="window.cafe.looking(() => trigger('click'));", elem_classes="courier")
    look.click(desk.look, [parts.box], [parts.notice], trigger_mode="multiple", **QUIET)
    parts.box.change(None, [parts.box], js="(value) => window.cafe.draft(value)", **QUIET)
    page.load(None, None, [parts.box], js="() => window.cafe.drafted()", **QUIET)
    page.load(desk.load, [parts.conversation], shown, js="() => window.cafe.here()", **QUIET)
