"""Side panels: what one adds to the page without an edit elsewhere."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
from starlette.responses import Response
from starlette.routing import Route

from assistant.messages import Settings
from tests.fake_engine import draw, png_of
from ui import page as pages
from ui.owners import Owners
from ui.panel import Panel, courier, pressed


class Bold(Panel):
    """Doubles the steps; shows what is pressed under a picture."""

    name, title, turn_acts = "bold", "Bold", (("take", "Take it"),)

    def __init__(self, place):
        super().__init__(place)
        self.inputs = [gr.Number(2, elem_id="times")]
        self.shown = gr.HTML("", elem_id="taken")

    def settings(self, so_far: Settings, times=1) -> Settings:
        return replace(so_far, steps=so_far.steps * int(times))

    @staticmethod
    def routes(manager, owners):
        return [Route("/bold.png", lambda request: Response(b"bold"))]

    def wire(self, desk, courier):
        def take(event: gr.EventData, request: gr.Request):
            one = pressed(event)
            return f"{one.act} {one.argument} of {desk.owner(request)}"

        courier.click(take, None, [self.shown], api_visibility="private")


class Absent(Panel):
    name, title = "absent", "Absent"
    fits = staticmethod(lambda manager: False)


def test_a_panel_is_one_line_in_the_page(manager, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PANELS", (*pages.PANELS, Bold, Absent))
    built = pages.build(manager, Owners(guests=False), tmp_path, tmp_path)
    ids = {block.elem_id for block in built.blocks.values()}
    assert {"panel-drawing", "panel-bold", "taken", "courier-bold"} <= ids and "panel-absent" not in ids
    desk = next(fn.fn.__self__ for fn in built.fns.values() if fn.name == "send")
    values = ["7", 2.0, 2.0, 5, "ddim"] + [None] * sum(len(p.inputs) for p in desk.panels[1:-1]) + [3]
    found = desk.settings(values)
    assert (found.seed, found.steps, found.scheduler) == (7, 15, "ddim")
    one = manager.new("local")
    list(manager.send(one.id, "hello", png_of(draw(1)), Settings(steps=1), "local"))
    shown = desk._view("local", one.id)[desk.parts.chat][-1]["content"]
    assert "do-bold.take to-" in shown and "Take it" in shown


def test_what_a_browser_sends_is_text_or_nothing():
    class Event:
        _data = {"act": "bold.take", "arg": 5, "fields": {"name": ["x"]}}

    assert (pressed(Event).act, pressed(Event).argument, pressed(Event).fields) == ("take", "5", {"name": "['x']"})
    Event._data = "rubbish"
    assert pressed(Event).act == ""


def test_a_courier_brings_one_panels_buttons():
    with gr.Blocks():
        assert "act.panel === 'mix'" in courier("mix").js_on_load and "act.panel === ''" in courier().js_on_load
