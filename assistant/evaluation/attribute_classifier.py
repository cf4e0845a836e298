"""The judge: a small residual network that names what is in a drawing. Trained only on renders with ground truth.

It shares no weights and no training pictures with what it judges.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..errors import WeightsError
from ..world.scene import ACCESSORIES, COLOURS, CONTEXTS, EYES, KINDS, LIGHTS, PATTERNS, POSES, STYLES
from ..checkpoints import load_tensors, save_tensors

HEADS: dict[str, tuple[str, ...]] = {
    "kind": KINDS, "colour": tuple(COLOURS), "second": tuple(COLOURS), "pattern": PATTERNS, "context": CONTEXTS,
    "light": LIGHTS, "style": STYLES, "pose": POSES, "eyes": EYES, **{a: ("", *COLOURS) for a in ACCESSORIES}}
SIZES = tuple(len(v) for v in HEADS.values())
WORN = sum(len(HEADS[a]) for a in ACCESSORIES)


class Block(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.GroupNorm(8, b), nn.SiLU(),
                                  nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.GroupNorm(8, b))
        self.skip = nn.Conv2d(a, b, 1, stride, bias=False) if stride > 1 or a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.body(x) + self.skip(x))


class Judge(nn.Module):
    """(B, 3, 128, 128) in [0, 1] -> logits (B, sum of SIZES).

    Four pixels by four become a cell, and three stages make of them a grid of 8 x 8. Where the subject is, is found at 16 x 16,
    and what is there is read beside what is anywhere. What is worn is small, so it is looked for in every cell of 16 x 16, and
    the cell that is surest decides.
    """

    WIDTHS, DEPTHS = (32, 72, 144), (1, 3, 2)
    FEATURES = 2 * WIDTHS[1] + 3 * WIDTHS[2]

    def __init__(self) -> None:
        super().__init__()
        first, middle, last = self.WIDTHS
        self.stem = nn.Conv2d(3, first, 4, 4)
        self.near = nn.Sequential(*_stage(first, first, 1, self.DEPTHS[0]), *_stage(first, middle, 2, self.DEPTHS[1]))
        self.far = nn.Sequential(*_stage(middle, last, 2, self.DEPTHS[2]))
        self.subject = nn.Conv2d(middle, 1, 1)
        self.out = nn.Sequential(nn.Linear(self.FEATURES, 512), nn.SiLU(), nn.Linear(512, sum(SIZES) - WORN))
        self.worn = nn.Conv2d(middle, WORN, 1)

    def grids(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 128, 128) in [0, 1] -> (B, 72, 16, 16) and (B, 144, 8, 8)."""
        near = self.near(self.stem(x * 4 - 2))
        return near, self.far(near)

    def pooled(self, near: Tensor, far: Tensor) -> Tensor:
        """(B, 576): of both grids what is at the subject, of both the largest, of the coarse one the mean."""
        share = self.subject(near).sigmoid()
        at = [(grid * s).sum((2, 3)) / s.sum((2, 3)).clamp_min(1) for grid, s in ((near, share), (far, F.avg_pool2d(share, 2)))]
        return torch.cat([*at, near.amax((2, 3)), far.amax((2, 3)), far.mean((2, 3))], 1)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, 576), what the names are read from."""
        return self.pooled(*self.grids(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.named(*self.grids(x))

    def named(self, near: Tensor, far: Tensor) -> Tensor:
        """What `grids` gives -> logits (B, sum of SIZES)."""
        return torch.cat([self.out(self.pooled(near, far)), self.anywhere(self.worn(near))], 1)

    @staticmethod
    def anywhere(cells: Tensor) -> Tensor:
        """Logits of every cell (B, WORN, h, w) -> of the picture (B, WORN): a thing is worn if some cell is surer of it than of none."""
        each = cells.flatten(2).unflatten(1, (len(ACCESSORIES), -1))
        return (each - each[:, :, :1]).amax(3).flatten(1)

    @torch.no_grad()
    def name(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> class numbers (B, 17) in the order of HEADS."""
        return torch.stack([p.argmax(1) for p in self(x).split(SIZES, 1)], 1)


def _stage(a: int, b: int, stride: int, depth: int) -> list[Block]:
    return [Block(a if k == 0 else b, b, stride if k == 0 else 1) for k in range(depth)]


class Likeness(nn.Module):
    """Embeddings read from the judge's features, for the papers' metrics: CLIP-T, CLIP-I and DINO-I by encoders that the generator
    never saw in training.

    `who` brings pictures of one individual together (for DINO-I), `shown` a picture and its caption (CLIP-I, CLIP-T).
    """

    def __init__(self, text: Mapping[str, Any], width: int = 96, out: int = 128) -> None:
        """`text`: the base model's CLIPTextConfig, whose tokens it reads."""
        super().__init__()
        vocabulary, length, features = text["vocab_size"], text["max_position_embeddings"], Judge.FEATURES
        self.who = nn.Sequential(nn.Linear(features, 2 * width), nn.SiLU(), nn.Linear(2 * width, out))
        self.shown = nn.Sequential(nn.Linear(features, 2 * width), nn.SiLU(), nn.Linear(2 * width, out))
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.randn(length, width) / width**0.5)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.text = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.told = nn.Linear(width, out)
        self.temperature = nn.Parameter(torch.full((2,), 2.5))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def individual(self, features: Tensor) -> Tensor:
        """The judge's features (B, 576) -> (B, 128) of norm 1."""
        return F.normalize(self.who((features - self.mean) / self.deviation), dim=-1)

    def picture(self, features: Tensor) -> Tensor:
        """The judge's features (B, 576) -> (B, 128) of norm 1."""
        return F.normalize(self.shown((features - self.mean) / self.deviation), dim=-1)

    def caption(self, tokens: Tensor) -> Tensor:
        """The base model's token numbers (B, N) -> (B, 128) of norm 1."""
        states = self.text(self.words(tokens) + self.places)
        return F.normalize(self.told(states.mean(1)), dim=-1)


def save_judge(judge: Judge, folder: Path) -> None:
    save_tensors(folder / "judge.safetensors", judge.state_dict(), {"kind": "attribute judge of the drawn world"})


def save_likeness(likeness: Likeness, folder: Path) -> None:
    save_tensors(folder / "likeness.safetensors", likeness.state_dict(), {"kind": "embeddings for CLIP-T, CLIP-I, DINO-I"})


def load_judge(folder: Path) -> Judge:
    """Raises WeightsError if there is none, or it is damaged."""
    return _filled(Judge(), folder / "judge.safetensors", "is no judge", "draw-judge, then judge")


def load_likeness(config: AssistantConfig, folder: Path) -> Likeness:
    """Raises WeightsError if there is none, or it is damaged."""
    return _filled(Likeness(config.decoder.text), folder / "likeness.safetensors", "are no embeddings for the metrics", "judge, then likeness")


def _filled(module: nn.Module, place: Path, lacking: str, stages: str) -> Any:
    if not place.exists():
        raise WeightsError(f"There {lacking} in {place.parent.name!r} yet.", f"Train first: python -m assistant.training {stages}, then install.")
    load_tensors(place, module)
    return module.eval().requires_grad_(False)
