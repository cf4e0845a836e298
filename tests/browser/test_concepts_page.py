"""Concepts in a real browser, on an engine without models: learn, watch, stop, go on, use in the chat, try out, rename, export, delete, import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.visitor import PATIENCE, SECOND, FakeServer, expect, open_concepts, replies, say, take_all_away, teach, wait_for_images
from tests.fake_engine import draw

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a page where lessons and drawings last long enough to be watched, stopped and left."""
    with FakeServer("--pause", str(0.02 * PATIENCE), "--data-dir", str(tmp_path_factory.mktemp("data"))) as server:
        yield server.url


@pytest.fixture
def page(page):
    open_concepts(page)
    return page


def pictures(folder: Path, count: int = 3, first: int = 0) -> list[str]:
    for number in range(first, first + count):
        draw(number, 200).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(first, first + count)]


def test_learn_watch_stop_go_on_use_export_delete_import(page, tmp_path):
    teach(page, pictures(tmp_path), "tom", steps=150)
    lesson = page.locator(".lesson")
    expect(lesson.locator(".doing")).to_have_text(re.compile(r"Learning, step \d+ of 150, about \d+ s left"))
    expect(lesson.locator(".curve polyline")).to_be_attached()
    expect(lesson.locator(".views img").nth(1)).to_be_visible()
    assert page.locator(".picked figure").count() == 0 and page.locator("#concept-name textarea").input_value() == ""
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator(".concept")).to_contain_text("Stopped at step")
    stopped = int(re.search(r"step (\d+)", page.locator(".concept").inner_text())[1])
    expect(page.locator(".concept")).to_contain_text(f"{stopped} steps")
    expect(lesson).to_have_count(0)
    page.reload()
    open_concepts(page)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".concept")).to_contain_text("150 steps", timeout=60 * SECOND)
    wait_for_images(page, ".views img, .concept > img")
    assert page.locator(".views img, .concept > img").count() > 5

    # in the chat: completion as one types, or a click on the chip
    page.locator("#box textarea").press_sequentially("draw <t")
    expect(page.locator("#complete [role=option]")).to_have_text("<tom>")
    page.keyboard.press("Enter")
    page.keyboard.type("on the beach")
    expect(page.locator("#box textarea")).to_have_value("draw <tom> on the beach")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .user-row .named")).to_have_text("<tom>")
    expect(replies(page)).to_contain_text("You said: draw <tom> on the beach")
    page.locator(".concept button.named").click()
    expect(page.locator("#box textarea")).to_have_value("<tom> ")
    page.locator("#box textarea").fill("")

    # try out, rename, describe, duplicate
    page.locator(".concept summary").click()
    page.locator(".concept .chip").first.click()
    expect(page.locator(".strip-tries img")).to_have_count(2)
    page.locator(".concept [data-field=name]").fill("tiger")
    page.locator(".concept [data-field=description]").fill("striped <b>")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".concept")).to_contain_text("striped <b>")
    expect(page.locator(".concept button.named")).to_have_text("<tiger>")
    page.locator(".concept summary").click()
    page.get_by_role("button", name="Duplicate").click()
    expect(page.locator(".concept")).to_have_count(2)

    # export, delete, undo, delete, import
    page.locator(".concept summary").first.click()
    with page.expect_download() as download:
        page.locator(".concept").first.get_by_role("link", name="Export").click()
    assert download.value.suggested_filename == "tiger.safetensors"
    kept = tmp_path / "tiger.safetensors"
    download.value.save_as(kept)
    for undo in (True, False):
        if undo is False:
            page.locator(".concept summary").first.click()
        page.locator(".concept").first.get_by_role("button", name="Delete").click()
        expect(page.locator(".concept")).to_have_count(1)
        if undo:
            page.get_by_role("button", name="Undo").click()
            expect(page.locator(".concept")).to_have_count(2)
    page.locator("#concept-import input[type=file]").set_input_files(kept)
    expect(page.locator("#concept-notice")).to_contain_text("<tiger> is on the shelf")
    expect(page.locator(".concept button.named")).to_have_text(["<tiger>", "<tiger-2>"])
    kept.write_bytes(b"\x80\x04K\x01.")
    page.locator("#concept-import input[type=file]").set_input_files(kept)
    expect(page.locator("#concept-notice .fault")).to_contain_text("is no concept")


