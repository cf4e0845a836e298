"""The quick pace by LCM-LoRA: the pipeline's numbers with the same file, silent where another sampler draws, its own noise from the shown seed."""

import io
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from assistant import model_factory, presets
from assistant.controls.infusion import ConceptInstance, Infusion, residual_mask
from assistant.diffusion.attention import AttentionContext
from assistant.diffusion.guidance import EMPTY, FOUNDATION, IMAGE, TEXT, infusion_guidance, text_guidance
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.diffusion.low_rank import LowRank
from assistant.loading import load
from assistant.errors import ConfigError, InputError, WeightsError
from assistant.model_factory import build
from assistant.presets import SD2, SD15, SDXL, with_lcm
from assistant.requests import LCM, Pace, Request, Settings
from tests import tiny_open, tiny_sdxl

# what the published files' training script adapts (examples/consistency_distillation/train_lcm_distill_lora_sd_wds.py of diffusers)
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv",
           "upsamplers.0.conv", "time_emb_proj")


def lora(unet: nn.Module, rank: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """A LoRA of a UNet as published: kohya's names, alpha 8."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, layer in unet.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and name.endswith(TARGETS):
            key, kernel = f"lora_unet_{name.replace('.', '_')}", layer.weight.shape[2:]
            down, up = (rank, layer.weight.shape[1], *kernel), (layer.weight.shape[0], rank, *(1 for _ in kernel))
            found |= {f"{key}.{part}.weight": 0.3 * torch.randn(shape, generator=generator) / shape[1] ** 0.5 for part, shape in (("lora_down", down), ("lora_up", up))}
            found[f"{key}.alpha"] = torch.tensor(8.0)
    return found


def ours(parts: dict) -> LatentDiffusion:
    second = {name: parts[name] for name in ("text_encoder_2", "tokenizer_2") if name in parts}
    decoder = LatentDiffusion(parts["unet"], parts["vae"], tiny_open.SCHEDULER, parts["text_encoder"], parts["tokenizer"], **second)
    decoder.low_rank = LowRank(decoder.unet, lora(decoder.unet), "of the test")
    return decoder


@pytest.mark.slow
@pytest.mark.parametrize("tiny, kind, extra", [(tiny_open, StableDiffusionPipeline, dict(safety_checker=None, requires_safety_checker=False, feature_extractor=None)),
                                               (tiny_sdxl, StableDiffusionXLPipeline, dict(add_watermarker=False))], ids=("sd15", "sdxl"))
def test_four_steps_are_those_of_diffusers_pipeline_with_the_same_lora(tiny, kind, extra):
    pipe = kind(**tiny.modules(), **extra)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)

    def theirs() -> torch.Tensor:
        return pipe("a red cat", num_inference_steps=4, guidance_scale=1.0, height=32, width=32, output_type="latent", generator=torch.Generator().manual_seed(7)).images

    without = theirs()
    pipe.load_lora_weights(lora(pipe.unet))
    decoder = ours(tiny.modules())
    context = AttentionContext({TEXT: decoder.encode_text(["a red cat"])})
    found = decoder.sample(text_guidance(1.0), context, [7], 4, LCM).latents
    assert (found - theirs()).abs().max() < 1e-4 and (found - without).abs().max() > 1e-2


def test_the_layers_are_as_before_when_another_sampler_draws_and_every_stream_sees_the_same_noise():
    decoder, plain = ours(tiny_open.modules()), tiny_open.modules()
    stock = LatentDiffusion(plain["unet"], plain["vae"], tiny_open.SCHEDULER, plain["text_encoder"], plain["tokenizer"])
    tokens = {TEXT: decoder.encode_text(["a red cat"]), EMPTY: decoder.encode_text([""])}

    def drawn(of: LatentDiffusion, sampler: str) -> torch.Tensor:
        return of.sample(text_guidance(3.0), AttentionContext(tokens), [1, 2], 3, sampler).latents

    first = drawn(decoder, LCM)
    assert torch.equal(drawn(decoder, LCM), first) and torch.equal(drawn(decoder, "ddim"), drawn(stock, "ddim"))
    nothing = ConceptInstance({name: torch.zeros(1, attn.inner_dim) for name, attn in decoder.cross_layers().items()}, residual_mask([[2]], 16))
    both = decoder.sample(infusion_guidance(3.0), AttentionContext(tokens, controls=(Infusion([nothing]),)), [1, 2], 3, LCM).streams
    torch.testing.assert_close(both[IMAGE], both[FOUNDATION], atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="There is no LCM-LoRA here"):
        drawn(stock, LCM)
    with pytest.raises(ConfigError, match="51 steps were asked for; 1 to 50 can be taken"):
        decoder.sample(text_guidance(1.0), AttentionContext(tokens), [1], 51, LCM)


@pytest.mark.slow
def test_a_preset_started_with_it_has_a_pace_of_four_steps(tmp_path, monkeypatch):
    folder = tiny_open.write(tmp_path)
    config = replace(tiny_open.CONFIG, lcm=SD15.lcm)
    monkeypatch.setitem(presets.PRESETS, "open", config)
    with pytest.raises(WeightsError, match="lacks lcm .* Run: python -m assistant download open --quick --to"):
        load("open", "cpu", folder=folder, quick=True)
    (folder / "lcm").mkdir()
    save_file(lora(tiny_open.modules()["unet"]), folder / "lcm/pytorch_lora_weights.safetensors")
    engine, plain = load("open", "cpu", folder=folder, quick=True), load("open", "cpu", folder=folder)
    info = engine.info()
    assert info.paces[0] == Pace("quick", LCM, 4) and info.samplers[-1] == LCM and LCM not in plain.info().samplers
    ask = Request("", redraw={"reply": "", "prompts": [["a red cat", 1.0]]}, settings=Settings(seed=4, steps=4, scheduler=LCM, preview_every=0))
    one, other = (list(engine.respond(replace(ask, settings=replace(ask.settings, follow_words=follow)), threading.Event()))[-1] for follow in (2.0, 7.0))
    assert np.array_equal(*(np.asarray(Image.open(io.BytesIO(reply.png))) for reply in (one, other))), "there is no guidance"
    assert one.metadata["scheduler"] == LCM and one.metadata["steps_done"] == 4
    with pytest.raises(InputError, match="Start with --quick"):
        list(plain.respond(ask, threading.Event()))
    with pytest.raises(ConfigError, match="no quick weights"):
        with_lcm(SD2)


@pytest.mark.parametrize("config, megabytes", [(SD15, 135), (SDXL, 394)], ids=lambda v: getattr(v, "name", ""))
def test_the_published_files_are_as_large_as_their_layers_say(config, megabytes):
    unet = build(config, only=("unet",))["unet"]
    with torch.device("meta"):
        shapes = {name: (*layer.weight.shape, *[1] * (4 - layer.weight.ndim)) for name, layer in unet.named_modules()
                  if isinstance(layer, nn.Linear | nn.Conv2d) and name.endswith(TARGETS)}
    numbers = sum(64 * (out + into * height * width) for out, into, height, width in shapes.values())  # rank 64, in half precision
    assert 2 * numbers / 1e6 == pytest.approx(megabytes, abs=1) and 2 * numbers / 2**30 == pytest.approx(config.lcm.gib, abs=0.01)


@pytest.mark.parametrize("harm, says", [
    (lambda f: f.pop(next(k for k in f if "lora_up" in k)), "does not fit this base model"),
    (lambda f: f.update({next(k for k in f if "lora_down" in k): torch.zeros(4, 7)}), "does not fit this base model"),
    (lambda f: f.update({"lora_te_text_model.alpha": torch.tensor(1.0)}), "no layer has a use for"),
    (lambda f: f.update({next(k for k in f if "lora_up" in k): f[next(k for k in f if "lora_up" in k)] * float("nan")}), "not finite"),
    (lambda f: f.clear(), "holds nothing")], ids=("half", "another shape", "of a text encoder", "nan", "empty"))
def test_what_does_not_fit_is_refused_in_a_sentence(harm, says, tmp_path):
    unet = tiny_open.modules()["unet"]
    tensors = lora(unet)
    harm(tensors)
    save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors")
    with pytest.raises(WeightsError, match=says):
        model_factory.load_low_rank(unet, tmp_path)
