"""What the Concepts panel shows, as HTML: pictures chosen, lessons, and what is learned with its curve and previews. Pure functions."""

from __future__ import annotations

import base64
import io
from collections.abc import Container, Mapping, Sequence
from itertools import groupby
from html import escape
from typing import Any
from urllib.parse import quote

from PIL import Image

from assistant.files import write_png
from assistant.requests import DatasetAdvice, Photo
from assistant.session.records import TrainingJob, StoredTurn
from .presenters import picture_address, say

KINDS = {"infusion": "several in one picture", "ico": "the likeness slider"}  # method -> what it is for
TRIES = ("on the beach", "in the snow at night", "in space", "as a watercolour")
THUMBNAIL = 128  # pixels


def act(name: str, argument: object, label: str, kind: str = "act", more: str = "") -> str:
    return (f'<button type="button" class="{kind}" data-act="concepts.{name}" data-arg="{say(str(argument))}"{more}>'
            f'{label}</button>')


def _label(text: str) -> str:
    return f' aria-label="{text}"'


def inline(png: bytes, side: int = THUMBNAIL) -> str:
    """A small copy of a picture as an address that holds it."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        small = image.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return "data:image/png;base64," + base64.b64encode(write_png(small)).decode()


def notice(sentence: str, fault: bool = True, undo: str = "") -> str:
    """In place, with its way out."""
    if not sentence:
        return ""
    button = act("restore", undo, "Undo") if undo else ""
    return f'<div class="{"fault" if fault else "note"}" role="{"alert" if fault else "status"}" dir="auto">{say(sentence)} {button}</div>'


# pictures to learn from


def _masked(mask: Photo | None) -> str:
    return f' data-mask="{inline(mask.png, 256)}"' if mask else ""


def chosen(photos: Sequence[Photo], masks: Sequence[Photo | None], advice: DatasetAdvice) -> str:
    """The pictures so far, each with what can be done with it, and what is to be said of them."""
    tiles = "".join(
        f'<figure><img src="{inline(photo.png)}" alt="Picture {n}">'
        f'{act("remove", n - 1, "&#10005;", "corner", _label(f"Take picture {n} away"))}'
        f'<button type="button" class="paint{" on" if mask else ""}" data-paint="{n - 1}" '
        f'data-src="{inline(photo.png, 256)}"{_masked(mask)}>{"Painted" if mask else "Mark"}</button></figure>'
        for n, (photo, mask) in enumerate(zip(photos, masks), 1))
    warnings = "".join(f"<li>{say(one)}</li>" for one in advice.warnings)
    return (f'<div class="picked">{tiles}</div>' if tiles else "") + (f'<ul class="advice">{warnings}</ul>' if warnings else "")


def sources(turns: Sequence[StoredTurn], photos: Sequence[str], taken: Container[str]) -> str:
    """Pictures that are here already: the conversation's own, then what was drawn; `taken` are marked."""
    names = list(dict.fromkeys([*photos, *(t.picture for t in turns if t.picture)]))[:24]
    if not names:
        return '<p class="quiet">There are no pictures yet: drop some above, or draw one first.</p>'
    tiles = "".join(act("pick", name, f'<img src="{picture_address(name)}" alt="A picture of yours" loading="lazy">', "pick", f' aria-pressed="{str(name in taken).lower()}"')
                    for name in names)
    return f'<div class="tiles">{tiles}</div>'


# lessons


def lessons(shown: Sequence[tuple[TrainingJob, int]]) -> str:
    """Args: shown: lessons with how many are before each."""
    return "".join(_lesson(one, before) for one, before in shown)


def _lesson(one: TrainingJob, before: int) -> str:
    said, acts = _state(one, before)
    share = 100 * one.step / max(1, one.steps)
    bar = f'<span class="bar"><span style="width:{share:.0f}%"></span></span>' if one.open else ""
    fault = f'<div class="fault">{say(one.error)}</div>' if one.status == "failed" and one.error else ""
    return (f'<section class="lesson {one.status}" data-lesson="{one.id}"><h4><span class="named">&lt;{say(one.name)}&gt;</span>'
            f'<span class="quiet">{say(one.noun)}, for {KINDS.get(one.kind, one.kind)}</span></h4><p class="doing">{said}{bar}</p>{fault}'
            f'{_course(one)}<div class="acts">{acts}</div></section>')


