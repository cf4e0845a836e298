"""The first run of a preset whose weights are not here: the miniature answers at once, a card downloads, the page switches over. Against a stand-in hub."""

from __future__ import annotations

import re
import time
from urllib.request import urlopen

import pytest

from tests.fake_engine import draw
from tests.browser.visitor import PATIENCE, SECOND, Server, expect, replies, say

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def started(tmp_path, monkeypatch):
    def start(**environment: str) -> Server:
        for name, value in {"CAFE_WEIGHTS_DIR": str(tmp_path / "weights"), "HF_HUB_CACHE": str(tmp_path / "cache"), **environment}.items():
            monkeypatch.setenv(name, value)
        return Server("tests/first_run.py", "--data-dir", str(tmp_path / "data"))
    return start


def test_a_card_downloads_pauses_goes_on_and_the_page_switches_over(browser, started, tmp_path):
    with started(HURRY=str(tmp_path / "hurry")) as server:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60 * SECOND)
        page.goto(server.url)
        card = page.locator("#weights .card")
        expect(card).to_contain_text("open is not on this machine yet; until then the miniature answers.")
        expect(card).to_contain_text(re.compile("about 9.8 GB; .* are free on this disk.*base about 2.1 GB from stable-diffusion-v1-5/.*licence: CreativeML Open RAIL-M"))
        expect(page.locator("#top .engine")).to_have_text("miniature on CPU")
        page.locator("#stage .tile").first.wait_for()
        page.locator("#stage .tile").first.click()
        say(page, "at night")
        expect(replies(page)).to_have_count(1)

        page.get_by_role("button", name=re.compile("^Download .* GB")).click()
        expect(card.locator(".pace")).to_contain_text(re.compile(r"\d+ [KM]B/s, about .* left"))
        page.get_by_role("button", name="Pause").click()
        expect(card).to_contain_text("Paused; what is here stays.")
        amount = card.locator(".amount").inner_text()
        time.sleep(2.5)
        # of a file in the middle, or of one that was whole a moment before
        assert card.locator(".amount").inner_text() == amount and any(file.is_file() and file.stat().st_size for file in (tmp_path / "weights").rglob("*"))
        page.get_by_role("button", name="Resume").click()
        expect(card).to_have_attribute("data-state", "running")
        (tmp_path / "hurry").touch()

        expect(page.locator("#top .engine")).to_have_text("open on CPU", timeout=240 * SECOND)  # by itself
        expect(page.locator("#weights")).to_have_count(0)
        expect(page.locator("#conversations .entry")).to_have_count(1)
        page.get_by_role("button", name="New conversation").click()
        expect(replies(page)).to_have_count(0)
        draw(3, 480).save(tmp_path / "mine.png")
        page.locator("#box input[type=file]").set_input_files(tmp_path / "mine.png")
        page.locator("#box .thumbnail-item").wait_for()
        say(page, "a red cat in the snow")
        expect(page.locator("#chat .acts")).to_have_count(1)
        expect(page.locator("#chat .fault")).to_have_count(0)
        page.close()
    assert not list((tmp_path / "weights").rglob("*.incomplete"))


def test_unattended_it_downloads_and_switches_over_by_itself(started):
    with started(CAFE_DOWNLOAD="1", PACE="2000000") as server:
        until = time.monotonic() + 240 * PATIENCE
        while time.monotonic() < until:
            try:
                text = urlopen(server.url, timeout=10).read().decode()
            except OSError:
                text = ""  # between two pages
            if "open on CPU" in text:
                return
            assert not server.ended()
            time.sleep(0.5)
    raise AssertionError("it did not switch over")
