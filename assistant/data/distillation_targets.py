"""A further SID round's targets at any size: photos and wishes of a set on disk, pictures by eq. 4 with the G trained so far, filtered.

Where no world is drawn, the filter's thresholds come from the set itself: a target with its own photo and instruction, against the
same with another sample's.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image

from ..config import AssistantConfig
from ..errors import ConfigError
from ..models.vision_encoders import pad_square, pixels, resize
from ..checkpoints import load_base, load_cafe, load_tokenizer, load_vision
from ..training.encoded_dataset import identity
from . import build, filters, target_generators
from .shards import Quadruplet, Reader, digest, read_shard
from .instructions import Wanted

CALIBRATED = 256  # samples that the thresholds come from, at most


class Samples:
    """The samples of finished sets by number, in the manifests' order; pictures as squares of `side` pixels."""

    def __init__(self, side: int, *sets: Path) -> None:
        self.side = side
        self.places = [(path, key) for path, keys in Reader(*sets, rank=0, world=1).shards for key in keys]
        self._shard = lru_cache(2)(lambda path: {s.key: s for s in read_shard(path)})

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Quadruplet:
        path, key = self.places[number]
        return self._shard(path)[key]

    def picture(self, png: bytes) -> Image.Image:
        x = resize(pad_square(pixels([Image.open(io.BytesIO(png))])), self.side)[0]
        return Image.fromarray((x.permute(1, 2, 0) * 255).round().byte().numpy())

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
def calibrate(eyes: filters.Embedder, samples: Samples, count: int = CALIBRATED) -> filters.Thresholds:
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
        for i in range(0, len(found), filters.BATCH):
            part = range(i, min(len(found), i + filters.BATCH))
            there = [(k + turn) % len(found) for k in part]
            out += filters.scores(eyes, [photos[k] for k in there], [targets[k] for k in part], [lines[k] for k in there])
        return out

    same, other = against(0), against(max(1, len(found) // 2))
    return filters.Thresholds(*(filters.best_threshold([s[name] for s in same], [s[name] for s in other])["threshold"] for name in ("clip", "dino")))


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
    eyes, steps = filters.OwnEmbedder(vision, load_tokenizer(weights)), steps or config.decoder.steps
    limits = filters.Thresholds(*least) if least else calibrate(eyes, samples)
    say(f"kept from {limits.clip:.3f} CLIP and {limits.dino:.3f} DINO similarity; the paper's 0.3 and 0.6 are for other encoders")
    method = target_generators.Mixed(vision, decoder, target_generators.Drawn(vision, base, steps), alpha, steps)
    settings = {"sets": [digest((s / "manifest.json").read_bytes())[:16] for s in sets], "alpha": alpha, "steps": steps,
                "G": identity(decoder.unet), "thresholds": asdict(limits)}
    plan = build.Plan(f"d3-{number}", attempts, first=number * attempts, batch=8)
    build.build(out, plan, samples.wish, method, lambda photos, made, lines: filters.scores(eyes, photos, made, lines), limits.keeps, settings, say=say)
    if (out / "manifest.json").exists():
        say(f"{out}: {json.loads((out / 'manifest.json').read_text())['samples']} of {attempts} kept")