def _course(one: TrainingJob) -> str:
    """How it was learned: the loss, and what it drew on the way."""
    views = "".join(f'<figure><img src="{picture_address(name)}" alt="After {at} steps"><figcaption>{at}</figcaption></figure>'
                    for at, name in one.previews[-6:])
    return f'{curve(one.losses, one.steps)}<div class="views">{views}</div>'


def _state(one: TrainingJob, before: int) -> tuple[str, str]:
    """What a lesson does or did, and what can be done with it."""
    at = f"step {one.step} of {one.steps}"
    on_or_away = act("resume", one.id, "Go on") + act("drop", one.id, "Discard")
    if one.status == "running":
        left = "" if one.left is None or one.step < 3 else f", about {_time(one.left)} left"
        return (f"Learning, {at}{left}" if one.steps else "Looking at the pictures"), act("stop", one.id, "Stop and keep")
    if one.status == "waiting":
        others = "1 lesson is" if before == 1 else f"{before} lessons are"
        return f"Waiting: {others} learned first." if before else "Starting", act("stop", one.id, "Stop")
    if one.status == "failed":
        return f"Broken off at {at}." if one.steps else "It could not begin.", on_or_away
    return (f"The program ended at {at}; that is kept." if one.step else "It had not begun when the program ended."), on_or_away


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def curve(losses: Sequence[float], steps: int) -> str:
    """The loss, smoothed: each step looks at other noise, and some at another part of the model, so that single ones jump."""
    if len(losses) < 2:
        return ""
    calm = [sorted(losses[max(0, n - 4):n + 5])[len(losses[max(0, n - 4):n + 5]) // 2] for n in range(len(losses))]
    smooth, kept = [], calm[0]
    for n, loss in enumerate(calm):
        kept += (loss - kept) * max(0.05, 1 / (n + 1))
        smooth.append(kept)
    low, high, width, height = min(smooth), max(smooth), 300, 56
    every = max(1, len(smooth) // 150)
    points = " ".join(f"{n / max(1, steps - 1) * width:.1f},{4 + (high - v) / ((high - low) or 1) * (height - 8):.1f}"
                      for n, v in list(enumerate(smooth))[::every])
    return (f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="Loss, from {smooth[0]:.3f} to {smooth[-1]:.3f}">'
            f'<title>Loss, smoothed: {smooth[0]:.3f} at first, now {smooth[-1]:.3f}</title><polyline points="{points}"/></svg>')


# the shelf


def shelf(entries: Sequence[Any], found: Sequence[TrainingJob] = (), offers: Mapping[str, float | None] = {}) -> str:
    """What is learned, by name.

    Args:
        entries: of the library, by name. found: lessons, the newest first.
        offers: methods that there are -> seconds that one takes, where that is known.
    """
    if not entries:
        return "" if any(one.open for one in found) else '<p class="quiet">Nothing learned yet. What you teach stays here, and in every message as <b>&lt;name&gt;</b>.</p>'
    return "".join(_card(list(same), [one for one in found if one.name.lower() == name], offers) for name, same in groupby(entries, lambda e: e.name.lower()))


def concept_address(name: str, kind: str, query: object = "") -> str:
    return f"concepts/{quote(name, safe='')}.{kind}" + (f"?{query}" if query else "")


def _card(entries: Sequence[Any], found: Sequence[TrainingJob], offers: Mapping[str, float | None]) -> str:
    one = entries[0]
    name, newest = say(one.name), {lesson.kind: lesson for lesson in reversed(found)}
    problem = next((e.problem for e in entries if e.problem), "")
    if problem:
        return (f'<article class="concept"><div class="what"><b>&lt;{name}&gt;</b><p class="fault">{say(problem)}</p>'
                f'{act("delete", one.name, "Delete")}</div></article>')
    picture = (f'<img src="{concept_address(one.name, "png", one.steps)}" alt="">' if one.thumbnail else '<span class="blank"></span>')
    about = f'<p class="quiet" dir="auto">{say(one.description)}</p>' if one.description else ""
    rows = "".join(_use(e, newest.get(e.kind)) for e in entries)
    rows += "".join(offer(one.name, kind, offers[kind]) for kind in offers
                    if found and kind not in {e.kind for e in entries} and not (kind in newest and newest[kind].status in ("waiting", "running", "interrupted", "failed")))
    courses = "".join(f'<h4 class="quiet">{KINDS[e.kind].capitalize()}</h4>{_course(newest[e.kind])}' for e in entries if e.kind in newest)
    exports = "".join(f'<a class="act" href="{concept_address(one.name, "safetensors", f"kind={e.kind}")}" download>Export{f" for {KINDS[e.kind]}" if len(entries) > 1 else ""}</a>'
                      for e in entries)
    return f"""<article class="concept">{picture}<div class="what">
<button type="button" class="named" data-insert="&lt;{name}&gt;" title="Put it into the message">&lt;{name}&gt;</button>
<span class="quiet">{say(one.noun)}</span>{about}</div><div class="uses">{rows}</div><details><summary>Curve, try out, rename, export ...</summary>{courses}
<div data-form class="tries">{"".join(act("try", f"{one.name} {n}", say(text), "chip") for n, text in enumerate(TRIES))}
<div class="own"><input data-field="words" aria-label="Your own words" placeholder="your own words" maxlength="200">
{act("try", f"{one.name} own", "Try")}</div></div>
<div data-form class="edit"><label>Name <input data-field="name" value="{name}" maxlength="40" spellcheck="false"></label>
<label>What it is <textarea data-field="description" rows="2" maxlength="500">{escape(one.description)}</textarea></label>
{act("save", one.name, "Save")}</div>
<div class="acts">{act("duplicate", one.name, "Duplicate")}{exports}{act("delete", one.name, "Delete")}</div></details></article>"""


def _use(one: Any, lesson: TrainingJob | None) -> str:
    """What a concept can do, how it was learned, and where that is set."""
    name, size = say(one.name), f"{(one.size - len(one.thumbnail)) / 1024:.1f} KB"
    how = (f'<label class="strength">Strength <input type="range" min="0" max="2" step="0.1" value="1" data-strength="{name}"><output>1.0</output></label>'
           if one.kind == "infusion" else f'<button type="button" class="act" data-insert="&lt;{name}&gt;" data-into="likeness-prompt" data-panel="likeness">Open the slider</button>')
    on = f' Stopped at step {lesson.step} of {lesson.steps}. {act("resume", lesson.id, "Go on")}' if lesson is not None and lesson.status == "stopped" else ""
    return (f'<div class="use"><b>{KINDS[one.kind].capitalize()}</b> <span class="quiet" title="With its picture the file has {one.size / 1024:.0f} KB">'
            f'{one.steps} steps, {size}.{on}</span>{how}</div>')


def offer(name: str, kind: str, seconds: float | None, label: str = "") -> str:
    """To learn what is learned by another method too, from its kept photos."""
    return act("also", f"{name} {kind}", f"{label or f'Learn it for {KINDS[kind]} too'}{f', {_time(seconds)}' if seconds else ''}", "act opens")


def tried(pictures: Sequence[tuple[str, bytes | None]], doing: str = "") -> str:
    """The strip: what was asked, and the picture once it is there."""
    figures = "".join(f'<figure>{f"""<img src="{inline(png)}" alt="">""" if png else """<span class="blank"></span>"""}'
                      f'<figcaption>{say(text)}</figcaption></figure>' for text, png in pictures)
    return (f'<div class="strip-tries">{figures}</div>' if figures else "") + (f'<p class="doing">{doing}</p>' if doing else "")
