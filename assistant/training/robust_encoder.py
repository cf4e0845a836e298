"""Teaches F to read what the decoder draws: the decoder redraws pictures of the set from noised latents (image-to-image, SDEdit,
Meng et al., 2021, arXiv 2108.01073), and F of a redrawn picture comes near what F gave of the original, while F of the original stays.

The targets are the features of the encoder as it was, so everything that was trained on those (V_H, H, the texts' side of CLIP) keeps its
meaning (feature distillation, as FARE does against attacks, Schlarmann et al., 2024, arXiv 2402.12336).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusion.conditions import EMPTY, TEXT
from ..config import AssistantConfig
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import guide, text_guidance
from ..diffusion.sampler import estimate_x0, make_scheduler, predict
from ..models.vision_encoders import VisionEncoders, resize
from ..checkpoints import load_clip, save_clip
from .world_dataset import CAPTIONS, WorldDataset, arrays
from .losses import encode_latents
from .vision_encoders import inner_clip_matrices
from .tokenizer_paths import caption_tokenizer

GUIDANCE = 3.0
EARLIEST, LATEST = 250, 850  # timesteps from which a picture is redrawn
EACH = 150  # timesteps a step takes
TOGETHER = 32
CLEAN = 0.5  # share of a batch that is as it was drawn


@torch.no_grad()
def redraw(world: WorldDataset, decoder: LatentDiffusion, folder: Path, count: int, seed: int) -> None:
    """Write `count` redrawn pictures, uint8 (count, H, W, 3), and which of the set's each one was, (count,)."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    latents, side = encode_latents(world, "cpu", decoder.vae), world["images"].shape[1]
    out = arrays(folder, {"images": (np.uint8, (count, side, side, 3)), "at": (np.int32, (count,))}, "w+")
    scheduler, plan = make_scheduler("ddim", decoder.scheduler_config), text_guidance(GUIDANCE)
    empty, rows, abar = decoder.encode_text([""]), plan.active_rows(0, 1), scheduler.alphas_cumprod
    for start in range(0, count, TOGETHER):
        at = np.sort(world.pictures(rng, min(TOGETHER, count - start)))
        texts = torch.from_numpy(world["captions"][at, rng.integers(0, CAPTIONS, len(at))].astype(np.int64))
        context = AttentionContext({TEXT: decoder.text_encoder(texts).last_hidden_state, EMPTY: empty})
        first = int(rng.integers(EARLIEST, LATEST))
        times = np.linspace(first, 0, 1 + max(1, round(first / EACH))).astype(int)
        x = latents[at].float()
        x = abar[first].sqrt() * x + (1 - abar[first]).sqrt() * torch.randn(x.shape, generator=generator)
        for k, (t, after) in enumerate(zip(times, times[1:])):
            context.begin(rows, len(at), k, len(times) - 1)
            said = predict(decoder.unet, torch.cat([x] * len(rows)), torch.tensor(int(t)), context)
            v = guide(plan.streams[0], dict(zip((row.name for row in rows), said.chunk(len(rows)))))
            clean, noise = estimate_x0(scheduler, v, int(t), x), abar[t].sqrt() * v + (1 - abar[t]).sqrt() * x
            x = abar[after].sqrt() * clean + (1 - abar[after]).sqrt() * noise if after else clean
        out["images"][start:start + len(at)], out["at"][start:start + len(at)] = decoder.decode(x), at
        print(f"redrawn {start + len(at)} of {count}", flush=True)


class RobustTask:
    """Args: folder: of `redraw`. init: the encoder as it is."""

    name, lr = "robust", 5e-4

    def __init__(self, config: AssistantConfig, world: WorldDataset, folder: Path, device: str, init: Path, batch_size: int = 64) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.redrawn = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "at")}
        self.clip, self.before = (load_clip(config, init).to(device) for _ in range(2))
        self.clip.visual.requires_grad_(True)  # its batch norms stay as they are
        self.matrices = inner_clip_matrices(self.clip)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"clip": self.clip}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        redrawn = np.sort(rng.integers(0, len(self.redrawn["at"]), self.batch_size - round(CLEAN * self.batch_size)))
        at = np.sort(self.world.pictures(rng, self.batch_size - len(redrawn)))
        clean = self.world["images"][np.concatenate([self.redrawn["at"][redrawn], at])]
        return {"clean": torch.from_numpy(clean), "images": torch.from_numpy(np.concatenate([self.redrawn["images"][redrawn], clean[len(redrawn):]]))}

    def _features(self, clip: nn.Module, images: Tensor) -> Tensor:
        side = clip.visual.image_size
        x = resize(images.permute(0, 3, 1, 2).float() / 255, side[0] if isinstance(side, (tuple, list)) else side)
        return F.normalize(clip.encode_image(VisionEncoders._normalise(x, clip.visual.image_mean, clip.visual.image_std)).float(), dim=-1)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            wanted = self._features(self.before, batch["clean"])
        apart = 1 - (self._features(self.clip, batch["images"]) * wanted).sum(-1)
        redrawn = self.batch_size - round(CLEAN * self.batch_size)
        return apart.mean(), {"redrawn": apart[:redrawn].mean().detach(), "clean": apart[redrawn:].mean().detach()}

    def export(self, folder: Path) -> None:
        save_clip(self.clip, self.config.vision.clip, folder)
        caption_tokenizer(self.config).save_pretrained(folder)
