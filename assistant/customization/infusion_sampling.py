"""Draws prompts with learned concepts in them, and answers a turn that is about concepts.

For Infusion: what the base model reads, which rows, which controls. A turn is drawn by the base text-to-image model, and the reply says plainly what was done; the
language model is not asked, since it knows nothing of what was learned.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor

from ..controls.dci import MaskSnapshot, MaskTemperatures, coded, encoded
from ..controls.infusion import ConceptInstance, Infusion, TokenAttention, residual_mask
from ..diffusion.attention import AttentionContext
from ..diffusion.guidance import EMPTY, TEXT, GuidancePlan, infusion_guidance
from ..diffusion.latent_diffusion import LatentDiffusion, unread
from ..diffusion.sampler import CancelFlag, Denoised, OnStep, iterate_in_thread
from ..errors import ConceptError
from ..files import write_png
from ..plan import listing, named
from ..requests import Cancel, Event, Progress, Reply, Request, Settings, Words
from . import dci_sampling
from .concept_dialogue import ConceptRequest
from .concept_library import ConceptLibrary, IcoConcept, InfusionConcept
from .concept_prompt import ResolvedPrompt, caption, residual_positions, token_positions, write

STRONGEST = 2.0  # strength of a concept; 1 is as it was learned, 0 is the base model


@dataclass(frozen=True, eq=False)
class InfusionSampling:
    """All that `draw` needs of one prompt; used up by one drawing."""

    base: LatentDiffusion
    written: ResolvedPrompt
    plan: GuidancePlan
    context: AttentionContext
    strengths: Mapping[str, float]  # of the concepts in it, by their own names
    heard: TokenAttention | None  # where their words are

    def draw(self, seeds: Sequence[int], steps: int, scheduler: str = "dpm++", on_step: OnStep | None = None, preview_every: int = 0,
             cancel: CancelFlag | None = None) -> Denoised:
        """As `LatentDiffusion.sample`; both streams start from the same noise."""
        return self.base.sample(self.plan, self.context, seeds, steps, scheduler, on_step, preview_every, cancel)


def prepare_infusion(base: LatentDiffusion, prompt: str, nouns: Mapping[str, str], get: Callable[[str], InfusionConcept], guidance: float,
          strengths: Mapping[str, float] | None = None, look: bool = False, together: float = 1.0) -> InfusionSampling:
    """Put concepts where they stand (eq. 9): each acts at its own words only, with its own strength.

    Args:
        prompt: with <name>s.
        nouns: name -> class noun of every concept there is.
        get: the concept of a name.
        guidance: of both streams.
        strengths: name -> strength, 0 to STRONGEST; one that is not named has 1.
        together: times a concept's strength, where there are several: residuals that were each learned alone disturb one another.
        look: collect where the concepts' words are heard, which costs a map a layer.

    Raises:
        NotFoundError: a name that is no concept. ConceptError: no concept at all, one that cannot be used, a strength outside its limits,
            or a concept so late in the prompt that the base model does not read it.
    """
    written = write(prompt, nouns)
    if not written.spans:
        raise ConceptError("There is no concept in these words.", "Write one as <name>.")
    states = base.encode_text([written.text])
    length, given = states.shape[1], {name.lower(): value for name, value in (strengths or {}).items()}
    uses, strong, words = [], {}, set()
    for name, spans in written.spans.items():
        concept, strong[name] = get(name), float(given.get(name.lower(), 1.0))
        if not 0.0 <= strong[name] <= STRONGEST:
            raise ConceptError(f"The strength of <{name}> is {strong[name]:g}; it can be 0 to {STRONGEST:g}.", "Choose a value in between.")
        if not isinstance(concept, InfusionConcept):
            raise ConceptError(f"<{name}> was learned for the slider alone and is not drawn this way.", "Learn it for several in one picture too, in Concepts.")
        count = next(iter(concept.residuals.values())).shape[0]
        for span in spans:
            own = token_positions(base.tokenizer, written.text, [span])
            words.update(own)
            where = residual_mask(residual_positions(own, count, length), length, strong[name] * (together if len(written.spans) > 1 else 1.0))
            uses.append(ConceptInstance({layer: r.to(base.device) for layer, r in concept.residuals.items()}, where.to(base.device)))
    heard = TokenAttention(words) if look else None
    context = AttentionContext({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion(uses), *([heard] if heard else [])))
    return InfusionSampling(base, written, infusion_guidance(guidance, base.guided_every), context, strong, heard)


Likeness = Callable[[np.ndarray, str], dict[str, float]]  # a picture (H, W, 3), a concept's name -> how near the two are


@dataclasses.dataclass(frozen=True)
class ConceptTurn:
    """How one prompt is drawn, by the method that its concepts were learned by."""

    text: str  # what is done, in words for people
    draw: Callable[[OnStep, Cancel], Denoised]
    about: Callable[[Denoised], dict[str, Any]]  # the picture's metadata


def answer(base: LatentDiffusion, meant: ConceptRequest, request: Request, settings: Settings, cancel: Cancel, stamp: Mapping[str, Any],
           known: Sequence[str] = (), unit: float = 1.0, likeness: Likeness | None = None,
           sharpening: MaskTemperatures = MaskTemperatures(), together: float = 1.0) -> Iterator[Event]:
    """Yield Words, then Progress if something is drawn, then one Reply.

    Args:
        meant: of `concept_dialogue.understand`; its prompt names concepts of `request.library`, or there is none.
        settings: checked, with a seed and a window. `follow_words` guides both streams, each of it worth `unit` of the base model's guidance.
        stamp: of the picture's metadata, what says which engine drew it.
        known: nouns that the base model knows, for DCI's auxiliary one.
        likeness: None: it cannot be told. sharpening: eq. 4's constants. together: of `prepare_infusion`.

    Raises:
        NotFoundError, ConceptError: of `prepare_infusion`; nothing has been drawn then.
    """
    if not meant.prompt:
        yield Words(meant.words)
        yield Reply(meant.words, None, settings.fixed_seed, settings, {"plan": meant.plan.as_json()}, plan=meant.plan)
        return
    library: ConceptLibrary = request.library
    nouns, started = library.nouns(), time.monotonic()
    prompt, here = caption(meant.prompt, nouns), {name.lower() for name in nouns}
    names = [name for name in named(prompt) if name.lower() in here]
    several = len({name.lower() for name in names}) > 1  # only Infusion draws more than one: a name that has both stands for that then
    tuned = next((one for name in names if isinstance(one := library.get(name, InfusionConcept.kind if several else IcoConcept.kind), IcoConcept)), None)
    way = _tuned(base, tuned, prompt, request, settings, stamp, known, unit, sharpening) if tuned is not None else \
        _infused(base, prompt, nouns, request, settings, stamp, unit, "imagination" in meant.settings, together)
    yield Words(way.text)
    seconds = {"first_word": time.monotonic() - started, "words": time.monotonic() - started}

    def work(emit: Callable[[Progress], None], stop: Cancel) -> Denoised:
        def on_step(step: int, steps: int, estimate: Tensor | None) -> None:
            emit(Progress(step, steps, None if estimate is None else write_png(np.asarray(base.decode_preview(estimate)[0]))))

        return way.draw(on_step, stop)

    done = yield from iterate_in_thread(work, cancel)
    picture = base.decode(done.latents)[0]
    seconds["picture"] = time.monotonic() - started - seconds["words"]
    about = {**way.about(done), **({"said": dict(meant.settings)} if meant.settings and tuned is not None else {}), "reply": way.text, "wish": meant.prompt, "plan": meant.plan.as_json()}
    near = likeness(picture, names[0]) if likeness is not None and not done.stopped else {}
    yield Reply(way.text, write_png(picture, about), settings.fixed_seed, settings, about, near, seconds, done.stopped, meant.plan)


def _infused(base: LatentDiffusion, prompt: str, nouns: Mapping[str, str], request: Request, settings: Settings, stamp: Mapping[str, Any], unit: float,
             slid: bool, together: float) -> ConceptTurn:
    """Infusion's, of any number. `slid`: whether a lambda was asked for, which they do not have."""
    library: ConceptLibrary = request.library
    made = prepare_infusion(base, prompt, nouns, lambda name: cast(InfusionConcept, library.get(name, InfusionConcept.kind)), unit * settings.follow_words,
                            settings.strengths, True, together)
    aside = " Lambda (λ) was left aside: only what was learned for likeness has one." if slid else ""
    photo = request.photo is not None or any(turn.photo for turn in request.history)
    return ConceptTurn(
        _said(made, photo) + aside,
        lambda on_step, stop: made.draw([settings.fixed_seed], settings.steps, settings.scheduler, on_step, settings.preview_every, stop),
        lambda done: {**stamp, "method": "Infusion", **dataclasses.asdict(settings), "prompt": request.text, "read": made.written.text,
                      "concepts": [_about(library, name, strength) for name, strength in made.strengths.items()],
                      "steps_done": done.steps_done, "stopped": done.stopped, **({"mask": encoded(made.heard.seen()[0, 0])} if done.steps_done and made.heard is not None else {})})


