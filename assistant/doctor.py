"""What this machine has: versions, devices, memory, attention kernels, and which presets can run here and why not."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from .config import AssistantConfig
from .diffusion import attention_backends
from .errors import AssistantError
from .loading import free_memory, identified, pick_device, pick_dtype, pick_tier
from .memory.budget import GIB, TIERS, Budget
from .hub.download import missing, place_of
from .presets import PRESETS
from .manifest import CHECKPOINTS

PACKAGES = ("torch", "torchvision", "xformers", "diffusers", "transformers", "accelerate", "gradio", "open_clip_torch", "pillow",
            "safetensors", "huggingface_hub", "bitsandbytes")


def _versions() -> list[str]:
    lines = [f"  {'python':<16} {platform.python_version()} on {platform.platform()}"]
    for name in PACKAGES:
        try:
            lines.append(f"  {name:<16} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"  {name:<16} not installed")
    return lines


def _devices() -> list[str]:
    memory = psutil.virtual_memory()
    lines = [f"  cpu              {os.cpu_count()} cores, {torch.get_num_threads()} threads, memory {memory.total / GIB:.1f} GiB, "
             f"{memory.available / GIB:.1f} GiB free"]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        lines.append(f"  cuda:{i}           {torch.cuda.get_device_name(i)}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        lines.append("  mps              Apple GPU")
    lines.append(f"  disk             {shutil.disk_usage(CHECKPOINTS.parent).free / 2**30:.1f} GiB free")
    return lines


def _kernels() -> list[str]:
    lines, sample = [], torch.zeros(1, device="cuda" if torch.cuda.is_available() else "cpu")
    for name in attention_backends.KERNELS:
        try:
            chosen = attention_backends.choose(name, sample)
            lines.append(f"  {name:<16} {'yes' if chosen == name else f'yes, takes {chosen}'}")
        except AssistantError as error:
            lines.append(f"  {name:<16} no: {error.sentence}")
    return lines


def _presets() -> list[str]:
    lines = []
    for name, config in PRESETS.items():
        folder = place_of(config)
        lines.append(f"  {name:<16} {_ready(config, folder)}")
        lines += [f"  {'':<16} {line}" for line in (*_parts(config, folder), *_fits(config))]
    return lines


def _ready(config: AssistantConfig, folder: Path) -> str:
    if missing(config, folder):
        return "no, not all of it is here"
    try:
        return f"yes, weights {identified(config, folder)}, in {folder}"
    except AssistantError as error:
        return f"no: {error}"


def _parts(config: AssistantConfig, folder: Path) -> list[str]:
    """What lies where, and what it takes of the disk; nothing of a preset that ships."""
    gone = missing(config, folder)
    lines = [f"{part}: {'is missing' if part in gone else 'there'}, {f'about {source.gib:.1f} GiB' if source.gib else 'of unknown size'} "
             f"of {' or '.join(source.hubs)}" for part, source in config.sources.items()]
    lines += [f"{part}: {'must be trained' if part in gone else 'there'}: {command}" for part, command in config.trained.items()]
    to_fetch = sum(config.sources[part].gib for part in gone if part in config.sources)
    if to_fetch:
        lines.append(f"disk: {to_fetch:.1f} GiB are to be fetched, {shutil.disk_usage(CHECKPOINTS).free / GIB:.1f} GiB are free: "
                     f"python -m assistant download {config.name}")
    return lines


def _fits(config: AssistantConfig) -> list[str]:
    """How much memory it takes here, computed, and how it would live."""
    where = pick_device("auto")
    budget = Budget(config, pick_dtype("auto", where).itemsize)
    if where.type != "cuda":
        takes, there = budget.need(TIERS[0]).device, free_memory(where)
        return [f"memory: {takes / GIB:.1f} GiB on this {where.type} (computed), {there / GIB:.1f} GiB are free"
                f"{'' if takes <= there else ': it does not fit'}"]
    takes = ", ".join(f"{one.name} {budget.need(one).device / GIB:.1f}" for one in TIERS if budget.speaks or not one.quantised)
    try:
        chosen = pick_tier(config, "auto", where, pick_dtype("auto", where))
        return [f"memory: GiB of GPU by tier (computed): {takes}; here: {chosen.name}, {chosen.said}"]
    except AssistantError as error:
        return [f"memory: GiB of GPU by tier (computed): {takes}; here: {error}"]


def report() -> str:
    """The whole report, in lines."""
    parts = {"Versions": _versions(), "Devices": _devices(), "Attention kernels": _kernels(), "Presets": _presets()}
    return "\n".join(f"{title}\n" + "\n".join(lines) for title, lines in parts.items())
