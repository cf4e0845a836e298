"""What this machine has: versions, devices, memory, attention kernels, and which presets can run here and why not.

`python -m assistant doctor --run PRESET` tries one of each thing that people do here, timed and checked, as a table to paste into an issue: the first
thing to run where a preset has never run before. A step that fails is a line of the table, and the next one is tried.
"""

import io
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from . import machine
from .config import AssistantConfig
from .deferred_engine import ready_subjects
from .diffusion import attention
from .engine import Assistant
from .errors import AssistantError
from .hub.inventory import missing, place_of
from .loading import assistant_of, drawing_module, free_memory, identified, load, pick_device, pick_dtype, pick_tier
from .manifest import CHECKPOINTS
from .memory.budget import GIB, TIERS, Budget, Tier
from .memory.oom_retry import OomRetryEngine
from .presets import MINIATURE, PRESETS
from .requests import Engine, Mix, MixReply, MixRequest, Photo, Reply, Request, Settings, Source, SweepReply, SweepRequest, Trainer, TrainingSpec, grid
from .timing import Table, peak


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


# --- tried ---------------------------------------------------------------------------------------------------------------

STEPS = 10  # of learning
CELLS = 3  # of each side of the grid
LAMBDAS = (-1.0, 0.0, 1.0)
NAME, NOUN, PROMPT = "rex", "cat", "a cat on the beach"
DARK, FLAT = 3.0, 1.0  # of 255: a mean below it is black, a spread below it is one colour
ELSEWHERE = "Try --device cpu: if it ends so there too, the fault is not the device's."


class Failed(AssistantError):
    """A step that ended, but not with what it should have made."""


def trial(engine: Assistant | OomRetryEngine, photos: Sequence[Photo], steps: int | None = None) -> Table:
    """Try everything an engine can do.

    Args:
        photos: three, of whatever; the first is the subject. steps: of denoising; None: the preset's usual.
    """
    info, about, table = engine.info(), assistant_of(engine), Table()
    settings = Settings(seed=0, steps=steps or info.steps, scheduler=info.sampler, preview_every=0)
    table.add("preset", info.preset, f"weights {info.weights}, {info.device}, numbers {str(drawing_module(about.image_generator).dtype).removeprefix('torch.')}")
    _tried(table, "picture", lambda: _picture(engine, about, photos[0], settings))
    with tempfile.TemporaryDirectory(prefix="cafe-trial-") as folder:
        if (trainer := engine.trainer) is not None:
            library = trainer.open(Path(folder) / "concepts")
            for kind in ("infusion", "ico"):
                _tried(table, f"{kind}, {STEPS} steps of learning", lambda kind=kind: _learned(trainer, library, kind, photos))
            _tried(table, f"strip of {len(LAMBDAS)}", lambda: _strip(engine, library, settings))
        if about.vision is not None:
            _tried(table, f"grid of {CELLS} x {CELLS}", lambda: _grid(engine, photos, settings))
        else:
            table.add("grid", "none", "this preset does not look at pictures")
    table.add("peak memory", f"{peak(about.decoder.device):.2f} GiB", "on the GPU" if about.decoder.device.type == "cuda" else "")
    return table


def failures(table: Table) -> list[str]:
    """What failed."""
    return [what for what, value, _ in table.lines if value == "FAILED"]


def _tried(table: Table, what: str, work: Callable[[], str]) -> None:
    started = time.perf_counter()
    try:
        found = work()
        table.add(what, f"{time.perf_counter() - started:.2f} s", found)
    except AssistantError as error:
        table.add(what, "FAILED", str(error))
    except Exception as error:  # whatever it is, the table says so and goes on
        traceback.print_exc()
        table.add(what, "FAILED", f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}")


