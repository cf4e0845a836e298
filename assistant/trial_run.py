"""`python -m assistant doctor --run PRESET`: one of each thing that people do here, timed and checked, as a table to paste into an issue.

It is the first thing to run where a preset has never run before. A step that fails is a line of the table, and the next one is tried.
"""

import io
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import machine
from .requests import Engine, Mix, MixReply, MixRequest, Photo, Reply, Request, Settings, Source, SweepReply, SweepRequest, Trainer, TrainingSpec, grid
from .deferred_engine import ready_subjects
from .engine import Assistant
from .errors import AssistantError
from .hub.download import place_of
from .loading import assistant_of, drawing_module, load
from .memory.oom_retry import OomRetryEngine
from .presets import MINIATURE
from .timing import Table, peak

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
    _line(table, "picture", lambda: _picture(engine, about, photos[0], settings))
    with tempfile.TemporaryDirectory(prefix="cafe-trial-") as folder:
        if (trainer := engine.trainer) is not None:
            library = trainer.open(Path(folder) / "concepts")
            for kind in ("infusion", "ico"):
                _line(table, f"{kind}, {STEPS} steps of learning", lambda kind=kind: _learned(trainer, library, kind, photos))
            _line(table, f"strip of {len(LAMBDAS)}", lambda: _strip(engine, library, settings))
        if about.vision is not None:
            _line(table, f"grid of {CELLS} x {CELLS}", lambda: _grid(engine, photos, settings))
        else:
            table.add("grid", "none", "this preset does not look at pictures")
    table.add("peak memory", f"{peak(about.decoder.device):.2f} GiB", "on the GPU" if about.decoder.device.type == "cuda" else "")
    return table


def failures(table: Table) -> list[str]:
    """What failed."""
    return [what for what, value, _ in table.lines if value == "FAILED"]


def _line(table: Table, what: str, work: Callable[[], str]) -> None:
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


def run(preset: str, device: str = "auto", dtype: str = "auto", memory: str = "auto", folder: Path | None = None, llm: str | None = None,
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
