"""A prompt with an ICO concept in it, made ready for the base model's sampler: DCI's two branches, for one lambda or several.

Knows no requests, no settings and no files: the concept comes as a value, and is applied through the attention context for one drawing alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .auxiliary_nouns import article_for, check
from .ico_file import IcoConcept
from .placeholder_tokens import Piece, ContextTemplate, embed, tokenize_with_placeholders
from ..diffusion.conditions import AUXILIARY_TEXT, EMPTY, TEXT
from ..controls.dci import BranchTokens, Dci, MaskSnapshot, MaskTemperatures
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import dci_guidance
from ..diffusion.sampler import Denoised, CancelFlag, OnStep
from ..errors import ConceptError

WINDOW = 0.15  # T_a / T; the authors' code takes 0.3
LAMBDA = 0.0  # where nothing is said


@dataclass(frozen=True, eq=False)
class BranchPrompt:
    """What one branch reads: text states (1, N, d_text), its token set, and the words themselves, a concept's as <name>; and those beyond them."""

    states: Tensor
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
        plan = dci_guidance(guidance, window if self.auxiliary is not None else 0.0)
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
        return BranchPrompt(torch.cat([s.states for s in sides]), branch, " / ".join(s.words for s in sides))

    auxiliary = None if several[0].auxiliary is None else joined([b.auxiliary for b in several])
    return DciSampling(several[0].base, joined([b.concept for b in several]), auxiliary, several[0].tuned)


def _split(prompt: str, name: str) -> list[str]:
    """The prompt's words around every <name>."""
    if not prompt.strip():
        raise ConceptError("There are no words to draw.", f"Say something about <{name}>.")
    parts = re.split(rf"<{re.escape(name)}>", prompt, flags=re.IGNORECASE)
    if len(parts) < 2:
        raise ConceptError(f"The concept <{name}> is not in these words.", f"Write <{name}> where it should be.")
    other = re.search(r"<([^<>\s]+)>", " ".join(parts))
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
        states = base.encode_embeddings(embed(base.text_encoder.get_input_embeddings(), spelled, slots, repeated.to(base.device))[None])
    return BranchPrompt(states, BranchTokens.of(len(spelled.ids), spelled.words, own), " ".join(" ".join(str(p) for p in pieces).split()), spelled.cut)


def _here(base: LatentDiffusion, concept: IcoConcept) -> dict[str, tuple[Tensor, Tensor]]:
    return {layer: (k.to(base.device), v.to(base.device)) for layer, (k, v) in concept.tuned.items()}
