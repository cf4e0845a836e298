"""Muon (Jordan et al., 2024): momentum whose update is made near-orthogonal, for the matrices and kernels inside a network.

Torch's own takes no convolution kernels; here they are flattened to (out, in * height * width). Updates have AdamW's usual
size (Liu et al., 2025), so that both share one learning rate.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315  # the quintic of the original


def orthogonal(update: Tensor, steps: int = 5, bf16: bool = False) -> Tensor:
    """(m, n) -> the same singular vectors with singular values near 1, by Newton-Schulz iteration.

    All iterates are polynomials of one Gram matrix, so that they are carried out on it: the long side is met only twice. In bfloat16
    that would lose too much; there each iterate is a matrix of the update's own shape, as in the original.
    """
    wide = update.shape[0] <= update.shape[1]
    x = update if wide else update.T
    x = x / (x.norm() + 1e-7)
    if bf16:
        x = x.bfloat16()
        for _ in range(steps):
            gram = x @ x.T
            x = torch.addmm(x, _B * gram + _C * (gram @ gram), x, beta=_A)
        return x.to(update.dtype) if wide else x.T.to(update.dtype)
    gram = x @ x.T
    product = one = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(steps):
        factor = _A * one + _B * gram + _C * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    x = product @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Of parameters with two dimensions or more; `momentum` is Nesterov's, `weight_decay` decoupled, `bf16` the iteration's arithmetic."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01, bf16: bool = False) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.bf16 = bf16

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step on the gradients as they are. Several processes with equal gradients share the work."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            # the largest first, in turns, so that each process has as much to do
            order = sorted(range(len(params)), key=lambda i: -params[i].numel())
            owner = {i: turn % world for turn, i in enumerate(order)}
            updates = []
            for i, p in enumerate(params):
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                mean = state["exp_avg"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(mean, group["momentum"]).flatten(1)
                updates.append(orthogonal(update, bf16=self.bf16) if owner[i] == rank else torch.zeros_like(update))
            if world > 1:
                flat = torch.cat([u.flatten() for u in updates])
                dist.all_reduce(flat)
                updates = [part.view_as(u) for part, u in zip(flat.split([u.numel() for u in updates]), updates)]
            for p, update in zip(params, updates):
                size = 0.2 * max(update.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view_as(p), alpha=-group["lr"] * size)
