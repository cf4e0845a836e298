"""Builds a preset's modules from its numbers alone, or reads what others published for the preset `open`, each in its own layout.

FOLDER/base is a Stable Diffusion, FOLDER/image_encoder and FOLDER/llm are transformers', FOLDER/adapters holds h94's files. Like checkpoints.py it opens safetensors
only, and nothing of the network.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import nn

from . import checkpoints
from .checkpoints import GGUF, build_clip
from .config import AdapterConfig, AssistantConfig, ChatConfig, ClipVisionConfig, LanguageConfig, LikenessConfig, VisionConfig
from .controls.cafe import SemanticValues
from .controls.ip_adapter import Adapter
from .diffusion.flow import FlowDecoder
from .diffusion.low_rank import LowRank
from .errors import WeightsError
from .generation.flow import FlowGenerator
from .generation.text_to_image import SEMANTICS, SUBJECT, TextToImageGenerator, adapters_of
from .models.chat_llm import ChatModel
from .models.mllm import Bridge
from .models.segmentation import SubjectSegmenter
from .models.vision_encoders import ClipVision, DinoVision, SafetyChecker
from .presets import SAFETY_CHECKER

_CLIP_L = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14)  # of the safety checker


def build(config: AssistantConfig, device: torch.device | str = "meta", only: Collection[str] | None = None,
          dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
    """Every module of a preset by its part: dino, clip, llama, bridge, cafe, values (V_H), image_encoder, clipseg, adapters, unet, text, text_2, vae,
    safety_checker, and of one that edits pictures transformer, flow_vae, qwen; frozen. A joint CAFE has no UNet of its own, so no "cafe". A language
    model that only its folder describes is none of them.

    Args:
        only: these parts, and what is built on them; None: all.
        dtype: of the weights, made so from the start: a large model never exists in float32.

    What the preset does not have is left out. Weights are those of the libraries' own initialisation, drawn from
    the global random state: to be used where no numbers matter.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import (CLIPConfig, CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig,
                              CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM)

    d, v, m = config.decoder, config.vision, config.language
    parts: dict[str, Callable[[], nn.Module]] = {}
    if isinstance(v, ClipVisionConfig):
        parts |= {"image_encoder": partial(CLIPVisionModelWithProjection, CLIPVisionConfig(**v.clip))}
        if v.segmentation is not None:
            parts |= {"clipseg": partial(CLIPSegForImageSegmentation, CLIPSegConfig(**v.segmentation))}
    elif isinstance(v, VisionConfig) and isinstance(m, LanguageConfig):
        parts |= {"dino": lambda: Dinov2Model(Dinov2Config(**v.dino)), "clip": lambda: build_clip(v.clip),
                  "llama": lambda: LlamaForCausalLM(LlamaConfig(**m.llama)), "bridge": lambda: Bridge(m, v.patch_width)}
        if not d.joint:
            parts |= {"cafe": lambda: UNet2DConditionModel(**d.unet, cross_attention_dim=v.patch_width)}
    if config.flow is not None:
        parts |= _flow_parts(config)
    parts |= {"unet": lambda: UNet2DConditionModel(**d.unet, cross_attention_dim=d.text_width),
              "text": lambda: CLIPTextModel(CLIPTextConfig(**d.text)), "vae": lambda: AutoencoderKL(**d.vae)}
    if d.text_2 is not None:
        parts |= {"text_2": partial(CLIPTextModelWithProjection, CLIPTextConfig(**d.text_2))}
    if SAFETY_CHECKER in config.sources:
        parts |= {SAFETY_CHECKER: lambda: StableDiffusionSafetyChecker(CLIPConfig(vision_config=_CLIP_L, projection_dim=768))}
    with torch.device(device), _quiet(), _default(dtype):
        made = {name: make().eval().requires_grad_(False) for name, make in parts.items() if only is None or name in only}
        if config.adapters is not None and isinstance(v, ClipVisionConfig) and "unet" in made:
            made["adapters"] = adapters_of(made["unet"], config.adapters, v).eval().requires_grad_(False)
        drawing = made.get("unet" if d.joint else "cafe")
        if isinstance(v, VisionConfig) and isinstance(m, LanguageConfig) and drawing is not None:
            made["values"] = SemanticValues.of(drawing, m.semantic_width).eval().requires_grad_(False)
    return made


