"""Turn what the session knows into HTML and chat messages. Pure functions: no gradio, no disk, no clock of their own.

Everything a person or the model wrote is escaped: it is shown as it was typed, Markdown and markup included. Addresses
of pictures are relative, so that the page also works below a path.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from html import escape
from typing import Any

from assistant.errors import AssistantError
from assistant.messages import EngineInfo, Progress, ReadySubject
from assistant.plan import not_seen, parts_of, plan_in
from assistant.session.records import Conversation, StoredTurn

_NAMED = re.compile(r"&lt;[^\s&<>]+&gt;")  # <name>, escaped
Acts = Sequence[tuple[str, str]]  # (act, label) of more buttons under a picture: the panels'
Message = dict[str, Any]  # what gr.Chatbot takes: {"role": ..., "content": ...}


def say(text: str) -> str:
    """A text as one line of inert HTML. One line, because a blank one would hand the rest to a Markdown parser."""
    return escape(text, quote=True).replace("\n", "<br>")


def say_named(text: str) -> str:
    """As `say`, with every <name> marked as the concept it may be."""
    return _NAMED.sub(r'<span class="named">\g<0></span>', say(text))


def picture_address(name: str, show: bool = True) -> str:
    """Where the page finds a kept picture: enlarged for the eye, or as it was drawn."""
    return f"pictures/{name}.png?{'show' if show else 'download'}"


# the chat


def conversation_messages(turns: Sequence[StoredTurn], pinned: int | None = None, more: Acts = ()) -> list[Message]:
    """All turns that are over; a turn in work is `user_message` and then `live_message`."""
    return [message for turn in turns for message in (user_message(turn), reply_message(turn, pinned, None, more))]


def _picture(address: str, alt: str, under: str | None = None) -> str:
    """`under`: a picture the browser has already, shown until this one is there, so that nothing flickers."""
    style = f' style="background-image:url({under})"' if under else ""
    return f'<div class="picture"{style}><img src="{address}" alt="{alt}"></div>'


def live_address(turn_id: int, step: int) -> str:
    return f"live/{turn_id}.png?step={step}"


def user_message(turn: StoredTurn) -> Message:
    if turn.redraw_of is not None:
        return _message("user", '<div class="say quiet">Redraw</div>')
    names = [turn.photo, *turn.others] if turn.photo else []
    photo = "".join(f'<div class="photo"><img src="{picture_address(name)}" alt="{"Your picture" if k == 0 else "A reference"}"></div>'
                    for k, name in enumerate(names))
    if len(names) > 1:
        photo = f'<div class="photos">{photo}</div>'
    words = f'<div class="say">{say_named(turn.text)}</div>' if turn.text else ""
    return _message("user", photo + words)


def reply_message(turn: StoredTurn, pinned: int | None = None, under: str | None = None, more: Acts = ()) -> Message:
    """An answer that is over: words, picture, what was used and what can be done with it, or why there is none."""
    shown = [f'<div class="say">{say_named(turn.reply)}</div>'] if turn.reply else []
    if turn.picture:
        shown.append(_picture(picture_address(turn.picture), "The picture drawn for this turn", under))
        shown.append(_plan(turn))
        if turn.metadata.get("mask"):
            shown.append(f'<details class="mask"><summary>Where the learned concept was heard</summary>{_picture(f"masks/{turn.id}.png", "The picture, bright where the concept was heard")}</details>')
        if lacks := not_seen(turn.metadata.get("missing") or ()):
            shown.append(f'<div class="note">{say(lacks)}</div>')
        shown.append(_acts(turn, pinned, more))
    if turn.status == "failed":
        shown.append(_ended(turn.error or "This answer could not be finished.", turn.id, "fault"))
    elif turn.status == "stopped":
        shown.append(_ended("Stopped." if turn.reply or turn.picture else "Stopped before it began.", turn.id))
    elif turn.status == "interrupted":
        shown.append(_ended("The program ended while this was being answered.", turn.id))
    return _message("assistant", "".join(shown) or '<div class="say quiet">No answer.</div>')


def live_message(turn_id: int, text: str, waiting: int | None = None, progress: Progress | None = None,
                 shown: tuple[int, ...] = (), left: float | None = None) -> Message:
    """A turn in work.

    Args:
        waiting: place in the queue, 1 is next; None: being answered.
        progress: the last step done.
        shown: steps whose previews can be fetched, the newest last.
        left: seconds the picture still takes, as far as known.
    """
    parts = [f'<div class="say">{say_named(text)}</div>'] if text else []
    if shown:
        under = live_address(turn_id, shown[-2]) if len(shown) > 1 else None
        parts.append(_picture(live_address(turn_id, shown[-1]), "The picture so far", under))
    elif progress is not None:
        parts.append('<div class="picture blank"></div>')
    parts.append(f'<div class="doing">{_doing(bool(text), waiting, progress, left)}</div>')
    return _message("assistant", "".join(parts))


def _doing(words: bool, waiting: int | None, progress: Progress | None, left: float | None) -> str:
    if waiting is not None:
        others = "1 turn is" if waiting == 1 else f"{waiting} turns are"
        return f"Waiting: {others} drawn first."
    if progress is None:
        return "Answering" if words else "Reading your message"
    time_left = f", about {left:.0f} s left" if left is not None and left >= 1 else ""
    share = 100 * progress.step / max(progress.steps, 1)
    return (f'Drawing, step {progress.step} of {progress.steps}{time_left}'
            f'<span class="bar"><span style="width:{share:.0f}%"></span></span>')


def _acts(turn: StoredTurn, pinned: int | None, more: Acts) -> str:
    is_pinned = pinned is not None and pinned == turn.seed
    pin = _button("unpin", turn.id, "Seed pinned", " on") if is_pinned else _button("pin", turn.id, "Pin seed")
    bars = "".join(
        f'<span class="like">{escape(name.capitalize())} <span class="bar"><span style="width:{100 * value:.0f}%">'
        f'</span></span> {100 * value:.0f}%</span>' for name, value in turn.likeness.items() if 0 <= value <= 1)
    tried = turn.metadata.get("tried")
    facts = f'<span class="seed">Seed {turn.seed}</span>' + (f"<span>Best of {tried}</span>" if isinstance(tried, int) else "") + bars
    if turn.board:
        more = (("mix.board", "Open the board"), *more)
    others = "".join(_button(act, turn.id, label, " opens") for act, label in more)
    return (f'<div class="facts">{facts}</div><div class="acts">{pin}{_button("redraw", turn.id, "Redraw")}'
            f'{_button("use", turn.id, "Use as subject")}{others}'
            f'<a class="act" href="{picture_address(turn.picture or "", show=False)}" download>Download</a></div>')


def _plan(turn: StoredTurn) -> str:
    """What the picture was planned to show, as one line of chips; what can go is a button that lets it go, as a new turn."""
    plan = plan_in(turn.metadata)
    chips = [f'<span class="part">{say(part.words)}</span>' if part.without is None else
             f'<button type="button" class="act part do-without to-{turn.id}_{k}" aria-label="{say(part.asked[0].upper() + part.asked[1:])}">{say(part.words)} &#10005;</button>'
             for k, part in enumerate(parts_of(plan) if plan is not None else [])]
    return f'<div class="plan">{"".join(chips)}</div>' if chips else ""


def _ended(sentence: str, turn_id: int, kind: str = "note") -> str:
    return f'<div class="{kind}">{say(sentence)} {_button("retry", turn_id, "Try again")}</div>'


def _button(act: str, turn_id: object, label: str, extra: str = "") -> str:
    """A button in the chat. Gradio's sanitizer drops data attributes there, so what it does is told by classes."""
    return f'<button type="button" class="act do-{act} to-{turn_id}{extra}">{label}</button>'


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


