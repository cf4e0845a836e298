"""Builds a set of quadruplets: wishes -> a method's targets -> the filter -> shards, by one process or many, from where it stopped.

A shard is a fixed run of wishes and follows from the settings alone, so that any process may build any shard and a shard that is
there is never built again. What was not kept leaves its scores, so that the distributions can be drawn. Knows no torch.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from ..files import SHARED, add_line, write_whole
from ..image_io import write_png
from .shards import Quadruplet, begin, digest, process, shard_name, write_manifest, write_shard
from .instructions import Wanted

@dataclass(frozen=True)
class Made:
    """A target, and what its method noted of how it came about."""

    picture: Image.Image
    told: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """`name` is written into every sample; None: no picture for this photo."""

    name: str

    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> Sequence[Made | None]: ...


# photos, targets, instruction lines -> "clip" and "dino" of each
Scorer = Callable[[Sequence[Image.Image], Sequence[Image.Image], Sequence[str]], list[dict[str, float]]]


@dataclass(frozen=True)
class Plan:
    """How large a set is and how its work is cut."""

    name: str  # the first part of every key
    attempts: int  # wishes, of which the filter keeps some
    first: int = 0  # number of the first wish
    shard: int = 128  # wishes a shard
    batch: int = 16  # wishes a call of the method

    @property
    def shards(self) -> int:
        return -(-self.attempts // self.shard)


def build(folder: Path, plan: Plan, wish: Callable[[int], Wanted], method: Method, score: Scorer, keeps: Callable[[dict[str, float]], bool],
          settings: Mapping[str, Any], say: Callable[[str], None] = print) -> None:
    """Build what is missing of the set in `folder`; several processes (`shards.process`) take turns at the shards.

    Args:
        wish: its number -> the wish.
        settings: all that the set follows from, beside `plan` and the method's name.

    Raises:
        ConfigError: `folder` holds a set of other settings.
    """
    cut = {"name": plan.name, "attempts": plan.attempts, "first": plan.first, "shard": plan.shard, "method": method.name}
    begin(folder, {**cut, **settings})
    rank, world = process()
    for number in range(rank, plan.shards, world):
        if (folder / shard_name(number)).exists():
            continue
        started = time.monotonic()
        wishes = range(plan.first + number * plan.shard, plan.first + min(plan.attempts, (number + 1) * plan.shard))
        kept, seen = [], []
        for start in range(0, len(wishes), plan.batch):
            for sample, found in _some(plan.name, wishes[start:start + plan.batch], wish, method, score, keeps):
                seen.append(found)
                kept += [sample] if sample else []
        write_whole(folder / f"scores-{number:05}.json", (json.dumps(seen) + "\n").encode(), SHARED)
        add_line(folder / "log.jsonl", {"shard": number, "attempts": len(wishes), "kept": len(kept), "seconds": round(time.monotonic() - started, 2), "rank": rank})
        write_shard(folder, number, kept)  # last: a shard that is there is done
        say(f"{plan.name} shard {number + 1} of {plan.shards}: {len(kept)} of {len(wishes)} kept")
    if not (folder / "manifest.json").exists():
        write_manifest(folder, plan.shards)


def _some(name: str, numbers: Sequence[int], wish: Callable[[int], Wanted], method: Method, score: Scorer,
          keeps: Callable[[dict[str, float]], bool]) -> Iterator[tuple[Quadruplet | None, dict[str, Any]]]:
    """Of each wish its sample, if it is kept, and its scores."""
    wanted = [wish(n) for n in numbers]
    made = method([w.photo for w in wanted], [w.words for w in wanted], [w.seed for w in wanted])
    there = [(n, w, m) for n, w, m in zip(numbers, wanted, made) if m is not None]
    found = score([w.photo for _, w, _ in there], [m.picture for _, _, m in there], [w.line for _, w, _ in there]) if there else []
    for (n, w, m), scored in zip(there, found):
        key, good = f"{name}-{n:07}", keeps(scored)
        sample = None
        if good:
            photo, target = write_png(w.photo), write_png(m.picture)
            about = {"y": w.y, "reply": w.reply, "words": w.words, "line": w.line, "seed": w.seed, "method": method.name, "told": dict(m.told),
                     "scores": scored, "photo": w.who, "asked": w.asked, "sha256": {"photo": digest(photo), "target": digest(target)}}
            sample = Quadruplet(key, photo, target, about)
        yield sample, {"key": key, "kept": good, **scored}


def all_scores(folder: Path) -> list[dict[str, Any]]:
    """Key, scores, and whether it was kept, of every target that was made."""
    return [line for path in sorted(folder.glob("scores-*.json")) for line in json.loads(path.read_text())]


def cost(folder: Path) -> dict[str, float | int]:
    """Attempts, samples kept, and the seconds that all processes together spent on them."""
    lines = {line["shard"]: line for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines())}
    return {"attempts": sum(line["attempts"] for line in lines.values()), "kept": sum(line["kept"] for line in lines.values()),
            "seconds": round(sum(line["seconds"] for line in lines.values()), 1)}