def _flow_parts(config: AssistantConfig) -> dict[str, Callable[[], nn.Module]]:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Dinov2Config, Dinov2Model, Qwen3Config, Qwen3ForCausalLM

    flow, likeness = config.flow, config.vision
    assert flow is not None and isinstance(likeness, LikenessConfig)  # `AssistantConfig` sees to it
    return {"dino": lambda: Dinov2Model(Dinov2Config(**likeness.dino)), "transformer": lambda: Flux2Transformer2DModel(**flow.transformer),
            "flow_vae": lambda: AutoencoderKLFlux2(**flow.vae), "qwen": lambda: Qwen3ForCausalLM(Qwen3Config(**flow.text))}


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(p.numel() for p in module.parameters())


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns that a model has random weights, which is what is wanted here; transformers of tokens that no numbers need."""
    loggers = [logging.getLogger(name) for name in ("", "transformers")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)


PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def load_drawer(config: AssistantConfig, folder: Path, kernel: str = "auto", dtype: torch.dtype = torch.float32,
                device: torch.device | str = "cpu", language_dtype: torch.dtype | None = None, **extra: Any) -> TextToImageGenerator:
    """The words image generator of a preset, with as much as the preset has: adapters, an image encoder, a chat model.

    Args:
        kernel, dtype, device: of all but the autoencoder, which stays in float32.
        language_dtype: of the chat model, if it is another.
        extra: as the language model's `from_pretrained` takes it, where to and how coarsely.

    Raises:
        WeightsError: a part that is missing, pickled, or not what the preset says.
    """
    decoder, vision, chat = checkpoints.load_base(config, folder, kernel, dtype=dtype), None, None
    if config.adapters is not None and isinstance(config.vision, ClipVisionConfig):
        segmenter = load_segmenter(folder / "clipseg", dtype) if config.vision.segmentation is not None else None
        vision = load_clip_vision(config.vision, folder / "image_encoder", dtype, segmenter).to(device)
        decoder.adapters = adapters_of(decoder.unet, config.adapters, config.vision)
        for name, about in ((SUBJECT, config.adapters.subject), (SEMANTICS, config.adapters.semantics)):
            load_adapter(cast(Adapter, decoder.adapters[name]), about, folder / "adapters")
        decoder.adapters.eval().requires_grad_(False)
    decoder.to(device, dtype)
    if isinstance(config.language, ChatConfig):
        chat = load_chat(config.language, folder / config.language.folder, language_dtype or dtype, device, **extra)
    return TextToImageGenerator(decoder, config.decoder.guidance_unit, chat, vision, config.adapters)


def load_flow(config: AssistantConfig, folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", **extra: Any) -> FlowGenerator:
    """The image generator of a preset whose decoder edits pictures; all but the autoencoder and what judges likeness is still in the computer's memory. Its text encoder is the chat model too, once in memory, unless another is named.

    Args:
        dtype, device, extra: as of `load_drawer`.

    Raises:
        WeightsError: a part that is missing, or not what the preset says.
    """
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import AutoTokenizer, Dinov2Model, Qwen3ForCausalLM

    about, language, likeness = config.flow, config.language, config.vision
    assert about is not None and isinstance(language, ChatConfig) and isinstance(likeness, LikenessConfig)  # `AssistantConfig` sees to it
    place = folder / about.folder
    transformer = _as_said(checkpoints.frozen(place / "transformer", Flux2Transformer2DModel, dtype), about.transformer, about.named)
    with checkpoints.reading("scheduler and tokenizer of the decoder"):
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(place / "scheduler", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(place / "tokenizer", local_files_only=True)
    encoder = _as_said(checkpoints.frozen(folder / about.encoder, Qwen3ForCausalLM, dtype, **extra), about.text, "text encoder")
    vae = checkpoints.frozen(place / "vae", AutoencoderKLFlux2)
    decoder = FlowDecoder(transformer, vae, encoder, tokenizer, scheduler, about.image_size).at(device)
    shared = language.folder == about.encoder
    chat = ChatModel(language, encoder, tokenizer).at(device) if shared else load_chat(language, folder / language.folder, dtype, device, **extra)
    vision = DinoVision(likeness, checkpoints.frozen(folder / "dino", Dinov2Model, dtype)).to(device)
    return FlowGenerator(decoder, chat, vision, about.references, about.named)


def _as_said(module: nn.Module, about: Mapping[str, Any], named: str) -> nn.Module:
    """A loaded module, whose numbers are the preset's. Raises WeightsError."""
    for name, value in about.items():
        found = getattr(module.config, name)
        if (tuple(found) if isinstance(found, list) else found) != value:
            raise WeightsError(f"The {named} has {name} {found}, but the preset was made for {value}.", "Get the files that the preset names.")
    return module


