"""DCI's masks as pictures: by scale, at one step or over the window, by head or over heads; laid over a picture, brighter = more.

Knows masks as `MaskSnapshot` keeps them, and pictures; no prompts and no model.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .dci import MaskSnapshot
from ..errors import ConceptError

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


def overlap(mask: Tensor, truth: Tensor, level: float = 0.5) -> list[float]:
    """Intersection over union of masks (B, h, w), stretched and cut at `level`, with true ones (B, H, W) in 0..1."""
    found = stretched(mask) > level
    true = F.interpolate(truth[:, None].float(), mask.shape[-2:], mode="area")[:, 0] > 0.5
    return ((found & true).flatten(1).sum(1) / (found | true).flatten(1).sum(1).clamp_min(1)).tolist()
