"""Reads what others published for the presets `open` and `flux`: an image encoder, IP-Adapters, a chat model, a decoder that edits pictures, each in its own
layout.

FOLDER/base is a Stable Diffusion, FOLDER/flux a Flux2KleinPipeline, FOLDER/image_encoder, FOLDER/dino and FOLDER/llm are transformers', FOLDER/adapters holds
h94's files.
Like checkpoints.py it opens safetensors only, and nothing of the network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from . import checkpoints
from .config import AdapterConfig, AssistantConfig, ChatConfig, ClipVisionConfig
from .controls.ip_adapter import Adapter
from .diffusion.flow import FlowDecoder
from .generation.text_to_image import SEMANTICS, SUBJECT, TextToImageGenerator, adapters_of
from .generation.flow import FlowGenerator
from .errors import WeightsError
from .models.chat_llm import ChatModel
from .models.vision_encoders import ClipVision, DinoVision, SafetyChecker
from .models.segmentation import SubjectSegmenter

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
    if config.adapters is not None:
        segmenter = load_segmenter(folder / "clipseg", dtype) if config.vision.segmentation is not None else None
        vision = load_clip_vision(config.vision, folder / "image_encoder", dtype, segmenter).to(device)
        decoder.adapters = adapters_of(decoder.unet, config.adapters, config.vision)
        for name, about in ((SUBJECT, config.adapters.subject), (SEMANTICS, config.adapters.semantics)):
            load_adapter(decoder.adapters[name], about, folder / "adapters")
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

    about, place = config.flow, folder / config.flow.folder
    transformer = _as_said(checkpoints.frozen(place / "transformer", Flux2Transformer2DModel, dtype), about.transformer, about.named)
    with checkpoints.reading("scheduler and tokenizer of the decoder"):
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(place / "scheduler", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(place / "tokenizer", local_files_only=True)
    encoder = _as_said(checkpoints.frozen(folder / about.encoder, Qwen3ForCausalLM, dtype, **extra), about.text, "text encoder")
    vae = checkpoints.frozen(place / "vae", AutoencoderKLFlux2)
    decoder = FlowDecoder(transformer, vae, encoder, tokenizer, scheduler, about.image_size).at(device)
    shared = config.language.folder == about.encoder
    chat = ChatModel(config.language, encoder, tokenizer).at(device) if shared else load_chat(config.language, folder / config.language.folder, dtype, device, **extra)
    vision = DinoVision(config.vision, checkpoints.frozen(folder / "dino", Dinov2Model, dtype)).to(device)
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


def load_safety_checker(folder: Path, dtype: torch.dtype = torch.float32) -> SafetyChecker:
    """Raises WeightsError."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

    return SafetyChecker(checkpoints.frozen(folder, StableDiffusionSafetyChecker, dtype, variant="fp16"))


def load_chat(about: ChatConfig, folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", **extra: Any) -> ChatModel:
    """Any causal or image-text-to-text language model of transformers with a chat template, to compute on `device`: its weights stay in the
    computer's memory until an `OffloadManager` brings them, or where `extra` (as in `load_drawer`) puts them. Raises WeightsError."""
    from transformers import (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor,
                              AutoTokenizer)

    if not folder.is_dir():
        raise WeightsError(f"There is no language model at {folder}.", "Name one with --llm, a folder or a hub id.")
    with checkpoints.reading(f"config.json in {folder.name!r}"):
        sees = type(AutoConfig.from_pretrained(folder, local_files_only=True)) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    with checkpoints.reading(f"{'processor' if sees else 'tokenizer'} in {folder.name!r}"):
        processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(folder, local_files_only=True)
    llm: nn.Module = checkpoints.frozen(folder, AutoModelForImageTextToText if sees else AutoModelForCausalLM, dtype, **extra)
    return ChatModel(about, llm, processor).at(device)
