"""Trains the judge on a set of renders of its own (another seed than everything it judges).

Every cell that shows the subject is asked for the subject's names too, and every cell for what is worn there, which teaches shapes
far sooner than the whole picture's answer. Some pictures are blurred and noisy, so that softness is not taken for a name. The extra heads are thrown away.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..config import AssistantConfig
from ..evaluation.attribute_classifier import HEADS, SIZES, Judge, Likeness, load_judge, save_judge, save_likeness
from ..world.renderer import GROUND
from ..world.subjects import draw_subject
from ..world.scene import ACCESSORIES, Scene
from .world_dataset import CAPTIONS, SHARD, VIEWS, WorldDataset, group, in_processes

WEIGHTS = (3, 6, 2, 8, 2, 1, 2, 1, 0.2, *(3,) * len(ACCESSORIES))  # kinds and places are soon known
ABSENT = 0.25  # at first, how much an accessory counts that is not worn: nine in ten are not
FAIR = 0.7  # from here on as much as one that is
ELSEWHERE = 0.03  # how much a cell without an accessory counts beside one with it
AT_MOST = 2  # things worn in one picture
SOFT, NOISY = 0.3, 0.03  # share of blurred pictures; noise of at most this deviation


def worn_where(scene: Scene, side: int, cells: int) -> np.ndarray:
    """(AT_MOST, cells, cells) uint8: how much of each cell shows the first, the second thing that is worn."""
    out = np.zeros((AT_MOST, cells, cells), np.uint8)
    for k, one in enumerate(scene.accessories[:AT_MOST]):
        layers = draw_subject(replace(scene, accessories=(one,)), side, GROUND)
        front, behind, body = (np.asarray(t.getchannel("A"), np.float32) for t in (layers.front, layers.behind, layers.body))
        seen = Image.fromarray(np.maximum(front, behind * (1 - body / 255)).astype(np.uint8))
        out[k] = np.asarray(seen.resize((cells, cells), Image.Resampling.BOX))
    return out


def _draw_worn(args: tuple[Path, int, bool, range, int, int]) -> None:
    place, seed, held_out, groups, side, cells = args
    out = np.load(place, mmap_mode="r+")
    for g in groups:
        for k, scene in enumerate(group(seed, g, held_out)):
            out[g * VIEWS + k] = worn_where(scene, side, cells)


def worn_cells(world: WorldDataset, workers: int) -> np.ndarray:
    """`worn_where` of every picture of a set, ready or not, (pictures, AT_MOST, cells, cells); drawn once and kept beside it."""
    place, about = world.folder / "worn.npy", world.about
    if not place.exists():
        fresh, cells = place.with_suffix(f".{os.getpid()}.npy"), world["masks"].shape[-1]
        np.lib.format.open_memmap(fresh, mode="w+", dtype=np.uint8, shape=(len(world["masks"]), AT_MOST, cells, cells))
        shards = [range(s, min(about["groups"], s + SHARD)) for s in range(0, about["groups"], SHARD)]
        in_processes(_draw_worn, [(fresh, about["seed"], about["held_out"], r, world["images"].shape[1], cells) for r in shards], workers)
        os.replace(fresh, place)
    return np.load(place, mmap_mode="r")


class JudgeTask:
    """`init` is a folder with a judge to go on from, or none."""

    name, lr = "judge", 2e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, batch_size: int = 64, init: Path | None = None) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.worn = worn_cells(world, os.cpu_count() or 1)
        self.judge = (load_judge(init) if init else Judge()).to(device).requires_grad_(True).train()
        self.local = nn.ModuleList(nn.Linear(width, sum(SIZES)) for width in Judge.WIDTHS[1:]).to(device)
        self.matrices = {f"judge.{n}" for n, p in self.judge.named_parameters() if p.ndim == 4 and n.startswith(("near", "far"))}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"judge": self.judge, "local": self.local}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        return {"worn": torch.from_numpy(self.worn[at]), **{k: torch.from_numpy(self.world[k][at]) for k in ("images", "labels", "masks")}}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        def lot() -> Tensor:
            return torch.rand(batch["images"].shape[0], 1, 1, 1, device=self.device, generator=generator)

        x = batch["images"].permute(0, 3, 1, 2).float() / 255
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = torch.where(lot() < SOFT, x + lot() * (soft - x), x)
        x = x + NOISY * lot() * torch.randn(x.shape, device=x.device, generator=generator)
        grids, labels, share = self.judge.grids(x), batch["labels"].long(), batch["masks"][:, None].float() / 255
        losses, right = self._names(self.judge.named(*grids), labels)
        loss = losses + F.binary_cross_entropy_with_logits(self.judge.subject(grids[0]), share)
        loss, shown = loss + self._worn(self.judge.worn(grids[0]), labels, batch["worn"].float() / 255), {}
        for k, (grid, head) in enumerate(zip(grids, self.local)):
            of, _, y, z = (F.adaptive_avg_pool2d(share, grid.shape[-1]) > 0.5).nonzero(as_tuple=True)
            found, hits = self._names(head(grid[of, :, y, z]), labels[of])
            loss, shown[f"local{k}"] = loss + found / 2, hits[0]
        return loss, {k: right[i] for i, k in enumerate(HEADS) if i < 8} | shown | {
            "worn": torch.stack(right[-len(ACCESSORIES):]).mean()}

    def _names(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Weighted mean cross-entropy, and each name's accuracy."""
        loss, right = 0.0, []
        for i, (weight, part) in enumerate(zip(WEIGHTS, logits.float().split(SIZES, 1))):
            rare = part.new_ones(part.shape[1])
            if i >= len(WEIGHTS) - len(ACCESSORIES) and self.done < FAIR:
                rare[0] = ABSENT
            loss = loss + weight / sum(WEIGHTS) * F.cross_entropy(part, labels[:, i], rare)
            right.append((part.argmax(1) == labels[:, i]).float().mean().detach())
        return 4 * loss, right

    def _worn(self, cells: Tensor, labels: Tensor, shown: Tensor) -> Tensor:
        """Cross-entropy of every cell's (B, WORN, h, w) answer to what is worn there, by what `worn_where` says."""
        parts = cells.float().unflatten(1, (len(ACCESSORIES), -1))  # (B, 8, 13, h, w)
        named, loss = labels[:, -len(ACCESSORIES):], 0.0
        rank = (named > 0).long().cumsum(1) - 1  # which of the things worn each one is
        for k in range(len(ACCESSORIES)):
            at = shown[torch.arange(len(shown), device=shown.device), rank[:, k].clamp(0, AT_MOST - 1)]  # (B, h, w)
            there = (at > 0.3) & (named[:, k] > 0)[:, None, None]
            truth = torch.where(there, named[:, k, None, None], 0)
            weight = torch.where(there, 1.0, torch.where((at > 0.05) & (named[:, k] > 0)[:, None, None], 0.0, ELSEWHERE))  # rims say neither
            loss = loss + (weight * F.cross_entropy(parts[:, k], truth, reduction="none")).sum() / weight.sum()
        return loss / 2

    def export(self, folder: Path) -> None:
        save_judge(self.judge, folder)


