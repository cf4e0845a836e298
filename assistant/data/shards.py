"""Quadruplets on disk: tar shards in WebDataset's layout, and a manifest beside them.

A shard holds KEY.photo.png, KEY.target.png and KEY.json of each sample. It is written under a temporary name and renamed, so that
a shard that is there is whole: whoever builds a set again after a kill keeps it. Knows no model, and no torch.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StorageError
from ..files import SHARED, write_whole

_PARTS = {"photo": "photo.png", "target": "target.png", "about": "json"}


@dataclass(frozen=True)
class Quadruplet:
    """One sample; `about` holds y, reply, seed, method, scores and, where there is a ground truth, what is in the photo and what
    was asked for."""

    key: str
    photo: bytes  # PNG
    target: bytes  # PNG
    about: Mapping[str, Any]


def process() -> tuple[int, int]:
    """(rank, number of processes), as `accelerate launch` and `torchrun` set them; (0, 1) alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make `folder` the place of a set built with `settings`.

    Raises:
        ConfigError: it holds a set of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, wanted = folder / "settings.json", json.loads(json.dumps(settings))
    if not place.exists():
        write_whole(place, (json.dumps(wanted, indent=1) + "\n").encode(), SHARED)
        return
    found = json.loads(place.read_text())
    other = [f"{k} {found.get(k)!r}, not {wanted.get(k)!r}" for k in sorted({*found, *wanted}) if found.get(k) != wanted.get(k)]
    if other:
        raise ConfigError(f"The set in {folder.name!r} was built with other settings: {'; '.join(other)}.", "Choose another folder, or remove this one.")


def shard_name(number: int) -> str:
    return f"shard-{number:05}.tar"


def write_shard(folder: Path, number: int, samples: list[Quadruplet]) -> None:
    """The same samples always give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            about = json.dumps(sample.about, ensure_ascii=False, sort_keys=True).encode()
            for name, data in (("photo", sample.photo), ("target", sample.target), ("about", about)):
                member = tarfile.TarInfo(f"{sample.key}.{_PARTS[name]}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    write_whole(folder / shard_name(number), out.getvalue(), SHARED)


def read_shard(path: Path) -> list[Quadruplet]:
    """Raises StorageError if the file is no whole shard."""
    found: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, part = member.name.partition(".")
                if (file := tar.extractfile(member)) is not None:
                    found.setdefault(key, {})[part] = file.read()
        return [Quadruplet(key, parts[_PARTS["photo"]], parts[_PARTS["target"]], json.loads(parts[_PARTS["about"]])) for key, parts in found.items()]
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise StorageError(f"The shard {path.name} of {path.parent.name!r} cannot be read ({error}).", "Remove it and build it again.") from error


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def marks(sample: Quadruplet) -> tuple[str, str]:
    """What may be in a set only once: these two pictures, and these words about this photo."""
    photo = digest(sample.photo)
    return f"pictures {photo} {digest(sample.target)}", f"words {photo} {sample.about['y']}"


def write_manifest(folder: Path, shards: int) -> bool:
    """Write manifest.json once all `shards` are there, whoever finished the last one; says whether they are.

    Of samples that are doubles by `marks`, the first in the shards' order counts; the manifest lists the others, and readers pass
    them over, so that which process built what makes no difference.
    """
    paths = [folder / shard_name(k) for k in range(shards)]
    if not all(p.exists() for p in paths):
        return False
    seen: set[str] = set()
    doubles, listing = [], []
    for path in paths:
        keys = []
        for sample in read_shard(path):
            own = marks(sample)
            if seen.isdisjoint(own):
                keys.append(sample.key)
            else:
                doubles.append(sample.key)
            seen.update(own)
        listing.append({"keys": keys})
    finish(folder, paths, listing, samples=sum(len(s["keys"]) for s in listing), doubles=doubles)
    return True


def finish(folder: Path, paths: Sequence[Path], listing: Sequence[Mapping[str, Any]], **about: Any) -> None:
    """Write manifest.json: a set's settings, `about`, and of each shard its name, bytes and digest beside its line of `listing`."""
    shards = [{"name": p.name, "bytes": p.stat().st_size, "sha256": digest(p.read_bytes()), **line} for p, line in zip(paths, listing)]
    whole = {"settings": json.loads((folder / "settings.json").read_text()), **about, "shards": shards}
    write_whole(folder / "manifest.json", (json.dumps(whole, indent=1) + "\n").encode(), SHARED)


def listed(folder: Path, build: str = "Build it to its end first.", again: str = "build the set again") -> tuple[dict[str, Any], list[tuple[Path, dict]]]:
    """A finished set's manifest, and its shards with the line of each in it.

    Args:
        build: how the set is finished. again: what to do once a damaged shard is removed.

    Raises:
        StorageError: the set is not finished, or a file is not the one in the manifest.
    """
    place = folder / "manifest.json"
    if not place.exists():
        raise StorageError(f"The set in {folder.name!r} is not finished: it has no manifest.", build)
    about = json.loads(place.read_text())
    shards = [(folder / shard["name"], shard) for shard in about["shards"]]
    for path, shard in shards:
        if not path.exists() or path.stat().st_size != shard["bytes"]:
            raise StorageError(f"The shard {path.name} of {folder.name!r} is not the one in the manifest.", f"Remove it and the manifest, and {again}.")
    return about, shards


def verify(folders: Iterable[Path]) -> None:
    """Check the sha256 of every shard of finished sets. Raises StorageError."""
    for folder in folders:
        for path, shard in listed(folder)[1]:
            if digest(path.read_bytes()) != shard["sha256"]:
                raise StorageError(f"The shard {path.name} of {folder.name!r} is damaged.", "Remove it and build it again.")


def shards_of(*folders: Path) -> list[tuple[Path, list[str]]]:
    """The shards of finished sets that hold samples, and the keys of each. Raises StorageError as `listed`."""
    return [(path, shard["keys"]) for folder in folders for path, shard in listed(folder)[1] if shard["keys"]]


def samples_of(*folders: Path) -> Iterator[Quadruplet]:
    """All samples of finished sets, in the manifests' order. Raises StorageError as `listed` and `read_shard`."""
    for path, keys in shards_of(*folders):
        found = {s.key: s for s in read_shard(path)}
        yield from (found[key] for key in keys)
