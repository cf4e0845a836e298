"""The recipe of the miniature as data: its stages in order, where each writes, how long each takes of the whole."""

from __future__ import annotations

from dataclasses import dataclass


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
    Stage("trunk", "trunk", ".", 0.57, 64),  # the base model and CAFE's decoder, which are one UNet
    Stage("robust", "robust", "clip", 0.03, 64),  # F reads what that draws
)
REDRAWN = 4_096  # pictures that the decoder draws again for F
GROUPS = 20_480  # of three pictures each
TALKS = 300_000  # dialogues about them
JUDGE_GROUPS = 16_384
TRAIN_SEED, JUDGE_SEED = 1, 900_001
