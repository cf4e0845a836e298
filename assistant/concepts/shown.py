"""What a concept's few pictures ask of a model (Infusion, eq. 8): the error of what it predicts of them, noised. Knows no method: who
learns brings predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assistant.decoder.diffusion import Diffusion
from assistant.decoder.sampling import make_scheduler

OUTSIDE = 0.1  # how much of the loss what is not the subject keeps


class Shown:
    """Pictures of one concept, encoded once.

    Args:
        base: the text-to-image model; nothing of it is changed.
        latents: (P, C, h, w) scaled.
        masks: (P, 1, h, w) in 0..1, where the subject is; None: everywhere.
    """

    def __init__(self, base: Diffusion, latents: Tensor, masks: Tensor | None = None) -> None:
        self.latents, self.masks = latents, torch.ones_like(latents[:, :1]) if masks is None else masks
        self.scheduler = make_scheduler("ddim", base.scheduler_config)
        self.timesteps = self.scheduler.config.num_train_timesteps

    def noised(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (B, C, h, w) -> noised, timesteps (B,), drawn evenly, and what the UNet should predict."""
        t = torch.randint(self.timesteps, (len(latents),), generator=generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        kind = self.scheduler.config.prediction_type
        target = {"epsilon": noise, "sample": latents}[kind] if kind != "v_prediction" else self.scheduler.get_velocity(latents, noise, t)
        return self.scheduler.add_noise(latents, noise, t), t, target

    def unet_loss(self, predict: Callable[[Tensor, Tensor], Tensor], at: Tensor, generator: torch.Generator, flips: Tensor | None = None) -> Tensor:
        """Eq. 8 of the pictures `at` (B,).

        Args:
            predict: noised latents (B, C, h, w), timesteps (B,) -> the prediction. flips: (B, 1, 1, 1) bool, which to mirror.
        """
        latents, masks = self.latents[at], self.masks[at]
        if flips is not None:
            latents, masks = (torch.where(flips, x.flip(-1), x) for x in (latents, masks))
        noised, t, target = self.noised(latents, generator)
        weight = OUTSIDE + (1 - OUTSIDE) * masks
        return (weight * (predict(noised, t) - target).square()).sum() / (weight.sum() * target.shape[1])
