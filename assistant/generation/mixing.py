"""MixRequest -> what is seen in its pictures, once -> one batch of mixes -> pictures with their nearness. Knows no storage, no page."""

from __future__ import annotations

import dataclasses
import io
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..requests import (LCM, MOST_CELLS, Cancel, Mix, MixEvent, MixReply, MixRequest, MixedImage, Photo, Progress, Settings, Sketch, Source, as_names, check_mix,
                        coefficients)
from ..diffusion.guidance import EMPTY, TEXT, text_guidance
from ..config import AssistantConfig
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import Denoised, iterate_in_thread
from .flow import FlowGenerator
from .base import FeatureCache, ImageFeatures, ImageGenerator
from ..errors import InputError
from ..files import write_png

QUICK = 4  # steps of a sketch
DECODED = 4  # pictures decoded at a time: more do not fit a processor's cache, and take twice as long each


@dataclasses.dataclass(frozen=True)
class MixInputs:
    """What a request's pictures and words come to; the same for all of its mixes."""

    subject: list[ImageFeatures]  # its photos
    sources: list[ImageFeatures | Tensor | str]  # a picture, or what the image generator heard in words
    rivals: list[Tensor | None]  # what tells each w_i apart, (1, d); None for words


class Mixer:
    """Draws boards. Keeps nothing but what was heard in the last sentences.

    Args:
        weights: short hash of the weight files, for the pictures' metadata.
        base: the text-to-image model beside the image generator; None: there is none.
    """

    def __init__(self, config: AssistantConfig, weights: str, image_generator: ImageGenerator, features: FeatureCache, base: LatentDiffusion | None) -> None:
        self.config, self.weights, self.image_generator, self.features, self.base = config, weights, image_generator, features, base
        self._said: OrderedDict[tuple[str, str], Tensor | str] = OrderedDict()

    def hear(self, request: MixRequest, cancel: Cancel) -> MixInputs:
        """E, F and H(s) of everything on the board, each computed once."""
        first = request.mixes[0]
        seen = [self.features.alone(photo, self.features.known(photo)) for photo in first.subjects]
        pictures = [None if s.photo is None else self.features.known(s.photo) for s in first.sources]
        sources = [self._words(source, first.subjects[0], cancel) if w is None else w for source, w in zip(first.sources, pictures)]
        return MixInputs(seen, sources, [None if w is None else self.image_generator.trait(w) for w in pictures])

    def _words(self, source: Source, subject: Photo, cancel: Cancel) -> Tensor | str:
        """A sentence about the subject, without chance: it means the same each time."""
        key, words = (subject.sha256, source.words.strip()), source.words.strip()
        if key not in self._said:
            heard = self.image_generator.hear(words, self.features.known(subject), cancel)
            if heard is None:
                raise InputError(f"“{words[:60]}” does not say what to draw.", "Say where it should be, or how it should look.")
            self._said[key] = heard
            while len(self._said) > 64:
                self._said.popitem(last=False)
        return self._said[key]

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        """See `requests.Mixer`; the settings are checked and have a seed."""
        if not 1 <= len(request.mixes) <= MOST_CELLS:
            raise InputError(f"{len(request.mixes)} pictures were asked for at once; it can be 1 to {MOST_CELLS}.", "Ask for fewer.")
        for one in request.mixes:
            check_mix(one)
        settings, started = request.settings, time.monotonic()
        heard = self.hear(request, cancel)
        wish = self.image_generator.mix(heard.subject, heard.sources, [coefficients(m) for m in request.mixes], request.mixes[0].words)

        def work(emit: Callable[[MixEvent], None], stop: Cancel) -> Denoised:
            return self._denoise(heard, wish, settings, len(request.mixes), emit, stop)

        done = yield from iterate_in_thread(work, cancel)
        drawn = np.concatenate([self.image_generator.decoder.decode(part) for part in done.latents.split(DECODED)])  # (B, H, W, 3)
        pictures = self._told(request, settings, heard, wish, drawn, done)
        yield MixReply(pictures, settings.fixed_seed, settings, time.monotonic() - started, done.stopped,
                       film(list(drawn)) if request.film and not done.stopped else None)

    def _denoise(self, heard: MixInputs, wish: Any, settings: Settings, count: int, emit: Callable[[MixEvent], None], stop: Cancel) -> Denoised:
        """All mixes in one batch and from one seed."""
        decoder, prepared = self.image_generator.decoder, self.image_generator.prepare(heard.subject, wish, settings, [settings.fixed_seed] * count)

        def sketch(latents: Tensor) -> None:
            if count == 1:
                emit(Sketch((write_png(decoder.decode(latents)[0]),)))
            else:
                emit(Sketch(tuple(write_png(np.asarray(p)) for p in decoder.decode_preview(latents))))

        if settings.preview_every > 0 and settings.steps > 2 * QUICK and decoder.unsafe is None:  # as in `LatentDiffusion.sample`
            sketch(prepared.draw(QUICK, settings.scheduler, None, 0, stop).latents)
        return prepared.draw(settings.steps, settings.scheduler, lambda step, steps, _: emit(Progress(step, steps)), 0, stop)

    @torch.no_grad()
    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        """See `requests.Mixer`."""
        base, words = self.base, " ".join(words.split())
        if base is None:
            raise InputError("This engine has no text-to-image model of its own.", "Add a picture instead.")
        if not words:
            raise InputError("There are no words to draw from yet.", "Write what the reference should show.")
        seeds, decoder = [settings.seed or 0], base
        if isinstance(self.image_generator, FlowGenerator):  # what draws the board draws better than the base model beside it
            decoder = self.image_generator.decoder
            done = self.image_generator.prepare((), self.image_generator.wished(words), settings, seeds).draw(settings.steps, settings.scheduler, cancel=cancel)
        else:
            if cut := base.left_out(words.lower()):
                raise InputError(f"These words are too long for one picture.{cut}", "Shorten them.")
            plan = text_guidance(1.0 if settings.scheduler == LCM else self.config.decoder.guidance)
            context = AttentionContext({TEXT: base.encode_text([words.lower()]), EMPTY: base.encode_text([""])})
            done = base.sample(plan, context, seeds, settings.steps, settings.scheduler, cancel=cancel)
        return write_png(decoder.decode(done.latents)[0], {"software": "CAFE assistant", "prompt": words, "seed": seeds[0]})

    @torch.no_grad()
    def _told(self, request: MixRequest, settings: Settings, heard: MixInputs, wish: Any, drawn: np.ndarray, done: Denoised) -> tuple[MixedImage, ...]:
        """The pictures as files, each with its board and its nearness."""
        image_generator, decoder = self.image_generator, self.image_generator.decoder
        shown = image_generator.look(torch.from_numpy(drawn).to(decoder.device).permute(0, 3, 1, 2).float() / 255)
        assert shown is not None  # it looked at the board's pictures
        looks = image_generator.trait(shown)
        subject = similarities(looks, [image_generator.trait(s) for s in heard.subject]).amax(1)  # (B,)

        def by_source(found: Tensor, among: Sequence[Any], known: Callable[[Any], bool]) -> list[list[float | None]]:
            """(B, number known) -> of each source its B values, None where it is not known."""
            columns = iter(found.T.tolist())
            return [next(columns) if known(a) else [None] * len(drawn) for a in among]

        vectors = [s.semantics if isinstance(s, ImageFeatures) else s for s in heard.sources]  # F(w_i), (1, d_F); words may be none
        near = by_source(similarities(shown.semantics, [s for s in vectors if isinstance(s, Tensor)]), vectors, lambda s: isinstance(s, Tensor))
        rivals = by_source(similarities(looks, [t for t in heard.rivals if t is not None]), heard.rivals, lambda t: t is not None)
        unread = "".join(decoder.left_out(words) for words in dict.fromkeys(s for s in heard.sources if isinstance(s, str)))
        out = []
        for k, mix in enumerate(request.mixes):
            metadata = {"software": "CAFE assistant", "preset": self.config.name, "weights": self.weights, "method": f"{image_generator.method}, mixed (eq. 4)",
                        **dataclasses.asdict(settings), "board": as_names(mix), "coefficients": list(coefficients(mix)), "reply": "",
                        "reference": mix.subjects[0].sha256, "steps_done": done.steps_done, "stopped": done.stopped, **image_generator.note(wish, k)}
            likeness = round(float(subject[k]), 3)
            out.append(MixedImage(write_png(drawn[k], metadata), mix, metadata, likeness,
                             tuple(None if (value := n[k]) is None else round(value, 3) for n in near),
                             f"{advice(mix, likeness, [r[k] for r in rivals], settings.keep_subject, image_generator.far)}{unread}".strip()))
        return tuple(out)


