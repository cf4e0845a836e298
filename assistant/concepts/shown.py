"""What a concept's few pictures ask of a model (Infusion, eq. 8): the loss of what it predicts of them, guess and UNet alike.

A base model with a first guess predicts a whole picture from words alone at all timesteps but the last few: there eq. 8 is the
error of what the guess decides to draw, expected over its lots: decisions have no gradient, their likelihoods have. Only the subject's
names are learned so: the scene's are what the noised picture shows, which is told from another at nine in ten timesteps. (Learned
too, for the tenth, a concept wore what it happened to wear in its pictures.) Knows no method: who learns brings logits and predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from assistant.conditioning import TEXT
from assistant.decoder.attention import Seam
from assistant.decoder.diffusion import Diffusion
from assistant.decoder.first_guess import subject_names
from assistant.decoder.rows import FOUNDATION, Row
from assistant.decoder.sampling import make_scheduler

OUTSIDE = 0.1  # how much of the loss what is not the subject keeps
SWEEPS = 2  # over all names, until a picture is found again in the books


class Shown:
    """Pictures of one concept, encoded once.

    Args:
        base: the text-to-image model; nothing of it is changed.
        latents: (P, C, h, w) scaled.
        noun: the class noun.
        masks: (P, 1, h, w) in 0..1, where the subject is; None: where the guess lays it, or everywhere without a guess.
    """

    def __init__(self, base: Diffusion, latents: Tensor, noun: str, masks: Tensor | None = None) -> None:
        self.base, self.latents = base, latents
        self.scheduler = make_scheduler("ddim", base.scheduler_config)
        last = self.scheduler.config.num_train_timesteps
        self.guessed = base.text_reader is not None and base.first_guess is not None
        self.last = max(1, round(base.guess_left * last)) if self.guessed else last  # the UNet's timesteps lie below
        if self.guessed:
            self.names = self._found(noun)  # what each picture shows, in the guess's own names: name -> (P,)
            outline = base.first_guess.outline_of(self._one_hot(self.names)).view(len(latents), 1, *latents.shape[2:])
        self.masks = masks if masks is not None else outline if self.guessed else torch.ones_like(latents[:, :1])
        self._lost: dict[str, Tensor] | None = None

    @torch.no_grad()
    def _found(self, noun: str) -> dict[str, Tensor]:
        """F's reading of the pictures: from what the noun says, one name after the other takes the value that draws them best."""
        states = self.base.encode_text([noun])
        said = self.base.text_reader(Seam({TEXT: states}).begin((Row(FOUNDATION, TEXT),), 1))
        count, reader = len(self.latents), self.base.text_reader
        shares = {k: t.float().softmax(1).expand(count, -1).to(self.latents) for k, t in said.items()}
        shares["kind"] = F.one_hot(shares["kind"].argmax(1), shares["kind"].shape[1]).to(self.latents)
        subject = subject_names(self.base.first_guess.config)
        scene = [k for k in ("style", "context", "light", "pose") if k in reader.counts]
        order = [*scene, *(k for k in subject if k != "kind"), *(k for k in reader.counts if k not in subject and k not in scene)]
        for _ in range(SWEEPS):
            for name in order:
                best = self._errors(shares, name, self.latents, torch.ones_like(self.latents[:, :1])).argmin(1)
                shares[name] = F.one_hot(best, shares[name].shape[1]).to(self.latents)
        return {k: t.argmax(1) for k, t in shares.items()}

    def _one_hot(self, names: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: F.one_hot(v, self.base.text_reader.counts[k]).to(self.latents) for k, v in names.items()}

    def _errors(self, shares: Mapping[str, Tensor], name: str, latents: Tensor, weight: Tensor) -> Tensor:
        """Shares of every name, (B, count) each -> (B, count of `name`): the weighted squared error of drawing each of its values."""
        count, batch = shares[name].shape[1], len(latents)
        tried = {k: t.repeat_interleave(count, 0) for k, t in shares.items() if k != name}
        tried[name] = torch.eye(count, device=latents.device, dtype=latents.dtype).repeat(batch, 1)
        drawn = self.base.first_guess.draw(tried, least=1e-3).unflatten(0, (batch, count))
        error = weight[:, None] * (drawn - latents[:, None]).square()
        return error.flatten(2).sum(2) / (weight.flatten(1).sum(1, keepdim=True) * latents.shape[1])

    @property
    def errors(self) -> dict[str, Tensor]:
        """The subject's names -> (P, count): what each picture loses with each value, the other names as it shows them. Kept from the
        first call."""
        if self._lost is None:
            with torch.no_grad():
                shown = self._one_hot(self.names)
                weight, names = OUTSIDE + (1 - OUTSIDE) * self.masks, subject_names(self.base.first_guess.config)
                self._lost = {k: self._errors(shown, k, self.latents, weight) for k in names}
        return self._lost

    def guess_loss(self, logits: Mapping[str, Tensor], at: Tensor) -> Tensor:
        """Eq. 8 where the guess predicts: what the pictures `at` (B,) lose, expected over what logits (B, count) of the subject's names decide.

        One name at a time: the error of each of its values times how likely it is.
        """
        total = 0.0
        colour = self._one_hot({"colour": self.names["colour"][at]})["colour"]
        for name, errors in self.errors.items():
            found = logits[name].float().log_softmax(1)
            if name == "second":  # as `TextReader.decide` takes it, beside the first
                found = found + colour @ self.base.text_reader.pairs.float()
            total = total + (found.softmax(1) * errors[at]).sum(1).mean()
        return total

    def noised(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (B, C, h, w) -> noised, timesteps (B,) of those that the UNet takes, and what it should predict."""
        t = torch.randint(self.last, (len(latents),), generator=generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        kind = self.scheduler.config.prediction_type
        target = {"epsilon": noise, "sample": latents}[kind] if kind != "v_prediction" else self.scheduler.get_velocity(latents, noise, t)
        return self.scheduler.add_noise(latents, noise, t), t, target

    def unet_loss(self, predict: Callable[[Tensor, Tensor], Tensor], at: Tensor, generator: torch.Generator, flips: Tensor | None = None) -> Tensor:
        """Eq. 8 where the UNet predicts.

        Args:
            predict: noised latents (B, C, h, w), timesteps (B,) -> the prediction. flips: (B, 1, 1, 1) bool, which to mirror.
        """
        latents, masks = self.latents[at], self.masks[at]
        if flips is not None:
            latents, masks = (torch.where(flips, x.flip(-1), x) for x in (latents, masks))
        noised, t, target = self.noised(latents, generator)
        weight = OUTSIDE + (1 - OUTSIDE) * masks
        return (weight * (predict(noised, t) - target).square()).sum() / (weight.sum() * target.shape[1])


def drift(now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> Tensor:
    """How far a reading of words, logits (b, count) of every name, has gone from what it was: a divergence, summed over names.

    What preserving the prior (Ruiz et al., 2023) comes to where words are read into names.
    """
    return sum(F.kl_div(found.log_softmax(1), before[k].log_softmax(1), log_target=True, reduction="batchmean") for k, found in now.items())