SHAKEN = 0.1  # how far features are shaken in training, in their deviations


class LikenessTask:
    """`judge` is a folder with a trained judge."""

    name, lr = "likeness", 1e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, judge: Path, batch_size: int = 256) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.features = _features(world, judge, device)
        self.likeness = Likeness(config.decoder.text).to(device).train()
        self.likeness.mean.copy_(self.features.float().mean(0)), self.likeness.deviation.copy_(self.features.float().std(0) + 1e-3)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"likeness": self.likeness}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        a, b = self.world.pairs(rng, self.batch_size)
        one = np.unique(a // VIEWS, return_index=True)[1]  # each individual once, or it would be its own contrast
        a, b = a[one], b[one]
        texts = self.world["captions"][a, rng.integers(0, CAPTIONS, len(a))].astype(np.int64)
        return {"a": torch.from_numpy(a), "b": torch.from_numpy(b), "texts": torch.from_numpy(texts)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        a, b = (self._shaken(batch[k], generator) for k in ("a", "b"))
        one = self.likeness
        scales = one.temperature.exp().clamp(max=60)
        same, same_right = _contrast(scales[0] * one.individual(a) @ one.individual(b).T)
        told, told_right = _contrast(scales[1] * one.picture(a) @ one.caption(batch["texts"]).T)
        return same + told, {"same": same_right, "caption": told_right, "of": torch.tensor(float(len(a)))}

    def _shaken(self, at: Tensor, generator: torch.Generator) -> Tensor:
        x = self.features[at].float()
        return x + SHAKEN * self.likeness.deviation * torch.randn(x.shape, device=x.device, generator=generator)

    def export(self, folder: Path) -> None:
        save_likeness(self.likeness, folder)


def _contrast(logits: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE both ways, and the share found."""
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2, (logits.argmax(1) == own).float().mean()


@torch.no_grad()
def _features(world: WorldDataset, folder: Path, device: str) -> Tensor:
    """Of every ready picture, (N, 576) in half precision; zero where a set is not ready."""
    judge, images = load_judge(folder).to(device), world["images"]
    out = torch.zeros(len(images), judge.FEATURES, dtype=torch.float16, device=device)
    for g in np.array_split(world.groups, max(1, len(world.groups) // 64)):
        at = (g[:, None] * VIEWS + np.arange(VIEWS)).ravel()
        x = torch.from_numpy(images[at]).to(device).permute(0, 3, 1, 2).float() / 255
        out[torch.from_numpy(at)] = judge.features(x).half()
    return out
