"""The papers' sizes on the meta device: published numbers, every width where two parts meet, and shapes through the attention context. No weights."""

import pytest
import torch

from assistant.model_factory import build, count
from assistant.diffusion.guidance import AUXILIARY_TEXT, EMPTY, PATCHES, SEMANTICS, TEXT, cafe_guidance, dci_guidance, infusion_guidance, text_guidance
from assistant.config import AssistantConfig, Source
from assistant.controls.cafe import Cafe
from assistant.controls.dci import BranchTokens, Dci, MaskSnapshot
from assistant.controls.infusion import Infusion, ConceptInstance, residual_mask
from assistant.diffusion.attention import AttentionContext, cross_layers
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.errors import ConfigError
from assistant.models.vision_encoders import VisionEncoders
from assistant.presets import FULL, PRESETS, SD2, SD15

INNER = [320] * 2 + [640] * 2 + [1280] * 2 + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]  # down, up, mid: as `named_modules` goes
# The published config.json files' own numbers.
PUBLISHED = {
    "dino": dict(hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, image_size=518, patch_size=14, use_swiglu_ffn=True, mlp_ratio=4,
                 layer_norm_eps=1e-6, qkv_bias=True),
    "llama": dict(hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40, num_key_value_heads=40, vocab_size=32000,
                  max_position_embeddings=4096, rms_norm_eps=1e-5, tie_word_embeddings=False, hidden_act="silu"),
    "unet": dict(sample_size=96, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280), attention_head_dim=(5, 10, 20, 20),
                 cross_attention_dim=1024, use_linear_projection=True, layers_per_block=2, norm_num_groups=32, act_fn="silu", freq_shift=0,
                 down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
                 flip_sin_to_cos=True, downsample_padding=1, norm_eps=1e-5),
    "text": dict(hidden_size=1024, num_hidden_layers=23, num_attention_heads=16, intermediate_size=4096, hidden_act="gelu",
                 max_position_embeddings=77, vocab_size=49408, projection_dim=512, layer_norm_eps=1e-5),
    "vae": dict(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=768,
                norm_num_groups=32, act_fn="silu", scaling_factor=0.18215),
}
PUBLISHED15 = {
    "unet": {**PUBLISHED["unet"], "sample_size": 64, "attention_head_dim": 8, "cross_attention_dim": 768, "use_linear_projection": False},
    "text": {**PUBLISHED["text"], "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
             "hidden_act": "quick_gelu", "projection_dim": 768},
    "vae": {**PUBLISHED["vae"], "sample_size": 512},
}
SCHEDULER = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, num_train_timesteps=1000, steps_offset=1, clip_sample=False,
                 set_alpha_to_one=False)


@pytest.fixture(scope="module")
def full():
    return build(FULL)


@pytest.fixture(scope="module")
def sd15():
    return build(SD15)


def meta(*shape):
    return torch.empty(*shape, device="meta")


@pytest.mark.parametrize("preset, published", [(FULL, PUBLISHED), (SD2, {k: PUBLISHED[k] for k in ("unet", "text", "vae")}), (SD15, PUBLISHED15)],
                         ids=lambda v: getattr(v, "name", ""))
def test_every_part_is_what_its_published_config_says(preset, published):
    made = build(preset)
    for part, numbers in published.items():
        config = made[part].config
        for name, value in numbers.items():
            found = getattr(config, name)
            assert (tuple(found) if isinstance(found, list) else found) == value, (part, name)
    kind = "epsilon" if preset is SD15 else "v_prediction"
    assert {**SCHEDULER, "prediction_type": kind}.items() <= dict(preset.decoder.scheduler).items()


@pytest.mark.slow
def test_parameter_counts_are_the_published_ones(full, sd15):
    counts = {name: count(module) for name, module in full.items()}
    assert counts == {"dino": 1_136_480_768, "clip": 427_944_193, "llama": 13_015_864_320, "bridge": 11_807_488, "cafe": 878_690_244,
                      "unet": 865_910_724, "text": 340_387_840, "vae": 83_653_863, "values": 768 * sum(INNER)}
    assert count(full["clip"].visual) == 304_293_888
    assert {name: count(module) for name, module in sd15.items()} == {"unet": 859_520_964, "text": 123_060_480, "vae": 83_653_863}


