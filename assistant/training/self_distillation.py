"""Self-improvement via distillation (CAFE, section 3.3): train on filtered data, make more with eq. 4, filter, train on.

A run is a folder. Every step in it is skipped if its result is there, resumes where it stopped if it is half done, and says so in
log.jsonl:

    calibration.json, calibration.png      the filter's thresholds and the distributions they come from
    store.safetensors                      F of the pictures that w is retrieved from
    captions/                              drawings with captions, a share of every training step
    d1/, encoded-d1/                       round 0's data, by another customization method; the same as the decoder reads it
    round-0/ weights and training state    the decoder, gone on with on d1
    d3-1/, round-1/, ...                   data made by the decoder before, and that decoder gone on with on all data so far

`make_targets` makes a further round's targets at any size: photos and wishes of a set on disk, pictures by eq. 4 with the G trained so far, filtered. Where no world
is drawn, the filter's thresholds come from the set itself: a target with its own photo and instruction, against the same with another sample's.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checkpoints import load_base, load_cafe, load_tensors, load_tokenizer, load_vision
from ..config import AssistantConfig
from ..data import quadruplets
from ..data.quadruplets import Wanted, drawn_wish
from ..data.shards import Quadruplet, begin, digest, process, read_shard, shards_of
from ..diffusion.latent_diffusion import LatentDiffusion
from ..errors import ConfigError
from ..files import SHARED, add_line, wait_for, write_whole
from ..manifest import verify
from ..models.vision_encoders import VisionEncoders
from ..report import histograms
from .datasets import LATENTS, PATCHES, SEMANTICS, Encoded, EncodedPairs, Encoder, PairSource, encode, identity, squares
from .decoder import BaseTask, CafeTask, JointTask
from .loop import Options, Trainer
from .recipe import TRAIN_SEED
from .world_dataset import WorldDataset, caption_tokenizer, draw

CALIBRATED = 256  # samples that the thresholds come from, at most


class Samples:
    """The samples of finished sets by number, in the manifests' order; pictures as squares of `side` pixels."""

    def __init__(self, side: int, *sets: Path) -> None:
        self.side = side
        self.places = [(path, key) for path, keys in shards_of(*sets) for key in keys]
        self._shard = lru_cache(2)(lambda path: {s.key: s for s in read_shard(path)})

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Quadruplet:
        path, key = self.places[number]
        return self._shard(path)[key]

    def picture(self, png: bytes) -> Image.Image:
        return Image.fromarray((squares([png], self.side)[0].permute(1, 2, 0) * 255).round().byte().numpy())

    @staticmethod
    def line(sample: Quadruplet) -> str:
        """The instruction with the subject named, or, in sets that have none, what the user said."""
        return sample.about.get("line") or sample.about["y"]

    def wish(self, number: int) -> Wanted:
        """A sample's photo and wish anew; numbers go round, and each time round has seeds of its own."""
        sample = self[number % len(self)]
        about, line = sample.about, self.line(sample)
        return Wanted(number, self.picture(sample.photo), about.get("words") or line, line, about["y"], about["reply"], about.get("photo", {}),
                      about.get("asked", {}))


