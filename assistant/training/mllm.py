"""Trains V, H and the learnable token with M frozen (CAFE, eq. 2): L_LM + lambda MSE(H(s), F(target)); or M from scratch together with them (LLaVA's second stage).

The bridge's task knows the drawn world and sets encoded beforehand by one interface (`datasets`). Table 4's cosine variant is `objective="cosine"`; there both go
without the fit of H that least squares would decide. At full size M is an LLM that has read the web, and stays frozen; the miniature's has read nothing. Once M is
trained, the bridge goes on with V, H and the token alone. Dialogues without a photo are learned beside, so that M asks for one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from ..checkpoints import OUTSIDE, TAUGHT, can_quantise, in_4_bits, load_llama, load_tensors, save_bridge, save_llama
from ..config import AssistantConfig
from ..errors import ConfigError, DeviceError
from ..files import SHARED, write_whole
from ..models.mllm import Bridge, PromptBuilder
from .datasets import DialogueSource, WorldDialogues
from .loop import Task
from .losses import ridge, training_kernel
from .recipe import BridgeNumbers
from .world_dataset import DialogueDataset, WorldDataset, dialogue_tokenizer, outside_words

FITTED = 320  # batches on which H is fitted at the end
FITTING = 3000  # steps of that, if H has a hidden layer


class ProjectorTask(Task):
    """`init` is a folder with llama, or `llama` is (M, its tokenizer); `warm` one with a bridge to go on from, or none;
    `checkpointing` computes M's activations twice instead of keeping them."""

    name = "bridge"
    share = {"words": 1.0, "targets": 1.0}  # the training loop sets it

    def __init__(self, config: AssistantConfig, source: DialogueSource, device: str, init: Path, batch_size: int = 32, objective: str = "mse",
                 numbers: BridgeNumbers = BridgeNumbers(), llama: tuple[Any, Any] | None = None, checkpointing: bool = False,
                 warm: Path | None = None) -> None:
        self.source, self.device, self.batch_size, self.objective = source, device, batch_size, objective
        self.numbers, self.lr = numbers, numbers.lr
        self.llama, self.tokenizer = llama or frozen_llama(init / "llama", device)
        if checkpointing:
            self.llama.gradient_checkpointing_enable({"use_reentrant": False})
            self.llama.train()  # without which it keeps them all the same; it has no dropout
        self.head = PromptBuilder(config.mllm, self.tokenizer).opening("", True).picture  # tokens before the picture
        self.bridge = Bridge(config.mllm, config.encoders.patch_width).to(device)
        if warm:
            load_tensors(warm / "bridge.safetensors", self.bridge)
        else:
            with torch.no_grad():
                self.bridge.token.copy_(self.llama.get_input_embeddings().weight[self.tokenizer.eos_token_id])
        self.bridge.train()

    @torch.no_grad()
    def _fit(self, batches: int) -> None:
        """Set H to the best map from M's state to F, found on states that are computed once."""
        states, truths = [], []
        for k in range(batches):
            batch = {n: t.to(self.device) for n, t in self.source.batch(np.random.default_rng((11, k)), self.batch_size).items()}
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
        mean, spread, first = states.mean(0), states.std(0), cast(Any, self.bridge.H)[0]
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

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return self.source.batch(rng, self.batch_size)

    def tally(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """What the two means of the loss are over."""
        return {"words": float(batch["spoken"][:, 1:].sum()), "targets": float((batch["token_at"] >= 0).sum())}

    def _forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """s (B', d_M) and F(target) (B', d_F) where there is a target, and all hidden states behind the picture's."""
        words = self.llama.get_input_embeddings()(batch["lines"]).clone()
        marked = (batch["token_at"] >= 0).nonzero().squeeze(1)
        words[marked, batch["token_at"][marked]] = self.bridge.token.to(words.dtype)
        seen, head = self.bridge.V(self.source.seen(batch).float()).to(words.dtype), self.head
        hidden = self.llama.model(inputs_embeds=torch.cat([words[:, :head], seen, words[:, head:]], 1), use_cache=False).last_hidden_state
        hidden = torch.cat([hidden[:, :head], hidden[:, head + seen.shape[1]:]], 1)
        return hidden[marked, batch["token_at"][marked]].float(), self.source.truths(batch), hidden

    def spoken(self, hidden: Tensor, lines: Tensor, counts: Tensor) -> Tensor:
        """L_LM: the mean over what M says, (B, L), each token as much as it counts."""
        counts = counts[:, 1:].float()
        keep = counts > 0
        losses = F.cross_entropy(self.llama.lm_head(hidden[:, :-1][keep]).float(), lines[:, 1:][keep], reduction="none")
        return (losses * counts[keep]).sum() / counts.sum()

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        state, truth, hidden = self._forward(batch)
        lm = self.share["words"] * self.spoken(hidden, batch["lines"], batch["spoken"])
        found, share = self.bridge.H(state), self.share["targets"] / max(1, len(state))  # of each target; a part may have none
        cosine = share * F.cosine_similarity(found, truth, dim=-1).sum()
        mse = share * (found - truth).square().mean(1).sum()
        aim = mse if self.objective == "mse" else -cosine
        return lm + self.numbers.weight * aim, {"lm": lm.detach(), "mse": mse.detach(), "cosine": cosine.detach()}

    def export(self, folder: Path) -> None:
        """With H fitted: M is frozen, so that it need not be computed again for every step of H."""
        if self.numbers.fitted:
            self._fit(FITTED)
        save_bridge(self.bridge, folder)


KINDS = ("float32", "bfloat16", "4bit")


def frozen_llama(folder: Path, device: str, kind: str = "float32") -> tuple[Any, Any]:
    """M and its tokenizer. 4bit is NF4 with bfloat16 arithmetic (Dettmers et al., 2023).

    Raises:
        ConfigError: another kind than `KINDS`.
        DeviceError: 4bit without bitsandbytes.
        WeightsError: `folder` holds no Llama.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no precision named {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
    if kind != "4bit":
        llama, tokenizer = load_llama(folder, torch.float32 if kind == "float32" else torch.bfloat16)
        return llama.to(device), tokenizer
    if not can_quantise():
        raise DeviceError("A language model in 4 bits needs the package bitsandbytes, which is not installed.",
                          "Run: pip install bitsandbytes, or use --language-dtype bfloat16.")
    return load_llama(folder, torch.bfloat16, **in_4_bits(torch.device(device), torch.bfloat16))


ALONE = 0.0625  # share of a batch that are dialogues without a photo
NUMBERS = BridgeNumbers(lr=3e-3, fitted=False)


class LanguageTask(ProjectorTask):
    """`init` is a folder with dino and clip; `warm` one with an M and a bridge to go on from, or none."""

    name = "language"

    def __init__(self, config: AssistantConfig, world: WorldDataset, talks: DialogueDataset, device: str, init: Path, batch_size: int = 32,
                 warm: Path | None = None) -> None:
        tokenizer = dialogue_tokenizer(config)
        llama = load_llama(warm / "llama")[0] if warm else cast(Any, LlamaForCausalLM)(LlamaConfig(
            **config.mllm.llama, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, attn_implementation="sdpa"))  # pyright: ignore[reportCallIssue]  # every config takes it
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
        """`llama` and `bridge` below `folder`, rounded to bfloat16's eight bits: the files pack a fifth smaller."""
        with torch.no_grad():
            for p in (*self.llama.parameters(), *self.bridge.parameters()):
                p.copy_(p.bfloat16())
        save_llama(self.llama, self.tokenizer, folder / "llama")
        for name, words in ((TAUGHT, self.talks.taught(self.tokenizer)), (OUTSIDE, outside_words())):
            write_whole(folder / "llama" / name, json.dumps(words).encode(), SHARED)
        save_bridge(self.bridge, folder / "bridge")
