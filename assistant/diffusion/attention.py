"""THE SEAM: one attention processor through which every control reaches every attention layer of a UNet.

It knows layers; it does not know what any control is for, nor schedulers nor guidance.
A processor holds nothing but its layer's name and kernel. All that belongs to one request travels in one `AttentionContext` (attention_context.py),
passed to each call of the UNet as `cross_attention_kwargs={"context": context}`; two requests may run interleaved.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from . import attention_backends
from .attention_context import AttentionCall, AttentionControl, AttentionOverride, CachedKV, AttentionContext, flat, key_value, query
from ..errors import ConfigError

__all__ = ["AttentionCall", "AttentionControl", "AttentionOverride", "CachedKV", "AttentionContext", "ControlledAttnProcessor", "cross_layers", "install", "layers"]


class ControlledAttnProcessor:
    """diffusers' attention processor of one layer. Without an attention context it computes what the stock processor computes."""

    def __init__(self, layer: str, kernel: str = "sdpa") -> None:
        self.layer, self.kernel = layer, kernel

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,  # (batch, Nq, C)
        encoder_hidden_states: torch.Tensor | None = None,  # (batch, N, d); not read where an attention context brings its own
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        context: AttentionContext | None = None,
    ) -> torch.Tensor:  # (batch, Nq, C)
        if context is None:
            out = self._stock(attn, hidden_states, encoder_hidden_states, attention_mask)
        else:
            if attention_mask is not None:
                raise ConfigError("An attention context takes no attention mask.", "Hand over only the tokens to attend to.")
            if hidden_states.shape[0] != len(context.rows) * context.images:
                raise ConfigError(
                    f"The batch has {hidden_states.shape[0]} entries, the attention context {len(context.rows)}x{context.images}."
                )
            out = self._plain(attn, hidden_states, context) if context.plain else self._controlled(attn, hidden_states, context)
        out = attn.to_out[1](out)
        if attn.residual_connection:
            out = out + hidden_states
        return out if attn.rescale_output_factor == 1.0 else out / attn.rescale_output_factor

    def _stock(self, attn: Any, hidden: torch.Tensor, context: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attention and `to_out`'s linear map, (batch, Nq, C), of every entry to its own tokens."""
        key, value = key_value(attn, hidden if context is None else context)
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, key.shape[2], key.shape[0])
            mask = mask.view(key.shape[0], attn.heads, -1, mask.shape[-1])
        return attn.to_out[0](flat(attention_backends.attend(self.kernel, query(attn, hidden), key, value, attn.scale, mask)))

    def _plain(self, attn: Any, hidden: torch.Tensor, context: AttentionContext) -> torch.Tensor:
        """The same with an attention context whose controls have no say from step to step: all but the queries is held since the first."""
        if not attn.is_cross_attention:
            return self._stock(attn, hidden)
        outs = []
        for part in context.parts(self.layer, attn):
            if not part.terms:
                outs.append(part.constant.expand(-1, hidden.shape[1], -1))
                continue
            q = query(attn, hidden[part.entries])
            attended = [attention_backends.attend(self.kernel, q, key, value, attn.scale) for key, value in part.terms]
            out = attn.to_out[0](flat(attended[0] if len(attended) == 1 else sum(attended)))
            outs.append(out if part.constant is None else out + part.constant)
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def _controlled(self, attn: Any, hidden: torch.Tensor, context: AttentionContext) -> torch.Tensor:
        """The same with controls that edit, see or merge: rows stay apart in heads until all have had their say."""
        call = AttentionCall(self.layer, attn, context, hidden)
        pieces: dict[int, torch.Tensor] = {}  # first batch entry -> (entries, heads, Nq, d)
        apart = self._replaced(call, pieces)
        for span, key, value in call.runs(apart):
            pieces[span.start] = attention_backends.attend(self.kernel, call.queries(span), key, value, attn.scale)
        out = call.joined(pieces)
        for name, (key, value) in [item for found in (call.extra_kv() if call.cross else ()) for item in found.items()]:
            span = call.span(name)
            term = attention_backends.attend(self.kernel, call.query[span], key.expand(context.images, -1, -1, -1), value.expand(context.images, -1, -1, -1), attn.scale)
            out = out + call.joined({span.start: term})
        for control in context.merging:
            out = control.post_attention(call, out)
        out = attn.to_out[0](flat(out))
        moved = call.constant()[1] if call.cross and context.shifting else None
        return out if moved is None else out + moved

    def _replaced(self, call: AttentionCall, pieces: dict[int, torch.Tensor]) -> set[str]:
        """Puts the attentions that controls replace, or want a map of, into `pieces`. Returns the names of their rows."""
        context, scale = call.context, call.attn.scale
        jobs = [job for control in context.replacing for job in control.replace(call)]
        taken = [name for job in jobs for name in job.targets]
        if len(set(taken)) < len(taken):
            raise ConfigError(f"Two controls replace the attention of one row: {taken}.")
        mapped = {name for control in context.mapping for name in control.maps(call)}
        for row in context.rows:
            if row.name in mapped and row.name not in taken and not (call.cross and row.tokens is None):
                jobs.append(AttentionOverride(call.query[call.span(row.name)], *call.key_value(row.name), (row.name,)))
        for job in jobs:
            if mapped.isdisjoint(job.targets):
                whole = attention_backends.attend(self.kernel, job.query, job.key, job.value, scale)
            else:
                whole, probabilities = attention_backends.attend_with_map(job.query, job.key, job.value, scale)
                call.maps.update(dict.fromkeys(job.targets, probabilities))
            for name, part in zip(job.targets, whole.chunk(len(job.targets), dim=-1)):
                pieces[call.span(name).start] = part
        return {name for job in jobs for name in job.targets}


# diffusers reads the signature at each call of each layer; kept here, it need not be taken apart each time.
ControlledAttnProcessor.__call__.__signature__ = inspect.signature(ControlledAttnProcessor.__call__)


def install(unet: torch.nn.Module, kernel: str = "auto") -> None:
    """Put a `ControlledAttnProcessor` on every attention layer of a UNet.

    Args:
        unet: a UNet2DConditionModel; changed in place.
        kernel: one of kernels.KERNELS.

    Raises:
        ConfigError: an unknown kernel, or an attention layer of a kind that the attention context does not serve.
        DeviceError: xformers asked for where its kernels do not run.
    """
    kernel = attention_backends.choose(kernel, next(unet.parameters()))
    for name, attn in layers(unet).items():
        odd = [part for part in ("group_norm", "spatial_norm", "add_k_proj") if getattr(attn, part) is not None]
        if odd or attn.inner_kv_dim != attn.inner_dim:
            raise ConfigError(f"The attention layer '{name}' is of a kind the decoder does not serve: {odd}.")
    # set_attn_processor empties the dict it is given and wants every key.
    unet.set_attn_processor({f"{name}.processor": ControlledAttnProcessor(name, kernel) for name in layers(unet)})


def cross_layers(unet: torch.nn.Module) -> dict[str, Any]:
    """The cross-attention layers by name, in the order of `named_modules`."""
    return {name: attn for name, attn in layers(unet).items() if attn.is_cross_attention}


def layers(unet: torch.nn.Module) -> dict[str, Any]:
    """The attention layers by name."""
    names = (key.removesuffix(".processor") for key in unet.attn_processors)
    return {name: unet.get_submodule(name) for name in names}
