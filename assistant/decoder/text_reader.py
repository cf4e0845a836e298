"""Reads the base model's text states into the names that a first guess draws, through the seam: words in, names out.

One learned query a name attends to the prompt in a cross-attention layer like any of the UNet's: what a control does to keys,
values and maps there reaches the names as it reaches the UNet. What the words leave open is decided by lot, from the seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from assistant.config import GuessConfig
from assistant.decoder.attention import Seam, SeamProcessor
from assistant.decoder.first_guess import scene_names, subject_names

LAYER = "first_guess.attn2"  # its name in the seam
GAIN = 16.0  # queries start near zero, so that each name first sees the sum of all words, not their faint mean, and sharpens later


class TextReader(nn.Module):
    """Rows of a seam -> logits of every name.

    Args:
        text_width: of the text encoder's states.
        config: how many there are of each name.
    """

    def __init__(self, text_width: int, config: GuessConfig) -> None:
        super().__init__()
        self.counts, width = {**scene_names(config), **subject_names(config)}, config.text_width
        self.queries = nn.Parameter(0.02 * torch.randn(len(self.counts), width))
        self.attn2 = Attention(width, text_width, heads=config.text_heads, dim_head=width // config.text_heads)
        self.attn2.set_processor(SeamProcessor(LAYER))
        self.attn2.where_queries = len(scene_names(config))  # the first of them ask for the scene, the rest for the subject
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.out = nn.ModuleDict({name: nn.Linear(width, n) for name, n in self.counts.items()})
        self.register_buffer("pairs", torch.zeros(config.colours, config.colours))  # log odds of a second colour beside a first

    def forward(self, seam: Seam) -> dict[str, Tensor]:
        """What the seam's rows say, as it was last begun: name -> (rows * images, count)."""
        hidden = self.queries.expand(len(seam.rows) * seam.images, -1, -1)  # (rows * images, names, width)
        hidden = GAIN * self.attn2(hidden, seam=seam)
        hidden = hidden + self.mix(hidden)
        return {name: self.out[name](hidden[:, k]) for k, name in enumerate(self.counts)}

    def decide(self, logits: Mapping[str, Tensor], seeds: Sequence[int]) -> dict[str, Tensor]:
        """One of each name, drawn as likely as its logits (B, count) say, image k from seeds[k]: one-hots (B, count).

        Two names depend on each other: the second colour is drawn beside the first, that it may be seen.
        """
        lots: dict[str, list[Tensor]] = {name: [] for name in self.counts}
        for seed in seeds:
            generator = torch.Generator("cpu").manual_seed(seed)
            for name, n in self.counts.items():
                lots[name].append(-torch.empty(n).exponential_(generator=generator).log())  # Gumbel: the largest sum wins
        chosen: dict[str, Tensor] = {}
        for name in sorted(self.counts, key=lambda name: name == "second"):
            found = logits[name].float()
            if name == "second":
                found = found.log_softmax(1) + chosen["colour"] @ self.pairs.float()
            winner = (found + torch.stack(lots[name]).to(found)).argmax(1)
            chosen[name] = nn.functional.one_hot(winner, found.shape[1]).to(logits[name].dtype)
        return chosen
