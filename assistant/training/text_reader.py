"""Trains the base model's reader of words: what a caption says, and how likely all is that it leaves open. Minutes.

The base model's text encoder learns with it: from diffusion alone it had kept next to nothing of what is worn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..conditioning import TEXT
from ..config import AssistantConfig
from ..decoder.attention import Call, Control, Seam
from ..decoder.rows import CONDITIONAL, Row
from ..decoder.text_reader import TextReader
from ..miniature.vocabulary import KIND_WORDS
from ..weights import save_module, save_tensors
from .books import layouts, names_of
from .data import CAPTIONS, LABELS, VIEWS, World
from .tokens import caption_tokenizer

EMPTY = 0.1  # share of empty captions, for guidance
ABSENT = 0.1  # how much an accessory that is not worn counts at first: nine in ten are not, which is soon known
WORDS = 12.0  # what attention costs that goes to the text's end, which has seen every word, and not to the words: controls act on words;
# the same for a kind that is not read at its noun, which is what a learned concept stands at
NEVER = -8.0  # log odds of two colours that never go together


class _Look(Control):
    """Keeps the reader's attention, (B, heads, names, N)."""

    found: Tensor

    def maps(self, call: Call) -> Collection[str]:
        return (CONDITIONAL,)

    def after(self, call: Call, out: Tensor) -> Tensor:
        self.found = call.maps[CONDITIONAL]
        return out


class TextReaderTask:
    """`text` is a folder with the base model's text encoder."""

    name, lr = "text_reader", 2e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, text: Path, batch_size: int = 256) -> None:
        self.world, self.device, self.batch_size = world, device, batch_size
        self.text = CLIPTextModel.from_pretrained(text, dtype=torch.float32).to(device).train()
        self.reader = TextReader(self.text.config.hidden_size, config.decoder.guess).to(device).train()
        named = torch.from_numpy(world["labels"].copy()).to(device)
        self.names = names_of(config.decoder.guess, named, layouts(world).to(device))
        first, second = (named[world.groups * VIEWS, LABELS.index(k)].long() for k in ("colour", "second"))
        together = torch.zeros_like(self.reader.pairs).index_put_((first, second), torch.ones(len(first), device=device), accumulate=True)
        odds = together / together.sum(1, keepdim=True).clamp_min(1) / (together.sum(0) / len(first)).clamp_min(1e-6)
        self.reader.pairs.copy_(odds.log().clamp_min(NEVER))
        tokenizer = caption_tokenizer(config)
        empty = tokenizer("", padding="max_length", max_length=world["captions"].shape[2])["input_ids"]
        self.empty = np.asarray(empty, np.int16)
        words = [w for said in KIND_WORDS.values() for w in said.split()]
        self.nouns = torch.tensor([ids[1] for ids in tokenizer(words)["input_ids"] if len(ids) == 3], device=device)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"reader": self.reader, "text": self.text}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        at = self.world.pictures(rng, self.batch_size)
        texts = self.world["captions"][at, rng.integers(0, CAPTIONS, len(at))].copy()
        texts[rng.random(len(at)) < EMPTY] = self.empty
        return {"at": torch.from_numpy(at), "texts": torch.from_numpy(texts.astype(np.int64))}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        states, look = self.text(input_ids=batch["texts"]).last_hidden_state, _Look()
        seam = Seam({TEXT: states}, controls=(look,), cache=False).begin((Row(CONDITIONAL, TEXT),), len(states))
        losses, hits = {}, []
        for k, found in self.reader(seam).items():
            truth, rare = self.names[k][batch["at"]], found.new_ones(found.shape[1])
            if k.startswith("worn"):
                rare[0] = ABSENT + (1 - ABSENT) * max(0.0, 2 * self.done - 1)  # in the end as likely as it is
                hits.append(found.argmax(1)[truth > 0] == truth[truth > 0])
            losses[k] = F.cross_entropy(found, truth, rare)
        behind = (batch["texts"] == self.empty[-1]).float()  # the end of the text and all after it
        lost = torch.einsum("bhqn,bn->bhq", look.found, behind)[behind[:, 1] == 0].mean()
        noun = torch.isin(batch["texts"], self.nouns).float()
        found = torch.einsum("bhn,bn->bh", look.found[:, :, list(self.reader.counts).index("kind")], noun)
        lost = lost + (1 - found)[noun.any(1)].mean()
        return torch.stack(list(losses.values())).sum() + WORDS * lost, {
            **{k: losses[k].detach() for k in ("kind", "colour", "second", "coat", "context", "style")}, "worn": torch.cat(hits).float().mean(), "lost": lost.detach()}

    def export(self, folder: Path) -> None:
        """Below `folder`: `text_reader`, and `base/text_encoder` as stock libraries load it."""
        (folder / "text_reader").mkdir(parents=True, exist_ok=True)
        save_tensors(folder / "text_reader/text_reader.safetensors", self.reader.state_dict(), {"kind": "the base model's reader of words"})
        save_module(self.text, folder / "base/text_encoder")

    def sheet(self, path: Path) -> None:
        """There is nothing to look at that the base model's own sheet does not show."""
