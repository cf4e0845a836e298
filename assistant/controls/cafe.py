"""CAFE's two-source cross-attention (eq. 1) as a plug of the attention context; it knows no images, words or guidance.

z' = softmax(Q K_H^T / sqrt d) V_H + softmax(Q K_E^T / sqrt d) V_E

The second term is the layer's own attention over E(x): its `to_k` and `to_v` read d_E. The first softmax runs over a
single token, so it is 1 for every query whatever K_H is, and the term is V_H broadcast: K_H need not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..diffusion.guidance import PATCHES, SEMANTICS, BatchRow
from ..diffusion.attention import AttentionCall, AttentionContext, AttentionControl, cross_layers


class SemanticValues(nn.Module):
    """V_H of every cross-attention layer: a linear map of F(w) or H(s) each, zero before training.

    Args:
        widths: cross-attention layer's name in the UNet -> width of its values (heads * d).
        width: d_F.
    """

    def __init__(self, widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        # A module's name may hold no dot, and a layer's name holds no dash.
        linears = {_key(name): nn.Linear(width, inner, bias=False) for name, inner in widths.items()}
        for linear in linears.values():
            # The decoder starts as one that sees E(x) only, and the gradient of these weights is not zero there.
            nn.init.zeros_(linear.weight)
        self.layers = nn.ModuleDict(linears)

    @classmethod
    def of(cls, unet: Any, width: int) -> SemanticValues:
        """Values that fit a UNet2DConditionModel's cross-attention layers, for vectors of `width` = d_F."""
        return cls({name: attn.inner_dim for name, attn in cross_layers(unet).items()}, width)

    def forward(self, layer: str, vector: torch.Tensor) -> torch.Tensor:
        """(b, d_F) -> V_H of `layer`, (b, heads * d)."""
        linear: Any = self.layers[_key(layer)]
        return linear(vector.to(linear.weight.dtype))


class Cafe(AttentionControl):
    """Adds V_H to every cross-attention layer, in the rows that see a vector.

    Args:
        values: V_H of each layer.
        strength: multiplier of V_H, one number or (images,); 0 drops it exactly.
    """

    def __init__(self, values: SemanticValues, strength: float | torch.Tensor = 1.0) -> None:
        self.values, self.strength = values, strength

    def output_bias(self, call: AttentionCall) -> torch.Tensor | None:
        """(rows * images, heads * d), zero in the rows that see no vector; None: no row does."""
        context = call.context
        names = [row.vector for row in context.rows]
        if not any(names):
            return None
        seen = {name: self.values(call.layer, context.vectors[name]) for name in dict.fromkeys(names) if name is not None}
        like = next(iter(seen.values()))
        scale = torch.as_tensor(self.strength, dtype=like.dtype, device=like.device).view(-1, 1)
        nothing = like.new_zeros(context.images, like.shape[-1])
        return torch.cat([nothing if name is None else (seen[name] * scale).expand(context.images, -1) for name in names])


class PatchScale(AttentionControl):
    """Multiplies what a cross-attention layer gathers from E(x).

    Args:
        keep: one number or (images,); 0 drops E(x) exactly.
    """

    def __init__(self, keep: float | torch.Tensor) -> None:
        self.keep = keep

    def post_attention(self, call: AttentionCall, out: torch.Tensor) -> torch.Tensor:
        """`out` is the E(x) term, (rows * images, heads, Nq, d)."""
        if not call.cross:
            return out
        keep = torch.as_tensor(self.keep, dtype=out.dtype, device=out.device).expand(call.context.images)
        return out * keep.repeat(len(call.context.rows)).view(-1, 1, 1, 1)


def training_context(values: SemanticValues, patches: torch.Tensor, semantics: torch.Tensor, keep_patches: torch.Tensor,
                     keep_semantics: torch.Tensor) -> AttentionContext:
    """The attention context of one training step: a batch of images with conditions of their own, sources dropped one by one.

    Args:
        patches: E(x), (B, 257, d_E). semantics: F(target), (B, d_F).
        keep_patches, keep_semantics: (B,), 1 to keep and 0 to drop.
    """
    controls = (PatchScale(keep_patches), Cafe(values, keep_semantics))
    context = AttentionContext({PATCHES: patches}, {SEMANTICS: semantics}, controls, cache=False)
    return context.begin((BatchRow("training", tokens=PATCHES, vector=SEMANTICS),), images=patches.shape[0])


def _key(layer: str) -> str:
    return layer.replace(".", "-")
