"""Answers a request that names concepts: the base text-to-image model draws it, and the reply says plainly what was done.

The language model is not asked: it knows nothing of what was learned. Knows no queue and no page.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from assistant.background import events_of
from assistant.concepts.drawing import Ready, ready
from assistant.concepts.library import Library
from assistant.concepts.prompt import caption, named, plain
from assistant.concepts.strips import answer_tuned
from assistant.concepts.tuned import Tuned
from assistant.decoder.diffusion import Diffusion
from assistant.decoder.sampling import Denoised
from assistant.messages import Cancel, Event, Progress, Reply, Request, Settings, Words
from assistant.png import write_png


def wish_of(request: Request) -> str:
    """What is to be drawn with concepts, "" if nothing is: a text that names some; or what is added to one ("now at night"), unless
    another picture has become the subject since, or it asks something."""
    if named(request.text):
        return request.text
    said = [request.text]
    if request.photo is not None or not request.text.strip() or request.text.rstrip().endswith("?"):
        return ""
    for turn in reversed(request.history):
        if turn.photo is not None:
            return ""
        if turn.drew:
            said.append(turn.user)
        if named(turn.user):
            first, *added = reversed(said) if turn.drew else ("",)
            return ", ".join([first, *(plain(one) for one in added)])
    return ""


def answer(base: Diffusion, wish: str, request: Request, settings: Settings, cancel: Cancel, stamp: Mapping[str, Any],
           known: Sequence[str] = (), unit: float = 1.0) -> Iterator[Event]:
    """Yield Words, then Progress, then one Reply.

    Args:
        wish: of `wish_of`; it names concepts of `request.library`.
        settings: checked, with a seed. `follow_words` guides both streams, each of it worth `unit` of the base model's guidance.
        stamp: of the picture's metadata, what says which engine drew it.
        known: nouns that the base model knows, for DCI's auxiliary one.

    Raises:
        NotFoundError, ConceptError: of `ready`; nothing has been drawn then.
    """
    library: Library = request.library
    nouns, started = library.nouns(), time.monotonic()
    prompt = caption(wish, nouns)
    tuned = [name for name in named(prompt) if name.lower() in {n.lower() for n in nouns} and isinstance(library.get(name), Tuned)]
    if tuned:  # ICO's: drawn by two branches; Infusion's below
        yield from answer_tuned(base, library.get(tuned[0]), prompt, request, settings, cancel, stamp, known, unit)
        return
    made = ready(base, prompt, nouns, library.get, unit * settings.follow_words, settings.strengths)
    text = _said(made, request.photo is not None or any(turn.photo for turn in request.history))
    yield Words(text)
    seconds = {"first_word": time.monotonic() - started, "words": time.monotonic() - started}

    def work(emit: Callable[[Progress], None], stop: Cancel) -> Denoised:
        def on_step(step: int, steps: int, estimate: Tensor | None) -> None:
            emit(Progress(step, steps, None if estimate is None else write_png(np.asarray(base.decode_preview(estimate)[0]))))

        return made.draw([settings.seed], settings.steps, settings.scheduler, on_step, settings.preview_every, stop)

    for item in events_of(work, cancel):
        if isinstance(item, Progress):
            yield item
        else:
            done: Denoised = item
    picture = base.decode(done.latents)[0]
    seconds["picture"] = time.monotonic() - started - seconds["words"]
    about = {**stamp, "method": "Infusion", **dataclasses.asdict(settings), "prompt": request.text, "read": made.written.text, "reply": text,
             "concepts": [_about(library, name, strength) for name, strength in made.strengths.items()],
             "steps_done": done.steps_done, "stopped": done.stopped}
    yield Reply(text, write_png(picture, about), settings.seed, settings, about, {}, seconds, done.stopped)


def _said(made: Ready, photo: bool) -> str:
    """What was done, in words for people."""
    names = [f"<{name}>" if strength == 1.0 else f"<{name}> at {strength:g}" for name, strength in made.strengths.items()]
    with_them = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    aside = " Your picture was left aside: what was learned stands in for it." if photo else ""
    return f"Drawn from words, with {with_them}: “{made.written.text}”.{aside}"


def _about(library: Library, name: str, strength: float) -> dict[str, Any]:
    """A concept in a picture's metadata: which one, as it was when it was used."""
    concept = library.get(name)
    return {"name": concept.name, "noun": concept.noun, "strength": strength, "steps": concept.steps,
            "sha256": hashlib.sha256(library.file(name).read_bytes()).hexdigest()}
