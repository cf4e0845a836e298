"""MixRequest -> what is seen in its pictures, once -> one batch of mixes -> pictures with their nearness. Knows no storage, no page."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..background import events_of
from ..board import MOST_CELLS, Mixed, MixEvent, MixReply, MixRequest, Sketch, Source, as_names, check, coefficients
from ..conditioning import EMPTY, TEXT
from ..decoder.attention import Seam
from ..decoder.rows import text_plan
from ..decoder.sampling import Denoised
from ..drawers.drawer import Seen
from ..errors import InputError
from ..messages import Cancel, Photo, Progress, Settings
from ..png import write_png
from .film import film
from .nearness import advice, similarities
from .vectors import subject_semantics

if TYPE_CHECKING:
    from ..pipeline import Assistant

QUICK = 4  # steps of a sketch
DECODED = 4  # pictures decoded at a time: more do not fit a processor's cache, and take twice as long each


@dataclasses.dataclass(frozen=True)
class Heard:
    """What a request's pictures and words come to; the same for all of its mixes."""

    subject: list[Seen]  # its photos
    own: Tensor  # F(x), (1, d_F)
    sources: list[Tensor | str]  # F(w_i), (1, d_F), or what the drawer heard in words
    rivals: list[Tensor | None]  # what tells each w_i apart, (1, d); None for words


class Mixing:
    """Draws boards with an assistant's drawer. Keeps nothing but what was heard in the last sentences."""

    def __init__(self, assistant: Assistant) -> None:
        self.assistant = assistant
        self._said: OrderedDict[tuple[str, str], Tensor | str] = OrderedDict()

    def hear(self, request: MixRequest, cancel: Cancel) -> Heard:
        """E, F and H(s) of everything on the board, each computed once."""
        first, drawer = request.mixes[0], self.assistant.drawer
        seen = [self.assistant.known(photo) for photo in first.subjects]
        pictures = [None if s.photo is None else self.assistant.known(s.photo) for s in first.sources]
        sources = [self._words(source, first.subjects[0], cancel) if w is None else w.semantics for source, w in zip(first.sources, pictures)]
        return Heard(seen, subject_semantics([s.semantics for s in seen]), sources, [None if w is None else drawer.trait(w) for w in pictures])

    def _words(self, source: Source, subject: Photo, cancel: Cancel) -> Tensor | str:
        """A sentence about the subject, without chance: it means the same each time."""
        key, words = (subject.sha256, source.words.strip()), source.words.strip()
        if key not in self._said:
            heard = self.assistant.drawer.hear(words, self.assistant.known(subject), cancel)
            if heard is None:
                raise InputError(f"“{words[:60]}” does not say what to draw.", "Say where it should be, or how it should look.")
            self._said[key] = heard
            while len(self._said) > 64:
                self._said.popitem(last=False)
        return self._said[key]

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        """See `board.Mixer`; the settings are checked and have a seed."""
        if not 1 <= len(request.mixes) <= MOST_CELLS:
            raise InputError(f"{len(request.mixes)} pictures were asked for at once; it can be 1 to {MOST_CELLS}.", "Ask for fewer.")
        for one in request.mixes:
            check(one)
        settings, started = request.settings, time.monotonic()
        heard = self.hear(request, cancel)
        wish = self.assistant.drawer.mix(heard.own, heard.sources, [coefficients(m) for m in request.mixes])

        def work(emit: Callable[[MixEvent], None], stop: Cancel) -> Denoised:
            return self._denoise(heard, wish, settings, len(request.mixes), emit, stop)

        for item in events_of(work, cancel):
            if not isinstance(item, Denoised):
                yield item
        done = item
        drawn = np.concatenate([self.assistant.decoder.decode(part) for part in done.latents.split(DECODED)])  # (B, H, W, 3)
        pictures = self._told(request, settings, heard, wish, drawn, done)
        yield MixReply(pictures, settings.seed, settings, time.monotonic() - started, done.stopped,
                       film(list(drawn)) if request.film and not done.stopped else None)

    def _denoise(self, heard: Heard, wish: Any, settings: Settings, count: int, emit: Callable[[MixEvent], None], stop: Cancel) -> Denoised:
        """All mixes in one batch and from one seed."""
        decoder, prepared = self.assistant.decoder, self.assistant.drawer.prepare(heard.subject, wish, settings, [settings.seed] * count)

        def sketch(latents: Tensor) -> None:
            if count == 1:
                emit(Sketch((write_png(decoder.decode(latents)[0]),)))
            else:
                emit(Sketch(tuple(write_png(np.asarray(p)) for p in decoder.decode_preview(latents))))

        if settings.preview_every > 0 and settings.steps > 2 * QUICK:
            sketch(prepared.draw(QUICK, settings.scheduler, None, 0, stop).latents)
        return prepared.draw(settings.steps, settings.scheduler, lambda step, steps, _: emit(Progress(step, steps)), 0, stop)

    @torch.no_grad()
    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        """See `board.Mixer`."""
        base, words = self.assistant.base, " ".join(words.split())
        if base is None:
            raise InputError("This engine has no text-to-image model of its own.", "Add a picture instead.")
        if not words:
            raise InputError("There are no words to draw from yet.", "Write what the reference should show.")
        plan = text_plan(self.assistant.config.decoder.guidance)
        seam = Seam({TEXT: base.encode_text([words.lower()]), EMPTY: base.encode_text([""])})
        seeds = [settings.seed or 0]
        done = base.sample(plan, seam, seeds, settings.steps, settings.scheduler, cancel=cancel)
        return write_png(base.decode(done.latents)[0], {"software": "CAFE assistant", "prompt": words, "seed": seeds[0]})

    @torch.no_grad()
    def _told(self, request: MixRequest, settings: Settings, heard: Heard, wish: Any, drawn: np.ndarray, done: Denoised) -> tuple[Mixed, ...]:
        """The pictures as files, each with its board and its nearness."""
        one, drawer = self.assistant, self.assistant.drawer
        shown = drawer.look(torch.from_numpy(drawn).to(one.decoder.device).permute(0, 3, 1, 2).float() / 255)
        looks = drawer.trait(shown)
        subject = similarities(looks, [drawer.trait(s) for s in heard.subject]).amax(1)  # (B,)

        def by_source(found: Tensor, among: Sequence[Any], known: Callable[[Any], bool]) -> list[list[float | None]]:
            """(B, number known) -> of each source its B values, None where it is not known."""
            columns = iter(found.T.tolist())
            return [next(columns) if known(a) else [None] * len(drawn) for a in among]

        near = by_source(similarities(shown.semantics, [s for s in heard.sources if isinstance(s, Tensor)]), heard.sources,
                         lambda s: isinstance(s, Tensor))
        rivals = by_source(similarities(looks, [t for t in heard.rivals if t is not None]), heard.rivals, lambda t: t is not None)
        out = []
        for k, mix in enumerate(request.mixes):
            metadata = {"software": "CAFE assistant", "preset": one.config.name, "weights": one.weights, "method": f"{drawer.method}, mixed (eq. 4)",
                        **dataclasses.asdict(settings), "board": as_names(mix), "coefficients": list(coefficients(mix)), "reply": "",
                        "reference": mix.subjects[0].sha256, "steps_done": done.steps_done, "stopped": done.stopped, **drawer.note(wish, k)}
            likeness = round(float(subject[k]), 3)
            out.append(Mixed(write_png(drawn[k], metadata), mix, metadata, likeness,
                             tuple(None if n[k] is None else round(n[k], 3) for n in near),
                             advice(mix, likeness, [r[k] for r in rivals], settings.keep_subject, drawer.far)))
        return tuple(out)
