"""Learns a concept from a few pictures, one step at a time, by Infusion (eq. 7) or by image-specific context optimisation (ICO).

Whoever calls `step` may stop at any of them. The base model is frozen. Infusion learns residuals; ICO learns words of its own, and what is added to keys and values
of cross-attention through the attention context.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..controls.infusion import ConceptInstance, Infusion, Queries, TokenAttention, residual_mask
from ..diffusion.attention import AttentionContext, TextStates
from ..diffusion.guidance import CONCEPT, CUSTOMIZED, FOUNDATION, TEXT, BatchRow
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import make_scheduler
from ..errors import ConceptError
from ..plan import a_or_an
from .concept_library import IcoConcept
from .concept_prompt import ContextTemplate, embed, residual_positions, token_positions, tokenize_with_placeholders

TEMPLATES = ("{a} {noun}", "a picture of {a} {noun}", "a drawing of {a} {noun}", "an image of {a} {noun}", "we see {a} {noun}")
MOST_PICTURES = 8
SCALE = 1024.0  # of the loss, on its way through the base model
SomeRecipe = TypeVar("SomeRecipe", bound="Recipe")


@dataclass(frozen=True)
class Recipe:
    """How a concept is learned, by whatever method.

    Raises:
        ConceptError: a value outside its limits.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"steps": (1, 5000), "batch": (1, 64)}

    steps: int = 300
    batch: int = 4
    flip: bool = False  # mirrored pictures too; not for writing, or what differs left and right
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            if not low <= value <= high or not math.isfinite(value):
                raise ConceptError(f"A concept cannot be learned with {name} {value}; it can be {low} to {high}.", "Choose another value.")


@dataclass(frozen=True)
class InfusionRecipe(Recipe):
    """The paper's rate and batch."""

    limits = {**Recipe.limits, "lr": (1e-5, 1.0), "residuals": (1, 8)}

    lr: float = 0.01
    residuals: int = 1  # more: truer to the subject, less varied


def lines(noun: str) -> list[str]:
    """TEMPLATES of a noun."""
    return [template.format(a=a_or_an(noun), noun=noun) for template in TEMPLATES]


