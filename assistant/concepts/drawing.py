"""A prompt with learned concepts in it, made ready for the base model's sampler: what is read, which rows, which controls.

Knows no requests, no settings and no files: concepts come as values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assistant.concepts.file import Concept
from assistant.concepts.prompt import Written, residual_positions, token_positions, write
from assistant.conditioning import EMPTY, TEXT
from assistant.control.infusion import Infusion, TokenAttention, Use, placed
from assistant.decoder.attention import Seam
from assistant.decoder.diffusion import Diffusion
from assistant.decoder.rows import Plan, infusion_plan
from assistant.decoder.sampling import Denoised, Flag, OnStep
from assistant.errors import ConceptError

STRONGEST = 2.0  # strength of a concept; 1 is as it was learned, 0 is the base model


@dataclass(frozen=True, eq=False)
class Ready:
    """All that `draw` needs of one prompt; used up by one drawing."""

    base: Diffusion
    written: Written
    plan: Plan
    seam: Seam
    strengths: Mapping[str, float]  # of the concepts in it, by their own names
    heard: TokenAttention | None  # where their words are

    def draw(self, seeds: Sequence[int], steps: int, scheduler: str = "dpm++", on_step: OnStep | None = None, preview_every: int = 0,
             cancel: Flag | None = None) -> Denoised:
        """As `Diffusion.sample`; both streams start from the same noise."""
        return self.base.sample(self.plan, self.seam, seeds, steps, scheduler, on_step, preview_every, cancel)


def ready(base: Diffusion, prompt: str, nouns: Mapping[str, str], get: Callable[[str], Concept], guidance: float,
          strengths: Mapping[str, float] | None = None, look: bool = False) -> Ready:
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
        if not isinstance(concept, Concept):
            raise ConceptError(f"<{name}> was learned for the slider alone and is not drawn this way.", "Learn it for several in one picture too, in Concepts.")
        count = next(iter(concept.residuals.values())).shape[0]
        for span in spans:
            own = token_positions(base.tokenizer, written.text, [span])
            words.update(own)
            where = placed(residual_positions(own, count, length), length, strong[name])
            uses.append(Use({layer: r.to(base.device) for layer, r in concept.residuals.items()}, where.to(base.device)))
    heard = TokenAttention(words) if look else None
    seam = Seam({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion(uses), *([heard] if heard else [])))
    return Ready(base, written, infusion_plan(guidance), seam, strong, heard)
