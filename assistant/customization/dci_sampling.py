"""Draws with an ICO concept by DCI's two branches: for one lambda, for a strip over several as one batch, and for a turn of the chat.

The auxiliary noun stands where the concept was, so that the rest of the prompt is drawn as words alone say. Any common noun but the class noun will do; one that is
likely in the prompt's context is better, and a table says which. The concept is applied through the attention context for one drawing alone.
"""

import dataclasses
import hashlib
import io
import json
import math
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..controls.dci import BranchTokens, Dci, MaskSnapshot, MaskTemperatures, at_scale, region, scales, stretched
from ..diffusion.attention import AttentionContext, TextStates, join_states
from ..diffusion.guidance import AUXILIARY_TEXT, EMPTY, TEXT, dci_guidance
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import CancelFlag, Denoised, OnStep, iterate_in_thread
from ..errors import ConceptError
from ..files import KEY, overlaid, write_png
from ..plan import NAMED, a_or_an, named
from ..requests import MOST, Cancel, Progress, Settings, StripEvent, SweepImage, SweepReply, SweepRequest
from .concept_library import ConceptLibrary, IcoConcept
from .concept_prompt import ContextTemplate, Piece, caption, embed, tokenize_with_placeholders, unmarked

# Words of a context -> nouns that are often seen there, likeliest first.
LIKELY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("underwater", "sea", "reef", "ocean", "aquarium", "bottom of the sea"), ("fish", "turtle")),
    (("beach", "shore", "sand", "seaside", "coast", "pond", "lake", "river"), ("duck", "turtle", "boat")),
    (("space", "moon", "planet", "stars", "rocket"), ("robot", "astronaut")),
    (("snow", "ice", "winter", "arctic"), ("fox", "bear")),
    (("forest", "woods", "trees", "mountain", "mountains"), ("bear", "fox", "owl", "deer")),
    (("garden", "park", "farm", "meadow", "grass"), ("bunny", "dog", "horse")),
    (("kitchen", "table", "breakfast", "tea"), ("mug", "teapot", "bowl")),
    (("library", "school", "books", "study"), ("owl", "backpack", "book")),
    (("city", "street", "road", "traffic"), ("car", "dog", "person")),
    (("night", "clouds", "sky", "castle"), ("owl", "bird")),
    (("hat", "scarf", "crown", "sunglasses", "wearing", "holding"), ("bear", "person")),
)
COMMON = ("dog", "cat", "bear", "car", "bird", "person", "chair", "cup")  # where the context says nothing


