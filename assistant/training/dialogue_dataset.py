"""The dialogues that M learns from: sampled about photos of a drawn set, as token ids, with what each reply's picture would show.

A dialogue needs no picture of its own targets: H learns F's mean given their attributes (`losses.ConditionalMean`), which follows from labels.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import AssistantConfig
from ..dialogue_state import lines_of, stood
from ..plan import WORD
from ..requests import Turn
from ..world.captions import plan_of
from ..world.dialogues import Dialogue, dialogue
from ..models.chat_template import PromptBuilder
from .world_dataset import COMPANION, LABELS, VIEWS, WorldDataset, arrays, companion_labels, group, in_processes, labels
from .tokenizer_paths import dialogue_tokenizer

TURNS = (30, 22, 18, 14, 8, 5, 3)  # weights of the numbers of exchanges of a dialogue
LINE = 384  # tokens of a dialogue without its picture, at most
SHARD = 2048  # dialogues a shard
ALONE = 0.06  # share of dialogues without a photo
LOOKS = 0.1  # share of rows that end with what the photo shows
PLANS = 0.6  # share of rows that end with the operations of their last picture, before its words
WEIGHTS = {"plan": 4, "seen": 2, "words": 1}  # how much a token of each counts: of the words, most could be others as well


@dataclass
class Row:
    """Token ids, how much each counts in the loss (0: M does not say it), and where the learnable token takes an id's place, -1: nowhere."""

    ids: list[int]
    counts: list[int]
    token_at: int = -1

    def add(self, ids: Sequence[int], count: int = 0) -> None:
        self.ids += ids
        self.counts += [count] * len(ids)


def row_of(talk: Dialogue, builder: PromptBuilder, plans_only: bool = False) -> Row:
    """A dialogue as M reads it at its last exchange: of pictures before that the plans, not the words, and of what was before the last few
    exchanges what stood after them. `plans_only`: it ends with the operations of the last picture, if it has any."""
    turns = [Turn(e.user, e.reply, drew=e.target is not None, plan=e.plan) for e in talk.exchanges]
    before = stood(turns, plan_of(talk.photo) if talk.photo is not None else None)
    first, w = max(0, len(turns) - builder.config.plan_turns), WEIGHTS
    while True:
        row = Row([], [])
        for k in range(first, len(turns)):
            turn, last = turns[k], k == len(turns) - 1
            seen = before[k].written() if k == first and before[k] is not None else ""
            asked, look = builder.opening(turn.user, True, seen=seen), len(builder.plan(seen))
            row.add(asked.ids)
            if k == first == 0:
                row.counts[asked.picture:asked.picture + look] = [w["seen"]] * look
            lines = lines_of(turn.plan, before[k])
            row.add(builder.plan(lines[0]), w["plan"])
            if last and plans_only and turn.drew and turn.plan.change:
                break
            row.add(builder.plan(*lines[1:]))
            row.add(builder.reply("" if turn.drew and not last else turn.reply, turn.drew), w["words"] if last or not turn.drew else 0)
            if last and turn.drew:  # the learnable token stands in the end's place
                row.token_at, row.counts[-1] = len(row.ids) - 1, 0
        if len(row.ids) <= LINE or first == len(turns) - 1:
            return row
        first += 1


def _arrays(folder: Path, count: int, mode: str) -> dict[str, np.ndarray]:
    return arrays(folder, {"lines": (np.int16, (count, LINE)), "counts": (np.uint8, (count, LINE)), "lengths": (np.int16, (count,)),
                           "token_at": (np.int16, (count,)), "photos": (np.int32, (count,)), "targets": (np.int8, (count, len(LABELS) + len(COMPANION)))}, mode)


def _write_shard(args: tuple) -> None:
    folder, config, count, shard, seed, pictures, of = args
    out, builder = _arrays(folder, count, "r+"), PromptBuilder(config.language, dialogue_tokenizer(config))
    rng = random.Random(f"{seed}/talks/{shard}/{of['held_out']}")
    for at in range(shard * SHARD, min(count, (shard + 1) * SHARD)):
        picture = -1 if rng.random() < ALONE else int(rng.choice(pictures))
        while True:
            photo = None if picture < 0 else group(of["seed"], picture // VIEWS, of["held_out"])[picture % VIEWS]
            talk = dialogue(rng, of["held_out"], rng.choices(range(1, len(TURNS) + 1), TURNS)[0], photo, quiet=True)
            if (talk.photo is None) == (picture < 0):
                break
        row = row_of(talk, builder, rng.random() < PLANS)
        if photo is not None and rng.random() < LOOKS:
            asked = builder.opening("", True, seen=plan_of(photo).written())
            end = asked.picture + len(builder.plan(plan_of(photo).written()))
            row = Row([*asked.ids[:end]], [0] * asked.picture + [WEIGHTS["seen"]] * (end - asked.picture))
        length = min(len(row.ids), LINE)
        out["lines"][at, :length], out["counts"][at, :length], out["lengths"][at] = row.ids[:length], row.counts[:length], length
        out["photos"][at], out["token_at"][at] = picture, row.token_at if row.token_at < length else -1
        if out["token_at"][at] >= 0:
            target = talk.exchanges[-1].target
            out["targets"][at] = [*labels(target), *companion_labels(target)]
    (folder / f"shard-{shard:05}.done").touch()


def write(folder: Path, config: AssistantConfig, world: WorldDataset, count: int, seed: int, workers: int) -> None:
    """Sample `count` dialogues about the ready pictures of `world` that show one hero; shards already written are kept."""
    words = zlib.crc32(json.dumps(dialogue_tokenizer(config).get_vocab(), sort_keys=True).encode())
    about = {"count": count, "seed": seed, "world": world.about, "groups": len(world.groups), "vocabulary": words}
    note = folder / "about.json"
    if not note.exists() or json.loads(note.read_text()) != about:
        for stale in folder.glob("shard-*.done"):
            stale.unlink()
        _arrays(folder, count, "w+")
        note.write_text(json.dumps(about))
    pictures = [int(g) * VIEWS + v for g in world.groups for v in range(VIEWS - 1)]  # in a group's last picture there may be two
    shards = [s for s in range(-(-count // SHARD)) if not (folder / f"shard-{s:05}.done").exists()]
    in_processes(_write_shard, [(folder, config, count, s, seed, pictures, world.about) for s in shards], workers)


class DialogueDataset:
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
        self.seen, self.alone = np.flatnonzero(ready & (photos >= 0)), np.flatnonzero(ready & (photos < 0))

    def taught(self, tokenizer: Any) -> list[str]:
        """Every word that a reply of the set says, in lower case, sorted."""
        said = (tokenizer.decode(line[count == WEIGHTS["words"]]) for line, count in zip(self["lines"], self["counts"]))
        return sorted({word for text in said for word in WORD.findall(text.lower())})

    def padded(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """`lines` and `spoken` of rows, as long as the longest of them."""
        longest = int(self["lengths"][rows].max())
        return {"lines": torch.from_numpy(self["lines"][rows, :longest].astype(np.int64)), "spoken": torch.from_numpy(self["counts"][rows, :longest].astype(np.float32))}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]
