"""The mixing board in a real browser: three pictures, alpha, the grid, to the chat, a reload; on an engine without models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.visitor import expect, replies, say
from tests.fake_engine import draw

pytestmark = pytest.mark.browser

SLIDE = "(e, value) => { e.value = value; for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true})); }"

DROP = """async ([where, address, link]) => {
    const data = new DataTransfer();
    if (address) data.items.add(new File([await (await fetch(address)).blob()], 'one.png', {type: 'image/png'}));
    if (link) data.setData('text/uri-list', new URL(link, location).href);
    document.querySelector(where).dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data}));
}"""


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    files = [tmp_path / f"{n}.png" for n in (1, 2, 3)]
    for n, file in enumerate(files, 1):
        draw(n, 240).save(file)
    return files


def open_mix(page) -> None:
    page.locator("#panel-mix-button").click()
    page.locator("#mix-form [data-put=subject]").wait_for(state="attached")


def fill(page, pictures) -> None:
    """A subject and two references; returns when the board has drawn them."""
    open_mix(page)
    page.locator("#mix-bar [data-act='mix.new']").click() if page.locator("#mix-bar [data-act='mix.new']").count() else None
    expect(page.locator(".mix-photo")).to_have_count(0)
    page.locator("[data-put=subject]").set_input_files(pictures[0])
    expect(page.locator(".mix-photo")).to_have_count(1)
    page.locator("[data-put=reference]").set_input_files(pictures[1:])
    expect(page.locator(".mix-ref")).to_have_count(2)
    settled(page)


def settled(page) -> None:
    expect(page.locator(".mix-near")).to_be_visible()
    expect(page.locator(".mix-doing")).to_have_count(0)


def shown(page) -> str:
    return page.locator(".mix-result > .mix-picture img").get_attribute("src")


def test_a_board_from_three_pictures_to_the_chat_and_after_a_reload(page, pictures):
    fill(page, pictures)
    expect(page.locator(".mix-near > span")).to_have_count(9)  # subject and two references: a name, a bar, a number each
    seen = [shown(page)]
    seed = page.locator("#mix-result .seed").inner_text()
    for value in ("0", "1"):  # sweep alpha
        page.locator("#mix-alpha [data-field=alpha]").evaluate(SLIDE, value)
        expect(page.locator(".mix-result > .mix-picture img")).not_to_have_attribute("src", seen[-1])
        settled(page)
        seen.append(shown(page))
    assert len(set(seen)) == 3 and page.locator("#mix-result .seed").inner_text() == seed
    expect(page.locator(".mix-advice")).to_contain_text("Move alpha down")

    page.locator("[data-act='mix.grid']").click()
    cells = page.locator(".mix-grid button")
    expect(cells).to_have_count(25)
    wanted = cells.nth(8).locator("img").get_attribute("src")
    cells.nth(8).click()
    expect(page.locator(".mix-result > .mix-picture img")).to_have_attribute("src", wanted)
    expect(cells.nth(8)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-field=w0]")).to_have_value("0.75")
    expect(page.locator("[data-field=w1]")).to_have_value("0.75")

    page.locator("#box textarea").fill("and now at night")
    page.locator("[data-act='mix.send']").click()
    page.locator("#box .thumbnail-item").wait_for()
    expect(page.locator("#box textarea")).to_have_value("and now at night")
    page.locator("#box textarea").press("Enter")
    expect(page.locator("#chat .acts")).to_have_count(1)
    assert page.locator("#chat .user-row .photo img").count() == 1

    page.reload()
    expect(replies(page)).to_have_count(1)
    open_mix(page)
    expect(page.locator(".mix-photo")).to_have_count(1)
    expect(page.locator(".mix-ref")).to_have_count(2)
    expect(page.locator(".mix-result > .mix-picture img")).to_have_attribute("src", wanted)
    expect(page.locator("[data-field=w0]")).to_have_value("0.75")
    expect(page.locator(".mix-grid button")).to_have_count(25)
    page.get_by_role("button", name="To board").first.click()  # a drawn picture becomes a reference
    expect(page.locator(".mix-ref")).to_have_count(3)


def test_what_cannot_be_used_is_said_in_the_panel_and_the_board_stays(page, pictures, tmp_path):
    fill(page, pictures)
    more = [tmp_path / f"more-{n}.png" for n in range(4)]
    for n, file in enumerate(more):
        draw(n + 10, 64).save(file)
    fake = tmp_path / "notes.png"
    fake.write_text("this is text\n" * 20)
    page.locator("[data-put=reference]").set_input_files(fake)
    expect(page.locator("#mix-notice .fault")).to_have_text(re.compile("^This is a text file, not a picture. "))
    expect(page.locator(".mix-ref")).to_have_count(2)
    page.locator("[data-put=reference]").set_input_files([*pictures, *more])  # six would fit
    expect(page.locator("#mix-notice .fault")).to_have_text("9 references are more than the 8 that fit on a board. Choose fewer.")
    expect(page.locator(".mix-ref")).to_have_count(2)
    page.locator("[data-act='mix.delete']").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#mix-notice .note")).to_have_count(0)
    expect(page.locator(".mix-photo")).to_have_count(1)


def test_words_swaps_and_copies(page, pictures):
    fill(page, pictures)
    page.locator("[data-field=words]").fill("a harbour at night")
    page.locator("[data-act='mix.imagine']").click()
    expect(page.locator(".mix-ref")).to_have_count(3)
    subject = page.locator(".mix-photo img").get_attribute("src")
    page.get_by_role("button", name="Make subject").first.click()
    expect(page.locator(".mix-photo img")).not_to_have_attribute("src", subject)
    expect(page.locator(".mix-face img").first).to_have_attribute("src", subject)
    page.locator("[data-act='mix.copy']").click()
    expect(page.locator("#mix-bar input")).to_have_value(re.compile("copy"))
    page.locator("#mix-bar input").fill("Harbours")
    page.locator("#mix-bar input").press("Tab")
    settled(page)
    page.locator("[data-act='mix.film']").click()
    expect(page.get_by_role("link", name="Download the GIF")).to_be_visible()
    page.locator("[data-act='mix.new']").click()
    expect(page.locator("#mix-bar option", has_text="Harbours")).to_have_count(1)


def test_two_pictures_in_one_message_fill_a_board(page, pictures):
    page.locator("#box input[type=file]").set_input_files(pictures[:2])
    expect(page.locator("#box .thumbnail-item")).to_have_count(2)
    say(page, "make the second one look like the first")
    expect(replies(page)).to_contain_text("the second picture as the subject and the first as what it should be like")
    expect(page.locator("#chat .user-row .photo img")).to_have_count(2)
    page.get_by_role("button", name="Open the board").click()
    expect(page.locator(".mix-photo img")).to_be_visible()
    expect(page.locator(".mix-ref")).to_have_count(1)
    settled(page)
    link = page.locator("#mix-result a[download]").get_attribute("href")
    face = page.locator(".mix-face img").get_attribute("src")
    page.locator("[data-act='mix.new']").click()
    expect(page.locator(".mix-photo")).to_have_count(0)
    page.evaluate(DROP, ["[data-drop=subject]", "", face])  # a picture of the page, dragged by its address
    expect(page.locator(".mix-photo")).to_have_count(1)
    page.locator("[data-act='mix.new']").click()
    expect(page.locator(".mix-photo")).to_have_count(0)
    page.locator("#panel-drawing-button").click()
    page.evaluate(DROP, ["#left", link, ""])  # a downloaded picture that carries a board, anywhere on the page
    expect(page.locator("#mix-notice .note")).to_contain_text("brought its board back")
    expect(page.locator(".mix-photo")).to_have_count(1)
    expect(page.locator(".mix-ref")).to_have_count(1)