def propose(words: str, noun: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    """At most four auxiliary nouns for a prompt, best first; never the class noun, nor one that the prompt says already.

    Args:
        words: the prompt as the base model reads it.
        noun: the class noun. known: nouns that the base model knows; empty: any.
    """
    words = words.lower()
    said = set(re.findall(r"[a-z]+", words)) | {noun.lower()}
    near = [n for context, nouns in LIKELY if any(re.search(rf"\b{re.escape(phrase)}\b", words) for phrase in context) for n in nouns]
    ordered = dict.fromkeys([*near, *COMMON, *known])
    return tuple(n for n in ordered if n not in said and (not known or n in known))[:4]


def check(auxiliary: str, noun: str) -> str:
    """The noun, trimmed.

    Raises:
        ConceptError: none, the class noun itself, or more than a noun.
    """
    found = " ".join(auxiliary.split())
    if not found:
        raise ConceptError("There is no auxiliary noun.", "Say a common noun, for instance: dog.")
    if found.lower() == noun.lower():
        raise ConceptError(f"The auxiliary noun is “{found}”, which is the concept's own class noun.", "Choose another noun.")
    if len(found) > 40 or not re.fullmatch(r"[\w' -]+", found):
        raise ConceptError(f"“{found[:40]}” is no auxiliary noun: one has 1 to 40 letters.", "Choose a common noun, for instance: dog.")
    return found


def article_for(before: str, noun: str) -> str:
    """`before` with its last article, a or an, as the noun wants it: "riding a " before "owl" -> "riding an "."""
    right = a_or_an(noun)
    return re.sub(r"\b[Aa]n?(\s+)$", lambda found: (right.capitalize() if found[0][0] == "A" else right) + found[1], before)


WINDOW = 0.15  # T_a / T; the authors' code takes 0.3
LAMBDA = 0.0  # where nothing is said


@dataclass(frozen=True, eq=False)
class BranchPrompt:
    """What one branch reads: text states (1, N, d_text), its token set, and the words themselves, a concept's as <name>; and those beyond them."""

    states: Tensor | TextStates
    branch: BranchTokens
    words: str
    cut: str = ""


@dataclass(frozen=True, eq=False)
class DciSampling:
    """Both branches of one prompt, or of several (b prompts drawn together: states (b, N, d_text))."""

    base: LatentDiffusion
    concept: BranchPrompt
    auxiliary: BranchPrompt | None  # None: the window is closed
    tuned: Mapping[str, tuple[Tensor, Tensor]]

    def draw(self, seeds: Sequence[int], strength: float | Sequence[float] = LAMBDA, window: float = WINDOW, guidance: float = 3.0,
             steps: int = 20, scheduler: str = "dpm++", on_step: OnStep | None = None, preview_every: int = 0, cancel: CancelFlag | None = None,
             seen: MaskSnapshot | None = None, layers: Collection[str] | None = None, masks: bool = True, sharpening: MaskTemperatures = MaskTemperatures()) -> Denoised:
        """One picture a seed, as `LatentDiffusion.sample`; `streams["auxiliary"]` is the other branch as it was when the window closed.

        Args:
            strength: lambda, one for all or one a seed. window: share of the steps; 0: plain sampling of the fine-tuned model.
            seen, layers, masks, sharpening: of `Dci`.
        """
        plan = dci_guidance(guidance, window if self.auxiliary is not None else 0.0, every=self.base.guided_every)
        tokens, controls = {TEXT: self.concept.states, EMPTY: self.base.encode_text([""])}, ()
        if self.auxiliary is not None and window > 0.0:
            tokens[AUXILIARY_TEXT] = self.auxiliary.states
            several = strength if isinstance(strength, int | float) else torch.tensor([float(s) for s in strength])
            controls = (Dci(self.concept.branch, self.auxiliary.branch, several, sharpening, seen, layers, masks),)
        context = AttentionContext(tokens, controls=controls, tuned=self.tuned)
        return self.base.sample(plan, context, seeds, steps, scheduler, on_step, preview_every, cancel)


def branches(base: LatentDiffusion, concept: IcoConcept, prompt: str, auxiliary: str | None, bare: bool = False) -> DciSampling:
    """Both branches of a prompt with `<name>` in it.

    Args:
        auxiliary: the noun in the concept's place; None: no auxiliary branch.
        bare: each branch reads its own share of the words only, "V* noun" and the rest: the paper's ablation of entire prompts.

    Raises:
        ConceptError: an empty prompt, one without the concept, with it too late, or an auxiliary noun that cannot be.
    """
    parts = _split(prompt, concept.name)
    own, pieces, chosen = ContextTemplate(concept.scheme).pieces(concept.noun), [], []
    for number, part in enumerate(parts):
        if number:
            chosen += range(len(pieces), len(pieces) + len(own))
            pieces += own
        pieces.append(part)
    side = _side(base, ["a ", *own] if bare else pieces, range(1, 1 + len(own)) if bare else chosen, concept.shared, inside=True)
    side = replace(side, words=f"a <{concept.name}>" if bare else " ".join(f"<{concept.name}>".join(parts).split()))  # as people write it
    if auxiliary is None:
        return DciSampling(base, side, None, _here(base, concept))
    noun = check(auxiliary, concept.noun)
    if bare:
        others, place = [_rest(parts)], []
    else:
        others, place = [article_for(parts[0], noun)], []
        for part in parts[1:]:
            place.append(len(others))
            others += [noun, article_for(part, noun)]
    return DciSampling(base, side, _side(base, others, place, concept.shared[:0], inside=False), _here(base, concept))


def together(several: Sequence[DciSampling]) -> DciSampling:
    """Branches of one concept's prompts as one batch, an image each."""
    def joined(sides: Sequence[BranchPrompt]) -> BranchPrompt:
        branch = BranchTokens(torch.cat([s.branch.real for s in sides]), torch.cat([s.branch.own for s in sides]))
        return BranchPrompt(join_states([s.states for s in sides]), branch, " / ".join(s.words for s in sides))

    others = [b.auxiliary for b in several if b.auxiliary is not None]
    auxiliary = joined(others) if others else None
    return DciSampling(several[0].base, joined([b.concept for b in several]), auxiliary, several[0].tuned)


def _split(prompt: str, name: str) -> list[str]:
    """The prompt's words around every <name>."""
    if not prompt.strip():
        raise ConceptError("There are no words to draw.", f"Say something about <{name}>.")
    parts = re.split(rf"<{re.escape(name)}>", prompt, flags=re.IGNORECASE)
    if len(parts) < 2:
        raise ConceptError(f"The concept <{name}> is not in these words.", f"Write <{name}> where it should be.")
    other = NAMED.search(" ".join(parts))
    if other:
        raise ConceptError(f"The words name <{other[1]}> too; a concept with likeness stands alone.", f"Take <{other[1]}> out.")
    return parts


def _rest(parts: Sequence[str]) -> str:
    """All but the concept, and the article before it."""
    return " ".join(" ".join(re.sub(r"\ban?\s*$", "", p.strip()) for p in parts).split()).strip(" ,") or "a picture"


def _side(base: LatentDiffusion, pieces: Sequence[Piece], chosen: Sequence[int], vectors: Tensor, inside: bool) -> BranchPrompt:
    """`chosen` pieces are the branch's token set, or (`inside` False) all that is not in it."""
    spelled = tokenize_with_placeholders(base.tokenizer, pieces, tuple(chosen))
    at = {p for k in chosen for p in spelled.at[k]}
    own = [p for p in spelled.words if (p in at) == inside]
    slots = [p for piece, where in zip(pieces, spelled.at) if isinstance(piece, int) for p in where]
    repeated = torch.cat([vectors] * (len(slots) // max(1, len(vectors)))) if slots else vectors[:0]
    with torch.no_grad():
        states = base.encode_embeddings(embed(base.words, spelled, slots, repeated.to(base.device))[None], spelled.end)
    return BranchPrompt(states, BranchTokens.of(len(spelled.ids), spelled.words, own), " ".join(" ".join(str(p) for p in pieces).split()), spelled.cut)


def _here(base: LatentDiffusion, concept: IcoConcept) -> dict[str, tuple[Tensor, Tensor]]:
    return {layer: (k.to(base.device), v.to(base.device)) for layer, (k, v) in concept.tuned.items()}


DECODED = 4  # pictures decoded at a time
PACKED = 1024  # width of the picture that masks are kept in


class Masks:
    """See `requests.Masks`.

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
    image: Any = Image.open(io.BytesIO(packed), formats=["PNG"])
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
    return branches(base, concept, prompt, noun if settings.fixed_window > 0 else None), noun


def strip(base: LatentDiffusion, request: SweepRequest, cancel: Cancel, stamp: Mapping[str, Any], known: Sequence[str] = (),
          unit: float = 1.0, sharpening: MaskTemperatures = MaskTemperatures()) -> Iterator[StripEvent]:
    """Yield Progress, then one SweepReply.

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
        return made.draw([settings.fixed_seed] * count, request.strengths, settings.fixed_window, unit * settings.follow_words, settings.steps, settings.scheduler,
                         lambda step, steps, _: emit(Progress(step, steps)), 0, stop, seen, sharpening=sharpening)

    done = yield from iterate_in_thread(work, cancel)
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
        there = ", ".join(f"<{e.name}>" for e in library.entries() if e.kind == IcoConcept.kind)
        raise ConceptError(f"These words name {'no concept' if not names else f'{len(names)} concepts'}; a strip is drawn of one.", f"Name one of {there}." if there else "Learn one for the slider first, in Concepts.")
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
