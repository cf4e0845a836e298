"""IP-Adapters in the attention context: what diffusers draws with published weights is what we draw with them, to 1e-4 on the last latents."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from transformers import CLIPImageProcessor

from assistant.diffusion.guidance import EMPTY, TEXT, BatchRow, text_guidance
from assistant.controls import ip_adapter
from assistant.controls.ip_adapter import Adapter, IpAdapter
from assistant.diffusion.attention import AttentionContext, cross_layers, install
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.errors import WeightsError
from assistant.models.vision_encoders import ClipVision, pixels
from tests import tiny_open as tiny

PROMPT, NEGATIVE, SEEDS, STEPS = "a red cat", "a blur", (5, 6), 4
PICTURES = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (tiny.SIDE, tiny.SIDE, 3), dtype=np.uint8)) for n in range(2)]


def _adapter(unet, plus: bool, seed: int) -> Adapter:
    project = (ip_adapter.plus_projection(tiny.SEEN, tiny.TEXT, 6, 64) if plus else ImageProjection(tiny.SHARED, tiny.TEXT, 4))
    adapter = Adapter.of(unet, project).eval()
    adapter.load_published(tiny.published(tiny.widths(unet), plus, seed), "of the test")
    return adapter


def _controls(vision: ClipVision, unet, kinds, scales):
    controls = []
    for n, (plus, scale) in enumerate(zip(kinds, scales)):
        adapter = _adapter(unet, plus, n)
        with torch.no_grad():
            seen, nothing = (pair[0 if plus else 1] for pair in (vision.look(pixels([PICTURES[n]])), vision.nothing()))
            controls.append(IpAdapter(str(n), adapter, {TEXT: adapter.tokens(seen), EMPTY: adapter.tokens(nothing)}, scale))
    return controls


def _ours(kinds, scales, guidance: float = 5.0, prompt: str = PROMPT) -> torch.Tensor:
    parts = tiny.modules()
    decoder = LatentDiffusion(parts["unet"], parts["vae"], tiny.SCHEDULER, parts["text_encoder"], parts["tokenizer"])
    controls = _controls(ClipVision(parts["image_encoder"]), parts["unet"], kinds, scales)
    context = AttentionContext({TEXT: decoder.encode_text([prompt]), EMPTY: decoder.encode_text([NEGATIVE])}, controls=controls)
    return decoder.sample(text_guidance(guidance), context, SEEDS, STEPS, "ddim").latents


def _theirs(kinds, scales, guidance: float = 5.0) -> torch.Tensor:
    parts = tiny.modules()
    pipe = StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False, feature_extractor=CLIPImageProcessor(
        size=tiny.SIDE, crop_size=tiny.SIDE))
    pipe.set_progress_bar_config(disable=True)
    given = {}
    if kinds:
        states = []
        for n, plus in enumerate(kinds):
            flat = tiny.published(tiny.widths(pipe.unet), plus, n)
            states.append({part: {k.removeprefix(part + "."): t for k, t in flat.items() if k.startswith(part)}
                           for part in ("image_proj", "ip_adapter")})
        pipe.load_ip_adapter(states, subfolder=[""] * len(states), weight_name=[""] * len(states), image_encoder_folder=None)
        pipe.set_ip_adapter_scale(list(scales))
        given = {"ip_adapter_image": PICTURES[:len(kinds)]}
    return pipe(PROMPT, negative_prompt=NEGATIVE, num_images_per_prompt=2, num_inference_steps=STEPS, guidance_scale=guidance, height=32, width=32,
                output_type="latent", generator=[torch.Generator().manual_seed(seed) for seed in SEEDS], **given).images


@pytest.mark.parametrize("kinds, scales", [((False,), (1.0,)), ((True,), (0.6,)), ((True, False), (0.6, 0.35)), ((False, False), (1.0, 0.0))],
                         ids=["plain", "plus", "plus and plain", "two plain, one silent"])
def test_the_latents_are_those_of_diffusers(kinds, scales) -> None:
    ours, theirs = _ours(kinds, scales), _theirs(kinds, scales)
    assert (ours - theirs).abs().max() < 1e-4
    assert (ours - _theirs((), ())).abs().max() > 1e-2, "the adapters must matter for this to say anything"


def test_without_guidance_too() -> None:
    assert (_ours((True,), (0.8,), 1.0) - _theirs((True,), (0.8,), 1.0)).abs().max() < 1e-4


def test_a_scale_of_0_is_stock_text_to_image() -> None:
    assert (_ours((True, False), (0.0, 0.0)) - _theirs((), ())).abs().max() < 1e-5


def test_a_scale_for_each_image_of_a_batch() -> None:
    both, one, two = (_ours((True,), (scale,)) for scale in (torch.tensor([0.2, 0.9]), 0.2, 0.9))
    assert (both[:1] - one[:1]).abs().max() < 1e-5 and (both[1:] - two[1:]).abs().max() < 1e-5 and (one[1:] - two[1:]).abs().max() > 1e-3


def test_keys_and_values_are_made_once_and_rows_that_see_no_picture_see_none() -> None:
    parts = tiny.modules()
    unet, made = parts["unet"], []
    install(unet)
    control = _controls(ClipVision(parts["image_encoder"]), unet, (True,), (1.0,))[0]
    whole = control.adapter.key_value
    control.adapter.key_value = lambda layer, tokens: made.append(layer) or whole(layer, tokens)
    states, rows = torch.randn(1, 16, tiny.TEXT, generator=torch.Generator().manual_seed(0)), (BatchRow("plain", "other"), BatchRow("seen", TEXT))
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))

    def predict(*controls) -> torch.Tensor:
        context = AttentionContext({TEXT: states, "other": states}, controls=controls)
        with torch.no_grad():
            for step in range(3):
                out = unet(latents, 500, None, cross_attention_kwargs={"context": context.begin(rows, 1, step, 3)}).sample
        return out

    stock, seen = predict(), predict(control)
    assert sorted(made) == sorted(cross_layers(unet)), "once a layer, for three steps"
    assert torch.allclose(stock[0], seen[0], atol=1e-6) and (stock[1] - seen[1]).abs().max() > 1e-3


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    unet = tiny.modules()["unet"]
    adapter = Adapter.of(unet, ip_adapter.plus_projection(tiny.SEEN, tiny.TEXT, 6, 64))
    right = tiny.published(tiny.widths(unet), True)
    adapter.load_published(right, "right.safetensors")
    with pytest.raises(WeightsError, match=r"lacks ip_adapter\.3\.to_v_ip\.weight"):
        adapter.load_published({k: t for k, t in right.items() if k != "ip_adapter.3.to_v_ip.weight"}, "x")
    with pytest.raises(WeightsError, match=r"ip_adapter\.1\.to_k_ip\.weight is 32 x 7, but 32 x 32 is needed"):
        adapter.load_published({**right, "ip_adapter.1.to_k_ip.weight": torch.zeros(32, 7)}, "x")
    with pytest.raises(WeightsError, match=r"lacks image_proj\.latents"):
        adapter.load_published(tiny.published(tiny.widths(unet), False), "plain.safetensors")
    with pytest.raises(WeightsError, match="no use for"):
        adapter.load_published({**right, "ip_adapter.99.to_k_ip.weight": torch.zeros(1)}, "x")
    with pytest.raises(WeightsError, match="not finite"):
        adapter.load_published({**right, "image_proj.norm_out.bias": torch.full((tiny.TEXT,), float("nan"))}, "x")
