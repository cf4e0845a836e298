"""Trains V, H and the learnable token with M frozen (CAFE, eq. 2): L_LM + 0.2 MSE(H(s), F(target)).

Table 4's cosine variant is `objective="cosine"`; there both go without the fits of H that least squares would decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import AssistantConfig
from ..miniature.visual_words import VISUAL_WORDS
from ..mllm.language import Bridge
from ..weights import load_llama, load_tensors, load_vision, save_bridge
from .data import VIEWS, World
from .diffusion import encode_semantics, expected, read_patches, ridge
from .language import HEAD, pick_end
from .reading import word_reader

LAMBDA = 0.2
FIRST = 0.7  # how often a training step ends at the first reply, which says most of what V has to tell
FITTED = (40, 200)  # batches on which H is fitted at the start and at the end
FITTING = 1500  # steps of that, if H has a hidden layer


class BridgeTask:
    name, lr = "bridge", 1e-3
    share = {"words": 1.0, "targets": 1.0}  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 32,
                 objective: str = "mse", fitted: bool = True) -> None:
        self.world, self.device, self.batch_size, self.objective, self.fitted = world, device, batch_size, objective, fitted
        vision = load_vision(config, init).to(device)
        self.llama, self.tokenizer = load_llama(init / "llama")
        self.llama.to(device)
        self.semantics = expected(world, encode_semantics(world, device, vision))
        self.patches = read_patches(world, device, vision, config.language.picture_side)
        self.rows = world.groups[world.groups % 2 == 0]
        self.bridge = Bridge(config.language, config.vision.patch_width).to(device)
        self._start()
        self.bridge.train()

    @torch.no_grad()
    def _start(self) -> None:
        """Begin where least squares leads, if M knows visual words; the loss takes it from there.

        V should turn the class token into the sum of the picture's words and the patches into silence, and M has learned to
        read what least squares make of that; the token is the mark at which M learned to name the coming picture; H is the
        best map from its state to F.
        """
        scene = self.tokenizer.convert_tokens_to_ids("<scene>")
        if scene is None or scene == self.tokenizer.unk_token_id:
            return
        table = self.llama.get_input_embeddings().weight
        self.bridge.token.copy_(table[scene])
        reader, first = word_reader(self.world, self.patches), self.tokenizer.convert_tokens_to_ids(VISUAL_WORDS[0])
        words = table[first:first + len(VISUAL_WORDS)]
        self.bridge.V.weight.copy_(words.T @ reader.weight)
        self.bridge.V.bias.copy_(words.T @ reader.bias)
        if self.fitted:
            self._fit(FITTED[0])

    @torch.no_grad()
    def _fit(self, batches: int) -> None:
        """Set H to the best map from M's state to F, found on states that are computed once."""
        states, truths = [], []
        for k in range(batches):
            batch = {n: t.to(self.device) for n, t in self.batch(np.random.default_rng((11, k)), 0.0).items()}
            state, truth, _ = self._forward(batch)
            states.append(state), truths.append(truth)
        states, truths = torch.cat(states), torch.cat(truths)
        if isinstance(self.bridge.H, nn.Linear):
            ridge(self.bridge.H, states, truths, torch.ones(len(states), device=self.device))
        else:
            self._descend(states, truths)

    @torch.enable_grad()
    def _descend(self, states: Tensor, truths: Tensor) -> None:
        """Fit an H with a hidden layer by the MSE of eq. 2, on states of zero mean and unit spread."""
        mean, spread, first = states.mean(0), states.std(0), self.bridge.H[0]
        with torch.no_grad():  # while it is fitted, the mean and the spread are seen to outside
            first.bias += first.weight @ mean
            first.weight *= spread
        generator = torch.Generator(self.device).manual_seed(11)
        optimizer = torch.optim.AdamW(self.bridge.H.parameters(), weight_decay=0.3)
        for step in range(FITTING):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / FITTING)
            at = torch.randint(len(states), (256,), device=self.device, generator=generator)
            loss = F.mse_loss(self.bridge.H((states[at] - mean) / spread), truths[at])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            first.weight /= spread
            first.bias -= first.weight @ mean

    def modules(self) -> Mapping[str, nn.Module]:
        return {"bridge": self.bridge}

    def batch(self, rng: np.random.Generator, first: float = FIRST) -> dict[str, Tensor]:
        """Dialogues up to the end of one of their replies, in a share `first` of the batches the first one's."""
        w = self.world
        rows = np.sort(rng.choice(self.rows, self.batch_size))
        which = pick_end(w, rows, rng)
        if rng.random() < first:
            which = np.minimum(which, 0)
        ends = w["ends"][rows, which].astype(np.int64)  # where a dialogue was too long for the set, -1: nothing of it is read
        longest = int(ends.max()) + 2
        lines, spoken = w["lines"][rows, :longest].astype(np.int64), w["spoken"][rows, :longest].copy()
        token_at, target = np.full(len(rows), -1), np.full(len(rows), -1)
        for i, k in enumerate(which):
            if k >= 0 and w["views"][rows[i], k] >= 0:
                token_at[i] = ends[i] + 1
                target[i] = rows[i] * VIEWS + w["views"][rows[i], k]
            lines[i, ends[i] + 1:], spoken[i, ends[i] + 1:] = 0, False
        return {"lines": torch.from_numpy(lines), "spoken": torch.from_numpy(spoken), "token_at": torch.from_numpy(token_at),
                "target": torch.from_numpy(target), "photo": torch.from_numpy(rows * VIEWS)}

    def tally(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """What the two means of the loss are over."""
        return {"words": float(batch["spoken"][:, 1:].sum()), "targets": float((batch["token_at"] >= 0).sum())}

    def _forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """s (B', d_M) and F(target) (B', d_F) where there is a target, and all hidden states behind the picture's."""
        words = self.llama.get_input_embeddings()(batch["lines"]).clone()
        marked = (batch["token_at"] >= 0).nonzero().squeeze(1)
        words[marked, batch["token_at"][marked]] = self.bridge.token.to(words.dtype)
        seen = self.bridge.V(self.patches[batch["photo"]].float()).to(words.dtype)
        hidden = self.llama.model(inputs_embeds=torch.cat([words[:, :HEAD], seen, words[:, HEAD:]], 1)).last_hidden_state
        hidden = torch.cat([hidden[:, :HEAD], hidden[:, HEAD + seen.shape[1]:]], 1)
        return hidden[marked, batch["token_at"][marked]].float(), self.semantics[batch["target"][marked]].float(), hidden

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        state, truth, hidden = self._forward(batch)
        keep = batch["spoken"][:, 1:]
        lm = self.share["words"] * F.cross_entropy(self.llama.lm_head(hidden[:, :-1][keep]).float(), batch["lines"][:, 1:][keep])
        guess, share = self.bridge.H(state), self.share["targets"] / max(1, len(state))  # of each target; a part may have none
        cosine = share * F.cosine_similarity(guess, truth, dim=-1).sum()
        mse = share * (guess - truth).square().mean(1).sum()
        aim = mse if self.objective == "mse" else -cosine
        return lm + LAMBDA * aim, {"lm": lm.detach(), "mse": mse.detach(), "cosine": cosine.detach()}

    def export(self, folder: Path) -> None:
        """With H fitted once more: M is frozen, so that it need not be computed again for every step of H."""
        if self.fitted:
            self._fit(FITTED[1])
        save_bridge(self.bridge, folder)

    def sheet(self, path: Path) -> None:
        """There is nothing to look at."""


@torch.no_grad()
def foretold(config: AssistantConfig, world: World, device: str, init: Path, batches: int) -> tuple[Tensor, Tensor]:
    """What a finished bridge, in `init`, says of pictures to come: H(s) (N, d_F) after replies of a set's dialogues, and which
    pictures they are, (N,)."""
    task = BridgeTask(config, world, device, init, fitted=False)
    load_tensors(init / "bridge/bridge.safetensors", task.bridge)
    said, at = [], []
    for k in range(batches):
        batch = {n: t.to(device) for n, t in task.batch(np.random.default_rng((13, k)), 0.0).items()}
        said.append(task.bridge.H(task._forward(batch)[0]))
        at.append(batch["target"][batch["token_at"] >= 0])
    return torch.cat(said), torch.cat(at)
