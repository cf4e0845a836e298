"""DCI ("Divide, Conquer, then Integrate", ECCV 2024) as a control of the attention context: two branches of one fine-tuned model, merged by masks.

In each cross-attention layer, per head, every query's attention is summed over each branch's token set (eq. 3), sharpened over the layer's queries, weighed against
the other branch's with lambda on the auxiliary side (eq. 4); the concept branch goes on with the weighted sum of both outputs (eq. 5), the auxiliary one with its own.

Masks become pictures by scale, at one step or over the window, by head or over heads; laid over a picture, brighter = more.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.attention import AttentionCall, AttentionControl
from ..diffusion.guidance import AUXILIARY, CONCEPT
from ..errors import ConceptError, ConfigError

LOWEST, HIGHEST = -2.0, 2.0  # of lambda
FINE = 64 * 64


@dataclass(frozen=True)
class MaskTemperatures:
    """Eq. 4 taken literally does nothing: a softmax over N queries gives numbers near 1/N, and two such numbers softmaxed are 1/2
    each, whatever lambda. These are the constants of the authors' code, whose gain belongs to layers of 64 x 64 queries: a smaller layer
    takes proportionally less, so that what lambda weighs has one mean at every scale, gain / 4096."""

    tokens: float = 10.0  # an attention map is softmaxed again over the prompt's real tokens, times this
    space: float = 10.0  # the sums over token sets are softmaxed over space, times this
    gain: float = 500.0  # and multiplied by this, in a layer of FINE queries

    def __post_init__(self) -> None:
        if not (self.tokens > 0 and self.space > 0 and self.gain > 0):
            raise ConfigError(f"The sharpening is {self.tokens:g}, {self.space:g}, {self.gain:g}; all must be above 0.", "Choose numbers above 0.")


@dataclass(frozen=True, eq=False)
class BranchTokens:
    """Which tokens of a branch's prompt count: (1 or images, N) booleans each."""

    real: Tensor  # all but start, end and padding
    own: Tensor  # T(P): V* and noun; T(P_a): every real token but the auxiliary noun

    @classmethod
    def of(cls, length: int, real: Sequence[int], own: Sequence[int]) -> BranchTokens:
        """One prompt's, from positions.

        Raises:
            ConfigError: an empty set, or a position outside the prompt.
        """
        if not own or not set(own) <= set(real) or not set(real) <= set(range(length)):
            raise ConfigError(f"The token set {list(own)} must not be empty, and lie among {list(real)} of {length} tokens.", "Say more in the prompt.")
        at = [torch.zeros(1, length, dtype=torch.bool) for _ in range(2)]
        at[0][0, list(real)], at[1][0, list(own)] = True, True
        return cls(*at)


@dataclass
class MaskSnapshot:
    """Masks that a picture asked for, summed over token sets before they come here: layer -> one a step, (images, heads, Nq)."""

    auxiliary: dict[str, list[Tensor]] = field(default_factory=dict)  # eq. 4's mask of the auxiliary branch; the concept's is 1 less it
    concept: dict[str, list[Tensor]] = field(default_factory=dict)  # eq. 3's sum of the concept branch, before it is weighed

    def keep(self, layer: str, auxiliary: Tensor, concept: Tensor) -> None:
        for kept, found in ((self.auxiliary, auxiliary), (self.concept, concept)):
            kept.setdefault(layer, []).append(found.detach().float().cpu())


def token_attention(probabilities: Tensor, branch: BranchTokens, temperature: float) -> Tensor:
    """Eq. 3: a map (images, heads, Nq, N), softmaxed again over real tokens, summed over the token set: (images, heads, Nq)."""
    real, own = (b.to(probabilities.device)[:, None, None] for b in (branch.real, branch.own))
    at_least = torch.promote_types(probabilities.dtype, torch.float32)
    again = (temperature * probabilities.to(at_least)).masked_fill(~real, -torch.inf).softmax(-1)
    return (again * own).sum(-1)