def test_the_language_side_meets_the_vision_side(full):
    bridge = full["bridge"]
    assert (bridge.V.in_features, bridge.V.out_features) == (1536, 5120) and bridge.token.shape == (5120,)
    assert (bridge.H.in_features, bridge.H.out_features) == (5120, 768)
    vision = VisionEncoders(FULL.vision, full["dino"], full["clip"])
    photo = meta(1, 3, 640, 480)
    patches, semantics = vision.patches(photo), vision.semantics(photo)
    assert patches.shape == (1, 257, 1536) and semantics.shape == (1, 768) and FULL.picture_tokens == 257
    tower = full["clip"].visual
    assert tower.positional_embedding.shape == (577, 1024) and tower.image_size == (336, 336) and full["clip"].context_length == 77
    assert type(tower.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"  # OpenAI's weights read wrong with the ordinary one
    words = full["llama"].get_input_embeddings()(torch.zeros(1, 12, dtype=torch.long, device="meta"))
    out = full["llama"].model(inputs_embeds=torch.cat([words, bridge.V(patches), bridge.token.view(1, 1, -1)], 1)).last_hidden_state
    assert out.shape == (1, 12 + 257 + 1, 5120) and bridge.H(out[:, -1]).shape == (1, 768)


def test_the_decoders_cross_attention_layers(full, sd15):
    for unet, width in ((full["cafe"], 1536), (full["unet"], 1024), (sd15["unet"], 768)):
        layers = cross_layers(unet)
        assert len(layers) == 16 and [a.inner_dim for a in layers.values()] == INNER
        assert all(a.to_k.in_features == a.to_v.in_features == width for a in layers.values())
        heads = {a.inner_dim // a.heads for a in layers.values()}
        assert heads == ({40, 80, 160} if width == 768 else {64})
    values = full["values"].layers
    assert len(values) == 16 and [v.out_features for v in values.values()] == INNER and all(v.in_features == 768 for v in values.values())


def test_cafe_passes_the_seam_with_three_rows_at_768(full):
    decoder = LatentDiffusion(full["cafe"], full["vae"], FULL.decoder.scheduler, semantic_values=full["values"])
    context = AttentionContext({PATCHES: meta(1, 257, 1536)}, {SEMANTICS: meta(1, 768)}, (Cafe(full["values"]),))
    plan = cafe_guidance(2.0, 2.5)
    assert len(plan.rows) == 3
    drawn = decoder.sample(plan, context, [0], 1).latents
    assert drawn.shape == (1, 4, 96, 96) and full["vae"].decode(drawn).sample.shape == (1, 3, 768, 768)


BASES = pytest.mark.parametrize("name, side, width", [("full", 96, 1024), ("sd15", 64, 768)])


@BASES
def test_infusion_passes_the_seam_in_four_rows(name, side, width, request):
    unet, decoder = _base(request, name, width)
    residuals = {layer: meta(1, attn.inner_dim) for layer, attn in cross_layers(unet).items()}
    assert sum(r.numel() for r in residuals.values()) == 12_480
    where = residual_mask([[4]], 77).to("meta")
    context = AttentionContext({TEXT: decoder.encode_embeddings(meta(1, 77, width)), EMPTY: meta(1, 77, width)}, controls=(Infusion([ConceptInstance(residuals, where)]),))
    plan = infusion_guidance(8.0)
    assert len(plan.rows) == 4 and context.tokens[TEXT].shape == (1, 77, width)
    assert decoder.sample(plan, context, [0], 1).latents.shape == (1, 4, side, side)


@BASES
def test_dci_and_the_keys_and_values_of_ico_pass_the_seam_in_three_rows(name, side, width, request):
    unet, decoder = _base(request, name, width)
    tuned = {layer: (meta(*attn.to_k.weight.shape), meta(*attn.to_v.weight.shape)) for layer, attn in cross_layers(unet).items()}
    assert sum(k.numel() + v.numel() for k, v in tuned.values()) == 2 * sum(INNER) * width
    seen, branch = MaskSnapshot(), BranchTokens.of(77, range(1, 9), (3, 4))
    seen.keep = lambda layer, auxiliary, concept: seen.auxiliary.setdefault(layer, []).append(auxiliary)  # no numbers to copy from meta
    context = AttentionContext({TEXT: meta(1, 77, width), AUXILIARY_TEXT: meta(1, 77, width), EMPTY: meta(1, 77, width)},
                controls=(Dci(branch, branch, 1.0, seen=seen),), tuned=tuned)
    plan = dci_guidance(7.5, 1.0)
    assert len(plan.rows) == 3 and decoder.sample(plan, context, [0], 1).latents.shape == (1, 4, side, side)
    masks = {layer: kept[0].shape for layer, kept in seen.auxiliary.items()}
    assert {shape[2] for shape in masks.values()} == {(side // k) ** 2 for k in (1, 2, 4, 8)} and len(masks) == 16


@BASES
def test_plain_text_to_image_passes_the_seam_in_two_rows(name, side, width, request):
    _, decoder = _base(request, name, width)
    context = AttentionContext({TEXT: meta(1, 77, width), EMPTY: meta(1, 77, width)})
    assert decoder.sample(text_guidance(8.0), context, [0, 1], 1).latents.shape == (2, 4, side, side)


def _base(request, name, width):
    made = request.getfixturevalue(name)
    config = {"full": FULL, "sd15": SD15}[name]
    assert made["unet"].config.cross_attention_dim == width
    return made["unet"], LatentDiffusion(made["unet"], made["vae"], config.decoder.scheduler, made["text"], tokenizer=object())


def test_a_preset_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="without a language model"):
        AssistantConfig("half", FULL.vision, None, FULL.decoder, "")
    with pytest.raises(ConfigError, match="pickled"):
        Source(("a/b",), ("model.bin",), 1.0)
    for preset in PRESETS.values():  # every part that is not published says how it is trained, and the other way round
        assert preset.folder or preset.sources, preset.name
        assert not set(preset.sources) & set(preset.trained)
