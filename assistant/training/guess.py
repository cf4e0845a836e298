"""Trains the first guess: its readers of E's class token and of F by descent, its books in closed form at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..decoder.first_guess import FirstGuess
from ..weights import load_guess, load_vae, load_vision, save_guess
from .books import Drawn, fit_books, names_of, of_world, read_books
from .data import World
from .diffusion import aims, encode_latents, encode_patches, encode_semantics, expected

SHAKEN = 0.5  # how far E is shaken in training, in its deviations: an individual is not to be known by heart


class GuessTask:
    """`init` is a folder with dino, clip and base/vae; `books` one with further drawings (`draw_books`), or none; `warm` one with a
    first guess whose books are kept and whose readers go on."""

    name, lr = "guess", 3e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 512,
                 books: Path | None = None, warm: Path | None = None) -> None:
        self.world, self.device, self.batch_size, self.books, self.warm = world, device, batch_size, books, warm
        self.vision = load_vision(config, init).to(device)
        self.semantics = encode_semantics(world, device, self.vision)
        self.expected = expected(world, self.semantics)
        self.seen = encode_patches(world, device, self.vision)[:, 0].clone()
        self.drawn = of_world(world, encode_latents(world, device, load_vae(init / "base/vae").to(device)).cpu())
        self.guess = FirstGuess(config.vision.patch_width, config.language.semantic_width, config.decoder.guess,
                                tuple(self.drawn.latents.shape[1:])).to(device)
        if warm:
            self.guess.load_state_dict(load_guess(config, warm).state_dict())
        for reader, x in ((self.guess.subject, self.seen), (self.guess.scene, self.semantics)):
            reader.standardise(x)
        self.names = {k: t.to(device) for k, t in names_of(config.decoder.guess, self.drawn.labels, self.drawn.layouts).items()}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"subject": self.guess.subject, "scene": self.guess.scene}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return {"at": torch.from_numpy(self.world.pictures(rng, self.batch_size))}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        at = batch["at"]
        seen = self.seen[at].float()
        shake = torch.randn(seen.shape, device=seen.device, generator=generator)
        logits = {f"E {k}": v for k, v in self.guess.subject(seen + SHAKEN * self.guess.subject.deviation * shake).items()}
        logits |= {f"F {k}": v for k, v in self.guess.scene(aims(self.vision, self.semantics, self.expected, at, generator)).items()}
        losses, right = [], {}
        for k, found in logits.items():
            truth = self.names[k[2:]][at]
            losses.append(F.cross_entropy(found, truth))
            right[k] = (found.argmax(1) == truth).float().mean()
        return torch.stack(losses).sum(), {k: right[k] for k in ("E kind", "E colour", "E coat", "F context", "F style", "F pose")}

    def export(self, folder: Path) -> None:
        if self.warm is None:
            fit_books(self.guess.cpu(), Drawn.joined([self.drawn, *(read_books(self.books) if self.books else [])]))
        save_guess(self.guess.cpu(), folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at that the decoder's own sheet does not show."""
