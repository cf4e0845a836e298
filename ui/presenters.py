"""What the session knows as chat messages and HTML, by the templates chat.html and page.html: no gradio, no disk, no clock of their own.

Addresses of pictures are relative, so that the page also works below a path.
"""

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from assistant.requests import EngineInfo, Progress
from assistant.plan import not_seen, parts_of, plan_in
from assistant.session.records import Conversation, StoredTurn
from ui.html import macro

Acts = Sequence[tuple[str, str]]  # (act, label) of more buttons under a picture: the panels'
Message = dict[str, Any]  # what gr.Chatbot takes: {"role": ..., "content": ...}
_user, _reply, _live = (macro("chat.html", name) for name in ("user", "reply", "live"))
_list, _stage = macro("page.html", "list"), macro("page.html", "stage")


# the chat


def conversation_messages(turns: Sequence[StoredTurn], pinned: int | None = None, more: Acts = ()) -> list[Message]:
    """All turns that are over; a turn in work is `user_message` and then `live_message`."""
    return [message for turn in turns for message in (user_message(turn), reply_message(turn, pinned, None, more))]


def live_address(turn_id: int, step: int) -> str:
    return f"live/{turn_id}.png?step={step}"


def user_message(turn: StoredTurn) -> Message:
    return {"role": "user", "content": _user(turn)}


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


def stage(info: EngineInfo, empty: bool, chosen: int | None = None) -> str:
    """The ready subjects: large on an empty page, a strip beside a conversation; wishes for the chosen one."""
    return _stage(info, empty, chosen)
