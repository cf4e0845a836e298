"""Builds a preset's modules from its numbers alone, with random weights or (on the meta device) none. Knows no files and no requests."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator

import torch
from torch import nn

from .config import AssistantConfig, VisionConfig
from .controls.cafe import SemanticValues
from .generation.text_to_image import adapters_of
from .models.mllm import Bridge
from .checkpoints import build_clip
from .presets import SAFETY_CHECKER

_CLIP_L = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14)  # of the safety checker


def build(config: AssistantConfig, device: torch.device | str = "meta", only: Collection[str] | None = None,
          dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
    """Every module of a preset by its part: dino, clip, llama, bridge, cafe, values (V_H), image_encoder, clipseg, adapters, unet, text, vae,
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
    from transformers import (CLIPConfig, CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection,
                              Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM)

    d, v, m = config.decoder, config.vision, config.language
    parts: dict[str, Callable[[], nn.Module]] = {}
    if config.adapters is not None:
        parts |= {"image_encoder": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**v.clip))}
        if v.segmentation is not None:
            parts |= {"clipseg": lambda: CLIPSegForImageSegmentation(CLIPSegConfig(**v.segmentation))}
    elif isinstance(v, VisionConfig):
        parts |= {"dino": lambda: Dinov2Model(Dinov2Config(**v.dino)), "clip": lambda: build_clip(v.clip),
                  "llama": lambda: LlamaForCausalLM(LlamaConfig(**m.llama)), "bridge": lambda: Bridge(m, v.patch_width)}
        if not d.joint:
            parts |= {"cafe": lambda: UNet2DConditionModel(**d.unet, cross_attention_dim=v.patch_width)}
    if config.flow is not None:
        parts |= _flow_parts(config)
    parts |= {"unet": lambda: UNet2DConditionModel(**d.unet, cross_attention_dim=d.text["hidden_size"]),
              "text": lambda: CLIPTextModel(CLIPTextConfig(**d.text)), "vae": lambda: AutoencoderKL(**d.vae)}
    if SAFETY_CHECKER in config.sources:
        parts |= {SAFETY_CHECKER: lambda: StableDiffusionSafetyChecker(CLIPConfig(vision_config=_CLIP_L, projection_dim=768))}
    with torch.device(device), _quiet(), _default(dtype):
        made = {name: make().eval().requires_grad_(False) for name, make in parts.items() if only is None or name in only}
        if config.adapters is not None and "unet" in made:
            made["adapters"] = adapters_of(made["unet"], config.adapters, v).eval().requires_grad_(False)
        drawing = made.get("unet" if d.joint else "cafe")
        if isinstance(v, VisionConfig) and drawing is not None:
            made["values"] = SemanticValues.of(drawing, m.semantic_width).eval().requires_grad_(False)
    return made


def _flow_parts(config: AssistantConfig) -> dict[str, Callable[[], nn.Module]]:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Dinov2Config, Dinov2Model, Qwen3Config, Qwen3ForCausalLM

    flow = config.flow
    return {"dino": lambda: Dinov2Model(Dinov2Config(**config.vision.dino)), "transformer": lambda: Flux2Transformer2DModel(**flow.transformer),
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
