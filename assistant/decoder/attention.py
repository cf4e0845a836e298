"""THE SEAM: one attention processor through which every control reaches every attention layer of a UNet.

It knows layers, rows, keys and values; it does not know what any control is for, nor schedulers nor guidance.
A processor holds nothing but its layer's name and kernel. All that belongs to one request travels in one `Seam`,
passed to each call of the UNet as `cross_attention_kwargs={"seam": seam}`; two requests may run interleaved.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assistant.decoder import kernels
from assistant.decoder.rows import Row
from assistant.errors import ConfigError


@dataclass(frozen=True)
class Job:
    """One attention that replaces the ordinary one of its target rows.

    `value` may carry the values of several rows joined along the feature axis: the same map then serves them all, and
    the output is split evenly among `targets`.
    """

    query: torch.Tensor  # (images, heads, Nq, d)
    key: torch.Tensor  # (images, heads, N, d)
    value: torch.Tensor  # (images, heads, N, d * len(targets))
    targets: tuple[str, ...]  # row names


class Control:
    """What plugs in. Each method may be left as it is, and then costs nothing; all are called for self- and cross-attention layers."""

    def maps(self, call: Call) -> Collection[str]:
        """Rows whose attention maps this control wants to find in `call.maps` afterwards. Only these are made."""
        return ()

    def replace(self, call: Call) -> Sequence[Job]:
        """Attentions with edited queries, keys or values, in place of the ordinary ones of their targets."""
        return ()

    def after(self, call: Call, out: torch.Tensor) -> torch.Tensor:
        """Add to, or merge, the rows' outputs before the layer's `to_out`.

        Args:
            out: (rows * images, heads, Nq, d). Must not be changed in place.

        Returns:
            The same shape.
        """
        return out

    def shift(self, call: Call) -> torch.Tensor | None:
        """What is added to the rows' outputs whatever their queries and tokens are, after every `after`.

        Called once for each batch of rows, not at each step: `to_out` is linear, so what it makes of a shift is kept.

        Returns:
            (rows * images, heads * d), or None.
        """
        return None


class Seam:
    """Everything one request carries through the attention layers.

    Args:
        tokens: name -> (1 or images, N, d), the sources that rows attend to (`Row.tokens`).
        vectors: name -> (1 or images, d), the sources of one vector (`Row.vector`).
        controls: applied in this order.
        cache: keep what does not change from step to step. False where gradients flow or weights change.
        tuned: cross-attention layer -> (dK, dV), (heads * d, width) each, added to the weights of its `to_k` and `to_v`: a
            fine-tuned model for this request alone, while the shared one stays as it is. A layer may be left out.
    """

    def __init__(
        self,
        tokens: Mapping[str, torch.Tensor],
        vectors: Mapping[str, torch.Tensor] | None = None,
        controls: Sequence[Control] = (),
        cache: bool = True,
        tuned: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        self.tokens = dict(tokens)
        self.vectors = dict(vectors or {})
        self.controls = tuple(controls)
        # Who does what; most controls do one thing, and most layers of most steps ask nobody.
        self.mapping, self.replacing, self.merging, self.shifting = (
            tuple(c for c in controls if getattr(type(c), method) is not getattr(Control, method))
            for method in ("maps", "replace", "after", "shift"))
        self.cache, self.tuned = cache, dict(tuned or {})
        self.rows: tuple[Row, ...] = ()
        self.images = 1
        self.step, self.steps = 0, 1
        self.spans: dict[str, slice] = {}  # row -> where its images lie in the batch
        self._kept: dict[Hashable, Any] = {}
        self.batch = 0  # a number for these rows and images: the key of what is kept for them
        self._batches: dict[Hashable, int] = {}

    def begin(self, rows: Sequence[Row], images: int, step: int = 0, steps: int = 1) -> Seam:
        """Say what the next call of the UNet holds: `rows` in order, `images` batch entries each.

        Raises:
            ConfigError: a row names a source that the seam does not hold, or of another number of images.
        """
        for row in rows:
            for name, held in ((row.tokens, self.tokens), (row.vector, self.vectors)):
                if name is not None and name not in held:
                    raise ConfigError(f"The row '{row.name}' sees '{name}', which this request does not have.")
                if name is not None and held[name].shape[0] not in (1, images):
                    raise ConfigError(f"'{name}' is of {held[name].shape[0]} images, but {images} are drawn.")
        self.rows, self.images, self.step, self.steps = tuple(rows), images, step, steps
        self.spans = {row.name: slice(i * images, (i + 1) * images) for i, row in enumerate(rows)}
        self.batch = self._batches.setdefault((self.rows, images), len(self._batches))
        return self

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
            key, value = _key_value(attn, self.tokens[name].to(attn.to_k.weight.dtype), self.tuned.get(layer))
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


class Call:
    """One attention layer at one step, as controls see it.

    Attributes:
        layer: name as in `unet.named_modules()`. attn: the diffusers layer. seam: the request. cross: which kind.
        maps: row name -> (images, heads, Nq, N), filled before `Control.after`, for the rows asked for.
    """

    def __init__(self, layer: str, attn: Any, seam: Seam, hidden: torch.Tensor) -> None:
        self.layer, self.attn, self.seam = layer, attn, seam
        self.cross: bool = attn.is_cross_attention
        self.maps: dict[str, torch.Tensor] = {}
        self._hidden = hidden  # (rows * images, Nq, C)
        self._query: torch.Tensor | None = None
        # A self-attention layer's keys and values, (rows * images, heads, Nq, d).
        self._own = None if self.cross else _key_value(attn, hidden)

    @property
    def query(self) -> torch.Tensor:
        """The queries of all rows, (rows * images, heads, Nq, d)."""
        if self._query is None:
            self._query = _query(self.attn, self._hidden)
        return self._query

    def queries(self, span: slice) -> torch.Tensor:
        """The queries of some batch entries. Rows that attend to nothing need none, so the others may come alone."""
        return self.query[span] if self._query is not None else _query(self.attn, self._hidden[span])

    def has(self, *names: str) -> bool:
        """Whether all these rows are in the batch."""
        return self.seam.spans.keys() >= set(names)

    def span(self, name: str) -> slice:
        """Where a row's images lie in the batch."""
        return self.seam.spans[name]

    def key_value(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The ordinary K and V of a row that attends to something, each (images, heads, N, d)."""
        if self._own is not None:
            return self._own[0][self.span(name)], self._own[1][self.span(name)]
        (row,) = (row for row in self.seam.rows if row.name == name)
        key, value = self.seam.key_value(self.layer, self.attn, (row.tokens,))
        return key.expand(self.seam.images, -1, -1, -1), value.expand(self.seam.images, -1, -1, -1)

    def runs(self, apart: Collection[str]) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Ordinary attentions: consecutive rows in as few calls as their numbers of tokens allow, without `apart`.

        Rows without tokens are in none: what they attend to is dropped, their output is zero.
        """
        seam, images = self.seam, self.seam.images
        if self._own is not None and not apart:
            return [(slice(0, len(seam.rows) * images), *self._own)]
        found: list[list[int]] = []
        length = None  # of the run that is being extended
        for i, row in enumerate(seam.rows):
            if row.name in apart or (self.cross and row.tokens is None):
                length = None
                continue
            tokens = seam.tokens[row.tokens].shape[1] if self.cross else self._hidden.shape[1]
            if tokens == length:
                found[-1][1] = i + 1
            else:
                found.append([i, i + 1])
            length = tokens
        spans = [(a, b, slice(a * images, b * images)) for a, b in found]
        if self._own is not None:
            return [(span, self._own[0][span], self._own[1][span]) for _, _, span in spans]
        sources = [tuple(row.tokens for row in seam.rows[a:b]) for a, b, _ in spans]
        return [(s, *seam.key_value(self.layer, self.attn, names)) for (_, _, s), names in zip(spans, sources)]

    def zeros(self) -> torch.Tensor:
        """The output of entries that attend to nothing, (rows * images, heads, Nq, d), in the memory of one number."""
        batch, queries, _ = self._hidden.shape
        return self._hidden.new_zeros(()).expand(batch, self.attn.heads, queries, self.attn.inner_dim // self.attn.heads)

    def joined(self, pieces: Mapping[int, torch.Tensor], rest: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The batch's outputs from its pieces (first entry -> output) and, where there is none, from `rest()`, as long as the batch."""
        parts, position, batch = [], 0, self._hidden.shape[0]
        for start in sorted(pieces):
            if start > position:
                parts.append(rest()[position:start].to(pieces[start].dtype))
            parts.append(pieces[start])
            position = start + pieces[start].shape[0]
        if position < batch:
            parts.append(rest()[position:].to(parts[0].dtype if parts else self._hidden.dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class SeamProcessor:
    """diffusers' attention processor of one layer. Without a seam it computes what the stock processor computes."""

    def __init__(self, layer: str, kernel: str = "sdpa") -> None:
        self.layer, self.kernel = layer, kernel

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,  # (batch, Nq, C)
        encoder_hidden_states: torch.Tensor | None = None,  # (batch, N, d); not read where a seam brings its own
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        seam: Seam | None = None,
    ) -> torch.Tensor:  # (batch, Nq, C)
        if seam is None:
            key, value = _key_value(attn, hidden_states if encoder_hidden_states is None else encoder_hidden_states)
            if attention_mask is not None:
                attention_mask = attn.prepare_attention_mask(attention_mask, key.shape[2], key.shape[0])
                attention_mask = attention_mask.view(key.shape[0], attn.heads, -1, attention_mask.shape[-1])
            out = attn.to_out[0](_flat(kernels.attend(self.kernel, _query(attn, hidden_states), key, value, attn.scale, attention_mask)))
        else:
            if attention_mask is not None:
                raise ConfigError("A seam takes no attention mask.", "Hand over only the tokens to attend to.")
            if hidden_states.shape[0] != len(seam.rows) * seam.images:
                raise ConfigError(
                    f"The batch has {hidden_states.shape[0]} entries, the seam {len(seam.rows)}x{seam.images}."
                )
            out = self._through(Call(self.layer, attn, seam, hidden_states))
        out = attn.to_out[1](out)
        if attn.residual_connection:
            out = out + hidden_states
        return out if attn.rescale_output_factor == 1.0 else out / attn.rescale_output_factor

    def _through(self, call: Call) -> torch.Tensor:
        """All rows' outputs behind `to_out`'s linear map, (rows * images, Nq, C), with the controls' say."""
        seam, linear = call.seam, call.attn.to_out[0]
        pieces: dict[int, torch.Tensor] = {}  # first batch entry -> output
        apart = self._replaced(call, pieces) if seam.replacing or seam.mapping else ()
        for span, key, value in call.runs(apart):
            pieces[span.start] = kernels.attend(self.kernel, call.queries(span), key, value, call.attn.scale)
        if seam.merging:
            out = call.joined(pieces, call.zeros)
            for control in seam.merging:
                out = control.after(call, out)
            pieces = {0: out}
        # Linear: W (attention + shift) + b = (W attention + b) + W shift, and the last term never changes.
        alone, moved = seam.once((call.layer, "shift", seam.batch), lambda: _shifted(call)) if seam.shifting else (None, None)
        for start, piece in pieces.items():
            out = linear(_flat(piece))
            pieces[start] = out if moved is None else out + moved[start : start + out.shape[0]]

        def still() -> torch.Tensor:
            rest = linear(_flat(call.zeros()[:, :, :1])) if alone is None else alone
            return rest.expand(-1, call.zeros().shape[2], -1)

        return call.joined(pieces, still)

    def _replaced(self, call: Call, pieces: dict[int, torch.Tensor]) -> set[str]:
        """Puts the attentions that controls replace, or want a map of, into `pieces`. Returns the names of their rows."""
        seam, scale = call.seam, call.attn.scale
        jobs = [job for control in seam.replacing for job in control.replace(call)]
        taken = [name for job in jobs for name in job.targets]
        if len(set(taken)) < len(taken):
            raise ConfigError(f"Two controls replace the attention of one row: {taken}.")
        mapped = {name for control in seam.mapping for name in control.maps(call)}
        for row in seam.rows:
            if row.name in mapped and row.name not in taken and not (call.cross and row.tokens is None):
                jobs.append(Job(call.query[call.span(row.name)], *call.key_value(row.name), (row.name,)))
        for job in jobs:
            if mapped.isdisjoint(job.targets):
                whole = kernels.attend(self.kernel, job.query, job.key, job.value, scale)
            else:
                whole, probabilities = kernels.attend_with_map(job.query, job.key, job.value, scale)
                call.maps.update(dict.fromkeys(job.targets, probabilities))
            for name, part in zip(job.targets, whole.chunk(len(job.targets), dim=-1)):
                pieces[call.span(name).start] = part
        return {name for job in jobs for name in job.targets}


# diffusers reads the signature at each call of each layer; kept here, it need not be taken apart each time.
SeamProcessor.__call__.__signature__ = inspect.signature(SeamProcessor.__call__)


def install(unet: torch.nn.Module, kernel: str = "auto") -> None:
    """Put a `SeamProcessor` on every attention layer of a UNet.

    Args:
        unet: a UNet2DConditionModel; changed in place.
        kernel: one of kernels.KERNELS.

    Raises:
        ConfigError: an unknown kernel, or an attention layer of a kind that the seam does not serve.
        DeviceError: xformers asked for where its kernels do not run.
    """
    kernel = kernels.choose(kernel, next(unet.parameters()))
    for name, attn in _layers(unet).items():
        odd = [part for part in ("group_norm", "spatial_norm", "add_k_proj") if getattr(attn, part) is not None]
        if odd or attn.inner_kv_dim != attn.inner_dim:
            raise ConfigError(f"The attention layer '{name}' is of a kind the decoder does not serve: {odd}.")
    # set_attn_processor empties the dict it is given and wants every key.
    unet.set_attn_processor({f"{name}.processor": SeamProcessor(name, kernel) for name in _layers(unet)})


def cross_layers(unet: torch.nn.Module) -> dict[str, Any]:
    """The cross-attention layers by name, in the order of `named_modules`."""
    return {name: attn for name, attn in _layers(unet).items() if attn.is_cross_attention}


def _layers(unet: torch.nn.Module) -> dict[str, Any]:
    names = (key.removesuffix(".processor") for key in unet.attn_processors)
    return {name: unet.get_submodule(name) for name in names}


def _shifted(call: Call) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What `to_out` makes of the controls' shift alone, and what the shift adds to any other output: (rows * images, 1, C) each."""
    shifts = [shift for control in call.seam.shifting if (shift := control.shift(call)) is not None]
    if not shifts:
        return None, None
    linear, total = call.attn.to_out[0], sum(shifts)
    alone = linear(total).unsqueeze(1)
    return alone, alone - linear(torch.zeros_like(total[:1]))


def _flat(out: torch.Tensor) -> torch.Tensor:
    """(batch, heads, Nq, d) -> (batch, Nq, heads * d)."""
    return out.transpose(1, 2).flatten(2)


def _query(attn: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The layer's queries of (batch, Nq, C), (batch, heads, Nq, d)."""
    return _heads(attn, attn.to_q(hidden), attn.norm_q)


def _heads(attn: Any, flat: torch.Tensor, norm: torch.nn.Module | None) -> torch.Tensor:
    """(batch, N, heads * d) -> (batch, heads, N, d), with the layer's own norm if it has one."""
    split = flat.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return split if norm is None else norm(split)


def _key_value(
    attn: Any, context: torch.Tensor, tuned: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's keys and values of (batch, N, width), each (batch, heads, N, d); with `Seam.tuned` of the layer."""
    if attn.norm_cross is not None:
        context = attn.norm_encoder_hidden_states(context)
    key, value = attn.to_k(context), attn.to_v(context)
    if tuned is not None:
        key, value = (flat + context @ added.to(context).T for flat, added in zip((key, value), tuned))
    return _heads(attn, key, attn.norm_k), _heads(attn, value, None)
