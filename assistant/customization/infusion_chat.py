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

from ..threads import iterate_in_thread
from . import lambda_sweep
from .infusion_sampling import InfusionSampling, prepare_infusion
from .infusion_file import InfusionConcept
from .concept_library import ConceptLibrary
from ..controls.mask_visualization import coded, encoded
from .concept_prompt import caption
from .concept_dialogue import ConceptRequest
from .ico_file import IcoConcept
from ..controls.dci import MaskSnapshot, MaskTemperatures
from ..diffusion.latent_diffusion import LatentDiffusion, unread
from ..diffusion.sampler import Denoised, OnStep
from ..requests import Cancel, Event, Progress, Reply, Request, Settings, Words
from ..plan import named
from ..image_io import write_png

Likeness = Callable[[np.ndarray, str], dict[str, float]]  # a picture (H, W, 3), a concept's name -> how near the two are


@dataclasses.dataclass(frozen=True)
class ConceptTurn:
    """How one prompt is drawn, by the method that its concepts were learned by."""

    text: str  # what is done, in words for people
    draw: Callable[[OnStep, Cancel], Denoised]
    about: Callable[[Denoised], dict[str, Any]]  # the picture's metadata


def answer(base: LatentDiffusion, meant: ConceptRequest, request: Request, settings: Settings, cancel: Cancel, stamp: Mapping[str, Any],
           known: Sequence[str] = (), unit: float = 1.0, likeness: Likeness | None = None,
           sharpening: MaskTemperatures = MaskTemperatures()) -> Iterator[Event]:
    """Yield Words, then Progress if something is drawn, then one Reply.

    Args:
        meant: of `talk.understand`; its prompt names concepts of `request.library`, or there is none.
        settings: checked, with a seed and a window. `follow_words` guides both streams, each of it worth `unit` of the base model's guidance.
        stamp: of the picture's metadata, what says which engine drew it.
        known: nouns that the base model knows, for DCI's auxiliary one.
        likeness: None: it cannot be told. sharpening: eq. 4's constants.

    Raises:
        NotFoundError, ConceptError: of `prepare_infusion`; nothing has been drawn then.
    """
    if not meant.prompt:
        yield Words(meant.words)
        yield Reply(meant.words, None, settings.seed, settings, {"plan": meant.plan.as_json()}, plan=meant.plan)
        return
    library: ConceptLibrary = request.library
    nouns, started = library.nouns(), time.monotonic()
    prompt, here = caption(meant.prompt, nouns), {name.lower() for name in nouns}
    names = [name for name in named(prompt) if name.lower() in here]
    several = len({name.lower() for name in names}) > 1  # only Infusion draws more than one: a name that has both stands for that then
    tuned = next((one for name in names if isinstance(one := library.get(name, InfusionConcept.kind if several else IcoConcept.kind), IcoConcept)), None)
    way = _tuned(base, tuned, prompt, request, settings, stamp, known, unit, sharpening) if tuned is not None else \
        _infused(base, prompt, nouns, request, settings, stamp, unit, "imagination" in meant.settings)
    yield Words(way.text)
    seconds = {"first_word": time.monotonic() - started, "words": time.monotonic() - started}

    def work(emit: Callable[[Progress], None], stop: Cancel) -> Denoised:
        def on_step(step: int, steps: int, estimate: Tensor | None) -> None:
            emit(Progress(step, steps, None if estimate is None else write_png(np.asarray(base.decode_preview(estimate)[0]))))

        return way.draw(on_step, stop)

    for item in iterate_in_thread(work, cancel):
        if isinstance(item, Progress):
            yield item
        else:
            done: Denoised = item
    picture = base.decode(done.latents)[0]
    seconds["picture"] = time.monotonic() - started - seconds["words"]
    about = {**way.about(done), **({"said": dict(meant.settings)} if meant.settings and tuned is not None else {}), "reply": way.text, "wish": meant.prompt, "plan": meant.plan.as_json()}
    near = likeness(picture, names[0]) if likeness is not None and not done.stopped else {}
    yield Reply(way.text, write_png(picture, about), settings.seed, settings, about, near, seconds, done.stopped, meant.plan)


def _infused(base: LatentDiffusion, prompt: str, nouns: Mapping[str, str], request: Request, settings: Settings, stamp: Mapping[str, Any], unit: float,
             slid: bool) -> ConceptTurn:
    """Infusion's, of any number. `slid`: whether a lambda was asked for, which they do not have."""
    library: ConceptLibrary = request.library
    made = prepare_infusion(base, prompt, nouns, lambda name: library.get(name, InfusionConcept.kind), unit * settings.follow_words, settings.strengths, look=True)
    aside = " Lambda (λ) was left aside: only what was learned for likeness has one." if slid else ""
    photo = request.photo is not None or any(turn.photo for turn in request.history)
    return ConceptTurn(
        _said(made, photo) + aside,
        lambda on_step, stop: made.draw([settings.seed], settings.steps, settings.scheduler, on_step, settings.preview_every, stop),
        lambda done: {**stamp, "method": "Infusion", **dataclasses.asdict(settings), "prompt": request.text, "read": made.written.text,
                      "concepts": [_about(library, name, strength) for name, strength in made.strengths.items()],
                      "steps_done": done.steps_done, "stopped": done.stopped, **({"mask": encoded(made.heard.seen()[0, 0])} if done.steps_done else {})})


def _tuned(base: LatentDiffusion, concept: IcoConcept, prompt: str, request: Request, settings: Settings, stamp: Mapping[str, Any], known: Sequence[str],
           unit: float, sharpening: MaskTemperatures) -> ConceptTurn:
    """ICO's, which stands alone: drawn by two branches."""
    (made, noun), seen = lambda_sweep.prepare_branches(base, concept, prompt, settings, known), MaskSnapshot()
    beside = f" Beside it I drew “{made.auxiliary.words}”, and let it be heard at λ = {settings.imagination:g}." if made.auxiliary else ""
    return ConceptTurn(
        f"Drawn from words, with <{concept.name}>: “{made.concept.words}”.{unread(made.concept.cut)}{beside}",
        lambda on_step, stop: made.draw([settings.seed], settings.imagination, settings.window, unit * settings.follow_words, settings.steps,
                                        settings.scheduler, on_step, settings.preview_every, stop, seen, sharpening=sharpening),
        lambda done: {**lambda_sweep.about(request.library, concept, made, noun, settings, request.text, stamp, done), **({"mask": coded(seen)} if seen.auxiliary else {})})


def _said(made: InfusionSampling, photo: bool) -> str:
    """What was done, in words for people."""
    names = [f"<{name}>" if strength == 1.0 else f"<{name}> at {strength:g}" for name, strength in made.strengths.items()]
    with_them = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    aside = " Your picture was left aside: what was learned stands in for it." if photo else ""
    return f"Drawn from words, with {with_them}: “{made.written.text}”.{made.base.left_out(made.written.text)}{aside}"


def _about(library: ConceptLibrary, name: str, strength: float) -> dict[str, Any]:
    """A concept in a picture's metadata: which one, as it was when it was used."""
    concept = library.get(name, InfusionConcept.kind)
    return {"name": concept.name, "noun": concept.noun, "strength": strength, "steps": concept.steps,
            "sha256": hashlib.sha256(library.file(name, InfusionConcept.kind).read_bytes()).hexdigest()}
