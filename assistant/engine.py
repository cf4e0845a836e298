"""One way through: Request -> what is seen -> words -> what is wished -> latents -> picture -> Reply, in numbered steps.

Knows neither pages nor storage, nor which networks see, speak and draw: that is the image generator's. One request at a time is drawn (the session
holds the device); nothing here is changed by it but the `FeatureCache`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .requests import (FLOW, LCM, Cancel, EngineInfo, Event, Masks, MixEvent, MixRequest, Photo, Progress, ReadySubject, Reply, Request, Settings, Sketch,
                       StripEvent, SweepRequest, Words, check)
from .customization.infusion_sampling import answer
from .customization.dci_sampling import opened, strip
from .customization.concept_dialogue import understand
from .customization.trainer import ConceptTrainer
from .config import AssistantConfig, VisionConfig
from .controls.dci import MaskTemperatures
from .diffusion.latent_diffusion import LatentDiffusion
from .diffusion.sampler import Denoised, iterate_in_thread
from .deferred_engine import info_of
from .dialogue_state import gone_back_to
from .generation.base import FeatureCache, ImageFeatures, ImageGenerator, ReplyState, Verification, verify_picture
from .errors import InputError
from .generation.mixing import Mixer
from .models.vision_encoders import pad_square, pixels
from .plan import Plan, plan_in
from .files import write_png

DEFAULT_WISH = "surprise me with something creative"


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    """One drawn picture, (H, W, 3) uint8, and what the encoders find in it; `look` None: it was not compared with a plan."""

    denoised: Denoised
    picture: np.ndarray
    seed: int
    likeness: dict[str, float]
    look: Verification | None

    @property
    def score(self) -> float:
        return self.look.score if self.look is not None else 0.0


class Assistant:
    """The engine: an image generator behind `requests.Engine`.

    Args:
        weights: short hash of the weight files; part of every picture's metadata.
        base: the text-to-image model that draws from words alone and with learned concepts, and its hash; None: neither.
    """

    def __init__(self, config: AssistantConfig, image_generator: ImageGenerator, weights: str, subjects: tuple[ReadySubject, ...] = (),
                 base: tuple[LatentDiffusion, str] | None = None) -> None:
        self.config, self.image_generator, self.decoder = config, image_generator, image_generator.decoder
        self.vision, self.language = image_generator.vision, image_generator.language
        self.weights, self.subjects, self.base = weights, subjects, base[0] if base is not None else None
        self.features = FeatureCache(image_generator)
        self._mixing = Mixer(config, weights, image_generator, self.features, self.base)
        about = config.decoder
        self.trainer = ConceptTrainer(*base, about.image_size, self.kinds, about.steps, about.guidance, about.recipes) if base is not None else None

    def info(self) -> EngineInfo:
        device = str(self.decoder.device)
        if device.startswith("cuda"):
            device = f"{device} ({torch.cuda.get_device_name(self.decoder.device)})"
        return info_of(self.config, device, self.weights, self.subjects)

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        """Yield Words, then Progress, then exactly one Reply.

        Raises:
            InputError: a setting outside its limits, or a redraw without the picture's metadata.
        """
        # 1. settings and the seed that is shown to the user
        settings = self._checked(request.settings)
        seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
        settings = dataclasses.replace(settings, seed=seed, window=self._window(settings))
        started, seconds = time.monotonic(), {}
        if request.mix is not None:
            yield from self._respond_mixed(request, self._on_flow(settings), cancel)
            return

        # 1b. learned concepts are the base model's, which draws from words
        if self.trainer is not None and request.library is not None and (meant := understand(request, request.library, self.config.nouns)) is not None:
            settings = self._on_base(self._checked(dataclasses.replace(settings, **meant.settings)))
            yield from answer(self.trainer.base, meant, request, settings, cancel, self._stamp(), self.config.nouns, self.config.decoder.guidance_unit,
                              lambda picture, name: self._likeness_to(picture, request.examples(name) if request.examples is not None else ()), self._sharpening,
                              self.config.decoder.together)
            return

        # 2. the subject: the newest photo; what was said before it came is another subject's
        settings = self._on_flow(settings)
        photo, history = _subject(request)
        seen = self.features.see(photo) if photo is not None else None

        # 3. words, and what they wish for; or a picture in their place; or an earlier picture's own
        said = ReplyState()
        if request.redraw is not None:
            said.text, said.wish, said.plan = self._recall(request.redraw, request.others)
            yield Words(said.text)
        elif request.like is not None:
            said.wish = self.image_generator.like(self.features.known(request.like), request.text)
        else:
            text, chance = request.text.strip() or DEFAULT_WISH, torch.Generator("cpu").manual_seed(seed)
            for delta in self.image_generator.speak(history, text, seen, said, settings.temperature, chance, cancel, request.plan, photo):
                seconds.setdefault("first_word", time.monotonic() - started)
                yield Words(delta)
        seconds["words"] = time.monotonic() - started

        # 3b. an undo draws the picture that it goes back to, not another of the same plan
        earlier = gone_back_to(said.plan, history)
        if earlier is not None and earlier.metadata is not None and request.settings.seed is None and request.redraw is None:
            with contextlib.suppress(InputError):  # drawn by another method, or by other weights
                _, said.wish, _ = self._recall(earlier.metadata, request.others)
                settings = dataclasses.replace(settings, seed=int(earlier.metadata["seed"]), candidates=1)
                seed = settings.fixed_seed

        # 4. an answer in words only
        stopped = said.stopped or cancel.is_set()
        if said.wish is None or stopped or (seen is None and self.image_generator.needs_photo):
            yield Reply(said.text, None, seed, settings, _planned(said.plan), {}, seconds, stopped=stopped, plan=said.plan)
            return

        # 5. the picture; while something of its plan is hard to see in it, another from the next seed, and the best is kept
        best, tried = None, 0
        subject = [self.features.alone(photo, seen, said.plan.subject if said.plan is not None else "")] if photo is not None and seen is not None else []
        while True:
            at = (seed + tried) % 2**63
            denoised = yield from self._draw(subject, said.wish, settings, at, tried * settings.steps, cancel)
            if best is None or not denoised.stopped:
                one = self._look(denoised, at, seen, said)
                best = one if best is None or one.score > best.score else best
            tried += 1
            if tried == settings.candidates or best.look is None or not best.look.doubtful or cancel.is_set():
                break
        seconds["picture"] = time.monotonic() - started - seconds["words"]

        # 6. what is needed to draw it again, written into the file itself
        settings = dataclasses.replace(settings, seed=best.seed, candidates=1)
        missing = best.look.missing if best.look is not None else ()
        metadata = {**self._metadata(request, photo, said, settings, best.denoised), **({"missing": list(missing)} if missing else {}),
                    **({"tried": tried} if tried > 1 else {})}
        yield Reply(said.text, write_png(best.picture, metadata), best.seed, settings, metadata, best.likeness, seconds, best.denoised.stopped,
                    said.plan, missing)

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]:
        """A prompt with an ICO concept over several lambdas, as one batch from one seed: yield Progress, then exactly one SweepReply.

        Raises:
            AssistantError: a setting outside its limits, or a prompt, a noun or a concept that cannot be drawn with.
        """
        if self.trainer is None:
            raise InputError("This engine has no base model to draw concepts with.", "Start a preset that has one.")
        settings = self._checked(request.settings)
        for strength in request.strengths:
            check(dataclasses.replace(settings, imagination=strength))
        seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
        request = dataclasses.replace(request, settings=dataclasses.replace(self._on_base(settings), seed=seed, window=self._window(settings)))
        yield from strip(self.trainer.base, request, cancel, self._stamp(), self.config.nouns, self.config.decoder.guidance_unit, self._sharpening)

    @property
    def _sharpening(self) -> MaskTemperatures:
        return MaskTemperatures(gain=self.config.decoder.dci_gain)

    def _checked(self, settings: Settings) -> Settings:
        """Settings that can be drawn with; with LCM-LoRA there is no guidance. Raises InputError."""
        settings = check(settings)
        if settings.scheduler != LCM:
            return settings
        if LCM not in self.config.sources:
            raise InputError("The sampler lcm needs LCM-LoRA, which was not loaded.", "Start with --quick, or choose another sampler.")
        return dataclasses.replace(settings, follow_words=1.0 / self.config.decoder.guidance_unit)

    def _window(self, settings: Settings) -> float:
        return settings.window if settings.window is not None else self.config.decoder.dci_window

    def _on_flow(self, settings: Settings) -> Settings:
        """Settings as a flow-matching decoder, which has one sampler, draws with them."""
        return settings if self.config.flow is None else dataclasses.replace(settings, scheduler=FLOW)

    def _on_base(self, settings: Settings) -> Settings:
        """Settings for the base model beside such a decoder: its own steps and sampler, unless a sampler of its was asked for."""
        about = self.config.decoder
        return settings if settings.scheduler != FLOW or self.config.flow is None else dataclasses.replace(settings, scheduler=about.sampler, steps=about.steps)

    def subject_mask(self, photo: Photo, words: str = "") -> bytes:
        return self.features.subject(photo, words)

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        return opened(packed, pictures)

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        """Draw mixes of pictures and words (eq. 4): yield Sketch and Progress, then exactly one MixReply.

        Raises:
            InputError: a setting, a weight or a number of pictures outside its limits.
        """
        settings = self._on_flow(self._checked(request.settings))
        seed = settings.seed if settings.seed is not None else secrets.randbelow(2**31)
        yield from self._mixing.mix(dataclasses.replace(request, settings=dataclasses.replace(settings, seed=seed)), cancel)

    def _respond_mixed(self, request: Request, settings: Settings, cancel: Cancel) -> Iterator[Event]:
        """A turn whose pictures lie on a board: the session's words, and the board's picture."""
        assert request.mix is not None
        yield Words(request.say)
        done = None
        for event in self._mixing.mix(MixRequest((request.mix,), settings), cancel):
            if isinstance(event, Progress):
                yield event
            elif isinstance(event, Sketch):
                yield Progress(0, settings.steps, event.pngs[0])
            else:
                done = event
        assert done is not None  # every mix ends with one
        (one,) = done.pictures
        metadata = {**one.metadata, "prompt": request.text, "reply": request.say}
        picture = np.asarray(Image.open(io.BytesIO(one.png)))
        yield Reply(request.say, write_png(picture, metadata), done.seed, done.settings, metadata,
                    {"subject": one.subject, "reference": max((v for v in one.sources if v is not None), default=0.0)}, {"picture": done.seconds}, done.stopped)

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        """A picture that the base text-to-image model draws of words, as PNG. Raises InputError."""
        return self._mixing.imagine(words, self._on_flow(self._checked(settings)), cancel)

    def _draw(self, subject: Sequence[ImageFeatures], wish: Any, settings: Settings, seed: int, before: int, cancel: Cancel) -> Generator[Progress, None, Denoised]:
        """The denoising loop in a thread of its own, so that its progress can be yielded, with the steps `before` it; closing this stops it."""
        def work(emit: Callable[[Progress], None], stop: Cancel) -> Denoised:
            def on_step(step: int, steps: int, estimate: Tensor | None) -> None:
                preview = None if estimate is None else write_png(np.asarray(self.decoder.decode_preview(estimate)[0]))
                emit(Progress(before + step, before + settings.steps, preview))

            prepared = self.image_generator.prepare(subject, wish, settings, [seed])
            return prepared.draw(settings.steps, settings.scheduler, on_step, settings.preview_every, stop)

        return iterate_in_thread(work, cancel)

    def _metadata(self, request: Request, photo: Photo | None, said: ReplyState, settings: Settings, denoised: Denoised) -> dict[str, Any]:
        return {**self._stamp(), "method": self.image_generator.method, **dataclasses.asdict(settings), "prompt": request.text, "reply": said.text,
                "reference": photo.sha256 if photo else None, **_masked(photo), "like": request.like.sha256 if request.like else None,
                "steps_done": denoised.steps_done, "stopped": denoised.stopped, **_planned(said.plan), **self.image_generator.note(said.wish)}

    def _recall(self, metadata: Any, others: Sequence[Photo]) -> tuple[str, Any, Plan | None]:
        """The reply, the wish and the plan of an earlier picture.

        Raises:
            InputError: it was drawn with other weights, to which its vectors belong; or it does not hold its wish.
        """
        drawn_with = metadata.get("weights", self.weights)
        if drawn_with != self.weights:
            raise InputError(f"This picture was drawn by another version of the model ({drawn_with}; here it is {self.weights}), so it cannot be "
                             "drawn again as it was.", "Ask for it again in words.")
        try:
            return str(metadata["reply"]), self.image_generator.recall(metadata, [self.features.known(one) for one in others]), plan_in(metadata)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError("This picture's own settings are missing, so it cannot be drawn again.", "Ask for it again in words.") from error

    def _stamp(self) -> dict[str, Any]:
        return {"software": "CAFE assistant", "preset": self.config.name, "weights": self.weights}

    def kinds(self, photos: Sequence[Photo]) -> list[tuple[str, float]]:
        """Of each photo, the likeliest of the base model's nouns, and how likely it is; none where the preset has no nouns, or no encoder
        that compares pictures with words."""
        if not self.config.nouns or getattr(self.vision, "nouns", None) is None:
            return []
        found = []
        for photo in photos:  # not through `see`: a thread of its own may ask, and the cache is the turn's
            x = pad_square(self.features.pixels(photo))
            chances = self.vision.classify(self.vision.semantics(x))[0]
            found.append((self.config.nouns[int(chances.argmax())], float(chances.max())))
        return found

    def _look(self, denoised: Denoised, seed: int, seen: ImageFeatures | None, said: ReplyState) -> _Candidate:
        """Decode a picture, and read it with E and F as far as there are any."""
        picture = self.decoder.decode(denoised.latents)[0]
        shown = None if denoised.stopped else self.image_generator.look(pixels([Image.fromarray(picture)]).to(self.decoder.device))
        if shown is None:
            return _Candidate(denoised, picture, seed, {}, None)
        likeness = self._likeness(shown, seen, said.wish) if seen is not None else {}
        found = None
        compares = getattr(self.vision, "texts", None) is not None  # pictures with words
        if compares and isinstance(self.config.vision, VisionConfig) and (plan := said.plan) and plan.draws and plan.subject:  # a photo that cannot be read has none
            named = self.vision.nouns is not None and self.config.nouns[int(self.vision.classify(shown.semantics)[0].argmax())] in plan.subject
            there = named or likeness.get("subject", 1.0) >= self.image_generator.far / 2  # E reads what the decoder makes less well than drawings
            found = verify_picture(self.vision, shown, plan, there, self.config.vision.margin)
        return _Candidate(denoised, picture, seed, likeness, found)

    def _likeness_to(self, picture: np.ndarray, photos: Sequence[Photo]) -> dict[str, float]:
        """How near the picture is, 0 to 1, to photos that a concept was learned from: the mean over them, as DINO-I is. As far as it can be told."""
        seen = [one for photo in photos if (one := self.features.see(photo)) is not None]
        if not seen:
            return {}
        shown = self.image_generator.look(pixels([Image.fromarray(picture)]).to(self.decoder.device))
        assert shown is not None  # it looked at the photos
        near = F.cosine_similarity(self.image_generator.trait(shown), torch.cat([self.image_generator.trait(one) for one in seen])).mean()
        return {"subject": round(float(near.clamp(0, 1)), 3)}

    def _likeness(self, shown: ImageFeatures, seen: ImageFeatures, wish: Any) -> dict[str, float]:
        """How near a picture is, 0 to 1: to the subject, by what tells subjects apart; to what was meant, by F. As far as it can be told."""
        meant = self.image_generator.meant(wish)
        found = {"subject": F.cosine_similarity(self.image_generator.trait(shown), self.image_generator.trait(seen))}
        if meant is not None:
            found["words"] = F.cosine_similarity(shown.semantics, meant)
        return {name: round(float(value.clamp(0, 1)), 3) for name, value in found.items()}


def _masked(photo: Photo | None) -> dict[str, Any]:
    """The name of a photo's painted mask as metadata."""
    return {"subject_mask": photo.mask_name} if photo is not None and photo.mask is not None else {}


def _planned(plan: Plan | None) -> dict[str, Any]:
    """A plan as metadata."""
    return {} if plan is None else {"plan": plan.as_json()}


def _subject(request: Request) -> tuple[Photo | None, tuple]:
    """The newest photo and the turns since it came, its own included."""
    if request.photo is not None:
        return request.photo, ()
    for i in range(len(request.history) - 1, -1, -1):
        if request.history[i].photo is not None:
            return request.history[i].photo, request.history[i:]
    return None, request.history
