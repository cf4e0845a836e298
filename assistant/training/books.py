"""Fits the first guess's books: drawings with their truth -> linear maps, by ridge regression. Minutes, and no descent.

The more drawings the better: a kind's book has 1,600 rows. Drawings for books alone need no encoder but the autoencoder's,
which is linear, so that they are kept as latents with their truth, in shards.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import AssistantConfig, GuessConfig
from ..decoder.first_guess import FirstGuess, both, scene_names, subject_names
from ..miniature.painting import DARK
from ..miniature.patches import as_linear, channel_weights, encode_linear
from ..miniature.renderer import render
from ..miniature.world import COLOURS, LAYOUTS, POSES, Scene
from ..weights import load_vae
from .data import LABELS, SHARD, VIEWS, World, group, in_processes, labels

BUILD = {"width": (1.0, 0.023), "height": (1.0, 0.017), "head": (1.0, 0.029), "part": (1.0, 0.058), "scale": (0.65, 0.003),
         "x": (0.5, 0.003)}  # middle and deviation; neither E nor F tells them
RIDGE = 5.0  # on what a picture's features explain
LOOSE = 3.0  # on what builds explain, as often


@dataclass(frozen=True)
class Drawn:
    """Drawings: scaled latents (N, C, h, w), masks (N, h, w) uint8, labels (N, 17), layouts (N,), builds (N, 6)."""

    latents: Tensor
    masks: Tensor
    labels: Tensor
    layouts: Tensor
    builds: Tensor

    def __getitem__(self, at: Tensor) -> Drawn:
        return Drawn(*(getattr(self, f.name)[at] for f in fields(self)))

    @classmethod
    def joined(cls, parts: list[Drawn]) -> Drawn:
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


def truth_of(scenes: list[Scene]) -> dict[str, Tensor]:
    """`layouts` and `builds` of `Drawn`."""
    builds = [[(getattr(s.individual if hasattr(s.individual, k) else s, k) - middle) / spread for k, (middle, spread) in BUILD.items()]
              for s in scenes]
    return {"layouts": torch.tensor([s.individual.layout for s in scenes]), "builds": torch.tensor(builds)}


def truths(world: World) -> dict[str, Tensor]:
    """`truth_of` every picture of a set, ready or not: what is not in its labels is drawn by lot again, from its seed."""
    about, place = world.about, world.folder / "builds.safetensors"
    if not place.exists():
        scenes = [s for g in range(about["groups"]) for s in group(about["seed"], g, about["held_out"]).scenes]
        fresh = place.with_suffix(f".{os.getpid()}")
        save_file(truth_of(scenes), fresh)
        os.replace(fresh, place)
    return load_file(place)


def of_world(world: World, latents: Tensor) -> Drawn:
    """The first drawings of a set, as many as there are latents."""
    count = len(latents)
    masks, named = (torch.from_numpy(world[k][:count].copy()) for k in ("masks", "labels"))
    return Drawn(latents, masks, named, **{k: t[:count] for k, t in truths(world).items()})


def _draw(args: tuple[Path, AssistantConfig, Path, int, range]) -> None:
    folder, config, vae_folder, seed, groups = args
    torch.set_num_threads(1)
    vae, side = load_vae(vae_folder), config.decoder.image_size
    shard = groups.start // SHARD
    rng = random.Random(f"{seed}/{shard}/poses")
    scenes = [replace(s, pose=rng.choice(POSES)) for g in groups for s in group(seed, g).scenes]
    drawn = [render(s, side) for s in scenes]
    x = torch.from_numpy(np.stack([np.asarray(d.image) for d in drawn])).permute(0, 3, 1, 2).float() / 127.5 - 1
    linear = as_linear(vae, x[:16])
    if linear is None:
        raise ValueError("The autoencoder's encoder is not linear; books are fitted on latents of one that is.")
    latents = encode_linear(x, linear) * vae.config.scaling_factor
    masks = np.stack([np.asarray(d.mask.resize(latents.shape[:1:-1], Image.Resampling.BOX)) for d in drawn])
    tensors = {"latents": latents.half().contiguous(), "masks": torch.from_numpy(masks),
               "labels": torch.tensor([labels(s) for s in scenes], dtype=torch.int8), **truth_of(scenes)}
    fresh = folder / f"shard-{shard:05}.{os.getpid()}"
    save_file(tensors, fresh)
    os.replace(fresh, folder / f"shard-{shard:05}.safetensors")


def draw_books(folder: Path, config: AssistantConfig, vae: Path, first: int, last: int, seed: int, workers: int) -> None:
    """Draw the groups `first` to `last` of a seed, shard by shard, every pose as often; shards already drawn are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [range(at, min(last, at + SHARD)) for at in range(first, last, SHARD)]
    wanted = [r for r in shards if not (folder / f"shard-{r.start // SHARD:05}.safetensors").exists()]
    in_processes(_draw, [(folder, config, vae, seed, r) for r in wanted], workers)


def read_books(folder: Path) -> list[Drawn]:
    """What `draw_books` drew, a shard each."""
    return [Drawn(**load_file(p)) for p in sorted(folder.glob("shard-*.safetensors"))]


