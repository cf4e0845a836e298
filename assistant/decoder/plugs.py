"""What plugs into the seam: a control, and the attentions that it may put in the place of a row's own. Knows neither layers nor rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from assistant.decoder.seam import Call


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

    def acts(self, rows: Collection[str]) -> bool:
        """Whether it has a say where the batch holds rows of these names. Where not, it is not asked, and costs nothing."""
        return True

    def maps(self, call: Call) -> Collection[str]:
        """Rows whose attention maps this control wants to find in `call.maps` afterwards. Only these are made."""
        return ()

    def replace(self, call: Call) -> Sequence[Job]:
        """Attentions with edited queries, keys or values, in place of the ordinary ones of their targets."""
        return ()

    def beside(self, call: Call) -> Mapping[str, tuple[torch.Tensor, torch.Tensor]]:
        """Other K and V that a cross-attention layer attends to with the same queries, its output added to the ordinary one.

        Asked for once an image, not at each step.

        Returns:
            row name -> K, V, each (1 or images, heads, N, d).
        """
        return {}

    def after(self, call: Call, out: torch.Tensor) -> torch.Tensor:
        """Add to, or merge, the rows' outputs before the layer's `to_out`.

        Args:
            out: (rows * images, heads, Nq, d). Must not be changed in place.

        Returns:
            The same shape.
        """
        return out

    def shift(self, call: Call) -> torch.Tensor | None:
        """What is added to a cross-attention layer's outputs whatever the queries are, after every `after`.

        Asked for once an image, not at each step: `to_out` is linear, so what it makes of a shift is kept.

        Returns:
            (rows * images, heads * d), or None.
        """
        return None


def hands(controls: Sequence[Control]) -> tuple[tuple[Control, ...], ...]:
    """Who maps, replaces, merges, adds, shifts: most controls do one of these, and most layers of most steps need ask nobody."""
    return tuple(tuple(control for control in controls if getattr(type(control), method) is not getattr(Control, method))
                 for method in ("maps", "replace", "after", "beside", "shift"))
