"""Shares with their intervals, and distances between sets of pictures. Knows no model."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Z = 1.96  # of a 95 % interval


def share(hits: Sequence[bool]) -> dict[str, float | int]:
    """Share of hits with Wilson's 95 % interval: value, low, high, count."""
    n = len(hits)
    if not n:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "count": 0}
    p, spread = sum(hits) / n, Z * Z / n
    middle = (p + spread / 2) / (1 + spread)
    half = Z * math.sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    return {"value": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "count": n}


def mean(values: Sequence[float]) -> dict[str, float | int]:
    """Mean with the normal 95 % interval: value, low, high, count."""
    x = torch.tensor(list(values), dtype=torch.float64)
    half = Z * float(x.std()) / math.sqrt(len(x)) if len(x) > 1 else math.nan
    return {"value": float(x.mean()), "low": float(x.mean()) - half, "high": float(x.mean()) + half, "count": len(x)}


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Of pictures (B, 3, H, W) in [0, 1]: decibels, (B,)."""
    return -10 * (a - b).square().mean((1, 2, 3)).clamp_min(1e-10).log10()


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of two sets of features (N, d) and (M, d), each taken for a Gaussian (Heusel et al., 2017).

    With centred A and B the trace of (S_a^1/2 S_b S_a^1/2)^1/2 is the nuclear norm of A B^T / sqrt((N - 1) (M - 1)), an N x M matrix:
    for fewer samples than dimensions, as latents have, that is exact too and far cheaper.
    """
    a, b = a.double(), b.double()
    x, y = ((t - t.mean(0)) / math.sqrt(len(t) - 1) for t in (a, b))
    if max(len(a), len(b)) < a.shape[1]:
        cross = torch.linalg.svdvals(x @ y.T).sum()
    else:
        values, vectors = torch.linalg.eigh(x.T @ x)
        root = vectors * values.clamp_min(0).sqrt() @ vectors.T
        cross = torch.linalg.eigvalsh(root @ (y.T @ y) @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + x.square().sum() + y.square().sum() - 2 * cross)


def wasserstein(a: Tensor, b: Tensor) -> float:
    """2-Wasserstein distance between Gaussians fitted to two sets (N, d) (Infusion, section 3)."""
    return math.sqrt(max(0.0, frechet(a, b)))


def fisher(base: Tensor, custom: Tensor) -> float:
    """Latent Fisher divergence (Infusion, section 3): half the mean squared distance between two models' noise predictions,
    (N, ...) each, on the same noised latents, timesteps and prompts."""
    return 0.5 * float((base.double() - custom.double()).flatten(1).square().sum(1).mean())


def found(similarity: Tensor) -> list[bool]:
    """(N, N): for each row whether its own column is its nearest."""
    return (similarity.argmax(1) == torch.arange(len(similarity))).tolist()
