"""The judge: a small residual network that names what is in a drawing. Trained only on renders with ground truth.

It shares no weights and no training pictures with what it judges.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from ..miniature.world import ACCESSORIES, COLOURS, CONTEXTS, EYES, KINDS, LIGHTS, PATTERNS, POSES, STYLES
from ..weights import load_tensors, save_tensors

HEADS: dict[str, tuple[str, ...]] = {
    "kind": KINDS, "colour": tuple(COLOURS), "second": tuple(COLOURS), "pattern": PATTERNS, "context": CONTEXTS,
    "light": LIGHTS, "style": STYLES, "pose": POSES, "eyes": EYES, **{a: ("", *COLOURS) for a in ACCESSORIES}}
SIZES = tuple(len(v) for v in HEADS.values())


class Block(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.GroupNorm(8, b), nn.SiLU(),
                                  nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.GroupNorm(8, b))
        self.skip = nn.Conv2d(a, b, 1, stride, bias=False) if stride > 1 or a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.silu(self.body(x) + self.skip(x))


class Judge(nn.Module):
    """(B, 3, 128, 128) in [0, 1] -> logits (B, sum of SIZES)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 96, 160, 192)
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2)
        self.blocks = nn.Sequential(*(m for a, b in zip(widths, widths[1:]) for m in (Block(a, b, 2), Block(b, b, 1))))
        self.out = nn.Sequential(nn.Linear(2 * widths[-1], 512), nn.SiLU(), nn.Linear(512, sum(SIZES)))

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, 384), what the names are read from."""
        h = self.blocks(torch.nn.functional.silu(self.stem(x * 2 - 1)))
        return torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))

    @torch.no_grad()
    def name(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> class numbers (B, 17) in the order of HEADS."""
        return torch.stack([p.argmax(1) for p in self(x).split(SIZES, 1)], 1)


def save_judge(judge: Judge, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "judge.safetensors", judge.state_dict(), {"kind": "attribute judge of the drawn world"})


def load_judge(folder: Path) -> Judge:
    """Raises WeightsError if there is none, or it is damaged."""
    if not (folder / "judge.safetensors").exists():
        raise WeightsError(f"There is no judge in {folder.name!r} yet.",
                           "Train one: python -m assistant.training draw-judge, then judge, then install.")
    judge = Judge()
    load_tensors(folder / "judge.safetensors", judge)
    return judge.eval().requires_grad_(False)
