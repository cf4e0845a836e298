"""One attention processor through which every control reaches every attention layer of a UNet, what a request carries through it, and the kernels.

A processor holds nothing but its layer's name and kernel. All that belongs to one request (its conditions, the rows of the batch, the controls and what is kept)
travels in one `AttentionContext`, passed to each call of the UNet as `cross_attention_kwargs={"context": context}`; two requests may run interleaved.

softmax(Q K^T * scale) V is computed by the kernel that was chosen. "sdpa" is torch's scaled_dot_product_attention, which chooses among its own kernels by rules. The
others name one kernel: which is fastest for a shape on a card is measured (`acceleration.fit`), not known.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import ConfigError, DeviceError
from .guidance import BatchRow


@dataclass(frozen=True)
class CachedKV:
    """Consecutive entries of one layer's batch, as every step of a request treats them where no control edits or merges anything."""

    entries: slice
    terms: tuple[tuple[torch.Tensor, torch.Tensor], ...]  # K, V to attend to, (entries, heads, N, d) each; their outputs are added
    constant: torch.Tensor | None  # (entries, 1, C), added behind `to_out`; without terms it is all there is


TIME_IDS = 6  # of SDXL (Podell et al., 2023, arXiv 2307.01952, section 2.2): a picture's size, where it was cropped, and the size it shall have


@dataclass(frozen=True, eq=False)
class TextStates:
    """Text states of a UNet that is also told of a prompt beside attention (SDXL); indexed, split and blended as a batch of prompts, like a tensor.

    Attributes:
        states: (b, N, d). added: (b, d_pooled + TIME_IDS), the pooled embedding and the time ids, pixels.
    """

    states: torch.Tensor
    added: torch.Tensor

    shape = property(lambda self: self.states.shape)
    device = property(lambda self: self.states.device)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, at: Any) -> TextStates:
        return TextStates(self.states[at], self.added[at])

    def __add__(self, other: TextStates) -> TextStates:
        return TextStates(self.states + other.states, self.added + other.added)

    def __sub__(self, other: TextStates) -> TextStates:
        return self + -1.0 * other

    def __rmul__(self, weight: float) -> TextStates:
        return TextStates(weight * self.states, weight * self.added)

    def split(self, count: int) -> list[TextStates]:
        return [TextStates(*parts) for parts in zip(self.states.split(count), self.added.split(count))]


def join_states(several: Sequence[torch.Tensor | TextStates]) -> torch.Tensor | TextStates:
    """Text states of several batches as one."""
    if doubled := [one for one in several if isinstance(one, TextStates)]:
        return TextStates(torch.cat([one.states for one in doubled]), torch.cat([one.added for one in doubled]))
    return torch.cat([one for one in several if isinstance(one, torch.Tensor)])


