"""Self-improvement via distillation (CAFE, section 3.3): train on filtered data, make more with eq. 4, filter, train on.

A run is a folder. Every step in it is skipped if its result is there, resumes where it stopped if it is half done, and says so in
log.jsonl:

    calibration.json, calibration.png      the filter's thresholds and the distributions they come from
    store.safetensors                      F of the pictures that w is retrieved from
    d1/                                    round 0's data, by another customization method
    round-0/ readers and training state    G trained on d1
    d3-1/, round-1/, ...                   data made by the G before, and that G trained on with all data so far
"""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..config import AssistantConfig
from ..decoder.diffusion import Diffusion
from ..decoder.first_guess import Reader
from ..mllm.vision import Vision
from ..weights import load_base, load_cafe, load_vision, verify
from .loop import Options, Trainer
from .pairs import Pairs, PairTask, encode_pairs, fresh_readers, load_readers
from .quadruplets import build, filters, histograms, methods, shards, store
from .quadruplets.shards import begin, process, replace_whole
from .quadruplets.wishes import drawn_wish
from .tokens import caption_tokenizer

# seeds of what is drawn, so that no set repeats another's wishes
CALIBRATION, POOL, WISHES = 41, 43, 47


@dataclass(frozen=True)
class Sizes:
    """How much of everything; a folder keeps to the sizes it was begun with."""

    pairs: int = 512  # of each sort, for the filter's thresholds
    pool: int = 2048  # pictures in the store
    attempts: int = 3072  # targets made for d1, and for each further round
    rounds: int = 1  # after the first
    samples: int = 25_600  # pairs seen in each round's training
    batch: int = 128
    parts: int = 2  # of a batch: as many processes can train at once
    alpha: tuple[float, float] = (0.7, 1.0)  # eq. 4's, drawn evenly for each target
    reference: str = "base"  # where w comes from: "store" (retrieved), or "base" (drawn from the instruction)
    seed: int = 0


