"""Trains V, H and the learnable token with M frozen (CAFE, eq. 2): L_LM + 0.2 MSE(H(s), F(target)).

Table 4's cosine variant is `objective="cosine"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..mllm.language import Bridge
from ..weights import load_llama, load_vae, load_vision, save_bridge
from .data import VIEWS, World
from .diffusion import encode_all
from .language import HEAD, pick_end

LAMBDA = 0.2


class BridgeTask:
    name, lr = "bridge", 2e-3

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 128,
                 objective: str = "mse") -> None:
        self.config, self.world, self.device, self.batch_size, self.objective = config, world, device, batch_size, objective
        self.vision = load_vision(config, init).to(device)
        self.llama, tokenizer = load_llama(init / "llama")
        self.llama.to(device)
        self.bridge = Bridge(config.vision.patch_width, self.llama.config.hidden_size, config.language.semantic_width)
        table = self.llama.get_input_embeddings().weight
        with torch.no_grad():  # the token starts as the mark at which M learned to name the coming picture, if it has one
            scene = tokenizer.convert_tokens_to_ids("<scene>")
            self.bridge.token.copy_(table[scene] if scene != tokenizer.unk_token_id and scene is not None else table.mean(0))
            self.bridge.V.weight.mul_(0.1)
        self.bridge.to(device).train()
        self.semantics = encode_all(world, device, lambda x: {"semantics": self.vision.semantics(x).float()}, world.folder,
                                    "clip")["semantics"]
        self.rows = world.groups[world.groups % 2 == 0]

    def modules(self) -> Mapping[str, nn.Module]:
        return {"bridge": self.bridge}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        w = self.world
        rows = np.sort(rng.choice(self.rows, self.batch_size))
        which = pick_end(w, rows, rng)
        lines, spoken = w["lines"][rows].astype(np.int64), w["spoken"][rows].copy()
        token_at, target = np.full(len(rows), -1), np.full(len(rows), -1)
        for i, k in enumerate(which):
            if k >= 0 and w["views"][rows[i], k] >= 0:
                token_at[i] = w["ends"][rows[i], k] + 1
                target[i] = rows[i] * VIEWS + w["views"][rows[i], k]
                lines[i, token_at[i]:], spoken[i, token_at[i]:] = 0, False
        return {"lines": torch.from_numpy(lines), "spoken": torch.from_numpy(spoken), "token_at": torch.from_numpy(token_at),
                "target": torch.from_numpy(target), "images": torch.from_numpy(w["images"][rows * VIEWS])}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        patches = self.vision.patches(batch["images"].permute(0, 3, 1, 2).float() / 255)
        words = self.llama.get_input_embeddings()(batch["lines"])
        marked = (batch["token_at"] >= 0).nonzero().squeeze(1)
        words[marked, batch["token_at"][marked]] = self.bridge.token.to(words.dtype)
        seen = self.bridge.V(patches.float()).to(words.dtype)
        hidden = self.llama.model(inputs_embeds=torch.cat([words[:, :HEAD], seen, words[:, HEAD:]], 1)).last_hidden_state
        hidden = torch.cat([hidden[:, :HEAD], hidden[:, HEAD + seen.shape[1]:]], 1)
        keep = batch["spoken"][:, 1:]
        lm = F.cross_entropy(self.llama.lm_head(hidden[:, :-1][keep]).float(), batch["lines"][:, 1:][keep])
        guess = self.bridge.H(hidden[marked, batch["token_at"][marked]].float())
        truth = self.semantics[batch["target"][marked]].float()
        cosine = F.cosine_similarity(guess, truth, dim=-1).mean()
        mse = F.mse_loss(guess, truth)
        aim = mse if self.objective == "mse" else -cosine
        return lm + LAMBDA * aim, {"lm": lm.detach(), "mse": mse.detach(), "cosine": cosine.detach()}

    def export(self, folder: Path) -> None:
        save_bridge(self.bridge, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at."""