def coats(labels: Tensor, layouts: Tensor) -> Tensor:
    """(N, 17) and (N,) -> (N,) class numbers: 0 for plain, else the pattern and its layout."""
    pattern = labels[:, LABELS.index("pattern")].long()
    return torch.where(pattern > 0, 1 + (pattern - 1) * LAYOUTS + layouts, 0)


def names_of(config: GuessConfig, labels: Tensor, layouts: Tensor) -> dict[str, Tensor]:
    """(N, 17) and (N,) -> class numbers (N,) of all that a first guess reads, by its names."""
    named = {k: labels[:, i].long() for i, k in enumerate(LABELS)}
    worn = LABELS[LABELS.index("eyes") + 1:]
    wanted = {**{f"worn{k}": named[a] for k, a in enumerate(worn)}, **named, "coat": coats(labels, layouts)}
    return {k: wanted[k] for k in (*scene_names(config), *subject_names(config))}


def shares(config: GuessConfig, drawn: Drawn) -> dict[str, Tensor]:
    """As if read without a doubt: one-hots (N, count)."""
    counts = {**scene_names(config), **subject_names(config)}
    return {k: F.one_hot(t, counts[k]).float() for k, t in names_of(config, drawn.labels, drawn.layouts).items()}


def palette() -> Tensor:
    """(12, 4): red, green and blue in [-1, 1], and whether it is dark."""
    rgb = torch.tensor(list(COLOURS.values())).float()
    return torch.cat([rgb / 127.5 - 1, (rgb.sum(1, keepdim=True) < DARK).float()], 1)


@torch.no_grad()
def fit_books(guess: FirstGuess, drawn: Drawn) -> None:
    """Set everything in a first guess but its readers, on the CPU.

    Each set's background first, from where no subject stands; then outlines, which are how far a picture does not change with
    its background; then each kind's book from what the two leave. A book is cut to its leading pages, those that the pictures
    of its kind need most (in the channels' loss of `VLoss`).
    """
    config = guess.config
    guess.palette.copy_(palette())
    read, names = shares(config, drawn), names_of(config, drawn.labels, drawn.layouts)
    weight = channel_weights(drawn.latents[::50]).repeat_interleave(drawn.masks[0].numel())
    worn = torch.stack([names[f"worn{k}"] > 0 for k in range(config.worn)], 1).float()

    sets = (names["context"] * config.lights + names["light"]) * config.styles + names["style"]
    total, seen = torch.zeros_like(guess.background).unflatten(1, (guess.shape[0], -1)), torch.zeros(len(guess.background), 1, drawn.masks[0].numel())
    for at in (worn.sum(1) == 0).nonzero()[:, 0].split(4096):
        free = 1 - drawn.masks[at].flatten(1)[:, None].float() / 255
        total.index_add_(0, sets[at], free * drawn.latents[at].float().flatten(2))
        seen.index_add_(0, sets[at], free)
    background = total / (seen + 0.3)
    guess.background.copy_(background.flatten(1))
    plain = background.unflatten(0, (-1, config.styles)).mean(0)  # of a style: what paint and background have in common

    outline = torch.zeros(len(sets), drawn.masks[0].numel())
    form = torch.cat([read["style"], worn], 1)
    for k in range(config.kinds * config.poses):
        at = (names["kind"] * config.poses + names["pose"] == k).nonzero()[:, 0]
        if not len(at):
            continue
        behind = (background[sets[at]] - plain[names["style"][at]]) * weight.unflatten(0, (guess.shape[0], -1)).sqrt()
        y = drawn.latents[at].float().flatten(2) * weight.unflatten(0, (guess.shape[0], -1)).sqrt()
        gram = torch.einsum("np,ni,nj->pij", behind.square().sum(1), form[at], form[at])
        found = torch.einsum("np,ni->pi", (behind * (behind - y)).sum(1), form[at])
        loose = LOOSE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)[:, None, None] / len(at) * torch.eye(form.shape[1])
        hidden = torch.linalg.solve(gram + loose, found).T  # (styles + worn, places)
        guess.outline.unflatten(0, (-1, form.shape[1]))[k] = hidden
        outline[at] = (form[at] @ hidden).clamp(0, 1)

    for kind in range(config.kinds):
        at = (names["kind"] == kind).nonzero()[:, 0]
        if not len(at):
            continue
        told, ridge = guess.features({k: v[at] for k, v in read.items()})
        x = torch.cat([told, both(read["pose"][at], drawn.builds[at])], 1)
        ridge = torch.cat([ridge, torch.full((x.shape[1] - len(ridge),), LOOSE)])
        y = (drawn.latents[at].float().flatten(2) - (1 - outline[at])[:, None] * background[sets[at]]).flatten(1)
        book = torch.linalg.solve(x.T @ x + RIDGE * ridge.diag(), x.T @ y)[:told.shape[1]] * weight.sqrt()
        lower = torch.linalg.cholesky(told.T @ told / len(told) + 1e-4 * torch.eye(told.shape[1]))
        u, s, v = torch.svd_lowrank(lower.T @ book, min(config.rank + 16, *book.shape), niter=3)
        u, s, v = u[:, :config.rank], s[:config.rank], v[:, :config.rank]
        half = s.sqrt()  # shared out between the two, so that half precision can hold both
        guess.index[kind].zero_()[:, :len(s)] = torch.linalg.solve_triangular(lower.T, u * half, upper=True)
        guess.pages[kind].zero_()[:len(s)] = (v * half).T / weight.sqrt()
