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
POINTER = b"version https://git-lfs.github.com/spec/"  # how a Git-LFS pointer begins
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


def incomplete(path: Path) -> str:
    """What can be seen to be wrong with a file of weights by itself, after "it"; empty: nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(POINTER))
        if head == POINTER:
            return "is a Git-LFS pointer that stands for the weights, not the weights"
        if path.suffix != ".safetensors":
            return ""
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 + length:
            return f"is cut off: {size} bytes of more than {8 + length}" if length < 2**27 else "is no safetensors file"
        try:
            ends = [entry["data_offsets"][1] for name, entry in json.loads(file.read(length)).items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return "is no safetensors file"
    whole = 8 + length + max(ends, default=0)
    return f"is cut off: {size} bytes of {whole}" if size < whole else ""


def check_whole(folder: Path, remedy: str) -> None:
    """Raises WeightsError: a file under a folder that is seen to be incomplete, with what mends it."""
    for path in sorted(folder.rglob("*.safetensors")):
        wrong = incomplete(path) if path.is_file() else ""
        if wrong:
            raise WeightsError(f"The weight file {path.relative_to(folder).as_posix()} {wrong}.", _mend(wrong, remedy))


def _mend(wrong: str, remedy: str) -> str:
    return f"In the clone that it came from run: git lfs install && git lfs pull. Or r{remedy[1:]}" if "Git-LFS" in wrong else remedy


@cache
def verify(folder: Path, remedy: str = "Get the complete project again.") -> str:
    """Check every file of a checkpoint folder against its manifest, large ones by their size; returns a short hash of the whole.

    Args:
        remedy: what brings the files anew.

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
            raise WeightsError(f"The weight file {name} is missing.", remedy)
        size = path.stat().st_size
        if size != entry["bytes"] or (size <= HASHED and sha256(path) != entry["sha256"]):
            wrong = incomplete(path)
            said = wrong or f"is damaged: its {'checksum' if size == entry['bytes'] else 'size'} is not the manifest's"
            raise WeightsError(f"The weight file {name} {said}.", _mend(wrong, remedy))
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]


def base_identity(folder: Path) -> str:
    """A short hash of the base model. What is learned on it fits no other."""
    listing = read_listing(folder)
    parts = sorted((name, entry["sha256"]) for name, entry in listing.items() if name.startswith("base/"))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
