"""Encodes sets of quadruplets once, before training: latents and F of each target, E of each photo; by one process or many.

A shard of the result is a shard of the pictures, so that whoever finds it done passes it over.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ..config import AssistantConfig
from ..mllm.vision import Vision, pad_square, pixels, resize
from .encoded import LATENTS, PATCHES, SEMANTICS, encoded_name, write_encoded, write_encoded_manifest
from .quadruplets.shards import Quadruplet, Reader, begin, digest, process, read_shard


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

    def __init__(self, config: AssistantConfig, vision: Vision, vae: nn.Module, device: str) -> None:
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
            with open(out / "log.jsonl", "a") as log:
                log.write(json.dumps({"shard": k, "samples": len(samples), "seconds": round(seconds, 2), "rank": rank}) + "\n")
            say(f"encoded shard {k + 1} of {len(shards)}: {len(samples)} samples, {len(samples) / seconds:.1f} a second")
    if not (out / "manifest.json").exists():
        write_encoded_manifest(out, len(shards))
