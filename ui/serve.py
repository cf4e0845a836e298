"""Put the page on the network: who may reach it, what it may hand out, where uploads lie. Knows gradio's switches."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from filelock import FileLock, Timeout
from gradio import route_utils
from starlette.middleware import Middleware

from assistant.errors import ConfigError
from assistant.hub.download_job import DownloadJob
from assistant.session.manager import SessionManager
from ui import page, image_routes, weights_card
from ui.auth import Belongings, Guard, Owners, OwnUpload, PageHeaders

MAX_UPLOAD = "40mb"
WATCHERS = 64  # open pages that may follow a turn at the same time
SESSIONS = 128  # open windows whose widgets are remembered, some 3 MB each; an older one has them as they were at first
PORTS = range(7860, 7960)
SCRATCH = "cafe-page-"  # how the names of our temporary folders begin


@dataclass(frozen=True)
class Address:
    """Where the page is offered."""

    host: str = "127.0.0.1"
    port: int | None = None  # None: the first free one from 7860
    share: bool = False
    auth: tuple[tuple[str, str], ...] = ()  # (user, password)
    framed: bool = False  # inside another site, over HTTPS (Hugging Face Spaces)
    root_path: str = ""  # behind a reverse proxy: the path there, like /cafe, or its whole address, like https://example.com/cafe

    @property
    def public(self) -> bool:
        """Whether other people may reach the page."""
        return self.share or self.framed or not self._loopback

    @property
    def _loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.bare).is_loopback
        except ValueError:
            return self.bare == "localhost"

    @property
    def bare(self) -> str:
        """The host without the brackets that an IPv6 address has in a URL."""
        return self.host.removeprefix("[").removesuffix("]")

    def free_port(self) -> int:
        """The port that is asked for, or the first free one. Raises ConfigError: it is none, or the host is not this computer's."""
        taken = OSError()
        for port in PORTS if self.port is None else (self.port,):
            try:
                for host in (self.bare, "127.0.0.1"):  # at the second gradio looks whether a port is free, wherever it is to listen
                    _bind(host, port)
                return port
            except socket.gaierror as error:
                raise ConfigError(f"There is no address called {self.host!r} ({error.strerror}).", "Choose another --host.") from error
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise ConfigError(f"{self.host} is not an address of this computer.", "Choose another --host, for instance 127.0.0.1 or 0.0.0.0.") from error
                taken = error
        where = f"port {self.port}" if self.port else f"ports {PORTS[0]} to {PORTS[-1]}"
        why = "needs rights that this user does not have" if taken.errno == errno.EACCES else "is taken" if self.port else "are taken"
        raise ConfigError(f"The page cannot be offered at {self.host}: {where} {why} ({taken.strerror}).", "Choose another --port or --host.") from taken


