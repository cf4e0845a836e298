"""One Chromium, one tab, and the page on an engine without models, for all tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package")
def browser():
    from tests.browser.visitor import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def address(tmp_path_factory):
    """Of the page on an engine without models, which is quick: what is to last in a test waits there for a file."""
    from tests.browser.visitor import FakeServer

    with FakeServer("--pause", "0.002", "--data-dir", str(tmp_path_factory.mktemp("data"))) as server:
        yield server.url


@pytest.fixture(scope="package")
def _tab(browser):
    from tests.browser.visitor import SECOND, WINDOW

    with browser.new_context(viewport=WINDOW) as context:
        context.set_default_timeout(90 * SECOND)
        yield context.new_page()


@pytest.fixture
def tab(_tab, address):
    """A fresh visitor's, the same for all tests: a new one would read all scripts again, which is half of what opening the page takes."""
    from tests.browser.visitor import forget

    yield _tab
    for other in _tab.context.pages[1:]:
        other.close()
    forget(_tab, address)


@pytest.fixture
def page(tab, address):
    """A test fails if it throws, or asks any other host for anything."""
    from tests.browser.visitor import watched, welcome

    with watched(tab, address):
        welcome(tab, address)
        yield tab


@pytest.fixture
def upset_page(tab, address):
    """One that may throw."""
    from tests.browser.visitor import welcome

    welcome(tab, address)
    return tab
