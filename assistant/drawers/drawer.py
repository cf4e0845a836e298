"""What the engine asks of whatever draws: to see, to speak, to make a picture ready, to remember it and to compare. No request, no page."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder import rows
from ..decoder.sampling import Denoised, Flag, OnStep
from ..messages import Cancel, Settings, Turn
from ..plan import Plan


@dataclass(frozen=True, eq=False)
class Seen:
    """What the encoders say of one photo, or of several."""

    patches: Tensor  # E(x), (b, 257, d_E)
    semantics: Tensor  # F(x), (b, d_F)


@dataclass
class Said:
    """What a reply has become so far; complete once `Drawer.speak` is exhausted."""

    text: str = ""
    plan: Plan | None = None  # that it follows
    wish: Any = None  # what is to be drawn, as this drawer holds it; None: nothing
    stopped: bool = False


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that one drawing needs of the decoder; used up by it."""

    decoder: Diffusion
    plan: rows.Plan
    seam: Seam
    seeds: Sequence[int]

    def draw(self, steps: int, scheduler: str, on_step: OnStep | None = None, preview_every: int = 0, cancel: Flag | None = None) -> Denoised:
        """As `Diffusion.sample`."""
        return self.decoder.sample(self.plan, self.seam, self.seeds, steps, scheduler, on_step, preview_every, cancel)


class Drawer(Protocol):
    """A wish is the drawer's own kind of value: nobody else looks into it. One holds what b pictures should be like, beside their subject."""

    vision: Any
    language: Any
    decoder: Diffusion
    method: str  # as a picture's metadata calls it
    needs_photo: bool  # without one there is nothing to draw
    far: float  # likeness, 0 to 1, below which a picture no longer shows its subject; 0: nobody measured it

    def look(self, pixels: Tensor) -> Seen | None:
        """(B, 3, H, W) in [0, 1]; None: this drawer does not look at pictures."""
        ...

    def speak(self, history: Sequence[Turn], text: str, seen: Seen | None, said: Said, temperature: float, chance: torch.Generator,
              cancel: Cancel, plan: Plan | None = None) -> Iterator[str]:
        """Yield the reply piece by piece and fill `said`. `history` begins with the turn that brought the photo, if there is one.
        `plan`: what is to be seen, if that is decided already."""
        ...

    def like(self, seen: Seen, text: str) -> Any:
        """The wish to be like a picture w: F(w) stands where the words' meaning was."""
        ...

    def hear(self, words: str, seen: Seen | None, cancel: Cancel) -> Tensor | str | None:
        """A board's sentence about a subject, without chance: a vector beside F's, or what else `mix` takes; None: it asks for no picture."""
        ...

    def mix(self, own: Tensor, sources: Sequence[Tensor | str], coefficients: Sequence[Sequence[float]]) -> Any:
        """Eq. 4 for b mixes: F(x), (1, d_F), the sources, (1, d_F) each or of `hear`, and for each mix 1 + len(sources) numbers."""
        ...

    def prepare(self, subject: Sequence[Seen], wish: Any, settings: Settings, seeds: Sequence[int]) -> Prepared:
        """Make len(seeds) pictures ready. `subject`: photos of one thing; none where the drawer needs none."""
        ...

    def note(self, wish: Any, number: int = 0) -> dict[str, Any]:
        """Picture `number`'s wish as JSON values."""
        ...

    def recall(self, metadata: Mapping[str, Any]) -> Any:
        """The wish that `note` wrote. Raises KeyError, ValueError or TypeError where it did not."""
        ...

    def trait(self, seen: Seen) -> Tensor:
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
