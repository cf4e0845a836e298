"""Trains the decoder's first guess: from E's class token and F(target) straight to the target's latents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..decoder.first_guess import FirstGuess
from ..miniature.world import KINDS
from ..weights import load_vae, load_vision, save_guess
from .data import LABELS, World
from .diffusion import VLoss, aims, encode_latents, encode_patches, encode_semantics, expected

MASK = 0.05  # how much the mask's own loss counts beside the latents'
WRONG = 0.2  # how often F(target) names another kind than the photo's, as M may: what the subject is, E knows better


class GuessTask:
    """`init` is a folder with dino, clip and base/vae."""

    name, lr = "guess", 5e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 128) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.vision = load_vision(config, init).to(device)
        self.latents = encode_latents(world, device, load_vae(init / "base/vae").to(device))
        self.semantics = encode_semantics(world, device, self.vision)
        self.expected = expected(world, self.semantics)
        self.seen = encode_patches(world, device, self.vision)[:, :1].clone()
        self.vloss = VLoss(config, device, self.latents)
        self.masks = VLoss.at_side(torch.from_numpy(world["masks"][:len(self.latents)].copy()).to(device), self.latents.shape[-1])
        self.kinds = torch.from_numpy(world["labels"][:len(self.semantics), LABELS.index("kind")].copy()).to(device).long()
        empty = torch.zeros(self.semantics.shape[1], device=device)  # of a kind that a small set has none of
        of = [self.semantics[self.kinds == k].float() for k in range(len(KINDS))]
        self.of_kind = torch.stack([f.mean(0) if len(f) else empty for f in of])
        self.guess = FirstGuess(config.vision.patch_width, config.language.semantic_width, config.decoder.guess_hidden,
                                tuple(self.latents.shape[1:])).to(device)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"guess": self.guess}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        photo, target = self.world.pairs(rng, self.batch_size)
        keep = (rng.random((2, len(photo), 1)) >= 0.1).astype(np.float32)  # of E and F, dropped apart as in CAFE
        return {"photo": torch.from_numpy(photo), "target": torch.from_numpy(target), "keep": torch.from_numpy(keep)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        at = batch["target"]
        seen, said = self.seen[batch["photo"]].float(), aims(self.vision, self.semantics, self.expected, at, generator)
        kind, other = self.kinds[at], torch.randint(len(KINDS), (len(at),), device=at.device, generator=generator)
        wrong = torch.rand(len(at), 1, device=at.device, generator=generator) < WRONG
        said = torch.where(wrong, self.vision.at_norm(said + self.of_kind[other] - self.of_kind[kind]), said)
        guessed, mask = self.guess.parts(seen * batch["keep"][0][..., None], said * batch["keep"][1])
        error = self.vloss(guessed, self.latents[at].float(), self.masks[at])
        outline = F.binary_cross_entropy_with_logits(mask, self.masks[at].float() / 255)
        return error + MASK * outline, {"error": error.detach(), "mask": outline.detach()}

    def export(self, folder: Path) -> None:
        save_guess(self.guess, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at that the decoder's own sheet does not show."""
