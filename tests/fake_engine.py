"""An engine without models: streams words, draws with Pillow. For tests of the session and the page.

Run as a program it serves the real page on this engine: `python tests/fake_engine.py --data-dir D --port P`.
"""

import argparse
import colorsys
import io
import json
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from PIL.PngImagePlugin import PngInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from assistant.requests import MixEvent, MixReply, MixRequest, MixedImage, Sketch, as_names, check_mix, coefficients  # noqa: E402
from assistant.customization.dci_sampling import Masks, opened  # noqa: E402
from assistant.errors import AssistantError  # noqa: E402
from assistant.requests import Cancel, EngineInfo, Event, Photo, Progress, ReadySubject, Reply, Request, Settings, Words
from assistant.plan import Plan  # noqa: E402
from assistant.session.uploads import read_photo  # noqa: E402
from assistant.requests import StripEvent, SweepImage, SweepReply, SweepRequest  # noqa: E402
from tests.fake_teacher import FakeTeacher  # noqa: E402

QUICK = Settings(steps=4, preview_every=2, seed=7)
PLAN = Plan("draw", "cat", "hill", "day", "flat", worn=("red hat", "blue scarf"), other="grey dog")
NAMES = ("Cat", "Dog", "Owl", "Duck", "Fish", "Teapot", "Robot", "Car")


def draw(seed: int, side: int = 128) -> Image.Image:
    """A face on a hill; every seed has its own colours and place."""
    hue = (seed * 0.61803) % 1

    def colour(shift: float, light: float, strength: float = 0.55) -> tuple[int, ...]:
        return tuple(int(255 * c) for c in colorsys.hls_to_rgb((hue + shift) % 1, light, strength))

    big = Image.new("RGB", (512, 512), colour(0.5, 0.85))
    pen = ImageDraw.Draw(big)
    pen.ellipse((-120, 350, 640, 900), fill=colour(0.3, 0.6))
    x = 180 + seed * 37 % 150
    for ear in (-80, 40):
        pen.polygon([(x + ear, 190), (x + ear + 20, 90), (x + ear + 60, 180)], fill=colour(0, 0.45))
    pen.ellipse((x - 110, 150, x + 130, 400), fill=colour(0, 0.5))
    for eye in (-40, 40):
        pen.ellipse((x + eye - 14, 240, x + eye + 14, 268), fill="#222")
    pen.arc((x - 30, 270, x + 30, 320), 20, 160, fill="#222", width=7)
    return big.resize((side, side), Image.Resampling.LANCZOS)


