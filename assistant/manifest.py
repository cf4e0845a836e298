"""A checkpoint folder's list of its files, with their sizes and checksums. Reads no weights; knows no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .files import SHARED, write_whole

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
HASHED = 64 * 2**20  # bytes; a larger file is compared by its size at each start, and by its checksum when it is downloaded


def write_manifest(folder: Path) -> None:
    """List every file under `folder` with size and sha256."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json" and not p.relative_to(folder).parts[0].startswith("."))
    write_listing(folder, {p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files})


def write_listing(folder: Path, listing: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a manifest whose checksums are known already; the old one stays until the new one is whole."""
    write_whole(folder / "manifest.json", (json.dumps(dict(sorted(listing.items())), indent=1) + "\n").encode(), SHARED)


def sha256(path: Path) -> str:
    """Of a file of any size."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**22):
            found.update(piece)
    return found.hexdigest()


def read_listing(folder: Path) -> dict[str, dict[str, Any]]:
    """A folder's manifest: path -> bytes and sha256; empty without one."""
    path = folder / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


@cache
def verify(folder: Path) -> str:
    """Check every file of a checkpoint folder against its manifest, large ones by their size; returns a short hash of the whole.

    Raises:
        WeightsError: a file is missing or is not the one that was written.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise WeightsError(f"There are no weights in {folder.name!r}: its manifest.json is missing.",
                           "Get the complete project, or run: python -m assistant.training miniature")
    listing = read_listing(folder)
    for name, entry in listing.items():
        path = folder / name
        if not path.exists():
            raise WeightsError(f"The weight file {name} is missing.", "Get the complete project again.")
        size = path.stat().st_size
        if size != entry["bytes"] or (size <= HASHED and sha256(path) != entry["sha256"]):
            raise WeightsError(f"The weight file {name} is damaged: its {'checksum' if size == entry['bytes'] else 'size'} is not the manifest's.",
                               "Get it again.")
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]


def base_identity(folder: Path) -> str:
    """A short hash of the base model. What is learned on it fits no other."""
    listing = read_listing(folder)
    parts = sorted((name, entry["sha256"]) for name, entry in listing.items() if name.startswith("base/"))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
