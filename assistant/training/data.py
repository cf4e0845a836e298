"""The training set: drawn by many processes into memory-mapped arrays, ready shard by shard while it still grows.

Group g holds three pictures of one individual. Even groups come from a dialogue (its photo and its first targets), odd
ones are free scenes; in the last picture of a group, if it is free, a second hero may stand beside it. Everything about a group follows from (seed, g), so a set that is lost is drawn again, byte for byte.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..config import AssistantConfig
from ..miniature.captions import caption
from ..miniature.dialogues import Dialogue, dialogue
from ..miniature.reading import read
from ..miniature.renderer import render
from ..miniature.world import (ACCESSORIES, COLOURS, CONTEXTS, EYES, KINDS, LIGHTS, PAIRS, PATTERNS, POSES, STYLES, Scene,
                               sample_individual, sample_scene, with_companion)
from ..mllm.prompt import PromptBuilder
from .tokens import caption_tokenizer, dialogue_tokenizer

VIEWS = 3  # pictures in a group
CAPTIONS = 4  # captions of a picture
SHARD = 256  # groups a shard
TURNS = 3  # exchanges of a dialogue, at most
LINE = 224  # tokens of a dialogue without its picture, at most
COMPANION = ("kind", "colour", "second", "pattern")  # what is noted of a second hero; -1 where there is none
LABELS = ("kind", "colour", "second", "pattern", "context", "light", "style", "pose", "eyes", *ACCESSORIES)


@dataclass(frozen=True)
class Group:
    """Three scenes of one individual; the dialogue that asked for them in even groups."""

    scenes: tuple[Scene, ...]
    dialogue: Dialogue | None


def group(seed: int, index: int, held_out: bool = False) -> Group:
    rng = random.Random(f"{seed}/{index}/{held_out}")
    if index % 2:
        who = sample_individual(rng, held_out)
        first = [sample_scene(rng, who, None if held_out else False) for _ in range(VIEWS)]
        return Group((*first[:-1], _last(rng, first[-1], held_out)), None)
    while True:
        talk = dialogue(rng, held_out)
        if talk.photo is not None:
            break
    scenes = [talk.photo, *dict.fromkeys(e.target for e in talk.exchanges if e.target is not None)][:VIEWS]
    free = len(scenes) < VIEWS
    while len(scenes) < VIEWS:
        scenes.append(sample_scene(rng, talk.photo.individual, None if held_out else False))
    return Group((*scenes[:-1], _last(rng, scenes[-1], held_out) if free else scenes[-1]), talk)


def _last(rng: random.Random, scene: Scene, held_out: bool) -> Scene:
    return with_companion(rng, scene, held_out) if rng.random() < PAIRS else scene


def talk_of(rng: random.Random, held_out: bool = False) -> Dialogue:
    """A dialogue without its pictures; two in three first name a place, a pose or a thing to wear, whose words are many and each rare."""
    pointed = rng.random() < 2 / 3
    while True:
        talk = dialogue(rng, held_out)
        if not pointed or read(talk.exchanges[0].user).keys() & {"context", "pose", "accessories"}:
            return talk


def labels(scene: Scene) -> list[int]:
    """Class numbers in the order of LABELS; accessories: 0 absent, else 1 + colour."""
    who, colours = scene.individual, tuple(COLOURS)
    worn = {a.name: 1 + colours.index(a.colour) for a in scene.accessories}
    return [KINDS.index(who.kind), colours.index(who.colour), colours.index(who.second), PATTERNS.index(who.pattern),
            CONTEXTS.index(scene.context), LIGHTS.index(scene.light), STYLES.index(scene.style), POSES.index(scene.pose),
            EYES.index(who.eyes), *(worn.get(a, 0) for a in ACCESSORIES)]


def tokens_of(talk: Dialogue, builder: PromptBuilder) -> tuple[list[int], list[bool], list[int]]:
    """A dialogue as token ids, which of them are the assistant's, and where each exchange ends (the draw token or the end)."""
    ids: list[int] = []
    spoken: list[bool] = []
    ends: list[int] = []
    for e in talk.exchanges:
        asked = builder.opening(e.user, picture=False).ids
        said = builder.reply(e.reply, e.target is not None)
        if len(ids) + len(asked) + len(said) > LINE:
            break
        ids += [*asked, *said]
        spoken += [False] * len(asked) + [True] * len(said)
        ends.append(len(ids) - (2 if e.target is not None else 1))
    return ids, spoken, ends


