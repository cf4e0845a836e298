"""MixRequest -> E and F of its pictures, once -> one batch of mixes -> pictures with their nearness. Knows no storage, no page."""

from __future__ import annotations

import base64
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..background import events_of
from ..board import MOST_CELLS, Mixed, MixEvent, MixReply, MixRequest, Sketch, Source, as_names, check, coefficients
from ..conditioning import EMPTY, PATCHES, SEMANTICS, TEXT
from ..control.cafe import Cafe
from ..decoder.attention import Seam
from ..decoder.rows import cafe_plan, text_plan
from ..decoder.sampling import Denoised
from ..errors import InputError
from ..messages import Cancel, Photo, Progress, Settings
from ..mllm.language import Spoken
from ..png import write_png
from .film import film
from .nearness import advice, similarities
from .vectors import blend, subject_semantics, subject_tokens

if TYPE_CHECKING:
    from ..pipeline import Assistant

QUICK = 4  # steps of a sketch where there is no first guess
GUIDANCE = 3.0  # of the base model
DECODED = 4  # pictures decoded at a time: more do not fit a processor's cache, and take twice as long each


@dataclasses.dataclass(frozen=True)
class Heard:
    """What a request's pictures and words come to; the same for all of its mixes."""

    patches: Tensor  # E(x) to attend to, (1, 257 * photos, d_E)
    lead: Tensor  # E's class token for a first guess, (1, 1, d_E)
    photos: list[Tensor]  # E's class token of each photo of the subject, (1, d_E)
    own: Tensor  # F(x), (1, d_F)
    sources: list[Tensor]  # F(w_i) or H(s), (1, d_F)
    rivals: list[Tensor | None]  # E's class token of each w_i, (1, d_E); None for words


