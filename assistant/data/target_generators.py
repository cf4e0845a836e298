"""Customization methods: a photo and words -> a target picture. What makes D1's targets, and what makes SID's (eq. 4).

Another method is another callable of the same form (`build.Method`); at full size D1's is a method that fine-tunes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from ..diffusion.conditions import EMPTY, PATCHES, SEMANTICS, TEXT
from ..controls.cafe import Cafe
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import cafe_guidance, text_guidance
from ..files import SHARED, write_whole
from ..world.renderer import render
from ..world.scene import COLOURS, KINDS, PATTERNS, can_pair, sample_individual, sample_scene
from ..models.vision_encoders import VisionEncoders, pixels
from .build import Made
from .filters import Embedder
from .instructions import subject

GUIDANCE = 3.0  # of the base model
STRENGTH = 2.0  # of E and of F, as the page has it

# photos -> the kind, colours and pattern of each one's subject
Namer = Callable[[Sequence[Image.Image]], list[dict[str, str]]]


class ZeroShot:
    """Names a photo's subject by the captions that are nearest to it in CLIP's space (Radford et al., 2021), mistakes and all: first the
    kind and its colour, then the pattern and the pattern's colour. A `Namer`."""

    def __init__(self, eyes: Embedder) -> None:
        self.eyes = eyes
        self._candidates = lru_cache(None)(self._embedded)  # kept with this object

    def _embedded(self, kind: str = "", colour: str = "") -> tuple[list[dict[str, str]], Tensor]:
        """What a subject may be, with the captions' unit embeddings (n, b)."""
        if not kind:
            found = [{"kind": k, "colour": c, "second": "", "pattern": PATTERNS[0]} for k in KINDS for c in COLOURS]
        else:
            seconds = [c for c in COLOURS if c != colour and can_pair(colour, c)]
            found = [{"kind": kind, "colour": colour, "second": c, "pattern": p} for p in PATTERNS for c in (seconds if p != PATTERNS[0] else seconds[:1])]
        return found, self.eyes.caption([subject(**one) for one in found])

    def _nearest(self, picture: Tensor, *of: str) -> dict[str, str]:
        found, captions = self._candidates(*of)
        return found[int((captions @ picture).argmax())]

    def __call__(self, photos: Sequence[Image.Image]) -> list[dict[str, str]]:
        shown = self.eyes.picture(pixels(photos))
        plain = [self._nearest(picture) for picture in shown]
        return [self._nearest(picture, one["kind"], one["colour"]) for picture, one in zip(shown, plain)]


def draw_lines(base: LatentDiffusion, lines: Sequence[str], seeds: Sequence[int], steps: int) -> list[Image.Image]:
    """Pictures of captions by the base text-to-image model."""
    context = AttentionContext({TEXT: base.encode_text(list(lines)), EMPTY: base.encode_text([""])})
    return [Image.fromarray(a) for a in base.decode(base.sample(text_guidance(GUIDANCE), context, seeds, steps).latents)]


class Captioned:
    """Describes the photo's subject and has the base model draw that description with the instruction: D1's method here.

    What no words say (where stripes lie, which eyes) is lost, and the namer's mistakes become the target's.
    """

    name = "captioned"

    def __init__(self, namer: Namer, base: LatentDiffusion, steps: int) -> None:
        self.namer, self.base, self.steps = namer, base, steps

    @torch.no_grad()
    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> list[Made]:
        names = self.namer(photos)
        lines = [f"{subject(**found)} {said}".lower() for found, said in zip(names, words)]
        pictures = draw_lines(self.base, lines, seeds, self.steps)
        return [Made(picture, {"line": line, "seen": found}) for picture, line, found in zip(pictures, lines, names)]


# captions, seeds -> F(w), (B, d_F), of a picture w that shows each
Reference = Callable[[Sequence[str], Sequence[int]], Tensor]


