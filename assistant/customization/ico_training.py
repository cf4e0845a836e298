"""Learns a concept by image-specific context optimisation (ICO): words of its own, and keys and values of cross-attention.

The base model is frozen: what is learned is added to its keys and values through the attention context. One step at a time, whoever calls
`step` may stop at any of them. Knows no files, jobs or pages.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .infusion_training import Learned, ConceptImages, check_pictures, scaled_backward_step, lines
from .ico_file import IcoConcept
from .placeholder_tokens import ContextTemplate, embed, tokenize_with_placeholders
from ..diffusion.conditions import TEXT
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import CONCEPT, BatchRow
from ..errors import ConceptError

ALONE, WITH_DCI = "I4 T2 E I2", "I1 T3 E I1"  # the paper's two schemes
MANUAL = "a photo of a T3 E"  # what ICO is compared with


@dataclass(frozen=True)
class IcoRecipe:
    """How a concept is learned.

    Raises:
        ConceptError: a value outside its limits, or a scheme without a noun or without shared vectors.
    """

    steps: int = 300
    batch: int = 4
    lr: float = 0.02  # of the learned words, in units of the spread of the model's own words
    lr_attention: float = 0.02  # of what is added to keys and values, in units of their weights' spread
    scheme: str = WITH_DCI
    prior: float = 1.0  # how much it counts that other prompts of the noun go on being what the base model makes of them
    flip: bool = False  # mirrored pictures too
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("steps", 1, 5000), ("batch", 1, 64), ("lr", 1e-6, 1.0), ("lr_attention", 0.0, 1.0), ("prior", 0.0, 100.0)):
            value = getattr(self, name)
            if not low <= value <= high or not math.isfinite(value):
                raise ConceptError(f"A concept cannot be learned with {name} {value}; it can be {low} to {high}.", "Choose another value.")
        ContextTemplate(self.scheme)


class IcoTrainer(Learned):
    """Learns one concept; the interface of `InfusionTrainer`.

    The loss is the prediction's, t uniform.

    Args:
        base: the text-to-image model; nothing of it is changed.
        pictures: uint8 RGB (P, H, W, 3) at the base model's size, 1 to MOST_PICTURES of them.
        noun: the class noun, as the base model knows it.
        masks: (P, H, W) in 0..1, where the subject is; None, as in the paper: all of a picture counts alike.

    Raises:
        ConceptError: no pictures, too many, masks that do not fit them, or a noun without a word.
    """

    prefix = "p"

    def __init__(self, base: LatentDiffusion, pictures: Tensor, noun: str, recipe: IcoRecipe = IcoRecipe(), masks: Tensor | None = None) -> None:
        check_pictures(pictures, noun, masks)
        self.base, self.noun, self.recipe, self.scheme = base, noun.strip(), recipe, ContextTemplate(recipe.scheme)
        self.latents = base.encode_image(pictures)
        small = None if masks is None else F.interpolate(masks.to(self.latents)[:, None], self.latents.shape[-2:], mode="area")
        self.shown = ConceptImages(base, self.latents, small)
        pieces = self.scheme.pieces(self.noun, whole=True)
        self.spelled = tokenize_with_placeholders(base.tokenizer, pieces, range(len(pieces)))
        self.slots = {kind: [p for (k, _), at in zip(self.scheme.parts(), self.spelled.at) if k == kind for p in at] for kind in "IT"}
        self.others = base.encode_text(lines(self.noun))
        self.table = base.text_encoder.get_input_embeddings()
        g = torch.Generator("cpu").manual_seed(recipe.seed)
        spread, device, width = float(self.table.weight.std()), self.latents.device, self.table.weight.shape[1]

        def words(*shape: int) -> Tensor:
            return (spread * torch.randn(*shape, width, generator=g)).to(device).requires_grad_()

        self.parameters = {"shared": words(len(self.slots["T"])), "own": words(len(pictures), len(self.slots["I"]))}
        groups = [{"params": list(self.parameters.values()), "lr": recipe.lr * spread}]
        for layer, attn in base.cross_layers().items():
            for name, linear in (("key", attn.to_k), ("value", attn.to_v)):
                added = torch.zeros(linear.weight.shape, device=device, requires_grad=True)
                self.parameters[f"{name}.{layer}"] = added
                groups.append({"params": [added], "lr": recipe.lr_attention * float(linear.weight.std())})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)

    @property
    def shared(self) -> Tensor:
        """[T], (S, d_text): what is kept of the words."""
        return self.parameters["shared"]

    def tuned(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What is added to keys and values, as `AttentionContext.tuned` wants it."""
        return {k.removeprefix("key."): (p, self.parameters[f"value.{k.removeprefix('key.')}"]) for k, p in self.parameters.items()
                if k.startswith("key.")}

    def _states(self, at: Tensor) -> Tensor:
        """Text states (b, N, d_text) of the prompts of pictures `at`."""
        slots, p = self.slots["I"] + self.slots["T"], self.parameters
        lines = [embed(self.table, self.spelled, slots, torch.cat([p["own"][i], p["shared"]])) for i in at.tolist()]
        return self.base.encode_embeddings(torch.stack(lines))

    def _context(self, states: Tensor, tuned: bool = True) -> AttentionContext:
        return AttentionContext({TEXT: states}, cache=False, tuned=self.tuned() if tuned else None).begin((BatchRow(CONCEPT, TEXT),), len(states))

    def _said(self, states: Tensor, noised: Tensor, t: Tensor, tuned: bool = True) -> Tensor:
        """The UNet's prediction, (b, C, h, w)."""
        unet = self.base.unet
        kwargs = {"context": self._context(states, tuned)}
        return unet(noised.to(unet.dtype), t, None, cross_attention_kwargs=kwargs, return_dict=False)[0].float()

    def _drift(self, states: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        """How far the predictions for other prompts of the noun have gone from the base model's."""
        with torch.no_grad():
            before = self._said(states, noised, t, tuned=False)
        return (self._said(states, noised, t) - before).square().mean()

    def step(self) -> float:
        """One step; returns its loss. Everything about step k follows from (seed, k), so that a resumed run is the same run."""
        r, device = self.recipe, self.latents.device
        g = torch.Generator("cpu").manual_seed(r.seed * 1_000_003 + self.step_count)
        at = torch.randint(len(self.latents), (r.batch,), generator=g)
        flips = (torch.rand(r.batch, 1, 1, 1, generator=g) < 0.5).to(device) if r.flip else None
        states, others = self._states(at), self.others[torch.randint(len(self.others), (r.batch,), generator=g).to(device)]
        drifts = []

        def predict(noised: Tensor, t: Tensor) -> Tensor:
            if r.prior:
                drifts.append(self._drift(others, noised, t))
            return self._said(states, noised, t)

        loss = self.shown.unet_loss(predict, at.to(device), g, flips)
        loss = loss + r.prior * sum(drifts)
        scaled_backward_step(loss, self.optimizer)
        self.step_count += 1
        return float(loss.detach())


def learned(learner: IcoTrainer, name: str, identity: str, thumbnail: bytes = b"") -> IcoConcept:
    """What is learned so far, as the concept that is kept: [I] is thrown away.

    Args:
        name: as it will be written in a prompt. identity: hash of the base model.
    """
    recipe = {**dataclasses.asdict(learner.recipe), "pictures": len(learner.latents)}
    added = {layer: (k.detach().clone(), v.detach().clone()) for layer, (k, v) in learner.tuned().items()}
    return IcoConcept(name, learner.noun, identity, learner.shared.detach().clone(), added, learner.recipe.scheme, learner.step_count, recipe, thumbnail=thumbnail)
