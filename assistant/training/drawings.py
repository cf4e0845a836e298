"""Draws what the books are fitted to: heroes of average build, bare, and the same once with each thing that can be worn.

How a particular hero is built, neither E nor F tells; a book of many builds would be soft at every edge. What is worn is drawn on
the same picture that was drawn without it, so that what differs is what is worn. Latents with their truth and the pictures, in
shards; no encoder is needed but the autoencoder's, which is linear.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import AssistantConfig
from ..miniature.patches import as_linear, encode_linear
from ..miniature.renderer import render
from ..miniature.world import (ACCESSORIES, COLOURS, KINDS, LAYOUTS, LIGHTS, PATTERNS, POSES, STYLES, Accessory, Scene,
                               individual_held_out, sample_individual, sample_scene)
from ..weights import load_vae
from .data import in_processes, labels

AVERAGE = {"width": 1.0, "height": 1.0, "head": 1.0, "part": 1.0}
SIZE, MIDDLE = 0.65, 0.5
SHARD = 512  # bare scenes a shard
EACH = 3 / 32  # scenes dressed with everything in turn to each bare one, so that there are about as many drawings of both
SORTS = ("bare", "dressed")


@dataclass(frozen=True)
class Drawn:
    """Drawings: scaled latents (N, C, h, w), masks (N, h, w) uint8, labels (N, 17), layouts (N,); of drawings for books also the
    pictures (N, H, W, 3) uint8."""

    latents: Tensor
    masks: Tensor
    labels: Tensor
    layouts: Tensor
    images: Tensor | None = None

    def __getitem__(self, at: Tensor) -> Drawn:
        return Drawn(*(None if (t := getattr(self, f.name)) is None else t[at] for f in fields(self)))

    @classmethod
    def joined(cls, parts: list[Drawn]) -> Drawn:
        """Without the pictures."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls) if f.name != "images"))


def bare(seed: int, index: int) -> Scene:
    """Scene number `index`: kinds, poses and styles in turn, the rest by lot; no individual and no combination that is held out."""
    rng = random.Random(f"{seed}/{index}/bare")
    kind = KINDS[index % len(KINDS)]
    while True:
        one = replace(sample_individual(rng), kind=kind, pattern=rng.choice(PATTERNS), layout=rng.randrange(LAYOUTS), **AVERAGE)
        if not individual_held_out(one):
            break
    pose, style = POSES[index // len(KINDS) % len(POSES)], STYLES[index // (len(KINDS) * len(POSES)) % len(STYLES)]
    while True:
        scene = sample_scene(rng, one)
        if scene.style == style:
            return replace(scene, pose=pose, light=rng.choice(LIGHTS), accessories=(), scale=SIZE, x=MIDDLE)


def dressed(seed: int, index: int) -> list[Scene]:
    """A bare scene, and the same with each thing that can be worn, in some colour."""
    rng, scene = random.Random(f"{seed}/{index}/dressed"), bare(seed + 1, index)
    return [scene, *(replace(scene, accessories=(Accessory(a, rng.choice(tuple(COLOURS))),)) for a in ACCESSORIES)]


def _draw(args: tuple[Path, AssistantConfig, Path, int, int, str, int]) -> None:
    folder, config, vae_folder, seed, size, sort, shard = args
    torch.set_num_threads(1)
    vae, side = load_vae(vae_folder), config.decoder.image_size
    if sort == "bare":
        scenes = [bare(seed, i) for i in range(shard * size, (shard + 1) * size)]
    else:
        few = round(size * EACH)
        scenes = [s for i in range(shard * few, (shard + 1) * few) for s in dressed(seed, i)]
    drawn = [render(s, side) for s in scenes]
    images = torch.from_numpy(np.stack([np.asarray(d.image) for d in drawn]))
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    linear = as_linear(vae, x[:16])
    if linear is None:
        raise ValueError("The autoencoder's encoder is not linear; books are fitted on latents of one that is.")
    latents = encode_linear(x, linear) * vae.config.scaling_factor
    masks = np.stack([np.asarray(d.mask.resize(latents.shape[:1:-1], Image.Resampling.BOX)) for d in drawn])
    tensors = {"latents": latents.half().contiguous(), "masks": torch.from_numpy(masks), "images": images,
               "labels": torch.tensor([labels(s) for s in scenes], dtype=torch.int8),
               "layouts": torch.tensor([s.individual.layout for s in scenes])}
    fresh = folder / f"{sort}-{shard:05}.{os.getpid()}"
    save_file(tensors, fresh)
    os.replace(fresh, folder / f"{sort}-{shard:05}.safetensors")


def draw_books(folder: Path, config: AssistantConfig, vae: Path, count: int, seed: int, workers: int, shard: int = SHARD) -> None:
    """Draw `count` bare heroes and about as many dressed ones, in shards; shards already drawn are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(sort, s) for s in range(-(-count // shard)) for sort in SORTS]
    wanted = [w for w in wanted if not (folder / f"{w[0]}-{w[1]:05}.safetensors").exists()]
    in_processes(_draw, [(folder, config, vae, seed, shard, *w) for w in wanted], workers)


def read_books(folder: Path, sort: str, most: int | None = None) -> list[Drawn]:
    """What `draw_books` drew of a sort, a shard each, `most` of them."""
    return [Drawn(**load_file(p)) for p in sorted(folder.glob(f"{sort}-*.safetensors"))[:most]]
