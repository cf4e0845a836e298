"""What the two decoder tasks share: cached latents, the v-prediction loss at zero terminal SNR, a sheet of samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from ..config import AssistantConfig
from .data import World

CHUNK = 256


def encode_all(world: World, device: str, encode: Callable[[Tensor], dict[str, Tensor]], folder: Path, tag: str) -> dict[str, Tensor]:
    """Run `encode` on every ready picture, (B, 3, H, W) in [0, 1], once; kept in half precision on the device.

    The result is cached beside the set under `tag` (a hash of the encoders' weights), so that a resumed run skips it.
    """
    world.refresh()
    first = int(world.groups[-1] + 1) * 3
    place = folder / f"encoded-{tag}-{first}.safetensors"
    from safetensors.torch import load_file, save_file

    if place.exists():
        return load_file(place, device=device)
    out: dict[str, Tensor] = {}
    for start in range(0, first, CHUNK):
        x = torch.from_numpy(world["images"][start:start + CHUNK]).to(device)
        with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu"):
            found = encode(x.permute(0, 3, 1, 2).float() / 255)
        for k, t in found.items():
            out.setdefault(k, torch.empty(first, *t.shape[1:], dtype=torch.float16, device=device))[start:start + len(t)] = t.half()
    save_file({k: t.cpu() for k, t in out.items()}, place)
    return out


class VLoss:
    """Eq. 3's noise-prediction loss in its v form, v = sqrt(abar) eps - sqrt(1 - abar) x0, over all timesteps alike."""

    def __init__(self, config: AssistantConfig, device: str) -> None:
        self.abar = DDIMScheduler(**config.decoder.scheduler).alphas_cumprod.to(device)

    def draw(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) -> noised latents, timesteps (B,), target v."""
        t = torch.randint(len(self.abar), (len(latents),), device=latents.device, generator=generator)
        noise = torch.randn(latents.shape, device=latents.device, generator=generator)
        signal, spread = (a.view(-1, 1, 1, 1) for a in (self.abar[t].sqrt(), (1 - self.abar[t]).sqrt()))
        return signal * latents + spread * noise, t, signal * noise - spread * latents

    def __call__(self, predicted: Tensor, target: Tensor, masks: Tensor) -> Tensor:
        """Mean squared error; the subject, masks (B, h, w) in 0..255, counts up to twice."""
        weight = 1 + masks[:, None].float() / 255
        return (weight * (predicted.float() - target).square()).sum() / (weight.sum() * target.shape[1])


def freeze(*modules: nn.Module) -> None:
    for module in modules:
        module.eval().requires_grad_(False)


def pick(array: np.ndarray, at: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array[at]))
