"""Writes an AutoencoderKL encoder by hand: its latents are the principal components of 8 x 8 pixel patches.

On two cores a learned encoder is the long pole, and whatever is trained on its latents must wait for it and starts anew
when it changes. A linear one needs no training and never moves; the decoder, which is learned, can get better for ever.

The stock encoder is not linear: it ends in GroupNorm and SiLU. Each of its last groups therefore also holds large constants
(+-REFERENCE), which make the group's mean and spread constants, and each component comes with its negative, which keeps the
mean at zero; a shift of SHIFT carries everything into SiLU's linear part, and the last layer takes it off again.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

REFERENCE, SHIFT = 200.0, 16.0


def principal(patches: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, d) -> the `count` leading principal directions (count, d) and their standard deviations (count,). Not centred."""
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    return vectors.flip(1)[:, :count].T.contiguous(), values.flip(0)[:count].clamp_min(1e-12).sqrt()


def channel_weights(latents: Tensor) -> Tensor:
    """(N, C, h, w) latents -> (C,): how much an error in each channel counts, the root of its share of the variance."""
    spread = latents.float().var((0, 2, 3))
    return (spread / spread.mean()).sqrt()


def _blocks(x: Tensor) -> Tensor:
    """(B, H, W, c) -> (B, H/2, W/2, 4 c): the four positions of each 2 x 2 block, row by row."""
    return torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)


def _down(conv: nn.Conv2d, matrix: Tensor) -> None:
    """Let a stride-2 convolution apply `matrix`, (out, 4 * in), to each 2 x 2 block."""
    out, width = matrix.shape[0], matrix.shape[1] // 4
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        conv.weight[:out, :width, i, j] = matrix[:, k * width:(k + 1) * width]


@torch.no_grad()
def write_encoder(vae: AutoencoderKL, images: np.ndarray) -> float:
    """Set the encoder's weights from example pictures; returns the share of variance that the latents keep.

    Args:
        vae: four levels, one layer a block, no middle attention, latents at an eighth of the side.
        images: (N, H, W, 3) uint8.
    """
    encoder, count = vae.encoder, vae.config.latent_channels
    for parameter in [*encoder.parameters(), *vae.quant_conv.parameters()]:
        parameter.zero_()  # every residual block is the identity
    x = torch.from_numpy(images).float() / 127.5 - 1
    first = _blocks(x)  # (N, 64, 64, 12)
    second, third = encoder.down_blocks[1], encoder.down_blocks[2]
    width = second.downsamplers[0].conv.out_channels
    four = _blocks(first)  # (N, 32, 32, 48)
    a, _ = principal(four.flatten(0, 2), min(width, 48))
    eight = _blocks(four @ a.T)
    b, spread = principal(eight.flatten(0, 2), count)
    kept = float(spread.square().sum() / (x.square().mean() * 192))
    b = b / (eight.flatten(0, 2) @ b.T).std()
    found = eight.flatten(0, 2) @ b.T

    encoder.conv_in.weight[:3, :, 1, 1] = torch.eye(3)
    _down(encoder.down_blocks[0].downsamplers[0].conv, torch.eye(12))
    second.resnets[0].conv_shortcut.weight[:12, :12, 0, 0] = torch.eye(12)
    _down(second.downsamplers[0].conv, a)
    third.resnets[0].conv_shortcut.weight[:len(a), :len(a), 0, 0] = torch.eye(len(a))

    norm, groups = encoder.conv_norm_out, encoder.conv_norm_out.num_groups
    each, mine = norm.num_channels // groups, -(-count // groups)  # channels and components of a group
    last = third.downsamplers[0].conv
    matrix, references = torch.zeros(norm.num_channels, b.shape[1]), each - 2 * mine
    norm.bias.fill_(SHIFT)
    for k in range(count):
        at = (k // mine) * each + 2 * (k % mine)
        matrix[at], matrix[at + 1] = b[k], -b[k]
        norm.weight[at] = REFERENCE * (references / each) ** 0.5
        encoder.conv_out.weight[k, at, 1, 1] = 1.0
    for g in range(groups):
        for r in range(references):
            last.bias[g * each + 2 * mine + r] = REFERENCE if r % 2 == 0 else -REFERENCE
    _down(last, matrix)
    encoder.conv_out.bias[:count], encoder.conv_out.bias[count:] = -SHIFT, -30.0
    # Half of the differences in spread, as powers go, are left to them: with all of them a sampler settles the coarse
    # components in its first two or three steps, grain and all; with none the finest count as much as the coarsest.
    gain = torch.ones(2 * count)
    gain[:count] = found.std(0).rsqrt()
    vae.quant_conv.weight[:, :, 0, 0] = gain.diag()
    vae.quant_conv.bias[:count] = -gain[:count] * found.mean(0)
    return kept


@torch.no_grad()
def as_linear(vae: AutoencoderKL, pixels: Tensor) -> tuple[Tensor, Tensor] | None:
    """The matrix (192, C) and bias (C,) that the encoder of `vae` is, or None if it is not linear in 8 x 8 patches.

    Args:
        pixels: a few example pictures, (B, 3, H, W) in [-1, 1].
    """
    z = vae.encode(pixels).latent_dist.mean.movedim(1, -1).flatten(0, 2)
    x = patches_of(pixels)
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    fit = torch.linalg.lstsq(x.cpu(), z.cpu()).solution.to(x)
    return (fit[:-1], fit[-1]) if (x @ fit - z).std() < 1e-3 * z.std() else None


def encode_linear(pixels: Tensor, linear: tuple[Tensor, Tensor]) -> Tensor:
    """(B, 3, H, W) in [-1, 1] and what `as_linear` found -> latents (B, C, H/8, W/8)."""
    side = [n // 8 for n in pixels.shape[2:]]
    return (patches_of(pixels) @ linear[0] + linear[1]).unflatten(0, (len(pixels), *side)).movedim(-1, 1)


def patches_of(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B * H/8 * W/8, 192)."""
    return pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