SIDE = 384  # pixels; smaller pictures are enlarged by a whole factor
MILLISECONDS, REST = 90, 600  # a frame's time, and how long either end stays


def film(pictures: Sequence[np.ndarray]) -> bytes:
    """A GIF that goes through (H, W, 3) uint8 pictures and back, for ever, without dithering's crawl from frame to frame."""
    frames = [Image.fromarray(p) for p in pictures]
    factor = max(1, SIDE // max(frames[0].size))
    frames = [f.resize((f.width * factor, f.height * factor), Image.Resampling.LANCZOS) for f in frames]
    path = frames + frames[-2:0:-1]
    times = [REST if k in (0, len(frames) - 1) else MILLISECONDS for k in range(len(path))]
    # One palette for all: colours of their own would make still parts flicker.
    sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(frames)))
    for k, frame in enumerate(frames):
        sheet.paste(frame, (0, k * frame.height))
    palette = sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in path]
    out = io.BytesIO()
    reduced[0].save(out, "GIF", save_all=True, append_images=reduced[1:], duration=times, loop=0, optimize=False)
    return out.getvalue()


def similarities(seen: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Cosines in [0, 1] of (B, d) with each of n (1, d): (B, n); what points away counts as 0."""
    if not known:
        return seen.new_zeros(len(seen), 0)
    return (F.normalize(seen.float(), dim=-1) @ F.normalize(torch.cat(list(known)).float(), dim=-1).T).clamp(0, 1)


def advice(mix: Mix, subject: float, rivals: Sequence[float | None], keep_subject: float, far: float) -> str:
    """One sentence when a picture is far from its subject, with the way to move; else nothing.

    Args:
        subject: similarity to the subject. rivals: to each source's picture, None for words.
        keep_subject: E's strength as drawn with. far: similarity below which the subject is lost.
    """
    others = [(value, k) for k, value in enumerate(rivals, 1) if value is not None and mix.sources[k - 1].on]
    nearest = max(others, default=None)
    lost = nearest is not None and nearest[0] > subject
    if subject >= far and not lost:
        return ""
    told = f"This looks more like reference {nearest[1]} than like your subject" if lost and nearest is not None else "This is far from your subject"
    told = f"{told} (likeness {100 * subject:.0f} %)."
    counts = coefficients(mix)
    if mix.sources and max(counts[1:]) > 0.5 and mix.alpha > 0:
        heaviest = 1 + max(range(len(mix.sources)), key=lambda k: counts[1 + k])
        other = f" or reference {heaviest}'s weight" if len([s for s in mix.sources if s.on]) > 1 else ""
        return f"{told} Move alpha{other} down."
    return f"{told} Raise “Keep the subject” above {keep_subject:g}, or add another photo of it."
