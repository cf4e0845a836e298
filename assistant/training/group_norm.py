"""GroupNorm for training on a CPU in bfloat16 and channels-last memory.

oneDNN's convolutions are about twice as fast with channels last where pictures are large (the autoencoder's; a UNet of 16x16 latents
gains nothing), but PyTorch's own GroupNorm backward is five to fifteen times slower
there than it need be, and takes the gain away. This one is written with whole-tensor operations: sums over positions, then one scale
and one shift for each channel (Wu and He, 2018, arXiv 1803.08494, eq. 1 to 3, and their derivative).
"""

import torch
from torch import Tensor, nn

RUN = 64  # positions that are summed in bfloat16's own kernel (which accumulates in float32) before the sums are summed in float32


def _sums(x: Tensor) -> Tensor:
    """(B, n, C) -> (B, C), in float32."""
    batch, n, channels = x.shape
    return x.sum(1, dtype=torch.float32) if n % RUN else x.view(batch, n // RUN, RUN, channels).sum(2).float().sum(1)


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C), a view where channels come last in memory."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1])


class ChannelsLastGroupNorm(torch.autograd.Function):
    """(B, C, h, w), weight (C,), bias (C,), groups, eps -> (B, C, h, w) of the same type, channels last."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        rows, (batch, channels, h, w) = _rows(x), x.shape
        count = rows.shape[1] * channels // groups
        sums, squares = (_sums(t).view(batch, groups, -1).sum(-1, keepdim=True) / count for t in (rows, rows * rows))
        inverse = (squares - sums * sums).clamp_min(0).add(eps).rsqrt()  # (B, groups, 1)
        scale = inverse * weight.float().view(1, groups, -1)
        shift = bias.float().view(1, groups, -1) - sums * scale
        y = torch.addcmul(*(t.view(batch, 1, channels).to(x.dtype) if t is not rows else t for t in (shift, rows, scale)))
        ctx.save_for_backward(x, weight, sums, inverse)
        return y.view(batch, h, w, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight, mean, inverse = ctx.saved_tensors
        batch, channels, h, w = x.shape
        groups = mean.shape[1]
        grad, rows = _rows(grad), _rows(x)
        along, plain = (_sums(t).view(batch, groups, -1) for t in (grad * rows, grad))  # (B, groups, C / groups)
        d_weight, d_bias = ((along - plain * mean) * inverse).sum(0).view(channels), plain.sum(0).view(channels)
        scales, count = weight.float().view(1, groups, -1), rows.shape[1] * channels // groups
        along, plain = ((t * scales).sum(-1, keepdim=True) for t in (along, plain))
        by_x = (plain * mean - along) * inverse ** 3 / count
        constant = -by_x * mean - plain * inverse / count
        wide = [t.expand(batch, groups, channels // groups).reshape(batch, 1, channels).to(x.dtype) for t in (inverse * scales, by_x, constant)]
        d_x = torch.addcmul(torch.addcmul(wide[2], rows, wide[1]), grad, wide[0])
        return d_x.view(batch, h, w, channels).permute(0, 3, 1, 2), d_weight, d_bias, None, None


def use_channels_last(network: nn.Module) -> None:
    """Lay a network's kernels out with channels last and give its GroupNorms this function under bfloat16 autocast; its results stay."""
    network.to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, nn.GroupNorm) and "forward" not in vars(module):
            module.forward = _forward_of(module)


def _forward_of(norm: nn.GroupNorm):
    def forward(x: Tensor) -> Tensor:
        if x.ndim == 4 and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            return ChannelsLastGroupNorm.apply(x.to(torch.bfloat16), norm.weight, norm.bias, norm.num_groups, norm.eps)
        return nn.GroupNorm.forward(norm, x)

    return forward
