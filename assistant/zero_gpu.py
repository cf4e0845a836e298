"""An engine on a ZeroGPU Space, whose GPU is there only inside functions that `spaces.GPU` was put around, in a process that is forked for them.

What goes in and comes out is copied from process to process, and what is changed there is lost. So a request goes with the folder of its library
in its place, Stop is a file, an error is a value, and a lesson's state goes along with each call. Models are on the device before the first
call, as ZeroGPU wants it: whoever loads the engine does that before the page is launched. Knows no page.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import AssistantError, DeviceError
from .requests import (Cancel, DatasetAdvice, Engine, EngineInfo, Event, Masks, MixEvent, MixRequest, Photo, Request, Settings, StripEvent, SweepRequest, Trainer,
                       TrainingRun, TrainingSpec)

POLL = 0.05  # seconds between looks at whether Stop was pressed
LEARNING = 25.0  # seconds of a lesson in one call
MOST = 120  # seconds that a call asks for
BASE, WORDS, STEP = 12.0, 10.0, 0.12  # seconds: of any call, of a reply's words, of a step of one picture of 512 pixels; estimates, nobody measured them


def is_here() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@dataclass(frozen=True)
class Fault:
    """An error as a value: an exception that crosses processes loses its sentence."""

    kind: type[AssistantError]
    sentence: str
    remedy: str


@dataclass(frozen=True)
class FileFlag:
    """A cancel flag that another process sees."""

    path: Path

    def is_set(self) -> bool:
        return self.path.exists()


@contextmanager
def _flag(cancel: Cancel) -> Iterator[FileFlag]:
    """A flag that another process sees: a file, which is there a moment after `cancel` is set."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            if cancel.is_set():
                return flag.path.touch()

    with tempfile.TemporaryDirectory(prefix="cafe-stop-") as folder:
        flag = FileFlag(Path(folder) / "stop")
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield flag
        finally:
            done.set()
            watcher.join()


@dataclass(frozen=True)
class Examples:
    """Name of a concept -> its photos, of those that a request names."""

    photos: dict[str, tuple[Photo, ...]]

    def __call__(self, name: str) -> Sequence[Photo]:
        return self.photos.get(name.lower(), ())


class ZeroGpuEngine:
    """See `requests.Engine`, and `Assistant`.

    Args:
        engine: with its models on the device.
        info: of it; the engine's own would ask the device, which is not here.
        gpu: `spaces.GPU`.
    """

    def __init__(self, engine: Engine, info: EngineInfo, gpu: Callable[..., Any]) -> None:
        self._engine, self._info = engine, info
        self._streams = {name: gpu(duration=seconds)(self._stream(work)) for name, work, seconds in (
            ("respond", engine.respond, self._reply_seconds), ("strip", engine.strip, self._strip_seconds), ("mix", engine.mix, self._mix_seconds))}
        self._imagine = gpu(duration=lambda words, settings, flag: self._seconds(1, settings.steps))(
            lambda words, settings, flag: _guarded(lambda: engine.imagine(words, settings, flag)))
        self._subject = gpu(duration=round(BASE))(lambda photo, words: _guarded(lambda: engine.subject_mask(photo, words)))
        self.trainer: Trainer | None = ZeroGpuTrainer(engine.trainer, gpu) if engine.trainer is not None else None

    def info(self) -> EngineInfo:
        return self._info

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        yield from self._relayed("respond", request, cancel)

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]:
        yield from self._relayed("strip", request, cancel)

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        yield from self._relayed("mix", request, cancel)

    def subject_mask(self, photo: Photo, words: str = "") -> bytes:
        return _called(lambda: self._subject(photo, words))

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        return self._engine.masks(packed, pictures)

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        with _flag(cancel) as flag:
            return _called(lambda: self._imagine(words, settings, flag))

    # inside

    def _seconds(self, pictures: int, steps: int, words: float = 0.0) -> int:
        return min(MOST, round(BASE + words + pictures * steps * STEP * (self._info.size / 512) ** 2))

    def _reply_seconds(self, request: Request, _flag: Any) -> int:
        return self._seconds(request.settings.candidates, request.settings.steps, WORDS)

    def _strip_seconds(self, request: Any, _flag: Any) -> int:
        return self._seconds(2 * len(request.strengths), request.settings.steps)

    def _mix_seconds(self, request: Any, _flag: Any) -> int:
        return self._seconds(len(request.mixes), request.settings.steps)

    def _stream(self, work: Callable[[Any, FileFlag], Iterator[Any]]) -> Callable[[Any, FileFlag], Iterator[Any]]:
        def there(request: Any, flag: FileFlag) -> Iterator[Any]:
            try:
                if isinstance(getattr(request, "library", None), Path):
                    assert self._engine.trainer is not None
                    request = replace(request, library=self._engine.trainer.open(request.library))
                yield from work(request, flag)
            except AssistantError as error:
                yield Fault(type(error), error.sentence, error.remedy)
        return there

    def _relayed(self, name: str, request: Any, cancel: Cancel) -> Iterator[Any]:
        with _flag(cancel) as flag:
            events = _called(lambda: self._streams[name](_packed(request), flag))
            while (event := _called(lambda: next(events, None))) is not None:
                yield event


