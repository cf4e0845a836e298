"""Trains F: an open_clip model on pictures and captions with the symmetric contrastive loss (CLIP).

Linear heads that name the picture's attributes, thrown away afterwards, help it along: captions leave things out. One
reads the embedding, one each place of the third stage that shows the subject, which teaches shapes far sooner.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..miniature.world import ACCESSORIES
from ..mllm.vision import resize
from ..weights import build_clip, load_clip, save_clip
from .data import CAPTIONS, World
from .dino import CLASSES, attribute_loss
from .tokens import caption_tokenizer

# what is worn is small and mostly absent: counted like the kind, or it is never learned
WEIGHTS = (6, 2, 1, 6, 2, 1, 1, 2, 0.2, *(4.0,) * len(ACCESSORIES))


class ClipTask:
    name, lr = "clip", 1.5e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, batch_size: int = 64, warm: Path | None = None) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.clip = load_clip(config, warm).requires_grad_(True) if warm else build_clip(config.vision.clip)
        self.clip.to(device).train()
        self.matrices = {f"clip.{n}" for n, p in self.clip.named_parameters()
                         if p.ndim == 4 and n.startswith("visual.layer") or p.ndim == 2 and ".resblocks." in n}
        self.names = nn.Linear(config.language.semantic_width, sum(CLASSES)).to(device)
        self.local = nn.Linear(16 * config.vision.clip["vision_cfg"]["width"], sum(CLASSES)).to(device)
        self.stage: Tensor | None = None
        self.clip.visual.layer3.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, out: Tensor) -> None:
        self.stage = out

    def modules(self) -> Mapping[str, nn.Module]:
        return {"clip": self.clip, "names": self.names, "local": self.local}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        texts = self.world["captions"][at, rng.integers(0, CAPTIONS, len(at))]
        return {"images": torch.from_numpy(self.world["images"][at]), "texts": torch.from_numpy(texts),
                "labels": torch.from_numpy(self.world["labels"][at]), "masks": torch.from_numpy(self.world["masks"][at])}

    def _pixels(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> normalised (B, 3, h, w) at the tower's own size."""
        mean, std = (images.new_tensor(v, dtype=torch.float32).view(1, 3, 1, 1)
                     for v in (self.clip.visual.image_mean, self.clip.visual.image_std))
        size = self.clip.visual.image_size
        return (resize(images.permute(0, 3, 1, 2).float() / 255, size[0] if isinstance(size, (tuple, list)) else size) - mean) / std

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        seen = F.normalize(self.clip.encode_image(self._pixels(batch["images"])).float(), dim=-1)
        said = self.names(seen * self.config.vision.semantic_norm)
        names, named = attribute_loss(said, batch["labels"], WEIGHTS)
        share = F.adaptive_avg_pool2d(batch["masks"].float() / 255, self.stage.shape[-1])
        of, y, x = (share > 0.4).nonzero(as_tuple=True)
        local, found = attribute_loss(self.local(self.stage[of, :, y, x]), batch["labels"][of], WEIGHTS)
        read = F.normalize(self.clip.encode_text(batch["texts"].long()).float(), dim=-1)
        logits = self.clip.logit_scale.exp().clamp(max=100) * seen @ read.T
        own = torch.arange(len(logits), device=logits.device)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        return loss + 8 * names + 8 * local, {
            "kind": named[0], "local_kind": found[0], "colour": named[1], "context": named[4], "style": named[6],
            "worn": self._worn(said.detach(), batch["labels"]), "right": (logits.argmax(1) == own).float().mean(),
            "scale": self.clip.logit_scale.detach().exp()}

    @staticmethod
    def _worn(logits: Tensor, labels: Tensor) -> Tensor:
        """Of what is worn, the share that is named with its colour."""
        right = torch.stack([p.argmax(1) for p in logits.split(CLASSES, 1)[9:]], 1) == labels[:, 9:]
        return right[labels[:, 9:] > 0].float().mean()

    def export(self, folder: Path) -> None:
        save_clip(self.clip, self.config.vision.clip, folder)
        caption_tokenizer(self.config).save_pretrained(folder)
