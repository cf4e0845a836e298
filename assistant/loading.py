"""Preset name -> a running engine: picks device and dtype, reads the weights, offers the ready subjects."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from . import manifest, published, weights
from .config import AssistantConfig, VisionConfig
from .decoder.diffusion import Diffusion
from .decoder.compiled import Tuning, tune
from .deferred import ready_subjects
from .drawers.cafe import CafeDrawer
from .drawers.drawer import Drawer
from .errors import DeviceError
from .memory import Budget, Tier, tier
from .parts import place_of, require
from .pipeline import Assistant
from .places import default_data_dir
from .presets import preset as find_preset
from .presets import with_llm
from .residence import Group, Residence
from .sparing import Sparing

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
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise DeviceError(f"There is no dtype {name!r}.", f"Choose auto, {', '.join(DTYPES)}.")
    if device.type == "cpu" and name == "float16":
        raise DeviceError("float16 is not for CPUs.", "Leave --dtype at auto.")
    return DTYPES[name]


def identified(config: AssistantConfig, folder: Path) -> str:
    """A short hash of all weights, once every part is there; a folder that was put together by hand gets its manifest now.

    Raises:
        WeightsError: a part is missing, with the command that brings it; or a file is damaged.
    """
    if config.sources:
        require(config, folder)
        if not (folder / "manifest.json").exists():
            print(f"Reading {folder} once, to know its files again ...", flush=True)
            manifest.write_manifest(folder)
    return manifest.verify(folder)


def pick_tier(config: AssistantConfig, wanted: str, where: torch.device, kind: torch.dtype) -> Tier:
    """How a preset lives on a device. Raises DeviceError: it does not fit, or there is no such tier here."""
    if where.type != "cuda":
        if wanted not in ("auto", "whole"):
            raise DeviceError(f"The memory tier {wanted!r} is for NVIDIA GPUs; this is {where.type}.", "Leave --memory at auto.")
        if wanted == "auto" and config.sources:
            Budget(config, kind.itemsize).check_host(free_memory(where))
        return tier("whole")
    return Budget(config, kind.itemsize).choose(wanted, free_memory(where), free_memory(torch.device("cpu")), weights.can_quantise())


def free_memory(where: torch.device) -> int:
    """Bytes that are free on a device; elsewhere than on CUDA, of the computer's memory."""
    return torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else psutil.virtual_memory().available


def groups_of(drawer: Drawer, base: Diffusion) -> dict[str, Group]:
    """What moves in a memory tier, by the names that the budget counts it under."""
    found = {"base": Group([base.unet])}
    if drawer.decoder is not base:
        found["cafe"] = Group([drawer.decoder.unet])
    if drawer.language is not None:
        speaks = drawer.language.model
        found["words"] = Group([speaks], [speaks, speaks.base_model, speaks.get_input_embeddings()])
    if drawer.vision is not None:
        found["eyes"] = Group(drawer.vision.encoders, drawer.vision.doors)
    return found


def build(name: str, device: str, dtype: str, attention: str, folder: Path | None = None, llm: str | None = None,
          speed: Sequence[str] = (), memory: str = "auto") -> Assistant | Sparing:
    """See `pipeline.load`."""
    config = find_preset(name) if llm is None else with_llm(find_preset(name), llm)
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    where, folder = pick_device(device), place_of(config, folder)
    kind = pick_dtype(dtype, where)
    short = identified(config, folder)
    chosen = pick_tier(config, memory, where, kind)
    drawer, base = hands(config, folder, attention, kind, where, **(weights.in_4_bits(where, kind) if chosen.quantised else {}))
    residence = Residence(where, groups_of(drawer, base), (base.vae,), chosen, lambda: plain(drawer.decoder, base))
    tuning = Tuning.usual(where, attention).changed(speed)
    quicken(config, drawer, base, replace(tuning, compiled=False, probed=False) if chosen.turns or chosen.layers else tuning)
    engine = Assistant(config, drawer, short, ready_subjects(folder), (base, manifest.base_identity(folder)))
    return Sparing(engine, residence) if where.type == "cuda" else engine


def quicken(config: AssistantConfig, drawer: Drawer, base: Diffusion, tuning: Tuning) -> None:
    """Set all that draws and speaks up for speed, where weights do not move."""
    words, memory = config.decoder.text["max_position_embeddings"], default_data_dir() / "attention.json"
    tune(base, tuning, config.vision.patch_tokens if base.semantic_values is not None else words, memory)
    if base is not drawer.decoder:
        tune(drawer.decoder, tuning, config.vision.patch_tokens, memory)
    if drawer.language is not None:
        drawer.language.static_cache = tuning.static_cache


def plain(*decoders: Diffusion) -> None:
    """Take back compiled steps: they were recorded with weights that stay where they are."""
    for decoder in decoders:
        decoder.step = decoder.unet


def hands(config: AssistantConfig, folder: Path, attention: str, kind: torch.dtype, where: torch.device, **extra: Any) -> tuple[Drawer, Diffusion]:
    """What draws, and the base model beside it: CAFE's decoder where the preset has CAFE's two encoders, else the base
    model itself. A joint decoder is both.

    Encoders and language model may still be in the computer's memory: a `Residence` brings them. `extra`: as `load_llama` takes it.
    """
    if not isinstance(config.vision, VisionConfig):
        drawer = published.load_drawer(config, folder, attention, kind, where, **extra)
        return drawer, drawer.decoder
    vision, language = weights.load_vision(config, folder, kind), weights.load_language(config, folder, kind, **extra)
    language.bridge.to(where)
    base = weights.load_base(config, folder, attention, kind).to(where, kind)
    decoder = weights.load_cafe(config, folder, attention, kind, base).to(where, kind)
    return CafeDrawer(vision, language, decoder, config.picture_tokens), base
