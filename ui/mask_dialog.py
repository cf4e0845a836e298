"""The dialog "What is drawn of it": the subject of a photo as the engine cuts it out, over the photo, to be painted over."""

from __future__ import annotations

import io
from typing import Any

import gradio as gr
from PIL import Image

from assistant.errors import AssistantError, PhotoError
from assistant.session.manager import SessionManager
from . import presenters
from ui.panel import PanelContext, Updates, courier, own_line, pressed, read_index

NAME = "mask"
PAINT, OPACITY = (214, 51, 132), 0.6  # how the subject is marked: colour, and alpha of a stroke


# As `panel.slider`: what the browser sends comes as it is. Gradio by itself opens each file, and fails without a word where one is damaged.
_Editor: Any = type.__new__(type(gr.ImageEditor), "ImageEditor", (gr.ImageEditor,), {"is_template": True, "preprocess": lambda self, payload: payload})


def painted(mask: bytes) -> Image.Image:
    """A mask, PNG, as the editor's layer: PAINT where the subject is."""
    alpha = Image.open(io.BytesIO(mask), formats=["PNG"]).convert("L").point(lambda value: round(OPACITY * value))
    layer = Image.new("RGB", alpha.size, PAINT)
    layer.putalpha(alpha)
    return layer


class MaskDialog:
    """Built inside the page, where the engine cuts subjects out. It is not there until it is opened: the editor draws nothing where it is not seen."""

    def __init__(self, place: PanelContext) -> None:
        self.place = place
        self.courier = courier(NAME)
        with gr.Column(visible=False, elem_id=NAME) as self.dialog, gr.Column(elem_classes="sheet"):
            gr.HTML('<h2 id="mask-title" tabindex="-1">What is drawn of it</h2><p class="quiet">Only what is painted is drawn from now on. Paint, or erase.</p>')
            self.editor = _Editor(type="filepath", format="png", sources=(), transforms=(), layers=False, buttons=[], show_label=False, label="The subject, painted",
                                  brush=gr.Brush(colors=[(f"rgb{PAINT}", OPACITY)], default_color=(f"rgb{PAINT}", OPACITY), color_mode="fixed"), height="min(56vh, 520px)",
                                  elem_id="mask-editor", container=False)
            self.notice = gr.HTML("", elem_id="mask-notice")
            own_line(NAME)
            with gr.Row(elem_classes="acts"):
                self.keep, self.found, self.close = gr.Button("Keep this", variant="primary"), gr.Button("As found"), gr.Button("Close", elem_id="mask-close")
        self.turn = gr.Textbox(visible="hidden")

    @staticmethod
    def fits(manager: SessionManager) -> bool:
        return manager.info().masks

    def wire(self, desk: Any) -> None:
        """`desk`: as of `Panel.wire`."""
        self.desk, said = desk, [desk.parts.notice, self.notice]
        common: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
        opened = self.courier.click(self._open, [], [self.turn, self.dialog, self.editor, *said], trigger_mode="multiple", **common)
        opened.then(None, js="() => window.cafe.idle()", **common)
        self.keep.click(self._keep, [self.turn, self.editor], [self.dialog, self.editor, *said], **common)
        self.found.click(self._as_found, [self.turn], [self.editor, *said], **common)
        self.close.click(lambda: {self.dialog: gr.update(visible=False), self.editor: None, self.notice: ""}, [], [self.dialog, self.editor, self.notice], **common)

    def _open(self, event: gr.EventData, request: gr.Request) -> Updates:
        """The button under a photo was pressed."""
        try:
            turn = pressed(event).argument
            return {self.turn: turn, self.dialog: gr.update(visible=True), **self._shown(turn, request), self.desk.parts.notice: "", self.notice: ""}
        except AssistantError as error:
            return {self.desk.parts.notice: presenters.notice(error)}

    def _keep(self, turn: str, given: Any, request: gr.Request) -> Updates:
        """What is painted is kept. On an error the dialog stays as it is."""
        files = [one.path for one in (given.background, *given.layers, given.composite) if one is not None] if given is not None else []
        try:
            owner = self.desk.owner(request)
            if given is None or len(given.layers) != 1:
                raise PhotoError("What was painted did not arrive.", "Press Keep this again.")
            self.place.manager.keep_mask(read_index(turn), owner, self.place.upload(given.layers[0].path, owner), OPACITY)
            self.place.forget(*files)
            return {self.dialog: gr.update(visible=False), self.editor: None, self.notice: ""}
        except AssistantError as error:
            return {self.notice: presenters.notice(error)}

    def _as_found(self, turn: str, request: gr.Request) -> Updates:
        """What was painted is forgotten, and what the engine finds is shown."""
        try:
            self.place.manager.keep_mask(read_index(turn), self.desk.owner(request), None)
            return {**self._shown(turn, request), self.notice: ""}
        except AssistantError as error:
            return {self.notice: presenters.notice(error)}

    def _shown(self, turn: str, request: gr.Request) -> Updates:
        photo = self.place.manager.subject_mask(read_index(turn), self.desk.owner(request))
        assert photo.mask is not None  # painted, or found
        return {self.editor: {"background": self.place.shown(photo), "layers": [painted(photo.mask)], "composite": None}}
