"""A path of pictures as one moving picture. Knows no mix."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 384  # pixels; smaller pictures are enlarged by a whole factor
MILLISECONDS, REST = 90, 600  # a frame's time, and how long either end stays


def film(pictures: Sequence[np.ndarray]) -> bytes:
    """A GIF that goes through (H, W, 3) uint8 pictures and back, for ever, without dithering's crawl from frame to frame."""
    frames = [Image.fromarray(p) for p in pictures]
    factor = max(1, SIDE // max(frames[0].size))
    frames = [f.resize((f.width * factor, f.height * factor), Image.Resampling.LANCZOS) for f in frames]
    path = frames + frames[-2:0:-1]
    times = [REST if k in (0, len(frames) - 1) else MILLISECONDS for k in range(len(path))]
    # One palette for all: colours of their own would make still parts flicker.
    sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(frames)))
    for k, frame in enumerate(frames):
        sheet.paste(frame, (0, k * frame.height))
    palette = sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in path]
    out = io.BytesIO()
    reduced[0].save(out, "GIF", save_all=True, append_images=reduced[1:], duration=times, loop=0, optimize=False)
    return out.getvalue()
