"""A flow-matching transformer that draws from words and from pictures: FLUX.2 klein, through diffusers' own pipeline. Knows no requests and no files.

It stands where `LatentDiffusion` does for whatever decodes and previews. It has no UNet, so no control of ours acts in it. diffusers' Flux2KleinKVPipeline,
which keeps the references' keys and values, lets references attend to themselves alone and at timestep 0: on weights that were not trained so it is another
model, and what it draws is not what this one draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import Flux2KleinPipeline
from PIL import Image
from torch import Tensor

from .latent_diffusion import finished, unread
from .sampler import CancelFlag, Denoised, OnStep, draw_noise

PREVIEW = 256  # pixels, at most, of a preview's side
READ = 400  # tokens of a person's words that are read: the pipeline's 512, less what its template and an instruction around them take


class _Pipeline(Flux2KleinPipeline):
    """The stock pipeline, which is told where it computes: its weights may be elsewhere between calls."""

    where = torch.device("cpu")

    @property
    def _execution_device(self) -> torch.device:
        return self.where


class FlowDecoder:
    """Args:
        transformer: Flux2Transformer2DModel. vae: AutoencoderKLFlux2; stays in float32.
        text_encoder, tokenizer: Qwen3ForCausalLM, which may be the chat model too, and its tokenizer with a chat template.
        scheduler: FlowMatchEulerDiscreteScheduler; copied for each picture.
        size: side of its pictures, pixels.
    """

    semantic_values = None  # V_H is CAFE's

    def __init__(self, transformer: Any, vae: Any, text_encoder: Any, tokenizer: Any, scheduler: Any, size: int) -> None:
        self.transformer, self.vae, self.text_encoder, self.tokenizer, self.scheduler, self.size = transformer, vae, text_encoder, tokenizer, scheduler, size
        self.device = transformer.device
        self.unsafe: Callable[[np.ndarray], Sequence[bool]] | None = None  # as of `LatentDiffusion`
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)  # pixels per latent, each way

    def at(self, device: torch.device | str) -> FlowDecoder:
        """Compute on a device. The autoencoder moves there; transformer and text encoder are brought by whoever loads or lends them."""
        self.vae.to(device)
        self.device = torch.device(device)
        return self

    def left_out(self, prompt: str) -> str:
        """As of `LatentDiffusion`."""
        at = self.tokenizer(prompt, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        return unread(prompt[at[READ][0]:]) if len(at) > READ else ""

    def sample(self, prompt: str, pictures: Sequence[Image.Image], seed: int, steps: int, on_step: OnStep | None = None, preview_every: int = 0,
               cancel: CancelFlag | None = None) -> Denoised:
        """Draw one picture's latents, (1, C, h, w) as the autoencoder takes them.

        Args:
            pictures: that the prompt calls image 1, image 2, ...; of at least 64 pixels a side, of at most 8:1, as the pipeline wants them.
            on_step, preview_every, cancel: as of `sampler.denoise`; a step that has begun is finished.
        """
        preview_every = preview_every if self.unsafe is None else 0
        # A pipeline keeps what it does in itself, so each picture has its own, on the same modules.
        pipe = _Pipeline(type(self.scheduler).from_config(self.scheduler.config), self.vae, self.text_encoder, self.tokenizer, self.transformer, is_distilled=True)
        pipe.where = self.device
        pipe.set_progress_bar_config(disable=True)
        side = self.size // (2 * self.factor)
        noise = draw_noise([seed], (self.transformer.config.in_channels, side, side), self.device).to(self.text_encoder.dtype)
        if cancel is not None and cancel.is_set():
            return _done(self._unpacked(pipe._pack_latents(noise)), True, 0)
        before, state = pipe._pack_latents(noise).float(), {"done": 0, "stopped": False}

        def stepped(_pipe: Any, step: int, _timestep: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
            nonlocal before
            after, (now, then) = given["latents"].float(), pipe.scheduler.sigmas[step:step + 2].tolist()
            clean = after - then * (after - before) / (then - now)  # along the velocity that this step took, to the end
            before, state["done"] = after, step + 1
            if on_step is not None:
                wanted = preview_every > 0 and (step + 1) % preview_every == 0 and step + 1 < steps
                on_step(step + 1, steps, self._unpacked(clean) if wanted else None)
            if cancel is not None and cancel.is_set() and step + 1 < steps:
                state["stopped"], pipe._interrupt = True, True
                return {"latents": clean.to(given["latents"].dtype)}
            return {}

        found: Any = pipe(image=list(pictures) or None, prompt=prompt, height=self.size, width=self.size, num_inference_steps=steps, guidance_scale=1.0, latents=noise,
                     output_type="latent", callback_on_step_end=stepped)  # pyright: ignore[reportArgumentType]  # its type says that a callback returns nothing
        return _done(found.images.float(), state["stopped"], state["done"])

    def _unpacked(self, packed: Tensor) -> Tensor:
        """The transformer's tokens (1, N, 4C), normalised -> (1, C, h, w) as the autoencoder takes them."""
        side, bn = self.size // (2 * self.factor), self.vae.bn
        grid = packed.transpose(1, 2).unflatten(2, (side, side)).float()
        mean, std = (t.view(1, -1, 1, 1).to(grid) for t in (bn.running_mean, (bn.running_var + self.vae.config.batch_norm_eps).sqrt()))
        return Flux2KleinPipeline._unpatchify_latents(grid * std + mean)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """uint8 RGB (B, H, W, 3) of latents (B, C, h, w). Raises as `finished`."""
        drawn = [self.vae.decode(one.to(self.vae.device, self.vae.dtype), return_dict=False)[0] for one in latents.split(1)]
        return finished(torch.cat(drawn), self.unsafe)

    def decode_preview(self, latents: Tensor) -> list[Image.Image]:
        """Pictures at full size of latents (B, C, h, w), decoded from fewer of them."""
        less = max(1, self.size // PREVIEW)
        return [Image.fromarray(one).resize((self.size, self.size), Image.Resampling.BICUBIC) for one in self.decode(F.avg_pool2d(latents, less))]


def _done(latents: Tensor, stopped: bool, steps: int) -> Denoised:
    return Denoised(latents, {"picture": latents}, stopped, steps)
