"""What the page is told: presenters, settings, owners, routes, and the command line."""

import base64
import io
import os
import subprocess
import sys
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import app
import gradio as gr
import numpy as np
import pytest
from PIL import Image
from starlette.responses import Response
from starlette.routing import Route

from assistant.errors import ConfigError, MessageError, NotFoundError
from assistant.requests import Progress, Settings
from assistant.session.records import Conversation
from tests.client import HOSTILE, free_port, handler, join, sign_in, turn
from tests.fake_engine import FakeEngine, draw, png_of
from ui import generation_panel, image_routes, page as pages, presenters, serve
from ui.auth import COOKIE, OWN_COOKIE, Owners, PageHeaders
from ui.chat import ChatController
from ui.panel import Panel, courier, fresh_pulse, pressed

ROOT = Path(__file__).resolve().parents[2]


def test_markup_is_shown_and_not_obeyed():
    for message in (presenters.user_message(turn(text=HOSTILE)), presenters.reply_message(turn(reply=HOSTILE)),
                    presenters.reply_message(turn(status="failed", error=HOSTILE)),
                    presenters.live_message(5, HOSTILE)):
        content = message["content"]
        assert "<script" not in content and "<img src=x" not in content and "&lt;script&gt;" in content
        assert "\n" not in content  # a blank line would end the HTML and begin Markdown
    assert "<script" not in presenters.notice(HOSTILE)
    listed = presenters.conversation_list([Conversation("c", "o", HOSTILE, 0, 0)], None, 0)
    assert "<script" not in listed and 'title="&lt;script' in listed


def test_a_reply_shows_what_was_used_and_what_can_be_done():
    drawn = turn(reply="Here.", picture="ab" * 32, seed=42, likeness={"subject": 0.8})
    content = presenters.reply_message(drawn)["content"]
    for part in ("Seed 42", "80%", "do-pin to-5", "do-redraw to-5", "do-use to-5", "ab" * 32 + ".png?download"):
        assert part in content
    assert "do-unpin" in presenters.reply_message(turn(picture="ab" * 32, seed=42), pinned=42)["content"]
    planned = turn(picture="ab" * 32, metadata={"plan": {"act": "draw", "place": "<snow>", "worn": ["red hat"]}})
    chips = presenters.reply_message(planned)["content"]
    assert '<span class="part">&lt;snow&gt;</span>' in chips and "do-without to-5_1" in chips and "Without the red hat" in chips
    words_only = presenters.reply_message(turn(reply="Here."))["content"]
    assert "Seed" not in words_only and "<img" not in words_only


@pytest.mark.parametrize(("values", "said"), [
    ({"status": "failed", "error": "Out of memory."}, "Out of memory."),
    ({"status": "interrupted", "reply": "I was"}, "The program ended"),
    ({"status": "stopped"}, "Stopped before it began."), ({"status": "stopped", "reply": "I"}, "Stopped.")])
def test_a_turn_that_did_not_end_well_says_so_and_offers_a_way_out(values, said):
    content = presenters.reply_message(turn(**values))["content"]
    assert said in content and "do-retry to-5" in content


def test_a_turn_in_work_says_what_happens():
    assert "Waiting: 1 turn is" in presenters.live_message(5, "", waiting=1)["content"]
    assert "Reading your message" in presenters.live_message(5, "")["content"]
    drawing_now = presenters.live_message(5, "Yes", None, Progress(5, 20), (2, 4), 3.2)["content"]
    for part in ("step 5 of 20, about 3 s left", "live/5.png?step=4", "width:25%"):
        assert part in drawing_now


def test_days():
    now = time.mktime((2024, 5, 15, 12, 0, 0, 0, 0, -1))
    assert presenters.day_label(now - 3600, now) == "Today"
    assert presenters.day_label(now - 86400, now) == "Yesterday"
    assert presenters.day_label(now - 3 * 86400, now) == "Sunday"
    assert presenters.day_label(now - 40 * 86400, now) == "05 April 2024"


def test_subjects_have_their_wishes():
    info = FakeEngine().info()
    empty, chosen = presenters.stage(info, empty=True), presenters.stage(info, empty=True, chosen=2)
    assert empty.count('data-act="subject"') == 8 and 'data-act="wish"' not in empty
    assert info.notice.split(":")[0] in empty
    assert 'data-act="wish" data-arg="2.0"' in chosen
    assert "<h1>" not in presenters.stage(info, empty=False)


def test_settings_from_a_browser_are_brought_into_range():
    assert generation_panel.settings("", 2, 2, 20, "dpm++") == Settings()
    wild = generation_panel.settings(" 9 ", 1e9, float("nan"), -5, "rm -rf")
    assert wild == Settings(seed=9, keep_subject=10, follow_words=2.0, steps=1, scheduler="dpm++")
    assert generation_panel.settings(str(2**63 - 1), None, "x", 5.9, "ddim").seed == 2**63 - 1
    for seed in ("abc", "-1", "1.5", str(2**63), "\u0665"):
        with pytest.raises(MessageError, match="not a whole number"):
            generation_panel.settings(seed, 2, 2, 20, "dpm++")


