"""Classifiers of drawings, and their training: the judge, what tells drawings from photos, what reads attributes.

The judge is a small residual network that names what is in a drawing, trained only on renders with ground truth. It shares no weights and no training pictures
with what it judges (another seed than everything that it judges). Every cell that shows the subject is asked for the subject's names too, and every cell for what
is worn there, which teaches shapes far sooner than the whole picture's answer. Some pictures are blurred and noisy, so that softness is not taken for a name. The
extra heads are thrown away.

`models.vision_encoders.OutOfDistribution` is fitted on drawings of the world, and what an autoencoder makes of them, against real photos and against random
pictures with their statistics: noise with a power law, and dead leaves (Lee, Mumford and Huang, 2001). Few photos are enough, since 416 numbers are fitted; the
threshold lets three in a hundred drawings that were not fitted be taken for a photo. `models.vision_encoders.AttributeClassifier` is trained on E and F of a drawn set.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from ..checkpoints import attribute_classifier, load_tensors, load_vae, load_vision, save_attributes, save_ood, save_tensors
from ..config import AssistantConfig
from ..errors import ConfigError, WeightsError
from ..models.vision_encoders import STAGE, AttributeClassifier, OutOfDistribution, VisionEncoders, pad_square, pixels, resize
from ..world.renderer import GROUND, render
from ..world.scene import ACCESSORIES, Scene
from ..world.subjects import draw_subject
from .loop import Task
from .losses import contrast, encode_patches, encode_semantics
from .recipe import TRAIN_SEED
from .world_dataset import ATTRIBUTES, CAPTIONS, CLASSES, LABELS, SHARD, VIEWS, WorldDataset, group, in_processes

WORN = sum(len(ATTRIBUTES[a]) for a in ACCESSORIES)


class Block(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.GroupNorm(8, b), nn.SiLU(),
                                  nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.GroupNorm(8, b))
        self.skip = nn.Conv2d(a, b, 1, stride, bias=False) if stride > 1 or a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.body(x) + self.skip(x))


class Judge(nn.Module):
    """(B, 3, 128, 128) in [0, 1] -> logits (B, sum of CLASSES).

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
        self.out = nn.Sequential(nn.Linear(self.FEATURES, 512), nn.SiLU(), nn.Linear(512, sum(CLASSES) - WORN))
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
        """What `grids` gives -> logits (B, sum of CLASSES)."""
        return torch.cat([self.out(self.pooled(near, far)), self.anywhere(self.worn(near))], 1)

    @staticmethod
    def anywhere(cells: Tensor) -> Tensor:
        """Logits of every cell (B, WORN, h, w) -> of the picture (B, WORN): a thing is worn if some cell is surer of it than of none."""
        each = cells.flatten(2).unflatten(1, (len(ACCESSORIES), -1))
        return (each - each[:, :, :1]).amax(3).flatten(1)

    @torch.no_grad()
    def name(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> class numbers (B, 17) in the order of ATTRIBUTES."""
        return torch.stack([p.argmax(1) for p in self(x).split(CLASSES, 1)], 1)


def _stage(a: int, b: int, stride: int, depth: int) -> list[Block]:
    return [Block(a if k == 0 else b, b, stride if k == 0 else 1) for k in range(depth)]


class Likeness(nn.Module):
    """Embeddings read from the judge's features, for the papers' metrics: CLIP-T, CLIP-I and DINO-I by encoders that the generator
    never saw in training.

    `who` brings pictures of one individual together (for DINO-I), `shown` a picture and its caption (CLIP-I, CLIP-T).
    """

    mean: Tensor
    deviation: Tensor

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


class JudgeTask(Task):
    """`init` is a folder with a judge to go on from, or none."""

    name, lr = "judge", 2e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, batch_size: int = 64, init: Path | None = None) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.worn = worn_cells(world, os.cpu_count() or 1)
        self.judge = (load_judge(init) if init else Judge()).to(device).requires_grad_(True).train()
        self.local = nn.ModuleList(nn.Linear(width, sum(CLASSES)) for width in Judge.WIDTHS[1:]).to(device)
        self.matrices = {f"judge.{n}" for n, p in self.judge.named_parameters() if p.ndim == 4 and n.startswith(("near", "far"))}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"judge": self.judge, "local": self.local}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        return {"worn": torch.from_numpy(self.worn[at]), **self.world.rows(at, "images", "labels", "masks")}

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
        return loss, {k: right[i] for i, k in enumerate(ATTRIBUTES) if i < 8} | shown | {"worn": torch.stack(right[-len(ACCESSORIES):]).mean()}

    def _names(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Weighted mean cross-entropy, and each name's accuracy."""
        loss, right = 0.0, []
        for i, (weight, part) in enumerate(zip(WEIGHTS, logits.float().split(CLASSES, 1))):
            rare = part.new_ones(part.shape[1])
            if i >= len(WEIGHTS) - len(ACCESSORIES) and self.done < FAIR:
                rare[0] = ABSENT
            loss = loss + weight / sum(WEIGHTS) * F.cross_entropy(part, labels[:, i], rare)
            right.append((part.argmax(1) == labels[:, i]).float().mean().detach())
        return 4 * cast(Tensor, loss), right

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
        return cast(Tensor, loss) / 2

    def export(self, folder: Path) -> None:
        save_judge(self.judge, folder)


SHAKEN = 0.1  # how far features are shaken in training, in their deviations


class LikenessTask(Task):
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
        same, same_right = contrast(scales[0] * one.individual(a) @ one.individual(b).T)
        told, told_right = contrast(scales[1] * one.picture(a) @ one.caption(batch["texts"]).T)
        return same + told, {"same": same_right, "caption": told_right, "of": torch.tensor(float(len(a)))}

    def _shaken(self, at: Tensor, generator: torch.Generator) -> Tensor:
        x = self.features[at].float()
        return x + SHAKEN * self.likeness.deviation * torch.randn(x.shape, device=x.device, generator=generator)

    def export(self, folder: Path) -> None:
        save_likeness(self.likeness, folder)


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


DRAWINGS, RANDOM, CROPS = 1400, 150, 14  # drawings; random pictures of each sort; crops of a photo
ALARMS = 0.03  # share of drawings that are taken for something else
DECAY = 1e-3  # L2 penalty of the weights


def fit_ood(config: AssistantConfig, folder: Path, photos: Path, seed: int = 0) -> OutOfDistribution:
    """Fit it on the photos below a folder, and write it to `folder`/ood.

    Raises:
        ConfigError: there are fewer than eight photos.
    """
    files = sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if len(files) < 8:
        raise ConfigError(f"There are {len(files)} photos in {photos}; at least 8 are needed.", "Name a folder of real photos with --photos.")
    rng, side = np.random.default_rng(seed), config.decoder.image_size
    vision = load_vision(config, folder)
    drawn = torch.cat([pixels([render(group(TRAIN_SEED, g)[0], side).image]) for g in range(DRAWINGS)])
    inside = _ood_features(vision, torch.cat([drawn, _decoded(folder, drawn[::3], seed)]))
    real, random = _ood_features(vision, torch.cat([*_photos(files, rng, side)])), _ood_features(vision, torch.cat([*_noise(rng, side), *_leaves(rng, side)]))
    order = torch.from_numpy(rng.permutation(len(inside)))
    held, inside = inside[order[::4]], inside[order[torch.arange(len(order)) % 4 != 0]]

    def fitted(photos: Tensor) -> OutOfDistribution:
        model = OutOfDistribution(config.encoders.patch_width, config.mllm.semantic_width)
        _regress(model, inside, torch.cat([photos, random]))
        with torch.no_grad():
            model.linear.bias -= torch.quantile(_logits(model, held), 1 - ALARMS)  # pyright: ignore[reportAttributeAccessIssue]  # in place it stays a parameter
        return model

    folders = sorted({file.parent for file in files})
    fold = torch.tensor([folders.index(file.parent) for file in files])
    right = sum(int((_logits(fitted(real[(fold != k).repeat_interleave(1 + CROPS)]), real[::1 + CROPS][fold == k]) > 0).sum())
                for k in range(len(folders)) if (fold != k).any())
    print(f"{len(inside)} drawings, {len(files)} photos, {len(random)} random pictures. Of whole photos of a folder that was left out of the fit, "
          f"each in its turn, {right} of {len(files)} are found at {ALARMS:.0%} false alarms.", flush=True)
    model = fitted(real)
    save_ood(model, folder)
    return model


@torch.no_grad()
def _logits(model: OutOfDistribution, features: Tensor) -> Tensor:
    return model.linear((features - model.mean) / model.std)[:, 0]


def _regress(model: OutOfDistribution, inside: Tensor, outside: Tensor) -> None:
    x = torch.cat([inside, outside])
    y = torch.cat([torch.zeros(len(inside)), torch.ones(len(outside))])
    model.mean.copy_(x.mean(0)), model.std.copy_(x.std(0) + 1e-3)
    x, weight = (x - model.mean) / model.std, torch.where(y > 0, len(inside) / len(outside), 1.0)
    torch.nn.init.zeros_(model.linear.weight), torch.nn.init.zeros_(model.linear.bias)
    optimizer = torch.optim.LBFGS(model.linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model.linear(x)[:, 0], y, weight=weight) + DECAY * model.linear.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


@torch.no_grad()
def _ood_features(vision: VisionEncoders, x: Tensor) -> Tensor:
    return torch.cat([OutOfDistribution.features(vision.patches(part), vision.semantics(part)) for part in x.split(16)])


@torch.no_grad()
def _decoded(folder: Path, x: Tensor, seed: int) -> Tensor:
    """Pictures as the decoder draws them, about: their latents with a quarter of their spread in noise."""
    vae, generator = load_vae(folder / "base/vae"), torch.Generator().manual_seed(seed)
    out = []
    for part in x.split(8):
        z = vae.encode(part * 2 - 1).latent_dist.mean
        out.append(vae.decode(z + 0.25 * z.std() * torch.randn(z.shape, generator=generator)).sample.clamp(-1, 1) / 2 + 0.5)
    return torch.cat(out)


def _square(image: Image.Image, side: int) -> Tensor:
    return resize(pad_square(pixels([image])), side)


def _photos(files: list[Path], rng: np.random.Generator, side: int) -> Iterator[Tensor]:
    """Every photo whole and in random crops, every other one mirrored."""
    for file in files:
        photo = Image.open(file).convert("RGB")
        photo.thumbnail((4 * side, 4 * side))
        yield _square(photo, side)
        for k in range(CROPS):
            width, height = (round(n * rng.uniform(0.35, 0.95)) for n in photo.size)
            left, top = rng.integers(0, photo.width - width + 1), rng.integers(0, photo.height - height + 1)
            crop = photo.crop(cast(tuple[int, int, int, int], (left, top, left + width, top + height)))
            yield _square(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if k % 2 else crop, side)


def _noise(rng: np.random.Generator, side: int) -> Iterator[Tensor]:
    """Gaussian noise whose amplitude falls with the frequency as in photos, in random colours."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    for _ in range(RANDOM):
        spectrum = (rng.normal(size=(3, side, side)) + 1j * rng.normal(size=(3, side, side))) / frequency ** rng.uniform(0.7, 1.6)
        waves = np.fft.ifft2(spectrum).real.transpose(1, 2, 0) @ (np.eye(3) + rng.normal(size=(3, 3)) * 0.6 + rng.uniform(0, 1.5))
        picture = (waves - waves.mean()) / waves.std() * rng.uniform(0.1, 0.3) + rng.uniform(0.2, 0.8, 3)
        yield torch.from_numpy(picture.clip(0, 1)).permute(2, 0, 1)[None].float()


def _leaves(rng: np.random.Generator, side: int) -> Iterator[Tensor]:
    """Discs of all sizes that hide one another, with grain."""
    for _ in range(RANDOM):
        image = Image.new("RGB", (2 * side, 2 * side))
        pen, base = ImageDraw.Draw(image), rng.uniform(0, 255, 3)
        for _ in range(400):
            radius = min(0.7 * side, 0.03 * side / rng.uniform(0.01, 1)) * rng.uniform(0.5, 2)
            x, y = rng.uniform(0, 2 * side, 2)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), tuple(int(c) for c in (base + rng.normal(size=3) * 50).clip(0, 255)))
        grain = rng.normal(size=(2 * side, 2 * side, 1)) * rng.uniform(0, 25)
        yield _square(Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)), side)


BATCH, LEFT_OUT = 128, 1024
# steps, learning rate, share of a batch that the decoder drew again, most noise on E: 4,000 steps on a few thousand redrawn pictures overfit
FIRST, THEN = (4000, 2e-3, 0.0, 0.15), (800, 3e-4, 0.4, 0.3)
FROM_LABELS = {"kind": "kind", "colour": "colour", "marks": "pattern", "second": "second", "place": "context", "light": "light", "style": "style", "pose": "pose"}
NONE = -100  # a label that no loss counts


def attribute_labels(world: WorldDataset, classifier: AttributeClassifier, count: int) -> dict[str, Tensor]:
    """Of the first `count` pictures of a set: for each attribute of the classifier the number of its value, (count,); NONE: it has none."""
    labels, two = torch.from_numpy(world["labels"][:count].astype(np.int64)), torch.from_numpy(world["companion_labels"][:count, 0] >= 0)
    found = {name: labels[:, LABELS.index(label)] for name, label in (FROM_LABELS | {thing: thing for thing in classifier.things}).items()}
    return {name: values if name in STAGE else values.masked_fill(two, NONE) for name, values in found.items()} | {"others": two.long()}


def fit_attributes(config: AssistantConfig, world: WorldDataset, model: Path, redrawn: Path, warm: bool = False, steps: int | None = None, seed: int = 0) -> AttributeClassifier:
    """Train on all pictures but the last LEFT_OUT, then on what the decoder drew of them again too, print how many of those are read rightly, and write `attributes`
    below `model`. Pictures as the decoder draws them are what it looks at in use; redrawn, they have the labels of what they were.

    Args:
        redrawn: a folder of `vision_encoders.redraw`. warm: go on from the classifier in `model`, with the second part alone. steps: of each part, in place
            of its own.
    """
    if not warm:
        shutil.rmtree(model / "attributes", ignore_errors=True)  # one of other values could not be opened
    vision = load_vision(config, model)
    semantics, patches = encode_semantics(world, "cpu", vision).float(), encode_patches(world, "cpu", vision)
    again, images = torch.from_numpy(np.load(redrawn / "at.npy").astype(np.int64)), np.load(redrawn / "images.npy", mmap_mode="r")
    chunks = [torch.from_numpy(images[k:k + BATCH].copy()).permute(0, 3, 1, 2).float() / 255 for k in range(0, len(images), BATCH)]
    seen = torch.cat([vision.patches(x).half() for x in chunks]), torch.cat([vision.semantics(x).float() for x in chunks])
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the layers' first weights
        classifier = vision.attributes or attribute_classifier(config)
    classifier.train().requires_grad_(True)
    labels, generator = attribute_labels(world, classifier, len(semantics)), torch.Generator().manual_seed(seed)
    first = len(semantics) - min(LEFT_OUT, len(semantics) // 4)  # left out
    learned = (again < first).nonzero()[:, 0]
    for its_steps, rate, share, shaken in (THEN,) if warm else (FIRST, THEN):
        count, total = round(share * BATCH), steps or its_steps
        optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total)
        for step in range(total):
            at, of = torch.randint(first, (BATCH - count,), generator=generator), learned[torch.randint(len(learned), (count,), generator=generator)]
            shown = torch.cat([patches[at], seen[0][of]]).float()
            shown += shaken * torch.rand(BATCH, 1, 1, generator=generator) * torch.randn(shown.shape, generator=generator)
            logits = classifier(shown, torch.cat([semantics[at], seen[1][of]]), torch.randperm(shown.shape[1] - 1, generator=generator)[:shown.shape[1] // 2])
            at = torch.cat([at, again[of]])
            loss = torch.stack([F.cross_entropy(part, labels[name][at], ignore_index=NONE) for name, part in logits.items()]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 500 == 499:
                print(f"attributes step {step + 1} of {total}: loss {loss:.4f}", flush=True)
    _print_right("drawings", classifier, patches[first:], semantics[first:], {name: values[first:] for name, values in labels.items()})
    kept = again >= first
    _print_right("drawings that were drawn again", classifier, seen[0][kept], seen[1][kept], {name: values[again[kept]] for name, values in labels.items()})
    save_attributes(classifier, model)
    return classifier


@torch.no_grad()
def _print_right(what: str, classifier: AttributeClassifier, patches: Tensor, semantics: Tensor, labels: Mapping[str, Tensor]) -> None:
    """How much of pictures that were left out is read rightly."""
    parts = [classifier(e.float(), f) for e, f in zip(patches.split(256), semantics.split(256))]
    right = {name: (torch.cat([part[name] for part in parts]).argmax(1) == labels[name])[labels[name] != NONE] for name in labels}
    whole = torch.stack([right[thing] for thing in classifier.things]).all(0).float().mean()
    shares = {name: right[name].float().mean() for name in labels if name not in classifier.things}
    print(f"Of {len(patches)} {what} left out: all that is worn {whole:.3f}, " + ", ".join(f"{name} {share:.3f}" for name, share in shares.items()), flush=True)
