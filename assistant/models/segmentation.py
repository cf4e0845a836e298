"""Where a photo's subject is, by CLIPSeg (Lueddecke and Ecker, CVPR 2022), and the photo with nothing else in it.

An IP-Adapter draws all that its encoder saw, the background too: what it is not to draw is laid on plain grey before. Knows tensors and words only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..requests import MASKED

SIDE = 352  # pixels that CLIPSeg reads, whatever the aspect: its positions are interpolated
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ANYTHING = ("a person", "an animal", "an object", "a toy")  # where nobody says what the subject is
SURE, EDGE = 0.4, 0.15  # probability from which a pixel is the subject's, and half the width of its soft edge
MARGIN = 0.08  # of the subject's longer side, left on each side of it
OUTLIERS = 0.01  # of the subject's pixels, that its square may miss
GREY = 0.5


class SubjectSegmenter(nn.Module):
    """CLIPSeg, frozen.

    Args:
        model: a transformers `CLIPSegForImageSegmentation`.
        tokenize: n texts -> input_ids and attention_mask, (n, L) each.
    """

    def __init__(self, model: Any, tokenize: Callable[[Sequence[str]], dict[str, Tensor]]) -> None:
        super().__init__()
        self.model, self.tokenize = model, tokenize

    @torch.no_grad()
    def mask(self, pixels: Tensor, words: str = "") -> Tensor:
        """(1, 3, H, W) in [0, 1] -> the probability of each pixel to be the subject's, (1, 1, H, W). `words`: what the subject is; empty: anything."""
        prompts = (words,) if words else ANYTHING
        mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        x = (F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True) - mean) / std
        given = {name: ids.to(pixels.device) for name, ids in self.tokenize(prompts).items()}
        logits = self.model(pixel_values=x.to(self.model.dtype).expand(len(prompts), -1, -1, -1), **given).logits.float().view(len(prompts), SIDE, SIDE)
        return F.interpolate(logits.sigmoid().amax(0)[None, None], pixels.shape[-2:], mode="bilinear", antialias=True)


def shows_subject(mask: Tensor) -> bool:
    """Whether a mask of probabilities, (1, 1, H, W), shows a subject, and something else than it."""
    return MASKED[0] <= float((mask >= SURE).float().mean()) <= MASKED[1]


def opacity(mask: Tensor) -> Tensor:
    """Probabilities -> how much is left of each pixel, 0 to 1: what a person sees of a mask, and paints."""
    return ((mask - SURE + EDGE) / (2 * EDGE)).clamp(0, 1)


def painted(left: Tensor) -> Tensor:
    """Probabilities of which `opacity` makes this."""
    return SURE + EDGE * (2 * left - 1)


def cut_out(pixels: Tensor, mask: Tensor) -> Tensor | None:
    """(1, 3, H, W) and a mask, (1, 1, H, W), in [0, 1] -> the subject alone in a square, (1, 3, S, S), on plain grey, also beyond the photo's
    edges; None: the mask shows no subject, or nothing but it."""
    if not shows_subject(mask):
        return None
    there = mask[0, 0] >= SURE
    alone = GREY + (pixels - GREY) * opacity(mask)
    (top, bottom), (left, right) = (_span(there.float().sum(dim)) for dim in (1, 0))
    side = round(max(bottom - top, right - left) * (1 + 2 * MARGIN))
    y, x = (top + bottom - side) // 2, (left + right - side) // 2
    height, width = pixels.shape[-2:]
    return F.pad(alone, (-x, x + side - width, -y, y + side - height), value=GREY)  # negative: cropped


def _span(counts: Tensor) -> tuple[int, int]:
    """Where a count a row, (n,), begins and ends, but for the outermost hundredth: a few pixels apart from the subject are not it."""
    within = counts.cumsum(0) / counts.sum()
    return int((within > OUTLIERS / 2).nonzero()[0]), int((within >= 1 - OUTLIERS / 2).nonzero()[0]) + 1


def on_grey(pixels: Tensor) -> Tensor:
    """(1, 3, H, W) -> a square of its longer side with plain grey above and below, or beside it."""
    height, width = pixels.shape[-2:]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return F.pad(pixels, (left, side - width - left, top, side - height - top), value=GREY)
