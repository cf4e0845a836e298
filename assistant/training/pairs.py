"""Trains the readers of G's first guess on pairs (photo, target) by eq. 3, with no names given: the books stay as they are.

At the terminal timestep, where a target is all noise, eq. 3's loss in its v form is the squared error between x0 as G draws it from E(x)
and F(target) alone, which in the miniature is the first guess, and the target's latents. Drawing a guess is differentiable, so
that readers learn from pictures what to read. E and F are dropped independently (the paper: with probability 0.1), or one of them is
left out for good (the paper's table 6).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..decoder.first_guess import FirstGuess
from ..errors import ConfigError
from ..miniature.patches import as_linear, channel_weights, encode_linear
from ..mllm.vision import Vision, pixels
from ..weights import load_tensors, save_tensors
from .diffusion import SUBJECT

BATCH = 64
SOURCES = ("E", "F")
DROPPED = 0.1
LEAST = 0.01  # a kind of no more than this share is not drawn in training: it would teach as little, and cost as much as any


@dataclass(frozen=True)
class Pairs:
    """What the readers learn from: E's class token of each photo (N, d_E), F(target) (N, d_F), the target's scaled latents (N, C, h, w),
    and masks (N, h, w) in 0..255 of the target's subject, where they are known."""

    seen: Tensor
    semantics: Tensor
    latents: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.seen)

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """One after another; masks only if all have them."""
        masks = [p.masks for p in parts]
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in ("seen", "semantics", "latents")),
                   None if any(m is None for m in masks) else torch.cat(masks))

    def __getitem__(self, at: Tensor) -> Pairs:
        return Pairs(self.seen[at], self.semantics[at], self.latents[at], None if self.masks is None else self.masks[at])


@torch.no_grad()
def encode_pairs(place: Path, pictures: Iterable[tuple[Image.Image, Image.Image]], vision: Vision, vae: nn.Module) -> Pairs:
    """Encode (photo, target) pictures of one size; kept in the file `place`, from which a resumed run reads them.

    Raises:
        ConfigError: there is no pair.
    """
    if not place.exists():
        found: dict[str, list[Tensor]] = {"seen": [], "semantics": [], "latents": []}
        linear, waiting = None, []

        def encode() -> None:
            nonlocal linear
            photos, targets = (pixels(side) for side in zip(*waiting))
            x = targets * 2 - 1
            linear = as_linear(vae, x) if linear is None else linear
            latents = vae.encode(x).latent_dist.mean if linear is None else encode_linear(x, linear)
            found["seen"].append(vision.patches(photos)[:, 0].float())
            found["semantics"].append(vision.semantics(targets).float())
            found["latents"].append((latents * vae.config.scaling_factor).half())
            waiting.clear()

        for pair in pictures:
            waiting.append(pair)
            if len(waiting) == BATCH:
                encode()
        if waiting:
            encode()
        if not found["seen"]:
            raise ConfigError("There is no pair of photo and target to learn from.", "Lower the filter's thresholds, or make more attempts.")
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_suffix(f".{os.getpid()}")
        save_file({k: torch.cat(v).contiguous() for k, v in found.items()}, fresh)
        os.replace(fresh, place)
    return Pairs(**load_file(place))


@torch.no_grad()
def fresh_readers(guess: FirstGuess, pairs: Pairs, seed: int) -> None:
    """Give both readers random weights of `seed`, and the middle and spread of what they read from `pairs`."""
    generator = torch.Generator().manual_seed(seed)
    for reader, x in ((guess.subject, pairs.seen), (guess.scene, pairs.semantics)):
        reader.standardise(x)
        for layer in reader.layers:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator), layer.bias.uniform_(-bound, bound, generator=generator)


def save_readers(guess: FirstGuess, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "readers.safetensors", nn.ModuleDict({"subject": guess.subject, "scene": guess.scene}).state_dict(),
                 {"kind": "readers of a first guess"})


def load_readers(guess: FirstGuess, folder: Path) -> None:
    """Fill `guess`'s readers. Raises WeightsError for another model's."""
    load_tensors(folder / "readers.safetensors", nn.ModuleDict({"subject": guess.subject, "scene": guess.scene}))


class PairTask:
    """A `loop.Task`.

    Args:
        guess: whose readers are trained, from where they are; its books are frozen.
        sources: which of "E" and "F" G is given at all.
        dropped: the probability with which each of them is dropped in a row.

    Raises:
        ConfigError: no source, or one that is not known.
    """

    name, lr = "pairs", 3e-3
    done = 0.0  # the training loop sets it

    def __init__(self, guess: FirstGuess, pairs: Pairs, device: str = "cpu", batch_size: int = 128, sources: tuple[str, ...] = SOURCES,
                 dropped: float = DROPPED) -> None:
        if not sources or set(sources) - set(SOURCES):
            raise ConfigError(f"The sources are {sources}; there are {' and '.join(SOURCES)}.", "Give one of them, or both.")
        self.device, self.batch_size, self.sources, self.dropped = device, batch_size, sources, dropped
        self.guess = guess.to(device).requires_grad_(False)
        self.pairs = Pairs(*(None if t is None else t.to(device) for t in (pairs.seen, pairs.semantics, pairs.latents, pairs.masks)))
        for reader in (guess.subject, guess.scene):
            reader.requires_grad_(True).train()
        self.channels = channel_weights(pairs.latents[::10] if len(pairs) > 20 else pairs.latents).view(-1, 1, 1).to(device)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"subject": self.guess.subject, "scene": self.guess.scene}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """`at` (B,): which pairs; `given` (B,): 0 E and F, 1 E alone, 2 F alone. Rows that lost both have nothing to teach, and
        are drawn again."""
        kept = np.stack([(rng.random(self.batch_size) >= self.dropped) if s in self.sources else np.zeros(self.batch_size, bool)
                         for s in SOURCES])
        while (lost := ~kept.any(0)).any():
            for k, s in enumerate(SOURCES):
                if s in self.sources:
                    kept[k, lost] = rng.random(int(lost.sum())) >= self.dropped
        return {"at": torch.from_numpy(rng.integers(0, len(self.pairs), self.batch_size)),
                "given": torch.from_numpy(np.where(kept.all(0), 0, np.where(kept[0], 1, 2)))}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows, shares = [], []
        for case, (seen, told) in enumerate(((True, True), (True, False), (False, True))):
            at = batch["at"][batch["given"] == case]
            if len(at):
                rows.append(at)
                shares.append(self.guess.read(self.pairs.seen[at].float()[:, None] if seen else None,
                                              self.pairs.semantics[at].float() if told else None))
        at = torch.cat(rows)
        drawn = self.guess.draw({k: torch.cat([s[k] for s in shares]) for k in shares[0]}, LEAST)
        error = self.channels * (drawn - self.pairs.latents[at].float()).square()
        if self.pairs.masks is None:
            return error.mean(), {}
        weight = 1 + (SUBJECT - 1) * self.pairs.masks[at][:, None].float() / 255
        return (weight * error).sum() / (weight.sum() * error.shape[1]), {}

    def export(self, folder: Path) -> None:
        save_readers(self.guess, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at that the pictures of a round do not show."""
