"""What is drawn of a photo, seen and painted over in a real browser, on an engine without models."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.browser.visitor import FakeServer, expect, say, watched, welcome
from tests.fake_engine import draw

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cutting(tmp_path_factory):
    """The page on an engine that cuts subjects out."""
    with FakeServer("--masks", "--pause", "0", "--data-dir", str(tmp_path_factory.mktemp("cutting"))) as server:
        yield server.url


def opened(page) -> np.ndarray:
    """The dialog once its picture is there: where it is painted, as a plane of booleans."""
    page.get_by_role("button", name="What is drawn of it").first.click()
    expect(page.locator("#paint[data-ready] canvas")).to_be_visible()
    return painted(page)


def painted(page) -> np.ndarray:
    data = page.evaluate("document.querySelector('#paint canvas').toDataURL('image/png').split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))[..., 3] > 127


def stroke(page, *spots: tuple[float, float]) -> None:
    """Through these places, as shares of the canvas."""
    box = page.locator("#paint canvas").bounding_box()
    for n, (x, y) in enumerate(spots):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if not n:
            page.mouse.down()
    page.mouse.up()


def send(page, path) -> None:
    page.locator("#box input[type=file]").set_input_files(str(path))
    expect(page.locator("#box .thumbnail-item")).to_have_count(1)
    say(page, "a cat by the sea")
    expect(page.locator("#chat .facts")).to_have_count(1)


def test_a_mask_is_painted_kept_and_taken_back(tab, cutting, tmp_path):
    draw(3, 200).crop((0, 25, 200, 175)).save(tmp_path / "cat.png")
    with watched(page := tab, cutting):
        welcome(page, cutting)
        send(page, tmp_path / "cat.png")
        page.set_viewport_size({"width": 390, "height": 844})
        found = opened(page)
        assert found.shape == (300, 400) and found[150, 200] and not found[5, 5], "as found: the middle"
        dialog, box = page.get_by_role("dialog", name="Only what is painted"), page.locator("#paint canvas").bounding_box()
        assert dialog.is_visible() and page.evaluate("document.documentElement.scrollWidth") <= 390
        assert 0 <= box["x"] and box["x"] + box["width"] <= 390 and abs(box["height"] / box["width"] - 0.75) < 0.02
        stroke(page, (0.1, 0.1), (0.9, 0.1))
        assert painted(page)[30, 40:360].all()
        dialog.get_by_role("button", name="Erase").click()
        stroke(page, (0.5, 0.5), (0.51, 0.5))
        assert not painted(page)[150, 200]
        dialog.get_by_role("button", name="Undo").click()
        assert painted(page)[150, 200]
        kept = painted(page)
        dialog.get_by_role("button", name="Keep").click()
        expect(dialog).to_have_count(0)
        page.reload()
        expect(page.get_by_role("button", name="What is drawn of it")).to_have_count(1)
        assert (opened(page) == kept).mean() > 0.99, "what was painted is there again"
        dialog.get_by_role("button", name="As found").click()
        expect(dialog).to_have_count(0)
        assert (opened(page) == found).mean() > 0.99
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)


def test_what_cannot_be_kept_is_said_where_it_was_painted(tab, cutting, tmp_path):
    draw(3, 200).save(tmp_path / "cat.png")
    with watched(page := tab, cutting):
        welcome(page, cutting)
        send(page, tmp_path / "cat.png")
        opened(page)
        page.locator("#paint input[type=range]").fill("90")
        page.get_by_role("button", name="Erase").click()
        for y in range(1, 10):
            stroke(page, (0.02, y / 10), (0.98, y / 10))
        assert not painted(page)[100:-100].any()
        page.locator("#paint [data-keep]").click()
        expect(page.locator("#paint .fault")).to_contain_text("covers 0.0 % of the picture")
        for _ in range(4):
            page.get_by_role("button", name="Undo").click()
        assert painted(page).any(), "nothing is lost"


def test_where_nothing_is_cut_out_there_is_no_such_button(page):
    page.locator("#stage .tile").first.click()
    page.locator("#stage .chip").first.click()
    expect(page.locator("#chat .facts")).to_have_count(1)
    expect(page.get_by_role("button", name="What is drawn of it")).to_have_count(0)
