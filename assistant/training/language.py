"""Trains M from scratch on the world's dialogues by eq. 2, together with V, H and the learnable token (LLaVA's second stage).

At full size M is an LLM that has read the web, and stays frozen; the miniature's has read nothing. Once M is trained, `bridge.py` goes
on with V, H and the token alone. Dialogues without a photo are learned beside, so that M asks for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from ..config import AssistantConfig
from ..checkpoints import TAUGHT, load_llama, save_bridge, save_llama
from ..files import SHARED, write_whole
from .mllm_projector import ProjectorTask
from .world_dataset import WorldDataset
from .losses import training_kernel
from .datasets import WorldDialogues
from .hyperparameters import BridgeNumbers
from .dialogue_dataset import DialogueDataset
from .tokenizer_paths import dialogue_tokenizer

ALONE = 0.0625  # share of a batch that are dialogues without a photo
NUMBERS = BridgeNumbers(lr=3e-3, fitted=False)


class LanguageTask(ProjectorTask):
    """`init` is a folder with dino and clip; `warm` one with an M and a bridge to go on from, or none."""

    name = "language"

    def __init__(self, config: AssistantConfig, world: WorldDataset, talks: DialogueDataset, device: str, init: Path, batch_size: int = 32,
                 warm: Path | None = None) -> None:
        tokenizer = dialogue_tokenizer(config)
        llama = load_llama(warm / "llama")[0] if warm else LlamaForCausalLM(LlamaConfig(
            **config.language.llama, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, attn_implementation="sdpa"))
        if training_kernel(device) == "math":
            llama.set_attn_implementation("eager")
        super().__init__(config, WorldDialogues(config, world, talks, device, init), device, init, batch_size, numbers=NUMBERS,
                         llama=(llama.to(device).requires_grad_(True).train(), tokenizer), warm=warm / "bridge" if warm else None)
        self.talks = talks
        self.alone = round(ALONE * batch_size) if len(talks.alone) else 0
        self.matrices = {f"llama.{n}" for n, p in self.llama.named_parameters() if p.ndim == 2 and ".layers." in n}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"llama": self.llama, **super().modules()}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        found = self.source.batch(rng, self.batch_size - self.alone)
        if self.alone:
            found |= {f"alone_{name}": t for name, t in self.talks.padded(rng.choice(self.talks.alone, self.alone)).items()}
        return found

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        loss, said = super().loss(batch, generator)
        if self.alone:
            hidden = self.llama.model(input_ids=batch["alone_lines"], use_cache=False).last_hidden_state
            loss = loss + ALONE * self.spoken(hidden, batch["alone_lines"], batch["alone_spoken"])
        return loss, {**said, "perplexity": said["lm"].exp()}

    def export(self, folder: Path) -> None:
        """`llama` and `bridge` below `folder`."""
        save_llama(self.llama, self.tokenizer, folder / "llama")
        write_whole(folder / "llama" / TAUGHT, json.dumps(self.talks.taught(self.tokenizer)).encode(), SHARED)
        save_bridge(self.bridge, folder / "bridge")
