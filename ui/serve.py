"""Put the page on the network: who may reach it, what it may hand out, where uploads lie. Knows gradio's switches."""

from __future__ import annotations

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from assistant.errors import ConfigError
from assistant.hub.download_job import DownloadJob
from assistant.session.manager import SessionManager
from ui import page, image_routes, weights_card
from ui.auth import Owners, PageHeaders

MAX_UPLOAD = "40mb"
WATCHERS = 64  # open pages that may follow a turn at the same time


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
        return self.share or self.framed or self.host not in ("127.0.0.1", "localhost", "::1")


def start(manager: SessionManager, address: Address, data_dir: Path, job: DownloadJob | None = None,
          before: gr.Blocks | None = None) -> tuple[gr.Blocks, str]:
    """Launch without waiting. Returns the page and its URL; `page.block_thread()` waits, `page.close()` ends it, `page.own_link` is
    where a browser of this computer sees what was made here before, on a page that others can reach ("": it does anyway).

    Args:
        job: the download of a preset that is to answer in the engine's place.
        before: the page that this one replaces, closed by now: who had signed in there stays so.

    Raises:
        ConfigError: the address cannot be used.
    """
    scratch = tempfile.TemporaryDirectory(prefix="cafe-page-")  # 0700; gone when the program ends
    uploads, ours = Path(scratch.name, "uploads"), Path(scratch.name, "ours")
    uploads.mkdir()
    ours.mkdir()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # read by each component when it is made
    owners = Owners(guests=address.public and not address.auth, own=secrets.token_urlsafe(24) if address.public or address.auth else "")
    blocks = page.build(manager, owners, ours, uploads, job)
    blocks.scratch = scratch  # lives as long as the page
    blocks.queue(max_size=256, default_concurrency_limit=WATCHERS, api_open=False)
    routes = image_routes.routes(manager, owners)
    panels = [panel for panel in page.PANELS if panel.fits(manager)]
    routes += [route for panel in panels for route in panel.routes(manager, owners)]
    style, script = ("".join(file.read_text("utf-8") for name in ("style" if kind == "css" else "page", *(p.name for p in panels))
                             if (file := page.HERE / f"{name}.{kind}").exists()) for kind in ("css", "js"))
    routes += weights_card.routes(job, not owners.guests)
    if job is not None:
        style, script = style + weights_card.assets("css"), script + weights_card.assets("js")
    headers = Middleware(PageHeaders, owners=owners, framed=address.framed)
    try:
        _, local, shared = blocks.launch(
            server_name=address.host, server_port=address.port, root_path=address.root_path or None, share=address.share, auth=list(address.auth) or None,
            prevent_thread_lock=True, quiet=True, show_error=False, max_file_size=MAX_UPLOAD, max_threads=2 * WATCHERS,
            blocked_paths=[str(data_dir)], ssr_mode=False, enable_monitoring=False, mcp_server=False, footer_links=[],
            theme=theme(), css=variables() + style, head=f"<script>{script}</script>",
            app_kwargs={"routes": routes, "middleware": [headers], "docs_url": None,
                        "redoc_url": None, "openapi_url": None})
    except OSError as error:
        scratch.cleanup()
        raise ConfigError(f"The page cannot be offered at {address.host}, port {address.port or '7860 to 7959'}: "
                          f"it is taken or not allowed.", "Choose another --port or --host.") from error
    blocks.own_link = f"{local.rstrip('/')}/?own={owners.own}" if owners.own else ""
    if before is not None:
        blocks.app.tokens.update(before.app.tokens)
        blocks.app.cookie_id = before.app.cookie_id
    return blocks, shared or local


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
    return f":root{{{light}}}.dark{{{dark}}}\n"


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
            ("checkbox_background_color_selected", "accent"), ("checkbox_border_color", "line"),
            ("code_background_fill", "sunk"), ("panel_background_fill", "paper"),
            ("error_background_fill", "sheet"), ("error_text_color", "fault")):
        settings.update(both(name, colour))
    base = gr.themes.Base(font=list(FONT), font_mono=list(MONO), radius_size="md", spacing_size="md", text_size="md")
    return base.set(block_shadow="none", block_shadow_dark="none", block_border_width="0px",
                    block_border_width_dark="0px", button_primary_shadow="none", button_secondary_shadow="none",
                    input_shadow="none", input_shadow_focus="none", **settings)
