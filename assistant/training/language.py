"""Trains M from scratch on the world's dialogues, with pictures as slots of visual words (miniature/visual_words.py).

Two things prepare it for CAFE while it still learns: it reads pictures with the errors that a linear reader of E makes
(reading.py), so that V need not be better than it can be; and after each drawing reply it names, at the scene mark, the words of
the picture to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from ..config import AssistantConfig
from ..miniature.visual_words import MOST, VISUAL_WORDS
from ..miniature.world import KINDS, PATTERNS
from ..weights import load_llama, load_vision, save_llama
from .data import LABELS, World
from .diffusion import read_patches
from .reading import amounts, word_reader
from .tokens import dialogue_tokenizer

HEAD = 2  # tokens before the picture: the start and the user mark
SHORT = 2.0  # short dialogues come more often: words for places are as many in them, and they cost less


def pick_end(world: World, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each dialogue one of its exchanges, at random; -1 where it has none."""
    present = world["ends"][rows] >= 0
    return np.where(present.any(1), (rng.random(present.shape) * present).argmax(1), -1)


class LanguageTask:
    """`init` is a folder with dino and clip; `warm` one with an M to go on from, or none."""

    name, lr = "language", 3e-3
    share = {"words": 1.0, "scenes": 1.0}  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 32, warm: Path | None = None) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.tokenizer = dialogue_tokenizer(config)
        self.slots = config.picture_tokens
        ids = self.tokenizer.convert_tokens_to_ids
        self.first_visual, self.scene = ids(VISUAL_WORDS[0]), ids("<scene>")
        self.llama = load_llama(warm)[0].requires_grad_(True) if warm else LlamaForCausalLM(LlamaConfig(
            **config.language.llama, bos_token_id=self.tokenizer.bos_token_id, eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id, attn_implementation="sdpa"))
        self.llama.to(device).train()
        self.patches = read_patches(world, device, load_vision(config, init).to(device), config.language.picture_side)
        self.reader = word_reader(world, self.patches)
        labels = torch.from_numpy(world["labels"][:len(self.patches)].copy()).to(device).long()
        self.amounts = amounts(labels)
        alike = labels[:, LABELS.index("kind")] * len(PATTERNS) + labels[:, LABELS.index("pattern")]
        self.order, self.counts = alike.argsort(), alike.bincount(minlength=len(KINDS) * len(PATTERNS))  # pictures by kind and pattern
        self.starts = (self.counts.cumsum(0) - self.counts).clamp_max(len(labels) - 1)
        self.first_pattern = VISUAL_WORDS.index(f"<v:pattern={PATTERNS[0]}>")
        self.matrices = {f"llama.{n}" for n, p in self.llama.named_parameters() if p.ndim == 2 and ".layers." in n}

        lengths = world["spoken"].shape[1] - np.argmax(world["spoken"][:, ::-1], 1)  # the last word is the assistant's
        rows = np.concatenate([world.talks, world.groups[world.groups % 2 == 0]])
        self.rows, self.lengths = rows[np.argsort(lengths[rows], kind="stable")], lengths

    def modules(self) -> Mapping[str, nn.Module]:
        return {"llama": self.llama}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        w = self.world
        # dialogues of about one length, so that little is padding
        near = min(len(self.rows), 16 * self.batch_size)
        start = int(rng.random() ** SHORT * (len(self.rows) - near + 1))
        rows = rng.choice(self.rows[start:start + near], self.batch_size)
        longest = int(self.lengths[rows].max()) + 1
        which = pick_end(w, rows, rng)
        lines, spoken = w["lines"][rows, :longest].astype(np.int64), w["spoken"][rows, :longest].copy()
        scene_at = np.full(len(rows), -1)
        scene_words = np.full((len(rows), MOST), -1)
        for i, k in enumerate(which):
            if k >= 0 and w["words"][rows[i], k + 1, 0] >= 0:  # cut behind a drawing reply, put the scene mark there
                at = scene_at[i] = w["ends"][rows[i], k] + 1
                lines[i, at:], spoken[i, at:] = 0, False
                lines[i, at] = self.scene
                scene_words[i] = w["words"][rows[i], k + 1]
        photo = w["words"][rows, 0].astype(np.int64)
        return {"lines": torch.from_numpy(lines), "spoken": torch.from_numpy(spoken), "photo": torch.from_numpy(photo),
                "scene_at": torch.from_numpy(scene_at), "scene_words": torch.from_numpy(scene_words)}

    def tally(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """What the two means of the loss are over."""
        scenes = (batch["scene_at"] >= 0) & (batch["photo"][:, 0] >= 0)
        return {"words": float(batch["spoken"][:, 1:].sum()), "scenes": float(scenes.sum())}

    def _slots(self, photo: Tensor, generator: torch.Generator) -> Tensor:
        """Slots (B, slots, d) of pictures with the words `photo` (B, MOST), -1 after the last, as a linear reader of E would fill
        them: the words in the class token's, and everywhere what it gets wrong about another picture of that kind and pattern."""
        table = self.llama.get_input_embeddings().weight[self.first_visual:self.first_visual + len(VISUAL_WORDS)].float()
        chance = torch.rand(2, len(photo), device=photo.device, generator=generator)
        alike = photo[:, 0] * len(PATTERNS) + photo[:, 3] - self.first_pattern
        other = self.order[self.starts[alike] + (chance[0] * self.counts[alike]).long()]
        errors = self.reader(self.patches[other].float())
        errors[:, 0] -= self.amounts[other]
        errors *= 1 + 0.5 * chance[1].view(-1, 1, 1)  # it errs more on pictures that E was not trained on
        present = torch.zeros(len(photo), len(VISUAL_WORDS) + 1, device=photo.device)  # the last: of no word
        errors[:, 0] += present.scatter_(1, torch.where(photo >= 0, photo, len(VISUAL_WORDS)), 1.0)[:, :-1]
        return errors @ table

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        lines, spoken, photo = batch["lines"], batch["spoken"], batch["photo"]
        words = self.llama.get_input_embeddings()(lines)
        sighted = (photo[:, 0] >= 0)
        # dialogues without a picture have none of its slots: the two sorts go through M apart
        nothing = torch.tensor(torch.nan, device=lines.device)
        total, scene, marks = 0.0, 0.0, {"scene": nothing, "scene_right": nothing}
        count = spoken[:, 1:].sum()
        for mask, seen in ((sighted, True), (~sighted, False)):
            at = mask.nonzero().squeeze(1)
            if not len(at):
                continue
            embeds = words[at]
            if seen:
                slots = self._slots(photo[at], generator).to(words.dtype)
                embeds = torch.cat([embeds[:, :HEAD], slots, embeds[:, HEAD:]], 1)
            hidden = self.llama.model(inputs_embeds=embeds).last_hidden_state
            if seen:
                hidden = torch.cat([hidden[:, :HEAD], hidden[:, HEAD + self.slots:]], 1)
            keep = spoken[at][:, 1:]
            logits = self.llama.lm_head(hidden[:, :-1][keep]).float()
            lm = F.cross_entropy(logits, lines[at][:, 1:][keep], reduction="sum")
            total = total + lm
            if seen:
                marked = (batch["scene_at"][at] >= 0).nonzero().squeeze(1)
                if not len(marked):
                    continue
                log_p = F.log_softmax(self.llama.lm_head(hidden[marked, batch["scene_at"][at][marked]]).float(), -1)
                named = batch["scene_words"][at][marked]
                number = (named >= 0).sum(1)
                picked = log_p.gather(1, named.clamp_min(0) + self.first_visual) * (named >= 0)
                scene = -(picked.sum(1) / number).mean()
                marks = {"scene": scene.detach(), "scene_right": self._found(log_p, named, number)}
        lm = total / count
        said = {"lm": lm.detach() * self.share["words"], "perplexity": lm.detach().exp(), **marks}
        return lm * self.share["words"] + 0.3 * scene * self.share["scenes"], said

    def _found(self, log_p: Tensor, named: Tensor, number: Tensor) -> Tensor:
        """Share of a scene's words among as many that are thought likeliest; log_p (B, vocabulary), named (B, MOST)."""
        top = log_p[:, self.first_visual:self.first_visual + len(VISUAL_WORDS)].topk(MOST, -1).indices
        within = (top[:, None] == named[..., None]) & (torch.arange(MOST, device=top.device) < number.view(-1, 1, 1))
        return (within.any(-1).sum(1) / number).float().mean()

    def export(self, folder: Path) -> None:
        save_llama(self.llama, self.tokenizer, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at."""
