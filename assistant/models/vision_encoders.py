"""E(x), the patch embeddings, and F(w), the global CLIP embedding (CAFE, section 3). Knows nothing of words or requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..config import LikenessConfig, VisionConfig
from ..plan import article
from .out_of_distribution import OutOfDistribution
from .worn import WornReader


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

    def __init__(self, config: LikenessConfig, dino: nn.Module) -> None:
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


def normalised(pixels: Tensor, mean: tuple, std: tuple) -> Tensor:
    mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (mean, std))
    return (pixels - mean) / std


def noun_embeddings(texts: Callable[[Sequence[str]], Tensor], nouns: Sequence[str]) -> Tensor:
    """Unit embeddings (n, d_F) of class nouns, for zero-shot classification: the mean over prompts, as Radford et al. (2021) do."""
    return F.normalize(sum(texts([f"{opener}{article(noun)}" for noun in nouns]) for opener in ("", "a picture of ", "a drawing of ")), dim=-1)


class VisionEncoders(nn.Module):
    """Both encoders, frozen.

    Args:
        dino: a transformers `Dinov2Model`.
        clip: an open_clip model.
        texts: texts -> their unit embeddings (n, d_F) by that model; None: pictures are compared with no words.
        nouns: what `classify` names.
    """

    def __init__(self, config: VisionConfig, dino: nn.Module, clip: nn.Module, texts: Callable[[Sequence[str]], Tensor] | None = None,
                 nouns: Sequence[str] = ()) -> None:
        super().__init__()
        self.config, self.dino, self.clip, self.texts = config, dino, clip, texts
        self.ood: OutOfDistribution | None = None
        self.worn: WornReader | None = None
        self.nouns = noun_embeddings(texts, nouns) if texts is not None and nouns else None
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
        return self._logits(semantics, self.nouns).softmax(-1)

    def compare(self, semantics: Tensor, texts: Sequence[str]) -> Tensor:
        """CLIP's logits of pictures, by their F (B, d_F), and texts: (B, n)."""
        return self._logits(semantics, self.texts(texts))

    def _logits(self, semantics: Tensor, embeddings: Tensor) -> Tensor:
        images = F.normalize(semantics.float(), dim=-1)
        return self.clip.logit_scale.exp().float() * images @ embeddings.to(images).T

    def unfamiliar(self, patches: Tensor, semantics: Tensor) -> bool:
        """Whether a picture, by its E (1, N, d_E) and F (1, d_F), is unlike all that the encoders know; never where nobody measured it."""
        return self.ood is not None and bool(self.ood.to(patches.device)(patches, semantics)[0] > 0)

    def at_norm(self, semantics: Tensor) -> Tensor:
        """Scale (B, d_F) to the norm the decoder was trained with, so that a mean of vectors or H(s) is not a weak one."""
        if self.config.semantic_norm is None:
            return semantics
        return F.normalize(semantics, dim=-1) * self.config.semantic_norm
