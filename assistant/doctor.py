"""What this machine has: versions, devices, memory, attention kernels, and which presets can run here and why not."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import torch

from .decoder import kernels
from .errors import AssistantError
from .presets import PRESETS
from .weights import CHECKPOINTS, verify

PACKAGES = ("torch", "torchvision", "xformers", "diffusers", "transformers", "accelerate", "gradio", "open_clip_torch", "pillow",
            "safetensors")


def _versions() -> list[str]:
    lines = [f"  {'python':<16} {platform.python_version()} on {platform.platform()}"]
    for name in PACKAGES:
        try:
            lines.append(f"  {name:<16} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"  {name:<16} not installed")
    return lines


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        free = os.sysconf("SC_AVPHYS_PAGES") * size / 2**30
        return f"{pages * size / 2**30:.1f} GiB, {free:.1f} GiB free"
    except (ValueError, OSError, AttributeError):
        return "not told by this system"


def _devices() -> list[str]:
    lines = [f"  cpu              {os.cpu_count()} cores, {torch.get_num_threads()} threads, memory {_memory()}"]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        lines.append(f"  cuda:{i}           {torch.cuda.get_device_name(i)}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        lines.append("  mps              Apple GPU")
    lines.append(f"  disk             {shutil.disk_usage(CHECKPOINTS.parent).free / 2**30:.1f} GiB free")
    return lines


def _kernels() -> list[str]:
    lines, sample = [], torch.zeros(1, device="cuda" if torch.cuda.is_available() else "cpu")
    for name in kernels.KERNELS:
        try:
            chosen = kernels.choose(name, sample)
            lines.append(f"  {name:<16} {'yes' if chosen == name else f'yes, takes {chosen}'}")
        except AssistantError as error:
            lines.append(f"  {name:<16} no: {error.sentence}")
    return lines


def _presets() -> list[str]:
    lines = []
    for name, config in PRESETS.items():
        if config.folder is None:
            parts = ", ".join(f"{part} from {hub}" for part, hub in config.sources.items())
            lines.append(f"  {name:<16} no: its weights do not ship with the code ({parts}; CAFE's own layers were never published)")
            continue
        try:
            lines.append(f"  {name:<16} yes, weights {verify(CHECKPOINTS / config.folder)}")
        except AssistantError as error:
            lines.append(f"  {name:<16} no: {error}")
    return lines


def report() -> str:
    """The whole report, in lines."""
    parts = {"Versions": _versions(), "Devices": _devices(), "Attention kernels": _kernels(), "Presets": _presets()}
    return "\n".join(f"{title}\n" + "\n".join(lines) for title, lines in parts.items())
