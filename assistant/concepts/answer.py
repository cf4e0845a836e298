"""Answers a turn that is about concepts: the base text-to-image model draws it, and the reply says plainly what was done.

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
from assistant.concepts import strips
from assistant.concepts.drawing import Ready, ready
from assistant.concepts.file import Concept
from assistant.concepts.library import Library
from assistant.concepts.mask_pictures import coded, encoded
from assistant.concepts.prompt import caption
from assistant.concepts.talk import Meant
from assistant.concepts.tuned import Tuned
from assistant.control.dci import Seen, Sharpening
from assistant.decoder.diffusion import Diffusion
from assistant.decoder.sampling import Denoised, OnStep
from assistant.messages import Cancel, Event, Progress, Reply, Request, Settings, Words
from assistant.plan import named
from assistant.png import write_png

Likeness = Callable[[np.ndarray, str], dict[str, float]]  # a picture (H, W, 3), a concept's name -> how near the two are


@dataclasses.dataclass(frozen=True)
class Way:
    """How one prompt is drawn, by the method that its concepts were learned by."""

    text: str  # what is done, in words for people
    draw: Callable[[OnStep, Cancel], Denoised]
    about: Callable[[Denoised], dict[str, Any]]  # the picture's metadata


def answer(base: Diffusion, meant: Meant, request: Request, settings: Settings, cancel: Cancel, stamp: Mapping[str, Any],
           known: Sequence[str] = (), unit: float = 1.0, likeness: Likeness | None = None,
           sharpening: Sharpening = Sharpening()) -> Iterator[Event]:
    """Yield Words, then Progress if something is drawn, then one Reply.

    Args:
        meant: of `talk.understand`; its prompt names concepts of `request.library`, or there is none.
        settings: checked, with a seed and a window. `follow_words` guides both streams, each of it worth `unit` of the base model's guidance.
        stamp: of the picture's metadata, what says which engine drew it.
        known: nouns that the base model knows, for DCI's auxiliary one.
        likeness: None: it cannot be told. sharpening: eq. 4's constants.

    Raises:
        NotFoundError, ConceptError: of `ready`; nothing has been drawn then.
    """
    if not meant.prompt:
        yield Words(meant.words)
        yield Reply(meant.words, None, settings.seed, settings, {"plan": meant.plan.as_json()}, plan=meant.plan)
        return
    library: Library = request.library
    nouns, started = library.nouns(), time.monotonic()
    prompt, here = caption(meant.prompt, nouns), {name.lower() for name in nouns}
    names = [name for name in named(prompt) if name.lower() in here]
    several = len({name.lower() for name in names}) > 1  # only Infusion draws more than one: a name that has both stands for that then
    tuned = next((one for name in names if isinstance(one := library.get(name, Concept.kind if several else Tuned.kind), Tuned)), None)
    way = _tuned(base, tuned, prompt, request, settings, stamp, known, unit, sharpening) if tuned is not None else \
        _infused(base, prompt, nouns, request, settings, stamp, unit, "imagination" in meant.settings)
    yield Words(way.text)
    seconds = {"first_word": time.monotonic() - started, "words": time.monotonic() - started}

    def work(emit: Callable[[Progress], None], stop: Cancel) -> Denoised:
        def on_step(step: int, steps: int, estimate: Tensor | None) -> None:
            emit(Progress(step, steps, None if estimate is None else write_png(np.asarray(base.decode_preview(estimate)[0]))))

        return way.draw(on_step, stop)

    for item in events_of(work, cancel):
        if isinstance(item, Progress):
            yield item
        else:
            done: Denoised = item
    picture = base.decode(done.latents)[0]
    seconds["picture"] = time.monotonic() - started - seconds["words"]
    about = {**way.about(done), **({"said": dict(meant.settings)} if meant.settings and tuned is not None else {}), "reply": way.text, "wish": meant.prompt, "plan": meant.plan.as_json()}
    near = likeness(picture, names[0]) if likeness is not None and not done.stopped else {}
    yield Reply(way.text, write_png(picture, about), settings.seed, settings, about, near, seconds, done.stopped, meant.plan)


def _infused(base: Diffusion, prompt: str, nouns: Mapping[str, str], request: Request, settings: Settings, stamp: Mapping[str, Any], unit: float,
             slid: bool) -> Way:
    """Infusion's, of any number. `slid`: whether a lambda was asked for, which they do not have."""
    library: Library = request.library
    made = ready(base, prompt, nouns, lambda name: library.get(name, Concept.kind), unit * settings.follow_words, settings.strengths, look=True)
    aside = " Lambda (λ) was left aside: only what was learned for likeness has one." if slid else ""
    photo = request.photo is not None or any(turn.photo for turn in request.history)
    return Way(
        _said(made, photo) + aside,
        lambda on_step, stop: made.draw([settings.seed], settings.steps, settings.scheduler, on_step, settings.preview_every, stop),
        lambda done: {**stamp, "method": "Infusion", **dataclasses.asdict(settings), "prompt": request.text, "read": made.written.text,
                      "concepts": [_about(library, name, strength) for name, strength in made.strengths.items()],
                      "steps_done": done.steps_done, "stopped": done.stopped, **({"mask": encoded(made.heard.seen()[0, 0])} if done.steps_done else {})})


def _tuned(base: Diffusion, concept: Tuned, prompt: str, request: Request, settings: Settings, stamp: Mapping[str, Any], known: Sequence[str],
           unit: float, sharpening: Sharpening) -> Way:
    """ICO's, which stands alone: drawn by two branches."""
    (made, noun), seen = strips.ready(base, concept, prompt, settings, known), Seen()
    beside = f" Beside it I drew “{made.auxiliary.words}”, and let it be heard at λ = {settings.imagination:g}." if made.auxiliary else ""
    return Way(
        f"Drawn from words, with <{concept.name}>: “{made.concept.words}”.{beside}",
        lambda on_step, stop: made.draw([settings.seed], settings.imagination, settings.window, unit * settings.follow_words, settings.steps,
                                        settings.scheduler, on_step, settings.preview_every, stop, seen, sharpening=sharpening),
        lambda done: {**strips.about(request.library, concept, made, noun, settings, request.text, stamp, done), **({"mask": coded(seen)} if seen.auxiliary else {})})


def _said(made: Ready, photo: bool) -> str:
    """What was done, in words for people."""
    names = [f"<{name}>" if strength == 1.0 else f"<{name}> at {strength:g}" for name, strength in made.strengths.items()]
    with_them = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    aside = " Your picture was left aside: what was learned stands in for it." if photo else ""
    return f"Drawn from words, with {with_them}: “{made.written.text}”.{aside}"


def _about(library: Library, name: str, strength: float) -> dict[str, Any]:
    """A concept in a picture's metadata: which one, as it was when it was used."""
    concept = library.get(name, Concept.kind)
    return {"name": concept.name, "noun": concept.noun, "strength": strength, "steps": concept.steps,
            "sha256": hashlib.sha256(library.file(name, Concept.kind).read_bytes()).hexdigest()}
