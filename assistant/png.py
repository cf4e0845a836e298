"""Pictures as PNG bytes that say how they were made, and what such a file says. Knows no models."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

KEY = "assistant"  # of the text chunk


def write_png(picture: np.ndarray | Image.Image, metadata: dict[str, Any] | None = None) -> bytes:
    """PNG bytes of a picture, or of (H, W, 3) uint8, with `metadata` as one JSON text chunk."""
    info = PngImagePlugin.PngInfo()
    if metadata:
        info.add_itxt(KEY, json.dumps(metadata, ensure_ascii=False))
    out = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, "PNG", pnginfo=info)
    return out.getvalue()