def test_small_pictures_are_enlarged_and_large_ones_left_alone():
    small, large = png_of(draw(1)), png_of(draw(1, 300))
    shown = Image.open(io.BytesIO(image_routes.enlarge(small)))
    assert shown.format == "PNG" and shown.size == (512, 512)
    assert image_routes.enlarge(large) == large
    carries = Image.open(io.BytesIO(image_routes.enlarge(png_of(draw(1), assistant='{"board": 1}'))))  # whoever saves what is shown
    assert carries.text["assistant"] == '{"board": 1}'


def test_owners():
    cookie = {COOKIE: "a" * 43}
    assert Owners(guests=False).of(None, {}) == "local"
    assert Owners(guests=False).of("ada", cookie) == "user:ada"
    assert Owners(guests=True).of(None, cookie) == "guest:" + "a" * 43
    for guests in (True, False):  # who started the program sees what was made before it was shared
        assert Owners(guests, own="b" * 32).of("ada", {OWN_COOKIE: "b" * 32}) == "local"
        assert Owners(guests, own="").of("ada", {OWN_COOKIE: ""}) == Owners(guests, own="b" * 32).of("ada", {OWN_COOKIE: "é"}) == "user:ada"
    for cookies in ({}, {COOKIE: "short"}, {COOKIE: "../" * 20}):
        with pytest.raises(NotFoundError, match="cookie"):
            Owners(guests=True).of(None, cookies)


