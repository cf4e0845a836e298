"""The page in a real browser: upload, two turns, Stop, reload; on an engine without models, and once on the miniature."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.fake_engine import draw

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
ROOT = Path(__file__).resolve().parent.parent
SECOND = 1000  # milliseconds
expect.set_options(timeout=30 * SECOND)  # a busy machine is no fault of the page
# What gradio logs when a page with an open stream is left; the last, rarely, when it is reloaded between two parts of a reply.
LEFT = "signal is aborted|Connection errored out|Unexpected client exception TypeError: .*reading 'content'"


def find_chromium(playwright) -> str | None:
    """CHROMIUM, one on the path, or the one playwright installed."""
    for path in (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")),
                 playwright.chromium.executable_path):
        if path and Path(path).exists():
            return path
    return None


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        executable = find_chromium(playwright)
        if executable is None:
            pytest.skip("no Chromium: set CHROMIUM or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def started(port: int, *program: str) -> tuple[subprocess.Popen, str]:
    """A server that answers, and its address."""
    server = subprocess.Popen([sys.executable, *program, "--port", str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}/"
    for _ in range(480):
        try:
            urlopen(url, timeout=5).close()
            return server, url
        except OSError:
            assert server.poll() is None, "the page did not start"
            time.sleep(0.25)
    raise AssertionError("the page did not start")


def serve(*program: str):
    """Start a server on a free port, yield its address, end it."""
    port = free_port()
    server, url = started(port, *program)
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    yield from serve("tests/fake_engine.py", "--pause", "0.03", "--data-dir", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def page(browser, address):
    with visitor(browser, address) as page:
        page.locator("#stage .tile").first.wait_for()
        yield page


@contextmanager
def visitor(browser, address, seconds: int = 30):
    """A fresh visitor's page. A test fails if the page throws, or asks any other host for anything."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(seconds * SECOND)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text)
            if message.type == "error" and not re.search(LEFT, message.text) else None)
    page.on("request", lambda request: faults.append(request.url)
            if not request.url.startswith((address, "data:", "blob:")) else None)
    page.goto(address)
    yield page
    context.close()
    assert faults == []


