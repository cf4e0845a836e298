"""What is drawn of a photo, seen and painted over in a real browser, on an engine without models."""

import pytest

from tests.browser.visitor import PATIENCE, FakeServer, expect, say, visitor
from tests.fake_engine import draw

pytestmark = pytest.mark.browser


def opened(page) -> dict:
    """The dialog with its editor, once its picture is there: where that is."""
    page.get_by_role("button", name="What is drawn of it").first.click()
    expect(page.locator("#mask canvas")).to_be_visible()
    page.wait_for_timeout(1500 * PATIENCE)  # the editor tells nobody when its layer is there
    return page.locator("#mask canvas").bounding_box()


def test_a_mask_is_painted_kept_and_taken_back(browser, tmp_path):
    with FakeServer("--masks", "--pause", "0", "--data-dir", str(tmp_path / "data")) as server, visitor(browser, server.url) as page:
        draw(3, 200).save(tmp_path / "cat.png")
        page.locator("#stage .tile").first.wait_for()
        page.locator("#box input[type=file]").set_input_files(str(tmp_path / "cat.png"))
        expect(page.locator("#box .thumbnail-item")).to_have_count(1)
        say(page, "a cat by the sea")
        expect(page.locator("#chat .facts")).to_have_count(1)
        page.set_viewport_size({"width": 390, "height": 844})
        where = opened(page)
        assert page.get_by_role("dialog", name="What is drawn of it").is_visible() and page.evaluate("document.documentElement.scrollWidth") <= 390
        assert where["x"] >= 0 and where["x"] + where["width"] <= 390
        page.mouse.move(where["x"] + where["width"] * 0.3, where["y"] + where["height"] / 2)
        page.mouse.down()
        page.mouse.move(where["x"] + where["width"] * 0.7, where["y"] + where["height"] / 2 + 20, steps=6)
        page.mouse.up()
        page.get_by_role("button", name="Keep this").click()
        expect(page.locator("#mask")).to_have_count(0)
        page.reload()
        expect(page.get_by_role("button", name="What is drawn of it")).to_have_count(1)
        opened(page)
        page.get_by_role("button", name="As found").click()
        page.wait_for_timeout(500 * PATIENCE)
        page.keyboard.press("Escape")
        expect(page.locator("#mask")).to_have_count(0)


def test_where_nothing_is_cut_out_there_is_no_such_button(page):
    page.locator("#stage .tile").first.click()
    page.locator("#stage .chip").first.click()
    expect(page.locator("#chat .facts")).to_have_count(1)
    expect(page.get_by_role("button", name="What is drawn of it")).to_have_count(0)