@pytest.fixture
def client(manager):
    """Our routes and middleware as gradio mounts them, nobody signed in."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from starlette.middleware import Middleware

    served = FastAPI(routes=image_routes.routes(manager, owners := Owners(guests=True, own="a" * 32)),
                     middleware=[Middleware(PageHeaders, owners=owners, framed=False)])
    served.tokens, served.cookie_id = {}, "x"
    served.get("/")(lambda: "page")
    return TestClient(served)


def test_pictures_are_served_to_their_owner_only(client, manager):
    given = client.get("/")
    assert "HttpOnly" in given.headers["set-cookie"]
    assert "default-src 'self'" in given.headers["content-security-policy"]
    owner = f"guest:{client.cookies[COOKIE]}"
    reply = list(manager.send(manager.new(owner).id, "hello", png_of(draw(1)), Settings(steps=2), owner))[-1]
    [kept] = manager.gallery(owner)
    assert client.get(f"/pictures/{kept.picture}.png").content == reply.png
    download = client.get(f"/pictures/{kept.picture}.png?download")
    assert download.content == reply.png and "attachment" in download.headers["content-disposition"]
    assert Image.open(io.BytesIO(client.get(f"/pictures/{kept.photo}.png?show").content)).size == (512, 512)
    assert client.get(f"/live/{kept.id}.png").status_code == 200
    assert client.get(f"/masks/{kept.id}.png").status_code == 404  # no control drew it
    manager._store.update_turn(kept.id, metadata={**kept.metadata, "mask": base64.b64encode(bytes([255, 0, 0, 0])).decode()})
    over = np.asarray(Image.open(io.BytesIO(client.get(f"/masks/{kept.id}.png").content)).convert("RGB")).astype(int)
    marked = over[..., 0].astype(float) - over[..., 1]  # as far as `png.MARK` goes
    assert over.shape == (512, 512, 3) and marked[:128, :128].mean() > 2 * abs(marked[384:, 384:].mean())
    assert "masks/7.png" in presenters.reply_message(replace(kept, id=7, metadata={"mask": "AA=="}))["content"] and "masks/" not in presenters.reply_message(kept)["content"]
    assert client.get("/subjects/0.png").status_code == 200 and client.get("/subjects/8.png").status_code == 404
    mine = list(manager.send(manager.new("local").id, "made before", None, Settings(steps=2), "local"))[-1]
    [before] = manager.gallery("local")
    client.cookies.clear()
    for own in ("", "b" * 32):
        client.get("/", params={"own": own})
        assert client.get(f"/pictures/{before.picture}.png").status_code == 404
    assert client.get("/", params={"own": "a" * 32}, follow_redirects=False).headers["location"] == "./"
    assert client.get(f"/pictures/{before.picture}.png").content == mine.png
    client.cookies.clear()
    for path in (f"/pictures/{kept.picture}.png", f"/live/{kept.id}.png", f"/masks/{kept.id}.png"):
        assert client.get(path).status_code == 404
        client.get("/")  # a fresh guest
        assert client.get(path).status_code == 404
        client.cookies.clear()


def test_help_is_complete_and_quick():
    before = os.times()
    done = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    took = sum(os.times()[2:4]) - sum(before[2:4])  # seconds of a core, however busy the machine is
    for option in ("preset", "device", "dtype", "attention", "host", "port", "share", "auth", "data-dir", "queue-size"):
        assert f"--{option}" in done.stdout
    assert "miniature" in done.stdout and "127.0.0.1" in done.stdout and took < 1


def test_help_loads_nothing_heavy():
    code = "import app, sys; app.arguments([]); print(*sorted({'torch', 'gradio', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.strip() == ""


def test_arguments(monkeypatch):
    given = app.arguments(["--port", "8000", "--queue-size", "3", "--auth", "a:b", "--auth", "c:d:e"])
    assert given.port == 8000 and given.queue_size == 3 and app.users(given.auth) == (("a", "b"), ("c", "d:e"))
    monkeypatch.setenv("SPACE_ID", "me/it")
    assert app.arguments([]).host == "0.0.0.0"
    assert app.arguments(["--root-path", "/cafe/"]).root_path == "/cafe" and app.arguments([]).root_path == ""
    for bad in (["--root-path", "cafe"], ["--port", "0"], ["--port", "x"], ["--queue-size", "0"], ["--dtype", "int8"]):
        with pytest.raises(SystemExit):
            app.arguments(bad)


def test_users_from_a_file(tmp_path):
    file = tmp_path / "users"
    file.write_text("ada:one\n\nbob:two\n")
    assert app.users([f"@{file}"]) == (("ada", "one"), ("bob", "two"))
    for bad in ("@/nowhere", "ada", ":x", "ada:"):
        with pytest.raises(ConfigError):
            app.users([bad])


@pytest.mark.slow
def test_a_page_that_replaces_another_keeps_its_address_and_who_signed_in(manager, store):
    """As when the weights of another preset have come."""
    auth = (("ada", "one"),)
    first, url = serve.start(manager, serve.Address(port=free_port(), auth=auth), store.folder)
    ada = sign_in(url, "ada", "one")
    assert ada.get("config").status_code == 200 and ada.get("weights").status_code == 404
    first.close(verbose=False)
    second, again = serve.start(manager, serve.Address(port=first.server_port, auth=auth), store.folder, None, first)
    try:
        assert again == url and ada.get("config").status_code == 200 and sign_in(url).get("config").status_code == 401
    finally:
        second.close(verbose=False)


def test_sign_in_keeps_people_apart(served):
    manager, store, url = served
    ada, eve, nobody = sign_in(url, "ada", "one"), sign_in(url, "eve", "two"), sign_in(url)
    one = manager.new("user:ada")
    list(manager.send(one.id, "a secret hat", png_of(draw(1)), Settings(steps=2), "user:ada"))
    path = f"pictures/{manager.open(one.id, 'user:ada')[1][-1].picture}.png"
    assert ada.get(path).status_code == 200
    assert eve.get(path).status_code == nobody.get(path).status_code == 404
    load = handler(ada, "load")
    assert "a secret hat" in join(ada, load, [one.id])
    for client in (eve, nobody):
        assert "a secret hat" not in join(client, load, [one.id])


def test_no_file_of_this_computer_leaves_it(served):
    manager, store, url = served
    ada = sign_in(url, "ada", "one")
    database = store.folder / "conversations.sqlite3"
    for path in (database, Path("/etc/passwd"), ROOT / "app.py"):
        assert ada.get(f"gradio_api/file={path}").status_code in (403, 404)
        box = {"text": "look", "files": [{"path": str(path), "meta": {"_type": "gradio.FileData"}}]}
        before = len(manager.list("user:ada"))
        answer = join(ada, handler(ada, "send"), [box, "", "", 2, 2, 4, "dpm++"])
        assert "root:" not in answer and "SQLite" not in answer and len(manager.list("user:ada")) == before
    assert database.exists()
    assert set(ada.get("gradio_api/info").json()["named_endpoints"]) == {"/turn", "/mix", "/strip", "/learn", "/concepts"}


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
    values = ["7", 2.0, 2.0, 5, "ddim", 1] + [None] * sum(len(p.inputs) for p in desk.panels[1:-1]) + [3]
    found = desk.settings(values)
    assert (found.seed, found.steps, found.scheduler) == (7, 15, "ddim")
    one = manager.new("local")
    list(manager.send(one.id, "hello", png_of(draw(1)), Settings(steps=1), "local"))
    shown = desk._view("local", one.id)[desk.parts.chat][-1]["content"]
    assert "do-bold.take to-" in shown and "Take it" in shown


def test_a_look_that_a_busy_machine_brings_late_ends_no_newer_one():
    desk, window = ChatController.__new__(ChatController), SimpleNamespace(session_hash="w")
    desk._watching = OrderedDict()
    earlier, later = fresh_pulse(), fresh_pulse()
    desk._only(window, later)
    desk._only(window, earlier)
    assert desk._watching["w"] == later
    desk._only(window)  # something was done: whoever watches now is over
    assert desk._watching["w"] != later
    desk._only(window, newest := fresh_pulse())
    assert desk._watching["w"] == newest


def test_what_a_browser_sends_is_text_or_nothing():
    class Event:
        _data = {"act": "bold.take", "arg": 5, "fields": {"name": ["x"]}}

    assert (pressed(Event).act, pressed(Event).argument, pressed(Event).fields) == ("take", "5", {"name": "['x']"})
    Event._data = "rubbish"
    assert pressed(Event).act == ""


def test_a_courier_brings_one_panels_buttons():
    with gr.Blocks():
        assert "act.panel === 'mix'" in courier("mix").js_on_load and "act.panel === ''" in courier().js_on_load
