"""CAFE's two-source cross-attention (eq. 1) as a plug of the seam; it knows no images, words or guidance.

z' = softmax(Q K_H^T / sqrt d) V_H + softmax(Q K_E^T / sqrt d) V_E

The second term is the layer's own attention over E(x): its `to_k` and `to_v` read d_E. The first softmax runs over a
single token, so it is 1 for every query whatever K_H is, and the term is V_H broadcast: K_H need not exist.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from assistant.conditioning import PATCHES, SEMANTICS
from assistant.decoder.attention import Call, Control, Seam, cross_layers
from assistant.decoder.rows import Row


class SemanticValues(nn.Module):
    """V_H of every cross-attention layer: a linear map of F(w) or H(s) each, zero before training.

    Args:
        widths: cross-attention layer's name in the UNet -> width of its values (heads * d).
        width: d_F.
    """

    def __init__(self, widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        # A module's name may hold no dot, and a layer's name holds no dash.
        self.layers = nn.ModuleDict({_key(name): nn.Linear(width, inner, bias=False) for name, inner in widths.items()})
        for linear in self.layers.values():
            # The decoder starts as one that sees E(x) only, and the gradient of these weights is not zero there.
            nn.init.zeros_(linear.weight)

    @classmethod
    def of(cls, unet: nn.Module, width: int) -> SemanticValues:
        """Values that fit a UNet2DConditionModel's cross-attention layers, for vectors of `width` = d_F."""
        return cls({name: attn.inner_dim for name, attn in cross_layers(unet).items()}, width)

    def forward(self, layer: str, vector: torch.Tensor) -> torch.Tensor:
        """(b, d_F) -> V_H of `layer`, (b, heads * d)."""
        linear = self.layers[_key(layer)]
        return linear(vector.to(linear.weight.dtype))


class Cafe(Control):
    """Adds V_H to every cross-attention layer's output, before its `to_out`, in the rows that see a vector.

    Args:
        values: V_H of each layer.
        patches: multiplier of the E(x) term, one number or (images,); 0 drops it exactly.
        semantics: multiplier of the V_H term, likewise.
    """

    def __init__(
        self, values: SemanticValues, patches: float | torch.Tensor = 1.0, semantics: float | torch.Tensor = 1.0
    ) -> None:
        self.values, self.patches, self.semantics = values, patches, semantics

    def after(self, call: Call, out: torch.Tensor) -> torch.Tensor:
        """`out` is the E(x) term, (rows * images, heads, Nq, d), zero in the rows that do not see E(x)."""
        if not call.cross:
            return out
        rows = call.seam.rows
        if isinstance(self.patches, torch.Tensor):
            out = out * self.patches.to(out).repeat(len(rows)).view(-1, 1, 1, 1)
        elif self.patches != 1.0:
            out = out * self.patches
        key = (call.layer, "V_H", tuple(row.vector for row in rows), call.seam.images)
        term = call.seam.once(key, lambda: self._term(call, out.dtype))
        return out if term is None else out + term

    def _term(self, call: Call, dtype: torch.dtype) -> torch.Tensor | None:
        """The V_H term of the batch, (rows * images, heads, 1, d) to be broadcast over queries; None: no row has it."""
        seam = call.seam
        names = [row.vector for row in seam.rows]
        seen = {name: self.values(call.layer, seam.vectors[name]) for name in names if name is not None}
        if not seen:
            return None
        like = next(iter(seen.values()))
        scale = torch.as_tensor(self.semantics, dtype=dtype, device=like.device).view(-1, 1)
        nothing = like.new_zeros(seam.images, like.shape[-1])
        rows = [nothing if name is None else (seen[name] * scale).expand(seam.images, -1) for name in names]
        return torch.cat(rows).unflatten(-1, (call.attn.heads, -1)).unsqueeze(2).to(dtype)


def training_seam(
    values: SemanticValues,
    patches: torch.Tensor,
    semantics: torch.Tensor,
    keep_patches: torch.Tensor,
    keep_semantics: torch.Tensor,
) -> Seam:
    """The seam of one training step: a batch of images with conditions of their own, sources dropped one by one.

    Args:
        patches: E(x), (B, 257, d_E). semantics: F(target), (B, d_F).
        keep_patches, keep_semantics: (B,), 1 to keep and 0 to drop.
    """
    control = Cafe(values, keep_patches, keep_semantics)
    seam = Seam({PATCHES: patches}, {SEMANTICS: semantics}, (control,), cache=False)
    return seam.begin((Row("training", tokens=PATCHES, vector=SEMANTICS),), images=patches.shape[0])


def _key(layer: str) -> str:
    return layer.replace(".", "-")
