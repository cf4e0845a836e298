"""Files that are there whole or not at all, and the size that a PNG's header states."""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
