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


@pytest.fixture(scope="package")
def _cached(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def context(_cached, address):
    """A fresh visitor's, with the scripts that the browser has kept from the one before: to read them again is half of what opening the page takes."""
    yield _cached
    page = _cached.new_page()
    for other in _cached.pages[:-1]:
        other.close()
    page.context.new_cdp_session(page).send("Storage.clearDataForOrigin", {"origin": address.rstrip("/"), "storageTypes": "cookies,local_storage,indexeddb"})
    _cached.clear_cookies()
    page.close()


@pytest.fixture
def page(context, address):
    from tests.browser.visitor import visit

    with visit(context.new_page(), address) as page:
        page.locator("#stage .tile").first.wait_for()
        yield page