def branch_mask(concept: Tensor, auxiliary: Tensor, strength: Tensor | float, sharpening: MaskTemperatures) -> Tensor:
    """Eq. 4: the auxiliary branch's mask, (images, heads, Nq), of both branches' sums.

    The softmax of (a, b) is the logistic function of b - a for b. `strength`: lambda, a number or (images,).
    """
    a, b = (sharpening.gain * m.shape[-1] / FINE * (sharpening.space * m).softmax(-1) for m in (concept, auxiliary))
    scale = strength.to(b).view(-1, 1, 1) if isinstance(strength, Tensor) else strength
    return torch.sigmoid(scale * b - a)


class Dci(AttentionControl):
    """Acts where the batch holds a concept row and an auxiliary row; where the window is closed it does nothing.

    Args:
        concept, auxiliary: the branches' tokens.
        strength: lambda, -2 to 2, one number or (images,): small, near the pictures that were learned; large, near the words.
        sharpening: eq. 4's constants.
        seen: collects masks for a picture; None: nothing is kept.
        layers: only these are merged; None, as in the paper: all.
        masks: False: half of each branch everywhere, to show what masks are good for.

    Raises:
        ConfigError: a lambda outside its limits.
    """

    def __init__(self, concept: BranchTokens, auxiliary: BranchTokens, strength: float | Tensor, sharpening: MaskTemperatures = MaskTemperatures(),
                 seen: MaskSnapshot | None = None, layers: Collection[str] | None = None, masks: bool = True) -> None:
        values = strength.tolist() if isinstance(strength, Tensor) else [strength]
        for value in values:
            if not LOWEST <= value <= HIGHEST:
                raise ConfigError(f"Lambda is {value:g}; it can be {LOWEST:g} to {HIGHEST:g}.", "Choose a value in between.")
        self.concept, self.auxiliary, self.strength, self.sharpening = concept, auxiliary, strength, sharpening
        self.seen, self.layers, self.masks = seen, layers, masks

    def is_active(self, rows: Collection[str]) -> bool:
        return CONCEPT in rows and AUXILIARY in rows

    def _merges(self, call: AttentionCall) -> bool:
        return call.cross and (self.layers is None or call.layer in self.layers)

    def maps(self, call: AttentionCall) -> Collection[str]:
        return (CONCEPT, AUXILIARY) if self._merges(call) and self.masks else ()

    def post_attention(self, call: AttentionCall, out: Tensor) -> Tensor:
        if not self._merges(call):
            return out
        at, other = call.span(CONCEPT), call.span(AUXILIARY)
        share = self._share(call) if self.masks else out.new_full((1, 1, 1, 1), 0.5)
        merged = torch.lerp(out[at], out[other], share.to(out.dtype))  # eq. 5, (images, heads, Nq, d)
        return torch.cat([out[: at.start], merged, out[at.stop:]])

    def _share(self, call: AttentionCall) -> Tensor:
        """(images, heads, Nq, 1)."""
        concept, auxiliary = (token_attention(call.maps[name], branch, self.sharpening.tokens)
                              for name, branch in ((CONCEPT, self.concept), (AUXILIARY, self.auxiliary)))
        share = branch_mask(concept, auxiliary, self.strength, self.sharpening)
        if self.seen is not None:
            self.seen.keep(call.layer, share, concept)
        return share[..., None]


WAYS = {"down": "down", "mid": "middle", "up": "up"}  # how a UNet's layers are named
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")
FLAT = 0.02  # a mask whose values differ by less says nothing


def scales(masks: Mapping[str, Sequence[Tensor]]) -> dict[str, list[str]]:
    """"16 down", "8 up", ... -> the layers of that grid on that way through the UNet, in its order. On the way down a UNet has not yet
    seen the whole, which is why the same grid says other things there."""
    found: dict[str, list[str]] = {}
    for layer, steps in masks.items():
        found.setdefault(f"{math.isqrt(steps[0].shape[-1])} {WAYS[layer.partition('_')[0]]}", []).append(layer)
    return found