def checked(pngs: Sequence[bytes | None]) -> str:
    """What pictures are, in words. Raises Failed: there is none, or one is black or of one colour. (Numbers that are none are refused in decoding.)"""
    sizes = []
    for number, png in enumerate(pngs, 1):
        if png is None:
            raise Failed(f"There is no picture {number} of {len(pngs)}.", ELSEWHERE)
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.float32)
        if pixels.mean() < DARK or pixels.std() < FLAT:
            raise Failed(f"Picture {number} is {'black' if pixels.mean() < DARK else 'of one colour'} (mean {pixels.mean():.1f}, spread {pixels.std():.1f} of 255).",
                         "Try --dtype float32.")
        sizes.append(f"{pixels.shape[1]} x {pixels.shape[0]}")
    return f"{len(sizes)} of {sizes[0]}, none of them NaN, black or flat"


def _last(events: Iterator[Any], kind: type) -> Any:
    found = [event for event in events if isinstance(event, kind)]
    if not found:
        raise Failed("It ended without a result.", ELSEWHERE)
    return found[-1]


def _picture(engine: Engine, about: Assistant, photo: Photo, settings: Settings) -> str:
    request = Request("put it on the beach" if about.vision is not None else PROMPT, photo if about.vision is not None else None, settings=settings)
    reply = _last(engine.respond(request, threading.Event()), Reply)
    if about.language is not None and not reply.text.strip():
        raise Failed("The language model said nothing.", ELSEWHERE)
    first = f", first word after {reply.seconds['first_word']:.2f} s" if "first_word" in reply.seconds else ""
    return checked([reply.png]) + first


def _learned(trainer: Trainer, library: Any, kind: str, photos: Sequence[Photo]) -> str:
    run = trainer.begin(TrainingSpec(NAME, NOUN, tuple(photos), kind=kind, options={"steps": STEPS}))
    losses = [run.advance() for _ in range(STEPS)]
    if not np.isfinite(losses).all():
        raise Failed(f"The loss is not a number at step {int(np.argmin(np.isfinite(losses))) + 1} (NaN).", "Try --dtype float32.")
    run.keep(library, b"")
    return f"loss {losses[0]:.3f} to {losses[-1]:.3f}; {sum(entry.size for entry in library.entries()) / 1024:.0f} KiB in the library"


def _strip(engine: Engine, library: Any, settings: Settings) -> str:
    request = SweepRequest(f"a <{NAME}> on the beach", library, LAMBDAS, settings)
    reply = _last(engine.strip(request, threading.Event()), SweepReply)
    return checked([image.png for image in reply.pictures])


def _grid(engine: Engine, photos: Sequence[Photo], settings: Settings) -> str:
    mixes = grid(Mix((photos[0],), tuple(Source(photo) for photo in photos[1:3])), CELLS)
    reply = _last(engine.mix(MixRequest(mixes, settings), threading.Event()), MixReply)
    return checked([image.png for image in reply.pictures])


def try_out(preset: str, device: str = "auto", dtype: str = "auto", memory: str = "auto", folder: Path | None = None, llm: str | None = None,
        steps: int | None = None, save: Path | None = None) -> int:
    """Load a preset, try it, print the table; returns the exit status, 1 if anything failed. Raises AssistantError: it cannot be loaded."""
    photos = [subject.photo for subject in ready_subjects(place_of(MINIATURE))[:3]]
    started = time.perf_counter()
    engine = load(preset, device, dtype, "auto", folder, llm, (), memory)
    print(f"Loaded in {time.perf_counter() - started:.1f} s")
    table = trial(engine, photos, steps)
    facts = {**machine.versions(), **machine.devices()}
    print(f"\nTo paste into an issue:\n\n{table.markdown()}\n" + "\n".join(f"- {name}: {said}" for name, said in facts.items()))
    if save is not None:
        table.save(save, command="doctor --run", preset=preset, versions=machine.versions(), devices=machine.devices())
    failed = failures(table)
    print(f"\n{'Failed: ' + ', '.join(failed) if failed else 'All of it works here.'}")
    return 1 if failed else 0
