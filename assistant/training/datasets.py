"""What the decoder and the bridge learn from, behind one interface: the drawn world, or sets encoded beforehand.

A source draws indices or rows on the CPU, ahead of time, and turns them into what a task reads, on its device. Knows no loss.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import AssistantConfig
from ..models.mllm import pooled
from ..models.chat_template import PromptBuilder
from ..models.vision_encoders import VisionEncoders
from ..checkpoints import load_vae, load_vision
from .world_dataset import WorldDataset
from .losses import VLoss, ConditionalMean, noisy_semantic_targets, encode_latents, encode_patches, encode_semantics, read_patches
from .encoded_dataset import LATENTS, PATCHES, SEMANTICS, Encoded
from .dialogue_dataset import DialogueDataset


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


class PairSource(Protocol):
    """Pairs (photo, target) of one subject.

    Attributes:
        labelled: whether `shown` has masks and labels.
    """

    labelled: bool

    def __len__(self) -> int: ...

    def pairs(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        """CPU tensors from which `shown` makes the rest."""

    def shown(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> TrainingBatch:
        """`batch` on the device; without a generator nothing is left to chance."""

    def photos(self, batch: dict[str, Tensor]) -> np.ndarray | None:
        """uint8 (B, H, W, 3) to look at, if they are at hand."""


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
    """Of the drawn world, encoded as a whole on the device."""

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
        photo, target = self.world.pairs(rng, count)
        same = rng.random(count) < 0.05  # eq. 4 at alpha = 0 asks for x from E(x) and F(x)
        return {"photo": torch.from_numpy(photo), "target": torch.from_numpy(np.where(same, photo, target))}

    def shown(self, batch: dict[str, Tensor], generator: torch.Generator | None = None) -> TrainingBatch:
        target, h = batch["target"], self.heroes
        semantics = self.semantics[target].float() if generator is None else noisy_semantic_targets(self.vision, self.semantics, self.expected, target, generator)
        return TrainingBatch(self.latents[target].float(), self.patches[batch["photo"]], semantics, h.weights[target], h.masks[target], h.labels[target],
                     h.companions(target), self.patches[target, 1:])

    def photos(self, batch: dict[str, Tensor]) -> np.ndarray:
        return self.world["images"][batch["photo"].cpu().numpy()]


class EncodedPairs:
    """Of sets encoded beforehand, read from disk row by row."""

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


class DialogueSource(Protocol):
    """Dialogues about a photo, up to the end of a reply that may come with a picture.

    Their batches hold `lines` (B, L) token ids without the picture, `spoken` (B, L) how much each counts that M says (0: it does not
    say it), and `token_at` (B,), where the learnable token stands in place of an id, -1 for none.
    """

    def __len__(self) -> int: ...

    def batch(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        """CPU tensors."""

    def seen(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, P, d_E): E(photo) as M reads it."""

    def truths(self, batch: dict[str, Tensor]) -> Tensor:
        """(B', d_F): what H should give, of the rows that have a learnable token."""


SORTED = 8  # a batch of dialogues of one length is half as wide as one of any


class WorldDialogues:
    """Of the drawn world."""

    def __init__(self, config: AssistantConfig, world: WorldDataset, talks: DialogueDataset, device: str, init: Path) -> None:
        vision: VisionEncoders = load_vision(config, init).to(device)
        self.talks, self.device = talks, device
        self.expected = ConditionalMean(world, encode_semantics(world, device, vision))
        self.patches = read_patches(world, device, vision, config.language.picture_side)

    def __len__(self) -> int:
        return len(self.talks.seen)

    def batch(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        """Rows of SORTED times as many that are about as long."""
        t, rows = self.talks, rng.choice(self.talks.seen, SORTED * count)
        start = rng.integers(0, SORTED) * count
        rows = rows[np.argsort(t["lengths"][rows], kind="stable")[start:start + count]]
        return {**t.padded(rows), "photo": torch.from_numpy(t["photos"][rows].astype(np.int64)), "targets": torch.from_numpy(t["targets"][rows]),
                "token_at": torch.from_numpy(t["token_at"][rows].astype(np.int64))}

    def seen(self, batch: dict[str, Tensor]) -> Tensor:
        return self.patches[batch["photo"]]

    def truths(self, batch: dict[str, Tensor]) -> Tensor:
        return self.expected(batch["targets"][batch["token_at"] >= 0])


class EncodedDialogues:
    """y and the reply of each quadruplet of sets encoded beforehand, as one exchange."""

    def __init__(self, config: AssistantConfig, encoded: Encoded, builder: PromptBuilder) -> None:
        self.config, self.encoded, self.builder = config.language, encoded, builder
        self.room = config.language.context - config.language.max_new_tokens - config.picture_tokens - 16

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