class Mixed:
    """Eq. 4: G(E(x), alpha F(w) + (1 - alpha) F(x)), SID's method.

    Args:
        decoder: G, with V_H.
        reference: finds or draws w for a caption; a `Store.nearest`, or `Drawn`.
        alpha: alpha is drawn evenly between these two for each target, from its seed.
        namer: names the photo's subject before the words; None: the words name it.
    """

    name = "mixed"

    def __init__(self, vision: VisionEncoders, decoder: LatentDiffusion, reference: Reference, alpha: tuple[float, float], steps: int,
                 namer: Namer | None = None) -> None:
        self.vision, self.decoder, self.reference, self.alpha, self.steps, self.namer = vision, decoder, reference, alpha, steps, namer

    @torch.no_grad()
    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> list[Made]:
        x = pixels(photos).to(self.decoder.device)
        patches, own = self.vision.patches(x).float(), self.vision.semantics(x).float()
        told, lines = [{} for _ in photos], list(words)
        if self.namer is not None:
            told = [{"seen": found} for found in self.namer(photos)]
            lines = [f"{subject(**found['seen'])} {said}".lower() for found, said in zip(told, words)]
        low, high = self.alpha
        lots = [torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        alpha = torch.stack([low + (high - low) * lot for lot in lots])[:, None].to(own)
        semantics = self.vision.at_norm(alpha * self.reference(lines, seeds) + (1 - alpha) * own)
        pictures = draw(self.decoder, patches, semantics, seeds, self.steps)
        return [Made(picture, {"line": line, **found, "alpha": round(float(a), 4)})
                for picture, line, found, a in zip(pictures, lines, told, alpha)]


class Drawn:
    """w drawn by the base model from the caption."""

    def __init__(self, vision: VisionEncoders, base: LatentDiffusion, steps: int) -> None:
        self.vision, self.base, self.steps = vision, base, steps

    def __call__(self, lines: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return self.vision.semantics(pixels(draw_lines(self.base, lines, seeds, self.steps)).to(self.base.device)).float()


@torch.no_grad()
def draw(decoder: LatentDiffusion, patches: Tensor, semantics: Tensor, seeds: Sequence[int], steps: int, keep_subject: float = STRENGTH,
         follow_words: float = STRENGTH) -> list[Image.Image]:
    """G(E(x), F): E(x) (B, N, d_E) and F(w), H(s) or a mixture (B, d_F) -> B pictures. A strength of 0 leaves its source out."""
    context = AttentionContext({PATCHES: patches}, {SEMANTICS: semantics}, (Cafe(decoder.semantic_values),))
    plan = cafe_guidance(keep_subject, follow_words, keep_subject > 0, follow_words > 0)
    return [Image.fromarray(a) for a in decoder.decode(decoder.sample(plan, context, seeds, steps).latents)]


BATCH = 64


def drawn_pool(seed: int, count: int, side: int) -> Iterable[Image.Image]:
    """Pictures of training individuals in training combinations, for the miniature's store."""
    for index in range(count):
        lots = random.Random(f"{seed}/{index}/store")
        yield render(sample_scene(lots, sample_individual(lots)), side).image


class Store:
    """Pictures as F tells them, (N, d_F) at the decoder's norm, and what their F is compared with words in."""

    def __init__(self, semantics: Tensor, eyes: Embedder) -> None:
        self.semantics, self.eyes = semantics, eyes
        self.directions = F.normalize(semantics.float(), dim=-1)

    @classmethod
    def of(cls, place: Path, pool: Iterable[Image.Image], vision: VisionEncoders, eyes: Embedder) -> Store:
        """Read from the file `place`, or made from `pool` and written there."""
        if not place.exists():
            pictures = iter(pool)
            found = [vision.semantics(pixels(some)).float() for some in iter(lambda: list(islice(pictures, BATCH)), [])]
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, save({"semantics": torch.cat(found)}), SHARED)
        return cls(load_file(place)["semantics"], eyes)

    def nearest(self, lines: Sequence[str], seeds: Sequence[int] = ()) -> Tensor:
        """F of the picture that F's text tower finds nearest to each caption, (len(lines), d_F). A `methods.Reference`."""
        return self.semantics[(self.eyes.caption(list(lines)) @ self.directions.T).argmax(1)]
