"""Infusion (Zeng et al., 2024) as a plug of the attention context: two streams of one frozen model, F says where, C says what.

In each cross-attention layer C takes F's map in place of its own, and at the concept's words a learned residual is added to its
values (eq. 7; several concepts, eq. 9). It knows neither files nor how residuals are learned.
"""

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..diffusion.attention import AttentionCall, AttentionControl, AttentionOverride
from ..diffusion.guidance import CUSTOMIZED, FOUNDATION
from ..errors import ConfigError
from .dci import stretched


@dataclass(frozen=True, eq=False)
class ConceptInstance:
    """One concept in a prompt.

    Args:
        residuals: cross-attention layer's name -> (r, heads * d), added to that layer's values. A layer may be left out.
        where: (1 or images, r, N): how strongly each residual counts at each token of the prompt, of `residual_mask`.
    """

    residuals: Mapping[str, torch.Tensor]
    where: torch.Tensor


def residual_mask(positions: Sequence[Sequence[int]], length: int, strength: float = 1.0) -> torch.Tensor:
    """`ConceptInstance.where` of one prompt, (1, r, length): `strength` at the positions of each of r residuals, 0 elsewhere.

    Raises:
        ConfigError: a position outside the prompt.
    """
    where = torch.zeros(1, len(positions), length)
    for residual, at in enumerate(positions):
        if any(not 0 <= p < length for p in at):
            raise ConfigError(f"A concept stands at the positions {list(at)}, but the prompt has {length} tokens.",
                              "Shorten the words before it.")
        where[0, residual, list(at)] = strength
    return where


class Queries(AttentionControl):
    """Keeps F's queries of one call of the UNet, layer by layer, for an `Infusion` in the next: where C learns, gradients go
    through C alone, and F is computed without them."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}  # (images, heads, Nq, d)

    def replace(self, call: AttentionCall) -> Sequence[AttentionOverride]:
        if call.cross and call.has(FOUNDATION):
            self.kept[call.layer] = call.query[call.span(FOUNDATION)]
        return ()


class Infusion(AttentionControl):
    """Acts where the batch holds a foundation row and a customized row; both must see the same tokens.

    No map is made: one attention with F's queries and keys serves both rows, on their values joined along the features.

    Args:
        uses: the concepts.
        foundation: F's queries, of `Queries`, for a batch without a foundation row.
    """

    def __init__(self, uses: Sequence[ConceptInstance], foundation: Mapping[str, torch.Tensor] | None = None) -> None:
        self.uses, self.foundation = tuple(uses), foundation

    def is_active(self, rows: Collection[str]) -> bool:
        return CUSTOMIZED in rows and (FOUNDATION in rows or self.foundation is not None)

    def replace(self, call: AttentionCall) -> Sequence[AttentionOverride]:
        if call.cross and self.foundation is not None:
            key, value = call.key_value(CUSTOMIZED)
            return (AttentionOverride(self.foundation[call.layer], key, value + self._residuals(call, value), (CUSTOMIZED,)),)
        if not call.cross:
            return ()
        context = call.context
        tokens = {row.name: row.tokens for row in context.rows}
        if tokens[FOUNDATION] != tokens[CUSTOMIZED]:
            raise ConfigError("Infusion's two rows see different prompts.", "Give both the same one.")
        key, value = call.key_value(FOUNDATION)
        both = context.once((call.layer, "infusion", context.images), lambda: torch.cat([value, value + self._residuals(call, value)], -1))
        return (AttentionOverride(call.query[call.span(FOUNDATION)], key, both, (FOUNDATION, CUSTOMIZED)),)

    def _residuals(self, call: AttentionCall, value: torch.Tensor) -> torch.Tensor | float:
        """Eq. 9's sum over concepts, to be added to values (images, heads, N, d)."""
        total: torch.Tensor | float = 0.0
        for use in self.uses:
            if call.layer not in use.residuals:
                continue
            split = use.residuals[call.layer].to(value).unflatten(-1, (value.shape[1], value.shape[3]))  # (r, heads, d)
            total = total + torch.einsum("irn,rhd->ihnd", use.where.to(value), split)
        return total


FINEST = 8  # cross-attention grids at least this wide say where something is


class TokenAttention(AttentionControl):
    """Collects F's attention to some tokens of its prompt, over layers, heads and steps: where those words are heard."""

    def __init__(self, tokens: Collection[int]) -> None:
        self.tokens = sorted(tokens)
        self._sums: dict[int, torch.Tensor] = {}  # side of a grid -> (images, 1, side, side)

    def maps(self, call: AttentionCall) -> Collection[str]:
        return (FOUNDATION,) if call.cross and call.query.shape[2] >= FINEST**2 else ()

    def post_attention(self, call: AttentionCall, out: torch.Tensor) -> torch.Tensor:
        found = call.maps.get(FOUNDATION)
        if found is not None:
            side = math.isqrt(found.shape[2])
            self._sums[side] = self._sums.get(side, 0.0) + found[..., self.tokens].sum(-1).mean(1).unflatten(1, (side, side))[:, None].float()
        return out

    def seen(self, size: tuple[int, int] | None = None) -> torch.Tensor:
        """(images, 1, h, w) in 0..1, each from its own least to its own most; None: at the finest grid's size."""
        finest = max(self._sums)
        total = functools.reduce(torch.add, (F.interpolate(m, size or (finest, finest), mode="bilinear") for m in self._sums.values()))
        return stretched(total)