@dataclass
class Parts:
    """The models that make and judge data; `decoder.first_guess` is the G that rounds train, `captioner` a reader of E that is not
    trained."""

    config: AssistantConfig
    vision: Vision
    decoder: Diffusion
    base: Diffusion
    captioner: Reader
    eyes: filters.Eyes
    weights: str  # short hash of the weight files

    @classmethod
    def load(cls, config: AssistantConfig, folder: Path) -> Parts:
        """From a folder of weights, with E and F as the filter's eyes. Raises WeightsError."""
        vision, decoder = load_vision(config, folder), load_cafe(config, folder)
        return cls(config, vision, decoder, load_base(config, folder, first_guess=decoder.first_guess), copy.deepcopy(decoder.first_guess.subject),
                   filters.OwnEyes(vision, caption_tokenizer(config)), verify(folder))


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
            found = filters.calibrate(self.parts.eyes, self.sizes.pairs, CALIBRATION, self.side)
            replace_whole(place, (json.dumps(found, indent=1) + "\n").encode())
            self.log("calibration", started, **found["thresholds"])
        return json.loads(place.read_text())

    def thresholds(self) -> filters.Thresholds:
        return filters.Thresholds(**self.calibration()["thresholds"])

    def store(self) -> store.Store:
        pool = store.drawn_pool(POOL, self.sizes.pool, self.side)
        return store.Store.of(self.folder / "store.safetensors", pool, self.parts.vision, self.parts.eyes)

    def first_data(self) -> Path:
        """D1: targets by captioning, filtered."""
        method = methods.Captioned(self.parts.vision, self.parts.captioner, self.parts.base)
        return self._data("d1", 0, method, {})

    def more_data(self, number: int, readers: Path) -> Path:
        """Round `number`'s: targets by eq. 4 with the G in `readers`, filtered."""
        place = f"d3-{number}"
        if not (self.folder / place / "manifest.json").exists():
            load_readers(self.parts.decoder.first_guess, readers)
        reference = self.store().nearest if self.sizes.reference == "store" else methods.Drawn(self.parts.vision, self.parts.base)
        method = methods.Mixed(self.parts.vision, self.parts.decoder, reference, self.sizes.alpha, self.parts.config.decoder.noise)
        return self._data(place, number, method, {"alpha": self.sizes.alpha, "reference": self.sizes.reference})

    def _data(self, name: str, number: int, method: methods.Method, about: dict[str, Any]) -> Path:
        folder, limits, seed = self.folder / name, self.thresholds(), WISHES + self.sizes.seed
        if (folder / "manifest.json").exists():
            return folder
        started = time.monotonic()
        plan = build.Plan(name, self.sizes.attempts, first=number * self.sizes.attempts)
        build.build(folder, plan, lambda n: drawn_wish(seed, n, self.side), method,
                    lambda photos, made, lines: filters.scores(self.parts.eyes, photos, made, lines), limits.keeps,
                    {**about, "seed": seed, "thresholds": asdict(limits), "weights": self.parts.weights}, say=self.say)
        while not (folder / "manifest.json").exists():  # other processes are still at their shards
            time.sleep(1.0)
        self.log(name, started, **build.cost(folder))
        return folder

    # --- training ---------------------------------------------------------------------------------------------------

    def pairs(self, *folders: Path, only: Callable[[str], bool] | None = None, name: str | None = None) -> Pairs:
        """All samples of sets, encoded once each."""
        found = []
        for folder in folders:
            samples = shards.Reader(folder, rank=0, world=1, only=only)
            pictures = ((Image.open(io.BytesIO(s.photo)), Image.open(io.BytesIO(s.target))) for s in samples.epoch(0, 0))
            place = self.folder / f"encoded-{name or folder.name}.safetensors"
            found.append(encode_pairs(place, pictures, self.parts.vision, self.parts.decoder.vae))
        return Pairs.joined(found)

    def train(self, name: str, pairs: Pairs, begin_with: Path | None, seed: int, samples: int, sources: tuple[str, ...] = ("E", "F")) -> Path:
        """Train G's readers; returns the folder that holds them.

        Args:
            begin_with: readers to go on from; None: random ones of `seed`.
            samples: pairs seen, by all processes together.
        """
        out, guess = self.folder / name, self.parts.decoder.first_guess
        if (out / "readers.safetensors").exists():
            return out
        started = time.monotonic()
        if begin_with is None:
            fresh_readers(guess, pairs, seed)
        else:
            load_readers(guess, begin_with)
        batch, parts = self.sizes.batch, self.sizes.parts
        task = PairTask(guess, pairs, batch_size=batch // parts, sources=sources)
        options = Options(minutes=None, steps=max(1, samples // batch), parts=parts, seed=seed, ema=0.98, save_every=20.0)
        Trainer(task, out / "training", out, options).run()
        guess.requires_grad_(False).eval()
        self.log(name, started, pairs=len(pairs), samples=samples, seed=seed)
        return out

    def rounds(self) -> Path:
        """The whole: round 0 on D1, then `sizes.rounds` more; returns the last round's readers."""
        self.plot(data := [self.first_data()])
        readers = self.train("round-0", self.pairs(*data), None, self.sizes.seed, self.sizes.samples)
        for number in range(1, self.sizes.rounds + 1):
            data.append(self.more_data(number, readers))
            self.plot(data)
            readers = self.train(f"round-{number}", self.pairs(*data), readers, self.sizes.seed + number, self.sizes.samples)
        return readers

    # --- what it says -----------------------------------------------------------------------------------------------

    def plot(self, data: list[Path]) -> None:
        """Draw the calibration's distributions beside those of what was made."""
        found, panels = self.calibration(), []
        for name, title in (("dino", "DINO similarity to the photo"), ("clip", "CLIP similarity to the instruction")):
            known = found[name]["histograms"]
            series = {"matching drawings": known["same"], "other drawings": known["other"]}
            series |= {folder.name: filters.histogram([s[name] for s in build.all_scores(folder)]) for folder in data}
            panels.append((title, series, {"kept from": found[name]["threshold"], "paper": found[name]["paper"]}))
        histograms.plot(self.folder / "calibration.png", panels)

    def log(self, what: str, started: float, **values: Any) -> None:
        if process()[0]:
            return
        line = {"what": what, "minutes": round((time.monotonic() - started) / 60, 3), **values}
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        self.say(" ".join(f"{k} {v}" for k, v in line.items()))
