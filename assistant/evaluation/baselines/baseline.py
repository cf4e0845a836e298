"""What all baselines share: a copy of the base model, the words that stand for the concept, one step of training, drawing.

A baseline says which parameters learn. All of them may change what the first guess reads: the reader of words' layer is one of the
cross-attention layers. The base model itself is left as it is. Where a method's paper preserves the prior, other prompts of the noun
go on being read as the base model reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...concepts.learning import TEMPLATES, UNET_EVERY
from ...concepts.shown import Shown, drift
from ...conditioning import TEXT
from ...decoder.attention import Seam
from ...decoder.diffusion import Diffusion
from ...decoder.rows import CONDITIONAL, Row

RARE = "sks"  # DreamBooth's identifier: a word that means nothing to the base model
TOKEN = "<new>"  # a token of its own, for methods that learn one


class Baseline:
    """One concept, learned one step at a time.

    Args:
        base: what is copied. shown: its pictures. noun: the class noun.
        lr: None takes the method's own, near-best among the ones tried on the miniature.
    """

    name = ""
    lr = 1e-3
    prior = 1.0  # how much it counts that other prompts of the noun stay what they were; 0: the method's paper has no such term

    def __init__(self, base: Diffusion, shown: Shown, noun: str, lr: float | None = None, batch: int = 4, seed: int = 0) -> None:
        self.base, self.shown, self.noun, self.batch, self.seed, self.step_count = base, shown, noun, batch, seed, 0
        unet, text, reader = (copy.deepcopy(m) for m in (base.unet, base.text_encoder, base.text_reader))
        self.model = Diffusion(unet, base.vae, base.scheduler_config, text, copy.deepcopy(base.tokenizer), preview=base.preview,
                               first_guess=base.first_guess, text_reader=reader, guess_left=base.guess_left)
        for module in (unet, text, reader):
            if module is not None:
                module.requires_grad_(False)
        self.phrase = f"{RARE} {noun}"
        with torch.random.fork_rng(devices=[]):  # what a library draws for fresh parameters
            torch.manual_seed(seed)
            self.parameters = [p.requires_grad_() for p in self.learned()]
        self.rows = (Row(CONDITIONAL, TEXT),)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.lr if lr is None else lr, weight_decay=0.0)
        self.prompts, self.others = ([t.format(a="a" if what[0] not in "aeiou" else "an", noun=what) for t in TEMPLATES]
                                     for what in (self.phrase, noun))

    def learned(self) -> Sequence[nn.Parameter]:
        """The parameters that learn; fresh ones are made here."""
        raise NotImplementedError

    def step(self) -> float:
        """One step of eq. 8 on the model's own words; returns its loss."""
        g = torch.Generator("cpu").manual_seed(self.seed * 1_000_003 + self.step_count)
        at = torch.randint(len(self.shown.latents), (self.batch,), generator=g)
        said = torch.randint(len(self.prompts), (self.batch,), generator=g).tolist()
        seam = Seam({TEXT: self.states([self.prompts[k] for k in said])}, cache=False).begin(self.rows, self.batch)
        if self.shown.guessed and self.step_count % UNET_EVERY != UNET_EVERY - 1:
            loss = self.shown.guess_loss(self.model.text_reader(seam), at)
            if self.prior:
                loss = loss + self.prior * self._drift(g)
        else:
            loss = self.shown.unet_loss(lambda x, t: self.model.unet(x, t, None, cross_attention_kwargs={"seam": seam}, return_dict=False)[0],
                                        at, g)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step_count += 1
        return float(loss.detach())

    def _drift(self, g: torch.Generator) -> Tensor:
        """How far the names of one other prompt of the noun have gone from the base model's."""
        other = [self.others[int(torch.randint(len(self.others), (1,), generator=g))]]
        with torch.no_grad():
            before = self.base.text_reader(Seam({TEXT: self.base.encode_text(other)}).begin(self.rows, 1))
        return drift(self.model.text_reader(Seam({TEXT: self.states(other)}, cache=False).begin(self.rows, 1)), before)

    def states(self, prompts: Sequence[str]) -> Tensor:
        """`Diffusion.encode_text` with gradients."""
        length = self.model.tokenizer.model_max_length
        ids = self.model.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        return self.model.text_encoder(ids)[0]

    def storage(self) -> int:
        """Bytes of a concept in half precision."""
        return 2 * sum(p.numel() for p in self.parameters)

    def new_token(self) -> nn.Parameter:
        """The token embeddings with one more row, TOKEN's, that starts as the class noun's; only that row will change."""
        tokenizer, text = self.model.tokenizer, self.model.text_encoder
        noun = tokenizer(self.noun, add_special_tokens=False)["input_ids"]
        tokenizer.add_tokens(TOKEN)
        text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        table = text.get_input_embeddings().weight
        with torch.no_grad():
            table[-1] = table[noun].mean(0)
        table.requires_grad_().register_hook(lambda grad: torch.cat([torch.zeros_like(grad[:-1]), grad[-1:]]))
        return table
