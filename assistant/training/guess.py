"""Trains the first guess: its readers of E's class token and of F by descent, its books in closed form at the end.

The readers learn from a set that E, F and M have never seen: what those know by heart of their own, they will not know of a photo.
F is read as it is, as H(s) comes near to it (`aims`), and as M's own H(s) after dialogues says it, mistakes and all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..decoder.first_guess import FirstGuess
from ..weights import load_guess, load_vision, save_guess
from .books import fit_books, layouts, names_of
from .bridge import foretold
from .data import World
from .diffusion import aims, encode_patches, encode_semantics, expected
from .drawings import SORTS, Drawn, read_books

DIALOGUES = 320  # batches of them that H(s) is taken from
SHAKEN = 0.5  # how far E is shaken in training, in its deviations: an individual is not to be known by heart


class GuessTask:
    """`init` is a folder with dino and clip, and if H(s) is to be read, llama and bridge; `books` one with what `draw_books` drew; `warm` one with a first guess whose readers go
    on, and whose books are kept where `books` is none."""

    name, lr = "guess", 3e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 512,
                 books: Path | None = None, warm: Path | None = None) -> None:
        self.world, self.device, self.batch_size, self.books = world, device, batch_size, books
        self.vision = load_vision(config, init).to(device)
        self.semantics = encode_semantics(world, device, self.vision)
        self.expected = expected(world, self.semantics)
        self.seen = encode_patches(world, device, self.vision)[:, 0].clone()
        side = config.decoder.unet["sample_size"]
        self.guess = load_guess(config, warm) if warm else FirstGuess(
            config.vision.patch_width, config.language.semantic_width, config.decoder.guess, (config.decoder.unet["in_channels"], side, side))
        self.guess.to(device)
        for reader, x in ((self.guess.subject, self.seen), (self.guess.scene, self.semantics)):
            reader.requires_grad_(True).train()
            if not warm:
                reader.standardise(x)
        self.names = {k: t.to(device) for k, t in names_of(config.decoder.guess, torch.from_numpy(world["labels"].copy()), layouts(world)).items()}

        self.said, self.of = None, None
        if (init / "bridge").exists() and len(world.groups) > batch_size:
            self.said, self.of = foretold(config, world, device, init, DIALOGUES)

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
        truths = {"E": at, "F": at}
        if self.said is not None:
            spoken = torch.randint(len(self.said), (len(at) // 2,), device=at.device, generator=generator)
            said = self.said[spoken]
            said = said + 0.4 * torch.rand(len(said), 1, device=at.device, generator=generator) * torch.randn(said.shape, device=at.device, generator=generator)
            logits |= {f"H {k}": v for k, v in self.guess.scene(self.vision.at_norm(said)).items()}
            truths["H"] = self.of[spoken]
        losses, right = [], {}
        for k, found in logits.items():
            truth = self.names[k[2:]][truths[k[0]]]
            losses.append(F.cross_entropy(found, truth))
            right[k] = (found.argmax(1) == truth).float().mean()
        worn = torch.stack([right[k] for k in right if k[:6] == "F worn"]).mean()
        return torch.stack(losses).sum(), {k: v for k, v in right.items() if "worn" not in k and "second" not in k} | {"F worn": worn}

    def export(self, folder: Path) -> None:
        if self.books is not None:
            fit_books(self.guess.cpu(), *(Drawn.joined(read_books(self.books, sort)) for sort in SORTS))
        save_guess(self.guess.cpu(), folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at that the decoder's own sheet does not show."""
