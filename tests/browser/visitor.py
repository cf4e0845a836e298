"""A server to visit, a Chromium to visit it with, and what every visitor does."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests import fake_engine
from tests.client import free_port

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("PATIENCE", 1))  # on a machine that has other things to do, give it more: a busy machine is no fault of the page
FORKS = multiprocessing.get_context("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn")
if hasattr(FORKS, "set_forkserver_preload"):
    FORKS.set_forkserver_preload(["tests.fake_engine", "ui.serve"])
SECOND = 1000 * PATIENCE  # milliseconds
WINDOW = {"width": 1440, "height": 900}
expect.set_options(timeout=30 * SECOND)
# What gradio logs when a page with an open stream is left; the last, rarely, when it is reloaded between two parts of a reply.
LEFT = "signal is aborted|Connection errored out|Unexpected client exception TypeError: .*reading 'content'"


@contextmanager
def chromium():
    """CHROMIUM, one on the path, or the one playwright installed; the test is skipped where there is none."""
    with sync_api.sync_playwright() as playwright:
        found = [path for path in (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")),
                                   playwright.chromium.executable_path) if path and Path(path).exists()]
        if not found:
            pytest.skip("no Chromium: set CHROMIUM or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield browser
        browser.close()


class Server:
    """A program that serves a page, on a free port that it keeps when it is started again."""

    def __init__(self, *program: str) -> None:
        port = free_port()
        self.program, self.url = [*program, "--port", str(port)], f"http://127.0.0.1:{port}/"

    def launch(self) -> None:
        process = self.process = subprocess.Popen([sys.executable, *self.program], cwd=ROOT)
        self.ended = lambda: process.poll() is not None

    def start(self) -> None:
        """Returns when the page answers."""
        self.launch()
        until = time.monotonic() + 120 * PATIENCE
        while time.monotonic() < until:
            try:
                urlopen(self.url, timeout=30).close()
                return
            except OSError:
                assert not self.ended(), "the page did not start"
                time.sleep(0.05)
        raise AssertionError("the page did not start")

    def kill(self) -> None:
        self.process.kill()
        self.wait(60)

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds * PATIENCE
        while not self.ended():
            assert time.monotonic() < until, "the program did not end"
            time.sleep(0.02)

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.wait(20)


class ForkedServer(Server):
    """A fork of a process that has imported most of it: it starts in a moment. Args: main: what is given the arguments."""

    def __init__(self, main, *program: str) -> None:
        super().__init__(*program)
        self.main = main

    def launch(self) -> None:
        process = self.process = FORKS.Process(target=self.main, args=(self.program,))
        process.start()
        self.ended = lambda: not process.is_alive()


class FakeServer(ForkedServer):
    """The page on the engine without models."""

    def __init__(self, *program: str) -> None:
        super().__init__(fake_engine.main, *program)


@contextmanager
def watched(page, address: str):
    """A test fails if the page throws meanwhile, or asks any host but that of `address` for anything."""
    faults: list[str] = []
    listeners = {
        "pageerror": lambda error: faults.append(str(error)),
        "console": lambda message: faults.append(message.text) if message.type == "error" and not re.search(LEFT, message.text) else None,
        "request": lambda request: faults.append(request.url) if not request.url.startswith((address, "data:", "blob:")) else None,
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    yield
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    assert not faults, faults


def welcome(page, address: str) -> None:
    """Open the page and wait until it is there."""
    page.goto(address)
    page.locator("#stage .tile").first.wait_for()


def forget(page, address: str) -> None:
    """What tests change in this tab, and what it keeps of the page. A plain picture of the same host has no script that would keep it again."""
    page.unroute_all()
    page.goto(f"{address}subjects/0.png")
    page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    page.context.clear_cookies()
    page.set_viewport_size(WINDOW)
    page.emulate_media(color_scheme="light")


def say(page, text: str) -> None:
    page.locator("#box textarea").fill(text)
    page.locator("#box textarea").press("Enter")


def replies(page):
    return page.locator("#chat .bot-row")


def wait_for_images(page, selector: str, width: int = 1) -> None:
    """Until there are some and each is loaded, at least `width` pixels wide."""
    page.wait_for_function("""([selector, width]) => {
        const all = [...document.querySelectorAll(selector)];
        return all.length && all.every(i => i.complete && i.naturalWidth >= width);
    }""", arg=[selector, width])


def open_concepts(page) -> None:
    page.locator("#stage .tile").first.wait_for()
    page.get_by_role("tab", name="Concepts").click()
    page.locator("#concept-drop input[type=file]").wait_for(state="attached")


def take_all_away(page) -> None:
    """The pictures that earlier tests left in the open panel Concepts."""
    chosen = page.locator(".picked figure")
    page.wait_for_timeout(500)
    for number in range(chosen.count(), 0, -1):
        page.get_by_role("button", name=f"Take picture {number} away").click()
        expect(chosen).to_have_count(number - 1)


def teach(page, files: list[str], name: str, steps: int) -> None:
    """Fill the panel Concepts, with the noun that it suggests, and begin."""
    page.locator("#concept-more .label-wrap").click()
    page.locator("#concept-drop input[type=file]").set_input_files(files)
    expect(page.locator(".picked figure")).to_have_count(len(files))
    expect(page.locator("#concept-noun textarea")).not_to_have_value("")
    page.locator("#concept-name textarea").fill(name)
    page.get_by_role("spinbutton", name=re.compile("Steps")).last.fill(str(steps))
    page.locator("#concept-learn").click()


@contextmanager
def proxied(inside: str, path: str):
    """A reverse proxy that serves `inside` below a path, which it strips, beside a site with an icon of its own. Yields its own address."""
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    client = httpx.AsyncClient(timeout=None)

    async def pass_on(request):
        rest = request.url.path.removeprefix(path) or "/"
        headers = [(name, value) for name, value in request.headers.raw if name != b"accept-encoding"]
        asked = client.build_request(request.method, inside.rstrip("/") + rest, params=request.url.query or None, headers=headers, content=await request.body())
        answer = await client.send(asked, stream=True)
        response = StreamingResponse(answer.aiter_raw(), answer.status_code)
        response.raw_headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() != b"transfer-encoding"]
        return response

    methods = ["GET", "HEAD", "POST"]
    served = Starlette(routes=[Route(path, pass_on, methods=methods), Route(path + "/{rest:path}", pass_on, methods=methods),
                               Route("/favicon.ico", lambda _: Response(status_code=204))])
    server = uvicorn.Server(uvicorn.Config(served, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
