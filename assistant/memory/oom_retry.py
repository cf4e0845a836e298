"""An engine that answers again, once: in the next tier where memory runs out, and says so; in single precision where half overflows. Knows no models.

It stands between a session and an engine, and is an engine itself. A turn is answered again from its beginning with the same seed: the
words that were told already are not told twice.
"""

import gc
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ..errors import DeviceError, NotFiniteError, is_shortage
from .budget import Tier
from .offloading import OffloadManager
from ..requests import (Cancel, DatasetAdvice, Engine, EngineInfo, Event, Masks, MixEvent, MixRequest, Photo, Reply, Request, Settings, StripEvent,
                        SweepRequest, Trainer, TrainingRun, TrainingSpec, Words)


class OomRetryEngine:
    """See `requests.Engine`.

    Args:
        engine: whatever answers. residence: where its modules live.
        single: has its decoders compute in float32 meanwhile; None: they do already. Not asked where they move.
    """

    def __init__(self, engine: Engine, residence: OffloadManager, single: Callable[[], AbstractContextManager] | None = None) -> None:
        self.engine, self._residence, self._single = engine, residence, single
        self.trainer: Trainer | None = None if engine.trainer is None else OomRetryTrainer(engine.trainer, residence)

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        return self._plain(lambda: self.engine.mix(request, cancel))

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        return self._one(lambda: self.engine.imagine(words, settings, cancel))

    def subject_mask(self, photo: Photo, words: str = "") -> bytes:
        return self._one(lambda: self.engine.subject_mask(photo, words))

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]:
        return self._plain(lambda: self.engine.strip(request, cancel))

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        return self.engine.masks(packed, pictures)

    def info(self) -> EngineInfo:
        info, tier = self.engine.info(), self._residence.tier
        if tier is None or tier.name == "whole":
            return info
        return replace(info, notice=f"{info.notice} To fit this machine's memory, {tier.said}.")

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        """See `requests.Engine.respond`.

        Raises:
            DeviceError: memory ran out, and did again in the next tier, or there is none.
            NotFiniteError: of the engine, in single precision too.
        """
        settings = request.settings
        if settings.seed is None:  # so that a second try draws what the first would have drawn
            request = replace(request, settings=replace(settings, seed=secrets.randbelow(2**31)))
        told, seen = 0, 0  # characters that were told, and that the present try has said
        lowered: list[Tier] = []
        for event in self._again(lambda: self.engine.respond(request, cancel), lowered):
            if isinstance(event, Tier):
                seen = 0
            elif isinstance(event, Words):
                seen += len(event.delta)
                if seen > told:
                    yield Words(event.delta[max(0, len(event.delta) - (seen - told)):])
                    told = seen
            elif isinstance(event, Reply) and lowered:
                note = f" (Memory ran out; from now on {lowered[-1].said}.)"
                yield Words(note)
                yield replace(event, text=event.text + note)
            else:
                yield event

    def _one(self, make: Callable[[], bytes]) -> bytes:
        def made() -> Iterator[bytes]:
            yield make()

        return next(self._plain(made))

    def _plain(self, make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        return (event for event in self._again(make, []) if not isinstance(event, Tier))

    def _again(self, make: Callable[[], Iterator[Any]], lowered: list[Tier]) -> Iterator[Any]:
        """What `make()` yields; out of memory or of half precision, the tier that is lived in then, and all of it once more."""
        with ExitStack() as held:
            for last in (False, True):
                short, tier = False, self._residence.tier
                try:
                    with closing(cast(Generator, make())) as events:
                        yield from events
                    return
                except NotFiniteError:
                    if last or self._single is None or tier is None or tier.turns or tier.layers:
                        raise
                except (RuntimeError, MemoryError) as error:
                    if not is_shortage(error):
                        raise
                    short = True
                if short:  # outside the handler: the traceback holds the tensors
                    tier = _lowered(self._residence, last)
                    lowered.append(tier)
                else:
                    assert self._single is not None
                    held.enter_context(self._single())
                yield tier


class OomRetryTrainer:
    """See `requests.Trainer`; what is learned goes on in the next tier where memory runs out."""

    def __init__(self, trainer: Trainer, residence: OffloadManager) -> None:
        self._trainer, self._residence = trainer, residence

    def open(self, folder: Path) -> Any:
        return self._trainer.open(folder)

    def advise(self, pictures: Sequence[Photo]) -> DatasetAdvice:
        return self._trainer.advise(pictures)

    def begin(self, task: TrainingSpec, state: bytes | None = None) -> TrainingRun:
        return _OomRetryRun(_twice(lambda: self._trainer.begin(task, state), self._residence), self._residence)


class _OomRetryRun:
    """A step that broke off has changed nothing, so it can be made again."""

    def __init__(self, run: TrainingRun, residence: OffloadManager) -> None:
        self._run, self._residence = run, residence

    @property
    def step(self) -> int:
        return self._run.step

    @property
    def steps(self) -> int:
        return self._run.steps

    def advance(self) -> float:
        return _twice(self._run.advance, self._residence)

    def preview(self, cancel: Cancel) -> bytes | None:
        return _twice(lambda: self._run.preview(cancel), self._residence)

    def state(self) -> bytes:
        return self._run.state()

    def keep(self, library: Any, thumbnail: bytes) -> None:
        self._run.keep(library, thumbnail)


def _twice(work: Callable[[], Any], residence: OffloadManager) -> Any:
    """What a part of learning gives, in the next tier if need be."""
    for last in (False, True):
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
        _lowered(residence, last, learning=True)
    raise AssertionError("the second shortage raises")


def _lowered(residence: OffloadManager, last: bool, learning: bool = False) -> Tier:
    """The next tier, taken. Raises DeviceError: there is none, or it was tried already."""
    gc.collect()
    tier = None if last else residence.lower(learning)
    if tier is None:
        raise DeviceError(f"Memory ran out{' again, in the next tier too' if last else ', and there is no tier that takes less'}.",
                          "Close other programs on this device, or choose a smaller preset.")
    return tier
