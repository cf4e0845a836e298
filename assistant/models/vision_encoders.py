"""E(x), the patch embeddings, F(w), the global CLIP embedding (CAFE, section 3), and what is read from them.

Published adapters were trained on two views out of one CLIP image encoder: patch features and the global embedding; they stand where CAFE has E(x) and F(w) of two.
Out-of-distribution detection says whether a picture is unlike all that E and F were trained on, so that nobody is told that a photo of a corgi is a fish. What is in
a picture is read by an attribute classifier. It is a probe on frozen features (Alain and Bengio, 2016, arXiv 1610.01644): two small layers on each of E's patches,
attention pooling over them, and F beside. M reads E's patches as means over a coarse grid, and loses what is small; a whole picture compared with words by CLIP says
little of one part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..config import LikenessConfig, VisionConfig
from ..plan import Plan, article
from .segmentation import SubjectSegmenter, cut_out, on_grey, opacity, painted, shows_subject


def pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size -> (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(p.convert("RGB")) for p in pictures])).permute(0, 3, 1, 2).float() / 255


def resize(pixels: Tensor, side: int) -> Tensor:
    """Antialiased bicubic resize of (B, 3, H, W) in [0, 1] to (B, 3, side, side); the same size is returned untouched."""
    if pixels.shape[-2:] == (side, side):
        return pixels
    return F.interpolate(pixels, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def pad_square(pixels: Tensor) -> Tensor:
    """Pad (B, 3, H, W) to a square by repeating its edge, so that no part of a subject is cut off."""
    height, width = pixels.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    # replicate pads at most the input's own size per side, which half the difference never exceeds for sides of 1:3
    mode = "replicate" if side <= 3 * min(height, width) else "constant"
    return F.pad(pixels, (left, side - width - left, top, side - height - top), mode=mode)


class DinoVision(nn.Module):
    """A frozen DINOv2 that tells how alike two pictures are.

    Args:
        dino: a transformers `Dinov2Model`.
    """

    def __init__(self, config: LikenessConfig, dino: Any) -> None:
        super().__init__()
        self.config, self.dino = config, dino

    @property
    def encoders(self) -> tuple[nn.Module, ...]:
        """What takes up memory, and is called."""
        return (self.dino,)

    doors = encoders

    @torch.no_grad()
    def patches(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, N, d), class token first; pictures that are not square are padded."""
        about, pixels = self.config, resize(pad_square(pixels), self.config.side)
        return self.dino(pixel_values=normalised(pixels, about.mean, about.std).to(self.dino.dtype)).last_hidden_state


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, H, W) in [0, 1] as an encoder was trained on it."""
    middle, spread = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (mean, std))
    return (pixels - middle) / spread


def noun_embeddings(texts: Callable[[Sequence[str]], Tensor], nouns: Sequence[str]) -> Tensor:
    """Unit embeddings (n, d_F) of class nouns, for zero-shot classification: the mean over prompts, as Radford et al. (2021) do."""
    plain, picture, drawing = (texts([f"{opener}{article(noun)}" for noun in nouns]) for opener in ("", "a picture of ", "a drawing of "))
    return F.normalize(plain + picture + drawing, dim=-1)


class VisionEncoders(nn.Module):
    """Both encoders, frozen.

    Args:
        dino: a transformers `Dinov2Model`.
        clip: an open_clip model.
        texts: texts -> their unit embeddings (n, d_F) by that model; None: pictures are compared with no words.
        nouns: what `classify` names.
    """

    def __init__(self, config: VisionConfig, dino: Any, clip: Any, texts: Callable[[Sequence[str]], Tensor] | None = None,
                 nouns: Sequence[str] = ()) -> None:
        super().__init__()
        self.config, self.dino, self.clip, self.texts = config, dino, clip, texts
        self.ood: OutOfDistribution | None = None
        self.attributes: AttributeClassifier | None = None
        self.nouns = noun_embeddings(texts, nouns) if texts is not None and nouns else None
        self.noun_names = tuple(nouns)
        self.clip_mean, self.clip_std = (tuple(clip.visual.image_mean or (0.5,) * 3), tuple(clip.visual.image_std or (0.25,) * 3))
        size = clip.visual.image_size
        self.clip_side = size[0] if isinstance(size, (tuple, list)) else size

    @property
    def encoders(self) -> tuple[nn.Module, ...]:
        """What takes up memory."""
        return self.dino, self.clip

    @property
    def doors(self) -> tuple[nn.Module, ...]:
        """What of it is called."""
        return self.dino, self.clip.visual

    @torch.no_grad()
    def patches(self, pixels: Tensor) -> Tensor:
        """E(x): (B, 3, H, W) in [0, 1] -> (B, 257, d_E), class token first."""
        side = self.config.side
        pixels = normalised(resize(pixels, side), self.config.dino_mean, self.config.dino_std)
        return self.dino(pixel_values=pixels.to(self.dino.dtype)).last_hidden_state

    @torch.no_grad()
    def semantics(self, pixels: Tensor) -> Tensor:
        """F(w): (B, 3, H, W) in [0, 1] -> (B, d_F), at the preset's norm."""
        pixels = normalised(resize(pixels, self.clip_side), self.clip_mean, self.clip_std)
        dtype = next(self.clip.parameters()).dtype
        return self.at_norm(self.clip.encode_image(pixels.to(dtype)))

    def classify(self, semantics: Tensor) -> Tensor:
        """CLIP zero-shot: F of pictures, (B, d_F) -> how likely each shows each of the nouns, (B, n)."""
        assert self.nouns is not None  # asked of presets that name some
        return self._logits(semantics, self.nouns).softmax(-1)

    def compare(self, semantics: Tensor, texts: Sequence[str]) -> Tensor:
        """CLIP's logits of pictures, by their F (B, d_F), and texts: (B, n)."""
        assert self.texts is not None  # asked of encoders that compare
        return self._logits(semantics, self.texts(texts))

    def _logits(self, semantics: Tensor, embeddings: Tensor) -> Tensor:
        images = F.normalize(semantics.float(), dim=-1)
        return self.clip.logit_scale.exp().float() * images @ embeddings.to(images).T

    def unfamiliar(self, patches: Tensor, semantics: Tensor) -> bool:
        """Whether a picture, by its E (1, N, d_E) and F (1, d_F), is unlike all that the encoders know; never where nobody measured it. One whose attributes
        are read without doubt is not (Hendrycks and Gimpel, 2017, arXiv 1610.02136)."""
        if self.ood is None or not bool(self.ood.to(patches.device)(patches, semantics)[0] > 0):
            return False
        return self.attributes is None or self.attributes.to(patches.device).confidence(patches, semantics) < SURE

    def at_norm(self, semantics: Tensor) -> Tensor:
        """Scale (B, d_F) to the norm the decoder was trained with, so that a mean of vectors or H(s) is not a weak one."""
        if self.config.semantic_norm is None:
            return semantics
        return F.normalize(semantics, dim=-1) * self.config.semantic_norm


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipVision(nn.Module):
    """The encoder, frozen.

    Args:
        encoder: a transformers `CLIPVisionModelWithProjection`.
        segmenter: of subjects; None: they are seen with all that is around them.
    """

    def __init__(self, encoder: Any, segmenter: SubjectSegmenter | None = None) -> None:
        super().__init__()
        self.encoder, self.segmenter, self.side = encoder, segmenter, encoder.config.image_size

    @property
    def encoders(self) -> tuple[nn.Module, ...]:
        """What takes up memory, and is called."""
        return (self.encoder,) if self.segmenter is None else (self.encoder, self.segmenter.model)

    doors = encoders

    def _encode(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.encoder(normalised.to(self.encoder.dtype), output_hidden_states=True)
        return seen.hidden_states[-2], seen.image_embeds

    @torch.no_grad()
    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] -> what stands for E(x), the last but one layer's states (B, 257, d_E), class token first, and F(x), (B, d_F).
        What is not square lies on plain grey."""
        return self._encode(normalised(resize(on_grey(pixels), self.side), MEAN, STD))

    def subject(self, pixels: Tensor, words: str = "") -> Tensor | None:
        """How much is left of each pixel of (1, 3, H, W), (1, 1, H, W) in [0, 1], where all but what `words` name, or anything, is taken away; None: it was not found."""
        if self.segmenter is None:
            return None
        return next((opacity(mask) for one in dict.fromkeys((words, "")) if shows_subject(mask := self.segmenter.mask(pixels, one))), None)

    def alone(self, pixels: Tensor, words: str = "", mask: Tensor | None = None) -> Tensor | None:
        """As E(x) in `look`, (1, 257, d_E), of what `mask` leaves of (1, 3, H, W), or else `subject`; None: it was not found."""
        mask = mask if mask is not None and self.segmenter is not None else self.subject(pixels, words)
        found = cut_out(pixels, painted(mask)) if mask is not None else None
        return None if found is None else self.look(found)[0]

    @torch.no_grad()
    def nothing(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """What an unconditional row sees, as diffusers' pipelines have it: the states of an input of zeros, (1, 257, d_E), and a vector
        of zeros, (1, d_F)."""
        states, vector = self._encode(torch.zeros(1, 3, self.side, self.side, device=device))
        return states, torch.zeros_like(vector)


class SafetyChecker(nn.Module):
    """Whether a picture shows what should not be shown to anyone, by its nearness to concepts (Rando et al., 2022, say which).

    Args:
        model: a diffusers `StableDiffusionSafetyChecker`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.side = model, model.config.vision_config.image_size

    @torch.no_grad()
    def unsafe(self, pictures: np.ndarray) -> Sequence[bool]:
        """Of each of uint8 RGB (B, H, W, 3)."""
        x = torch.from_numpy(pictures).to(self.model.device).permute(0, 3, 1, 2).float() / 255
        return self.model.forward_onnx(normalised(resize(x, self.side), MEAN, STD).to(self.model.dtype), x.new_zeros(len(x)))[1].tolist()


