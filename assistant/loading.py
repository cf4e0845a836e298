"""Preset name -> a running engine: picks device and dtype, reads the weights, offers the ready subjects."""

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from . import checkpoints, manifest, model_factory
from .config import AssistantConfig, ChatConfig, VisionConfig
from .diffusion.latent_diffusion import LatentDiffusion
from .diffusion.flow import FlowDecoder
from .diffusion.acceleration import Acceleration, tune
from .deferred_engine import ready_subjects
from .generation.cafe import CafeGenerator
from .generation.base import Decoder, ImageGenerator
from .errors import DeviceError, is_shortage
from .memory.budget import Budget, Tier, lower_tier, tier
from .hub.download import command, place_of, require
from .engine import Assistant
from .files import default_data_dir
from .presets import MINIATURE, SAFETY_CHECKER, preset as find_preset
from .requests import LCM
from .memory.offloading import Group, OffloadManager, free
from .memory.oom_retry import OomRetryEngine

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """Raises DeviceError for a device that this machine does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}.", "Choose cpu, cuda, cuda:N or mps.") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(device.type, False)
    if there and device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = False
    if not there:
        raise DeviceError(f"This machine has no {name!r} that torch can use.", "Leave --device at auto, or choose cpu.")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Raises DeviceError for an unknown name, or half precision on a CPU, where it is many times slower."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in DTYPES:
        raise DeviceError(f"There is no dtype {name!r}.", f"Choose auto, {', '.join(DTYPES)}.")
    if device.type == "cpu" and name == "float16":
        raise DeviceError("The dtype float16 is not for CPUs.", "Leave --dtype at auto.")
    return DTYPES[name]


def pick_chat_dtype(name: str, device: torch.device) -> torch.dtype:
    """As `pick_dtype`, of a chat model: bfloat16 where the device computes in it, since Qwen2 and Gemma overflow in float16."""
    kind = pick_dtype(name, device)
    if name != "auto" or kind is not torch.float16:
        return kind
    there = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else torch.backends.mps.is_macos_or_newer(14, 0)
    return torch.bfloat16 if there else kind


def identified(config: AssistantConfig, folder: Path) -> str:
    """A short hash of all weights, once every part is there; a folder that was put together by hand gets its manifest now.

    Raises:
        WeightsError: a part is missing, with the command that brings it; or a file is damaged.
    """
    if not config.sources:
        return manifest.verify(folder)
    require(config, folder)
    remedy = f"Run: {command(config, folder)}"
    if not (folder / "manifest.json").exists():
        manifest.check_whole(folder, remedy)  # what is broken must not be what later files are compared with
        print(f"Reading {folder} once, to know its files again ...", flush=True)
        manifest.write_manifest(folder)
    return manifest.verify(folder, f"{remedy}; or, if you put another file there yourself, delete {folder / 'manifest.json'} and start again.")


def pick_tier(config: AssistantConfig, wanted: str, where: torch.device, kind: torch.dtype, may_halve: bool = True, folder: Path | None = None) -> Tier:
    """How a preset lives on a device.

    Args:
        may_halve: without a GPU, numbers of 16 bits may be taken where those of 32 do not fit.
        folder: of its weights, where they are there.

    Raises:
        DeviceError: it does not fit, or there is no such tier here.
    """
    if where.type != "cuda":
        if wanted not in ("auto", "whole"):
            raise DeviceError(f"The memory tier {wanted!r} is for NVIDIA GPUs; this is {where.type}.", "Leave --memory at auto.")
        if wanted == "auto" and config.sources:
            return Budget(config, kind.itemsize, folder).choose_host(free_memory(where), may_halve and where.type == "cpu")
        return tier("whole")
    return Budget(config, kind.itemsize, folder).choose(wanted, free_memory(where), free_memory(torch.device("cpu")), checkpoints.can_quantise())


def free_memory(where: torch.device) -> int:
    """Bytes that are free on a device; elsewhere than on CUDA, of the computer's memory."""
    return torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else psutil.virtual_memory().available


