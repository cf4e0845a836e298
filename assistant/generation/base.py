"""What the engine asks of whatever draws: to see, to speak, to make a picture ready, to remember it and to compare; the tensors of a mix; a look at what was drawn.

A mix is eq. 4 for any number of sources, and E(x) of several photos. Why a norm is put back: F's vectors of two pictures point in different directions, so their
average is shorter than either: two of norm r with cosine c average to r sqrt((1 + c) / 2), a fifth shorter at c = 0.3, and further still with more of them. The
decoder was only ever given vectors of F's own length; a shorter one scales down every V_H output and draws paler, so that at alpha = 0.5 one would see less of both
pictures rather than half of each. Hence the direction is eq. 4's and the length is the average of the lengths that went in, each by how much it counts: where one
source counts alone it is exactly that source's vector.

What a picture shows of its plan is told, so that one that lacks something can be drawn again and what is still missing is said. CLIP compares zero-shot (Radford et
al., 2021, arXiv 2103.00020): each part of a plan makes two texts, one with it and one without; a picture that is nearer to the second is worth another try, and lacks
the part if it is nearer by more than `margin`. Where there is an attribute classifier, it says how likely each part is: the plan's log-likelihood tells the better of
two pictures, and only what both miss is missing. A try costs seconds, a wrong word about the picture costs trust.
"""

from __future__ import annotations

import base64
import io
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..diffusion import guidance
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import CancelFlag, Denoised, OnStep
from ..errors import InputError
from ..files import write_png
from ..models.vision_encoders import MARKS, Finding, VisionEncoders, pixels
from ..plan import Plan, article, parts_of
from ..requests import Cancel, Photo, Settings, Turn

SEEN = 32  # photos whose features are kept
VANISHED = 1e-3  # share of its length below which a mix has no direction left


def blend(own: Tensor, sources: Sequence[Tensor], coefficients: Sequence[Sequence[float]]) -> Tensor:
    """sum_i a_i F(w_i) + (1 - sum_i a_i) F(x), at its sources' length.

    Args:
        own: F(x), (1, d_F). sources: F(w_i) or H(s), (1, d_F) each.
        coefficients: of each mix, 1 + len(sources) numbers, F(x)'s first; see `requests.coefficients`.

    Returns:
        (len(coefficients), d_F) in `own`'s dtype.

    Raises:
        InputError: the sources cancel out.
    """
    vectors = torch.cat([own, *sources]).double()  # (1 + n, d_F); in double, so that the order of sources does not tell
    weights = torch.tensor([list(row) for row in coefficients], dtype=torch.float64, device=own.device)  # (m, 1 + n)
    mixed = weights @ vectors
    counted = weights.abs() / weights.abs().sum(1, keepdim=True).clamp_min(1e-12)
    length = counted @ vectors.norm(dim=1, keepdim=True)  # (m, 1)
    found = mixed.norm(dim=1, keepdim=True)
    if bool((found <= VANISHED * length).any()):
        raise InputError("These references cancel each other out, so nothing is left to draw.", "Change a weight, or turn one off.")
    return (mixed * (length / found)).to(own.dtype)


def subject_semantics(photos: Sequence[Tensor]) -> Tensor:
    """F(x) of one subject from several photos, (1, d_F): their mean, at their length."""
    return blend(photos[0], photos[1:], [[1.0 / len(photos)] * len(photos)])


CAP = 3.0  # logits: a part that is seen this clearly is there, and adds no more to the score
SUBJECT = 6.0  # a subject that is not there counts as much as this many logits
ABSENT, LIKELY = 0.1, 0.5  # chances: below the first a part is missing, below the second another picture may show it better


@dataclass(frozen=True)
class Verification:
    """What a picture shows of its plan. `missing`: in words, in the plan's order; `doubtful`: another one may show more; `score`: the
    higher, the more of it is seen: by an attribute classifier the log-likelihood of the plan, by CLIP the whole plan's logit, and each part's as far as CAP."""

    missing: tuple[str, ...]
    doubtful: bool
    score: float


def verify_picture(vision: VisionEncoders, shown: ImageFeatures, plan: Plan, subject_there: bool, margin: float) -> Verification:
    """Compare a picture with its plan, by CLIP, and by the attribute classifier where there is one.

    Args:
        shown: E and F of the picture, (1, 257, d_E) and (1, d_F).
        subject_there: whether the encoders find the planned subject in it; a classifier asks for itself.
        margin: CLIP logits by which the text without a part may be nearer before the part counts as missing.
    """
    subject = plan.subject.split(" with ")[0] or "something"
    parts = parts_of(plan)
    pairs = [(_with(subject, part.name, part.words), article(subject) if part.name in ("worn", "other") else subject) for part in parts]
    whole, *logits = vision.compare(shown.semantics, [plan.described(), *(text for pair in pairs for text in pair)])[0].tolist()
    margins = [a - b for a, b in zip(logits[::2], logits[1::2])]
    missing = [_named(part.name, part.words) for part, found in zip(parts, margins) if found < -margin]
    score = whole + sum(min(found, CAP) for found in margins) - (0.0 if subject_there else SUBJECT)
    seen = Verification((*(() if subject_there else (f"the {subject}",)), *missing), not subject_there or any(found < 0 for found in margins), score)
    if vision.attributes is None:
        return seen
    return _classified(vision.attributes.to(shown.semantics.device).compare(shown.patches, shown.semantics, plan), subject, seen)


