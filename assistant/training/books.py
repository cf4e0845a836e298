"""Fits the first guess's books: drawings with their truth -> linear maps, by ridge regression. Minutes, and no descent."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import GuessConfig
from ..decoder.first_guess import FirstGuess, both, scene_names, subject_names
from ..miniature.painting import DARK
from ..miniature.patches import channel_weights
from ..miniature.world import ACCESSORIES, COLOURS, LAYOUTS
from .data import LABELS, World, group
from .drawings import Drawn

RIDGE = 0.5  # on what a picture's features explain
LOOSE = 3.0  # on what hides what, as often
DIM = 150.0  # a darker colour has a light halo


def layouts(world: World) -> Tensor:
    """(N,): where the pattern lies in every picture of a set, ready or not: not in its labels, so drawn by lot again, from its seed."""
    about, place = world.about, world.folder / "layouts.safetensors"
    if not place.exists():
        scenes = [s for g in range(about["groups"]) for s in group(about["seed"], g, about["held_out"]).scenes]
        fresh = place.with_suffix(f".{os.getpid()}")
        save_file({"layouts": torch.tensor([s.individual.layout for s in scenes])}, fresh)
        os.replace(fresh, place)
    return load_file(place)["layouts"]


def coats(labels: Tensor, layouts: Tensor) -> Tensor:
    """(N, 17) and (N,) -> (N,) class numbers: 0 for plain, else the pattern and its layout."""
    pattern = labels[:, LABELS.index("pattern")].long()
    return torch.where(pattern > 0, 1 + (pattern - 1) * LAYOUTS + layouts, 0)


def names_of(config: GuessConfig, labels: Tensor, layouts: Tensor) -> dict[str, Tensor]:
    """(N, 17) and (N,) -> class numbers (N,) of all that a first guess reads, by its names."""
    named = {k: labels[:, i].long() for i, k in enumerate(LABELS)}
    wanted = {**{f"worn{k}": named[a] for k, a in enumerate(ACCESSORIES)}, **named, "coat": coats(labels, layouts)}
    return {k: wanted[k] for k in (*scene_names(config), *subject_names(config))}


def shares(config: GuessConfig, drawn: Drawn) -> dict[str, Tensor]:
    """As if read without a doubt: one-hots (N, count)."""
    counts = {**scene_names(config), **subject_names(config)}
    return {k: F.one_hot(t, counts[k]).float() for k, t in names_of(config, drawn.labels, drawn.layouts).items()}


def palette() -> Tensor:
    """(12, 5): red, green and blue in [-1, 1], whether its outline is light, and whether its halo is."""
    rgb = torch.tensor(list(COLOURS.values())).float()
    grey = rgb @ torch.tensor((0.299, 0.587, 0.114))
    return torch.cat([rgb / 127.5 - 1, (rgb.sum(1, keepdim=True) < DARK).float(), (grey[:, None] < DIM).float()], 1)


def _book(told: Tensor, y: Tensor, ridge: Tensor, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Ridge regression of (N, f) on (N, d), cut to `rank` pages that the given pictures need most: (f, rank) and (rank, d)."""
    book = torch.linalg.solve(told.T @ told + ridge.diag(), told.T @ y) * weight.sqrt()
    lower = torch.linalg.cholesky(told.T @ told / len(told) + 1e-4 * torch.eye(told.shape[1]))
    u, s, v = torch.svd_lowrank(lower.T @ book, min(rank + 16, *book.shape), niter=3)
    u, s, v = u[:, :rank], s[:rank], v[:, :rank]
    half = s.sqrt()  # shared out between the two, so that half precision can hold both
    index, pages = book.new_zeros(told.shape[1], rank), book.new_zeros(rank, y.shape[1])
    index[:, :len(s)] = torch.linalg.solve_triangular(lower.T, u * half, upper=True)
    pages[:len(s)] = (v * half).T / weight.sqrt()
    return index, pages


