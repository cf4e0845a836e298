"""Infusion's two metrics of overfitting, measured on models: how far a model has moved where nothing was to be customized (latent
Fisher divergence, eq. 4), and how far its pictures of the class have (2-Wasserstein, eq. 5; `metrics.wasserstein` of latents).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..conditioning import TEXT
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import CONDITIONAL, Row
from ..decoder.sampling import make_scheduler
from ..miniature.renderer import render
from ..mllm.vision import pixels
from .cases import caption_of, scenes
from .metrics import fisher

ROW = (Row(CONDITIONAL, TEXT),)


@dataclass(frozen=True)
class Others:
    """Pictures that nobody customized: their captions, latents (N, C, h, w), timesteps (N,), and noise."""

    lines: tuple[str, ...]
    latents: Tensor
    timesteps: Tensor
    noise: Tensor


def others(base: Diffusion, count: int, size: int) -> Others:
    """Held-out drawings with their captions."""
    shown = [views[0] for views in scenes(count)]
    latents = base.encode_image((pixels([render(s, size).image for s in shown]) * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
    g = torch.Generator().manual_seed(0)
    t = torch.randint(len(make_scheduler("ddim", base.scheduler_config).alphas_cumprod), (count,), generator=g)
    return Others(tuple(caption_of(s, k) for k, s in enumerate(shown)), latents, t, torch.randn(latents.shape, generator=g))


@torch.no_grad()
def divergence(base: Diffusion, custom: Diffusion, on: Others) -> float:
    """Eq. 4, 1/2 E ||eps_base - eps_custom||^2 over all timesteps alike."""
    abar = make_scheduler("ddim", base.scheduler_config).alphas_cumprod
    return fisher(*(noise_predictions(m, on, abar) for m in (base, custom)))


def noise_predictions(model: Diffusion, on: Others, abar: Tensor) -> Tensor:
    """The UNet's eps (N, C, h, w), whatever it is trained to predict."""
    kept = abar[on.timesteps].float().view(-1, 1, 1, 1)
    signal, spread = kept.sqrt(), (1 - kept).sqrt()
    noised = signal * on.latents + spread * on.noise
    seam = Seam({TEXT: model.encode_text(list(on.lines))}).begin(ROW, len(on.lines))
    out = model.unet(noised, on.timesteps, None, cross_attention_kwargs={"seam": seam}, return_dict=False)[0].float()
    kind = model.scheduler_config.get("prediction_type", "epsilon")
    return out if kind == "epsilon" else signal * out + spread * noised if kind == "v_prediction" else (noised - signal * out) / spread

