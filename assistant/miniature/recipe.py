"""The recipe of the miniature as data: its stages in order, where each writes, how long each takes of the whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    name: str
    writes: str  # folder under the model's
    share: float  # of the minutes given to the whole recipe
    batch: int  # pictures or dialogues a step, on a GPU; --batch makes it smaller


STAGES = (
    Stage("vae", "base/vae", 0.22, 96),
    Stage("clip", "clip", 0.09, 1024),
    Stage("dino", "dino", 0.09, 256),
    Stage("language", "llama", 0.08, 128),
    Stage("judge", "judge", 0.04, 256),
    Stage("base", "base", 0.21, 512),
    Stage("bridge", "bridge", 0.06, 128),
    Stage("cafe", "cafe", 0.21, 512),
)
GROUPS = 90_000  # of three pictures each
TALKS = 90_000  # dialogues without pictures
JUDGE_GROUPS = 14_000
TRAIN_SEED, JUDGE_SEED, EVALUATION_SEED = 1, 900_001, 500_001
