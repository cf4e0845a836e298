"""A UNet of a few thousand weights, with and without our attention, and numbers to put through it."""

import copy

import torch
from diffusers import UNet2DConditionModel

from assistant.diffusion.attention import install


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def stock_unet(width: int, **changes: object) -> UNet2DConditionModel:
    """Args: width: of what its cross-attention reads."""
    torch.manual_seed(0)
    return UNet2DConditionModel(**{
        "sample_size": 16, "layers_per_block": 1, "block_out_channels": (32, 64), "norm_num_groups": 8, "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("CrossAttnUpBlock2D",) * 2, "cross_attention_dim": width, **changes}).eval()


def installed(stock: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same weights behind our attention processor."""
    ours = copy.deepcopy(stock)
    install(ours)
    return ours
