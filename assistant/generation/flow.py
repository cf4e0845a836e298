"""The way of an open editing model (FLUX.2 klein): the subject's photos and the references are given to the decoder as pictures, the chat model says what
to make of them. Pictures have an order, and the prompt names them by it: image 1, image 2, ... the subject's first.

The model was trained to follow words about pictures, not to be steered by numbers: how much a reference counts (eq. 4's coefficients) is said in words, in
steps; what counts nothing is not shown to it. Knows no requests and no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..diffusion.flow import FlowDecoder
from ..diffusion.sampler import CancelFlag, Denoised, OnStep
from ..errors import InputError
from ..models.chat_llm import ChatModel
from ..models.vision_encoders import DinoVision
from ..requests import Settings
from .base import ImageFeatures
from .text_to_image import TextToImageGenerator

LEAST, NARROWEST = 64, 8  # pixels of a reference's side; its long side over its short one: the pipeline's own limits
DEGREES = ((0.3, "slightly"), (0.6, "partly"), (0.85, "mostly"), (float("inf"), "entirely"))  # a coefficient below it, in words
NONE = 0.02  # a coefficient that counts nothing


@dataclass(frozen=True, eq=False)
class Reference(ImageFeatures):
    """What DINOv2 says of one picture, and the picture itself, which is what the decoder is given."""

    picture: Image.Image


@dataclass(frozen=True, eq=False)
class FlowInputs:
    """What b pictures should be like: of each its words, and the references that it follows, each with how much, in words; "" where its words say that too."""

    words: tuple[str, ...]
    followed: tuple[tuple[tuple[ImageFeatures, str], ...], ...]


@dataclass(frozen=True, eq=False)
class FlowSampling:
    """See `base.SamplingJob`. Pictures are drawn one after the other: one takes a GPU whole, and each may have other references."""

    decoder: FlowDecoder
    asked: Sequence[tuple[str, tuple[Image.Image, ...]]]  # of each picture its prompt and its references
    seeds: Sequence[int]

    def draw(self, steps: int, scheduler: str = "flow", on_step: OnStep | None = None, preview_every: int = 0, cancel: CancelFlag | None = None) -> Denoised:
        """As `LatentDiffusion.sample`; steps are counted over all pictures. What is asked twice is drawn once. After a stop the rest are noise."""
        found: dict[tuple[str, int, tuple[int, ...]], Denoised] = {}
        order, count = [], len(self.asked)
        for number, ((prompt, pictures), seed) in enumerate(zip(self.asked, self.seeds)):
            key = (prompt, seed, tuple(map(id, pictures)))
            order.append(key)
            if key not in found:
                def stepped(step: int, _steps: int, estimate: Tensor | None, done: int = number * steps) -> None:
                    assert on_step is not None  # below it is asked for
                    on_step(done + step, count * steps, estimate)

                found[key] = self.decoder.sample(prompt, pictures, seed, steps, stepped if on_step is not None else None, preview_every, cancel)
        latents = torch.cat([found[key].latents for key in order])
        every = list(found.values())
        return Denoised(latents, {"picture": latents}, any(one.stopped for one in every), min(one.steps_done for one in every))


class FlowGenerator(TextToImageGenerator):
    """See `base.ImageGenerator`. A wish is a `FlowInputs`.

    Args:
        vision: tells how alike two pictures are.
        most: pictures that the decoder takes at once.
    """

    def __init__(self, decoder: FlowDecoder, chat: ChatModel, vision: DinoVision, most: int, method: str) -> None:
        super().__init__(decoder, chat=chat, vision=vision)
        self.most, self.method = most, method

    def look(self, pixels: Tensor) -> Reference:
        """(1, 3, H, W) in [0, 1]; of several, (B, 3, H, W), the first is the reference."""
        patches = self.vision.patches(pixels).float()
        array = (pixels[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
        return Reference(patches, patches[:, 0], usable(Image.fromarray(np.ascontiguousarray(array))))

    def subject(self, pixels: Tensor, words: str) -> None:
        """All of it."""

    def alone(self, pixels: Tensor, seen: ImageFeatures, words: str, mask: Tensor | None = None) -> ImageFeatures:
        """The whole picture: this model is told in words what to keep."""
        return seen

    def wished(self, words: str) -> FlowInputs:
        return FlowInputs((words,), ((),))

    def like(self, seen: ImageFeatures, text: str) -> FlowInputs:
        return FlowInputs((text.strip(),), (((seen, "entirely"),),))

    def mix(self, subject: Sequence[ImageFeatures], sources: Sequence[ImageFeatures | Tensor | str], coefficients: Sequence[Sequence[float]], words: str = "") -> FlowInputs:
        """Where something was said with the pictures, it says what to take of which; else the coefficients do.

        Raises:
            InputError: a reference is to be moved away from, which this model cannot.
        """
        spoken, followed = [], []
        for row in coefficients:
            away = next((k for k, c in enumerate(row[1:], 1) if c < -NONE), None)
            if away is not None:
                raise InputError(f"Reference {away} counts {row[away]:g}; this model can follow a reference, and cannot move away from one.",
                                 "Give it a weight of 0 or more.")
            counted = [(source, degree(c)) for source, c in zip(sources, row[1:]) if c > NONE]
            sentences = [f"{how} {source}" if how != "entirely" else source for source, how in counted if isinstance(source, str)]
            spoken.append("; ".join([words, *sentences] if words else sentences))
            followed.append(tuple((source, "" if words else how) for source, how in counted if not isinstance(source, str)))
        return FlowInputs(tuple(spoken), tuple(followed))

    def prepare(self, subject: Sequence[ImageFeatures], wish: FlowInputs, settings: Settings, seeds: Sequence[int]) -> FlowSampling:
        """Raises InputError: more pictures than the decoder takes."""
        asked = []
        for words, followed in zip(wish.words, wish.followed):
            pictures = tuple(one.picture for one in (*subject, *(reference for reference, _ in followed)) if isinstance(one, Reference))
            if len(pictures) > self.most:
                raise InputError(f"{len(pictures)} pictures count here, {len(subject)} of the subject and {len(followed)} references; this model takes {self.most}.",
                                 "Turn references off, or take photos of the subject away.")
            asked.append((instruction(len(subject), words, [how for _, how in followed]), pictures))
        return FlowSampling(self.decoder, asked if len(asked) > 1 else asked * len(seeds), seeds)

    def note(self, wish: FlowInputs, number: int = 0) -> dict[str, Any]:
        return {"read": wish.words[number], "following": [how for _, how in wish.followed[number]]}

    def recall(self, metadata: Mapping[str, Any], others: Sequence[ImageFeatures] = ()) -> FlowInputs:
        """Raises ValueError: the pictures that it followed did not come with it; its board keeps them."""
        how = [str(one) for one in metadata["following"]]
        return FlowInputs((str(metadata["read"]),), (tuple(zip(others if how else (), how, strict=True)),))

    def meant(self, wish: FlowInputs) -> None:
        return None


def degree(coefficient: float) -> str:
    """How much a reference counts, in words."""
    return next(word for below, word in DEGREES if coefficient < below)


def instruction(subjects: int, words: str, followed: Sequence[str]) -> str:
    """What the decoder reads: whose picture it is, what to show, and what to take from which further image."""
    parts = []
    if subjects:
        parts.append("Image 1 shows the subject." if subjects == 1 else f"Images 1 to {subjects} show the subject, one and the same.")
        changed = ", and change what is around it as asked." if words or followed else "."
        parts.append(f"Keep the subject exactly as it is, with all that tells it from others{changed}")
    if words:
        parts.append(f"Show: {words.rstrip('.')}." if subjects else words)
    for number, how in ((n, how) for n, how in enumerate(followed, subjects + 1) if how):
        parts.append(f"Take the setting, the light and the style {how} from image {number}{', but not its subject' if subjects else ''}.")
    return " ".join(parts) or "A picture."


def usable(picture: Image.Image) -> Image.Image:
    """A picture as the pipeline takes it: enlarged if it is small. Raises InputError: it is too narrow."""
    short, long = sorted(picture.size)
    if long > NARROWEST * short:
        raise InputError(f"This picture is {picture.width} x {picture.height} pixels, {long / short:.0f} times as long as it is wide; this model takes up to {NARROWEST} times.",
                         "Crop it around the subject.")
    if short >= LEAST:
        return picture
    width, height = (-(-side * LEAST // short) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
