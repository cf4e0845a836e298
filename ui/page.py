"""The page's layout, and which handler each event goes to. What handlers do is in `chat`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from assistant.session.uploads import MAX_CHARACTERS
from assistant.session.manager import SessionManager
from ui import presenters
from ui.chat import ChatController, PageComponents
from ui.concepts_panel import ConceptsPanel
from ui.generation_panel import GenerationPanel
from ui.fidelity_panel import FidelityPanel
from ui.mixing_panel import MixingPanel
from ui.auth import Owners
from ui.guard import Belongings
from ui.panel import Panel, PanelContext, courier

PANELS: tuple[type[Panel], ...] = (GenerationPanel, ConceptsPanel, FidelityPanel, MixingPanel)  # the right column, one module each; the first has the seed
HERE = Path(__file__).parent
_PICTURES = ["image", ".heic", ".heif", ".avif"]  # others are refused by the session, with a sentence

def build(manager: SessionManager, owners: Owners, scratch: Path, belongings: Belongings) -> gr.Blocks:
    """Build the page.

    Args:
        scratch: a private, temporary folder for pictures that are put into the box.
        belongings: whose uploads are.
    """
    info = manager.info()
    with gr.Blocks(title="CAFE", fill_width=True, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.HTML(presenters.header(info), elem_id="top")
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
                box = gr.MultimodalTextbox(elem_id="box", show_label=False, label="Message", file_types=_PICTURES,
                                           file_count="multiple", sources=["upload"], lines=1, max_lines=8,
                                           placeholder="Say anything", autofocus=True,
                                           max_plain_text_length=MAX_CHARACTERS)
                gr.HTML('<div id="status" role="status" aria-live="polite"></div>')
            with gr.Column(elem_id="right", scale=0, min_width=0), gr.Tabs(elem_id="panels"):
                place, panels = PanelContext(manager, owners, scratch, belongings), []
                for kind in (kind for kind in PANELS if kind.fits(manager)):
                    with gr.Tab(kind.title, id=kind.name, elem_id=f"panel-{kind.name}"):
                        panels.append(kind(place))
            gr.HTML('<div id="scrim" data-ui="close"></div>')
        couriers = [courier(), *(courier(panel.name) for panel in panels)]
        conversation = gr.Textbox(visible="hidden", elem_id="conversation")
        pulse = gr.Textbox(visible="hidden", elem_id="pulse")

        parts = PageComponents(chat, box, conversation, pulse, stage, notice, conversations, gallery, panels[0].seed)
        desk = ChatController(place, parts, panels, page)
        _wire(page, desk, parts, couriers[0])
        for panel, its in zip(panels, couriers[1:]):
            panel.wire(desk, its)
    return page


def _wire(page: gr.Blocks, desk: ChatController, parts: PageComponents, its: gr.HTML) -> None:
    """Handlers return at once; only `watch` lasts, and whatever changes the view starts it anew, by the pulse."""
    shown = [parts.chat, parts.box, parts.conversation, parts.pulse, parts.stage, parts.notice, parts.list,
             parts.gallery, parts.seed]
    inputs = [one for panel in desk.panels for one in panel.inputs]
    common = dict(api_visibility="private", show_progress="hidden")
    moved = [one for panel in desk.panels for one in panel.moved]
    parts.pulse.change(desk.watch, [parts.conversation, parts.seed, parts.pulse], [*shown, *moved], trigger_mode="multiple",
                       js="(...values) => { window.cafe.idle(); return values; }", **common)
    parts.conversation.change(None, inputs=[parts.conversation], js="(id) => { window.cafe.address(id); }", **common)
    parts.box.submit(desk.send, [parts.box, parts.conversation, *inputs], shown, **common)
    parts.box.stop(desk.stop, [parts.conversation], [parts.notice], **common)
    its.click(desk.act, [parts.conversation, parts.box, *inputs], shown,
                  trigger_mode="multiple", **common)
    page.load(desk.load, [parts.conversation], shown, js="() => window.cafe.here()", **common)
