"""Published IP-Adapters (Ye et al., 2023) as plugs of the attention context: attention to a picture's tokens beside the layer's own to the words.

z' = softmax(Q K^T / sqrt d) V + sum_i s_i softmax(Q K_i^T / sqrt d) V_i, which is eq. 1 of CAFE with other sources: the words where
H(s) was, and image tokens made of CLIP's patch features (plus, for E(x)) or of its global embedding (plain, for F(w)). The projections
are diffusers' own modules. Knows no files, no encoder and no guidance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from torch import Tensor, nn

from ..diffusion.attention import AttentionCall, AttentionControl, cross_layers
from ..errors import WeightsError

_HEAD = 64  # width of a head in every published resampler
# Names in a published resampler -> names in diffusers' module; to_kv holds both halves.
_RESAMPLER = ((r"layers\.(\d+)\.0\.norm1\.", r"layers.\1.ln0."), (r"layers\.(\d+)\.0\.norm2\.", r"layers.\1.ln1."),
              (r"layers\.(\d+)\.0\.to_out\.", r"layers.\1.attn.to_out.0."), (r"layers\.(\d+)\.0\.to_", r"layers.\1.attn.to_"),
              (r"layers\.(\d+)\.1\.0\.", r"layers.\1.ff.0."), (r"layers\.(\d+)\.1\.1\.", r"layers.\1.ff.1.net.0.proj."),
              (r"layers\.(\d+)\.1\.3\.", r"layers.\1.ff.1.net.2."))


class Adapter(nn.Module):
    """What one file of an IP-Adapter holds: a projection to image tokens, and K_i and V_i of every cross-attention layer.

    Args:
        projection: what the encoder sees, (b, d_F) or (b, 257, d_E) -> image tokens (b, N, d_text).
        widths: cross-attention layer's name in the UNet -> width of its keys and values (heads * d), in the UNet's order.
        width: d_text.
    """

    def __init__(self, projection: nn.Module, widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.projection, self.order = projection, {name: n for n, name in enumerate(widths)}
        self.layers = nn.ModuleList(nn.ModuleDict({part: nn.Linear(width, inner, bias=False) for part in ("to_k_ip", "to_v_ip")})
                                    for inner in widths.values())

    @classmethod
    def of(cls, unet: Any, projection: nn.Module) -> Adapter:
        """An adapter that fits a UNet2DConditionModel."""
        return cls(projection, {name: attn.inner_dim for name, attn in cross_layers(unet).items()}, unet.config.cross_attention_dim)

    def tokens(self, seen: Tensor) -> Tensor:
        """(b, d_F), or (b, 257, d_E) -> image tokens (b, N, d_text)."""
        return self.projection(seen.to(next(self.projection.parameters()).dtype))

    def key_value(self, layer: str, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(b, N, d_text) -> K_i and V_i of `layer`, each (b, N, heads * d)."""
        part: Any = self.layers[self.order[layer]]
        tokens = tokens.to(part["to_k_ip"].weight.dtype)
        return part["to_k_ip"](tokens), part["to_v_ip"](tokens)

    def load_published(self, tensors: Mapping[str, Tensor], what: str) -> None:
        """Fill the adapter from a file's tensors, `image_proj.*` and `ip_adapter.N.to_k_ip.weight`: N counts 1, 3, 5, ... over the layers.

        Raises:
            WeightsError: a tensor that is missing, of another shape, not finite, or not of this adapter; `what` names the file.
        """
        remedy = "Take the adapter that the preset names, made for its base model."
        given = self.renamed(tensors)
        for name, own in self.state_dict().items():
            there = given.pop(name, None)
            if there is None:
                raise WeightsError(f"The adapter {what} lacks {_theirs(name)}, so it is of another kind or incomplete.", remedy)
            if there.shape != own.shape:
                raise WeightsError(f"In the adapter {what}, {_theirs(name)} is {_size(there)}, but {_size(own)} is needed.", remedy)
            if not bool(there.isfinite().all()):
                raise WeightsError(f"In the adapter {what}, {_theirs(name)} holds numbers that are not finite.", "Download the file again.")
            own.copy_(there)
        if given:
            raise WeightsError(f"The adapter {what} holds {_theirs(next(iter(given)))}, which this kind of adapter has no use for.", remedy)

    @staticmethod
    def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors by the names that an adapter has for them; what is unknown keeps its own."""
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            layer = re.fullmatch(r"ip_adapter\.(\d*[13579])\.(to_[kv]_ip\.weight)", name)
            if layer:
                found[f"layers.{int(layer[1]) // 2}.{layer[2]}"] = tensor
                continue
            if not name.startswith("image_proj."):
                found[name] = tensor
                continue
            inner = re.sub(r"^proj\.", "image_embeds.", name.removeprefix("image_proj."))
            for theirs, ours in _RESAMPLER:
                inner = re.sub(theirs, ours, inner)
            if ".to_kv." in inner:
                found |= {f"projection.{inner.replace('to_kv', part)}": half for part, half in zip(("to_k", "to_v"), tensor.chunk(2))}
            else:
                found[f"projection.{inner}"] = tensor
        return found


class IpAdapter(AttentionControl):
    """Adds s_i softmax(Q K_i^T / sqrt d) V_i to every cross-attention layer's output, before its `to_out`. A scale of 0 costs nothing.

    Args:
        name: tells the adapters of one request apart.
        tokens: what a row attends to (`Row.tokens`) -> the image tokens that such rows see, (1 or images, N, d_text), N alike. Other
            rows see none. diffusers gives the unconditional row tokens too: those of a vector, or of a picture, of zeros.
        scale: s_i, one number or (images,).
    """

    def __init__(self, name: str, adapter: Adapter, tokens: Mapping[str, Tensor], scale: float | Tensor = 1.0) -> None:
        self.name, self.adapter, self.tokens = name, adapter, dict(tokens)
        self.scale = scale
        self._idle = not bool(torch.as_tensor(scale).any())

    def extra_kv(self, call: AttentionCall) -> Mapping[str, tuple[Tensor, Tensor]]:
        """K_i and s_i V_i of every row that sees a picture: scaled here, once, rather than at every step."""
        if self._idle:
            return {}
        made = {name: self._key_value(call, self.tokens[name]) for name in {row.tokens or "" for row in call.context.rows} & self.tokens.keys()}
        return {row.name: made[row.tokens] for row in call.context.rows if row.tokens is not None and row.tokens in made}

    def _key_value(self, call: AttentionCall, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(1 or images, heads, N, d) each."""
        key, value = self.adapter.key_value(call.layer, tokens)
        value = value * torch.as_tensor(self.scale, dtype=value.dtype, device=value.device).view(-1, 1, 1)
        key, value = (flat.unflatten(-1, (call.attn.heads, -1)).transpose(1, 2) for flat in (key, value))
        return key, value


def plus_projection(patch_width: int, text_width: int, tokens: int, hidden: int, depth: int = 4) -> nn.Module:
    """The Resampler: (b, 257, d_E) -> `tokens` image tokens of d_text."""
    return IPAdapterPlusImageProjection(patch_width, text_width, hidden, depth, _HEAD, hidden // _HEAD, tokens)


def _theirs(name: str) -> str:
    """The name in a file of what is called so in an `Adapter`."""
    layer = re.fullmatch(r"layers\.(\d+)\.(to_[kv]_ip\.weight)", name)
    if layer:
        return f"ip_adapter.{2 * int(layer[1]) + 1}.{layer[2]}"
    return re.sub(r"^projection\.", "image_proj.", name).replace(".image_embeds.", ".proj.")


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
