"""The Likeness panel in a real browser, on the miniature: learn a concept, draw a strip, pick, look at masks, send it to the chat."""

from __future__ import annotations

import io
import json
import os
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assistant.miniature.renderer import render
from assistant.miniature.world import sample_individual, sample_scene
from tests.test_browser import SECOND, browser, expect, serve, visitor  # noqa: F401 - a fixture

SHOTS = os.environ.get("SHOTS")  # a folder for screenshots, for people


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    yield from serve("app.py", "--data-dir", str(tmp_path_factory.mktemp("data")), "--device", "cpu")


@pytest.fixture
def page(browser, address):  # noqa: F811
    with visitor(browser, address, 60) as page:
        yield page


def shot(page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(700)
        page.screenshot(path=f"{SHOTS}/{name}.png")


def photos(folder: Path) -> list[str]:
    """Three scenes of one held-out cat."""
    rng = random.Random(4)
    one = replace(sample_individual(rng, held_out=True), kind="cat")
    files = []
    for k in range(3):
        files.append(str(folder / f"{k}.png"))
        render(replace(sample_scene(rng, one, None), accessories=()), 128).image.save(files[-1])
    return files


def loaded(page, selector: str) -> None:
    page.wait_for_function("s => [...document.querySelectorAll(s)].length && [...document.querySelectorAll(s)].every(i => i.complete && i.naturalWidth > 0)", arg=selector)


def png(page, selector: str) -> bytes:
    source = page.locator(selector).first.get_attribute("src")
    return page.request.get(page.evaluate("s => new URL(s, location.href).href", source)).body()


def test_learn_slide_look_and_send(page, tmp_path):
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
    page.locator("#concept-drop input[type=file]").set_input_files(photos(tmp_path))
    page.locator("#concept-noun textarea").fill("cat")
    page.locator("#concept-name textarea").fill("rex")
    page.get_by_label("Several in one picture").uncheck()
    page.get_by_label("The likeness slider").check()
    page.locator("#concept-more .label-wrap").click()
    page.get_by_role("spinbutton", name=re.compile("Steps")).last.fill("60")
    page.locator("#concept-learn").click()
    expect(page.locator(".lesson")).to_contain_text("cat, for the likeness slider")
    shot(page, "likeness-learning")
    page.get_by_role("tab", name="Likeness").click()
    chip = page.locator(".likeness-chips .chip", has_text="<rex>")
    expect(chip).to_be_visible(timeout=400 * SECOND)

    # the auxiliary noun may not be the concept's own
    page.locator("#likeness-prompt textarea").fill("")
    chip.click()
    expect(page.locator("#likeness-prompt textarea")).to_have_value("<rex> ")
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
    loaded(page, ".likeness-cell img")
    expect(page.locator(".likeness-pair figcaption").first).to_have_text("a <rex> in the snow at night, watercolour")
    expect(page.locator(".likeness-pair figcaption").nth(1)).not_to_contain_text("cat")
    shot(page, "likeness-strip")
    cells.nth(5).click()
    expect(cells.nth(5)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#likeness-lambda input[type=number]")).to_have_value("1.5")

    # masks: another scale is another picture, and so is the other branch
    loaded(page, ".likeness-over img")
    seen = {png(page, ".likeness-over img")}
    page.locator("#likeness-scale input").click()
    page.get_by_role("option", name="8 × 8, on the way down").click()
    expect(page.locator(".likeness-over img")).to_have_attribute("src", re.compile("scale=8.down"))
    loaded(page, ".likeness-over img")
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
    assert (about["method"], about["imagination"], about["seed"], about["window"]) == ("ICO + DCI", 1.5, 5, 0.15) and about["auxiliary"] != "cat"
    both = [np.asarray(Image.open(io.BytesIO(data)), np.int16) for data in (sent, picked)]
    assert np.abs(both[0] - both[1]).max() <= 2  # one of a batch rounds otherwise than one alone
    shot(page, "likeness-sent")
    page.locator("#box textarea").fill("lambda -2")  # said in the talk, it moves the slider
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#likeness-lambda input[type=number]")).to_have_value("-2", timeout=120 * SECOND)
    expect(page.locator("#chat")).to_contain_text("λ = -2")
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
    page.get_by_role("tab", name="Likeness").click()
    expect(page.locator(".likeness-cell")).to_have_count(7)
    expect(page.locator(".likeness-cell").nth(5)).to_have_attribute("aria-pressed", "true")
