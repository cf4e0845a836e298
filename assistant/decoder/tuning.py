"""What makes a decoder faster on one kind of device: each a switch, on where it pays. Knows switches and devices; changes no picture by more
than rounding does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch

from assistant.decoder import probe
from assistant.decoder.compiled import Warmed
from assistant.decoder.diffusion import Diffusion
from assistant.errors import ConfigError


@dataclass(frozen=True)
class Tuning:
    """The switches. What always pays has none: K and V once an image, all rows in one batch, inference mode."""

    channels_last: bool = False  # memory layout of UNet and autoencoder: for half precision's kernels; on a CPU a step takes 1.09 times as long
    compiled: bool = False  # torch.compile and a CUDA graph, made in the background; on a CPU it takes minutes of all cores
    probed: bool = False  # attention kernels by measurement, layer by layer; a CPU has one
    static_cache: bool = False  # the language model's keys and values in a place of fixed size; see mllm/cache.py

    @classmethod
    def usual(cls, device: torch.device, attention: str = "auto") -> Tuning:
        """What pays on a device; `attention`: a kernel that was asked for by name is not measured against others."""
        return cls(channels_last=True, compiled=True, probed=attention == "auto") if device.type == "cuda" else cls()

    def changed(self, switches: Sequence[str]) -> Tuning:
        """With switches as they come from a command line, NAME=on or NAME=off.

        Raises:
            ConfigError: not of that form, or no such switch.
        """
        names = {field.name.replace("_", "-"): field.name for field in fields(self)}
        found: dict[str, bool] = {}
        for switch in switches:
            name, _, state = switch.partition("=")
            if name not in names or state not in ("on", "off"):
                raise ConfigError(f"There is no switch {switch!r}.", f"Say NAME=on or NAME=off; the names are {', '.join(names)}.")
            found[names[name]] = state == "on"
        return replace(self, **found)


def tune(decoder: Diffusion, tuning: Tuning, tokens: int, memory: Path | None = None) -> None:
    """Set a decoder that is on its device up for speed.

    Args:
        tokens: how many its rows attend to, usually.
        memory: the file in which measured attention kernels are remembered.
    """
    if tuning.channels_last:
        decoder.unet.to(memory_format=torch.channels_last)
        decoder.vae.to(memory_format=torch.channels_last)
    if tuning.probed:
        probe.fit(decoder.unet, tokens, memory)
    decoder.step = Warmed(decoder.unet) if tuning.compiled else decoder.unet
