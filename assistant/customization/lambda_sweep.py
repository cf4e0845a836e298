"""Draws with an ICO concept: a strip over several lambdas as one batch, and what a turn of the chat needs of it. Knows no queue and no page."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..threads import iterate_in_thread
from .auxiliary_nouns import check, propose
from .dci_sampling import DciSampling, branches
from .concept_library import ConceptLibrary
from ..controls.mask_visualization import at_scale, region, scales, stretched
from .concept_prompt import caption, unmarked
from .ico_file import IcoConcept
from ..controls.dci import MaskSnapshot, MaskTemperatures
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import Denoised
from ..errors import ConceptError
from ..requests import Cancel, Progress, Settings
from ..plan import named
from ..image_io import KEY, overlaid, write_png
from ..sweep_requests import MOST, StripEvent, SweepReply, SweepRequest, SweepImage

DECODED = 4  # pictures decoded at a time
PACKED = 1024  # width of the picture that masks are kept in


class Masks:
    """See `sweep_requests.Masks`.

    Args:
        kept: layer -> one mask of the auxiliary branch a step, (images, heads, Nq). pictures: (images, H, W, 3) uint8.
    """

    def __init__(self, kept: Mapping[str, Sequence[Tensor]], pictures: np.ndarray) -> None:
        self._kept, self._pictures, self.scales = kept, pictures, tuple(scales(kept))
        first = next(iter(kept.values()))
        self.steps, self.heads = len(first), first[0].shape[1]

    def over(self, number: int, scale: str, opacity: float, auxiliary: bool = True, step: int | None = None, head: int | None = None) -> bytes:
        mask = stretched(self._mask(number, scale, auxiliary, step, head)).numpy()
        return write_png(overlaid(self._pictures[number], mask, min(1.0, max(0.0, opacity))))

    def where(self, number: int, scale: str, auxiliary: bool = True, step: int | None = None, head: int | None = None) -> str:
        return region(self._mask(number, scale, auxiliary, step, head))

    def packed(self) -> bytes:
        shapes = {layer: [len(steps), *steps[0].shape] for layer, steps in self._kept.items()}
        flat = torch.cat([torch.stack(list(steps)).flatten() for steps in self._kept.values()])
        flat = F.pad(flat, (0, -len(flat) % PACKED)).clamp(0, 1).mul(65535).round().numpy().astype(np.uint16)
        return write_png(flat.reshape(-1, PACKED), {"masks": shapes})

    def _mask(self, number: int, scale: str, auxiliary: bool, step: int | None, head: int | None) -> Tensor:
        if not 0 <= number < len(self._pictures):
            raise ConceptError(f"There is no picture {number + 1} in this strip of {len(self._pictures)}.", "Choose one of them.")
        mask = at_scale(self._kept, scale, step, head)[number]
        return mask if auxiliary else 1 - mask


def opened(packed: bytes, pictures: Sequence[bytes]) -> Masks:
    """Masks as `Masks.packed` gave them."""
    image = Image.open(io.BytesIO(packed), formats=["PNG"])
    flat, at, kept = torch.from_numpy(np.asarray(image).astype(np.float32) / 65535).flatten(), 0, {}
    for layer, shape in json.loads(image.text[KEY])["masks"].items():
        kept[layer] = list(flat[at:at + math.prod(shape)].view(shape))
        at += math.prod(shape)
    return Masks(kept, np.stack([np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB")) for png in pictures]))


def prepare_branches(base: LatentDiffusion, concept: IcoConcept, prompt: str, settings: Settings, known: Sequence[str]) -> tuple[DciSampling, str]:
    """Both branches and the auxiliary noun: the one that was asked for, or the first that is proposed.

    Raises:
        ConceptError: of `branches`.
    """
    proposed = propose(prompt.replace(f"<{concept.name}>", ""), concept.noun, known)
    noun = check(settings.auxiliary or proposed[0], concept.noun)
    return branches(base, concept, prompt, noun if settings.window > 0 else None), noun


def strip(base: LatentDiffusion, request: SweepRequest, cancel: Cancel, stamp: Mapping[str, Any], known: Sequence[str] = (),
          unit: float = 1.0, sharpening: MaskTemperatures = MaskTemperatures()) -> Iterator[StripEvent]:
    """Yield Progress, then one StripReply.

    Args:
        request: its settings are checked, and have a seed and a window. stamp: of metadata, what says which engine drew. known: the base model's nouns.
        unit: of the base model's guidance, for each of `follow_words`. sharpening: eq. 4's constants.

    Raises:
        ConceptError: too many pictures, no words, none or several concepts, one of another kind, or a noun that cannot be.
        NotFoundError: a name that is no concept.
    """
    started, settings, library = time.monotonic(), request.settings, request.library
    if not 1 <= len(request.strengths) <= MOST:
        raise ConceptError(f"{len(request.strengths)} pictures were asked for at once; it can be 1 to {MOST}.", "Ask for fewer.")
    said = unmarked(request.prompt, library.names())
    concept, prompt = _concept(library, said), caption(said, library.nouns())
    made, noun = prepare_branches(base, concept, prompt, settings, known)
    seen, count = MaskSnapshot() if made.auxiliary is not None else None, len(request.strengths)

    def work(emit: Callable[[Progress], None], stop: Cancel) -> Denoised:
        return made.draw([settings.seed] * count, request.strengths, settings.window, unit * settings.follow_words, settings.steps, settings.scheduler,
                         lambda step, steps, _: emit(Progress(step, steps)), 0, stop, seen, sharpening=sharpening)

    for item in iterate_in_thread(work, cancel):
        if isinstance(item, Progress):
            yield item
        else:
            done: Denoised = item
    drawn = np.concatenate([base.decode(part) for part in done.latents.split(DECODED)])
    other = write_png(base.decode(done.streams["auxiliary"][:1])[0]) if "auxiliary" in done.streams else b""
    pictures = []
    for picture, strength in zip(drawn, request.strengths):
        told = about(library, concept, made, noun, dataclasses.replace(settings, imagination=strength), request.prompt, stamp, done)
        pictures.append(SweepImage(strength, write_png(picture, told), told))
    masks = Masks(seen.auxiliary, drawn) if seen is not None and seen.auxiliary and not done.stopped else None
    changes = tuple(float(np.abs(a.astype(np.int16) - b).mean()) / 255 for a, b in zip(drawn, drawn[1:]))
    yield SweepReply(tuple(pictures), other, made.concept.words, made.auxiliary.words if made.auxiliary else "", noun, concept.name, settings, masks,
                     time.monotonic() - started, changes, done.stopped)


def _concept(library: ConceptLibrary, prompt: str) -> IcoConcept:
    """The one ICO concept that a prompt names."""
    names = list(dict.fromkeys(name.lower() for name in named(prompt)))
    if not prompt.strip():
        raise ConceptError("There are no words to draw.", "Say something about a concept, for instance: <name> in the snow.")
    if len(names) != 1:
        there = ", ".join(f"<{e.name}>" for e in library.entries() if e.kind == IcoConcept.kind) or "none yet"
        raise ConceptError(f"These words name {'no concept' if not names else f'{len(names)} concepts'}; a strip is drawn of one.", f"There are: {there}.")
    found = library.get(names[0], IcoConcept.kind)
    if not isinstance(found, IcoConcept):
        raise ConceptError(f"<{found.name}> was learned for several in one picture, and has no likeness to slide.", "Learn it for the slider too, in Concepts.")
    return found


def about(library: ConceptLibrary, concept: IcoConcept, made: DciSampling, noun: str, settings: Settings, words: str, stamp: Mapping[str, Any],
          done: Denoised) -> dict[str, Any]:
    """All that is needed to draw a picture again."""
    return {**stamp, "method": "ICO + DCI" if made.auxiliary else "ICO", **dataclasses.asdict(settings), "auxiliary": noun if made.auxiliary else "",
            "prompt": words, "read": made.concept.words, "auxiliary_read": made.auxiliary.words if made.auxiliary else "",
            "concepts": [{"name": concept.name, "noun": concept.noun, "kind": concept.kind, "scheme": concept.scheme, "steps": concept.steps,
                          "sha256": hashlib.sha256(library.file(concept.name, concept.kind).read_bytes()).hexdigest()}],
            "steps_done": done.steps_done, "stopped": done.stopped}
