"""Both views that published adapters were trained on, out of one CLIP image encoder: patch features and the global embedding. And Stable
Diffusion's safety checker, which is another.

They stand where CAFE has E(x) and F(w) of two encoders (mllm/vision.py). Knows nothing of words or requests.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .segmentation import SubjectSegmenter, cut_out, on_grey
from .vision_encoders import resize

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipVision(nn.Module):
    """The encoder, frozen.

    Args:
        encoder: a transformers `CLIPVisionModelWithProjection`.
        segmenter: of subjects; None: they are seen with all that is around them.
    """

    def __init__(self, encoder: nn.Module, segmenter: SubjectSegmenter | None = None) -> None:
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
        return self._encode(_normalised(on_grey(pixels), self.side))

    def alone(self, pixels: Tensor, words: str = "") -> Tensor | None:
        """As E(x) in `look`, (1, 257, d_E), of the subject that `words` name, or of anything, cut out of (1, 3, H, W); None: it was not found."""
        tries = dict.fromkeys((words, "")) if self.segmenter is not None else ()
        found = next((cut for one in tries if (cut := cut_out(pixels, self.segmenter.mask(pixels, one))) is not None), None)
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

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.side = model, model.config.vision_config.image_size

    @torch.no_grad()
    def unsafe(self, pictures: np.ndarray) -> Sequence[bool]:
        """Of each of uint8 RGB (B, H, W, 3)."""
        x = torch.from_numpy(pictures).to(self.model.device).permute(0, 3, 1, 2).float() / 255
        return self.model.forward_onnx(_normalised(x, self.side).to(self.model.dtype), x.new_zeros(len(x)))[1].tolist()


def _normalised(pixels: Tensor, side: int) -> Tensor:
    mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (resize(pixels, side) - mean) / std
