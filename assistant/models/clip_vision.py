"""Both views that published adapters were trained on, out of one CLIP image encoder: patch features and the global embedding.

They stand where CAFE has E(x) and F(w) of two encoders (mllm/vision.py). Knows nothing of words or requests.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .vision_encoders import resize

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipVision(nn.Module):
    """The encoder, frozen.

    Args:
        encoder: a transformers `CLIPVisionModelWithProjection`.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.side = encoder, encoder.config.image_size

    @property
    def encoders(self) -> tuple[nn.Module, ...]:
        """What takes up memory, and is called."""
        return (self.encoder,)

    doors = encoders

    def _encode(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.encoder(normalised.to(self.encoder.dtype), output_hidden_states=True)
        return seen.hidden_states[-2], seen.image_embeds

    @torch.no_grad()
    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1] -> what stands for E(x), the last but one layer's states (B, 257, d_E), class token first, and F(x), (B, d_F)."""
        mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        return self._encode((resize(pixels, self.side) - mean) / std)

    @torch.no_grad()
    def nothing(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """What an unconditional row sees, as diffusers' pipelines have it: the states of an input of zeros, (1, 257, d_E), and a vector
        of zeros, (1, d_F)."""
        states, vector = self._encode(torch.zeros(1, 3, self.side, self.side, device=device))
        return states, torch.zeros_like(vector)
