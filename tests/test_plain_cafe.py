"""CAFE's eq. 1 written plainly in a stock UNet with the shipped weights: it draws what the engine draws from the same noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import load_file

from assistant import pipeline
from assistant.messages import Settings
from assistant.manifest import CHECKPOINTS

FOLDER = CHECKPOINTS / "miniature"
STRENGTH, STEPS, SEED = 2.0, 6, 11


class Eq1:
    """softmax(Q K_E^T / sqrt d) V_E + V_H, as a diffusers attention processor. The batch is an unconditional row, which sees neither
    source, and a conditional one."""

    def __init__(self, value: torch.Tensor | None) -> None:
        self.value = value  # V_H, (1, 1, heads * d); None in self-attention

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (to(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (2, heads, N, d)
                   for to, x in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context)))
        z = ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)  # (2, N, heads * d)
        if self.value is not None:
            z = torch.stack([torch.zeros_like(z[0]), z[1] + self.value[0]])
        return attn.to_out[1](attn.to_out[0](z))


@torch.no_grad()
def plainly(patches: torch.Tensor, semantics: torch.Tensor, scheduler) -> torch.Tensor:
    """Latents (1, C, h, w) of E(x), (1, 257, d_E), and F(w), (1, d_F)."""
    unet = UNet2DConditionModel.from_pretrained(FOLDER / "base/unet").eval()
    weights = {k: t.float() for k, t in load_file(FOLDER / "cafe/semantic_values.safetensors").items()}
    unet.set_attn_processor({name: Eq1(semantics @ weights[f"layers.{name.removesuffix('.processor').replace('.', '-')}.weight"].T[None]
                                       if ".attn2." in name else None) for name in unet.attn_processors})
    latents = torch.randn(1, unet.config.in_channels, 16, 16, generator=torch.Generator().manual_seed(SEED))
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        nothing, both = unet(latents.repeat(2, 1, 1, 1), t, patches.repeat(2, 1, 1)).sample.chunk(2)
        latents = scheduler.step(nothing + STRENGTH * (both - nothing), t, latents).prev_sample
    return latents


@pytest.mark.parametrize("name, scheduler", (("ddim", DDIMScheduler), ("dpm++", DPMSolverMultistepScheduler)))
def test_eq_1_in_a_stock_unet_draws_the_engines_picture(name: str, scheduler: type) -> None:
    assistant = pipeline.load("miniature", "cpu")
    subject, reference = (assistant.known(one.photo) for one in assistant.subjects[:2])
    settings = Settings(keep_subject=STRENGTH, follow_words=STRENGTH)
    ours = assistant.drawer.prepare([subject], reference.semantics, settings, [SEED]).draw(STEPS, name).latents
    theirs = plainly(subject.patches, reference.semantics, scheduler.from_pretrained(FOLDER / "base/scheduler"))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    vae = AutoencoderKL.from_pretrained(FOLDER / "base/vae").eval()
    with torch.no_grad():
        picture = (vae.decode(theirs / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    assert np.abs(assistant.decoder.decode(ours)[0] / 255 - picture).max() <= 0.5 / 255 + 1e-4
