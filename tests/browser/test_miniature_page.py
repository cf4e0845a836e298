"""The program itself in a real browser: the miniature answers, learns beside the chat, survives kill -9; the Likeness panel's whole way."""

from __future__ import annotations

import io
import json
import os
import re
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

import app
from tests.browser.visitor import SECOND, ForkedServer, expect, open_concepts, replies, say, sync_api, teach, wait_for_images
from tests.photos import photos

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SHOTS = os.environ.get("SHOTS")  # a folder for screenshots, for people
LONG = 120 * SECOND


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ForkedServer(app.main, "--device", "cpu", "--data-dir", str(tmp_path_factory.mktemp("data"))) as server:
        yield server


@pytest.fixture(scope="module")
def address(server):
    return server.url


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """Three photos of one held-out cat."""
    folder = tmp_path_factory.mktemp("photos")
    for number, photo in enumerate(photos("cat", 3)):
        (folder / f"{number}.png").write_bytes(photo.png)
    return sorted(map(str, folder.iterdir()))


def shot(page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(700)
        page.screenshot(path=f"{SHOTS}/{name}.png")


def png(page, selector: str) -> bytes:
    source = page.locator(selector).first.get_attribute("src")
    return page.request.get(page.evaluate("s => new URL(s, location.href).href", source)).body()


def test_it_answers_stops_and_survives_a_reload(page, files):
    page.locator("#stage .tile").nth(7).wait_for()
    page.locator("#box input[type=file]").set_input_files(files[0])
    page.locator("#box .thumbnail-item").wait_for()
    say(page, "on the beach with a red hat")
    expect(replies(page)).to_contain_text("beach", timeout=LONG)
    expect(page.locator("#chat .acts")).to_have_count(1, timeout=LONG)
    wait_for_images(page, "#chat .picture img, #chat .photo img", 400)
    page.locator("#steps input[type=number]").fill("100")
    page.locator("#tries input[type=number]").fill("6")  # long enough to be stopped
    say(page, "now at night")
    expect(page.locator("#chat .doing")).to_contain_text(re.compile("of [1-6]00"), timeout=LONG)
    page.locator("#box .stop-button").dispatch_event("click")
    expect(replies(page).nth(1)).to_contain_text("Stopped.")
    page.reload()
    expect(replies(page)).to_have_count(2)
    expect(page.locator("#chat .user-row .say").nth(1)).to_have_text("now at night")


def test_killed_while_it_learns_it_goes_on_and_draws_what_it_learned(tab, server, files):
    page = tab
    page.goto(server.url)
    open_concepts(page)
    page.locator("#stage .tile").first.click()
    page.locator("#stage .chip").first.click()
    expect(page.locator("#chat .acts")).to_have_count(1, timeout=LONG)
    conversations = page.locator("#conversations .entry").count()
    teach(page, files, "tom", steps=20)
    expect(page.locator("#concept-noun textarea")).to_have_value("", timeout=LONG)
    expect(page.locator(".lesson .views img").nth(1)).to_be_visible(timeout=LONG)  # the second preview: 4 steps are kept
    server.kill()
    server.start()
    with suppress(sync_api.Error):  # the page loads itself anew when the program is back
        page.goto(server.url)
    page.wait_for_load_state()
    open_concepts(page)
    expect(page.locator(".lesson .doing")).to_contain_text(re.compile(r"The program ended at step [1-9]"))
    expect(page.locator("#conversations .entry")).to_have_count(conversations)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".concept")).to_contain_text("20 steps", timeout=LONG)
    say(page, "draw <tom> on the beach")
    expect(replies(page)).to_contain_text("Drawn from words, with <tom>: “a cat on the beach”.", timeout=LONG)
    expect(page.locator("#chat .acts")).to_have_count(1, timeout=LONG)
    page.reload()
    expect(replies(page)).to_have_count(1)


