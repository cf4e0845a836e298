"""What the session knows as chat messages and HTML, by the templates in `templates/`: no gradio, no disk, no clock of their own.

What is put into a template is escaped, whoever wrote it: it is shown as it was typed. Addresses of pictures are relative, so that the page also works below a path.
"""

import re
import time
from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from assistant.plan import not_seen, parts_of, plan_in
from assistant.requests import GRID, MOST_SOURCES, MOST_SUBJECTS, Progress
from assistant.session.records import Conversation, StoredTurn

_NAMED = re.compile(r"&lt;[^\s&<>]+&gt;")  # <name>, escaped
_BETWEEN = re.compile(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])")  # line breaks between tags


def say(text: str) -> str:
    """A text as one line of inert HTML. One line, because a blank one would hand the rest to a Markdown parser."""
    return escape(text, quote=True).replace("\n", " ")


def say_named(text: str) -> str:
    """As `say`, each line in a block that runs as its first letter does, with every <name> marked as the concept it may be."""
    lines = (_NAMED.sub(r'<span class="named">\g<0></span>', say(line)) or "<br>" for line in text.split("\n"))
    return "".join(f'<div dir="auto">{line}</div>' for line in lines)


def picture_address(name: str, show: bool = True) -> str:
    """Where the page finds a kept picture: enlarged for the eye, or as it was drawn."""
    return f"pictures/{name}.png?{'show' if show else 'download'}"


class _OneLine(FileSystemLoader):
    """Templates without line breaks, for the same reason as in `say`."""

    def get_source(self, environment: Environment, template: str) -> Any:
        source, *others = super().get_source(environment, template)
        return re.sub(r"\s*\n\s*", " ", _BETWEEN.sub("", source)), *others


_ENVIRONMENT = Environment(loader=_OneLine(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined, auto_reload=False)
_ENVIRONMENT.filters |= {"say": lambda text: Markup(say(text)), "named": lambda text: Markup(say_named(text)), "address": picture_address, "id": id,
                         "percent": lambda share: f"{100 * share:.0f}"}


def macro(template: str, name: str, **known: Any) -> Callable[..., str]:
    """A template's macro as a function that returns HTML. `known`: what it may look at beside its arguments."""
    found = getattr(_ENVIRONMENT.get_template(template, globals=known).module, name)
    return lambda *args, **kwargs: str(found(*args, **kwargs))


mixing_notice, bar, form, shelf, alpha, result, nearness = (
    macro("mix.html", name, most_sources=MOST_SOURCES, most_subjects=MOST_SUBJECTS, grid=GRID, switched_on=lambda on: [k for k, one in enumerate(on) if one])
    for name in ("notice", "bar", "form", "shelf", "alpha", "result", "nearness"))


Acts = Sequence[tuple[str, str]]  # (act, label) of more buttons under a picture: the panels'
Message = dict[str, Any]  # what gr.Chatbot takes: {"role": ..., "content": ...}
_user, _reply, _live = (macro("chat.html", name) for name in ("user", "reply", "live"))
_list = macro("page.html", "list")


# the chat


def conversation_messages(turns: Sequence[StoredTurn], pinned: int | None = None, more: Acts = (), masks: bool = False) -> list[Message]:
    """All turns that are over; a turn in work is `user_message` and then `live_message`. `masks`: a photo has a button to see what is drawn of it."""
    return [message for turn in turns for message in (user_message(turn, masks), reply_message(turn, pinned, None, more))]


def live_address(turn_id: int, step: int) -> str:
    return f"live/{turn_id}.png?step={step}"


def user_message(turn: StoredTurn, masks: bool = False) -> Message:
    return {"role": "user", "content": _user(turn, masks)}


def reply_message(turn: StoredTurn, pinned: int | None = None, under: str | None = None, more: Acts = ()) -> Message:
    """An answer that is over: words, picture, what was used and what can be done with it, or why there is none."""
    plan = plan_in(turn.metadata)
    parts = parts_of(plan) if plan is not None else []
    return {"role": "assistant", "content": _reply(turn, pinned, under, more, parts, not_seen(turn.metadata.get("missing") or ()))}


def live_message(turn_id: int, text: str, waiting: int | None = None, progress: Progress | None = None,
                 shown: tuple[int, ...] = (), left: float | None = None) -> Message:
    """A turn in work.

    Args:
        waiting: place in the queue, 1 is next; None: being answered.
        progress: the last step done.
        shown: steps whose previews can be fetched, the newest last.
        left: seconds the picture still takes, as far as known.
    """
    return {"role": "assistant", "content": _live(turn_id, text, waiting, progress, [live_address(turn_id, step) for step in shown], left)}


# around the chat

notice = macro("common.html", "fault")  # an AssistantError, a sentence or nothing: one sentence with its way out, above the box
deleted_notice = macro("page.html", "deleted")  # a conversation, and whether it was in view
header, model = macro("page.html", "header"), macro("page.html", "model")  # an EngineInfo; the name of a model
stage = macro("page.html", "stage")  # an EngineInfo, whether the page is empty, the chosen one's number: the ready subjects, and wishes for the chosen one
gallery = macro("page.html", "gallery")  # turns: small pictures, newest first; each opens its conversation


def conversation_list(conversations: Sequence[Conversation], current: str | None, now: float) -> str:
    """The left column's list, under the days of their last use. `now` is seconds since the epoch."""
    return _list(groupby(conversations, lambda one: day_label(one.updated, now)), current)


def day_label(then: float, now: float) -> str:
    a, b = time.localtime(then), time.localtime(now)
    if a[:3] == b[:3]:
        return "Today"
    if a[:3] == time.localtime(now - 86400)[:3]:
        return "Yesterday"
    return time.strftime("%A" if now - then < 6 * 86400 else "%d %B %Y", a)
