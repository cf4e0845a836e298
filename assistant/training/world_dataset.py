"""The training set: drawn by many processes into memory-mapped arrays, ready shard by shard while it still grows.

Group g holds three pictures of one individual; in the last of them a second hero may stand beside it. Everything about a group follows
from (seed, g), so a set that is lost is drawn again, byte for byte.
"""

import json
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..config import AssistantConfig
from ..world.captions import caption
from ..world.renderer import render
from ..world.scene import (ACCESSORIES, COLOURS, CONTEXTS, EYES, KINDS, LIGHTS, PAIRS, PATTERNS, POSES, STYLES, Scene, sample_individual,
                           sample_scene, with_companion)
from .tokenizer_paths import caption_tokenizer

VIEWS = 3  # pictures in a group
CAPTIONS = 4  # captions of a picture
SHARD = 256  # groups a shard
BODY = 0.4  # how much a hero counts in a loss, of how much what it wears does, which is smaller and rarer
COMPANION = ("kind", "colour", "second", "pattern")  # what is noted of a second hero; -1 where there is none
LABELS = ("kind", "colour", "second", "pattern", "context", "light", "style", "pose", "eyes", *ACCESSORIES)


def group(seed: int, index: int, held_out: bool = False) -> tuple[Scene, ...]:
    """VIEWS scenes of one individual."""
    rng = random.Random(f"{seed}/{index}/{held_out}")
    who = sample_individual(rng, held_out)
    first = [sample_scene(rng, who, None if held_out else False) for _ in range(VIEWS)]
    return (*first[:-1], with_companion(rng, first[-1], held_out) if rng.random() < PAIRS else first[-1])


def labels(scene: Scene) -> list[int]:
    """Class numbers in the order of LABELS; accessories: 0 absent, else 1 + colour."""
    who, colours = scene.individual, tuple(COLOURS)
    worn = {a.name: 1 + colours.index(a.colour) for a in scene.accessories}
    return [KINDS.index(who.kind), colours.index(who.colour), colours.index(who.second), PATTERNS.index(who.pattern),
            CONTEXTS.index(scene.context), LIGHTS.index(scene.light), STYLES.index(scene.style), POSES.index(scene.pose),
            EYES.index(who.eyes), *(worn.get(a, 0) for a in ACCESSORIES)]


def companion_labels(scene: Scene) -> list[int]:
    """Of a second hero, in the order of COMPANION; -1 where there is none."""
    return [-1] * len(COMPANION) if scene.companion is None else labels(replace(scene, individual=scene.companion))[:len(COMPANION)]


def _arrays(folder: Path, config: AssistantConfig, groups: int, mode: str) -> dict[str, np.ndarray]:
    side, context = config.decoder.image_size, config.decoder.text["max_position_embeddings"]
    pictures = groups * VIEWS
    return arrays(folder, {
        "images": (np.uint8, (pictures, side, side, 3)), "masks": (np.uint8, (pictures, side // 8, side // 8)),
        "weights": (np.uint8, (pictures, side // 8, side // 8)),
        "companion_masks": (np.uint8, (pictures, side // 8, side // 8)), "companion_labels": (np.int8, (pictures, len(COMPANION))),
        "captions": (np.int16, (pictures, CAPTIONS, context)), "labels": (np.int8, (pictures, len(LABELS)))}, mode)


def arrays(folder: Path, shapes: dict[str, tuple[type, tuple[int, ...]]], mode: str) -> dict[str, np.ndarray]:
    """Memory-mapped arrays in a folder: made anew (mode "w+"), open to be written (other modes) or read ("r")."""
    folder.mkdir(parents=True, exist_ok=True)
    return {k: np.lib.format.open_memmap(folder / f"{k}.npy", mode=mode, dtype=d, shape=s) if mode != "r" else
            np.load(folder / f"{k}.npy", mmap_mode="r") for k, (d, s) in shapes.items()}


def _small(mask: Image.Image, side: int) -> np.ndarray:
    return np.asarray(mask.resize((side, side), Image.Resampling.BOX))


def _draw_shard(args: tuple) -> int:
    folder, config, seed, shard, groups, held_out = args
    out = _arrays(folder, config, groups, "r+")
    small = caption_tokenizer(config)
    side, context = config.decoder.image_size, config.decoder.text["max_position_embeddings"]
    for g in range(shard * SHARD, min(groups, (shard + 1) * SHARD)):
        rng = random.Random(f"{seed}/{g}/words")
        for v, scene in enumerate(group(seed, g, held_out)):
            drawn, at = render(scene, side), g * VIEWS + v
            out["images"][at] = np.asarray(drawn.image)
            out["masks"][at] = _small(drawn.mask, side // 8)
            out["weights"][at] = np.maximum(BODY * _small(drawn.heroes, side // 8), _small(drawn.worn, side // 8))
            out["labels"][at] = labels(scene)
            out["companion_labels"][at] = companion_labels(scene)
            if drawn.companion_mask is not None:
                out["companion_masks"][at] = _small(drawn.companion_mask, side // 8)
            texts = [caption(scene, rng).lower() for _ in range(CAPTIONS)]
            out["captions"][at] = small(texts, padding="max_length", truncation=True, max_length=context)["input_ids"]
    (folder / f"shard-{shard:05}.done").touch()
    return shard


def in_processes(draw_shard: Callable[[tuple], object], shards: list[tuple], workers: int) -> None:
    """Draw every shard, given by its arguments, and say now and then how many there are."""
    with ProcessPoolExecutor(workers) as pool:
        for k, _ in enumerate(pool.map(draw_shard, shards)):
            if k % 16 == 15 or k + 1 == len(shards):
                print(f"drawn {k + 1} of {len(shards)} shards", flush=True)


def draw(folder: Path, config: AssistantConfig, groups: int, seed: int, workers: int, held_out: bool = False) -> None:
    """Draw `groups` groups of pictures; shards already drawn are kept."""
    about = {"groups": groups, "seed": seed, "held_out": held_out}
    note = folder / "about.json"
    if not note.exists() or json.loads(note.read_text()) != about:
        for stale in (*folder.glob("shard-*.done"), *folder.glob("encoded-*.safetensors"), *folder.glob("worn.npy")):
            stale.unlink()
        _arrays(folder, config, groups, "w+")
        note.write_text(json.dumps(about))
    shards = [s for s in range(-(-groups // SHARD)) if not (folder / f"shard-{s:05}.done").exists()]
    in_processes(_draw_shard, [(folder, config, seed, s, groups, held_out) for s in shards], workers)


class WorldDataset:
    """A drawn set as it stands; `refresh` looks for new shards."""

    def __init__(self, folder: Path, config: AssistantConfig) -> None:
        self.folder = folder
        self.about = json.loads((folder / "about.json").read_text())
        self.arrays = _arrays(folder, config, self.about["groups"], "r")
        self.refresh()

    def refresh(self) -> None:
        done = sorted(int(p.stem[6:]) for p in self.folder.glob("shard-*.done"))
        groups = self.about["groups"]
        spans = [np.arange(s * SHARD, min(groups, (s + 1) * SHARD)) for s in done]
        self.groups = np.concatenate(spans) if spans else np.zeros(0, int)

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
