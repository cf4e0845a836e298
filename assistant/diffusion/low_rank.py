"""A UNet's layers with a published LoRA beside them (Hu et al., 2021, arXiv 2106.09685): W x + alpha / r up(down(x)), for one drawing at a time.

LCM-LoRA (Luo et al., 2023, arXiv 2311.05556) is one: with it four to eight steps are enough, without guidance. It is not fused, so that other paces and what is
learned go on with the weights as they are. Knows no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError

_REMEDY = "Take the LoRA that the preset names, made for its base model."


class LowRank(nn.Module):
    """The LoRA, hooked onto a UNet's linear and convolutional layers; silent but inside `applied`.

    Args:
        tensors: of its file, named as kohya's: lora_unet_<layer's name, dots as underscores> with .lora_down.weight (r, in, ...), .lora_up.weight (out, r, ...) and
            .alpha.
        what: names the file.

    Raises:
        WeightsError: a tensor that is missing, of another shape, not finite, or of no layer.
    """

    def __init__(self, unet: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
        super().__init__()
        self.active, self.down, self.up = False, nn.ParameterList(), nn.ParameterList()
        layers = {f"lora_unet_{name.replace('.', '_')}": layer for name, layer in unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
        left = dict(tensors)
        for name in [key.removesuffix(".lora_down.weight") for key in tensors if key.endswith(".lora_down.weight")]:
            down, up = left.pop(f"{name}.lora_down.weight"), left.pop(f"{name}.lora_up.weight", None)
            alpha, layer = left.pop(f"{name}.alpha", None), layers.get(name)
            if layer is None or up is None or down.shape[1:] != layer.weight.shape[1:] or up.flatten(1).shape != (layer.weight.shape[0], down.shape[0]):
                raise WeightsError(f"In the LoRA {what}, {name} does not fit this base model.", _REMEDY)
            up = up.float() * (1.0 if alpha is None else float(alpha) / down.shape[0])
            if not bool(down.isfinite().all() and up.isfinite().all()):
                raise WeightsError(f"In the LoRA {what}, {name} holds numbers that are not finite.", "Download the file again.")
            layer.register_forward_hook(self._beside(len(self.down)))
            self.down.append(nn.Parameter(down, requires_grad=False))
            self.up.append(nn.Parameter(up.to(down.dtype), requires_grad=False))
        if left or not len(self.down):
            raise WeightsError(f"The LoRA {what} holds {next(iter(left), 'nothing')}, which no layer has a use for.", _REMEDY)

    def _beside(self, number: int) -> Any:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            if not self.active:
                return None
            down, up = self.down[number], self.up[number]
            if isinstance(layer, nn.Conv2d):
                low = F.conv2d(given[0], down, None, layer.stride, layer.padding, layer.dilation)
                return out + F.conv2d(low, up)
            return out + F.linear(F.linear(given[0], down), up)

        return hook

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Meanwhile the UNet computes with it."""
        self.active = True
        try:
            yield
        finally:
            self.active = False
