"""The card of a preset whose weights are not here yet: what it takes, a button, how far the download is. Its script asks for it anew each second,
at the address `weights`; where there is no card any more the page has switched over, and is loaded again.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from starlette.routing import Route

from assistant.hub.download_job import DownloadJob, DownloadStatus
from .presenters import macro
from ui.image_routes import served
from ui.panel import courier, pressed

NAME = "weights"
_card = macro("weights.html", "card")


def size(count: float) -> str:
    """Bytes for people."""
    for unit, one, digits in (("GB", 1e9, 1), ("MB", 1e6, 0), ("KB", 1e3, 0)):
        if count >= one:
            return f"{count / one:.{digits}f} {unit}"
    return f"{count:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds for people, roughly."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def card(status: DownloadStatus, may_act: bool) -> str:
    """HTML of a moment of the download; buttons for whom they are meant."""
    left = status.left
    return _card(status, may_act, size, sum(part.gib for part in status.parts) * 2**30, duration(left) if left is not None else "")


class WeightsCard:
    """Built inside the page.

    Args:
        may_act: whether visitors may begin and pause; not those of a public page without a sign-in.
    """

    def __init__(self, job: DownloadJob, may_act: bool) -> None:
        self.job, self.may_act = job, may_act
        gr.HTML(card(job.status(), may_act), elem_id=NAME)
        self.courier, self.done = courier(NAME), gr.Textbox(visible="hidden")

    def wire(self) -> None:
        self.courier.click(self.press, [], [self.done], trigger_mode="multiple", api_visibility="private", show_progress="hidden")

    def press(self, event: gr.EventData) -> str:
        act = pressed(event).act
        if self.may_act and act in ("begin", "pause"):
            {"begin": self.job.begin, "pause": self.job.pause}[act]()
        return act


def routes(job: DownloadJob | None, may_act: bool) -> list[Route]:
    """`weights`: the card as it is now; 404 where there is none."""
    def now(_request: Any) -> bytes | None:
        return card(job.status(), may_act).encode() if job is not None else None

    return [served(f"/{NAME}", now, "no-store", "text/html; charset=utf-8")]