def start(manager: SessionManager, address: Address, data_dir: Path, job: DownloadJob | None = None,
          before: page.Page | None = None) -> tuple[page.Page, str]:
    """Launch without waiting. Returns the page and its URL; `page.block_thread()` waits, `page.close()` ends it, `page.own_link` is
    where a browser of this computer sees what was made here before, on a page that others can reach ("": it does anyway).

    Args:
        job: the download of a preset that is to answer in the engine's place.
        before: the page that this one replaces, closed by now: who had signed in there stays so.

    Raises:
        ConfigError: the address cannot be used.
    """
    address.free_port()  # said before the page is built
    sweep(Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"))
    scratch = tempfile.TemporaryDirectory(prefix=SCRATCH, ignore_cleanup_errors=True)  # 0700; gone when the program ends
    lock = FileLock(Path(scratch.name, LOCK), thread_local=False)
    lock.acquire()  # let go of when the program ends, however it does
    uploads, ours = Path(scratch.name, "uploads"), Path(scratch.name, "ours")
    uploads.mkdir()
    ours.mkdir()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # read by each component when it is made
    owners = Owners(guests=address.public and not address.auth, own=secrets.token_urlsafe(24) if address.public or address.auth else "")
    belongings = Belongings(owners, uploads)
    route_utils.GradioUploadFile = OwnUpload
    blocks = page.build(manager, owners, ours, belongings, job)
    blocks.held = (scratch, lock)
    blocks.queue(max_size=256, default_concurrency_limit=WATCHERS, api_open=False)
    routes = image_routes.routes(manager, owners)
    panels = [panel for panel in page.PANELS if panel.fits(manager)]
    routes += [route for panel in panels for route in panel.routes(manager, owners)] + weights_card.routes(job, not owners.guests)
    parts = ["mask", *(panel.name for panel in panels), *([weights_card.NAME] if job is not None else [])]
    style, script = ("".join(file.read_text("utf-8") for name in (first, *parts) if (file := page.HERE / f"{name}.{kind}").exists())
                     for first, kind in (("style", "css"), ("page", "js")))
    middleware = [Middleware(PageHeaders, owners=owners, framed=address.framed), Middleware(Guard, belongings=belongings)]
    port = address.free_port()  # once more: another program may have come in between
    try:
        _, local, shared = blocks.launch(
            server_name=f"[{address.bare}]" if ":" in address.bare else address.bare, server_port=port, root_path=address.root_path or None, share=address.share, auth=list(address.auth) or None,
            state_session_capacity=SESSIONS, prevent_thread_lock=True, quiet=True, show_error=False, max_file_size=MAX_UPLOAD, max_threads=2 * WATCHERS,
            blocked_paths=[str(data_dir)], ssr_mode=False, enable_monitoring=False, run_history=False, mcp_server=False, footer_links=[],
            theme=theme(), css=variables() + style, head=f"<script>{script}</script>",
            app_kwargs={"routes": routes, "middleware": middleware, "docs_url": None,
                        "redoc_url": None, "openapi_url": None})
    except Exception as error:  # of sockets, of the client that asks the page whether it is there, of the tunnel
        scratch.cleanup()
        raise ConfigError(f"The page cannot be offered at {address.host}, port {port} ({type(error).__name__}: {error}).",
                          "Choose another --port or --host.") from error
    blocks.own_link = f"{local.rstrip('/')}/?own={owners.own}" if owners.own else ""
    if before is not None:
        blocks.app.tokens.update(before.app.tokens)
        blocks.app.cookie_id = before.app.cookie_id
    return blocks, shared or local


LOCK = "lock"  # in a temporary folder: held as long as its program runs


def _bind(host: str, port: int) -> None:
    """Raises OSError: one cannot listen there."""
    for family, kind, proto, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        with socket.socket(family, kind, proto) as probe:
            if os.name != "nt":  # where it would take what is taken
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(where)


def sweep(folders: Iterable[Path]) -> None:
    """Remove temporary folders, uploads and all, of programs that were ended without a chance to do so."""
    for folder in folders:
        lock = folder / LOCK
        try:
            if time.time() - folder.stat().st_mtime < 10 or not lock.exists():  # it may be about to be locked
                continue
            with FileLock(lock, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):
            pass  # another's, or in use


FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# name: (light, dark). style.css knows them as --paper, --sheet, ...
COLOURS = {
    "paper": ("#f4f3ef", "#191918"),
    "sheet": ("#ffffff", "#222221"),
    "sunk": ("#eae8e2", "#2d2d2b"),
    "line": ("#dcd9d1", "#3a3a37"),
    "ink": ("#22211e", "#eceae4"),
    "quiet": ("#67635a", "#a5a198"),
    "accent": ("#2c5f66", "#86c0c6"),
    "on-accent": ("#ffffff", "#10201f"),
    "fault": ("#9b3023", "#f0a195"),
}


def variables() -> str:
    """The colours as CSS custom properties."""
    light, dark = ("".join(f"--{name}:{pair[n]};" for name, pair in COLOURS.items()) for n in (0, 1))
    return f":root{{color-scheme:light;{light}}}.dark{{color-scheme:dark;{dark}}}\n"


def theme() -> gr.themes.Base:
    """Gradio's own widgets in the same colours."""
    def both(name: str, colour: str) -> dict[str, str]:
        return {name: COLOURS[colour][0], f"{name}_dark": COLOURS[colour][1]}

    settings: dict[str, str] = {}
    for name, colour in (
            ("body_background_fill", "paper"), ("background_fill_primary", "sheet"),
            ("background_fill_secondary", "paper"), ("block_background_fill", "sheet"),
            ("block_label_background_fill", "sheet"), ("block_label_text_color", "quiet"),
            ("block_title_text_color", "ink"), ("block_info_text_color", "quiet"), ("body_text_color", "ink"),
            ("body_text_color_subdued", "quiet"), ("border_color_primary", "line"), ("block_border_color", "line"),
            ("border_color_accent", "accent"), ("color_accent_soft", "sunk"), ("slider_color", "accent"),
            ("input_background_fill", "paper"), ("input_background_fill_focus", "sheet"),
            ("input_border_color", "line"), ("input_border_color_focus", "accent"),
            ("input_placeholder_color", "quiet"),
            ("button_primary_background_fill", "accent"), ("button_primary_background_fill_hover", "accent"),
            ("button_primary_text_color", "on-accent"), ("button_secondary_background_fill", "sunk"),
            ("button_secondary_background_fill_hover", "line"), ("button_secondary_text_color", "ink"),
            ("link_text_color", "accent"), ("link_text_color_hover", "accent"), ("checkbox_background_color", "sheet"),
            ("checkbox_background_color_selected", "accent"), ("checkbox_border_color", "quiet"),
            ("checkbox_border_color_focus", "accent"), ("checkbox_border_color_hover", "accent"), ("checkbox_border_color_selected", "accent"),
            ("code_background_fill", "sunk"), ("panel_background_fill", "paper"),
            ("error_background_fill", "sheet"), ("error_text_color", "fault")):
        settings.update(both(name, colour))
    base = gr.themes.Base(font=list(FONT), font_mono=list(MONO), radius_size="md", spacing_size="md", text_size="md")
    return base.set(block_shadow="none", block_shadow_dark="none", block_border_width="0px",
                    block_border_width_dark="0px", button_primary_shadow="none", button_secondary_shadow="none",
                    input_shadow="none", input_shadow_focus="none", **settings)
