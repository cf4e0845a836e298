"""Wishes and a method without a world or a model, for tests of what happens to sets on disk. Loads at once: no torch."""

from pathlib import Path

from PIL import Image

from assistant.data import quadruplets


def plain(number: int) -> quadruplets.Wanted:
    """A wish without a world: a grey photo; every fifth is that of the wish before it."""
    number -= number % 5 == 4
    return quadruplets.Wanted(number, Image.new("L", (4, 4), number), f"words {number}", f"line {number}", f"y {number}", "reply", {}, {})


class Echo:
    """The photo itself as its target; none for every seventh."""

    name = "echo"

    def __call__(self, photos, words, seeds):
        return [None if seed % 7 == 6 else quadruplets.Made(photo, {"seed": seed}) for photo, seed in zip(photos, seeds)]


def evenly(photos, made, lines):
    return [{"clip": int(line.split()[1]) % 2, "dino": 1.0} for line in lines]


PLAN = quadruplets.Plan("t", attempts=50, shard=8, batch=3)


def build_plain(folder: Path, wish=plain) -> None:
    quadruplets.build(folder, PLAN, wish, Echo(), evenly, lambda scores: min(scores.values()) >= 0.5, {"seed": 1}, say=lambda what: None)
