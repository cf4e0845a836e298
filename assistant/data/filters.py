"""CLIP's and DINO's filter of targets, and its thresholds, calibrated on pairs of which the truth is known.

The paper keeps targets of CLIP image-instruction similarity >= 0.3 and DINO similarity to x >= 0.6, by ViT-B/32 and ViT-S/16. Other
encoders have other scales, so that here each threshold lies where matching pairs and pairs that do not match are best told apart
(the best balanced accuracy).
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..world import vocabulary as v
from ..world.renderer import render
from ..world.scene import sample_individual, sample_scene
from ..models.vision_encoders import VisionEncoders, pixels
from .instructions import instruction

PAPER = {"clip": 0.3, "dino": 0.6}  # for CLIP ViT-B/32 and DINO ViT-S/16
BINS = 60  # of a histogram, from -1 to 1
BATCH = 32


class Embedder(Protocol):
    """What filters and metrics look with; all of norm 1."""

    def individual(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, a): who is in a picture. DINO-I is its cosine."""

    def picture(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, b): what a picture shows."""

    def caption(self, lines: list[str]) -> Tensor:
        """Words -> (B, b): CLIP-T is its cosine with `picture`."""


class OwnEmbedder:
    """E's class token and F.

    Args:
        tokenizer: of F's text tower, a transformers tokenizer with `model_max_length`.
    """

    def __init__(self, vision: VisionEncoders, tokenizer: Any) -> None:
        self.vision, self.tokenizer = vision, tokenizer
        self.device = next(vision.parameters()).device

    @torch.no_grad()
    def individual(self, x: Tensor) -> Tensor:
        return F.normalize(self.vision.patches(x.to(self.device))[:, 0].float(), dim=-1)

    @torch.no_grad()
    def picture(self, x: Tensor) -> Tensor:
        return F.normalize(self.vision.semantics(x.to(self.device)).float(), dim=-1)

    @torch.no_grad()
    def caption(self, lines: list[str]) -> Tensor:
        tokens = self.tokenizer([line.lower() for line in lines], padding="max_length", truncation=True,
                                max_length=self.tokenizer.model_max_length, return_tensors="pt")
        return F.normalize(self.vision.clip.encode_text(tokens.input_ids.to(self.device)).float(), dim=-1)


@dataclass(frozen=True)
class Thresholds:
    """The least similarity that a target is kept with."""

    clip: float
    dino: float

    def keeps(self, scores: dict[str, float]) -> bool:
        return scores["clip"] >= self.clip and scores["dino"] >= self.dino


def scores(eyes: Embedder, photos: Sequence[Image.Image], pictures: Sequence[Image.Image], lines: Sequence[str]) -> list[dict[str, float]]:
    """"clip" and "dino" of each target: its similarity to the instruction, and to the photo."""
    shown = pixels(pictures)
    clip = (eyes.picture(shown) * eyes.caption(list(lines))).sum(1).tolist()
    dino = (eyes.individual(shown) * eyes.individual(pixels(photos))).sum(1).tolist()
    return [{"clip": round(c, 5), "dino": round(d, 5)} for c, d in zip(clip, dino)]


def histogram(values: Sequence[float]) -> list[int]:
    """Counts in BINS equal bins from -1 to 1."""
    return torch.histc(torch.tensor(values, dtype=torch.float64), BINS, -1.0, 1.0).int().tolist()


def best_threshold(same: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """The threshold of the best balanced accuracy: (share of `same` at or above it + share of `other` below it) / 2.

    Returns:
        threshold, balanced_accuracy, and what passes it: same, other; area: the chance that one of `same` exceeds one of `other`.
    """
    a, b = (torch.tensor(sorted(x), dtype=torch.float64) for x in (same, other))
    cuts = torch.cat([a, b]).unique()
    kept = 1 - torch.searchsorted(a, cuts) / len(a)
    passed = 1 - torch.searchsorted(b, cuts) / len(b)
    at = int((kept - passed).argmax())
    area = float(torch.searchsorted(b, a).double().mean() + torch.searchsorted(b, a, right=True).double().mean()) / (2 * len(b))
    return {"threshold": float(cuts[at]), "balanced_accuracy": float(0.5 + (kept[at] - passed[at]) / 2), "same": float(kept[at]),
            "other": float(passed[at]), "area": area}


def calibrate(eyes: Embedder, count: int, seed: int, side: int) -> dict[str, Any]:
    """Thresholds from `count` drawn pairs of each sort, of training individuals.

    DINO: two pictures of one individual, against a picture of it and one of another individual in the very scene of the second.
    CLIP: a picture and the line of its scene, against a picture of the same individual in another scene and that line.

    Returns:
        thresholds, and for "clip" and "dino" `best_threshold`, the paper's threshold, and the histograms of both sorts.
    """
    found: dict[str, list[float]] = {"clip same": [], "clip other": [], "dino same": [], "dino other": []}
    for start in range(0, count, BATCH):
        first, second, stranger, lines = [], [], [], []
        for index in range(start, min(count, start + BATCH)):
            lots = random.Random(f"{seed}/{index}/calibration")
            one, another = sample_individual(lots), sample_individual(lots)
            a, b = sample_scene(lots, one), sample_scene(lots, one)
            for scenes, scene in ((first, a), (second, b), (stranger, replace(b, individual=another))):
                scenes.append(render(scene, side).image)
            lines.append(f"{v.an(one.kind)} {instruction(b)}")
        whole, elsewhere = scores(eyes, first, second, lines), scores(eyes, second, first, lines)
        strange = scores(eyes, first, stranger, lines)
        found["clip same"] += [s["clip"] for s in whole]
        found["clip other"] += [s["clip"] for s in elsewhere]
        found["dino same"] += [s["dino"] for s in whole]
        found["dino other"] += [s["dino"] for s in strange]
    out: dict[str, Any] = {"pairs": count, "seed": seed}
    for name in ("clip", "dino"):
        same, other = found[f"{name} same"], found[f"{name} other"]
        out[name] = {**best_threshold(same, other), "paper": PAPER[name],
                     "histograms": {"same": histogram(same), "other": histogram(other)}}
    out["thresholds"] = asdict(Thresholds(*(round(out[name]["threshold"], 4) for name in ("clip", "dino"))))
    return out
