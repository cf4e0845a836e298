"""softmax(Q K^T * scale) V by the kernel that was chosen; it knows nothing of layers or rows.

"sdpa" is torch's scaled_dot_product_attention, which chooses among its own kernels by rules. The others name one kernel: which is fastest
for a shape on a card is measured (`acceleration.fit`), not known.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import ConfigError, DeviceError

_TORCHS = {
    "flash": lambda q, k, v, scale: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, False, False, scale=scale)[0],
    "efficient": lambda q, k, v, scale: torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False, 0.0, False, scale=scale)[0],
    "cudnn": lambda q, k, v, scale: torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False, 0.0, False, False, scale=scale)[0],
    "math": lambda q, k, v, scale: attend_with_map(q, k, v, scale)[0],  # in single precision: in half, large scores are infinite
}
KERNELS = ("auto", "sdpa", "xformers", *_TORCHS)


def choose(kernel: str, sample: torch.Tensor) -> str:
    """The kernel that will run on tensors like `sample`; for "auto" it is "sdpa", which runs everywhere, until a probe finds a better one.

    Raises:
        ConfigError: an unknown name.
        DeviceError: a kernel that does not run here.
    """
    if kernel not in KERNELS:
        raise ConfigError(f"There is no attention kernel '{kernel}'.", f"Choose one of {', '.join(KERNELS)}.")
    if kernel in ("auto", "sdpa"):
        return "sdpa"
    reason = refusal(kernel, sample)
    if reason:
        remedy = "Use --attention sdpa" + (", or install the xformers built for this torch on a machine with an NVIDIA GPU."
                                           if kernel == "xformers" else ".")
        raise DeviceError(f"The {kernel} attention kernels do not run on {sample.device} ({reason}).", remedy)
    return kernel


def refusal(kernel: str, sample: torch.Tensor, shape: tuple[int, int, int, int, int] = (1, 1, 8, 8, 64)) -> str:
    """Why a kernel does not run on tensors like `sample` of a shape (batch, heads, Nq, N, d); empty: it runs."""
    batch, heads, queries, tokens, width = shape
    try:
        q = torch.zeros(batch, heads, queries, width, device=sample.device, dtype=sample.dtype)
        k = torch.zeros(batch, heads, tokens, width, device=sample.device, dtype=sample.dtype)
        with torch.inference_mode():
            attend(kernel, q, k, k, width**-0.5)
        if sample.device.type == "cuda":
            torch.cuda.synchronize(sample.device)
    except (ImportError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        return type(error).__name__
    return ""


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
    if kernel == "math" and mask is None:
        return _TORCHS["math"](query, key, value, scale)
    # Called by name the others keep nothing for a gradient, and take neither masks nor values of another width than the keys'.
    if kernel in _TORCHS and mask is None and value.shape[-1] == key.shape[-1] and not torch.is_grad_enabled():
        return _TORCHS[kernel](query, key, value, scale)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def attend_with_map(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same output, and the map itself, (batch, heads, Nq, N), in single precision at least: in half, scores of large queries and keys
    are beyond what it can hold, as in Stable Diffusion 2.1, whose own configuration asks for the same."""
    at_least = torch.promote_types(query.dtype, torch.float32)
    probabilities = (query.to(at_least) @ key.to(at_least).transpose(-1, -2) * scale).softmax(dim=-1)
    return probabilities.to(value.dtype) @ value, probabilities