class AttentionContext:
    """Everything one request carries through the attention layers.

    Args:
        tokens: name -> (1 or images, N, d), or text states so many, the sources that rows attend to (`BatchRow.tokens`).
        vectors: name -> (1 or images, d), the sources of one vector (`BatchRow.vector`).
        controls: applied in this order.
        cache: keep what does not change from step to step. False where gradients flow or weights change.
        tuned: cross-attention layer -> (dK, dV), (heads * d, width) each, added to the weights of its `to_k` and `to_v`: a
            fine-tuned model for this request alone, while the shared one stays as it is. A layer may be left out.
    """

    def __init__(self, tokens: Mapping[str, torch.Tensor | TextStates], vectors: Mapping[str, torch.Tensor] | None = None,
                 controls: Sequence[AttentionControl] = (), cache: bool = True, tuned: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None) -> None:
        self.tokens = {name: held.states if isinstance(held, TextStates) else held for name, held in tokens.items()}
        self.added = {name: held.added for name, held in tokens.items() if isinstance(held, TextStates)}
        self.vectors = dict(vectors or {})
        self.controls = tuple(controls)
        self.cache, self.tuned = cache, dict(tuned or {})
        self.rows: tuple[BatchRow, ...] = ()
        self.images = 1
        self.step, self.steps = 0, 1
        self.spans: dict[str, slice] = {}  # row -> where its images lie in the batch
        self._kept: dict[Hashable, Any] = {}
        self.batch = 0  # a number for these rows and images: the key of what is kept for them
        self._batches: dict[Hashable, tuple[int, tuple[tuple[AttentionControl, ...], ...]]] = {}
        self.mapping, self.replacing, self.merging, self.adding, self.shifting = group_by_hook(())
        self.plain = True  # no control has a say from step to step: a layer's steps differ in their queries only

    def begin(self, rows: Sequence[BatchRow], images: int, step: int = 0, steps: int = 1) -> AttentionContext:
        """Say what the next call of the UNet holds: `rows` in order, `images` batch entries each.

        Raises:
            ConfigError: a row names a source that the attention context does not hold, or of another number of images.
        """
        for row in rows:
            for name, held in ((row.tokens, self.tokens), (row.vector, self.vectors)):
                if name is not None and name not in held:
                    raise ConfigError(f"The row '{row.name}' sees '{name}', which this request does not have.", "Give the context these tokens, or let the row see others.")
                if name is not None and held[name].shape[0] not in (1, images):
                    raise ConfigError(f"'{name}' is of {held[name].shape[0]} images, but {images} are drawn.", "Give it one entry, or one for each image.")
        self.rows, self.images, self.step, self.steps = tuple(rows), images, step, steps
        self.spans = {row.name: slice(i * images, (i + 1) * images) for i, row in enumerate(rows)}
        if (self.rows, images) not in self._batches:
            acting = [control for control in self.controls if control.is_active(self.spans.keys())]
            self._batches[self.rows, images] = len(self._batches), group_by_hook(acting)
        self.batch, (self.mapping, self.replacing, self.merging, self.adding, self.shifting) = self._batches[self.rows, images]
        self.plain = not (self.mapping or self.replacing or self.merging)
        return self

    def arguments(self) -> dict[str, Any]:
        """What the UNet's next call is given by name."""
        if not self.added:
            return {"cross_attention_kwargs": {"context": self}}
        told = self.once(("added", self.batch), lambda: torch.cat([self.added[row.tokens or ""].expand(self.images, -1) for row in self.rows]))
        return {"cross_attention_kwargs": {"context": self}, "added_cond_kwargs": {"text_embeds": told[:, :-TIME_IDS], "time_ids": told[:, -TIME_IDS:]}}

    def parts(self, layer: str, attn: Any) -> tuple[CachedKV, ...]:
        """What every step needs of a cross-attention layer beside its queries, where the attention context is `plain`."""
        return self.once((layer, self.batch), lambda: AttentionCall(layer, attn, self, None).parts())

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """`compute()`, at its first call for `key` in this request; later the kept result. Always anew uncached."""
        if not self.cache:
            return compute()
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    def key_value(self, layer: str, attn: Any, sources: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V of consecutive rows that attend to `sources`, each (len(sources) * images, heads, N, d).

        A source is projected once however many rows share it, and one for all images is never copied.
        """

        def project(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            # Conditions come as they were encoded, the UNet may be of half precision.
            key, value = key_value(attn, self.tokens[name].to(attn.to_k.weight.dtype), self.tuned.get(layer))
            return (key.contiguous(), value.contiguous()) if self.cache else (key, value)

        distinct = {name: self.once((layer, name), lambda name=name: project(name)) for name in dict.fromkeys(sources)}
        if len(distinct) == 1 and self.tokens[sources[0]].shape[0] == 1:
            count = len(sources) * self.images
            return tuple(t.expand(count, -1, -1, -1) for t in distinct[sources[0]])
        if len(sources) == 1:
            return distinct[sources[0]]

        def gather(which: int) -> torch.Tensor:
            return torch.cat([distinct[name][which].expand(self.images, -1, -1, -1) for name in sources])

        return self.once((layer, sources, self.images), lambda: (gather(0), gather(1)))


class AttentionCall:
    """One attention layer at one step, as controls see it.

    Attributes:
        layer: name as in `unet.named_modules()`. attn: the diffusers layer. context: the request. cross: which kind.
        maps: row name -> (images, heads, Nq, N), filled before `AttentionControl.after`, for the rows asked for.
    """

    def __init__(self, layer: str, attn: Any, context: AttentionContext, hidden: Any) -> None:
        self.layer, self.attn, self.context = layer, attn, context
        self.cross: bool = attn.is_cross_attention
        self.maps: dict[str, torch.Tensor] = {}
        self._hidden: Any = hidden  # a tensor, (rows * images, Nq, C); None where only what does not depend on it is asked for
        self._query: torch.Tensor | None = None
        # A self-attention layer's keys and values, (rows * images, heads, Nq, d).
        self._own = None if self.cross else key_value(attn, hidden)

    @property
    def query(self) -> torch.Tensor:
        """The queries of all rows, (rows * images, heads, Nq, d)."""
        if self._query is None:
            self._query = query(self.attn, self._hidden)
        return self._query

    def queries(self, span: slice) -> torch.Tensor:
        """The queries of some batch entries. Rows that attend to nothing need none, so the others may come alone."""
        return self.query[span] if self._query is not None else query(self.attn, self._hidden[span])

    def has(self, *names: str) -> bool:
        """Whether all these rows are in the batch."""
        return self.context.spans.keys() >= set(names)

    def span(self, name: str) -> slice:
        """Where a row's images lie in the batch."""
        return self.context.spans[name]

    def key_value(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The ordinary K and V of a row that attends to something, each (images, heads, N, d)."""
        if self._own is not None:
            return self._own[0][self.span(name)], self._own[1][self.span(name)]
        (row,) = (row for row in self.context.rows if row.name == name)
        key, value = self.context.key_value(self.layer, self.attn, (row.tokens or "",))
        return key.expand(self.context.images, -1, -1, -1), value.expand(self.context.images, -1, -1, -1)

    def runs(self, apart: Collection[str]) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Ordinary attentions: consecutive rows in as few calls as their numbers of tokens allow, without `apart`.

        Rows without tokens are in none: what they attend to is dropped, their output is zero.
        """
        context, images = self.context, self.context.images
        if self._own is not None and not apart:
            return [(slice(0, len(context.rows) * images), *self._own)]
        found: list[list[int]] = []
        length = None  # of the run that is being extended
        for i, row in enumerate(context.rows):
            if row.name in apart or (self.cross and row.tokens is None):
                length = None
                continue
            tokens = context.tokens[row.tokens or ""].shape[1] if self.cross else self._hidden.shape[1]
            if tokens == length:
                found[-1][1] = i + 1
            else:
                found.append([i, i + 1])
            length = tokens
        spans = [(a, b, slice(a * images, b * images)) for a, b in found]
        if self._own is not None:
            return [(span, self._own[0][span], self._own[1][span]) for _, _, span in spans]
        sources = [tuple(row.tokens or "" for row in context.rows[a:b]) for a, b, _ in spans]
        return [(s, *context.key_value(self.layer, self.attn, names)) for (_, _, s), names in zip(spans, sources)]

    def extra_kv(self) -> list[Mapping[str, tuple[torch.Tensor, torch.Tensor]]]:
        """`AttentionControl.beside` of each control that has it."""
        context = self.context
        return context.once((self.layer, "beside", context.batch), lambda: [control.extra_kv(self) for control in context.adding])

    def constant(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of each entry, (rows * images, 1, C): what the layer gives where nothing is attended to, and what the controls' shift adds
        behind `to_out` where something is. W (attention + shift) + b = (W attention + b) + W shift: the last term never changes."""
        context, linear, like = self.context, self.attn.to_out[0], self.attn.to_k.weight

        def compute() -> tuple[torch.Tensor, torch.Tensor | None]:
            shifts = [shift for control in context.shifting if (shift := control.output_bias(self)) is not None]
            bias = linear(like.new_zeros(1, 1, self.attn.inner_dim)).expand(len(context.rows) * context.images, -1, -1)
            if not shifts:
                return bias, None
            alone = linear(reduce(torch.add, shifts).to(like.dtype).unsqueeze(1))
            return alone, alone - bias

        return context.once((self.layer, "constant", context.batch), compute)

    def parts(self) -> tuple[CachedKV, ...]:
        """The batch of a cross-attention layer in as few parts as its numbers of tokens allow."""
        context, images = self.context, self.context.images
        beside, (alone, moved) = self.extra_kv(), self.constant()
        numbers = [(row.tokens and context.tokens[row.tokens].shape[1], *(row.name in b and b[row.name][0].shape[2] for b in beside))
                   for row in context.rows]  # of tokens; None or False: none
        parts, first = [], 0
        for last in range(1, len(numbers) + 1):
            if last < len(numbers) and numbers[last] == numbers[first]:
                continue
            rows, entries = context.rows[first:last], slice(first * images, last * images)
            terms = [] if rows[0].tokens is None else [context.key_value(self.layer, self.attn, tuple(row.tokens or "" for row in rows))]
            for b in (b for b in beside if rows[0].name in b):
                key, value = (torch.cat([b[row.name][which].expand(images, -1, -1, -1) for row in rows]) for which in (0, 1))
                terms.append((key, value))
            constant = moved if terms else alone
            parts.append(CachedKV(entries, tuple(terms), None if constant is None else constant[entries]))
            first = last
        return tuple(parts)

    def joined(self, pieces: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """The batch's outputs (rows * images, heads, Nq, d) from its pieces (first entry -> output), zero where there is none."""
        batch, queries, _ = self._hidden.shape

        def zeros(entries: int) -> torch.Tensor:
            return self._hidden.new_zeros(entries, self.attn.heads, queries, self.attn.inner_dim // self.attn.heads)

        found, position = [], 0
        for start, piece in sorted(pieces.items(), key=lambda item: item[0]):
            if start > position:
                found.append(zeros(start - position).to(piece.dtype))
            found.append(piece)
            position = start + piece.shape[0]
        if position < batch:
            found.append(zeros(batch - position).to(found[0].dtype if found else self._hidden.dtype))
        return found[0] if len(found) == 1 else torch.cat(found)


def flat(out: torch.Tensor) -> torch.Tensor:
    """(batch, heads, Nq, d) -> (batch, Nq, heads * d)."""
    return out.transpose(1, 2).flatten(2)


def query(attn: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The layer's queries of (batch, Nq, C), (batch, heads, Nq, d)."""
    return _heads(attn, attn.to_q(hidden), attn.norm_q)


def _heads(attn: Any, flat: torch.Tensor, norm: Any) -> torch.Tensor:
    """(batch, N, heads * d) -> (batch, heads, N, d), with the layer's own norm if it has one."""
    split = flat.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return split if norm is None else norm(split)


def key_value(attn: Any, context: torch.Tensor, tuned: tuple[torch.Tensor, torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's keys and values of (batch, N, width), each (batch, heads, N, d); with `AttentionContext.tuned` of the layer."""
    if attn.norm_cross is not None:
        context = attn.norm_encoder_hidden_states(context)
    key, value = attn.to_k(context), attn.to_v(context)
    if tuned is not None:
        key, value = (flat + context @ added.to(context).T for flat, added in zip((key, value), tuned))
    return _heads(attn, key, attn.norm_k), _heads(attn, value, None)


@dataclass(frozen=True)
class AttentionOverride:
    """One attention that replaces the ordinary one of its target rows.

    `value` may carry the values of several rows joined along the feature axis: the same map then serves them all, and
    the output is split evenly among `targets`.
    """

    query: torch.Tensor  # (images, heads, Nq, d)
    key: torch.Tensor  # (images, heads, N, d)
    value: torch.Tensor  # (images, heads, N, d * len(targets))
    targets: tuple[str, ...]  # row names


class AttentionControl:
    """What plugs in. Each method may be left as it is, and then costs nothing; all are called for self- and cross-attention layers."""

    def is_active(self, rows: Collection[str]) -> bool:
        """Whether it has a say where the batch holds rows of these names. Where not, it is not asked, and costs nothing."""
        return True

    def maps(self, call: AttentionCall) -> Collection[str]:
        """Rows whose attention maps this control wants to find in `call.maps` afterwards. Only these are made."""
        return ()

    def replace(self, call: AttentionCall) -> Sequence[AttentionOverride]:
        """Attentions with edited queries, keys or values, in place of the ordinary ones of their targets."""
        return ()

    def extra_kv(self, call: AttentionCall) -> Mapping[str, tuple[torch.Tensor, torch.Tensor]]:
        """Other K and V that a cross-attention layer attends to with the same queries, its output added to the ordinary one.

        Asked for once an image, not at each step.

        Returns:
            row name -> K, V, each (1 or images, heads, N, d).
        """
        return {}

    def post_attention(self, call: AttentionCall, out: torch.Tensor) -> torch.Tensor:
        """Add to, or merge, the rows' outputs before the layer's `to_out`.

        Args:
            out: (rows * images, heads, Nq, d). Must not be changed in place.

        Returns:
            The same shape.
        """
        return out

    def output_bias(self, call: AttentionCall) -> torch.Tensor | None:
        """What is added to a cross-attention layer's outputs whatever the queries are, after every `post_attention`.

        Asked for once an image, not at each step: `to_out` is linear, so what it makes of a shift is kept.

        Returns:
            (rows * images, heads * d), or None.
        """
        return None


def group_by_hook(controls: Sequence[AttentionControl]) -> tuple[tuple[AttentionControl, ...], ...]:
    """Who maps, replaces, merges, adds, shifts: most controls do one of these, and most layers of most steps need ask nobody."""
    return tuple(tuple(control for control in controls if getattr(type(control), method) is not getattr(AttentionControl, method))
                 for method in ("maps", "replace", "post_attention", "extra_kv", "output_bias"))


_TORCHS = {
    "flash": lambda q, k, v, scale: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, False, False, scale=scale)[0],
    "efficient": lambda q, k, v, scale: torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False, 0.0, False, scale=scale)[0],
    "cudnn": lambda q, k, v, scale: torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False, 0.0, False, False, scale=scale)[0],
    "math": lambda q, k, v, scale: attend_with_map(q, k, v, scale)[0],  # in single precision: in half, large scores are infinite
}
KERNELS = ("auto", "sdpa", "xformers", *_TORCHS)


def choose(kernel: str, sample: torch.Tensor) -> str:
    """The kernel that will run on tensors like `sample`; for "auto" it is "sdpa", which runs everywhere, until a probe finds a better one.

    Raises:
        ConfigError: an unknown name.
        DeviceError: a kernel that does not run here.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"There is no attention kernel '{kernel}'.", f"Choose one of {', '.join(KERNELS)}.")
    if kernel in ("auto", "sdpa"):
        return "sdpa"
    reason = refusal(kernel, sample)
    if reason:
        remedy = "Use --attention sdpa" + (", or install the xformers built for this torch on a machine with an NVIDIA GPU."
                                           if kernel == "xformers" else ".")
        raise DeviceError(f"The {kernel} attention kernels do not run on {sample.device} ({reason}).", remedy)
    return kernel


def refusal(kernel: str, sample: torch.Tensor, shape: tuple[int, int, int, int, int] = (1, 1, 8, 8, 64)) -> str:
    """Why a kernel does not run on tensors like `sample` of a shape (batch, heads, Nq, N, d); empty: it runs."""
    batch, heads, queries, tokens, width = shape
    try:
        q = torch.zeros(batch, heads, queries, width, device=sample.device, dtype=sample.dtype)
        k = torch.zeros(batch, heads, tokens, width, device=sample.device, dtype=sample.dtype)
        with torch.inference_mode():
            attend(kernel, q, k, k, width**-0.5)
        if sample.device.type == "cuda":
            torch.cuda.synchronize(sample.device)
    except (ImportError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        return type(error).__name__
    return ""


def attend(
    kernel: str,
    query: torch.Tensor,  # (batch, heads, Nq, d)
    key: torch.Tensor,  # (batch, heads, N, d)
    value: torch.Tensor,  # (batch, heads, N, dv)
    scale: float,
    mask: torch.Tensor | None = None,  # added to the scores, broadcast to (batch, heads, Nq, N)
) -> torch.Tensor:  # (batch, heads, Nq, dv)
    """Attention without its map."""
    if kernel == "xformers":
        from xformers.ops import memory_efficient_attention

        q, k, v = (t.transpose(1, 2) for t in (query, key, value))  # (batch, N, heads, d), as xformers wants it
        return memory_efficient_attention(q, k, v, attn_bias=mask, scale=scale).transpose(1, 2)
    if kernel == "math" and mask is None:
        return _TORCHS["math"](query, key, value, scale)
    # Called by name the others keep nothing for a gradient, and take neither masks nor values of another width than the keys'.
    if kernel in _TORCHS and mask is None and value.shape[-1] == key.shape[-1] and not torch.is_grad_enabled():
        return _TORCHS[kernel](query, key, value, scale)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def attend_with_map(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The same output, and the map itself, (batch, heads, Nq, N), in single precision at least: in half, scores of large queries and keys
    are beyond what it can hold, as in Stable Diffusion 2.1, whose own configuration asks for the same."""
    at_least = torch.promote_types(query.dtype, torch.float32)
    probabilities = (query.to(at_least) @ key.to(at_least).transpose(-1, -2) * scale).softmax(dim=-1)
    return probabilities.to(value.dtype) @ value, probabilities


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
                raise ConfigError(f"The batch has {hidden_states.shape[0]} entries, the attention context {len(context.rows)}x{context.images}.",
                                  "Say with `begin` which rows and how many images the batch holds.")
            out = self._plain(attn, hidden_states, context) if context.plain else self._controlled(attn, hidden_states, context)
        out = attn.to_out[1](out)
        if attn.residual_connection:
            out = out + hidden_states
        return out if attn.rescale_output_factor == 1.0 else out / attn.rescale_output_factor

    def _stock(self, attn: Any, hidden: torch.Tensor, context: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Attention and `to_out`'s linear map, (batch, Nq, C), of every entry to its own tokens."""
        key, value = key_value(attn, hidden if context is None else context)
        if mask is not None:
            ready: torch.Tensor = attn.prepare_attention_mask(mask, key.shape[2], key.shape[0])
            mask = ready.view(key.shape[0], attn.heads, -1, ready.shape[-1])
        return attn.to_out[0](flat(attend(self.kernel, query(attn, hidden), key, value, attn.scale, mask)))

    def _plain(self, attn: Any, hidden: torch.Tensor, context: AttentionContext) -> torch.Tensor:
        """The same with an attention context whose controls have no say from step to step: all but the queries is held since the first."""
        if not attn.is_cross_attention:
            return self._stock(attn, hidden)
        outs = []
        for part in context.parts(self.layer, attn):
            if not part.terms and part.constant is not None:
                outs.append(part.constant.expand(-1, hidden.shape[1], -1))
                continue
            q = query(attn, hidden[part.entries])
            attended = [attend(self.kernel, q, key, value, attn.scale) for key, value in part.terms]
            out = attn.to_out[0](flat(reduce(torch.add, attended)))
            outs.append(out if part.constant is None else out + part.constant)
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def _controlled(self, attn: Any, hidden: torch.Tensor, context: AttentionContext) -> torch.Tensor:
        """The same with controls that edit, see or merge: rows stay apart in heads until all have had their say."""
        call = AttentionCall(self.layer, attn, context, hidden)
        pieces: dict[int, torch.Tensor] = {}  # first batch entry -> (entries, heads, Nq, d)
        apart = self._replaced(call, pieces)
        for span, key, value in call.runs(apart):
            pieces[span.start] = attend(self.kernel, call.queries(span), key, value, attn.scale)
        out = call.joined(pieces)
        for name, (key, value) in [item for found in (call.extra_kv() if call.cross else ()) for item in found.items()]:
            span = call.span(name)
            term = attend(self.kernel, call.query[span], key.expand(context.images, -1, -1, -1), value.expand(context.images, -1, -1, -1), attn.scale)
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
            raise ConfigError(f"Two controls replace the attention of one row: {taken}.", "Leave one of them out.")
        mapped = {name for control in context.mapping for name in control.maps(call)}
        for row in context.rows:
            if row.name in mapped and row.name not in taken and not (call.cross and row.tokens is None):
                jobs.append(AttentionOverride(call.query[call.span(row.name)], *call.key_value(row.name), (row.name,)))
        for job in jobs:
            if mapped.isdisjoint(job.targets):
                whole = attend(self.kernel, job.query, job.key, job.value, scale)
            else:
                whole, probabilities = attend_with_map(job.query, job.key, job.value, scale)
                call.maps.update(dict.fromkeys(job.targets, probabilities))
            for name, part in zip(job.targets, whole.chunk(len(job.targets), dim=-1)):
                pieces[call.span(name).start] = part
        return {name for job in jobs for name in job.targets}


# diffusers reads the signature at each call of each layer; kept here, it need not be taken apart each time.
ControlledAttnProcessor.__call__.__signature__ = inspect.signature(ControlledAttnProcessor.__call__)


def install(unet: Any, kernel: str = "auto") -> None:
    """Put a `ControlledAttnProcessor` on every attention layer of a UNet.

    Args:
        unet: a UNet2DConditionModel; changed in place.
        kernel: one of `KERNELS`.

    Raises:
        ConfigError: an unknown kernel, or an attention layer of a kind that the attention context does not serve.
        DeviceError: xformers asked for where its kernels do not run.
    """
    kernel = choose(kernel, next(unet.parameters()))
    for name, attn in layers(unet).items():
        odd = [part for part in ("group_norm", "spatial_norm", "add_k_proj") if getattr(attn, part) is not None]
        if odd or attn.inner_kv_dim != attn.inner_dim:
            raise ConfigError(f"The attention layer '{name}' is of a kind the decoder does not serve: {odd}.", "Take a UNet without it.")
    # set_attn_processor empties the dict it is given and wants every key.
    unet.set_attn_processor({f"{name}.processor": ControlledAttnProcessor(name, kernel) for name in layers(unet)})


def cross_layers(unet: Any) -> dict[str, Any]:
    """The cross-attention layers by name, in the order of `named_modules`."""
    return {name: attn for name, attn in layers(unet).items() if attn.is_cross_attention}


def layers(unet: Any) -> dict[str, Any]:
    """The attention layers by name."""
    names = (key.removesuffix(".processor") for key in unet.attn_processors)
    return {name: unet.get_submodule(name) for name in names}
