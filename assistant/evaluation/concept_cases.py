"""What a learned concept is asked in an evaluation, and how the base model and Infusion draw it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..concepts.learning import article
from ..concepts.prompt import residual_positions, token_positions, write
from ..conditioning import EMPTY, TEXT
from ..control.infusion import Infusion, Use, placed
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import infusion_plan, text_plan
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


def draw_plain(model: Diffusion, lines: Sequence[str], seeds: Sequence[int], steps: int = STEPS) -> Tensor:
    """Latents (len(lines), C, h, w) of lines as the base model, or a baseline's copy of it, reads them."""
    seam = Seam({TEXT: model.encode_text(list(lines)), EMPTY: model.encode_text([""])})
    with torch.no_grad():
        return model.sample(text_plan(GUIDANCE), seam, seeds, steps).latents


def draw_concepts(base: Diffusion, lines: Sequence[str], nouns: Mapping[str, str], learned: Mapping[str, Mapping[str, Tensor]],
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
        uses.append(Use(residuals, torch.cat([placed(positions, length) for positions in at])))
    seam = Seam({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion(uses),))
    with torch.no_grad():
        return base.sample(infusion_plan(GUIDANCE), seam, seeds, steps).latents
