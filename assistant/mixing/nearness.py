"""How near a drawn mix is: to each source by F, to the subject by E; and what to do when the subject is lost. No decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..board import Mix, coefficients


def similarities(seen: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Cosines in [0, 1] of (B, d) with each of n (1, d): (B, n); what points away counts as 0."""
    if not known:
        return seen.new_zeros(len(seen), 0)
    return (F.normalize(seen.float(), dim=-1) @ F.normalize(torch.cat(list(known)).float(), dim=-1).T).clamp(0, 1)


def advice(mix: Mix, subject: float, rivals: Sequence[float | None], keep_subject: float, far: float) -> str:
    """One sentence when a picture is far from its subject, with the way to move; else nothing.

    Args:
        subject: similarity to the subject. rivals: to each source's picture, None for words.
        keep_subject: E's strength as drawn with. far: similarity below which the subject is lost.
    """
    others = [(value, k) for k, value in enumerate(rivals, 1) if value is not None and mix.sources[k - 1].on]
    nearest = max(others, default=None)
    lost = nearest is not None and nearest[0] > subject
    if subject >= far and not lost:
        return ""
    told = f"This looks more like reference {nearest[1]} than like your subject" if lost else "This is far from your subject"
    told = f"{told} (likeness {100 * subject:.0f} %)."
    counts = coefficients(mix)
    if mix.sources and max(counts[1:]) > 0.5 and mix.alpha > 0:
        heaviest = 1 + max(range(len(mix.sources)), key=lambda k: counts[1 + k])
        other = f" or reference {heaviest}'s weight" if len([s for s in mix.sources if s.on]) > 1 else ""
        return f"{told} Move alpha{other} down."
    return f"{told} Raise “Keep the subject” above {keep_subject:g}, or add another photo of it."
