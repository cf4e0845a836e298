"""The tensors of a mix: eq. 4 for any number of sources, and E(x) of several photos. Knows no pictures and no decoder.

Why a norm is put back. F's vectors of two pictures point in different directions, so their average is shorter than either: two
of norm r with cosine c average to r sqrt((1 + c) / 2), a fifth shorter at c = 0.3, and further still with more of them. The decoder
was only ever given vectors of F's own length; a shorter one speaks more quietly in every V_H and draws paler, so that at alpha =
0.5 one would see less of both pictures rather than half of each. Hence the direction is eq. 4's and the length is the average
of the lengths that went in, each by how much it counts: where one source counts alone it is exactly that source's vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError

VANISHED = 1e-3  # share of its length below which a mix has no direction left


def blend(own: Tensor, sources: Sequence[Tensor], coefficients: Sequence[Sequence[float]]) -> Tensor:
    """sum_i a_i F(w_i) + (1 - sum_i a_i) F(x), at its sources' length.

    Args:
        own: F(x), (1, d_F). sources: F(w_i) or H(s), (1, d_F) each.
        coefficients: of each mix, 1 + len(sources) numbers, F(x)'s first; see `board_requests.coefficients`.

    Returns:
        (len(coefficients), d_F) in `own`'s dtype.

    Raises:
        InputError: the sources cancel out.
    """
    vectors = torch.cat([own, *sources]).double()  # (1 + n, d_F); in double, so that the order of sources does not tell
    weights = torch.tensor([list(row) for row in coefficients], dtype=torch.float64, device=own.device)  # (m, 1 + n)
    mixed = weights @ vectors
    counted = weights.abs() / weights.abs().sum(1, keepdim=True).clamp_min(1e-12)
    length = counted @ vectors.norm(dim=1, keepdim=True)  # (m, 1)
    found = mixed.norm(dim=1, keepdim=True)
    if bool((found <= VANISHED * length).any()):
        raise InputError("These references cancel each other out, so nothing is left to draw.", "Change a weight, or turn one off.")
    return (mixed * (length / found)).to(own.dtype)


def subject_tokens(photos: Sequence[Tensor]) -> Tensor:
    """E of one subject from several photos.

    The decoder attends to all their patches side by side, and each query finds the photo that shows what it looks for; a photo
    given twice changes nothing, for a softmax over every key twice is the same softmax.

    Args:
        photos: E(x) of each, (1, 257, d_E).

    Returns:
        (1, 257 * n, d_E) to attend to.
    """
    return torch.cat(list(photos), 1)


def subject_semantics(photos: Sequence[Tensor]) -> Tensor:
    """F(x) of one subject from several photos, (1, d_F): their mean, at their length."""
    return blend(photos[0], photos[1:], [[1.0 / len(photos)] * len(photos)])
