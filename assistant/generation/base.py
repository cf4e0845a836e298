"""What the engine asks of whatever draws: to see, to speak, to make a picture ready, to remember it and to compare. No request, no page."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion import guidance
from ..diffusion.sampler import Denoised, CancelFlag, OnStep
from ..requests import Cancel, Photo, Settings, Turn
from ..plan import Plan


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
    unsafe: Callable[[np.ndarray], Sequence[bool]] | None  # checks what is decoded; None: nobody does

    def decode(self, latents: Tensor) -> np.ndarray:
        """uint8 RGB (B, H, W, 3) of latents (B, C, h, w)."""
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
    decoder: Decoder
    method: str  # as a picture's metadata calls it
    needs_photo: bool  # without one there is nothing to draw
    far: float  # likeness, 0 to 1, below which a picture no longer shows its subject; 0: nobody measured it

    def look(self, pixels: Tensor) -> ImageFeatures | None:
        """(B, 3, H, W) in [0, 1], of any aspect; None: this image generator does not look at pictures."""
        ...

    def alone(self, pixels: Tensor, seen: ImageFeatures, words: str) -> ImageFeatures:
        """What is drawn of a photo, (1, 3, H, W): the subject that `words` name, or any if they are empty, without what is around it; `seen`, as
        `look` gave it, where the image generator makes no difference, or nothing is found."""
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

    def mix(self, own: Tensor, sources: Sequence[ImageFeatures | Tensor | str], coefficients: Sequence[Sequence[float]], words: str = "") -> Any:
        """Eq. 4 for b mixes: F(x), (1, d_F), the sources, pictures of `look` or words of `hear`, and for each mix 1 + len(sources) numbers.
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


def encoded(vector: Tensor) -> str:
    """(d,) as text."""
    return base64.b64encode(vector.float().cpu().numpy().astype("<f4").tobytes()).decode()


def decoded(text: str, device: torch.device) -> Tensor:
    """(1, d) of what `encoded` wrote. Raises ValueError or TypeError."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").copy())[None].to(device)