def _arrays(folder: Path, config: AssistantConfig, groups: int, talks: int, mode: str) -> dict[str, np.ndarray]:
    side, context = config.decoder.image_size, config.decoder.text["max_position_embeddings"]
    pictures, lines = groups * VIEWS, groups + talks
    shapes = {
        "images": (np.uint8, (pictures, side, side, 3)), "masks": (np.uint8, (pictures, side // 8, side // 8)),
        "companion_masks": (np.uint8, (pictures, side // 8, side // 8)), "companion_labels": (np.int8, (pictures, len(COMPANION))),
        "captions": (np.int16, (pictures, CAPTIONS, context)), "labels": (np.int8, (pictures, len(LABELS))),
        "lines": (np.int16, (lines, LINE)), "spoken": (np.bool_, (lines, LINE)), "ends": (np.int16, (lines, TURNS)),
        "views": (np.int8, (lines, TURNS))}
    folder.mkdir(parents=True, exist_ok=True)
    return {k: np.lib.format.open_memmap(folder / f"{k}.npy", mode=mode, dtype=d, shape=s) if mode != "r" else
            np.load(folder / f"{k}.npy", mmap_mode="r") for k, (d, s) in shapes.items()}


def _line(out: dict[str, np.ndarray], row: int, talk: Dialogue, scenes: tuple[Scene, ...], builder: PromptBuilder) -> None:
    ids, spoken, ends = tokens_of(talk, builder)
    out["lines"][row, :len(ids)], out["spoken"][row, :len(ids)] = ids, spoken
    out["ends"][row] = [*ends, *[-1] * (TURNS - len(ends))][:TURNS]
    targets = [e.target for e in talk.exchanges]
    out["views"][row] = [scenes.index(t) if t is not None and t in scenes else -1 for t in targets] + [-1] * (TURNS - len(targets))


def _small(mask: Image.Image, side: int) -> np.ndarray:
    return np.asarray(mask.resize((side, side), Image.Resampling.BOX))


def _draw_shard(args: tuple) -> int:
    folder, config, seed, shard, groups, talks, held_out = args
    out = _arrays(folder, config, groups, talks, "r+")
    small, builder = caption_tokenizer(config), PromptBuilder(config.language, dialogue_tokenizer(config))
    side, context = config.decoder.image_size, config.decoder.text["max_position_embeddings"]
    for g in range(shard * SHARD, min(groups, (shard + 1) * SHARD)):
        one = group(seed, g, held_out)
        rng = random.Random(f"{seed}/{g}/words")
        for v, scene in enumerate(one.scenes):
            drawn, at = render(scene, side), g * VIEWS + v
            out["images"][at] = np.asarray(drawn.image)
            out["masks"][at] = _small(drawn.mask, side // 8)
            out["labels"][at] = labels(scene)
            out["companion_labels"][at] = -1
            if scene.companion is not None:
                out["companion_masks"][at] = _small(drawn.companion_mask, side // 8)
                out["companion_labels"][at] = labels(replace(scene, individual=scene.companion))[:len(COMPANION)]
            texts = [caption(scene, rng).lower() for _ in range(CAPTIONS)]
            out["captions"][at] = small(texts, padding="max_length", truncation=True, max_length=context)["input_ids"]
        if one.dialogue is not None:
            _line(out, g, one.dialogue, one.scenes, builder)
    rng = random.Random(f"{seed}/talk/{shard}/{held_out}")
    for row in range(shard * talks * SHARD // groups, min(talks, (shard + 1) * talks * SHARD // groups)):
        _line(out, groups + row, talk_of(rng, held_out), (), builder)
    (folder / f"shard-{shard:05}.done").touch()
    return shard


def in_processes(draw_shard: Callable[[tuple], object], shards: list[tuple], workers: int) -> None:
    """Draw every shard, given by its arguments, and say now and then how many there are."""
    with ProcessPoolExecutor(workers) as pool:
        for k, _ in enumerate(pool.map(draw_shard, shards)):
            if k % 16 == 15 or k + 1 == len(shards):
                print(f"drawn {k + 1} of {len(shards)} shards", flush=True)


def draw(folder: Path, config: AssistantConfig, groups: int, talks: int, seed: int, workers: int, held_out: bool = False) -> None:
    """Draw `groups` groups of pictures and `talks` dialogues without pictures; shards already drawn are kept."""
    about = {"groups": groups, "talks": talks, "seed": seed, "held_out": held_out}
    note = folder / "about.json"
    if not note.exists() or json.loads(note.read_text()) != about:
        for stale in folder.glob("shard-*.done"):
            stale.unlink()
        _arrays(folder, config, groups, talks, "w+")
        note.write_text(json.dumps(about))
    shards = [s for s in range(-(-groups // SHARD)) if not (folder / f"shard-{s:05}.done").exists()]
    in_processes(_draw_shard, [(folder, config, seed, s, groups, talks, held_out) for s in shards], workers)


class World:
    """A drawn set as it stands; `refresh` looks for new shards."""

    def __init__(self, folder: Path, config: AssistantConfig) -> None:
        self.folder = folder
        self.about = json.loads((folder / "about.json").read_text())
        self.arrays = _arrays(folder, config, self.about["groups"], self.about["talks"], "r")
        self.refresh()

    def refresh(self) -> None:
        done = sorted(int(p.stem[6:]) for p in self.folder.glob("shard-*.done"))
        groups, talks = self.about["groups"], self.about["talks"]
        spans = [np.arange(s * SHARD, min(groups, (s + 1) * SHARD)) for s in done]
        self.groups = np.concatenate(spans) if spans else np.zeros(0, int)
        rows = [np.arange(s * talks * SHARD // groups, min(talks, (s + 1) * talks * SHARD // groups)) for s in done]
        self.talks = groups + np.concatenate(rows) if rows else np.zeros(0, int)

    def pictures(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Indices of `count` random pictures."""
        return rng.choice(self.groups, count) * VIEWS + rng.integers(0, VIEWS, count)

    def pairs(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of (photo, target): two different pictures of one individual, which is alone in the photo."""
        first = rng.integers(0, VIEWS - 1, count)
        second = (first + rng.integers(1, VIEWS, count)) % VIEWS
        base = rng.choice(self.groups, count) * VIEWS
        return base + first, base + second

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]
