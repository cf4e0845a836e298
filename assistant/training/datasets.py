"""What the decoder and the bridge learn from, behind one interface: the drawn world, or quadruplets encoded beforehand.

A source draws indices or rows on the CPU, ahead of time, and makes what the loss needs of them on the device. An encoded set has one safetensors file a shard
and a manifest beside them; rows are read at random. A shard holds latents of the target, E(x), F(target) and token ids.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..checkpoints import load_vae, load_vision
from ..config import AssistantConfig
from ..data.shards import Quadruplet, begin, digest, finish, listed, process, read_shard, shards_of
from ..errors import ConfigError, StorageError
from ..files import SHARED, add_line, write_whole
from ..models.mllm import PromptBuilder, pooled
from ..models.vision_encoders import VisionEncoders, pad_square, pixels, resize
from .losses import ConditionalMean, VLoss, encode_latents, encode_patches, encode_semantics, noisy_semantic_targets, read_patches
from .world_dataset import DialogueDataset, WorldDataset

LATENTS, PATCHES, SEMANTICS = "latents", "patches", "semantics"
OPEN = 64  # files kept open at once


def encoded_name(number: int) -> str:
    return f"encoded-{number:05}.safetensors"


def write_encoded(folder: Path, number: int, tensors: Mapping[str, Tensor], said: Sequence[Mapping[str, str]]) -> None:
    """One shard: `tensors` of n rows each, kept in half precision, and of each row its key, y and reply."""
    halves = {k: t.half().cpu().contiguous() for k, t in tensors.items()}
    write_whole(folder / encoded_name(number), save(halves, {"format": "pt", "said": json.dumps(list(said), ensure_ascii=False)}), SHARED)


def write_encoded_manifest(folder: Path, shards: int) -> bool:
    """Write manifest.json once all shards are there, whoever finished the last one; says whether they are."""
    paths = [folder / encoded_name(k) for k in range(shards)]
    if not all(p.exists() for p in paths):
        return False
    counts = [len(_said(p)) for p in paths]
    finish(folder, paths, [{"samples": n} for n in counts], samples=sum(counts), bytes=sum(p.stat().st_size for p in paths))
    return True


@lru_cache(OPEN)
def _opened(path: Path) -> Any:
    return safe_open(path, "pt")  # memory-mapped: a row is read when it is asked for


@lru_cache(OPEN)
def _said(path: Path) -> list[dict[str, str]]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["said"])


@dataclass(frozen=True)
class Shapes:
    """Of one row."""

    latents: tuple[int, ...]  # (C, h, w)
    patches: tuple[int, ...]  # (N, d_E)
    semantics: tuple[int, ...]  # (d_F,)

    @classmethod
    def of(cls, config: AssistantConfig) -> Shapes:
        side = config.decoder.unet["sample_size"]
        return cls((config.decoder.unet["in_channels"], side, side), (config.encoders.patch_tokens, config.encoders.patch_width), (config.mllm.semantic_width,))

    @property
    def bytes(self) -> int:
        """Of a row, in half precision."""
        return 2 * sum(int(np.prod(shape)) for shape in (self.latents, self.patches, self.semantics))


class Encoded:
    """All samples of finished sets.

    Attributes:
        identity: of the encoders, as the manifests state it.

    Raises:
        StorageError: a set is not finished, or a file is not the one in the manifest.
        ConfigError: sets of different encoders, or of another preset's shapes.
    """

    def __init__(self, config: AssistantConfig, *folders: Path) -> None:
        self.shards: list[tuple[Path, int]] = []
        settings = []
        for folder in folders:
            about, shards = listed(folder, f"Run: python -m assistant.training encode --preset {config.name} --data SHARDS --out {folder}",
                                   "encode the set again")
            if "encoders" not in about["settings"]:
                raise ConfigError(f"The set in {folder.name!r} holds pictures, which are not encoded yet.",
                                  f"Run: python -m assistant.training encode --preset {config.name} --data {folder} --out FOLDER")
            settings.append(about["settings"])
            self.shards += [(path, shard["samples"]) for path, shard in shards if shard["samples"]]
        if any(s["encoders"] != settings[0]["encoders"] for s in settings):
            raise ConfigError("The sets were encoded by different encoders.", "Encode them all with the same weights.")
        if not self.shards:
            raise ConfigError("There is no sample in the encoded sets.", "Lower the filter's thresholds, or make more attempts.")
        self.identity: dict[str, str] = settings[0]["encoders"]
        self._starts = np.cumsum([0, *(n for _, n in self.shards)])
        found, wanted = self._shapes(), Shapes.of(config)
        if found != wanted:
            raise ConfigError(f"The set holds {found}, the preset {config.name!r} has {wanted}.", "Encode it with this preset.")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _shapes(self) -> Shapes:
        file = _opened(self.shards[0][0])
        return Shapes(*(tuple(file.get_slice(name).get_shape()[1:]) for name in (LATENTS, PATCHES, SEMANTICS)))

    def _places(self, at: Sequence[int] | np.ndarray) -> list[tuple[Path, int]]:
        which = np.searchsorted(self._starts, at, "right") - 1
        return [(self.shards[k][0], int(i - self._starts[k])) for k, i in zip(which, at)]

    def keys(self) -> list[str]:
        """Of every sample, in order."""
        return [line["key"] for path, _ in self.shards for line in _said(path)]

    def rows(self, at: Sequence[int] | np.ndarray, *names: str) -> dict[str, Tensor]:
        """(len(at), ...) float16 of each name. Raises StorageError if a file cannot be read."""
        try:
            return {name: torch.cat([_opened(path).get_slice(name)[i:i + 1] for path, i in self._places(at)]) for name in names}
        except (OSError, SafetensorError) as error:
            raise StorageError(f"An encoded shard cannot be read ({error}).", "Encode the set again.") from error

    def said(self, at: Sequence[int] | np.ndarray) -> list[tuple[str, str]]:
        """(y, reply) of each."""
        return [(_said(path)[i]["y"], _said(path)[i]["reply"]) for path, i in self._places(at)]


AHEAD = 8  # batches whose pictures are opened ahead of time


def identity(module: nn.Module) -> str:
    """A short hash of all weights of a module, by name, as they are."""
    found = hashlib.sha256()
    for name, t in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(t.detach().float().cpu().contiguous().numpy().data)
    return found.hexdigest()[:16]


def squares(pictures: list[bytes], side: int | None = None) -> Tensor:
    """PNGs of any sizes -> (B, 3, side, side) in [0, 1], padded to squares by their edges; side None: the largest among them."""
    found = [pad_square(pixels([Image.open(io.BytesIO(p))])) for p in pictures]
    side = side or max(x.shape[-1] for x in found)
    return torch.cat([resize(x, side) for x in found])


class Encoder:
    """The three encoders on one device.

    Args:
        vae: of the base model; it stays in float32.
    """

    def __init__(self, config: AssistantConfig, vision: VisionEncoders, vae: Any, device: str) -> None:
        self.side, self.device = config.decoder.image_size, torch.device(device)
        self.vision, self.vae = vision.to(device), vae.float().to(device)

    def identity(self) -> dict[str, str]:
        """What a set is encoded by."""
        about = f"{identity(self.vae)}-{self.vae.config.scaling_factor}"
        return {"E": identity(self.vision.dino), "F": identity(self.vision.clip), "latents": about}

    def opened(self, samples: list[Quadruplet]) -> tuple[Tensor, Tensor]:
        """Photos and targets as `encode` takes them; any thread may do it."""
        return squares([s.photo for s in samples]), squares([s.target for s in samples], self.side)

    @torch.no_grad()
    def encode(self, photos: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """(B, 3, side, side) each in [0, 1] -> latents (B, C, h, w), patches (B, N, d_E), semantics (B, d_F), in float16."""
        photos, targets, config = photos.to(self.device), targets.to(self.device), self.vae.config
        latents = self.vae.encode(targets * 2 - 1).latent_dist.mode() - (getattr(config, "shift_factor", None) or 0.0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            patches, semantics = self.vision.patches(photos), self.vision.semantics(targets)
        return {LATENTS: (latents * config.scaling_factor).half(), PATCHES: patches.half(), SEMANTICS: semantics.half()}


def encode(out: Path, sets: list[Path], preset: str, encoder: Encoder, batch: int = 16, say: Callable[[str], None] = print) -> None:
    """Encode what is missing of `sets` into `out`; several processes (`shards.process`) take turns at the shards.

    Raises:
        StorageError: a set is not finished, or damaged.
        ConfigError: `out` holds other sets, or the same by other encoders.
    """
    shards = shards_of(*sets)
    begin(out, {"preset": preset, "sets": [digest((s / "manifest.json").read_bytes())[:16] for s in sets], "encoders": encoder.identity()})
    rank, world = process()
    with ThreadPoolExecutor(AHEAD) as pool:
        for k in range(rank, len(shards), world):
            if (out / encoded_name(k)).exists():
                continue
            started, found = time.monotonic(), {s.key: s for s in read_shard(shards[k][0])}
            samples = [found[key] for key in shards[k][1]]
            waiting = [samples[i:i + batch] for i in range(0, len(samples), batch)]
            opened = [pool.submit(encoder.opened, some) for some in waiting[:AHEAD]]  # pictures take longer to open than to encode
            parts = []
            for turn in range(len(waiting)):
                parts.append(encoder.encode(*opened.pop(0).result()))
                opened += [pool.submit(encoder.opened, some) for some in waiting[turn + AHEAD:turn + AHEAD + 1]]
            said = [{"key": s.key, "y": s.about["y"], "reply": s.about["reply"]} for s in samples]
            write_encoded(out, k, {name: torch.cat([p[name] for p in parts]) for name in parts[0]}, said)
            seconds = time.monotonic() - started
            add_line(out / "log.jsonl", {"shard": k, "samples": len(samples), "seconds": round(seconds, 2), "rank": rank})
            say(f"encoded shard {k + 1} of {len(shards)}: {len(samples)} samples, {len(samples) / seconds:.1f} a second")
    if not (out / "manifest.json").exists():
        write_encoded_manifest(out, len(shards))


@dataclass
class TrainingBatch:
    """A batch as the decoder reads it."""

    latents: Tensor  # (B, C, h, w) float32, scaled
    patches: Tensor  # (B, N, d_E) E(photo), class token first
    semantics: Tensor  # (B, d_F) float32, F(target)
    weights: Tensor | None = None  # (B, h, w) in 0..255: how much each place counts in the loss, where it is known
    masks: Tensor | None = None  # (B, h, w), the first one's body
    labels: Tensor | None = None  # (B, L) its class numbers
    companions: tuple[Tensor, Tensor] | None = None  # these two of second heroes
    features: Tensor | None = None  # (B, h w, d_E) E's patches of the target


class Heroes:
    """Where the heroes of a drawn world's pictures are and what they are, on the device."""

    def __init__(self, world: WorldDataset, latents: Tensor, device: str) -> None:
        def of(name: str) -> Tensor:
            return torch.from_numpy(world[name][:len(latents)].copy()).to(device)

        side = latents.shape[-1]
        self.weights, self.masks, self.labels = VLoss.at_side(of("weights"), side), VLoss.at_side(of("masks"), side), of("labels")
        self._masks, self._labels = VLoss.at_side(of("companion_masks"), side), of("companion_labels")

    def companions(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (B, h, w) and labels (B, 4) of second heroes; -1: there is none."""
        return self._masks[at], self._labels[at]


class WorldPairs:
    """Pairs (photo, target) of one subject, of the drawn world, encoded as a whole on the device.

    Attributes:
        labelled: whether `shown` has masks and labels.
    """

    labelled = True

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, init: Path) -> None:
        self.world = world
        self.vision = load_vision(config, init).to(device)
        self.latents = encode_latents(world, device, load_vae(init / "base/vae").to(device))
        self.semantics = encode_semantics(world, device, self.vision)
        self.expected = ConditionalMean(world, self.semantics)()
        self.patches = encode_patches(world, device, self.vision)
        self.heroes = Heroes(world, self.latents, device)

    def __len__(self) -> int:
        return len(self.latents)

    def pairs(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        """CPU tensors from which `shown` makes the rest."""
        photo, target = self.world.pairs(rng, count)
        same = rng.random(count) < 0.05  # eq. 4 at alpha = 0 asks for x from E(x) and F(x)
        return {"photo": torch.from_numpy(photo), "target": torch.from_numpy(np.where(same, photo, target))}

    def shown(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> TrainingBatch:
        """`batch` on the device; without a generator nothing is left to chance."""
        target, h = batch["target"], self.heroes
        semantics = self.semantics[target].float() if generator is None else noisy_semantic_targets(self.vision, self.semantics, self.expected, target, generator)
        return TrainingBatch(self.latents[target].float(), self.patches[batch["photo"]], semantics, h.weights[target], h.masks[target], h.labels[target],
                     h.companions(target), self.patches[target, 1:])

    def photos(self, batch: dict[str, Tensor]) -> np.ndarray:
        """uint8 (B, H, W, 3) to look at."""
        return self.world["images"][batch["photo"].cpu().numpy()]


class EncodedPairs:
    """The same of sets encoded beforehand, read from disk row by row; there is no photo to look at."""

    labelled = False

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def pairs(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        return self.encoded.rows(rng.integers(0, len(self), count), LATENTS, PATCHES, SEMANTICS)

    def shown(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> TrainingBatch:
        return TrainingBatch(batch[LATENTS].float(), batch[PATCHES], batch[SEMANTICS].float())

    def photos(self, batch: dict[str, Tensor]) -> None:
        return None


PairSource = WorldPairs | EncodedPairs

SORTED = 8  # a batch of dialogues of one length is half as wide as one of any


class WorldDialogues:
    """Dialogues about a photo, of the drawn world, up to the end of a reply that may come with a picture.

    Batches hold `lines` (B, L) token ids without the picture, `spoken` (B, L) how much each counts that M says (0: it does not
    say it), and `token_at` (B,), where the learnable token stands in place of an id, -1 for none.
    """

    def __init__(self, config: AssistantConfig, world: WorldDataset, talks: DialogueDataset, device: str, init: Path) -> None:
        vision: VisionEncoders = load_vision(config, init).to(device)
        self.talks, self.device = talks, device
        self.expected = ConditionalMean(world, encode_semantics(world, device, vision))
        self.patches = read_patches(world, device, vision, config.mllm.picture_side)

    def __len__(self) -> int:
        return len(self.talks.seen)

    def batch(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        """CPU tensors: rows of SORTED times as many that are about as long."""
        t, rows = self.talks, rng.choice(self.talks.seen, SORTED * count)
        start = rng.integers(0, SORTED) * count
        rows = rows[np.argsort(t["lengths"][rows], kind="stable")[start:start + count]]
        return {**t.padded(rows), "photo": torch.from_numpy(t["photos"][rows].astype(np.int64)), "targets": torch.from_numpy(t["targets"][rows]),
                "token_at": torch.from_numpy(t["token_at"][rows].astype(np.int64))}

    def seen(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, P, d_E): E(photo) as M reads it."""
        return self.patches[batch["photo"]]

    def truths(self, batch: dict[str, Tensor]) -> Tensor:
        """(B', d_F): what H should give, of the rows that have a learnable token."""
        return self.expected(batch["targets"][batch["token_at"] >= 0])


class EncodedDialogues:
    """y and the reply of each quadruplet of sets encoded beforehand, as one exchange."""

    def __init__(self, config: AssistantConfig, encoded: Encoded, builder: PromptBuilder) -> None:
        self.config, self.encoded, self.builder = config.mllm, encoded, builder
        self.room = config.mllm.context - config.mllm.max_new_tokens - config.picture_tokens - 16

    def __len__(self) -> int:
        return len(self.encoded)

    def line(self, y: str, reply: str) -> tuple[list[int], int, int]:
        """Token ids up to the learnable token's place; where M begins to speak; how many of the ids it says.

        As in use, the token comes behind the draw token, or, if M has none, in the end's place: M is asked for the end there.
        """
        asked = self.builder.opening(y, True, self.room).ids
        words = self.builder.reply(reply, drew=True)
        closing = 1 if self.builder.draw_id is None else 2
        said = [*words[:-closing][:self.config.max_new_tokens], *words[-closing:]]
        ids = [*asked, *said] if closing == 1 else [*asked, *said[:-1], 0]
        return ids, len(asked), len(said) - (closing == 2)

    def batch(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        at = np.sort(rng.integers(0, len(self), count))
        found = [self.line(*words) for words in self.encoded.said(at)]
        longest = max(len(ids) for ids, _, _ in found)
        lines, spoken = torch.zeros(count, longest, dtype=torch.long), torch.zeros(count, longest, dtype=torch.bool)
        for i, (ids, start, said) in enumerate(found):
            lines[i, :len(ids)], spoken[i, start:start + said] = torch.tensor(ids), True
        rows = self.encoded.rows(at, PATCHES, SEMANTICS)
        return {"lines": lines, "spoken": spoken, "token_at": torch.tensor([len(ids) - 1 for ids, _, _ in found]),
                PATCHES: pooled(rows[PATCHES], self.config.picture_side), SEMANTICS: rows[SEMANTICS]}

    def seen(self, batch: dict[str, Tensor]) -> Tensor:
        return batch[PATCHES]

    def truths(self, batch: dict[str, Tensor]) -> Tensor:
        return batch[SEMANTICS].float()


DialogueSource = WorldDialogues | EncodedDialogues
