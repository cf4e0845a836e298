"""Trains the autoencoder: L1 at three scales and on gradients, a little KL, a little noise on the latents it decodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..config import AssistantConfig
from ..weights import save_module, save_preview
from .data import World
from .sheets import grid


class VaeTask:
    """`decoder_only` keeps the latents as they are, so that everything trained on them stays valid."""

    name, lr = "vae", 1e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, batch_size: int = 64, decoder_only: bool = False,
                 init: Path | None = None) -> None:
        self.world, self.device, self.batch_size, self.decoder_only = world, device, batch_size, decoder_only
        self.vae = AutoencoderKL.from_pretrained(init) if init else AutoencoderKL(**config.decoder.vae, scaling_factor=1.0)
        self.vae.to(device).train()
        if decoder_only:
            self.lr = 4e-4
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"vae": self.vae}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        return {"images": torch.from_numpy(self.world["images"][at]), "masks": torch.from_numpy(self.world["masks"][at])}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["images"].permute(0, 3, 1, 2).float() / 127.5 - 1
        posterior = self.vae.encode(x).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        if self.decoder_only:
            mean, logvar = mean.detach(), logvar.detach()
        noise = torch.randn(mean.shape, device=mean.device, generator=generator)
        # what the decoder meets later is a sampler's latents, never quite clean: up to 15 % of their spread is noise
        level = 0.15 * torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator)
        spread = mean.detach().std(dim=(0, 2, 3), keepdim=True)
        z = mean + noise * torch.maximum(torch.exp(0.5 * logvar), level * spread)
        y = self.vae.decode(z).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        weight = 1 + F.interpolate(batch["masks"][:, None].float() / 255, x.shape[-2:])  # the eye rests on the subject
        pixel = (weight * (y - x).abs()).mean()
        edges = sum(((y - x).diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (2, 3))
        coarse = sum((F.avg_pool2d(y, k) - F.avg_pool2d(x, k)).abs().mean() for k in (4, 16))
        psnr = 10 * torch.log10(4 / (y - x).square().mean(dim=(1, 2, 3)).clamp_min(1e-6)).mean()
        total = pixel + edges + 0.5 * coarse + (0 if self.decoder_only else 1e-5) * kl
        return total, {"pixel": pixel.detach(), "psnr": psnr.detach(), "kl": kl.detach(), "spread": spread.mean()}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Scale the latents to unit variance, fit the linear preview, write both."""
        rng = np.random.default_rng(7)
        latents, small = [], []
        for _ in range(8):
            x = torch.from_numpy(self.world["images"][np.sort(self.world.pictures(rng, 64))]).to(self.device)
            x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
            latents.append(self.vae.encode(x).latent_dist.mean)
            small.append(F.avg_pool2d(x, x.shape[-1] // latents[-1].shape[-1]))
        z, rgb = torch.cat(latents), torch.cat(small)
        if not self.decoder_only:
            self.vae.register_to_config(scaling_factor=round(float(1 / z.std()), 5))
        flat = (z * self.vae.config.scaling_factor).movedim(1, -1).flatten(0, -2)
        ones = torch.ones(len(flat), 1, device=flat.device)
        fit = torch.linalg.lstsq(torch.cat([flat, ones], 1).cpu(), rgb.movedim(1, -1).flatten(0, -2).cpu()).solution
        save_module(self.vae, folder)
        save_preview(folder, fit[:-1], fit[-1])

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        x = torch.from_numpy(self.world["images"][np.sort(self.world.pictures(np.random.default_rng(5), 32))]).to(self.device)
        y = self.vae.decode(self.vae.encode(x.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mean).sample
        y = ((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        grid(path, torch.stack([x, y], 1).flatten(0, 1).cpu().numpy(), 8)
