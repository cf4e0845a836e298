"""Lays pictures out on a contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def grid(path: Path, pictures: np.ndarray, columns: int, gap: int = 2) -> None:
    """Write (N, H, W, 3) uint8 as a PNG of `columns` columns."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (height + gap), i % columns * (width + gap)
        sheet[y:y + height, x:x + width] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
