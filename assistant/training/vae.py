"""The autoencoder: its encoder is written by hand from the pictures' principal components (miniature/patches.py), its decoder
is trained, on crops, with L1 at two scales and on gradients. The latents never move, so the decoder may go on learning
while, and after, everything else is trained on them. Once there is a first guess, half of what it learns from are guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..config import AssistantConfig
from ..miniature.patches import write_encoder
from ..weights import load_guess, load_vae, save_module, save_preview
from .books import shares
from .data import World
from .diffusion import encode_latents, inner_matrices
from .drawings import SORTS, Drawn, read_books
from .sheets import grid

CROP = 8  # latents, each way
SHARDS = 12  # of drawings for books, of each sort, that guesses are made of


class VaeTask:
    name, lr = "vae", 2e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, folder: Path, batch_size: int = 16,
                 guess: Path | None = None, books: Path | None = None) -> None:
        """`guess` and `books`: a first guess and the drawings that its books were fitted to, once there are both."""
        self.world, self.device, self.batch_size, self.folder = world, device, batch_size, folder
        if not (folder / "config.json").exists():
            self._start(config)
        self.vae = load_vae(folder).to(device, memory_format=torch.channels_last)
        for part in (self.vae.decoder, self.vae.post_quant_conv):
            part.requires_grad_(True).train()
        self.latents = encode_latents(world, device, self.vae)
        self.factor = config.decoder.image_size // self.latents.shape[-1]
        drawn = [d for sort in SORTS for d in read_books(books, sort, SHARDS)] if guess and guess.exists() and books else []
        self.guessed = self._guessed(config, guess, drawn) if drawn else None
        self.matrices = inner_matrices("decoder", self.vae.decoder)

    def _start(self, config: AssistantConfig) -> None:
        """Write the encoder and the linear preview; a decoder with random weights goes with them."""
        rng = np.random.default_rng(7)
        images = np.array(self.world["images"][np.sort(self.world.pictures(rng, 1024))])
        vae = AutoencoderKL(**config.decoder.vae, scaling_factor=1.0)
        print(f"the latents keep {write_encoder(vae, images[:512]):.4f} of the variance", flush=True)
        with torch.no_grad():
            x = torch.from_numpy(images[512:]).permute(0, 3, 1, 2).float() / 127.5 - 1
            z = vae.encode(x).latent_dist.mean
            vae.register_to_config(scaling_factor=round(float(1 / z.std()), 5))
            small = F.avg_pool2d(x, x.shape[-1] // z.shape[-1]).movedim(1, -1).flatten(0, -2) / 2 + 0.5
            flat = (z * vae.config.scaling_factor).movedim(1, -1).flatten(0, -2)
            fit = torch.linalg.lstsq(torch.cat([flat, torch.ones(len(flat), 1)], 1), small).solution
        save_module(vae, self.folder)
        save_preview(self.folder, fit[:-1], fit[-1])

    @torch.no_grad()
    def _guessed(self, config: AssistantConfig, folder: Path, drawn: list[Drawn]) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """The first guesses of drawings, told the truth: soft where its books are, for the decoder to make crisp; with images, masks."""
        guess = load_guess(config, folder)
        latents = [guess.draw(shares(config.decoder.guess, d)).half() for d in drawn]
        return torch.cat(latents), *(np.concatenate([getattr(d, k).numpy() for d in drawn]) for k in ("images", "masks"))

    def modules(self) -> Mapping[str, nn.Module]:
        return {"decoder": self.vae.decoder, "post": self.vae.post_quant_conv}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        known = (self.latents, self.world["images"], self.world["masks"])
        from_guess = rng.random(self.batch_size) < (0.5 if self.guessed is not None else 0.0)
        at = np.where(from_guess, rng.integers(0, len(self.guessed[0]) if self.guessed else 1, self.batch_size),
                      self.world.pictures(rng, self.batch_size))
        top, left = rng.integers(0, self.latents.shape[-1] - CROP + 1, (2, self.batch_size))
        f, latents, images, masks = self.factor, [], [], []
        for k, (i, y, c) in enumerate(zip(at, top, left)):
            z, x, m = self.guessed if from_guess[k] else known
            latents.append(z[i, :, y:y + CROP, c:c + CROP])
            images.append(x[i, f * y:f * (y + CROP), f * c:f * (c + CROP)])
            masks.append(m[i, y:y + CROP, c:c + CROP])
        return {"images": torch.from_numpy(np.stack(images)), "masks": torch.from_numpy(np.stack(masks)), "latents": torch.stack(latents).cpu()}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = (batch["images"].permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        z = batch["latents"].float()
        # what the decoder meets later is a sampler's latents, never quite clean
        level = 0.12 * torch.rand(len(z), 1, 1, 1, device=z.device, generator=generator).square()
        z = (z + level * torch.randn(z.shape, device=z.device, generator=generator)) / self.vae.config.scaling_factor
        y = self.vae.decode(z.contiguous(memory_format=torch.channels_last)).sample.float()
        weight = 1 + F.interpolate(batch["masks"][:, None].float() / 255, x.shape[-2:])  # the eye rests on the subject
        difference = y - x
        pixel = (weight * difference.abs()).mean()
        edges = sum((difference.diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (2, 3))
        coarse = F.avg_pool2d(difference, 4).abs().mean()
        psnr = 10 * torch.log10(4 / difference.detach().square().mean(dim=(1, 2, 3)).clamp_min(1e-6)).mean()
        return pixel + edges + coarse, {"pixel": pixel.detach(), "psnr": psnr}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        preview = (folder / "preview.safetensors").read_bytes()
        save_module(self.vae, folder)
        (folder / "preview.safetensors").write_bytes(preview)

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        x = torch.from_numpy(self.world["images"][np.sort(self.world.pictures(np.random.default_rng(5), 32))]).to(self.device)
        y = self.vae.decode(self.vae.encode(x.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mean).sample
        y = ((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        grid(path, torch.stack([x, y], 1).flatten(0, 1).cpu().numpy(), 8)