def say(page, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")


def note_doings(page) -> None:
    """Keep every line on what is being done; a quick drawing is over before the next look at the page."""
    page.evaluate("""() => {
        window.doings = []
        const note = () => document.querySelectorAll("#chat .doing").forEach(e => doings.push(e.textContent))
        new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true})
    }""")


def replies(page):
    return page.locator("#chat .bot-row")


def loaded(page, selector: str) -> bool:
    return page.eval_on_selector_all(
        selector, "all => all.length > 0 && all.every(i => i.complete && i.naturalWidth >= 400)")


def test_upload_two_turns_stop_and_reload(page, tmp_path):
    photo = tmp_path / "mine.png"
    draw(3, 480).save(photo)
    page.locator("#box input[type=file]").set_input_files(photo)
    page.locator("#box .thumbnail-item").wait_for()
    note_doings(page)
    say(page, "I want something creative for this one, can you help?")
    expect(page.locator("#chat .user-row .say")).to_have_text("I want something creative for this one, can you help?")
    expect(replies(page)).to_contain_text("I took your picture")
    expect(page.locator("#chat .acts")).to_have_count(1)
    doings = page.evaluate("doings.join()")  # words, then previews, in one message
    assert 0 <= doings.find("Answering") < doings.find("Drawing, step"), doings
    expect(page.locator("#box textarea")).to_have_value("")
    expect(replies(page)).to_have_count(1)
    page.wait_for_timeout(300)
    assert loaded(page, "#chat .picture img, #chat .photo img")

    page.locator("#steps input[type=number]").fill("100")
    say(page, "now at night")
    expect(page.locator("#chat .doing")).to_contain_text("of 100")
    page.locator("#box .stop-button").dispatch_event("click")  # at once: a busy machine may draw to the end before it is still
    expect(replies(page).nth(1)).to_contain_text("Stopped.")
    expect(page.locator("#box .submit-button")).to_be_visible()

    expect(page.locator("#status")).to_have_text("")

    page.reload()
    expect(replies(page)).to_have_count(2)
    expect(page.locator("#chat .user-row .say").nth(1)).to_have_text("now at night")
    expect(page.locator("#conversations .entry[aria-current]")).to_have_count(1)
    page.wait_for_timeout(300)
    assert loaded(page, "#chat .picture img")


def test_a_reload_while_drawing_goes_on_watching(page):
    page.locator("#stage .tile").nth(2).click()
    page.locator("#box .thumbnail-item").wait_for()
    page.locator("#stage .chip").first.click()
    expect(page.locator("#chat .doing")).to_be_visible()
    page.wait_for_url(re.compile(r"\?c="))
    page.reload()
    expect(page.locator("#chat .acts")).to_have_count(1)
    expect(replies(page)).to_contain_text("I took your picture and thought")


def test_seed_redraw_use_delete_and_undo(page):
    page.locator("#stage .tile").first.click()
    page.locator("#stage .chip").first.click()
    expect(page.locator("#chat .acts")).to_have_count(1)
    seed = page.locator("#chat .seed").inner_text().split()[1]
    page.get_by_role("button", name="Pin seed").click()
    expect(page.locator("#seed textarea")).to_have_value(seed)
    page.get_by_role("button", name="Redraw").click()
    expect(page.locator("#chat .seed")).to_have_text([f"Seed {seed}"] * 2)
    page.get_by_role("button", name="Seed pinned").first.click()
    expect(page.locator("#seed textarea")).to_have_value("")
    page.get_by_role("button", name="Use as subject").first.click()
    page.locator("#box .thumbnail-item").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")

    count = page.locator("#conversations .entry").count()
    page.locator("#conversations .entry").first.hover()
    page.locator("#conversations .entry .remove").first.click()
    expect(page.locator("#conversations .entry")).to_have_count(count - 1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#conversations .entry")).to_have_count(count)


def test_bad_input_is_one_sentence_and_stays_in_the_box(page, tmp_path):
    fake = tmp_path / "notes.png"
    fake.write_text("this is text\n" * 20)
    page.locator("#box input[type=file]").set_input_files(fake)
    page.locator("#box .thumbnail-item").wait_for()
    say(page, "draw this")
    expect(page.locator("#notice .fault")).to_have_text(re.compile("^This is a text file, not a picture. "))
    expect(page.locator("#box textarea")).to_have_value("draw this")
    expect(page.locator("#box .thumbnail-item")).to_have_count(1)
    page.locator("#box .delete-button").click()
    say(page, "x" * 4001)
    expect(page.locator("#notice .fault")).to_contain_text("4,001 characters; the limit is 4,000")
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script> **not bold** [a](javascript:alert(3))"
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    say(page, f"{hostile} words only")
    expect(page.locator("#chat .user-row .say")).to_have_text(f"{hostile} words only")
    expect(replies(page)).to_contain_text("<script>alert(2)</script> **not bold**")
    expect(page.locator("#notice .fault")).to_have_count(0)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_nothing_is_wider_than_the_window(browser, address, size):
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme="dark")
    page.goto(address)
    page.locator("#stage .tile").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.locator("#box textarea").bounding_box()["y"] < size[1]
    assert page.evaluate("document.body.classList.contains('dark')")
    if size[0] < 500:
        page.locator("[data-ui=left]").click()
        expect(page.get_by_role("button", name="New conversation")).to_be_in_viewport()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="New conversation")).not_to_be_in_viewport()
    page.close()


def test_the_miniature_answers_in_the_browser(browser, tmp_path):
    """The program itself: a held-out individual uploaded, two turns, Stop in one, reload."""
    from assistant.evaluation.sheet import held_out_photo

    photo = tmp_path / "mine.png"
    photo.write_bytes(held_out_photo(1, 128)[1].png)
    for address in serve("app.py", "--data-dir", str(tmp_path / "data")):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60 * SECOND)
        page.goto(address)
        page.locator("#stage .tile").nth(7).wait_for()
        page.locator("#box input[type=file]").set_input_files(photo)
        page.locator("#box .thumbnail-item").wait_for()
        say(page, "on the beach with a red hat")
        expect(replies(page)).to_contain_text("beach", timeout=60 * SECOND)
        expect(page.locator("#chat .acts")).to_have_count(1, timeout=60 * SECOND)
        page.wait_for_timeout(300)
        assert loaded(page, "#chat .picture img, #chat .photo img")
        page.locator("#steps input[type=number]").fill("100")
        say(page, "now at night")
        expect(page.locator("#chat .doing")).to_contain_text("of 100", timeout=60 * SECOND)
        page.locator("#box .stop-button").dispatch_event("click")
        expect(replies(page).nth(1)).to_contain_text("Stopped.")
        page.reload()
        expect(replies(page)).to_have_count(2)
        expect(page.locator("#chat .user-row .say").nth(1)).to_have_text("now at night")
        page.close()
