"""A prompt with learned concepts in it, made ready for the base model's sampler: what is read, which rows, which controls.

Knows no requests, no settings and no files: concepts come as values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .infusion_file import InfusionConcept
from .concept_prompt import ResolvedPrompt, residual_positions, token_positions, write
from ..diffusion.conditions import EMPTY, TEXT
from ..controls.infusion import Infusion, TokenAttention, ConceptInstance, residual_mask
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import GuidancePlan, infusion_guidance
from ..diffusion.sampler import Denoised, CancelFlag, OnStep
from ..errors import ConceptError

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
          strengths: Mapping[str, float] | None = None, look: bool = False) -> InfusionSampling:
    """Put concepts where they stand (eq. 9): each acts at its own words only, with its own strength.

    Args:
        prompt: with <name>s.
        nouns: name -> class noun of every concept there is.
        get: the concept of a name.
        guidance: of both streams.
        strengths: name -> strength, 0 to STRONGEST; one that is not named has 1.
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
            where = residual_mask(residual_positions(own, count, length), length, strong[name])
            uses.append(ConceptInstance({layer: r.to(base.device) for layer, r in concept.residuals.items()}, where.to(base.device)))
    heard = TokenAttention(words) if look else None
    context = AttentionContext({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion(uses), *([heard] if heard else [])))
    return InfusionSampling(base, written, infusion_guidance(guidance), context, strong, heard)
