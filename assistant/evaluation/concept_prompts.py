"""What a learned concept is asked in an evaluation, and how the base model and Infusion draw it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..customization.infusion_training import article
from ..customization.concept_prompt import residual_positions, token_positions, write
from ..diffusion.conditions import EMPTY, TEXT
from ..controls.infusion import Infusion, ConceptInstance, residual_mask
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import infusion_guidance, text_guidance
from ..presets import MINIATURE

GUIDANCE, STEPS = MINIATURE.decoder.guidance, MINIATURE.decoder.steps
PROMPTS = {"place": ("{} on the beach", "{} in the forest", "{} in space"),
           "style": ("a pencil sketch of {}", "{} in pixel art", "a watercolour of {}"),
           "worn": ("{} wearing a red hat", "{} with a blue balloon", "{} wearing green sunglasses"),
           "moment": ("{} at night", "{} jumping in the snow", "{} resting at sunset")}
LINES = tuple(line for lines in PROMPTS.values() for line in lines)


def said(line: str, phrase: str) -> str:
    """A line of PROMPTS with words, or a <name>, in it."""
    return line.format(f"{article(phrase.strip('<>'))} {phrase}")


def draw_plain(model: LatentDiffusion, lines: Sequence[str], seeds: Sequence[int], steps: int = STEPS, guidance: float = GUIDANCE) -> Tensor:
    """Latents (len(lines), C, h, w) of lines as the base model, or a baseline's copy of it, reads them."""
    context = AttentionContext({TEXT: model.encode_text(list(lines)), EMPTY: model.encode_text([""])})
    with torch.no_grad():
        return model.sample(text_guidance(guidance), context, seeds, steps).latents


def draw_concepts(base: LatentDiffusion, lines: Sequence[str], nouns: Mapping[str, str], learned: Mapping[str, Mapping[str, Tensor]],
                  seeds: Sequence[int], steps: int = STEPS) -> Tensor:
    """The same with Infusion's two streams; lines hold <name>s.

    Args:
        nouns: name -> class noun. learned: name -> residuals.
    """
    written = [write(line, nouns) for line in lines]
    states = base.encode_text([w.text for w in written])
    uses = []
    for name, residuals in learned.items():
        count, length = next(iter(residuals.values())).shape[0], states.shape[1]
        at = [residual_positions(token_positions(base.tokenizer, w.text, w.spans[name]), count, length) if name in w.spans else [()] * count
              for w in written]
        uses.append(ConceptInstance(residuals, torch.cat([residual_mask(positions, length) for positions in at])))
    context = AttentionContext({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion(uses),))
    with torch.no_grad():
        return base.sample(infusion_guidance(GUIDANCE), context, seeds, steps).latents