def at_scale(masks: Mapping[str, Sequence[Tensor]], scale: str, step: int | None = None, head: int | None = None) -> Tensor:
    """One mask an image, (images, side, side) in 0..1: the mean over the scale's layers, its heads (or one) and steps (or one).

    Raises:
        ConceptError: no such scale, step or head.
    """
    layers = scales(masks).get(scale)
    if layers is None:
        raise ConceptError(f"There are no masks of the scale {scale!r}.", f"Choose one of {', '.join(scales(masks))}.")
    side = int(scale.split()[0])
    parts = []
    for layer in layers:
        kept = torch.stack(list(masks[layer]))  # (steps, images, heads, Nq)
        for name, value, count in (("step", step, kept.shape[0]), ("head", head, kept.shape[2])):
            if value is not None and not 0 <= value < count:
                raise ConceptError(f"There is no {name} {value + 1} among {count} in the window.", "Choose an earlier one.")
        kept = kept if step is None else kept[step:step + 1]
        parts.append((kept if head is None else kept[:, :, head:head + 1]).mean((0, 2)))
    return torch.stack(parts).mean(0).unflatten(1, (side, side))


def stretched(mask: Tensor) -> Tensor:
    """(..., h, w) from its own least to its own most, 0 to 1; a mask that is the same everywhere becomes 0."""
    low, high = mask.amin((-2, -1), keepdim=True), mask.amax((-2, -1), keepdim=True)
    return (mask - low) / (high - low).clamp_min(1e-6)


def region(mask: Tensor) -> str:
    """Where a mask (h, w) is bright, in words, on a grid of three by three: "the middle", "the top and the left"."""
    if float(mask.amax() - mask.amin()) < FLAT:
        return "everywhere alike"
    cells = F.adaptive_avg_pool2d(mask[None], 3)[0]
    bright = cells > (cells.amin() + cells.amax()) / 2
    if int(bright.sum()) >= 7 and bool(bright[1, 1]):
        return "nearly everywhere"
    if int(bright.sum()) >= 6 and not bright[1, 1]:
        return "all around the middle"
    parts, told = ["the middle"] if bright[1, 1] else [], torch.zeros(3, 3, dtype=torch.bool)
    for name, row, column in (("top", 0, slice(None)), ("bottom", 2, slice(None)), ("left", slice(None), 0), ("right", slice(None), 2)):
        if int(bright[row, column].sum()) >= 2:
            parts.append(f"the {name}")
            told[row, column] = True
    parts += [f"the {' '.join(w for w in (ROWS[r], COLUMNS[c]) if w)}" for r in range(3) for c in range(3) if bright[r, c] and not told[r, c] and (r, c) != (1, 1)]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def coded(seen: MaskSnapshot) -> str:
    """The first picture's mask of the concept's branch at the finest scale on the way up: side x side bytes, as base64."""
    return encoded(1 - at_scale(seen.auxiliary, list(scales(seen.auxiliary))[-1])[0])


def encoded(mask: Tensor) -> str:
    """A mask (side, side), stretched, as base64 of side x side bytes."""
    return base64.b64encode((255 * stretched(mask)).round().to(torch.uint8).numpy().tobytes()).decode()


def overlap(mask: Tensor, truth: Tensor) -> list[float]:
    """Intersection over union of masks (B, h, w), stretched and cut at 0.5, with true ones (B, H, W) in 0..1."""
    found = stretched(mask) > 0.5
    true = F.interpolate(truth[:, None].float(), mask.shape[-2:], mode="area")[:, 0] > 0.5
    return ((found & true).flatten(1).sum(1) / (found | true).flatten(1).sum(1).clamp_min(1)).tolist()
