"""The dialogues that M learns from: sampled about photos of a drawn set, as token ids, with what each reply's picture would show.

A dialogue needs no picture of its own targets: H learns F's mean given their attributes (`diffusion.Expected`), which follows from labels.
"""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path

import numpy as np

from ..config import AssistantConfig
from ..miniature.dialogues import Dialogue, dialogue
from ..mllm.prompt import PromptBuilder
from .data import COMPANION, LABELS, VIEWS, World, arrays, companion_labels, group, in_processes, labels
from .tokens import dialogue_tokenizer

TURNS = 4  # exchanges of a dialogue, at most
LINE = 384  # tokens of a dialogue without its picture, at most
SHARD = 4096  # dialogues a shard
ALONE = 0.08  # share of dialogues without a photo


def tokens_of(talk: Dialogue, builder: PromptBuilder) -> tuple[list[int], list[bool], list[int]]:
    """A dialogue as token ids, which of them are the assistant's, and where each exchange ends (the draw token or the end)."""
    ids: list[int] = []
    spoken: list[bool] = []
    ends: list[int] = []
    for e in talk.exchanges:
        asked = builder.opening(e.user, picture=False).ids
        said = builder.reply(e.reply, e.target is not None, e.plan.written())
        if len(ids) + len(asked) + len(said) > LINE:
            break
        ids += [*asked, *said]
        spoken += [False] * len(asked) + [True] * len(said)
        ends.append(len(ids) - (2 if e.target is not None else 1))
    return ids, spoken, ends


def _arrays(folder: Path, count: int, mode: str) -> dict[str, np.ndarray]:
    return arrays(folder, {"lines": (np.int16, (count, LINE)), "spoken": (np.bool_, (count, LINE)), "ends": (np.int16, (count, TURNS)),
                           "photos": (np.int32, (count,)), "targets": (np.int8, (count, TURNS, len(LABELS) + len(COMPANION)))}, mode)


def _write_shard(args: tuple) -> None:
    folder, config, count, shard, seed, pictures, of = args
    out, builder = _arrays(folder, count, "r+"), PromptBuilder(config.language, dialogue_tokenizer(config))
    rng = random.Random(f"{seed}/talks/{shard}/{of['held_out']}")
    for row in range(shard * SHARD, min(count, (shard + 1) * SHARD)):
        at = -1 if rng.random() < ALONE else int(rng.choice(pictures))
        while True:
            photo = None if at < 0 else group(of["seed"], at // VIEWS, of["held_out"])[at % VIEWS]
            talk = dialogue(rng, of["held_out"], photo=photo)
            if (talk.photo is None) == (at < 0):
                break
        ids, spoken, ends = tokens_of(talk, builder)
        out["lines"][row, :len(ids)], out["spoken"][row, :len(ids)], out["photos"][row] = ids, spoken, at
        out["ends"][row] = [*ends, *[-1] * TURNS][:TURNS]
        for k, e in enumerate(talk.exchanges[:len(ends)]):
            if e.target is not None:
                out["targets"][row, k] = [*labels(e.target), *companion_labels(e.target)]
    (folder / f"shard-{shard:05}.done").touch()


def write(folder: Path, config: AssistantConfig, world: World, count: int, seed: int, workers: int) -> None:
    """Sample `count` dialogues about the ready pictures of `world` that show one hero; shards already written are kept."""
    words = zlib.crc32(json.dumps(dialogue_tokenizer(config).get_vocab(), sort_keys=True).encode())
    about = {"count": count, "seed": seed, "world": world.about, "groups": len(world.groups), "vocabulary": words}
    note = folder / "about.json"
    if not note.exists() or json.loads(note.read_text()) != about:
        for stale in folder.glob("shard-*.done"):
            stale.unlink()
        _arrays(folder, count, "w+")["targets"][:] = -1
        note.write_text(json.dumps(about))
    pictures = [int(g) * VIEWS + v for g in world.groups for v in range(VIEWS - 1)]  # in a group's last picture there may be two
    shards = [s for s in range(-(-count // SHARD)) if not (folder / f"shard-{s:05}.done").exists()]
    in_processes(_write_shard, [(folder, config, count, s, seed, pictures, world.about) for s in shards], workers)


class Talks:
    """A written set of dialogues.

    Attributes:
        seen: rows with a photo. alone: rows without.
    """

    def __init__(self, folder: Path) -> None:
        self.arrays = _arrays(folder, json.loads((folder / "about.json").read_text())["count"], "r")
        photos = self["photos"]
        ready = np.zeros(len(photos), bool)
        for done in folder.glob("shard-*.done"):
            ready[(first := int(done.stem[6:]) * SHARD):first + SHARD] = True
        ready &= self["ends"][:, 0] >= 0  # where a dialogue was too long for the set, nothing of it is read
        self.seen, self.alone = np.flatnonzero(ready & (photos >= 0)), np.flatnonzero(ready & (photos < 0))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]
