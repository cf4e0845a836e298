"""Customization methods: a photo and words -> a target picture. What makes D1's targets, and what makes SID's (eq. 4).

Another method is another callable of the same form (`build.Method`); at full size D1's is a method that fine-tunes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from ...conditioning import EMPTY, PATCHES, SEMANTICS, TEXT
from ...control.cafe import Cafe
from ...decoder.attention import Seam
from ...decoder.diffusion import Diffusion
from ...decoder.first_guess import Reader
from ...decoder.rows import cafe_plan, text_plan
from ...miniature.world import COLOURS, KINDS, LAYOUTS, PATTERNS
from ...mllm.vision import Vision, pixels
from .build import Made
from .wishes import subject

GUIDANCE = 3.0  # of the base model


def names_seen(reader: Reader, seen: Tensor) -> list[dict[str, str]]:
    """E's class tokens (B, d_E) -> the kind, colours and pattern that a first guess's reader of E finds in them, mistakes and all."""
    found = {k: t.argmax(1).tolist() for k, t in reader(seen).items()}
    colours = tuple(COLOURS)
    return [{"kind": KINDS[kind], "colour": colours[first], "second": colours[second],
             "pattern": PATTERNS[0] if coat == 0 else PATTERNS[1 + (coat - 1) // LAYOUTS]}
            for kind, first, second, coat in zip(found["kind"], found["colour"], found["second"], found["coat"])]


def draw_lines(base: Diffusion, lines: Sequence[str], seeds: Sequence[int], steps: int) -> list[Image.Image]:
    """Pictures of captions by the base text-to-image model."""
    plan, seam = text_plan(GUIDANCE), Seam({TEXT: base.encode_text(list(lines)), EMPTY: base.encode_text([""])})
    done = base.sample(plan, seam, seeds, steps, guess=base.guess_words(plan, seam, seeds))
    return [Image.fromarray(a) for a in base.decode(done.latents)]


class Captioned:
    """Describes what E sees in the photo and has the base model draw that description with the instruction: D1's method here.

    What no words say (where stripes lie, which eyes) is lost, and E's mistakes become the target's.
    """

    name = "captioned"

    def __init__(self, vision: Vision, reader: Reader, base: Diffusion, steps: int = 1) -> None:
        self.vision, self.reader, self.base, self.steps = vision, reader, base, steps

    @torch.no_grad()
    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> list[Made]:
        names = names_seen(self.reader, self.vision.patches(pixels(photos))[:, 0].float())
        lines = [f"{subject(**found)} {said}".lower() for found, said in zip(names, words)]
        pictures = draw_lines(self.base, lines, seeds, self.steps)
        return [Made(picture, {"line": line, "seen": found}) for picture, line, found in zip(pictures, lines, names)]


# captions, seeds -> F(w), (B, d_F), of a picture w that shows each
Reference = Callable[[Sequence[str], Sequence[int]], Tensor]


class Mixed:
    """Eq. 4: G(E(x), alpha F(w) + (1 - alpha) F(x)), SID's method.

    Args:
        decoder: G, with V_H and, in the miniature, a first guess, whose names of the photo's subject go before the words; without
            one the words name it.
        reference: finds or draws w for a caption; a `Store.nearest`, or `Drawn`.
        alpha: alpha is drawn evenly between these two for each target, from its seed.
        noise: multiplies the starting noise.
    """

    name = "mixed"

    def __init__(self, vision: Vision, decoder: Diffusion, reference: Reference, alpha: tuple[float, float], noise: float,
                 steps: int = 1) -> None:
        self.vision, self.decoder, self.reference, self.alpha, self.noise, self.steps = vision, decoder, reference, alpha, noise, steps

    @torch.no_grad()
    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> list[Made]:
        x = pixels(photos).to(self.decoder.device)
        patches, own = self.vision.patches(x).float(), self.vision.semantics(x).float()
        told, lines = [{} for _ in photos], list(words)
        if self.decoder.first_guess is not None:
            told = [{"seen": found} for found in names_seen(self.decoder.first_guess.subject, patches[:, 0])]
            lines = [f"{subject(**found['seen'])} {said}".lower() for found, said in zip(told, words)]
        low, high = self.alpha
        lots = [torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        alpha = torch.stack([low + (high - low) * lot for lot in lots])[:, None].to(own)
        semantics = self.vision.at_norm(alpha * self.reference(lines, seeds) + (1 - alpha) * own)
        pictures = draw(self.decoder, patches, semantics, seeds, self.noise, self.steps)
        return [Made(picture, {"line": line, **found, "alpha": round(float(a), 4)})
                for picture, line, found, a in zip(pictures, lines, told, alpha)]


class Drawn:
    """w drawn by the base model from the caption."""

    def __init__(self, vision: Vision, base: Diffusion, steps: int = 1) -> None:
        self.vision, self.base, self.steps = vision, base, steps

    def __call__(self, lines: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return self.vision.semantics(pixels(draw_lines(self.base, lines, seeds, self.steps)).to(self.base.device)).float()


@torch.no_grad()
def draw(decoder: Diffusion, patches: Tensor, semantics: Tensor, seeds: Sequence[int], noise: float, steps: int, keep_subject: float = 1.0,
         follow_words: float = 1.0) -> list[Image.Image]:
    """G(E(x), F): E(x) (B, N, d_E) and F(w), H(s) or a mixture (B, d_F) -> B pictures. A strength of 0 leaves its source out of the
    guess and of the rows alike."""
    e, f = keep_subject > 0, follow_words > 0
    guess = None
    if decoder.first_guess is not None and (e or f):
        guess = decoder.first_guess(patches if e else None, semantics if f else None, keep_subject, follow_words)
    seam = Seam({PATCHES: patches}, {SEMANTICS: semantics}, (Cafe(decoder.semantic_values),))
    done = decoder.sample(cafe_plan(keep_subject, follow_words, e, f), seam, seeds, steps, noise=noise, guess=guess)
    return [Image.fromarray(a) for a in decoder.decode(done.latents)]
