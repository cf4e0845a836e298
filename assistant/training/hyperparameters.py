"""How the decoder and the bridge are trained at each size, as data: the miniature's ways, and the paper's (CAFE, section 4.1)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CafeNumbers:
    """Eq. 3."""

    lr: float = 1e-3
    batch: int = 32
    parts: int | None = None  # of a batch, at first; None: one a process
    epochs: float = 5.0  # where neither minutes nor steps are given
    dropped: float = 0.1  # probability of leaving E out, and F
    seen: int | None = 63  # patches that a step attends to, beside the class token, until near the end; None: always all
    skew: float = 0.6  # exponent of the uniform draw of timesteps; below 1 more of them are at high noise
    muon: bool = True  # for the UNet's inner matrices
    save_every: float = 60.0  # seconds between checkpoints


@dataclass(frozen=True)
class BridgeNumbers:
    """Eq. 2."""

    lr: float = 1e-3
    batch: int = 32
    parts: int | None = None
    epochs: float = 5.0
    weight: float = 0.2  # lambda
    fitted: bool = True  # H by least squares at the start and at the end
    save_every: float = 60.0


CAFE = CafeNumbers(lr=2e-5, batch=64, parts=16, seen=None, skew=1.0, muon=False, save_every=1800.0)  # of 14 GB
BRIDGE = BridgeNumbers(lr=2e-3, batch=128, parts=32, fitted=False, save_every=300.0)
