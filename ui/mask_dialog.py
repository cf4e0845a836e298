"""What is drawn of a photo that was sent: its subject as the engine cuts it out, opened in the dialog of mask.js to be painted over."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from assistant.errors import AssistantError
from assistant.session.manager import SessionManager
from ui import concept_cards as cards, presenters
from ui.panel import QUIET, ButtonEvent, PanelContext, Updates, courier, pressed, read_data, read_index

NAME = "mask"
SIDE = 512  # pixels that the dialog's canvas has at most
WORDS = "Only what is painted is drawn from now on."


class MaskDialog:
    """Built inside the page, where the engine cuts subjects out."""

    def __init__(self, place: PanelContext) -> None:
        self.place = place
        self.courier = courier(NAME)
        self.opened, self.problem = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")

    @staticmethod
    def fits(manager: SessionManager) -> bool:
        return manager.info().masks

    def wire(self, desk: Any) -> None:
        """`desk`: as of `Panel.wire`."""
        self.desk, self.notice = desk, desk.parts.notice
        answered = self.courier.click(self._act, [], [self.opened, self.problem, self.notice], trigger_mode="multiple", **QUIET)
        answered.then(None, [self.opened, self.problem], js="(given, problem) => { window.cafe.idle(); "
                      "if (given) window.cafe.paint.open(JSON.parse(given)); else window.cafe.paint.done(problem); }", **QUIET)

    def _act(self, event: gr.EventData, request: gr.Request) -> Updates:
        """`opened`: what the dialog is opened with, or nothing; then what was painted was kept, or `problem` says why it was not."""
        act = pressed(event)
        try:
            opened = self._open(act.argument, self.desk.owner(request)) if act.act == "open" else self._keep(act, self.desk.owner(request))
            return {self.opened: opened, self.problem: "", self.notice: ""}
        except AssistantError as error:
            return {self.opened: "", self.problem: str(error) if act.act == "keep" else "", self.notice: presenters.notice(error) if act.act == "open" else ""}

    def _open(self, turn: str, owner: str) -> str:
        photo = self.place.manager.subject_mask(read_index(turn), owner)
        assert photo.mask is not None  # painted, or found
        return json.dumps({"photo": presenters.picture_address(photo.sha256), "mask": cards.inline(photo.mask, SIDE),
                           "act": "mask.keep", "arg": turn, "again": "As found", "words": WORDS, "stays": True})

    def _keep(self, act: ButtonEvent, owner: str) -> str:
        """What is painted is the photo's mask from now on; nothing painted: what the engine finds is."""
        painted = act.fields.get("painted", "")
        self.place.manager.keep_mask(read_index(act.argument), owner, read_data(painted) if painted else None)
        return ""
