"""The recipe of the miniature as data: its stages in order, where each writes, how long each takes of the whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    name: str
    writes: str  # folder under the model's
    share: float  # of the minutes given to the whole recipe
    batch: int  # pictures or dialogues a step


STAGES = (
    Stage("vae", "base/vae", 0.16, 16),
    Stage("clip", "clip", 0.08, 192),
    Stage("dino", "dino", 0.12, 32),
    Stage("language", "llama", 0.14, 32),
    Stage("judge", "judge", 0.05, 64),
    Stage("base", "base", 0.18, 32),
    Stage("bridge", "bridge", 0.05, 32),
    Stage("cafe", "cafe", 0.22, 32),
)
GROUPS = 10_240  # of three pictures each
TALKS = 40_000  # dialogues without pictures
JUDGE_GROUPS = 4_096
TRAIN_SEED, JUDGE_SEED, EVALUATION_SEED = 1, 900_001, 500_001