class ConceptLearner(Generic[SomeRecipe]):
    """Learns one concept, step by step.

    Args:
        base: the text-to-image model; nothing of it is changed.
        pictures: uint8 RGB (P, H, W, 3) at the base model's size, 1 to MOST_PICTURES of them.
        noun: the class noun, as the base model knows it.
        masks: (P, H, W) in 0..1, where the subject is, painted by the user; None: what the method then does.

    Raises:
        ConceptError: no pictures, too many, masks that do not fit them, or a noun without a word.
    """

    prefix: str  # of a parameter's name in the state
    parameters: dict[str, Tensor]
    optimizer: torch.optim.Optimizer

    def __init__(self, base: LatentDiffusion, pictures: Tensor, noun: str, recipe: SomeRecipe, masks: Tensor | None = None) -> None:
        if not 1 <= len(pictures) <= MOST_PICTURES:
            raise ConceptError(f"{len(pictures)} pictures were given; a concept is learned from 1 to {MOST_PICTURES}.", "Choose a few good ones.")
        if masks is not None and masks.shape != pictures.shape[:3]:
            raise ConceptError(f"The masks have the shape {tuple(masks.shape)}, the pictures {tuple(pictures.shape[:3])}.", "Paint them anew.")
        if not noun.strip():
            raise ConceptError("A concept needs a class noun.", "Say what kind of thing it is, for instance: mug.")
        self.base, self.noun, self.recipe, self.step_count = base, noun.strip(), recipe, 0
        self.latents = base.encode_image(pictures)
        small = None if masks is None else F.interpolate(masks.to(self.latents)[:, None], self.latents.shape[-2:], mode="area")
        self.shown = ConceptImages(base, self.latents, small)

    def loss(self, at: Tensor, generator: torch.Generator) -> Tensor:
        """Of the pictures `at` (B,), on the CPU."""
        raise NotImplementedError

    def step(self) -> float:
        """One step; returns its loss. Everything about step k follows from (seed, k), so that a resumed run is the same run."""
        g = torch.Generator("cpu").manual_seed(self.recipe.seed * 1_000_003 + self.step_count)
        loss = self.loss(torch.randint(len(self.latents), (self.recipe.batch,), generator=g), g)
        scaled_backward_step(loss, self.optimizer)
        self.step_count += 1
        return float(loss.detach())

    def _flips(self, generator: torch.Generator) -> Tensor | None:
        """(B, 1, 1, 1) bool: which pictures are mirrored; None: none."""
        return (torch.rand(self.recipe.batch, 1, 1, 1, generator=generator) < 0.5).to(self.latents.device) if self.recipe.flip else None

    def _predict(self, noised: Tensor, t: Tensor, context: AttentionContext) -> Tensor:
        """The UNet's prediction, (b, C, h, w)."""
        unet = self.base.unet
        return unet(noised.to(unet.dtype), t, None, **context.arguments(), return_dict=False)[0].float()

    def state(self) -> dict[str, Tensor]:
        """All that a later `restore` needs to go on as if nothing had happened."""
        found = {"step": torch.tensor(self.step_count)}
        for name, p in self.parameters.items():
            kept = self.optimizer.state.get(p, {})
            found |= {f"{self.prefix}.{name}": p.detach().clone(), **{f"{k}.{name}": v.clone() for k, v in kept.items()}}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take a `state` of the same recipe up again.

        Raises:
            ConceptError: it is of another model or recipe.
        """
        at = {name: found for name in self.parameters if (found := state.get(f"{self.prefix}.{name}")) is not None}
        if any(name not in at or at[name].shape != p.shape for name, p in self.parameters.items()):
            raise ConceptError("What was learned so far is of another model or recipe.", "Start again.")
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(at[name])
                kept = {k: state[f"{k}.{name}"].clone() for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}.{name}" in state}
                if kept:
                    self.optimizer.state[p] = kept
        self.step_count = int(state["step"])


class InfusionTrainer(ConceptLearner[InfusionRecipe]):
    """Infusion's residuals, by eq. 8. Without masks the subject is where the base model attends to the noun."""

    prefix = "value"

    def __init__(self, base: LatentDiffusion, pictures: Tensor, noun: str, recipe: InfusionRecipe = InfusionRecipe(), masks: Tensor | None = None) -> None:
        super().__init__(base, pictures, noun, recipe, masks)
        self.prompts = lines(self.noun)
        self.states = base.encode_text(self.prompts)
        self.where = torch.cat([self._where(p) for p in self.prompts])
        if masks is None:
            self.shown.masks = self._found()
        self.masks = self.shown.masks  # may be painted over until the first step
        self.residuals = self.parameters = {name: torch.zeros(recipe.residuals, attn.inner_dim, device=self.latents.device, requires_grad=True)
                          for name, attn in base.cross_layers().items()}
        self.optimizer = torch.optim.AdamW(list(self.residuals.values()), lr=recipe.lr, weight_decay=0.0)

    def _where(self, prompt: str) -> Tensor:
        at = prompt.rindex(self.noun)
        length = self.states.shape[1]
        own = token_positions(self.base.tokenizer, prompt, [(at, at + len(self.noun))])
        return residual_mask(residual_positions(own, self.recipe.residuals, length), length)

    @torch.no_grad()
    def _found(self) -> Tensor:
        """(P, 1, h, w) in 0..1: the base model's attention to the noun, over layers, heads and a few noise levels."""
        generator = torch.Generator("cpu").manual_seed(self.recipe.seed)
        states, look = self.states[[0] * len(self.latents)], TokenAttention(self.where[0, 0].nonzero().flatten().tolist())
        for share in (0.3, 0.5, 0.7):
            t = torch.full((len(self.latents),), int(share * self.shown.timesteps), device=self.latents.device)
            noise = torch.randn(self.latents.shape, generator=generator).to(self.latents)
            context = AttentionContext({TEXT: states}, controls=(look,)).begin((BatchRow(FOUNDATION, TEXT),), len(states))
            self._predict(self.shown.scheduler.add_noise(self.latents, noise, t), t, context)
        return look.seen((self.latents.shape[-2], self.latents.shape[-1]))

    def loss(self, at: Tensor, generator: torch.Generator) -> Tensor:
        said = torch.randint(len(self.prompts), at.shape, generator=generator)
        tokens, use = {TEXT: self.states[said.to(self.states.device)]}, ConceptInstance(self.residuals, self.where[said])
        return self.shown.unet_loss(lambda noised, t: self._both(noised, t, tokens, use), at, generator, self._flips(generator))

    def _both(self, noised: Tensor, t: Tensor, tokens: Mapping[str, Tensor | TextStates], use: ConceptInstance) -> Tensor:
        """C's prediction for noised latents (B, C, h, w), with the queries of F, which sees the same and is not learned."""
        queries = Queries()
        with torch.no_grad():
            self._predict(noised, t, AttentionContext(tokens, controls=(queries,), cache=False).begin((BatchRow(FOUNDATION, TEXT),), len(noised)))
        context = AttentionContext(tokens, controls=(Infusion((use,), queries.kept),), cache=False).begin((BatchRow(CUSTOMIZED, TEXT),), len(noised))
        return self._predict(noised, t, context)


