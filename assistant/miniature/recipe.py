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
    goes_on: bool = False  # starts from what the stage before it wrote


# The base model and CAFE's decoder share a UNet for most of their training and part at the end.
STAGES = (
    Stage("vae", "vae", "base/vae", 0.06, 16),
    Stage("dino", "dino", "dino", 0.17, 32),
    Stage("clip", "clip", "clip", 0.13, 64),
    Stage("language", "language", "llama", 0.15, 32),
    Stage("judge", "judge", "judge", 0.10, 64),
    Stage("likeness", "likeness", "judge", 0.01, 256),
    Stage("bridge", "bridge", "bridge", 0.06, 32),
    Stage("trunk", "trunk", ".", 0.22, 32),
    Stage("base", "base", "base", 0.02, 32, goes_on=True),
    Stage("cafe", "cafe", "cafe", 0.04, 32, goes_on=True),
    Stage("guess", "guess", "first_guess", 0.03, 512),
    Stage("text_reader", "text_reader", ".", 0.01, 64),
)
GROUPS = 20_480  # of three pictures each
BOOKS = 65_536  # bare heroes for the first guess's books, and about as many dressed ones
TALKS = 100_000  # dialogues without pictures
JUDGE_GROUPS = 16_384
READER_GROUPS = 6_144  # for the first guess's readers, which learn from what E, F and M have not seen
TRAIN_SEED, READER_SEED, JUDGE_SEED, EVALUATION_SEED = 1, 200_001, 900_001, 500_001