@torch.no_grad()
def calibrate(eyes: quadruplets.Embedder, samples: Samples, count: int = CALIBRATED) -> quadruplets.Thresholds:
    """Where a target's own photo and instruction are best told from another sample's.

    Raises:
        ConfigError: there are fewer than two samples.
    """
    found = [samples[i] for i in range(min(count, len(samples)))]
    if len(found) < 2:
        raise ConfigError(f"Thresholds cannot be found on {len(found)} samples.", "Give them with --least CLIP DINO.")
    targets, photos = ([samples.picture(getattr(s, name)) for s in found] for name in ("target", "photo"))
    lines = [samples.line(s) for s in found]

    def against(turn: int) -> list[dict[str, float]]:
        out = []
        for i in range(0, len(found), quadruplets.BATCH):
            part = range(i, min(len(found), i + quadruplets.BATCH))
            there = [(k + turn) % len(found) for k in part]
            out += quadruplets.scores(eyes, [photos[k] for k in there], [targets[k] for k in part], [lines[k] for k in there])
        return out

    same, other = against(0), against(max(1, len(found) // 2))
    return quadruplets.Thresholds(*(quadruplets.best_threshold([s[name] for s in same], [s[name] for s in other])["threshold"] for name in ("clip", "dino")))


def make_targets(out: Path, sets: Sequence[Path], config: AssistantConfig, weights: Path, device: str, attempts: int, number: int,
                 alpha: tuple[float, float], least: tuple[float, float] | None, steps: int | None, say: Callable[[str], None] = print) -> None:
    """Build what is missing of round `number`'s set in `out`; several processes take turns at its shards.

    Args:
        weights: E, F, the base model and the trained G.
        least: the filter's thresholds, of CLIP and DINO similarity; None: calibrated on `sets`.

    Raises:
        ConfigError: `out` holds a set of other settings.
        StorageError: a set is not finished, or damaged.
        WeightsError: a part cannot be loaded.
    """
    dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
    vision = load_vision(config, weights, dtype).to(device)
    base, samples = load_base(config, weights, dtype=dtype).to(device, dtype), Samples(config.decoder.image_size, *sets)
    decoder = load_cafe(config, weights, dtype=dtype, base=base).to(device, dtype)
    eyes, steps = quadruplets.OwnEmbedder(vision, load_tokenizer(weights)), steps or config.decoder.steps
    limits = quadruplets.Thresholds(*least) if least else calibrate(eyes, samples)
    say(f"kept from {limits.clip:.3f} CLIP and {limits.dino:.3f} DINO similarity; the paper's 0.3 and 0.6 are for other encoders")
    method = quadruplets.Mixed(vision, decoder, quadruplets.Drawn(vision, base, steps), alpha, steps)
    settings = {"sets": [digest((s / "manifest.json").read_bytes())[:16] for s in sets], "alpha": alpha, "steps": steps,
                "G": identity(decoder.unet), "thresholds": asdict(limits)}
    plan = quadruplets.Plan(f"d3-{number}", attempts, first=number * attempts, batch=8)
    quadruplets.build(out, plan, samples.wish, method, lambda photos, made, lines: quadruplets.scores(eyes, photos, made, lines), limits.keeps, settings, say=say)
    if (out / "manifest.json").exists():
        say(f"{out}: {json.loads((out / 'manifest.json').read_text())['samples']} of {attempts} kept")


# seeds of what is drawn, so that no set repeats another's wishes
CALIBRATION, POOL, WISHES = 41, 43, 47
CAPTIONS = 0.25  # share of a step that are captions
SOURCES = ("E", "F")


@dataclass(frozen=True)
class Sizes:
    """How much of everything; a folder keeps to the sizes it was begun with."""

    pairs: int = 512  # of each sort, for the filter's thresholds
    pool: int = 2048  # pictures in the store
    attempts: int = 1024  # targets made for d1, and for each further round
    rounds: int = 1  # after the first
    samples: int = 12_800  # pairs and captions seen in each round's training
    batch: int = 64
    parts: int = 2  # of a batch: as many processes can train at once
    captions: int = 512  # groups of three drawings with captions
    steps: int = 20  # of denoising
    alpha: tuple[float, float] = (0.7, 1.0)  # eq. 4's, drawn evenly for each target
    reference: str = "base"  # where w comes from: "store" (retrieved), or "base" (drawn from the instruction)
    seed: int = 0


@dataclass
class Parts:
    """The models that make and judge data."""

    config: AssistantConfig
    folder: Path  # of the weights that rounds start from
    vision: VisionEncoders
    base: LatentDiffusion
    eyes: quadruplets.Embedder
    namer: quadruplets.Namer
    weights: str  # short hash of the weight files

    @classmethod
    def load(cls, config: AssistantConfig, folder: Path) -> Parts:
        """From a folder of weights, with E and F as the filter's eyes. Raises WeightsError."""
        vision = load_vision(config, folder)
        eyes = quadruplets.OwnEmbedder(vision, caption_tokenizer(config))
        return cls(config, folder, vision, load_base(config, folder), eyes, quadruplets.ZeroShot(eyes), verify(folder))


class Pairs(EncodedPairs):
    """The samples of encoded sets whose keys `only` lets pass. Raises ConfigError: there is none."""

    def __init__(self, encoded: Encoded, only: Callable[[str], bool]) -> None:
        super().__init__(encoded)
        self.at = np.array([k for k, key in enumerate(encoded.keys()) if only(key)])
        if not len(self.at):
            raise ConfigError("There is no pair of photo and target to learn from.", "Lower the filter's thresholds, or make more attempts.")

    def __len__(self) -> int:
        return len(self.at)

    def pairs(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        return self.encoded.rows(rng.choice(self.at, count).tolist(), LATENTS, PATCHES, SEMANTICS)


class Run:
    """One run's folder.

    Args:
        say: told what is being done.

    Raises:
        ConfigError: the folder was begun with other sizes or weights.
    """

    def __init__(self, folder: Path, parts: Parts, sizes: Sizes, say: Callable[[str], None] = print) -> None:
        self.folder, self.parts, self.sizes, self.say = folder, parts, sizes, say
        begin(folder, {**asdict(sizes), "weights": parts.weights})
        self.side = parts.config.decoder.image_size

    # --- data -------------------------------------------------------------------------------------------------------

    def calibration(self) -> dict[str, Any]:
        """`filters.calibrate`, once."""
        place = self.folder / "calibration.json"
        if not place.exists():
            started = time.monotonic()
            found = quadruplets.calibrate(self.parts.eyes, self.sizes.pairs, CALIBRATION, self.side)
            write_whole(place, (json.dumps(found, indent=1) + "\n").encode(), SHARED)
            self.log("calibration", started, **found["thresholds"])
        return json.loads(place.read_text())

    def thresholds(self) -> quadruplets.Thresholds:
        return quadruplets.Thresholds(**self.calibration()["thresholds"])

    def store(self) -> quadruplets.Store:
        pool = quadruplets.drawn_pool(POOL, self.sizes.pool, self.side)
        return quadruplets.Store.of(self.folder / "store.safetensors", pool, self.parts.vision, self.parts.eyes)

    def first_data(self) -> Path:
        """D1: targets by captioning, filtered."""
        return self._data("d1", 0, quadruplets.Captioned(self.parts.namer, self.parts.base, self.sizes.steps), {})

    def more_data(self, number: int, weights: Path) -> Path:
        """Round `number`'s: targets by eq. 4 with the decoder in `weights`, filtered."""
        parts, steps = self.parts, self.sizes.steps
        reference = self.store().nearest if self.sizes.reference == "store" else quadruplets.Drawn(parts.vision, parts.base, steps)
        method = quadruplets.Mixed(parts.vision, load_cafe(parts.config, weights), reference, self.sizes.alpha, steps, parts.namer)
        return self._data(f"d3-{number}", number, method, {"alpha": self.sizes.alpha, "reference": self.sizes.reference})

    def _data(self, name: str, number: int, method: quadruplets.Method, about: dict[str, Any]) -> Path:
        folder, limits, seed = self.folder / name, self.thresholds(), WISHES + self.sizes.seed
        if (folder / "manifest.json").exists():
            return folder
        started = time.monotonic()
        plan = quadruplets.Plan(name, self.sizes.attempts, first=number * self.sizes.attempts)
        quadruplets.build(folder, plan, lambda n: drawn_wish(seed, n, self.side), method,
                    lambda photos, made, lines: quadruplets.scores(self.parts.eyes, photos, made, lines), limits.keeps,
                    {**about, "seed": seed, "thresholds": asdict(limits), "weights": self.parts.weights}, say=self.say)
        wait_for(folder / "manifest.json")  # other processes are still at their shards
        self.log(name, started, **quadruplets.cost(folder))
        return folder

    # --- training ---------------------------------------------------------------------------------------------------

    def pairs(self, *folders: Path, only: Callable[[str], bool] = lambda key: True) -> Pairs:
        """All samples of sets, or those with the keys that `only` lets pass; a set is encoded once."""
        places = [self.folder / f"encoded-{folder.name}" for folder in folders]
        for folder, place in zip(folders, places):
            if not (place / "manifest.json").exists():
                encoder = Encoder(self.parts.config, self.parts.vision, self.parts.base.vae, "cpu")
                encode(place, [folder], self.parts.config.name, encoder, say=self.say)
            wait_for(place / "manifest.json")
        return Pairs(Encoded(self.parts.config, *places), only)

    def captions(self) -> WorldDataset:
        folder = self.folder / "captions"
        if process()[0] == 0:
            draw(folder, self.parts.config, self.sizes.captions, TRAIN_SEED + self.sizes.seed, 1)
            (folder / "ready").touch()
        wait_for(folder / "ready")
        return WorldDataset(folder, self.parts.config)

    def train(self, name: str, pairs: Pairs, weights: Path, seed: int, samples: int, sources: tuple[str, ...] = SOURCES) -> Path:
        """Go on with the decoder in `weights`; returns the folder that holds what became of it, a preset's base and cafe.

        Args:
            samples: pairs and captions seen, by all processes together.
        """
        out = self.folder / name
        if (out / "base/vae").exists():
            return out
        started = time.monotonic()
        batch, parts = self.sizes.batch, self.sizes.parts
        torch.manual_seed(seed)  # only the initial weights of what is thrown away afterwards
        task = FurtherTask(self.parts.config, self.captions(), pairs, "cpu", weights, batch // parts, sources)
        options = Options(minutes=None, steps=max(1, samples // batch), parts=parts, seed=seed, ema=0.98, save_every=60.0, sheet=False)
        Trainer(task, out / "training", out, options).run()
        if process()[0] == 0:
            shutil.copytree(weights / "base/vae", self.folder / f".{name}-vae", dirs_exist_ok=True)
            (self.folder / f".{name}-vae").replace(out / "base/vae")  # last: a folder that has it is whole
        wait_for(out / "base/vae")
        self.log(name, started, pairs=len(pairs), samples=samples, seed=seed)
        return out

    def rounds(self) -> Path:
        """The whole: round 0 on D1, then `sizes.rounds` more; returns the folder of the last round's decoder."""
        self.plot(data := [self.first_data()])
        weights = self.train("round-0", self.pairs(*data), self.parts.folder, self.sizes.seed, self.sizes.samples)
        for number in range(1, self.sizes.rounds + 1):
            data.append(self.more_data(number, weights))
            self.plot(data)
            weights = self.train(f"round-{number}", self.pairs(*data), weights, self.sizes.seed + number, self.sizes.samples)
        return weights

    # --- what it says -----------------------------------------------------------------------------------------------

    def plot(self, data: list[Path]) -> None:
        """Draw the calibration's distributions beside those of what was made."""
        found, panels = self.calibration(), []
        for name, title in (("dino", "DINO similarity to the photo"), ("clip", "CLIP similarity to the instruction")):
            known = found[name]["histograms"]
            series = {"matching drawings": known["same"], "other drawings": known["other"]}
            series |= {folder.name: quadruplets.histogram([s[name] for s in quadruplets.all_scores(folder)]) for folder in data}
            panels.append((title, series, {"kept from": found[name]["threshold"], "paper": found[name]["paper"]}))
        histograms(self.folder / "calibration.png", panels)

    def log(self, what: str, started: float, **values: Any) -> None:
        if process()[0]:
            return
        line = {"what": what, "minutes": round((time.monotonic() - started) / 60, 3), **values}
        add_line(self.folder / "log.jsonl", line)
        self.say(" ".join(f"{k} {v}" for k, v in line.items()))


class FurtherTask(JointTask):
    """`init`: a folder with base and cafe. `sources`: which of "E" and "F" the decoder is given at all.

    Raises:
        ConfigError: no source, or one that is not known; or a decoder that is not joint.
    """

    name, lr = "further", 3e-4

    def __init__(self, config: AssistantConfig, world: WorldDataset, source: PairSource, device: str, init: Path, batch_size: int = 64,
                 sources: tuple[str, ...] = SOURCES) -> None:
        if not sources or set(sources) - set(SOURCES):
            raise ConfigError(f"The sources are {sources}; there are {' and '.join(SOURCES)}.", "Give one of them, or both.")
        if not config.decoder.joint:
            raise ConfigError(f"The decoder of the preset {config.name!r} is not joint with its base model.", "Run first: python -m assistant.training cafe")
        self.batch_size, self.source, self.sources = batch_size, source, sources
        captions = max(1, round(CAPTIONS * batch_size))
        self.base = BaseTask(config, world, device, init / "base/vae", captions, init / "base")
        self.cafe = CafeTask(config, source, device, init, batch_size - captions, shared=(self.base.unet, self.base.layout))
        load_tensors(init / "cafe/semantic_values.safetensors", self.cafe.values)
        self.matrices = self.base.matrices

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        found = super().batch(rng)
        for keep, name in zip(found["cafe.keep"], SOURCES):  # (2, B): E's, F's
            keep *= name in self.sources
        return found

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        base, cafe = ({k.removeprefix(f"{of}."): t for k, t in batch.items() if k.startswith(f"{of}.")} for of in ("base", "cafe"))
        (first, said), (second, shown) = self.base.loss(base, generator), self.cafe.loss(cafe, generator)
        self.base.layout.grid = None  # of pairs without labels; a UNet that holds a graph cannot be copied
        share = self.base.batch_size / self.batch_size
        return share * first + (1 - share) * second, {"base_v": said["v"], "cafe_v": shown.get("v", second.detach())}

    def sheet(self, path: Path) -> None:
        """The pictures that a round makes, or a table's, show what was learned."""
