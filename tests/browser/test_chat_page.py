"""The page in a real browser, on an engine without models: upload, two turns, Stop, reload; and no panel is wider than its window."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.visitor import expect, replies, say, wait_for_images, welcome
from tests.fake_engine import draw

pytestmark = pytest.mark.browser


def note_doings(page) -> None:
    """Keep every line on what is being done; a quick drawing is over before the next look at the page."""
    page.evaluate("""() => {
        window.doings = []
        const note = () => document.querySelectorAll("#chat .doing").forEach(e => doings.push(e.textContent))
        new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true})
    }""")


def test_upload_two_turns_stop_and_reload(page, tmp_path):
    photo = tmp_path / "mine.png"
    draw(3, 480).save(photo)
    page.locator("#box input[type=file]").set_input_files(photo)
    page.locator("#box .thumbnail-item").wait_for()
    note_doings(page)
    say(page, "I want something creative for this one, can you help? slowly")
    expect(page.locator("#chat .user-row .say")).to_have_text("I want something creative for this one, can you help? slowly")
    expect(replies(page)).to_contain_text("I took your picture")
    expect(page.locator("#chat .acts")).to_have_count(1)
    doings = page.evaluate("doings.join()")  # words, then previews, in one message
    assert 0 <= doings.find("Answering") < doings.find("Drawing, step"), doings
    expect(page.locator("#box textarea")).to_have_value("")
    expect(replies(page)).to_have_count(1)
    wait_for_images(page, "#chat .picture img, #chat .photo img", 400)

    page.locator("#steps input[type=number]").fill("100")
    say(page, f"now at night until {tmp_path / 'morning'}")
    expect(page.locator("#chat .doing")).to_contain_text("of 100")
    page.locator("#box .stop-button").click()
    expect(replies(page).nth(1)).to_contain_text("Stopped.")
    expect(page.locator("#box .submit-button")).to_be_visible()

    expect(page.locator("#status")).to_have_text("")

    page.reload()
    expect(replies(page)).to_have_count(2)
    expect(page.locator("#chat .user-row .say").nth(1)).to_contain_text("now at night")
    expect(page.locator("#conversations .entry[aria-current]")).to_have_count(1)
    wait_for_images(page, "#chat .picture img", 400)


def test_a_reload_while_drawing_goes_on_watching(page, tmp_path):
    page.locator("#stage .tile").nth(2).click()
    page.locator("#box .thumbnail-item").wait_for()
    say(page, f"on the beach until {tmp_path / 'reloaded'}")
    expect(page.locator("#chat .doing")).to_be_visible()
    page.wait_for_url(re.compile(r"\?c="))
    page.reload()
    expect(page.locator("#chat .doing")).to_contain_text("Drawing, step")
    (tmp_path / "reloaded").touch()
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
    expect(page.locator("#notice .fault")).to_have_text(re.compile("^This is a text file, not a picture. "))  # before it is sent
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
def test_no_panel_is_wider_than_the_window(tab, address, size):
    page = tab
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme="dark")
    welcome(page, address)

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth") <= size[0]

    assert fits() and page.locator("#box textarea").bounding_box()["y"] < size[1]
    assert page.evaluate("document.body.classList.contains('dark')")
    if size[0] < 500:
        page.locator("[data-ui=left]").click()
        expect(page.get_by_role("button", name="New conversation")).to_be_in_viewport()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="New conversation")).not_to_be_in_viewport()
        page.locator("[data-ui=right]").click()
    for panel, shows in (("Concepts", "#concept-learn"), ("Mix", "[data-drop=subject]")):
        page.get_by_role("tab", name=panel).click()
        expect(page.locator(shows)).to_be_in_viewport()
        assert fits() and page.locator("#right").evaluate("e => e.scrollWidth <= e.clientWidth + 1")