# around the chat


def notice(error: AssistantError | str | None) -> str:
    """One sentence with its way out, above the box."""
    if not error:
        return ""
    sentence = f"{error.sentence} {error.remedy}" if isinstance(error, AssistantError) else error
    return f'<div class="fault" role="alert">{say(sentence.strip())}</div>'


def deleted_notice(conversation: Conversation) -> str:
    return (f'<div class="note" role="status">Deleted: {say(conversation.title or "Untitled")}. '
            f'<button type="button" class="act" data-act="restore" data-arg="{conversation.id}">Undo</button></div>')


def header(info: EngineInfo) -> str:
    device = "CPU" if info.device == "cpu" else info.device
    return f"""<header>
<button type="button" class="icon narrow" data-ui="left" aria-label="Conversations">&#9776;</button>
<strong>CAFE</strong><span class="engine">{escape(info.preset)} on {escape(device)}</span>
<button type="button" class="act" popovertarget="about">What this means</button>
<div id="about" popover><p>{say(info.notice)}</p><p class="quiet">Pictures are {info.size} x {info.size} pixels, shown
enlarged; a download is the picture as drawn. The same settings and seed give the same picture. Model files:
<code>{escape(info.weights)}</code>.</p></div>
<span class="gap"></span>
<button type="button" class="act" data-ui="theme">Light or dark</button>
<button type="button" class="icon narrow" data-ui="right" aria-label="Panels">&#9881;</button>
</header>"""


