"""What this machine has: versions, devices, memory, attention kernels, and which presets can run here and why not."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from .config import AssistantConfig
from .diffusion import attention
from .errors import AssistantError
from . import machine
from .loading import free_memory, identified, pick_device, pick_dtype, pick_tier
from .memory.budget import GIB, TIERS, Budget, Tier
from .hub.download import missing, place_of
from .presets import PRESETS
from .manifest import CHECKPOINTS


def _kernels() -> list[str]:
    lines, sample = [], torch.zeros(1, device="cuda" if torch.cuda.is_available() else "cpu")
    for name in attention.KERNELS:
        try:
            chosen = attention.choose(name, sample)
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
        lines.append(f"disk: about {to_fetch:.1f} GiB are to be fetched, {shutil.disk_usage(CHECKPOINTS).free / GIB:.1f} GiB are free: "
                     f"python -m assistant download {config.name}")
    return lines


def _fits(config: AssistantConfig) -> list[str]:
    """How much memory it takes here, computed, and how it would live."""
    where = pick_device("auto")
    budget = Budget(config, pick_dtype("auto", where).itemsize)
    if where.type != "cuda":
        takes, there = budget.need(TIERS[0]).device, free_memory(where)
        try:
            chosen = pick_tier(config, "auto", where, pick_dtype("auto", where))
            how = "" if chosen.name == "whole" else f"; here {chosen.said}"
        except AssistantError:
            how = ": it does not fit"
        return [f"memory: {takes / GIB:.1f} GiB on this {where.type} (computed), {there / GIB:.1f} GiB are free{how}"]
    takes = ", ".join(f"{one.name} {budget.need(one).device / GIB:.1f}" for one in TIERS if budget.speaks or not one.quantised)
    try:
        chosen = pick_tier(config, "auto", where, pick_dtype("auto", where))
        return [f"memory: GiB of GPU by tier (computed): {takes}; here: {chosen.name}, {chosen.said}"]
    except AssistantError as error:
        return [f"memory: GiB of GPU by tier (computed): {takes}; here: {error}"]


CARDS = (8, 12, 16, 24)  # GiB of a GPU
BESIDE, USABLE = 32, 0.93  # GiB of the computer's memory that the cards' table assumes; the share of either that is free


def cards() -> str:
    """How each preset would live on the usual sizes of NVIDIA cards, and on a computer of 16 GB without one: computed, as a table."""
    rows = ["| | " + " | ".join(f"{size} GB card" for size in CARDS) + " | no GPU, 16 GB |", "|---" * (len(CARDS) + 2) + "|"]
    for name, config in PRESETS.items():
        half, single = Budget(config, 2), Budget(config, 4)
        cells = [_cell(lambda size=size: half.choose("auto", int(USABLE * size * GIB), int(USABLE * BESIDE * GIB), True), half) for size in CARDS]
        rows.append(f"| {name} | {' | '.join([*cells, _cell(lambda: single.choose_host(int(USABLE * 16 * GIB)), single)])} |")
    return "\n".join(rows)


def _cell(choose: Callable[[], Tier], budget: Budget) -> str:
    try:
        tier = choose()
    except AssistantError:
        return "does not fit"
    return f"{tier.name}, {(Budget(budget.config, 2) if tier.halved else budget).need(tier).device / GIB:.1f} GiB"


def _listed(facts: Mapping[str, str]) -> list[str]:
    return [f"  {name:<16} {said}" for name, said in facts.items()]


def report() -> str:
    """The whole report, in lines."""
    devices = _listed({**machine.devices(), "disk": f"{shutil.disk_usage(CHECKPOINTS.parent).free / GIB:.1f} GiB free"})
    advice = machine.torch_here()
    parts = {"Versions": _listed(machine.versions()), "Devices": devices + ([f"  {advice}"] if advice else []), "Attention kernels": _kernels(),
             "Presets": _presets()}
    return "\n".join(f"{title}\n" + "\n".join(lines) for title, lines in parts.items())
