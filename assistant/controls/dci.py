"""DCI ("Divide, Conquer, then Integrate", ECCV 2024) as a plug of the attention context: two branches of one fine-tuned model, merged by masks.

In each cross-attention layer, per head, every query's attention is summed over each branch's token set (eq. 3), sharpened over
the layer's queries, weighed against the other branch's with lambda on the auxiliary side (eq. 4); the concept branch goes on with
the weighted sum of both outputs (eq. 5), the auxiliary one with its own. Knows neither prompts nor how a model was tuned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..diffusion.attention import AttentionCall, AttentionControl
from ..diffusion.guidance import AUXILIARY, CONCEPT
from ..errors import ConfigError

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
            raise ConfigError(f"The sharpening is {self.tokens:g}, {self.space:g}, {self.gain:g}; all must be above 0.")


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
        found = [token_attention(call.maps[name], branch, self.sharpening.tokens) for name, branch in ((CONCEPT, self.concept), (AUXILIARY, self.auxiliary))]
        share = branch_mask(*found, self.strength, self.sharpening)
        if self.seen is not None:
            self.seen.keep(call.layer, share, found[0])
        return share[..., None]
