"""What the panel "Likeness" shows, as HTML. Values in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from assistant.messages import Progress
from assistant.strip import StripReply
from ui.presenters import say

WAYS = {"down": "on the way down", "middle": "in the middle", "up": "on the way up"}


def shelf(entries: Sequence[Any]) -> str:
    """Chips of the concepts that have a likeness to slide; what cannot be used says why."""
    if not entries:
        return '<p class="quiet">Nothing is learned for this yet. Open the line below and show me something.</p>'
    chips = "".join(f'<button type="button" class="chip" data-act="likeness.use" data-arg="{escape(e.name)}">&lt;{say(e.name)}&gt; <span class="quiet">{say(e.noun)}</span></button>'
                    for e in entries if not e.problem)
    problems = "".join(f'<p class="quiet">{say(e.problem)}</p>' for e in entries if e.problem)
    return f'<div class="likeness-chips">{chips}</div>{problems}'


def lessons(found: Sequence[Any]) -> str:
    lines = []
    for one in found:
        if one.error:
            lines.append(f'<div class="fault">{say(one.error)}</div>')
            continue
        share = 100 * one.step / max(1, one.steps)
        left = f", about {one.left:.0f} s left" if one.left and one.left >= 1 else ""
        lines.append(f'<div class="likeness-lesson">Learning &lt;{say(one.name)}&gt;, step {one.step} of {one.steps or "…"}{left}'
                     f'<span class="bar"><span style="width:{share:.0f}%"></span></span></div>')
    return "".join(lines)


def drawing(progress: Progress | None, left: float) -> str:
    if progress is None:
        return '<div class="likeness-lesson" role="status">Reading both prompts</div>'
    more = f", about {left:.0f} s left" if left >= 1 else ""
    return (f'<div class="likeness-lesson" role="status">Drawing, step {progress.step} of {progress.steps}{more}'
            f'<span class="bar"><span style="width:{100 * progress.step / max(1, progress.steps):.0f}%"></span></span></div>')


def strip(reply: StripReply, chosen: int, version: str) -> str:
    """The strip to pick from; below, both branches side by side."""
    cells = "".join(
        f'<button type="button" class="likeness-cell" data-act="likeness.pick" data-arg="{k}" aria-pressed="{str(k == chosen).lower()}" title="λ = {one.strength:g}">'
        f'<img src="likeness/{k}.png?v={version}" alt="λ = {one.strength:g}"><span>{one.strength:g}</span></button>' for k, one in enumerate(reply.pictures))
    ends = '<div class="likeness-ends"><span>likeness</span><span>imagination</span></div>'
    picked = reply.pictures[chosen]
    acts = (f'<div class="acts"><button type="button" class="act" data-act="likeness.send">Send to the chat</button>'
            f'<a class="act" href="likeness/{chosen}.png?download&v={version}" download>Download</a></div>')
    pair = f'<figure><img src="likeness/{chosen}.png?v={version}" alt="The picture that was picked"><figcaption>{say(reply.read)}</figcaption></figure>'
    if reply.auxiliary_png:
        pair += (f'<figure><img src="likeness/other.png?v={version}" alt="What was imagined instead"><figcaption>{say(reply.auxiliary)}</figcaption></figure>')
    note = "" if reply.auxiliary_png else '<p class="quiet">The window is closed: imagination was not heard, and all are the same picture.</p>'
    return (f'<div class="likeness-strip" data-count="{len(reply.pictures)}">{cells}</div>{ends}{note}'
            f'<p class="likeness-said">λ = {picked.strength:g}, seed {reply.settings.seed}, {reply.seconds:.0f} s</p>{acts}<div class="likeness-pair">{pair}</div>')


def scale_said(scale: str) -> str:
    side, _, way = scale.partition(" ")
    return f"{side} × {side}, {WAYS.get(way, way)}"


def mask(address: str, auxiliary: bool, reply: StripReply) -> str:
    noun = say(reply.noun)
    said = (f"Brighter: there the drawing listened more to “{say(reply.auxiliary)}” (the imagination, with a {noun} in its place)." if auxiliary else
            f"Brighter: there the drawing listened more to “{say(reply.read)}” (what was learned).")
    return (f'<figure class="likeness-over"><img src="{escape(address)}" alt="A mask over the picture"><figcaption>{said} Things enter at coarse scales, '
            f'style and surface at fine ones.</figcaption></figure><a class="act" href="{escape(address)}&amp;download" download>Save as PNG</a>')