def png_of(image: Image.Image, **texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def open_png(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB").resize((128, 128))


class FakeEngine:
    """Args: pause: seconds per word; per denoising step it is twice that.

    A message with "break" in it fails; one with "slowly" is answered word by word, each a tenth of a second; one with
    "until FILE" is drawn half, then on when this file is there (a minute at most).
    """

    def __init__(self, pause: float = 0.0, masks: bool = False) -> None:
        self.pause, self.cuts_out = pause, masks
        self.trainer = FakeTeacher(2 * pause)
        self.requests: deque[Request] = deque(maxlen=16)  # the newest, so that a soak measures the program and not this
        self.mixed: deque[MixRequest] = deque(maxlen=16)
        self.asked = 100
        self._subjects = tuple(
            ReadySubject(name, read_photo(png_of(draw(n))),
                         (f"Put the {name.lower()} on a beach at sunset", "I want something creative, can you help?",
                          "As a watercolour in the snow"))
            for n, name in enumerate(NAMES))

    def info(self) -> EngineInfo:
        notice = ("This is the miniature: it knows a small drawn world, so drawings like these work best; for real "
                  "photos, start a full-size preset.")
        return EngineInfo("miniature", "cpu", 128, notice, "0123abcd", self._subjects, masks=self.cuts_out)

    def mix(self, request: MixRequest, cancel: Cancel) -> Iterator[MixEvent]:
        """Subject and references laid over each other, as much of each as it counts."""
        self.mixed.append(request)
        pictures = []
        for mix in request.mixes:
            check_mix(mix)
            shares = [max(c, 0.0) for c in coefficients(mix)]
            layers = [open_png(mix.subjects[0].png)] + [open_png(s.photo.png) if s.photo else draw(len(s.words)) for s in mix.sources]
            image, total = layers[0], shares[0] or 1e-9
            for layer, share in zip(layers[1:], shares[1:]):
                total += share
                image = Image.blend(image, layer, share / total)
            pictures.append(image)
        yield Sketch(tuple(png_of(p.filter(ImageFilter.GaussianBlur(9))) for p in pictures))
        for step in range(1, 5):
            time.sleep(2 * self.pause)
            if cancel.is_set():
                break
            yield Progress(step, 4)
        told = []
        for mix, image in zip(request.mixes, pictures):
            metadata = {"board": as_names(mix), "seed": request.settings.seed, "keep_subject": request.settings.keep_subject}
            lost = "This is far from your subject (likeness 30 %). Move alpha down." if mix.alpha > 0.9 else ""
            told.append(MixedImage(png_of(image, assistant=json.dumps(metadata)), mix, metadata, round(0.9 - 0.6 * mix.alpha, 3),
                              tuple(round(0.1 + 0.6 * c, 3) for c in coefficients(mix)[1:]), lost))
        film = b"GIF89a" + bytes(32) if request.film else None
        yield MixReply(tuple(told), request.settings.seed or 0, request.settings, 0.1, cancel.is_set(), film)

    def strip(self, request: SweepRequest, cancel: Cancel) -> Iterator[StripEvent]:
        """From one face to another; nothing changes below 0."""
        if not request.prompt.strip():
            raise AssistantError("There are no words to draw.", "Say something.")
        name, noun = next(iter(request.library.nouns().items()), ("rex", "cat"))
        for step in range(1, 11):
            time.sleep(2 * self.pause)
            if cancel.is_set():
                break
            yield Progress(step, 10)
        seed, ends = request.settings.seed or 7, (draw(request.settings.seed or 7), draw((request.settings.seed or 7) + 3))
        images = [Image.blend(*ends, max(0.0, s) / 2) for s in request.strengths]
        pixels = np.stack([np.asarray(image) for image in images])
        pictures = tuple(SweepImage(s, png_of(image, assistant=json.dumps({"prompt": request.prompt})), {"prompt": request.prompt}) for s, image in zip(request.strengths, images))
        changes = tuple(float(np.abs(a.astype(float) - b).mean()) / 255 for a, b in zip(pixels, pixels[1:]))
        mask = torch.zeros(len(images), 2, 8, 8)
        mask[:, :, :3] = 1.0
        masks = Masks({"down_blocks.0": [mask[..., ::2, ::2].flatten(2)], "up_blocks.0": [mask.flatten(2), mask.flatten(2) / 2]}, pixels)
        yield SweepReply(pictures, png_of(ends[1]), request.prompt, "a dog", "dog", name, replace(request.settings, seed=seed), masks, 0.1, changes, cancel.is_set())

    def subject_mask(self, photo: Photo, words: str = "") -> bytes:
        """The middle half of the photo."""
        mask = Image.new("L", (photo.width, photo.height))
        mask.paste(255, (photo.width // 4, photo.height // 4, 3 * photo.width // 4, 3 * photo.height // 4))
        return photo.mask or png_of(mask)

    def masks(self, packed: bytes, pictures: Sequence[bytes]) -> Masks:
        return opened(packed, pictures)

    def imagine(self, words: str, settings: Settings, cancel: Cancel) -> bytes:
        time.sleep(4 * self.pause)
        return png_of(draw(sum(map(ord, words))))

    def respond(self, request: Request, cancel: Cancel) -> Iterator[Event]:
        self.requests.append(request)
        self.asked += 1
        settings = request.settings
        if request.mix is not None:
            yield Words(request.say)
            *_, mixed = self.mix(MixRequest((request.mix,), settings), cancel)
            one = mixed.pictures[0]
            yield Reply(request.say, one.png, mixed.seed, settings, one.metadata, {"subject": one.subject})
            return
        seed = settings.seed if settings.seed is not None else self.asked
        text, steps, picture = "", settings.steps, None
        about = "your picture" if request.photo else "what we had"
        sentence = (f"I took {about} and thought about it. A quiet hill under a wide sky leaves room for the subject, "
                    f"so it stands a little to the side and looks at you. You said: {request.text[:200]}")
        if "words only" in request.text:
            steps = 0
        for word in sentence.split(" "):
            if cancel.is_set():
                break
            time.sleep(max(self.pause, 0.1 if "slowly" in request.text else 0))
            text += word + " "
            yield Words(word + " ")
        if "break" in request.text:
            raise AssistantError("The device ran out of memory while drawing.", "Choose fewer steps and send it again.")
        final, until = draw(seed), re.search(r"until (\S+)", request.text)
        for step in range(1, steps + 1):
            waits = 0
            while until and 2 * step > steps and not Path(until[1]).exists() and not cancel.is_set() and waits < 3000:
                waits += 1
                time.sleep(0.02)
            if cancel.is_set():
                break
            time.sleep(2 * self.pause)
            picture = final.filter(ImageFilter.GaussianBlur(24 * (1 - step / steps)))
            wanted = settings.preview_every and step % settings.preview_every == 0
            yield Progress(step, steps, png_of(picture) if wanted else None)
        plan = (request.plan or PLAN) if picture else Plan("answer", about="picture")
        metadata = {"seed": seed, "prompt": request.text, "steps": settings.steps, "plan": plan.as_json()}
        if request.photo is not None and request.photo.mask is not None:
            metadata["subject_mask"] = request.photo.mask_name
        if "lambda -2" in request.text:
            metadata["said"], settings = {"imagination": -2.0}, replace(settings, imagination=-2.0)
        png = png_of(picture, cafe=str(metadata)) if picture else None
        yield Reply(text.strip(), png, seed, replace(settings, seed=seed), metadata,
                    {"subject": 0.81, "words": 0.64} if png else {}, {"picture": self.pause * 2 * steps},
                    stopped=cancel.is_set(), plan=plan)


class GatedEngine(FakeEngine):
    """Waits at its first word until the gate opens; says in which order it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.began, self.order = threading.Event(), threading.Event(), []

    def respond(self, request, cancel):
        self.order.append(request.text)
        yield Words("I see. ")
        self.began.set()
        while not self.gate.wait(0.01):
            if cancel.is_set():
                break
        yield from super().respond(request, cancel)


def photo_of(seed: int = 1, side: int = 160) -> Photo:
    return read_photo(png_of(draw(seed, side)))


def main(argv: list[str] | None = None) -> None:
    from assistant.session.manager import SessionManager
    from assistant.session.store import Store
    from ui.serve import Address, start

    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--root-path", default="")
    parser.add_argument("--public", action="store_true")
    parser.add_argument("--masks", action="store_true")
    options = parser.parse_args(argv)
    store = Store(options.data_dir)
    page, url = start(SessionManager(FakeEngine(options.pause, options.masks), store), Address(port=options.port, root_path=options.root_path, framed=options.public), store.folder)
    print(url, flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
