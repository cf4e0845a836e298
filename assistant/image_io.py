"""Pictures as PNG bytes that say how they were made, and what such a file says. Knows no models."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

KEY = "assistant"  # of the text chunk
MARK = (214, 0, 110)  # where a mask is bright; no colour of nature, so that it reads on any picture


def write_png(picture: np.ndarray | Image.Image, metadata: dict[str, Any] | None = None) -> bytes:
    """PNG bytes of a picture, of (H, W, 3) uint8, or of (H, W) uint8 or uint16, with `metadata` as one JSON text chunk."""
    info = PngImagePlugin.PngInfo()
    if metadata:
        info.add_itxt(KEY, json.dumps(metadata, ensure_ascii=False))
    out = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def overlaid(picture: np.ndarray, mask: np.ndarray, opacity: float) -> np.ndarray:
    """uint8 (H, W, 3): the picture losing its colours, and coloured MARK where the mask (h, w), 0 to 1, is bright.

    Args:
        opacity: 0, the picture, to 1, the mask alone where it is bright.
    """
    light = Image.fromarray((255 * mask.clip(0, 1)).round().astype(np.uint8)).resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    share = opacity * np.asarray(light, np.float32)[..., None] / 255
    grey = 0.55 * picture.mean(2, keepdims=True) + 0.45 * 255
    shown = (1 - share) * ((1 - opacity) * picture + opacity * grey) + share * np.array(MARK, np.float32)
    return shown.round().clip(0, 255).astype(np.uint8)