def _classified(found: Sequence[Finding], subject: str, seen: Verification) -> Verification:
    """What chances say of a picture. A part is missing if CLIP has `seen` so too: either alone is wrong too often. CLIP says nothing of a subject's marks, so
    that the classifier is asked alone (how often what is said is so, `evaluation miniature` measures). Something worn that was not planned makes a picture doubtful, and has no name."""
    kind = subject.split(" ")[-1]
    chances = {f"the {subject}" if one.words == kind else _named(one.name, one.words): one.chance for one in found}
    score = sum(math.log(max(one.chance, ABSENT / 10)) for one in found)
    missing = [m for m in seen.missing if chances.get(m, 0.0) < ABSENT]
    if f"the {subject}" not in missing:
        missing = [f"the {one.words}" for one in found if one.name == MARKS and one.words and one.chance < ABSENT] + missing
    return Verification(tuple(missing), any(one.chance < LIKELY for one in found), score)


def _with(subject: str, name: str, words: str) -> str:
    if name == "worn":
        return f"{article(subject)} wearing {article(words)}"
    return f"{article(subject)} and {article(words)}" if name == "other" else f"{subject}, {words}"


def _named(name: str, words: str) -> str:
    return f"the {words}" if name in ("worn", "other") else f"the {name} ({words})"


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the encoders say of one photo, or of several."""

    patches: Tensor  # E(x), (b, 257, d_E)
    semantics: Tensor  # F(x), (b, d_F)


@dataclass
class ReplyState:
    """What a reply has become so far; complete once `ImageGenerator.speak` is exhausted."""

    text: str = ""
    plan: Plan | None = None  # that it follows
    wish: Any = None  # what is to be drawn, as this image generator holds it; None: nothing
    stopped: bool = False


class Decoder(Protocol):
    """What the engine asks of a decoder: `LatentDiffusion`, `FlowDecoder`."""

    device: torch.device
    vae: Any
    unsafe: Callable[[np.ndarray], Sequence[bool]] | None  # checks what is decoded; None: nobody does

    def decode(self, latents: Tensor) -> np.ndarray:
        """uint8 RGB (B, H, W, 3) of latents (B, C, h, w)."""
        ...

    def left_out(self, prompt: str) -> str:
        """A sentence that says which end of a prompt is not read; empty: all of it is."""
        ...

    def decode_preview(self, latents: Tensor) -> Sequence[Any]:
        """Rough pictures of them, PIL images at full size."""
        ...


class Drawing(Protocol):
    """What `ImageGenerator.prepare` makes ready: `SamplingJob`, `flow.FlowSampling`."""

    def draw(self, steps: int, scheduler: str, on_step: OnStep | None = None, preview_every: int = 0, cancel: CancelFlag | None = None) -> Denoised: ...


@dataclass(frozen=True, eq=False)
class SamplingJob:
    """All that one drawing needs of the decoder; used up by it."""

    decoder: LatentDiffusion
    plan: guidance.GuidancePlan
    context: AttentionContext
    seeds: Sequence[int]

    def draw(self, steps: int, scheduler: str, on_step: OnStep | None = None, preview_every: int = 0, cancel: CancelFlag | None = None) -> Denoised:
        """As `LatentDiffusion.sample`."""
        return self.decoder.sample(self.plan, self.context, self.seeds, steps, scheduler, on_step, preview_every, cancel)


class ImageGenerator(Protocol):
    """A wish is the image generator's own kind of value: nobody else looks into it. One holds what b pictures should be like, beside their subject."""

    vision: Any
    language: Any
    method: str  # as a picture's metadata calls it
    needs_photo: bool  # without one there is nothing to draw
    far: float  # likeness, 0 to 1, below which a picture no longer shows its subject; 0: nobody measured it

    @property
    def decoder(self) -> Decoder: ...

    def look(self, pixels: Tensor) -> ImageFeatures | None:
        """(B, 3, H, W) in [0, 1], of any aspect; None: this image generator does not look at pictures."""
        ...

    def subject(self, pixels: Tensor, words: str) -> Tensor | None:
        """How much `alone` leaves of each pixel of a photo, (1, 1, H, W) in [0, 1]; None: all of it."""
        ...

    def alone(self, pixels: Tensor, seen: ImageFeatures, words: str, mask: Tensor | None = None) -> ImageFeatures:
        """What is drawn of a photo, (1, 3, H, W): what `mask` leaves, as `subject`, or else the subject that `words` name, or any if they are empty,
        without what is around it; `seen`, as `look` gave it, where the image generator makes no difference, or nothing is found."""
        ...

    def speak(self, history: Sequence[Turn], text: str, seen: ImageFeatures | None, said: ReplyState, temperature: float, chance: torch.Generator,
              cancel: Cancel, plan: Plan | None = None, picture: Photo | None = None) -> Iterator[str]:
        """Yield the reply piece by piece and fill `said`. `history` begins with the turn that brought the photo, if there is one.
        `plan`: what is to be seen, if that is decided already. `picture`: the photo itself, for a language model that has eyes of its own."""
        ...

    def like(self, seen: ImageFeatures, text: str) -> Any:
        """The wish to be like a picture w: F(w) stands where the words' meaning was."""
        ...

    def hear(self, words: str, seen: ImageFeatures | None, cancel: Cancel) -> Tensor | str | None:
        """A board's sentence about a subject, without chance: a vector beside F's, or what else `mix` takes; None: it asks for no picture."""
        ...

    def mix(self, subject: Sequence[ImageFeatures], sources: Sequence[Any], coefficients: Sequence[Sequence[float]], words: str = "") -> Any:
        """Eq. 4 for b mixes: photos of x, the sources, pictures of `look` or words of `hear`, and for each mix 1 + len(sources) numbers.
        `words`: what was said with the pictures; vectors have no place for it."""
        ...

    def prepare(self, subject: Sequence[ImageFeatures], wish: Any, settings: Settings, seeds: Sequence[int]) -> Drawing:
        """Make len(seeds) pictures ready. `subject`: photos of one thing; none where the image generator needs none."""
        ...

    def note(self, wish: Any, number: int = 0) -> dict[str, Any]:
        """Picture `number`'s wish as JSON values."""
        ...

    def recall(self, metadata: Mapping[str, Any], others: Sequence[ImageFeatures] = ()) -> Any:
        """The wish that `note` wrote; `others`: the pictures that came with it, in order, as far as they are kept. Raises KeyError, ValueError or TypeError where it did not."""
        ...

    def trait(self, seen: ImageFeatures) -> Tensor:
        """What tells subjects apart, (b, d)."""
        ...

    def meant(self, wish: Any) -> Tensor | None:
        """What F of the picture should be near to, (b, d_F); None: it cannot be told."""
        ...


