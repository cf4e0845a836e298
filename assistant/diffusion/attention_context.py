"""What one request carries through the attention layers: its conditions, the rows of the batch, the controls and what is kept.

It knows rows, keys and values; it does not know what any control is for, nor who calls it: that is attention.py's processor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .guidance import BatchRow
from ..errors import ConfigError


@dataclass(frozen=True)
class CachedKV:
    """Consecutive entries of one layer's batch, as every step of a request treats them where no control edits or merges anything."""

    entries: slice
    terms: tuple[tuple[torch.Tensor, torch.Tensor], ...]  # K, V to attend to, (entries, heads, N, d) each; their outputs are added
    constant: torch.Tensor | None  # (entries, 1, C), added behind `to_out`; without terms it is all there is


class AttentionContext:
    """Everything one request carries through the attention layers.

    Args:
        tokens: name -> (1 or images, N, d), the sources that rows attend to (`BatchRow.tokens`).
        vectors: name -> (1 or images, d), the sources of one vector (`BatchRow.vector`).
        controls: applied in this order.
        cache: keep what does not change from step to step. False where gradients flow or weights change.
        tuned: cross-attention layer -> (dK, dV), (heads * d, width) each, added to the weights of its `to_k` and `to_v`: a
            fine-tuned model for this request alone, while the shared one stays as it is. A layer may be left out.
    """

    def __init__(
        self,
        tokens: Mapping[str, torch.Tensor],
        vectors: Mapping[str, torch.Tensor] | None = None,
        controls: Sequence[AttentionControl] = (),
        cache: bool = True,
        tuned: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        self.tokens = dict(tokens)
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
                    raise ConfigError(f"The row '{row.name}' sees '{name}', which this request does not have.")
                if name is not None and held[name].shape[0] not in (1, images):
                    raise ConfigError(f"'{name}' is of {held[name].shape[0]} images, but {images} are drawn.")
        self.rows, self.images, self.step, self.steps = tuple(rows), images, step, steps
        self.spans = {row.name: slice(i * images, (i + 1) * images) for i, row in enumerate(rows)}
        if (self.rows, images) not in self._batches:
            acting = [control for control in self.controls if control.is_active(self.spans.keys())]
            self._batches[self.rows, images] = len(self._batches), group_by_hook(acting)
        self.batch, (self.mapping, self.replacing, self.merging, self.adding, self.shifting) = self._batches[self.rows, images]
        self.plain = not (self.mapping or self.replacing or self.merging)
        return self

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

    def __init__(self, layer: str, attn: Any, context: AttentionContext, hidden: torch.Tensor | None) -> None:
        self.layer, self.attn, self.context = layer, attn, context
        self.cross: bool = attn.is_cross_attention
        self.maps: dict[str, torch.Tensor] = {}
        self._hidden = hidden  # (rows * images, Nq, C); None where only what does not depend on it is asked for
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
        key, value = self.context.key_value(self.layer, self.attn, (row.tokens,))
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
            tokens = context.tokens[row.tokens].shape[1] if self.cross else self._hidden.shape[1]
            if tokens == length:
                found[-1][1] = i + 1
            else:
                found.append([i, i + 1])
            length = tokens
        spans = [(a, b, slice(a * images, b * images)) for a, b in found]
        if self._own is not None:
            return [(span, self._own[0][span], self._own[1][span]) for _, _, span in spans]
        sources = [tuple(row.tokens for row in context.rows[a:b]) for a, b, _ in spans]
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
            alone = linear(sum(shifts).to(like.dtype).unsqueeze(1))
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
            terms = [] if rows[0].tokens is None else [context.key_value(self.layer, self.attn, tuple(row.tokens for row in rows))]
            terms += [tuple(torch.cat([b[row.name][which].expand(images, -1, -1, -1) for row in rows]) for which in (0, 1))
                      for b in beside if rows[0].name in b]
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


def _heads(attn: Any, flat: torch.Tensor, norm: torch.nn.Module | None) -> torch.Tensor:
    """(batch, N, heads * d) -> (batch, heads, N, d), with the layer's own norm if it has one."""
    split = flat.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return split if norm is None else norm(split)


def key_value(
    attn: Any, context: torch.Tensor, tuned: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
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
