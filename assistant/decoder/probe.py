"""Which attention kernel is fastest for each layer of a UNet on this device, by trying; remembered in a small file for the next start.

Knows shapes and seconds; not what is attended to.
"""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from assistant.decoder import kernels
from assistant.decoder.attention import SeamProcessor, cross_layers, layers

log = logging.getLogger(__name__)

Shape = tuple[int, int, int, int, int]  # batch, heads, Nq, N, d
CANDIDATES = tuple(name for name in kernels.KERNELS if name != "auto")
REPEATS = 9


def shapes(unet: torch.nn.Module, tokens: int, rows: int = 2) -> dict[str, Shape]:
    """What each attention layer computes, layer -> shape, where `rows` rows attend to `tokens` tokens: read off one pass of the UNet."""
    found: dict[str, Shape] = {}
    crossing, hooks = cross_layers(unet), []
    for name, layer in layers(unet).items():

        def look(attn: torch.nn.Module, given: tuple, name: str = name) -> None:
            queries = given[0].shape[1]
            found[name] = (rows, attn.heads, queries, tokens if name in crossing else queries, attn.inner_dim // attn.heads)

        hooks.append(layer.register_forward_pre_hook(look))
    side = unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    like = dict(device=unet.device, dtype=unet.dtype)
    try:
        with torch.inference_mode():
            unet(torch.zeros(rows, unet.config.in_channels, height, width, **like), torch.tensor(500, device=unet.device),
                 torch.zeros(rows, tokens, unet.config.cross_attention_dim, **like), return_dict=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def measured(shape: Shape, sample: torch.Tensor, candidates: Iterable[str] = CANDIDATES) -> dict[str, float]:
    """Seconds of each kernel that runs on tensors like `sample` of this shape."""
    batch, heads, queries, tokens, width = shape
    like = dict(device=sample.device, dtype=sample.dtype)
    q, k, v = (torch.zeros(batch, n, heads, width, **like).normal_(generator=torch.Generator(sample.device).manual_seed(0)).transpose(1, 2)
               for n in (queries, tokens, tokens))
    running = [name for name in candidates if not kernels.refusal(name, sample, shape)]
    times: dict[str, list[float]] = {name: [] for name in running}
    with torch.inference_mode():
        for turn in range(REPEATS + 2):
            for name in running:
                began = time.perf_counter()
                for _ in range(4):
                    kernels.attend(name, q, k, v, width**-0.5)
                if sample.device.type == "cuda":
                    torch.cuda.synchronize(sample.device)
                if turn >= 2:
                    times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) / 4 for name, seconds in times.items()}


def fit(unet: torch.nn.Module, tokens: int, memory: Path | None = None) -> dict[str, str]:
    """Give each attention layer the fastest kernel for what it computes; returns layer -> kernel.

    Args:
        unet: with the seam installed, on its device; changed in place.
        tokens: how many its rows attend to, usually.
        memory: the file of what was measured before, on this device with this torch; None: measure.
    """
    sample = next(unet.parameters())
    known = _read(memory)
    chosen: dict[str, str] = {}
    for layer, shape in shapes(unet, tokens).items():
        key = _key(sample, shape)
        if known.get(key) not in CANDIDATES:
            seconds = measured(shape, sample)
            known[key] = min(seconds, key=seconds.__getitem__)
        chosen[layer] = known[key]
    _write(memory, known)
    unet.set_attn_processor({f"{layer}.processor": SeamProcessor(layer, kernel) for layer, kernel in chosen.items()})
    return chosen


def _key(sample: torch.Tensor, shape: Shape) -> str:
    device = torch.cuda.get_device_name(sample.device) if sample.device.type == "cuda" else sample.device.type
    return f"{device} {torch.__version__} {sample.dtype} {'x'.join(map(str, shape))}"


def _read(memory: Path | None) -> dict[str, str]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8")) if memory is not None else {}
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(memory: Path | None, known: dict[str, str]) -> None:
    """What cannot be kept is measured again."""
    if memory is None:
        return
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        new = memory.with_suffix(".new")
        new.write_text(json.dumps(known, indent=1), encoding="utf-8")
        new.replace(memory)
    except OSError as error:
        log.info("The attention kernels that were measured are not kept: %s", error)
