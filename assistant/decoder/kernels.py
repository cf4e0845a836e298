"""softmax(Q K^T * scale) V by the kernel that was chosen; it knows nothing of layers or rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from assistant.errors import ConfigError, DeviceError

KERNELS = ("auto", "sdpa", "xformers")


def choose(kernel: str, sample: torch.Tensor) -> str:
    """The kernel that will run on tensors like `sample`: "sdpa" (also for "auto", it runs everywhere) or "xformers".

    Raises:
        ConfigError: an unknown name.
        DeviceError: xformers asked for where its kernels do not run.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"There is no attention kernel '{kernel}'.", f"Choose one of {', '.join(KERNELS)}.")
    if kernel != "xformers":
        return "sdpa"
    try:
        from xformers.ops import memory_efficient_attention

        probe = torch.zeros(1, 8, 1, 64, device=sample.device, dtype=sample.dtype)
        memory_efficient_attention(probe, probe, probe)
    except (ImportError, OSError, NotImplementedError, RuntimeError) as error:
        raise DeviceError(
            f"The xformers attention kernels do not run on {sample.device} ({type(error).__name__}).",
            "Use --attention sdpa, or install the xformers built for this torch on a machine with an NVIDIA GPU.",
        ) from error
    return "xformers"


def attend(
    kernel: str,
    query: torch.Tensor,  # (batch, heads, Nq, d)
    key: torch.Tensor,  # (batch, heads, N, d)
    value: torch.Tensor,  # (batch, heads, N, dv)
    scale: float,
    mask: torch.Tensor | None = None,  # added to the scores, broadcast to (batch, heads, Nq, N)
) -> torch.Tensor:  # (batch, heads, Nq, dv)
    """Attention without its map."""
    if kernel == "xformers":
        from xformers.ops import memory_efficient_attention

        q, k, v = (t.transpose(1, 2) for t in (query, key, value))  # (batch, N, heads, d), as xformers wants it
        return memory_efficient_attention(q, k, v, attn_bias=mask, scale=scale).transpose(1, 2)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def attend_with_map(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same output, and the map itself, (batch, heads, Nq, N)."""
    probabilities = (query @ key.transpose(-1, -2) * scale).softmax(dim=-1)
    return probabilities @ value, probabilities