def scaled_backward_step(loss: Tensor, optimizer: torch.optim.Optimizer) -> bool:
    """One step down a loss that may have gone through a model of half precision, where gradients this small would vanish: they are
    scaled up on the way, and down again where they arrive. A power of two changes nothing in single precision.

    Returns:
        Whether a step was made: not where a gradient is not finite.
    """
    optimizer.zero_grad(set_to_none=True)
    (loss * SCALE).backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for gradient in gradients:
        gradient.div_(SCALE)
    finite = all(bool(g.isfinite().all()) for g in gradients)
    if finite:
        optimizer.step()
    return finite


OUTSIDE = 0.1  # how much of the loss what is not the subject keeps


class ConceptImages:
    """Pictures of one concept, encoded once.

    Args:
        base: the text-to-image model; nothing of it is changed.
        latents: (P, C, h, w) scaled.
        masks: (P, 1, h, w) in 0..1, where the subject is; None: everywhere.
    """

    def __init__(self, base: LatentDiffusion, latents: Tensor, masks: Tensor | None = None) -> None:
        self.latents, self.masks = latents, torch.ones_like(latents[:, :1]) if masks is None else masks
        self.scheduler = make_scheduler("ddim", base.scheduler_config)
        self.timesteps = self.scheduler.config.num_train_timesteps

    def noised(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (B, C, h, w) -> noised, timesteps (B,), drawn evenly, and what the UNet should predict."""
        t = torch.randint(self.timesteps, (len(latents),), generator=generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        kind = self.scheduler.config.prediction_type
        target = {"epsilon": noise, "sample": latents}[kind] if kind != "v_prediction" else self.scheduler.get_velocity(latents, noise, t)
        return self.scheduler.add_noise(latents, noise, t), t, target

    def unet_loss(self, predict: Callable[[Tensor, Tensor], Tensor], at: Tensor, generator: torch.Generator, flips: Tensor | None = None) -> Tensor:
        """Eq. 8 of the pictures `at` (B,).

        Args:
            predict: noised latents (B, C, h, w), timesteps (B,) -> the prediction. flips: (B, 1, 1, 1) bool, which to mirror.
        """
        at = at.to(self.latents.device)
        latents, masks = self.latents[at], self.masks[at]
        if flips is not None:
            latents, masks = (torch.where(flips, x.flip(-1), x) for x in (latents, masks))
        noised, t, target = self.noised(latents, generator)
        weight = OUTSIDE + (1 - OUTSIDE) * masks
        return (weight * (predict(noised, t) - target).square()).sum() / (weight.sum() * target.shape[1])


ALONE, WITH_DCI = "I4 T2 E I2", "I1 T3 E I1"  # the paper's two schemes
MANUAL = "a photo of a T3 E"  # what ICO is compared with


@dataclass(frozen=True)
class IcoRecipe(Recipe):
    """Raises ConceptError also for a scheme without a noun or without shared vectors."""

    limits = {**Recipe.limits, "lr": (1e-6, 1.0), "lr_attention": (0.0, 1.0), "prior": (0.0, 100.0)}

    lr: float = 0.02  # of the learned words, in units of the spread of the model's own words
    lr_attention: float = 0.02  # of what is added to keys and values, in units of their weights' spread
    scheme: str = WITH_DCI
    prior: float = 1.0  # how much it counts that other prompts of the noun go on being what the base model makes of them

    def __post_init__(self) -> None:
        super().__post_init__()
        ContextTemplate(self.scheme)


class IcoTrainer(ConceptLearner[IcoRecipe]):
    """ICO's words, keys and values. The loss is the prediction's, t uniform. Without masks, as in the paper, all of a picture counts alike."""

    prefix = "p"

    def __init__(self, base: LatentDiffusion, pictures: Tensor, noun: str, recipe: IcoRecipe = IcoRecipe(), masks: Tensor | None = None) -> None:
        super().__init__(base, pictures, noun, recipe, masks)
        self.scheme = ContextTemplate(recipe.scheme)
        pieces = self.scheme.pieces(self.noun, whole=True)
        self.spelled = tokenize_with_placeholders(base.tokenizer, pieces, range(len(pieces)))
        self.slots = {kind: [p for (k, _), at in zip(self.scheme.parts(), self.spelled.at) if k == kind for p in at] for kind in "IT"}
        self.others = base.encode_text(lines(self.noun))
        g = torch.Generator("cpu").manual_seed(recipe.seed)
        spread, device = base.word_spread().cpu(), self.latents.device

        def words(*shape: int) -> Tensor:
            return (spread * torch.randn(*shape, len(spread), generator=g)).to(device).requires_grad_()

        self.parameters = {"shared": words(len(self.slots["T"])), "own": words(len(pictures), len(self.slots["I"]))}
        groups = [{"params": list(self.parameters.values()), "lr": recipe.lr * float(spread.min())}]
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

    def _states(self, at: Tensor) -> Tensor | TextStates:
        """Text states of the prompts of pictures `at`."""
        slots, p = self.slots["I"] + self.slots["T"], self.parameters
        lines = [embed(self.base.words, self.spelled, slots, torch.cat([p["own"][i], p["shared"]])) for i in at.tolist()]
        return self.base.encode_embeddings(torch.stack(lines), self.spelled.end)

    def _said(self, states: Tensor | TextStates, noised: Tensor, t: Tensor, tuned: bool = True) -> Tensor:
        context = AttentionContext({TEXT: states}, cache=False, tuned=self.tuned() if tuned else None)
        return self._predict(noised, t, context.begin((BatchRow(CONCEPT, TEXT),), len(states)))

    def _drift(self, states: Tensor | TextStates, noised: Tensor, t: Tensor) -> Tensor:
        """How far the predictions for other prompts of the noun have gone from the base model's."""
        with torch.no_grad():
            before = self._said(states, noised, t, tuned=False)
        return (self._said(states, noised, t) - before).square().mean()

    def loss(self, at: Tensor, generator: torch.Generator) -> Tensor:
        flips, drifts = self._flips(generator), []
        states = self._states(at)
        others = self.others[torch.randint(len(self.others), at.shape, generator=generator).to(self.others.device)]

        def predict(noised: Tensor, t: Tensor) -> Tensor:
            if self.recipe.prior:
                drifts.append(self._drift(others, noised, t))
            return self._said(states, noised, t)

        return self.shown.unet_loss(predict, at, generator, flips) + self.recipe.prior * sum(drifts)


def learned(learner: IcoTrainer, name: str, identity: str, thumbnail: bytes = b"") -> IcoConcept:
    """What is learned so far, as the concept that is kept: [I] is thrown away.

    Args:
        name: as it will be written in a prompt. identity: hash of the base model.
    """
    recipe = {**dataclasses.asdict(learner.recipe), "pictures": len(learner.latents)}
    added = {layer: (k.detach().clone(), v.detach().clone()) for layer, (k, v) in learner.tuned().items()}
    return IcoConcept(name, learner.noun, identity, learner.shared.detach().clone(), added, learner.recipe.scheme, learner.step_count, recipe, thumbnail=thumbnail)