def _packed(request: Any) -> Any:
    """A request that can be copied to another process."""
    library = getattr(request, "library", None)
    if library is None:
        return request
    if getattr(request, "examples", None) is not None:
        said = " ".join([request.text, *(turn.user for turn in request.history)]).lower()
        request = replace(request, examples=Examples({name.lower(): tuple(request.examples(name)) for name in library.names() if name.lower() in said}))
    return replace(request, library=library.folder)


def _guarded(work: Callable[[], Any]) -> Any:
    """What is made there, or why not."""
    try:
        return work()
    except AssistantError as error:
        return Fault(type(error), error.sentence, error.remedy)


def _called(work: Callable[[], Any]) -> Any:
    """What a call gives; a fault is raised. Raises DeviceError too: the Space gave no GPU, or took it back."""
    try:
        found = work()
    except AssistantError:
        raise
    except Exception as error:  # gradio's, with the Space's own words
        said = str(getattr(error, "message", error)).strip(" \n'.")[:200]
        raise DeviceError(f"The Space's GPU did not do it: {said}.",
                          "Try again in a minute, with fewer steps or pictures; sign in to Hugging Face for more time.") from error
    if isinstance(found, Fault):
        raise found.kind(found.sentence, found.remedy)
    return found


class ZeroGpuTrainer:
    """See `requests.Trainer`."""

    def __init__(self, trainer: Trainer, gpu: Callable[..., Any]) -> None:
        self._trainer, self.open = trainer, trainer.open
        self._advise = gpu(duration=round(BASE))(lambda pictures: _guarded(lambda: trainer.advise(pictures)))
        learning = round(BASE + LEARNING + BASE)
        self.learn = gpu(duration=learning)(lambda task, state, seconds: _guarded(lambda: _learned(trainer.begin(task, state), seconds)))
        self.preview = gpu(duration=round(2 * BASE))(lambda task, state, flag: _guarded(lambda: trainer.begin(task, state).preview(flag)))
        self.keep = gpu(duration=round(BASE))(
            lambda task, state, folder, thumbnail: _guarded(lambda: trainer.begin(task, state).keep(trainer.open(folder), thumbnail)))

    def advise(self, pictures: Sequence[Photo]) -> DatasetAdvice:
        return _called(lambda: self._advise(pictures))

    def begin(self, task: TrainingSpec, state: bytes | None = None) -> TrainingRun:
        return _Run(self, task, state)


@dataclass(frozen=True)
class _Learned:
    """What a call of a lesson gives back."""

    losses: list[float]
    state: bytes
    step: int
    steps: int


def _learned(run: TrainingRun, seconds: float) -> _Learned:
    until, losses = time.monotonic() + seconds, []
    while run.step < run.steps and time.monotonic() < until:
        losses.append(run.advance())
    return _Learned(losses, run.state(), run.step, run.steps)


class _Run:
    """See `requests.TrainingRun`: steps are made there for some time at once, and told one by one."""

    def __init__(self, trainer: ZeroGpuTrainer, task: TrainingSpec, state: bytes | None) -> None:
        self._trainer, self._task, self._losses = trainer, task, deque()
        begun = _called(lambda: trainer.learn(task, state, 0.0))
        self._state, self.step, self.steps = begun.state, begun.step, begun.steps

    def advance(self) -> float:
        if not self._losses:
            made = _called(lambda: self._trainer.learn(self._task, self._state, LEARNING))
            self._state, self._losses = made.state, deque(made.losses)
        self.step += 1
        return self._losses.popleft()

    def preview(self, cancel: Cancel) -> bytes | None:
        with _flag(cancel) as flag:
            return _called(lambda: self._trainer.preview(self._task, self._state, flag))

    def state(self) -> bytes:
        return self._state

    def keep(self, library: Any, thumbnail: bytes) -> None:
        _called(lambda: self._trainer.keep(self._task, self._state, library.folder, thumbnail))
