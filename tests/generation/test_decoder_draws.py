"""The miniature's decoder draws: from noise alone, by stock diffusers, what captions of held-out individuals ask for."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from assistant.evaluation.test_cases import Tally, caption_of, caption_of_pair, halves, load_witness, named_of, pairs, pictures, scenes, text_to_image
from assistant.generation.cafe import CafeInputs
from assistant.requests import Settings
from assistant.presets import MINIATURE
from assistant.manifest import CHECKPOINTS
from assistant.checkpoints import load_base

pytestmark = pytest.mark.slow
COUNT, PAIRS, STEPS, GUIDANCE = 24, 16, 12, 3.0
LEAST = {"kind": 0.75, "colour": 0.75, "context": 0.75, "style": 0.75}  # of 24, well below what 512 captions reach
TWO = 0.3  # of the pairs, both kinds


@pytest.fixture(scope="module")
def witness():
    return load_witness(MINIATURE, CHECKPOINTS / MINIATURE.folder)


def test_stock_diffusers_draws_what_captions_ask_for(witness):
    pipe = StableDiffusionPipeline.from_pretrained(CHECKPOINTS / MINIATURE.folder / "base")
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)  # needs half the steps of the DDIM that lies with it
    pipe.set_progress_bar_config(disable=True)
    shown = [views[0] for views in scenes(COUNT)]
    lines = [caption_of(scene, k) for k, scene in enumerate(shown)]
    generators = [torch.Generator().manual_seed(k) for k in range(COUNT)]
    drawn = pipe(lines, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators, output_type="np").images
    tally = Tally()
    for line, scene, said in zip(lines, shown, witness.names(torch.from_numpy(drawn).permute(0, 3, 1, 2).float())):
        tally.add(said, named_of(line, scene))
    shares = {name: found["value"] for name, found in tally.shares().items()}
    assert {name: shares[name] for name in LEAST if shares[name] < LEAST[name]} == {}


def test_another_seed_is_another_picture_of_the_same_caption():
    base = load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    x = text_to_image(base, ["a red cat"] * 4, range(4), 12, GUIDANCE)
    apart = [(x[i] - x[j]).abs().mean().item() * 255 for i in range(4) for j in range(i)]
    assert min(apart) > 10  # of 255: the words leave place and style open


def test_two_heroes_stand_in_one_picture(witness):
    base = load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    shown = pairs(PAIRS)
    x = text_to_image(base, [caption_of_pair(s, k) for k, s in enumerate(shown)], range(len(shown)), STEPS, GUIDANCE)
    sides = [witness.names(half) for half in halves(x)]
    both = [left["kind"] == s.individual.kind and right["kind"] == s.companion.kind for s, left, right in zip(shown, *sides)]
    assert sum(both) >= len(both) * TWO


def test_reconstructions_are_close_and_latents_forgive():
    base = load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    from assistant.world.renderer import render
    from assistant.models.vision_encoders import pixels

    x = pixels([render(views[0]).image for views in scenes(16)])
    z = base.encode_image((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))

    def psnr(latents: torch.Tensor) -> float:
        return float((10 * torch.log10(1 / (pictures(base, latents) - x).square().mean((1, 2, 3)))).mean())

    clean, noisy = psnr(z), psnr(z + 0.25 * noise)
    assert 0.8 < z.std() < 1.2
    assert clean > 21 and noisy > clean - 1.5


FOLDER = CHECKPOINTS / "miniature"
STRENGTH, SHARE, GUIDED, EVERY, PLAIN_STEPS, SEED = 2.0, MINIATURE.decoder.caption_share, MINIATURE.decoder.guided, MINIATURE.decoder.guided_every, 6, 11


class Eq1:
    """softmax(Q K_E^T / sqrt d) V_E + V_H, as a diffusers attention processor. The batch is an unconditional row, which sees neither
    source, and a conditional one; or one row, of a caption, where there is no V_H."""

    def __init__(self, value: torch.Tensor | None) -> None:
        self.value = value  # V_H, (1, 1, heads * d); None in self-attention

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (to(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (2, heads, N, d)
                   for to, x in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context)))
        z = ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)  # (2, N, heads * d)
        if self.value is not None and len(z) == 2:
            z = torch.stack([torch.zeros_like(z[0]), z[1] + self.value[0]])
        return attn.to_out[1](attn.to_out[0](z))


@torch.no_grad()
def plainly(patches: torch.Tensor, semantics: torch.Tensor, caption: torch.Tensor | None, scheduler) -> torch.Tensor:
    """Latents (1, C, h, w) of E(x), (1, 257, d_E), F(w), (1, d_F), and a caption's states, (1, N, d_E)."""
    unet = UNet2DConditionModel.from_pretrained(FOLDER / "base/unet").eval()
    weights = {k: t.float() for k, t in load_file(FOLDER / "cafe/semantic_values.safetensors").items()}
    unet.set_attn_processor({name: Eq1(semantics @ weights[f"layers.{name.removesuffix('.processor').replace('.', '-')}.weight"].T[None]
                                       if ".attn2." in name else None) for name in unet.attn_processors})
    latents = torch.randn(1, unet.config.in_channels, 16, 16, generator=torch.Generator().manual_seed(SEED))
    scheduler.set_timesteps(PLAIN_STEPS)
    added = torch.zeros(())
    for k, t in enumerate(scheduler.timesteps):
        nothing, both = unet(latents.repeat(2, 1, 1, 1), t, patches.repeat(2, 1, 1)).sample.chunk(2)
        guided = nothing + STRENGTH * (both - nothing)
        if caption is not None:
            guided = guided + SHARE * STRENGTH * (unet(latents, t, caption).sample - nothing)
        if k >= GUIDED * PLAIN_STEPS:
            guided = both
        elif k % EVERY:
            guided = both + added
        else:
            added = guided - both
        latents = scheduler.step(guided, t, latents).prev_sample
    return latents


@pytest.mark.parametrize("name, scheduler, caption", (("ddim", DDIMScheduler, ""), ("dpm++", DPMSolverMultistepScheduler, ""),
                                                      ("dpm++", DPMSolverMultistepScheduler, "red fox, wearing blue hat, by the sea")))
@torch.no_grad()
def test_eq_1_in_a_stock_unet_draws_the_engines_picture(assistant, name: str, scheduler: type, caption: str) -> None:
    subject, reference = (assistant.features.known(one.photo) for one in assistant.subjects[:2])
    settings = Settings(keep_subject=STRENGTH, follow_words=STRENGTH)
    ours = assistant.image_generator.prepare([subject], CafeInputs(reference.semantics, caption), settings, [SEED]).draw(PLAIN_STEPS, name).latents
    theirs = plainly(subject.patches, reference.semantics, assistant.decoder.encode_text([caption]) if caption else None, scheduler.from_pretrained(FOLDER / "base/scheduler"))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    vae = AutoencoderKL.from_pretrained(FOLDER / "base/vae").eval()
    with torch.no_grad():
        picture = (vae.decode(theirs / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    assert np.abs(assistant.decoder.decode(ours)[0] / 255 - picture).max() <= 0.5 / 255 + 1e-4