class OutOfDistribution(nn.Module):
    """Logistic regression on E's class token, the mean and the spread of its patches, and F's direction.

    Args:
        patch_width: d_E. semantic_width: d_F.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, patch_width: int, semantic_width: int) -> None:
        super().__init__()
        width = 3 * patch_width + semantic_width
        self.linear = nn.Linear(width, 1)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    @staticmethod
    def features(patches: Tensor, semantics: Tensor) -> Tensor:
        """E (B, N, d_E), the class token first, and F (B, d_F) -> (B, 3 d_E + d_F)."""
        rest = patches[:, 1:].float()
        return torch.cat([patches[:, 0].float(), rest.mean(1), rest.std(1), F.normalize(semantics.float(), dim=-1)], 1)

    def forward(self, patches: Tensor, semantics: Tensor) -> Tensor:
        """Logits (B,): above 0 the picture is out of distribution."""
        return self.linear((self.features(patches, semantics) - self.mean) / self.std)[:, 0]


WIDTH, POOLS, HIDDEN = 96, 24, 512
STAGE, MARKS = ("place", "light", "style", "pose"), "marks"
SURE = 0.98  # confidence of the attribute classifier from which on a picture is none but a drawing


@dataclass(frozen=True)
class Finding:
    """How likely a picture shows one part of a plan: `name` one of `plan.SEEN`, or MARKS, `words` as the plan has them."""

    name: str
    words: str
    chance: float


class AttributeClassifier(nn.Module):
    """
    Args:
        patch_width, semantic_width: d_E, d_F. patches: how many E has.
        attributes: what each of kind, colour, marks, second, place, light, style, pose and others can be, in a plan's words; "": none.
        things, colours: what can be worn.
    """

    def __init__(self, patch_width: int, semantic_width: int, patches: int, attributes: Mapping[str, Sequence[str]], things: Sequence[str], colours: Sequence[str]) -> None:
        super().__init__()
        self.things = tuple(things)
        self.values = {**{name: tuple(values) for name, values in attributes.items()}, **{thing: ("", *colours) for thing in things}}
        self.inner, self.place = nn.Linear(patch_width, WIDTH), nn.Parameter(torch.zeros(patches, WIDTH))
        self.deeper, self.norm, self.query = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, POOLS)
        self.out = nn.Sequential(nn.Linear(POOLS * WIDTH + patch_width + semantic_width, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, sum(map(len, self.values.values()))))

    def forward(self, patches: Tensor, semantics: Tensor, seen: Tensor | None = None) -> dict[str, Tensor]:
        """E (B, N, d_E), the class token first, and F (B, d_F) -> logits (B, values) of each attribute and each thing. `seen`: numbers of the patches
        that are looked at; None: all."""
        shown, place = (patches[:, 1:], self.place) if seen is None else (patches[:, 1 + seen], self.place[seen])
        x = F.silu(self.norm(self.inner(shown.float()) + place))
        x = x + F.silu(self.deeper(x))
        pooled = (self.query(x).softmax(1).transpose(1, 2) @ x).flatten(1)
        direction = F.normalize(semantics.float(), dim=-1) * semantics.shape[-1] ** 0.5
        logits = self.out(torch.cat([pooled, patches[:, 0].float(), direction], 1))
        return dict(zip(self.values, logits.split([len(v) for v in self.values.values()], 1)))

    @torch.no_grad()
    def read(self, patches: Tensor, semantics: Tensor) -> Plan:
        """What one picture shows, by E (1, N, d_E) and F (1, d_F); of a picture of two subjects nothing of either."""
        found = {name: self.values[name][int(logits[0].argmax())] for name, logits in self(patches, semantics).items()}
        stage, marks = {name: found[name] for name in STAGE}, f" with {found['second']} {found['marks']}" if found["marks"] else ""
        if found["others"]:
            return Plan("draw", **stage)
        return Plan("draw", f"{found['colour']} {found['kind']}{marks}", **stage, worn=tuple(f"{found[thing]} {thing}" for thing in self.things if found[thing]))

    @torch.no_grad()
    def confidence(self, patches: Tensor, semantics: Tensor) -> float:
        """Chance, 0 to 1, of the likeliest kind, place, light, style and pose together of one picture."""
        logits = self(patches, semantics)
        return math.prod(float(logits[name][0].softmax(0).max()) for name in ("kind", *STAGE))

    @torch.no_grad()
    def compare(self, patches: Tensor, semantics: Tensor, plan: Plan) -> list[Finding]:
        """How likely one picture shows each part of a plan whose words it knows, and nothing worn beside. Of two subjects E, which learned from pictures of
        one, tells that they are two."""
        chances = {name: logits[0].softmax(0) for name, logits in self(patches, semantics).items()}

        def chance(name: str, value: str) -> float:
            return float(chances[name][self.values[name].index(value)])

        return [Finding(part, words, chance(name, value)) for part, words, name, value in self._parts(plan) if value in self.values[name]]

    def _parts(self, plan: Plan) -> Iterator[tuple[str, str, str, str]]:
        """(part of the plan, its words, attribute, value)."""
        for name in STAGE:
            yield name, getattr(plan, name), name, getattr(plan, name)
        yield "other", plan.other, "others", "another" if plan.other else ""
        if plan.other:
            return
        head, _, marks = plan.subject.partition(" with ")
        colour, _, kind = head.partition(" ")
        second, _, noun = marks.partition(" ")
        yield "subject", kind, "kind", kind
        yield "subject", head, "colour", colour
        yield MARKS, marks, "marks", noun
        if noun:
            yield "subject", plan.subject, "second", second
        worn = {thing: colour for colour, _, thing in (one.partition(" ") for one in plan.worn)}
        for thing in self.things:
            yield "worn", f"{worn[thing]} {thing}" if thing in worn else "", thing, worn.get(thing, "")
