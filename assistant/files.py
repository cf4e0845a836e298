"""Files that are there whole or not at all, pictures as PNG bytes that say how they were made, and the folder that is the user's."""

import io
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from platformdirs import user_data_path

SHARED = 0o644  # mode of a file that others may read
FRESH = ".new-"  # how the names of files that are still being written begin


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put bytes into a file, readable by this user only: on return they survive a loss of power, and until then what was
    there is there. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=FRESH)  # created with 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode != 0o600:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def not_weights(head: bytes) -> str | None:
    """What the beginning of a file, where weights should be, says that it is, as the rest of a sentence; None: it may be weights."""
    if head[8:9] == b"{":  # as safetensors begin, behind a length of any bytes
        return None
    known = ((not head, "is empty (0 bytes)"),
             (head.startswith(b"version https://git-lfs"), "is a Git LFS pointer, not the file itself"),
             (head.lstrip()[:14].lower().startswith((b"<!doctype", b"<html", b"<?xml")), "is a web page"),
             (head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")), "is pickled or zipped: opening it could run anything, so it is never opened"))
    return next((said for fits, said in known if fits), None)


def fsync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def add_line(log: Path, line: Mapping[str, Any]) -> None:
    """Append a line of JSON to a log."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def wait_for(path: Path) -> None:
    """Until another process has made a file or a folder."""
    while not path.exists():
        time.sleep(0.2)


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, of PNG's first chunk."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


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


MAGIC = b"\x89PNG\r\n\x1a\n"
EXTRAS = 2**20  # bytes of text or of a colour profile, unpacked; Pillow opens no PNG with more
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte and last of each whole chunk, its length and checksum included; what is behind them is no chunk."""
    at = len(MAGIC) if png.startswith(MAGIC) else len(png)
    while at + 12 <= len(png) and (end := at + 12 + int.from_bytes(png[at:at + 4], "big")) <= len(png):
        yield png[at + 4:at + 8], at, end
        at = end


def without_large_extras(data: bytes) -> bytes:
    """A PNG without its texts, and without a colour profile of more than EXTRAS; what is no PNG as it is."""
    kept, at = [], 0
    for kind, start, end in _chunks(data):
        if kind in _TEXTS or (kind == b"iCCP" and _unpacked(data[start + 8:end - 4].partition(b"\0")[2][1:]) is None):
            kept.append(data[at:start])
            at = end
    return b"".join([*kept, data[at:]]) if kept else data


def text_in(png: bytes, key: str) -> str | None:
    """The last text of a PNG under a key, before or behind its pixels; None: there is none, or it is damaged or of more than EXTRAS."""
    found = None
    for kind, start, end in _chunks(png):
        if kind not in _TEXTS:
            continue
        name, _, rest = png[start + 8:end - 4].partition(b"\0")
        if name.decode("latin-1") != key:
            continue
        packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
        body = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest
        plain = _unpacked(body) if packed else body
        if plain is not None and len(plain) <= EXTRAS:
            found = plain.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")
    return found


def _unpacked(packed: bytes) -> bytes | None:
    """None: damaged, or of more than EXTRAS."""
    try:
        work = zlib.decompressobj()
        plain = work.decompress(packed, EXTRAS)
        return None if work.unconsumed_tail else plain
    except zlib.error:
        return None


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


def default_data_dir() -> Path:
    """CAFE_DATA_DIR, else the platform's folder for a user's data. Never the working directory."""
    return Path(os.environ.get("CAFE_DATA_DIR") or user_data_path("cafe-assistant", appauthor=False))


def weights_dir(preset: str) -> Path:
    """Where a preset's weights are looked for, and put, unless another folder is named: CAFE_WEIGHTS_DIR, else beside the user's data."""
    return Path(os.environ.get("CAFE_WEIGHTS_DIR") or default_data_dir() / "weights") / preset
