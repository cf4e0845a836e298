"""Fits `models.out_of_distribution.OutOfDistribution`: drawings of the world, and what an autoencoder makes of them, against real photos and against
random pictures with their statistics: noise with a power law, and dead leaves (Lee, Mumford and Huang, 2001).

Few photos are enough, since 416 numbers are fitted; the threshold lets three in a hundred drawings that were not fitted be taken for a photo.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ..config import AssistantConfig
from ..errors import ConfigError
from ..world.recipe import TRAIN_SEED
from ..world.renderer import render
from ..models.out_of_distribution import OutOfDistribution
from ..models.vision_encoders import VisionEncoders, pad_square, pixels, resize
from ..checkpoints import load_vae, load_vision, save_ood
from .world_dataset import group

DRAWINGS, RANDOM, CROPS = 1400, 150, 14  # drawings; random pictures of each sort; crops of a photo
ALARMS = 0.03  # share of drawings that are taken for something else
DECAY = 1e-3  # L2 penalty of the weights


def fit(config: AssistantConfig, folder: Path, photos: Path, seed: int = 0) -> OutOfDistribution:
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
    inside = _features(vision, torch.cat([drawn, _decoded(folder, drawn[::3], seed)]))
    real, random = _features(vision, torch.cat([*_photos(files, rng, side)])), _features(vision, torch.cat([*_noise(rng, side), *_leaves(rng, side)]))
    order = torch.from_numpy(rng.permutation(len(inside)))
    held, inside = inside[order[::4]], inside[order[torch.arange(len(order)) % 4 != 0]]

    def fitted(photos: Tensor) -> OutOfDistribution:
        model = OutOfDistribution(config.vision.patch_width, config.language.semantic_width)
        _regress(model, inside, torch.cat([photos, random]))
        with torch.no_grad():
            model.linear.bias -= torch.quantile(_logits(model, held), 1 - ALARMS)
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
def _features(vision: VisionEncoders, x: Tensor) -> Tensor:
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
            crop = photo.crop((left, top, left + width, top + height))
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
