"""Quadruplets encoded beforehand, on disk: one safetensors file a shard, a manifest beside them, and rows read at random.

A shard holds latents of the target, E(photo) and F(target) in half precision, and in its metadata what was said. It is there whole or
not at all. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..config import AssistantConfig
from ..errors import ConfigError, StorageError
from .quadruplets.shards import digest, replace_whole

LATENTS, PATCHES, SEMANTICS = "latents", "patches", "semantics"
OPEN = 64  # files kept open at once


def encoded_name(number: int) -> str:
    return f"encoded-{number:05}.safetensors"


def write_encoded(folder: Path, number: int, tensors: Mapping[str, Tensor], said: Sequence[Mapping[str, str]]) -> None:
    """One shard: `tensors` of n rows each, kept in half precision, and of each row its key, y and reply."""
    halves = {k: t.half().cpu().contiguous() for k, t in tensors.items()}
    replace_whole(folder / encoded_name(number), save(halves, {"format": "pt", "said": json.dumps(list(said), ensure_ascii=False)}))


def write_encoded_manifest(folder: Path, shards: int) -> bool:
    """Write manifest.json once all shards are there, whoever finished the last one; says whether they are."""
    paths = [folder / encoded_name(k) for k in range(shards)]
    if not all(p.exists() for p in paths):
        return False
    listing = [{"name": p.name, "samples": len(_said(p)), "bytes": p.stat().st_size, "sha256": digest(p.read_bytes())} for p in paths]
    about = {"settings": json.loads((folder / "settings.json").read_text()), "samples": sum(s["samples"] for s in listing),
             "bytes": sum(s["bytes"] for s in listing), "shards": listing}
    replace_whole(folder / "manifest.json", (json.dumps(about, indent=1) + "\n").encode())
    return True


@lru_cache(OPEN)
def _opened(path: Path) -> Any:
    return safe_open(path, "pt")  # memory-mapped: a row is read when it is asked for


@lru_cache(OPEN)
def _said(path: Path) -> list[dict[str, str]]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["said"])


@dataclass(frozen=True)
class Shapes:
    """Of one row."""

    latents: tuple[int, ...]  # (C, h, w)
    patches: tuple[int, ...]  # (N, d_E)
    semantics: tuple[int, ...]  # (d_F,)

    @classmethod
    def of(cls, config: AssistantConfig) -> Shapes:
        side = config.decoder.unet["sample_size"]
        return cls((config.decoder.unet["in_channels"], side, side), (config.vision.patch_tokens, config.vision.patch_width),
                   (config.language.semantic_width,))

    @property
    def bytes(self) -> int:
        """Of a row, in half precision."""
        return 2 * sum(int(np.prod(shape)) for shape in (self.latents, self.patches, self.semantics))


class Encoded:
    """All samples of finished sets.

    Attributes:
        identity: of the encoders, as the manifests state it.

    Raises:
        StorageError: a set is not finished, or a file is not the one in the manifest.
        ConfigError: sets of different encoders, or of another preset's shapes.
    """

    def __init__(self, config: AssistantConfig, *folders: Path) -> None:
        self.shards: list[tuple[Path, int]] = []
        settings = []
        for folder in folders:
            place = folder / "manifest.json"
            if not place.exists():
                raise StorageError(f"The encoded set in {folder.name!r} is not finished: it has no manifest.",
                                   f"Run: python -m assistant.training encode --preset {config.name} --data SHARDS --out {folder}")
            about = json.loads(place.read_text())
            if "encoders" not in about["settings"]:
                raise ConfigError(f"The set in {folder.name!r} holds pictures, which are not encoded yet.",
                                  f"Run: python -m assistant.training encode --preset {config.name} --data {folder} --out FOLDER")
            settings.append(about["settings"])
            for shard in about["shards"]:
                path = folder / shard["name"]
                if not path.exists() or path.stat().st_size != shard["bytes"]:
                    raise StorageError(f"The shard {path.name} of {folder.name!r} is not the one in the manifest.",
                                       "Remove it and the manifest, and encode the set again.")
                if shard["samples"]:
                    self.shards.append((path, shard["samples"]))
        if any(s["encoders"] != settings[0]["encoders"] for s in settings):
            raise ConfigError("The sets were encoded by different encoders.", "Encode them all with the same weights.")
        if not self.shards:
            raise ConfigError("There is no sample in the encoded sets.", "Lower the filter's thresholds, or make more attempts.")
        self.identity: dict[str, str] = settings[0]["encoders"]
        self._starts = np.cumsum([0, *(n for _, n in self.shards)])
        found, wanted = self._shapes(), Shapes.of(config)
        if found != wanted:
            raise ConfigError(f"The set holds {found}, the preset {config.name!r} has {wanted}.", "Encode it with this preset.")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _shapes(self) -> Shapes:
        file = _opened(self.shards[0][0])
        return Shapes(*(tuple(file.get_slice(name).get_shape()[1:]) for name in (LATENTS, PATCHES, SEMANTICS)))

    def _places(self, at: Sequence[int]) -> list[tuple[Path, int]]:
        which = np.searchsorted(self._starts, at, "right") - 1
        return [(self.shards[k][0], int(i - self._starts[k])) for k, i in zip(which, at)]

    def keys(self) -> list[str]:
        """Of every sample, in order."""
        return [line["key"] for path, _ in self.shards for line in _said(path)]

    def rows(self, at: Sequence[int], *names: str) -> dict[str, Tensor]:
        """(len(at), ...) float16 of each name. Raises StorageError if a file cannot be read."""
        try:
            return {name: torch.cat([_opened(path).get_slice(name)[i:i + 1] for path, i in self._places(at)]) for name in names}
        except (OSError, SafetensorError) as error:
            raise StorageError(f"An encoded shard cannot be read: {error}", "Encode the set again.") from error

    def said(self, at: Sequence[int]) -> list[tuple[str, str]]:
        """(y, reply) of each."""
        return [(_said(path)[i]["y"], _said(path)[i]["reply"]) for path, i in self._places(at)]

    def verify(self) -> None:
        """Check every shard's sha256. Raises StorageError."""
        for folder in {path.parent for path, _ in self.shards}:
            for shard in json.loads((folder / "manifest.json").read_text())["shards"]:
                if digest((folder / shard["name"]).read_bytes()) != shard["sha256"]:
                    raise StorageError(f"The shard {shard['name']} of {folder.name!r} is damaged.", "Remove it and encode the set again.")