@torch.no_grad()
def fit_books(guess: FirstGuess, bare: Drawn, dressed: Drawn) -> None:
    """Set everything in a first guess but its readers, on the CPU.

    Each set's background first, from where no subject stands; then outlines, which are how far a picture does not change with
    its background; then each kind's book from what the two leave; then its wardrobe. A book is cut to its leading pages, those
    that the pictures of its kind need most (in the channels' loss of `VLoss`).

    Args:
        bare, dressed: of `drawings`; the first of `dressed`, and each one after everything that can be worn, is bare too.
    """
    config = guess.config
    guess.palette.copy_(palette())
    free = Drawn.joined([bare, dressed[torch.arange(0, len(dressed.latents), 1 + len(ACCESSORIES))]])
    read, names = shares(config, free), names_of(config, free.labels, free.layouts)
    weight = channel_weights(free.latents[::50]).repeat_interleave(free.masks[0].numel())
    by_channel = weight.unflatten(0, (guess.shape[0], -1))

    sets = (names["context"] * config.lights + names["light"]) * config.styles + names["style"]
    background = _backgrounds(guess, free, sets)
    guess.background.copy_(background.flatten(1))
    plain = background.unflatten(0, (-1, config.styles)).mean(0)  # of a style: what paint and background have in common

    outline = torch.zeros(len(sets), free.masks[0].numel())
    for k in range(config.kinds * config.poses):
        at = (names["kind"] * config.poses + names["pose"] == k).nonzero()[:, 0]
        if not len(at):
            continue
        form = read["style"][at]
        behind = (background[sets[at]] - plain[names["style"][at]]) * by_channel.sqrt()
        y = free.latents[at].float().flatten(2) * by_channel.sqrt()
        gram = torch.einsum("np,ni,nj->pij", behind.square().sum(1), form, form)
        found = torch.einsum("np,ni->pi", (behind * (behind - y)).sum(1), form)
        loose = LOOSE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)[:, None, None] / len(at) * torch.eye(form.shape[1])
        hidden = torch.linalg.solve(gram + loose, found).T  # (styles, places)
        guess.outline.unflatten(0, (-1, form.shape[1]))[k] = hidden
        outline[at] = (form @ hidden).clamp(0, 1)

    for kind in range(config.kinds):
        at = (names["kind"] == kind).nonzero()[:, 0]
        if not len(at):
            continue
        told, ridge = guess.features({k: v[at] for k, v in read.items()})
        y = (free.latents[at].float().flatten(2) - (1 - outline[at])[:, None] * background[sets[at]]).flatten(1)
        index, pages = _book(told, y, RIDGE * ridge, weight, config.rank)
        guess.index[kind].copy_(index), guess.pages[kind].copy_(pages)
    _fit_wardrobes(guess, dressed, weight)


def _backgrounds(guess: FirstGuess, free: Drawn, sets: Tensor) -> Tensor:
    """(sets, C, h * w): the mean of each set's drawings where no subject stands."""
    total = torch.zeros_like(guess.background).unflatten(1, (guess.shape[0], -1))
    seen = torch.zeros(len(total), 1, total.shape[2])
    for at in torch.arange(len(sets)).split(4096):
        clear = 1 - free.masks[at].flatten(1)[:, None].float() / 255
        total.index_add_(0, sets[at], clear * free.latents[at].float().flatten(2))
        seen.index_add_(0, sets[at], clear)
    return total / (seen + 0.3)


def _fit_wardrobes(guess: FirstGuess, dressed: Drawn, weight: Tensor) -> None:
    """How each thing hides what is behind it, then what it looks like: from pictures with it and the same without."""
    config, each = guess.config, 1 + len(ACCESSORIES)
    first = torch.arange(len(dressed.latents)) // each * each
    worn = (torch.arange(len(first)) % each > 0).nonzero()[:, 0]
    with_it, without = dressed[worn], dressed.latents[first[worn]]
    read, names = shares(config, with_it), names_of(config, with_it.labels, with_it.layouts)
    thing = (worn % each) - 1
    for kind in range(config.kinds):
        at = (names["kind"] == kind).nonzero()[:, 0]
        if not len(at):
            continue
        told = guess.looks({k: v[at] for k, v in read.items()})
        styled = torch.arange(told.shape[1]) // (config.worn * told.shape[1] // (config.poses * (1 + config.styles) * config.worn))
        ridge = torch.where(styled % (1 + config.styles) == 0, 0.02, 0.1)
        y, z = with_it.latents[at].float().flatten(2), without[at].float().flatten(2)
        change = y - z
        for pose in range(config.poses):
            for k in range(config.worn):
                of = ((names["pose"][at] == pose) & (thing[at] == k)).nonzero()[:, 0]
                if not len(of):
                    continue
                some = told[of]
                some, loose = some[:, some.abs().sum(0) > 0], ridge[some.abs().sum(0) > 0]
                # what is left of both once the thing's own looks are taken out: only what it hides can join them
                left = torch.eye(len(of)) - some @ torch.linalg.solve(some.T @ some + loose.diag(), some.T)
                a, b = (torch.einsum("nm,mcp->ncp", left, t[of]) * weight.unflatten(0, (guess.shape[0], -1)).sqrt() for t in (change, z))
                energy = b.square().sum((0, 1))
                cover = -(a * b).sum((0, 1)) / (energy + LOOSE * energy.mean() / len(of))
                guess.cover[(kind * config.poses + pose) * config.worn + k] = cover.clamp(0, 1)
        cover = guess.cover_of({k: v[at] for k, v in read.items()})
        index, pages = _book(told, (change + cover[:, None] * z).flatten(1), ridge, weight, config.worn_rank)
        guess.wardrobe[kind].copy_(index), guess.cloth[kind].copy_(pages)