def groups_of(image_generator: ImageGenerator, base: LatentDiffusion) -> dict[str, Group]:
    """What moves in a memory tier, by the names that the budget counts it under."""
    found = {"base": Group([base.unet])}
    if image_generator.decoder is not base:
        found["cafe"] = Group([drawing_module(image_generator)])
    if image_generator.language is not None:
        speaks = image_generator.language.model
        found["words"] = Group([speaks], [speaks, speaks.base_model, speaks.get_input_embeddings()])
    if image_generator.vision is not None:
        found["eyes"] = Group(image_generator.vision.encoders, image_generator.vision.doors)
    return found


def drawing_module(image_generator: ImageGenerator) -> torch.nn.Module:
    """The UNet or the transformer."""
    decoder = image_generator.decoder
    return decoder.transformer if isinstance(decoder, FlowDecoder) else cast(LatentDiffusion, decoder).unet


def load(preset: str = MINIATURE.name, device: str = "auto", dtype: str = "auto", attention: str = "auto", folder: Path | None = None,
         llm: str | None = None, speed: Sequence[str] = (), memory: str = "auto", safety: bool = False, quick: bool = False) -> Assistant | OomRetryEngine:
    """Build a preset's engine from its weights.

    Args:
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" (float16 on CUDA, where a chat model is in bfloat16 if the GPU computes in it; float32 elsewhere), "float32", "float16",
            "bfloat16"; of the decoder.
        attention: one of diffusion.attention.KERNELS; "auto": torch's own choice, or measured with the switch "probed=on".
        speed: switches of diffusion.acceleration.Acceleration, NAME=on or NAME=off.
        folder: the preset's weights; None: those that ship, or where downloads are put.
        memory: how they live on a GPU, "auto" or the name of one of memory.budget.TIERS.
        safety: whether pictures are checked before anyone sees them, if the preset has something that does.
        quick: whether LCM-LoRA is loaded beside the base model, for a pace of few steps.
        llm: the language model of a preset that takes any: a folder, or a hub id whose files were downloaded; None: the preset's own.

    Raises:
        ConfigError, DeviceError, WeightsError: with the remedy.
    """
    config = find_preset(preset, llm, quick, safety)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    where, folder = pick_device(device), place_of(config, folder)
    kind = pick_dtype("bfloat16" if config.flow is not None and dtype == "auto" and where.type == "cuda" else dtype, where)  # it was trained in it
    short = identified(config, folder)
    chosen = pick_tier(config, memory, where, kind, dtype == "auto", folder)
    kind = torch.bfloat16 if chosen.halved else kind
    chat = pick_chat_dtype(dtype, where) if isinstance(config.language, ChatConfig) and config.flow is None and not chosen.halved else kind
    image_generator, base, residence, chosen = settled(config, folder, attention, (kind, chat), where, chosen)
    if SAFETY_CHECKER in config.sources:
        checker = model_factory.load_safety_checker(folder / SAFETY_CHECKER, kind).to(where)
        base.unsafe = image_generator.decoder.unsafe = checker.unsafe
    if LCM in config.sources:
        base.low_rank = model_factory.load_low_rank(base.unet, folder / LCM, kind).to(where)
    tuning = Acceleration().changed(speed)
    quicken(config, image_generator, base, replace(tuning, compiled=False, probed=False) if chosen.turns or chosen.layers else tuning)
    if not getattr(image_generator.language, "sees", True):
        config = replace(config, notice=f"{config.notice} The words come from a language model that does not see your picture.")
    engine = Assistant(config, image_generator, short, ready_subjects(folder), (base, manifest.base_identity(folder)))
    if where.type != "cuda" and not chosen.halved:
        return engine
    return OomRetryEngine(engine, residence, None if kind == torch.float32 else lambda: in_single_precision(image_generator.decoder, base))


def load_assistant(preset: str = MINIATURE.name, device: str = "auto", folder: Path | None = None) -> Assistant:
    """As `load`, for those that look inside, without a second try where memory runs out."""
    return assistant_of(load(preset, device, folder=folder))


def assistant_of(engine: Assistant | OomRetryEngine) -> Assistant:
    """What answers behind the second try."""
    return cast(Assistant, engine.engine) if isinstance(engine, OomRetryEngine) else engine


@contextlib.contextmanager
def in_single_precision(*decoders: Decoder) -> Iterator[None]:
    """See `LatentDiffusion.in_single_precision`; others stay as they are. A decoder may be given twice."""
    with contextlib.ExitStack() as held:
        for decoder in dict.fromkeys(decoders):
            if isinstance(decoder, LatentDiffusion):
                held.enter_context(decoder.in_single_precision())
        yield