def _tuned(base: LatentDiffusion, concept: IcoConcept, prompt: str, request: Request, settings: Settings, stamp: Mapping[str, Any], known: Sequence[str],
           unit: float, sharpening: MaskTemperatures) -> ConceptTurn:
    """ICO's, which stands alone: drawn by two branches."""
    (made, noun), seen = dci_sampling.prepare_branches(base, concept, prompt, settings, known), MaskSnapshot()
    beside = f" So that your words count beside the likeness, its first steps also listened to “{made.auxiliary.words}” (λ = {settings.imagination:g}), which is not meant to be seen." if made.auxiliary else ""
    return ConceptTurn(
        f"Drawn from words, with <{concept.name}>: “{made.concept.words}”.{unread(made.concept.cut)}{beside}",
        lambda on_step, stop: made.draw([settings.fixed_seed], settings.imagination, settings.fixed_window, unit * settings.follow_words, settings.steps,
                                        settings.scheduler, on_step, settings.preview_every, stop, seen, sharpening=sharpening),
        lambda done: {**dci_sampling.about(request.library, concept, made, noun, settings, request.text, stamp, done), **({"mask": coded(seen)} if seen.auxiliary else {})})


def _said(made: InfusionSampling, photo: bool) -> str:
    """What was done, in words for people."""
    names = [f"<{name}>" if strength == 1.0 else f"<{name}> at {strength:g}" for name, strength in made.strengths.items()]
    aside = " Your picture was left aside: what was learned stands in for it." if photo else ""
    return f"Drawn from words, with {listing(names)}: “{made.written.text}”.{made.base.left_out(made.written.text)}{aside}"


def _about(library: ConceptLibrary, name: str, strength: float) -> dict[str, Any]:
    """A concept in a picture's metadata: which one, as it was when it was used."""
    concept = library.get(name, InfusionConcept.kind)
    return {"name": concept.name, "noun": concept.noun, "strength": strength, "steps": concept.steps,
            "sha256": hashlib.sha256(library.file(name, InfusionConcept.kind).read_bytes()).hexdigest()}