Seen = TypeVar("Seen", bound="ImageFeatures | None")


class FeatureCache:
    """What the encoders see in photos, computed once each: a pure function of the photo, so that forgetting the oldest costs time only."""

    def __init__(self, image_generator: ImageGenerator) -> None:
        self._image_generator = image_generator
        self._seen: OrderedDict[str, ImageFeatures | None] = OrderedDict()

    def see(self, photo: Photo) -> ImageFeatures | None:
        """E(x) and F(x); None: this preset does not look at pictures."""
        if photo.sha256 in self._seen:
            return self._seen[photo.sha256]
        return self._keep(photo.sha256, self._image_generator.look(self.pixels(photo)))

    def known(self, photo: Photo) -> ImageFeatures:
        """As `see`, where nothing can be done without. Raises InputError."""
        seen = self.see(photo)
        if seen is None:
            raise InputError("This preset does not look at pictures.", "Say it in words, or start another preset.")
        return seen

    def alone(self, photo: Photo, seen: ImageFeatures, words: str = "") -> ImageFeatures:
        """What is drawn of a photo, see `ImageGenerator.alone`."""
        key = f"{photo.sha256} {photo.mask_name or words}"
        return self._seen.get(key) or self._keep(key, self._image_generator.alone(self.pixels(photo), seen, words, self._mask(photo)))

    def _mask(self, photo: Photo) -> Tensor | None:
        """What was painted, (1, 1, H, W) in [0, 1], on the decoder's device."""
        if photo.mask is None:
            return None
        left = np.array(Image.open(io.BytesIO(photo.mask), formats=["PNG"]), np.float32) / 255
        return torch.from_numpy(left)[None, None].to(self._image_generator.decoder.device)

    def subject(self, photo: Photo, words: str) -> bytes:
        """See `requests.Engine.subject_mask`."""
        if photo.mask is not None:
            return photo.mask
        found = self._image_generator.subject(self.pixels(photo), words)
        left = np.full((photo.height, photo.width), 255, np.uint8) if found is None else (255 * found[0, 0]).round().byte().cpu().numpy()
        return write_png(left)

    def pixels(self, photo: Photo) -> Tensor:
        """(1, 3, H, W) in [0, 1], on the decoder's device."""
        return pixels([Image.open(io.BytesIO(photo.png))]).to(self._image_generator.decoder.device)

    def clear(self) -> None:
        self._seen.clear()

    def _keep(self, key: str, seen: Seen) -> Seen:
        self._seen[key] = seen
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return seen


def encoded(vector: Tensor) -> str:
    """(d,) as text."""
    return base64.b64encode(vector.float().cpu().numpy().astype("<f4").tobytes()).decode()


def decoded(text: str, device: torch.device) -> Tensor:
    """(1, d) of what `encoded` wrote. Raises ValueError or TypeError."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy())[None].to(device)
