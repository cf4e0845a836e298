"""A checkpoint folder's list of its files, with their sizes and checksums. Reads no weights; knows no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .files import SHARED, not_weights, write_whole

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
    """A folder's manifest: path -> bytes and sha256; empty without one. Raises WeightsError: it is damaged."""
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
        if all(isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str) for entry in found.values()):
            return found
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        pass
    raise WeightsError(f"The list of files {path} is damaged.", "Delete it and run the same command again; of the miniature, get the complete project again.")


def _fault(path: Path) -> str | None:
    """The rest of a sentence; None: nothing is found."""
    if path.is_dir():
        return "is a folder"
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        if (known := not_weights(head)) is not None:
            return known
        try:
            if path.suffix == ".json":
                json.loads(head + file.read())
                return None
            header = 8 + int.from_bytes(head[:8], "little")  # safetensors: the header's length, the header, the numbers
            file.seek(8)
            about = json.loads(file.read(header - 8) if header <= size else b"")
            ends = [entry["data_offsets"][1] for name, entry in about.items() if name != "__metadata__"]
            whole = header + max(ends, default=0)
            return None if size == whole else f"is cut short or damaged: it has {size:,} bytes and should have {whole:,}"
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "is cut short or damaged"


def check_whole(folder: Path, remedy: str) -> None:
    """Raises WeightsError: weights or configurations under a folder that are seen to be broken, without knowing their checksums, with what mends them."""
    files = [path for path in sorted(folder.rglob("*")) if not path.relative_to(folder).parts[0].startswith(".")]
    found = [(path, _fault(path)) for path in files if path.suffix in (".safetensors", ".json") and path.name != "manifest.json"]
    if faults := [f"The file {path.relative_to(folder).as_posix()} in {folder} {said}." for path, said in found if said]:
        raise WeightsError(f"Not all weight files are whole. {' '.join(faults)}", _mend(" ".join(faults), remedy))


def _mend(fault: str, remedy: str) -> str:
    return f"In the clone that it came from run: git lfs install && git lfs pull. Or {remedy[0].lower()}{remedy[1:]}" if "Git LFS" in fault else remedy


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
            wrong = _fault(path) if path.suffix in (".safetensors", ".json") else None
            said = wrong or f"is damaged: its {'checksum' if size == entry['bytes'] else 'size'} is not the manifest's"
            raise WeightsError(f"The weight file {name} {said}.", _mend(said, remedy))
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]


def base_identity(folder: Path) -> str:
    """A short hash of the base model. What is learned on it fits no other."""
    listing = read_listing(folder)
    parts = sorted((name, entry["sha256"]) for name, entry in listing.items() if name.startswith("base/"))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
