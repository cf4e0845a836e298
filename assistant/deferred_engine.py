"""An engine whose page opens before its models are loaded: what it says of itself is known from the preset, all else waits. Knows no torch,
so that a page is there in the time that gradio takes.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .config import AssistantConfig, ClipVisionConfig, VisionConfig
from .manifest import verify
from .requests import (FLOW, LCM, SCHEDULERS, Cancel, DatasetAdvice, Engine, EngineInfo, Event, Masks, MixEvent, MixRequest, Pace, Photo, ReadySubject, Request, Settings,
                       StripEvent, SweepRequest, Trainer, TrainingRun, TrainingSpec)
from .hub.download import place_of

CANDIDATES = (1, 1, 4)  # of a quick, a usual and a fine picture, where what was drawn is looked at


def info_of(config: AssistantConfig, device: str, weights: str, subjects: Sequence[ReadySubject]) -> EngineInfo:
    """What an engine of a preset says of itself."""
    about, flow, looks = config.decoder, config.flow, isinstance(config.vision, VisionConfig)
    quick, usual, fine = CANDIDATES if looks else (1, 1, 1)
    paces = (Pace("quick", *about.quick, quick), Pace("usual", about.sampler, about.steps, usual), Pace("fine", *about.fine, fine))
    if flow is not None:
        paces = tuple(Pace(name, FLOW, steps) for name, steps in (("quick", flow.quick), ("usual", flow.steps), ("fine", flow.fine)))
        return EngineInfo(config.name, device, flow.image_size, config.notice, weights, tuple(subjects), flow.steps, FLOW, about.keep_subject, about.follow_words,
                          paces=paces, window=about.dci_window, lesson_steps=_lesson_steps(config), samplers=(FLOW,), unheard=("keep_subject", "follow_words"),
                          models={"Chat": flow.named, "Mix": flow.named, "Concepts": flow.beside, "Likeness": flow.beside})
    return EngineInfo(config.name, device, about.image_size, config.notice, weights, tuple(subjects), about.steps, about.sampler,
                      about.keep_subject, about.follow_words, config.keep_subject_most, paces, looks, usual, about.dci_window,
                      samplers=(*SCHEDULERS, LCM) if LCM in config.sources else SCHEDULERS, lesson_steps=_lesson_steps(config), alpha=about.alpha,
                      masks=isinstance(config.vision, ClipVisionConfig) and config.vision.segmentation is not None)


def _lesson_steps(config: AssistantConfig) -> dict[str, int]:
    return {kind: config.decoder.recipes.get(kind, {}).get("steps", 300) for kind in ("infusion", "ico")}


def ready_subjects(folder: Path) -> tuple[ReadySubject, ...]:
    """The pictures a preset offers to people who have none at hand: `subjects/subjects.json` and its PNG files."""
    listing = folder / "subjects" / "subjects.json"
    if not listing.exists():
        return ()
    found = []
    for entry in json.loads(listing.read_text(encoding="utf-8")):
        png = (listing.parent / entry["file"]).read_bytes()
        width, height = Image.open(io.BytesIO(png)).size
        found.append(ReadySubject(entry["name"], Photo(png, width, height, hashlib.sha256(png).hexdigest()), tuple(entry["wishes"])))
    return tuple(found)


def can_defer(config: AssistantConfig, device: str) -> bool:
    """Whether it is known without torch where a preset will run, and that its weights are here: a CPU, and those that ship."""
    gpu = sys.platform == "darwin" or shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
    return not config.sources and (device == "cpu" or (device == "auto" and not gpu))


class DeferredEngine:
    """See `requests.Engine`, and `Assistant`, whose methods these are once `arrive` has returned.

    Raises:
        WeightsError: a file of the weights is missing or damaged; this is seen at once.
    """

    def __init__(self, config: AssistantConfig, folder: Path | None, load: Callable[[], Engine]) -> None:
        place = place_of(config, folder)
        self._info = info_of(config, "cpu", verify(place), ready_subjects(place))
        self._load, self._there = load, threading.Event()
        self._engine: Engine | None = None
        self._error: BaseException | None = None
        self.trainer: Trainer | None = DeferredTrainer(self)  # can_defer: the miniature has a base model

    def arrive(self) -> None:
        """Load the models; whoever waits for them goes on, or gets the error. Raises what loading raises."""
        try:
            self._engine = self._load()
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._there.set()

    def engine(self) -> Engine:
        """The engine, once it is there."""
        self._there.wait()
        if self._engine is None:
            raise self._error or RuntimeError("nothing was loaded")
        return self._engine

    def info(self) -> EngineInfo:
        return self._info if self._engine is None else self._engine.info()

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        yield from self.engine().respond(request, cancel)

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]:
        yield from self.engine().strip(request, cancel)

    def subject_mask(self, photo: Photo, words: str = "") -> bytes:
        return self.engine().subject_mask(photo, words)

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        return self.engine().masks(packed, pictures)

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        yield from self.engine().mix(request, cancel)

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        return self.engine().imagine(words, settings, cancel)


class DeferredTrainer:
    """See `requests.Trainer`."""

    def __init__(self, engine: DeferredEngine) -> None:
        self._deferred = engine

    def _trainer(self) -> Trainer:
        trainer = self._deferred.engine().trainer
        assert trainer is not None
        return trainer

    def open(self, folder: Path) -> Any:
        return self._trainer().open(folder)

    def advise(self, pictures: Sequence[Photo]) -> DatasetAdvice:
        return self._trainer().advise(pictures)

    def begin(self, task: TrainingSpec, state: bytes | None = None) -> TrainingRun:
        return self._trainer().begin(task, state)
