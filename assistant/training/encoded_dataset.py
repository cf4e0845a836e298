"""Quadruplets encoded beforehand, on disk: one safetensors file a shard, a manifest beside them, and rows read at random.

A shard holds latents of the target, E(photo) and F(target) in half precision, and in its metadata what was said. It is there whole or
not at all. Knows no model.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..config import AssistantConfig
from ..errors import ConfigError, StorageError
from ..files import SHARED, add_line, write_whole
from ..models.vision_encoders import VisionEncoders, pad_square, pixels, resize
from ..data.shards import Quadruplet, Reader, begin, digest, listed, process, read_shard

LATENTS, PATCHES, SEMANTICS = "latents", "patches", "semantics"
OPEN = 64  # files kept open at once


def encoded_name(number: int) -> str:
    return f"encoded-{number:05}.safetensors"


def write_encoded(folder: Path, number: int, tensors: Mapping[str, Tensor], said: Sequence[Mapping[str, str]]) -> None:
    """One shard: `tensors` of n rows each, kept in half precision, and of each row its key, y and reply."""
    halves = {k: t.half().cpu().contiguous() for k, t in tensors.items()}
    write_whole(folder / encoded_name(number), save(halves, {"format": "pt", "said": json.dumps(list(said), ensure_ascii=False)}), SHARED)


def write_encoded_manifest(folder: Path, shards: int) -> bool:
    """Write manifest.json once all shards are there, whoever finished the last one; says whether they are."""
    paths = [folder / encoded_name(k) for k in range(shards)]
    if not all(p.exists() for p in paths):
        return False
    listing = [{"name": p.name, "samples": len(_said(p)), "bytes": p.stat().st_size, "sha256": digest(p.read_bytes())} for p in paths]
    about = {"settings": json.loads((folder / "settings.json").read_text()), "samples": sum(s["samples"] for s in listing),
             "bytes": sum(s["bytes"] for s in listing), "shards": listing}
    write_whole(folder / "manifest.json", (json.dumps(about, indent=1) + "\n").encode(), SHARED)
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
            about, shards = listed(folder, f"Run: python -m assistant.training encode --preset {config.name} --data SHARDS --out {folder}",
                                   "encode the set again")
            if "encoders" not in about["settings"]:
                raise ConfigError(f"The set in {folder.name!r} holds pictures, which are not encoded yet.",
                                  f"Run: python -m assistant.training encode --preset {config.name} --data {folder} --out FOLDER")
            settings.append(about["settings"])
            self.shards += [(path, shard["samples"]) for path, shard in shards if shard["samples"]]
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


AHEAD = 8  # batches whose pictures are opened ahead of time


def identity(module: nn.Module) -> str:
    """A short hash of all weights of a module, by name, as they are."""
    found = hashlib.sha256()
    for name, t in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(t.detach().float().cpu().contiguous().numpy().data)
    return found.hexdigest()[:16]


def _square(pictures: list[bytes], side: int | None = None) -> Tensor:
    """PNGs of any sizes -> (B, 3, side, side) in [0, 1], padded to squares by their edges; side None: the largest among them."""
    found = [pad_square(pixels([Image.open(io.BytesIO(p))])) for p in pictures]
    side = side or max(x.shape[-1] for x in found)
    return torch.cat([resize(x, side) for x in found])


class Encoder:
    """The three encoders on one device.

    Args:
        vae: of the base model; it stays in float32.
    """

    def __init__(self, config: AssistantConfig, vision: VisionEncoders, vae: nn.Module, device: str) -> None:
        self.side, self.device = config.decoder.image_size, torch.device(device)
        self.vision, self.vae = vision.to(device), vae.float().to(device)

    def identity(self) -> dict[str, str]:
        """What a set is encoded by."""
        about = f"{identity(self.vae)}-{self.vae.config.scaling_factor}"
        return {"E": identity(self.vision.dino), "F": identity(self.vision.clip), "latents": about}

    def __call__(self, samples: list[Quadruplet]) -> dict[str, Tensor]:
        """As `encode`."""
        return self.encode(*self.opened(samples))

    def opened(self, samples: list[Quadruplet]) -> tuple[Tensor, Tensor]:
        """Photos and targets as `encode` takes them; any thread may do it."""
        return _square([s.photo for s in samples]), _square([s.target for s in samples], self.side)

    @torch.no_grad()
    def encode(self, photos: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """(B, 3, side, side) each in [0, 1] -> latents (B, C, h, w), patches (B, N, d_E), semantics (B, d_F), in float16."""
        photos, targets, config = photos.to(self.device), targets.to(self.device), self.vae.config
        latents = self.vae.encode(targets * 2 - 1).latent_dist.mode() - (getattr(config, "shift_factor", None) or 0.0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            patches, semantics = self.vision.patches(photos), self.vision.semantics(targets)
        return {LATENTS: (latents * config.scaling_factor).half(), PATCHES: patches.half(), SEMANTICS: semantics.half()}


def encode(out: Path, sets: list[Path], preset: str, encoder: Encoder, batch: int = 16, say: Callable[[str], None] = print) -> None:
    """Encode what is missing of `sets` into `out`; several processes (`shards.process`) take turns at the shards.

    Raises:
        StorageError: a set is not finished, or damaged.
        ConfigError: `out` holds other sets, or the same by other encoders.
    """
    shards = Reader(*sets, rank=0, world=1).shards
    begin(out, {"preset": preset, "sets": [digest((s / "manifest.json").read_bytes())[:16] for s in sets], "encoders": encoder.identity()})
    rank, world = process()
    with ThreadPoolExecutor(AHEAD) as pool:
        for k in range(rank, len(shards), world):
            if (out / encoded_name(k)).exists():
                continue
            started, found = time.monotonic(), {s.key: s for s in read_shard(shards[k][0])}
            samples = [found[key] for key in shards[k][1]]
            waiting = [samples[i:i + batch] for i in range(0, len(samples), batch)]
            opened = [pool.submit(encoder.opened, some) for some in waiting[:AHEAD]]  # pictures take longer to open than to encode
            parts = []
            for turn in range(len(waiting)):
                parts.append(encoder.encode(*opened.pop(0).result()))
                opened += [pool.submit(encoder.opened, some) for some in waiting[turn + AHEAD:turn + AHEAD + 1]]
            said = [{"key": s.key, "y": s.about["y"], "reply": s.about["reply"]} for s in samples]
            write_encoded(out, k, {name: torch.cat([p[name] for p in parts]) for name in parts[0]}, said)
            seconds = time.monotonic() - started
            add_line(out / "log.jsonl", {"shard": k, "samples": len(samples), "seconds": round(seconds, 2), "rank": rank})
            say(f"encoded shard {k + 1} of {len(shards)}: {len(samples)} samples, {len(samples) / seconds:.1f} a second")
    if not (out / "manifest.json").exists():
        write_encoded_manifest(out, len(shards))
