"""How the miniature is trained, stage by stage, and the decoder and the bridge at each size, as data: the miniature's ways, and the paper's (CAFE, section 4.1)."""

from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Stage:
    name: str
    task: str  # what is trained
    writes: str  # folder under the model's
    share: float  # of the minutes given to the whole recipe
    batch: int  # pictures or dialogues a step


STAGES = (
    Stage("vae", "vae", "base/vae", 0.06, 24),
    Stage("dino", "dino", "dino", 0.09, 32),
    Stage("clip", "clip", "clip", 0.07, 64),
    Stage("language", "language", ".", 0.08, 32),
    Stage("judge", "judge", "judge", 0.06, 64),
    Stage("likeness", "likeness", "judge", 0.01, 256),
    Stage("bridge", "bridge", "bridge", 0.03, 32),
    Stage("trunk", "trunk", ".", 0.50, 64),  # the base model and CAFE's decoder, which are one UNet
    Stage("sharp", "sharp", "base/vae", 0.07, 16),  # the autoencoder's decoder, on what that leaves
    Stage("robust", "robust", "clip", 0.03, 64),  # F reads what that draws
)
REDRAWN = 4_096  # pictures that the decoder draws again, for its own last stage and for what reads it
GROUPS = 20_480  # of three pictures each
TALKS = 300_000  # dialogues about them
JUDGE_GROUPS = 16_384
TRAIN_SEED, JUDGE_SEED = 1, 900_001


@dataclass(frozen=True)
class CafeNumbers:
    """Eq. 3."""

    lr: float = 1e-3
    batch: int = 32
    parts: int | None = None  # of a batch, at first; None: one a process
    epochs: float = 5.0  # where neither minutes nor steps are given
    dropped: float = 0.1  # probability of leaving E out, and F
    skew: float = 0.6  # exponent of the uniform draw of timesteps; below 1 more of them are at high noise
    middle: float = 0.4  # share of timesteps drawn in the middle instead (`VLoss`)
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


CAFE = CafeNumbers(lr=2e-5, batch=64, parts=16, skew=1.0, middle=0.0, muon=False, save_every=1800.0)  # of 14 GB
BRIDGE = BridgeNumbers(lr=2e-3, batch=128, parts=32, fitted=False, save_every=300.0)
CARDS = {"H100": 989.0, "A100": 312.0, "L40S": 362.0, "4090": 165.0}  # dense bfloat16 TFLOP/s, as their maker states them


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    samples: int = 1_000_000  # quadruplets that a filter kept, the paper's number
    epochs: float = CAFE.epochs
    keep: float = 0.5  # share of targets that it keeps
    card: str = "H100"
    share: float = 0.4  # of its peak that training reaches
    part: int = 4  # samples in memory at once

    def __post_init__(self) -> None:
        if self.card not in CARDS:
            raise ConfigError(f"The card {self.card!r} is not known.", f"Choose one of: {', '.join(CARDS)}.")
        if not (self.samples > 0 and self.epochs > 0 and 0 < self.keep <= 1 and 0 < self.share <= 1 and self.part > 0):
            raise ConfigError(f"Samples are {self.samples}, epochs {self.epochs}, part {self.part}, keep {self.keep:g}, share {self.share:g}; "
                              "all must be above 0, keep and share at most 1.", "Change what is out of range.")
