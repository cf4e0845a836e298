"""One Chromium, one page on an engine without models and one on the miniature for all tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package")
def browser():
    from tests.browser.visitor import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def address(tmp_path_factory):
    """Of the page on an engine without models."""
    from tests.browser.visitor import PATIENCE, FakeServer

    with FakeServer("--pause", str(0.02 * PATIENCE), "--data-dir", str(tmp_path_factory.mktemp("data"))) as server:
        yield server.url


@pytest.fixture
def page(browser, address):
    from tests.browser.visitor import visitor

    with visitor(browser, address) as page:
        page.locator("#stage .tile").first.wait_for()
        yield page
