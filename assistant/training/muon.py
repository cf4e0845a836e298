"""Muon (Jordan et al., 2024): momentum whose update is made near-orthogonal, for the matrices and kernels inside a network.

Torch's own takes no convolution kernels; here they are flattened to (out, in * height * width). Updates have AdamW's usual
size (Liu et al., 2025), so that both share one learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315  # the quintic of the original


def orthogonal(update: Tensor, steps: int = 5) -> Tensor:
    """(m, n) -> the same singular vectors with singular values near 1, by Newton-Schulz iteration."""
    wide = update.shape[0] <= update.shape[1]
    x = update if wide else update.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Of parameters with two dimensions or more; `momentum` is Nesterov's, `weight_decay` decoupled."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step on the gradients as they are."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                mean = state["exp_avg"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]).flatten(1))
                size = 0.2 * max(update.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view_as(p), alpha=-group["lr"] * size)