def test_what_was_learned_for_one_use_is_learned_for_the_other_and_slid(page, tmp_path):
    say(page, "lambda -2")  # moves the slider, whose tab has not been opened yet
    expect(page.locator("#chat .acts")).to_have_count(1)
    teach(page, pictures(tmp_path, first=8), "rex", steps=40)
    card = page.locator(".concept", has=page.get_by_role("button", name="<rex>"))
    card.get_by_role("button", name="Learn it for the likeness slider too").click()
    expect(card.locator(".use")).to_have_count(2, timeout=60 * SECOND)
    card.get_by_role("button", name="Open the slider").click()
    expect(page.locator("#likeness-prompt textarea")).to_have_value("<rex> ")
    expect(page.locator("#likeness-lambda input[type=number]")).to_have_value("-2")
    page.locator("#likeness-prompt textarea").press_sequentially("on the beach")
    page.locator("#likeness-draw").click()
    expect(page.locator(".likeness-doing")).to_contain_text("Drawing")
    page.reload()  # the strip goes on
    page.get_by_role("tab", name="Likeness").click()
    expect(page.locator(".likeness-cell")).to_have_count(7)
    expect(page.locator("#likeness-result")).to_contain_text("Most changes between λ = 0 and 2; -2 to 0 look alike.")
    expect(page.locator(".likeness-over figcaption")).to_contain_text("The top: there imagination (“a dog”) was heard more.")
    page.get_by_role("button", name="Let imagination be heard longer").click()
    expect(page.locator("#likeness-doing")).to_be_hidden()
    page.locator("#likeness-more .label-wrap").click()
    expect(page.locator("#likeness-window input[type=number]")).to_have_value("0.8")


def test_nothing_is_lost_and_what_is_wrong_is_said_in_place(page, tmp_path):
    page.locator("#concept-learn").click()
    expect(page.locator("#concept-notice .fault")).to_contain_text("nothing to learn from yet")
    broken = tmp_path / "notes.png"
    broken.write_text("this is text\n" * 20)
    page.locator("#concept-drop input[type=file]").set_input_files([*pictures(tmp_path, 2, 4), str(broken)])
    expect(page.locator(".picked figure")).to_have_count(2)
    expect(page.locator("#concept-notice .fault")).to_contain_text("This is a text file, not a picture.")
    page.locator("#concept-learn").click()
    expect(page.locator("#concept-notice .fault")).to_contain_text("It has no name yet.")
    page.locator("#concept-name textarea").fill("two words")
    page.locator("#concept-learn").click()
    expect(page.locator("#concept-notice .fault")).to_contain_text("cannot be a concept's name")
    expect(page.locator("#concept-name textarea")).to_have_value("two words")
    page.reload()
    open_concepts(page)
    expect(page.locator(".picked figure")).to_have_count(2)
    page.get_by_role("button", name="Take picture 2 away").click()
    expect(page.locator(".picked figure")).to_have_count(1)
    expect(page.locator(".advice")).to_contain_text("1 picture is few")
    page.get_by_role("button", name="Mark").click()
    canvas = page.locator("#paint canvas").bounding_box()
    page.mouse.move(canvas["x"] + 100, canvas["y"] + 100)
    page.mouse.down()
    page.mouse.move(canvas["x"] + 200, canvas["y"] + 250, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Keep").click()
    expect(page.locator(".picked .paint.on")).to_have_count(1)


def test_pictures_are_pasted_and_taken_from_the_conversation(page):
    chosen = page.locator(".picked figure")
    take_all_away(page)
    page.evaluate("""async () => {
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 64;
        const blob = await new Promise((done) => canvas.toBlob(done));
        const data = new DataTransfer();
        data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
        document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
    }""")
    expect(chosen).to_have_count(1)
    page.locator("#stage .tile").first.click()
    page.locator("#stage .chip").first.click()
    page.get_by_role("button", name="Learn this").first.click()
    expect(chosen).to_have_count(2)
    page.locator("#concept-sources .label-wrap").click()
    page.locator("#concept-sources .pick").nth(1).click()
    expect(chosen).to_have_count(3)