def settled(config: AssistantConfig, folder: Path, attention: str, kinds: tuple[torch.dtype, torch.dtype], where: torch.device,
            chosen: Tier) -> tuple[ImageGenerator, LatentDiffusion, OffloadManager, Tier]:
    """As `hands`, living in a tier, or in the next that memory is enough for.

    Args:
        kinds: of the language model in its second place, of all else in its first.

    Raises:
        DeviceError: memory runs out in each.
    """
    kind, chat = kinds
    while True:
        try:
            image_generator, base = hands(config, folder, attention, kind, where, chat, **(checkpoints.in_4_bits(where, chat) if chosen.quantised else {}))
            vaes = {id(d.vae): d.vae for d in (base, image_generator.decoder)}
            residence = OffloadManager(where, groups_of(image_generator, base), tuple(vaes.values()), chosen, partial(plain, image_generator.decoder, base))
            return image_generator, base, residence, chosen
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
        image_generator = base = residence = None  # outside the handler: the traceback holds the tensors
        lower = lower_tier(chosen, checkpoints.can_quantise() and config.language is not None) if where.type == "cuda" else None
        if lower is None:
            raise DeviceError(f"Memory ran out while {config.name!r} was loaded{', and there is no tier that takes less' if where.type == 'cuda' else ''}.",
                              "Close other programs on this device, or choose a smaller preset.")
        gc.collect()
        free(where)
        print(f"Memory ran out in the tier {chosen.name}; in {lower.name}, {lower.said}.", flush=True)
        chosen = lower


def quicken(config: AssistantConfig, image_generator: ImageGenerator, base: LatentDiffusion, tuning: Acceleration) -> None:
    """Set all that draws and speaks up for speed, where weights do not move."""
    words, memory = config.decoder.text["max_position_embeddings"], default_data_dir() / "attention.json"
    patches = getattr(config.vision, "patch_tokens", words)  # what a step of CAFE's, or of adapters', attends to
    tune(base, tuning, patches if base.semantic_values is not None else words, memory)
    if isinstance(image_generator.decoder, LatentDiffusion) and base is not image_generator.decoder:
        tune(image_generator.decoder, tuning, patches, memory)
    if image_generator.language is not None:
        image_generator.language.static_cache = tuning.static_cache


def plain(*decoders: Decoder) -> None:
    """Take back compiled steps: they were recorded with weights that stay where they are."""
    for decoder in decoders:
        if isinstance(decoder, LatentDiffusion):
            decoder.step = decoder.unet


def hands(config: AssistantConfig, folder: Path, attention: str, kind: torch.dtype, where: torch.device, language_dtype: torch.dtype | None = None,
          **extra: Any) -> tuple[ImageGenerator, LatentDiffusion]:
    """What draws, and the base model beside it: CAFE's decoder where the preset has CAFE's two encoders, or one that edits pictures, else the base
    model itself. A joint decoder is both.

    Encoders and language model may still be in the computer's memory: an `OffloadManager` brings them. `language_dtype`: if it is another than `kind`.
    `extra`: as `load_llama` takes it.
    """
    language_dtype = language_dtype or kind
    if config.flow is not None:
        base = checkpoints.load_base(config, folder, attention, kind).to(where, kind)
        return model_factory.load_flow(config, folder, kind, where, **extra), base
    if not isinstance(config.vision, VisionConfig):
        image_generator = model_factory.load_drawer(config, folder, attention, kind, where, language_dtype, **extra)
        return image_generator, image_generator.decoder
    vision, language = checkpoints.load_vision(config, folder, kind), checkpoints.load_language(config, folder, language_dtype, **extra)
    language.bridge.to(where)
    base = checkpoints.load_base(config, folder, attention, kind).to(where, kind)
    decoder = checkpoints.load_cafe(config, folder, attention, kind, base).to(where, kind)
    return CafeGenerator(vision, language, decoder, config.picture_tokens, config.decoder.caption_share if config.decoder.joint else 0.0, config.decoder.guided,
                         config.decoder.swap_subject, config.decoder.guided_every), base
