"""Concepts in a real browser: learn, watch, stop, go on, use in the chat, try out, rename, export, delete, import; and kill -9."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.fake_engine import draw
from tests.test_browser import SECOND, browser, expect, free_port, replies, say, serve, started, visitor  # noqa: F401


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    yield from serve("tests/fake_engine.py", "--pause", "0.02", "--data-dir", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def page(browser, address):  # noqa: F811
    with visitor(browser, address) as page:
        panel(page)
        yield page


def panel(page) -> None:
    page.locator("#stage .tile").first.wait_for()
    page.get_by_role("tab", name="Concepts").click()
    page.locator("#concept-drop input[type=file]").wait_for(state="attached")


def pictures(folder: Path, count: int = 3, first: int = 0) -> list[str]:
    for number in range(first, first + count):
        draw(number, 200).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(first, first + count)]


def teach(page, files: list[str], name: str) -> None:
    page.locator("#concept-drop input[type=file]").set_input_files(files)
    expect(page.locator(".picked figure")).to_have_count(len(files))
    expect(page.locator("#concept-noun textarea")).not_to_have_value("")  # suggested
    page.locator("#concept-name textarea").fill(name)
    page.locator("#concept-learn").click()


def test_learn_watch_stop_go_on_use_export_delete_import(page, tmp_path):
    teach(page, pictures(tmp_path), "tom")
    lesson = page.locator(".lesson")
    expect(lesson.locator(".doing")).to_have_text(re.compile(r"Learning, step \d+ of 300, about \d+ s left"))
    expect(lesson.locator(".curve polyline")).to_be_attached()
    expect(lesson.locator(".views img").nth(1)).to_be_visible()
    assert page.locator(".picked figure").count() == 0 and page.locator("#concept-name textarea").input_value() == ""
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator(".concept")).to_contain_text("Stopped at step")
    stopped = int(re.search(r"step (\d+)", page.locator(".concept").inner_text())[1])
    expect(page.locator(".concept")).to_contain_text(f"{stopped} steps")
    expect(lesson).to_have_count(0)
    page.reload()
    panel(page)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".concept")).to_contain_text("300 steps", timeout=60 * SECOND)
    page.wait_for_timeout(300)
    assert page.eval_on_selector_all(".views img, .concept > img", "all => all.length > 5 && all.every(i => i.naturalWidth > 0)")

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
    page.locator("#panel-concepts input[accept*=safetensors]").set_input_files(kept)
    expect(page.locator("#concept-notice")).to_contain_text("<tiger> is on the shelf")
    expect(page.locator(".concept button.named")).to_have_text(["<tiger>", "<tiger-2>"])
    kept.write_bytes(b"\x80\x04K\x01.")
    page.locator("#panel-concepts input[accept*=safetensors]").set_input_files(kept)
    expect(page.locator("#concept-notice .fault")).to_contain_text("is no concept")


def test_what_was_learned_for_one_use_is_learned_for_the_other_and_slid(page, tmp_path):
    say(page, "lambda -2")  # moves the slider, whose tab has not been opened yet
    expect(page.locator("#chat .acts")).to_have_count(1)
    page.locator("#concept-more .label-wrap").click()
    page.get_by_role("spinbutton", name=re.compile("Steps")).last.fill("40")
    teach(page, pictures(tmp_path, first=8), "rex")
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
    panel(page)
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
    page.wait_for_timeout(500)
    for number in range(chosen.count(), 0, -1):  # of the test before
        page.get_by_role("button", name=f"Take picture {number} away").click()
        expect(chosen).to_have_count(number - 1)
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


def test_on_a_phone_the_panel_slides_over_and_nothing_is_wider(browser, address):  # noqa: F811
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(address)
    page.locator("#stage .tile").first.wait_for()
    page.locator("[data-ui=right]").click()
    page.get_by_role("tab", name="Concepts").click()
    expect(page.locator("#concept-learn")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.getElementById('right'))")
    page.close()


def test_the_miniature_learns_is_killed_and_goes_on(browser, tmp_path):  # noqa: F811
    """The program itself, with kill -9 in the middle of learning."""
    from tests.test_concept_drawing import photos

    port, files, program = free_port(), [], ("app.py", "--data-dir", str(tmp_path / "data"))
    for number, photo in enumerate(photos("cat", 3)):
        (tmp_path / f"{number}.png").write_bytes(photo.png)
        files.append(str(tmp_path / f"{number}.png"))
    server, url = started(port, *program)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(90 * SECOND)
    long = 120 * SECOND
    try:
        page.goto(url)
        panel(page)
        page.locator("#stage .tile").first.click()
        page.locator("#stage .chip").first.click()
        expect(page.locator("#chat .acts")).to_have_count(1, timeout=long)
        page.locator("#concept-more .label-wrap").click()
        page.get_by_role("spinbutton", name=re.compile("Steps")).last.fill("60")
        teach(page, files, "tom")
        expect(page.locator("#concept-noun textarea")).to_have_value("", timeout=long)
        expect(page.locator(".lesson .views img").nth(1)).to_be_visible(timeout=long)  # the second preview: 12 steps are kept
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        server, url = started(port, *program)
        page.goto(url)
        panel(page)
        expect(page.locator(".lesson .doing")).to_contain_text(re.compile(r"The program ended at step \d\d"))
        assert page.locator("#conversations .entry").count() == 1
        page.get_by_role("button", name="Go on").click()
        expect(page.locator(".concept")).to_contain_text("60 steps", timeout=long)
        say(page, "draw <tom> on the beach")
        expect(replies(page)).to_contain_text("Drawn from words, with <tom>: “a cat on the beach”.", timeout=long)
        expect(page.locator("#chat .acts")).to_have_count(1, timeout=long)
        page.reload()
        expect(replies(page)).to_have_count(1)
    finally:
        page.close()
        server.terminate()
        server.wait(20)
