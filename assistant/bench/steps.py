"""One guided step of CAFE beside one of stock diffusers: the same UNet object, its weights, dtype, latents and two rows. The peers are
text-to-image by diffusers' own processors, and IP-Adapter by its own, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0

from ..conditioning import PATCHES, SEMANTICS
from ..control.cafe import Cafe, SemanticValues
from ..decoder import sampling
from ..decoder.attention import Seam, cross_layers
from ..decoder.rows import Row, cafe_plan
from .timing import Step


@dataclass(frozen=True)
class Case:
    """What a step is made of.

    Args:
        unet: a UNet2DConditionModel with the seam installed.
        values: V_H of its layers.
        text, patches: number of tokens of a prompt, and of E(x).
    """

    unet: torch.nn.Module
    values: SemanticValues
    text: int = 77
    patches: int = 257

    @property
    def side(self) -> tuple[int, int]:
        side = self.unet.config.sample_size
        return (side, side) if isinstance(side, int) else tuple(side)

    def drawn(self, *shape: int, seed: int = 0) -> torch.Tensor:
        """Random numbers of the UNet's kind, the same on every device."""
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(self.unet.device, self.unet.dtype)

    def latents(self, rows: int) -> torch.Tensor:
        return self.drawn(1, self.unet.config.in_channels, *self.side).repeat(rows, 1, 1, 1)

    def conditions(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """E(x) and F(w), of numbers of unit size: (1, patches, d_E), (1, d_F)."""
        linear = next(iter(self.values.layers.values()))
        return ({PATCHES: self.drawn(1, self.patches, self.unet.config.cross_attention_dim, seed=1)},
                {SEMANTICS: self.drawn(1, linear.in_features, seed=2)})


def cafe_step(case: Case, rows: Sequence[Row] = cafe_plan(2.0, 2.0).rows, cache: bool = True, unet: Any = None,
              predict: Callable[..., torch.Tensor] = sampling.predict) -> Step:
    """As the sampler runs it: K and V kept (unless not `cache`), all rows at once. `unet`: what is called in the place of the case's own."""
    seam, batch, t = Seam(*case.conditions(), (Cafe(case.values),), cache=cache), case.latents(len(rows)), _middle(case)
    called, ours = case.unet if unet is None else unet, dict(case.unet.attn_processors)
    return Step(lambda: predict(called, batch, t, seam.begin(rows, 1, 0, 20)), _with(case.unet, ours))


def stock_step(case: Case, tokens: int | None = None) -> Step:
    """Text-to-image of stock diffusers, two rows of `tokens` text tokens, as its pipelines run it."""
    batch, t = case.latents(2), _middle(case)
    states = case.drawn(2, tokens or case.text, case.unet.config.cross_attention_dim, seed=3)
    stock = {name: AttnProcessor2_0() for name in case.unet.attn_processors}

    @torch.no_grad()
    def run() -> torch.Tensor:
        return case.unet(batch, t, states, return_dict=False)[0]

    return Step(run, _with(case.unet, stock))


def ip_adapter_step(case: Case, tokens: int | None = None) -> Step:
    """IP-Adapter of stock diffusers on every cross-attention layer: a prompt, and `tokens` image tokens (as many as E(x) has, unless said
    otherwise). Its projection of the picture, which the pipeline repeats at each step, is left out."""
    unet, count = case.unet, tokens or case.patches
    width, batch, t = unet.config.cross_attention_dim, case.latents(2), _middle(case)
    words, picture = case.drawn(2, case.text, width, seed=3), case.drawn(2, count, width, seed=4)
    processors: dict[str, Any] = {name: AttnProcessor2_0() for name in unet.attn_processors}
    for name, attn in cross_layers(unet).items():
        made = IPAdapterAttnProcessor2_0(attn.inner_dim, attn.cross_attention_dim, (count,), 1.0)
        processors[f"{name}.processor"] = made.to(unet.device, unet.dtype).eval().requires_grad_(False)

    @torch.no_grad()
    def run() -> torch.Tensor:
        return unet(batch, t, (words, [picture]), return_dict=False)[0]

    return Step(run, _with(unet, processors))


def _middle(case: Case) -> torch.Tensor:
    return torch.tensor(500, device=case.unet.device)


def _with(unet: torch.nn.Module, processors: Mapping[str, Any]):
    # set_attn_processor empties the dict that it is given.
    return lambda: unet.set_attn_processor(dict(processors))
