"""DCI's masks as pictures: by scale, at one step or over the window, by head or over heads; laid over a picture, brighter = more.

Knows masks as `Seen` keeps them, and pictures; no prompts and no model.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from assistant.control.dci import Seen
from assistant.errors import ConceptError

WAYS = {"down": "down", "mid": "middle", "up": "up"}  # how a UNet's layers are named
WARM = (255, 196, 64)  # where a mask is bright


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


def overlaid(picture: np.ndarray, mask: Tensor, opacity: float) -> np.ndarray:
    """uint8 (H, W, 3): the picture darkened and lit where the mask (h, w) is bright. `opacity` 0: the picture, 1: the mask alone."""
    light = F.interpolate(stretched(mask)[None, None], picture.shape[:2], mode="bicubic").clamp(0, 1)[0, 0].numpy()[..., None]
    shown = light * np.array(WARM, np.float32)
    return ((1 - opacity) * picture + opacity * shown).round().clip(0, 255).astype(np.uint8)


def coded(seen: Seen) -> str:
    """The first picture's mask of the concept's branch at the finest scale on the way up: side x side bytes, as base64."""
    mask = 1 - at_scale(seen.auxiliary, list(scales(seen.auxiliary))[-1])[0]
    return base64.b64encode((255 * stretched(mask)).round().to(torch.uint8).numpy().tobytes()).decode()


def overlap(mask: Tensor, truth: Tensor, level: float = 0.5) -> list[float]:
    """Intersection over union of masks (B, h, w), stretched and cut at `level`, with true ones (B, H, W) in 0..1."""
    found = stretched(mask) > level
    true = F.interpolate(truth[:, None].float(), mask.shape[-2:], mode="area")[:, 0] > 0.5
    return ((found & true).flatten(1).sum(1) / (found | true).flatten(1).sum(1).clamp_min(1)).tolist()