def test_likeness_learn_slide_look_and_send(page, files):
    page.get_by_role("tab", name="Likeness").click()
    expect(page.locator("#likeness-shelf")).to_contain_text("Nothing is learned for this yet.", timeout=120 * SECOND)  # models are loaded first
    fault = page.locator("#likeness-notice .fault")
    # what cannot be drawn is a sentence, and the words stay
    page.locator("#likeness-draw").click()
    expect(fault).to_contain_text("no words to draw")
    page.locator("#likeness-prompt textarea").fill("a cat in the snow")
    page.locator("#likeness-draw").click()
    expect(fault).to_contain_text("name no concept")
    expect(page.locator("#likeness-prompt textarea")).to_have_value("a cat in the snow")

    # learn, in the one place for that
    page.get_by_text("Learn something in Concepts").click()
    page.locator("#concept-drop input[type=file]").set_input_files(files)
    page.locator("#concept-noun textarea").fill("cat")
    page.locator("#concept-name textarea").fill("rex")
    page.get_by_label("Several in one picture").uncheck()
    page.get_by_label("The likeness slider").check()
    page.locator("#concept-more .label-wrap").click()
    page.get_by_role("spinbutton", name=re.compile("Steps")).last.fill("20")
    page.locator("#concept-learn").click()
    expect(page.locator(".lesson")).to_contain_text("cat, for the likeness slider")
    shot(page, "likeness-learning")
    page.get_by_role("tab", name="Likeness").click()
    chip = page.locator(".likeness-chips .chip", has_text="<rex>")
    expect(chip).to_be_visible(timeout=400 * SECOND)

    # the auxiliary noun may not be the concept's own
    page.locator("#likeness-prompt textarea").fill("")
    chip.click()
    assert page.locator("#likeness-prompt textarea").input_value() == "<rex> ", "at once: nothing comes later over what is typed"
    page.locator("#likeness-prompt textarea").fill("a <rex> in the snow at night, watercolour")
    page.locator("#likeness-more .label-wrap").click()
    other = page.locator("#likeness-noun-other textarea, #likeness-noun-other input").first
    other.fill("cat")
    page.locator("#likeness-draw").click()
    expect(fault).to_contain_text("own class noun")
    other.fill("")
    page.locator("#likeness-seed textarea, #likeness-seed input").first.fill("5")

    # the strip
    page.locator("#likeness-draw").click()
    cells = page.locator(".likeness-cell")
    expect(cells).to_have_count(7, timeout=240 * SECOND)
    wait_for_images(page, ".likeness-cell img")
    expect(page.locator(".likeness-pair figcaption").first).to_have_text("a <rex> in the snow at night, watercolour")
    expect(page.locator(".likeness-pair figcaption").nth(1)).not_to_contain_text("cat")
    shot(page, "likeness-strip")
    cells.nth(5).click()
    expect(cells.nth(5)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#likeness-lambda input[type=number]")).to_have_value("1.5")

    # masks: another scale is another picture, and so is the other branch
    wait_for_images(page, ".likeness-over img")
    seen = {png(page, ".likeness-over img")}
    page.locator("#likeness-scale input").click()
    page.get_by_role("option", name="8 × 8, on the way down").click()
    expect(page.locator(".likeness-over img")).to_have_attribute("src", re.compile("scale=8.down"))
    wait_for_images(page, ".likeness-over img")
    seen.add(png(page, ".likeness-over img"))
    page.get_by_role("radio", name="Likeness", exact=True).check()
    expect(page.locator(".likeness-over img")).to_have_attribute("src", re.compile("branch=concept"))
    seen.add(png(page, ".likeness-over img"))
    expect(page.locator(".likeness-over figcaption")).to_contain_text("what was learned")
    assert len(seen) == 3
    page.locator(".likeness-over").scroll_into_view_if_needed()
    shot(page, "likeness-masks")

    # to the chat: the same picture, with its settings in it
    download = page.locator(".acts a", has_text="Download").first.get_attribute("href")
    picked = page.request.get(page.evaluate("s => new URL(s, location.href).href", download)).body()
    page.locator("[data-act='likeness.send']").click()
    expect(page.locator("#chat .picture img").first).to_be_visible(timeout=120 * SECOND)
    expect(page.locator("#chat")).to_contain_text("λ = 1.5")
    link = page.locator("#chat a", has_text="Download").last.get_attribute("href")
    sent = page.request.get(page.evaluate("s => new URL(s, location.href).href", link)).body()
    about = json.loads(Image.open(io.BytesIO(sent)).text["assistant"])
    assert (about["method"], about["imagination"], about["seed"], about["window"]) == ("ICO + DCI", 1.5, 5, 0.5) and about["auxiliary"] != "cat"
    both = [np.asarray(Image.open(io.BytesIO(data)), np.int16) for data in (sent, picked)]
    assert np.abs(both[0] - both[1]).max() <= 2  # one of a batch rounds otherwise than one alone
    shot(page, "likeness-sent")
    expect(page.locator("#chat .doing")).to_have_count(0)
    page.wait_for_timeout(500)  # the box takes the next message when the last is done with
    say(page, "lambda -2")  # it moves the slider
    expect(page.locator("#likeness-lambda input[type=number]")).to_have_value("-2", timeout=120 * SECOND)
    expect(page.locator("#chat")).to_contain_text("λ = -2")
    expect(cells.first).to_have_attribute("aria-pressed", "true")  # and the strip shows that picture
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440

    if SHOTS:
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate("window.cafe.show('likeness')")
        shot(page, "likeness-phone")
        page.locator(".likeness-over").scroll_into_view_if_needed()
        shot(page, "likeness-phone-masks")
        page.set_viewport_size({"width": 1440, "height": 900})

    # a reload loses nothing
    page.reload()
    expect(page.get_by_role("tab", name="Likeness")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".likeness-cell")).to_have_count(7)
    expect(cells.first).to_have_attribute("aria-pressed", "true")