def load_adapter(adapter: Adapter, about: AdapterConfig, folder: Path) -> None:
    """Fill an adapter strictly from its published file. Raises WeightsError."""
    path = folder / about.file
    if path.suffix in PICKLED:
        raise WeightsError(f"{path.name} is pickled: opening it could run anything, so it is never opened.", "Take the .safetensors of that name.")
    if not path.exists():
        pickled = next((p for p in (path.with_suffix(s) for s in PICKLED) if p.exists()), None)
        found = f"; {pickled.name} beside it is pickled, and never opened" if pickled else ""
        raise WeightsError(f"The adapter {path.name} is missing in {folder}{found}.", f"Put the file {path.name} of h94/IP-Adapter there.")
    with checkpoints.reading(f"adapter {path.name}"):
        tensors = load_file(path)
    adapter.load_published(tensors, path.name)


def load_clip_vision(about: ClipVisionConfig, folder: Path, dtype: torch.dtype = torch.float32, segmenter: SubjectSegmenter | None = None) -> ClipVision:
    """The image encoder. Raises WeightsError: also where its numbers are not the ones that the adapters were made for."""
    from transformers import CLIPVisionModelWithProjection

    return ClipVision(_as_said(checkpoints.frozen(folder, CLIPVisionModelWithProjection, dtype), about.clip, f"image encoder in {folder.name!r}"), segmenter)


def load_segmenter(folder: Path, dtype: torch.dtype = torch.float32) -> SubjectSegmenter:
    """CLIPSeg with its tokenizer. Raises WeightsError."""
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

    with checkpoints.reading(f"tokenizer in {folder.name!r}"):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return SubjectSegmenter(checkpoints.frozen(folder, CLIPSegForImageSegmentation, dtype),
                            lambda texts: dict(tokenizer(list(texts), padding=True, truncation=True, max_length=77, return_tensors="pt")))


def load_low_rank(unet: nn.Module, folder: Path, dtype: torch.dtype = torch.float32) -> LowRank:
    """LCM-LoRA beside a UNet. Raises WeightsError."""
    path = folder / "pytorch_lora_weights.safetensors"
    with checkpoints.reading(f"LoRA {path.name}"):
        tensors = load_file(path)
    return LowRank(unet, tensors, path.name).to(dtype)


def load_safety_checker(folder: Path, dtype: torch.dtype = torch.float32) -> SafetyChecker:
    """Raises WeightsError."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

    return SafetyChecker(checkpoints.frozen(folder, StableDiffusionSafetyChecker, dtype, variant="fp16"))


def load_chat(about: ChatConfig, folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", **extra: Any) -> ChatModel:
    """Any causal or image-text-to-text language model of transformers with a chat template, to compute on `device`: its weights stay in the
    computer's memory until an `OffloadManager` brings them, or where `extra` (as in `load_drawer`) puts them. `folder`: or a GGUF file, whose weights
    are unpacked into `dtype`. Raises WeightsError."""
    from transformers import (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor,
                              AutoTokenizer)

    if not folder.exists():
        raise WeightsError(f"There is no language model at {folder}.", "Name one with --llm, a folder, a GGUF file or a hub id.")
    packed: dict[str, Any] = {}
    if folder.suffix.lower() == GGUF:
        checkpoints.numbers_in(folder)  # a file that breaks off is told by its name, and so is the package that reads it
        extra = _unpacked(folder.name, extra)
        packed, folder = {"gguf_file": folder.name}, folder.parent
    named = packed.get("gguf_file", folder.name)
    with checkpoints.reading(f"{'metadata' if packed else 'config.json'} in {named!r}"):
        sees = type(AutoConfig.from_pretrained(folder, local_files_only=True, **packed)) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    with checkpoints.reading(f"{'processor' if sees else 'tokenizer'} in {named!r}"):
        processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(folder, local_files_only=True, **packed)
    llm: nn.Module = checkpoints.frozen(folder, AutoModelForImageTextToText if sees else AutoModelForCausalLM, dtype, **packed, **extra)
    return ChatModel(about, llm, processor).at(device)


def _unpacked(name: str, extra: dict[str, Any]) -> dict[str, Any]:
    """What reads a GGUF file beside `extra`: its weights become plain matrices, and no kernels are looked for on the hub. Raises WeightsError."""
    import transformers

    if "quantization_config" in extra:
        raise WeightsError(f"The GGUF file {name!r} is unpacked when it is read, and cannot be put into 4 bits again.", "Choose --memory whole, turns or layers.")
    config = getattr(transformers, "GgufConfig", None)  # without it, transformers knows no other way
    return extra if config is None else {**extra, "quantization_config": config(dequantize=True)}