def conversation_list(conversations: Sequence[Conversation], current: str | None, now: float) -> str:
    """The left column's list, under the days of their last use. `now` is seconds since the epoch."""
    if not conversations:
        return '<p class="quiet pad">Your conversations will be kept here.</p>'
    html, day = [], None
    for one in conversations:
        if (label := day_label(one.updated, now)) != day:
            html.append(f"<h3>{label}</h3>")
            day = label
        chosen = ' aria-current="true"' if one.id == current else ""
        title = say(one.title or "Untitled")
        html.append(f'<div class="entry"{chosen}><button type="button" data-act="open" data-arg="{one.id}" '
                    f'title="{title}">{title}</button><button type="button" class="remove" data-act="delete" '
                    f'data-arg="{one.id}" aria-label="Delete {title}">&#10005;</button></div>')
    return "".join(html)


def day_label(then: float, now: float) -> str:
    a, b = time.localtime(then), time.localtime(now)
    if a[:3] == b[:3]:
        return "Today"
    if a[:3] == time.localtime(now - 86400)[:3]:
        return "Yesterday"
    return time.strftime("%A" if now - then < 6 * 86400 else "%d %B %Y", a)


def gallery(turns: Sequence[StoredTurn]) -> str:
    """Small pictures, newest first; each opens its conversation."""
    if not turns:
        return ""
    tiles = "".join(f'<button type="button" data-act="open" data-arg="{t.conversation_id}" title="{say(t.text)}">'
                    f'<img src="{picture_address(t.picture or "")}" alt="{say(t.text)}" loading="lazy"></button>'
                    for t in turns)
    return f'<h3>Pictures</h3><div class="tiles">{tiles}</div>'


def stage(info: EngineInfo, empty: bool, chosen: int | None = None) -> str:
    """The ready subjects: large on an empty page, a strip beside a conversation; wishes for the chosen one."""
    tiles = "".join(
        f'<button type="button" class="tile" data-act="subject" data-arg="{n}" '
        f'aria-pressed="{str(n == chosen).lower()}">'
        f'<img src="subjects/{n}.png" alt=""><span>{say(subject.name)}</span></button>'
        for n, subject in enumerate(info.subjects))
    wishes = _wishes(info.subjects[chosen], chosen) if chosen is not None else ""
    if not empty:
        strip = (f'<div class="strip"><details{" open" if wishes else ""}><summary>Ready subjects</summary>'
                 f'<div class="subjects">{tiles}</div></details>{wishes}</div>')
        return strip if tiles else ""
    hint = wishes or ('<p class="quiet hint">Pick one of these, or add a picture of your own below.</p>'
                      if tiles else '<p class="quiet hint">Add a picture below.</p>')
    return (f'<div class="welcome"><h1>Show me something, and say what you would like.</h1>'
            f'<p class="quiet">An order, a question or a vague wish: the answer comes in words and as a picture.</p>'
            f'<div class="subjects">{tiles}</div>{hint}<p class="size">{say(info.notice)}</p></div>')


def _wishes(subject: ReadySubject, number: int) -> str:
    chips = "".join(f'<button type="button" class="chip" data-act="wish" data-arg="{number}.{n}">{say(wish)}</button>'
                    for n, wish in enumerate(subject.wishes))
    return f'<div class="wishes" role="group" aria-label="Suggested wishes">{chips}</div>'