class Mixing:
    """Draws boards with an assistant's encoders and decoder. Keeps nothing but H(s) of the last sentences."""

    def __init__(self, assistant: Assistant) -> None:
        self.assistant = assistant
        self._said: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def hear(self, request: MixRequest, cancel: Cancel) -> Heard:
        """E, F and H(s) of everything on the board, each computed once."""
        first = request.mixes[0]
        seen = [self.assistant.see(photo) for photo in first.subjects]
        patches, lead = subject_tokens([s.patches for s in seen])
        pictures = [None if s.photo is None else self.assistant.see(s.photo) for s in first.sources]
        vectors = [self._words(source, first.subjects[0], cancel) if w is None else w.semantics for source, w in zip(first.sources, pictures)]
        return Heard(patches, lead, [s.patches[:, 0] for s in seen], subject_semantics([s.semantics for s in seen]), vectors,
                     [None if w is None else w.patches[:, 0] for w in pictures])

    def _words(self, source: Source, subject: Photo, cancel: Cancel) -> Tensor:
        """H(s) of a sentence about the subject, without chance: a sentence means the same each time. (1, d_F)"""
        key, words = (subject.sha256, source.words.strip()), source.words.strip()
        if key not in self._said:
            one, spoken = self.assistant, Spoken()
            prompt = one.language.builder.build([], words, True, one.config.picture_tokens)
            for _ in one.language.stream(prompt, one.see(subject).patches, spoken, 0.0, torch.Generator("cpu").manual_seed(0), cancel):
                pass
            if spoken.hidden is None:
                raise InputError(f"“{words[:60]}” does not say what to draw.", "Say where it should be, or how it should look.")
            self._said[key] = one.vision.at_norm(one.language.semantics(spoken.hidden).float())
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
        vectors = blend(heard.own, heard.sources, [coefficients(m) for m in request.mixes])  # (B, d_F)

        def work(emit: Callable[[MixEvent], None], stop: Cancel) -> Denoised:
            return self._denoise(heard, vectors, settings, emit, stop)

        for item in events_of(work, cancel):
            if not isinstance(item, Denoised):
                yield item
        done = item
        drawn = np.concatenate([self.assistant.decoder.decode(part) for part in done.latents.split(DECODED)])  # (B, H, W, 3)
        pictures = self._told(request, settings, heard, vectors, drawn, done)
        yield MixReply(pictures, settings.seed, settings, time.monotonic() - started, done.stopped,
                       film(list(drawn)) if request.film and not done.stopped else None)

    def _denoise(self, heard: Heard, vectors: Tensor, settings: Settings, emit: Callable[[MixEvent], None], stop: Cancel) -> Denoised:
        """All mixes in one batch and from one seed; E's keys and values are made once and shared by all of them."""
        decoder, count = self.assistant.decoder, len(vectors)
        plan = cafe_plan(settings.keep_subject, settings.follow_words)
        seam = Seam({PATCHES: heard.patches}, {SEMANTICS: vectors}, (Cafe(decoder.semantic_values),))
        guess = None
        if decoder.first_guess is not None:
            guess = decoder.first_guess(heard.lead.expand(count, -1, -1), vectors, settings.keep_subject, settings.follow_words)

        def sample(steps: int, on_step: Any, every: int) -> Denoised:
            return decoder.sample(plan, seam, [settings.seed] * count, steps, settings.scheduler, on_step, every, stop,
                                  self.assistant.config.decoder.noise, guess)

        def sketch(latents: Tensor) -> None:
            if count == 1:
                emit(Sketch((write_png(decoder.decode(latents)[0]),)))
            else:
                emit(Sketch(tuple(write_png(np.asarray(p)) for p in decoder.decode_preview(latents))))

        wanted = settings.preview_every > 0
        if wanted and guess is None and settings.steps > 2 * QUICK:
            sketch(sample(QUICK, None, 0).latents)
            wanted = False

        def on_step(step: int, steps: int, estimate: Tensor | None) -> None:
            if estimate is not None and step == 1:  # after a first guess, one step is a picture already
                sketch(estimate)
            emit(Progress(step, steps))

        return sample(settings.steps, on_step, 1 if wanted else 0)

    @torch.no_grad()
    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        """See `board.Mixer`."""
        base, words = self.assistant.base, " ".join(words.split())
        if base is None:
            raise InputError("This engine has no text-to-image model of its own.", "Add a picture instead.")
        if not words:
            raise InputError("There are no words to draw from yet.", "Write what the reference should show.")
        plan, seam = text_plan(GUIDANCE), Seam({TEXT: base.encode_text([words.lower()]), EMPTY: base.encode_text([""])})
        seeds = [settings.seed or 0]
        done = base.sample(plan, seam, seeds, settings.steps, settings.scheduler, cancel=cancel, guess=base.guess_words(plan, seam, seeds))
        return write_png(base.decode(done.latents)[0], {"software": "CAFE assistant", "prompt": words, "seed": seeds[0]})

    @torch.no_grad()
    def _told(self, request: MixRequest, settings: Settings, heard: Heard, vectors: Tensor, drawn: np.ndarray, done: Denoised) -> tuple[Mixed, ...]:
        """The pictures as files, each with its board and its nearness."""
        one = self.assistant
        x = torch.from_numpy(drawn).to(one.decoder.device).permute(0, 3, 1, 2).float() / 255
        looks, shown = one.vision.patches(x)[:, 0], one.vision.semantics(x)
        subject = similarities(looks, heard.photos).amax(1)  # (B,)
        near = similarities(shown, heard.sources)  # (B, n)
        pictured = [t for t in heard.rivals if t is not None]
        rivals = iter(similarities(looks, pictured).T.tolist())  # a list of B for each picture
        by_source = [next(rivals) if t is not None else [None] * len(drawn) for t in heard.rivals]
        out = []
        for k, mix in enumerate(request.mixes):
            vector = vectors[k].cpu().numpy().astype("<f4").tobytes()
            metadata = {"software": "CAFE assistant", "preset": one.config.name, "weights": one.weights, "method": "CAFE, mixed (eq. 4)",
                        **dataclasses.asdict(settings), "board": as_names(mix), "coefficients": list(coefficients(mix)), "reply": "",
                        "reference": mix.subjects[0].sha256, "steps_done": done.steps_done, "stopped": done.stopped,
                        "semantics": base64.b64encode(vector).decode()}
            likeness = round(float(subject[k]), 3)
            out.append(Mixed(write_png(drawn[k], metadata), mix, metadata, likeness, tuple(round(v, 3) for v in near[k].tolist()),
                             advice(mix, likeness, [r[k] for r in by_source], settings.keep_subject)))
        return tuple(out)

