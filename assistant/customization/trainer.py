"""The engine's teacher: which methods there are, what can be said of pictures beforehand, and a lesson's steps and previews.

Behind `requests.Trainer`: the session decides when a step is made, and keeps what `TrainingRun.state` gives. Knows no queue and no page.
"""

import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .dci_sampling import branches
from .infusion_sampling import prepare_infusion
from .concept_library import AnyConcept, ConceptLibrary, IcoConcept, InfusionConcept
from .concept_training import IcoRecipe, IcoTrainer, InfusionRecipe, InfusionTrainer, learned
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import Denoised
from ..errors import ConceptError, NotFiniteError, UnsafeError
from ..requests import Cancel, DatasetAdvice, Photo, TrainingRun, TrainingSpec
from ..files import write_png
from ..plan import a_or_an, listing

MOST_STEPS = 20  # of a preview
TRIES = 3  # steps in a row whose loss may overflow, as half precision now and then does
PREVIEW, PREVIEW_SEED = "a <{}> on the beach", 1  # one place, so that what changes is the concept
ALIKE = 0.04  # mean difference of two pictures, 0 to 1, below which they are taken for one
LIKELY = 0.6  # how sure a suggestion is

# Photos -> for each the likeliest class noun and how likely it is; empty where the engine has no names.
Namer = Callable[[Sequence[Photo]], Sequence[tuple[str, float]]]


class ConceptTrainer:
    """See `requests.Trainer`.

    Args:
        base: the text-to-image model that concepts are learned on; never changed.
        identity: hash of that model.
        size: side of its pictures, pixels.
        steps, guidance: of a preview.
        recipes: method -> options that are usual on this base model, where they are not the method's own.
    """

    def __init__(self, base: LatentDiffusion, identity: str, size: int, name: Namer, steps: int = 8, guidance: float = 3.0,
                 recipes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.base, self.identity, self.size, self.name, self.guidance = base, identity, size, name, guidance
        self.steps, self.recipes = min(steps, MOST_STEPS), dict(recipes or {})
        self.methods: dict[str, Callable[..., TrainingRun]] = {"infusion": InfusionRun, "ico": IcoRun}  # of this, a task and a state

    def open(self, folder: Path) -> ConceptLibrary:
        return ConceptLibrary(folder, self.identity, {name: attn.inner_dim for name, attn in self.base.cross_layers().items()})

    def begin(self, task: TrainingSpec, state: bytes | None = None) -> TrainingRun:
        """Raises ConceptError: an unknown method, or what cannot be learned so."""
        if task.kind not in self.methods:
            raise ConceptError(f"There is no way of learning called {task.kind!r}.", f"Choose one of {', '.join(self.methods)}.")
        return self.methods[task.kind](self, task, state)

    def advise(self, pictures: Sequence[Photo]) -> DatasetAdvice:
        """The likeliest class noun, and what makes learning worse: said before the time is spent, never forbidden."""
        if not pictures:
            return DatasetAdvice()
        found, warnings = list(self.name(pictures)), []
        if len(pictures) < 3:
            warnings.append(f"{len(pictures)} picture{'s are' if len(pictures) > 1 else ' is'} few: with 3 to 5, in different places, "
                            "what belongs to the thing is told from what stands around it.")
        small = [n for n, p in enumerate(pictures, 1) if min(p.width, p.height) < self.size]
        if small:
            are = f"Pictures {listing(list(map(str, small)))} are" if len(small) > 1 else f"Picture {small[0]} is"
            warnings.append(f"{are} smaller than {self.size} pixels: what is not there cannot be learned.")
        views = [np.asarray(self.fit(p).convert("RGB").resize((32, 32)), np.float32) / 255 for p in pictures]
        twins = [(a + 1, b + 1) for b in range(len(views)) for a in range(b) if np.abs(views[a] - views[b]).mean() < ALIKE]
        warnings += [f"Pictures {a} and {b} are almost the same: the second teaches nothing new." for a, b in twins]
        sure = [noun for noun, chance in found if chance >= LIKELY]
        noun = max(set(sure), key=sure.count) if sure else ""
        others = [f"picture {n} more like {a_or_an(other)} {other}" for n, (other, chance) in enumerate(found, 1) if other != noun and chance >= LIKELY]
        if noun and others:
            warnings.append(f"Most look like {a_or_an(noun)} {noun}, but {', '.join(others)}. One concept is one thing.")
        return DatasetAdvice(noun, tuple(warnings))

    def fit(self, photo: Photo) -> Image.Image:
        """A picture as it is learned from: its middle, square, at the base model's size."""
        image = Image.open(io.BytesIO(photo.png)).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.resize((self.size, self.size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


class _TrainingRun:
    """A `requests.TrainingRun`: steps of a learner, its state, and what is learned so far.

    Raises:
        ConceptError: an option that a recipe of `recipe_class` does not have, or a state that cannot be read.
    """

    recipe_class: Any

    def __init__(self, trainer: ConceptTrainer, task: TrainingSpec, state: bytes | None) -> None:
        self.trainer, self.task = trainer, task
        options, known = {**trainer.recipes.get(task.kind, {}), **task.options}, {field.name for field in dataclasses.fields(self.recipe_class)}
        if unknown := options.keys() - known:
            raise ConceptError(f"There is no option {sorted(unknown)[0]!r} of learning.", f"Choose from {', '.join(sorted(known))}.")
        self.recipe = self.recipe_class(**options)
        pictures = torch.from_numpy(np.stack([np.asarray(trainer.fit(p)) for p in task.pictures]))  # uint8 (P, H, W, 3)
        masks = [None if m is None else torch.from_numpy(np.asarray(trainer.fit(m).convert("L"), np.float32) / 255) for m in task.masks]
        self.learner = self.made(pictures, masks)
        if state is not None:
            try:
                self.learner.restore(load(state))
            except SafetensorError as error:
                raise ConceptError("What was learned so far cannot be read.", "Learn it anew.") from error

    def made(self, pictures: Tensor, masks: Sequence[Tensor | None]) -> Any:
        """The learner of pictures and of what was painted on each, (H, W) in 0..1."""
        raise NotImplementedError

    def concept(self, thumbnail: bytes = b"") -> AnyConcept:
        """What is learned so far."""
        raise NotImplementedError

    def drawn(self, cancel: Cancel) -> Denoised:
        """The preview's latents."""
        raise NotImplementedError

    @property
    def step(self) -> int:
        return self.learner.step_count

    @property
    def steps(self) -> int:
        return self.recipe.steps

    def advance(self) -> float:
        """The loss of one step. Where gradients overflow nothing is learned, and the next step is taken; after TRIES of them in a row it is given up."""
        for _ in range(TRIES):
            if math.isfinite(loss := self.learner.step()):
                return loss
        raise NotFiniteError(f"Learning <{self.task.name}> was given up at step {self.step}: its loss was not a finite number {TRIES} times in a row.",
                             "What was learned before is kept; learn it anew from other pictures, or start with --dtype float32.")

    def preview(self, cancel: Cancel) -> bytes | None:
        done = self.drawn(cancel)
        try:
            return None if done.stopped else write_png(self.trainer.base.decode(done.latents)[0])
        except UnsafeError:  # the lesson goes on
            return None

    def state(self) -> bytes:
        return save({k: t.contiguous() for k, t in self.learner.state().items()})

    def keep(self, library: ConceptLibrary, thumbnail: bytes) -> None:
        library.replace(self.concept(thumbnail))


class InfusionRun(_TrainingRun):
    """Infusion; pictures that nothing was painted on keep what the base model's own attention found."""

    recipe_class = InfusionRecipe

    def made(self, pictures: Tensor, masks: Sequence[Tensor | None]) -> InfusionTrainer:
        learner, self.painted = InfusionTrainer(self.trainer.base, pictures, self.task.noun, self.recipe), sum(mask is not None for mask in masks)
        for n, mask in enumerate(masks):
            if mask is not None:
                learner.masks[n] = F.interpolate(mask[None, None], learner.masks.shape[-2:], mode="area")[0].to(learner.masks)
        return learner

    def drawn(self, cancel: Cancel) -> Denoised:
        name = self.task.name
        drawing = prepare_infusion(self.trainer.base, PREVIEW.format(name), {name: self.task.noun}, lambda _: self.concept(), self.trainer.guidance)
        return drawing.draw([PREVIEW_SEED], self.trainer.steps, cancel=cancel)

    def concept(self, thumbnail: bytes = b"") -> InfusionConcept:
        recipe = {**dataclasses.asdict(self.recipe), "pictures": len(self.task.pictures), "painted": self.painted}
        return InfusionConcept(self.task.name, self.task.noun, self.trainer.identity, {k: r.detach().clone() for k, r in self.learner.residuals.items()},
                       self.step, recipe, thumbnail=thumbnail)


class IcoRun(_TrainingRun):
    """ICO; masks count if something was painted on every picture. Previews are the fine-tuned model's, without an auxiliary branch."""

    recipe_class = IcoRecipe

    def made(self, pictures: Tensor, masks: Sequence[Tensor | None]) -> IcoTrainer:
        painted = [mask for mask in masks if mask is not None]
        whole = torch.stack(painted) if painted and len(painted) == len(masks) else None
        return IcoTrainer(self.trainer.base, pictures, self.task.noun, self.recipe, whole)

    def drawn(self, cancel: Cancel) -> Denoised:
        return branches(self.trainer.base, self.concept(), f"a <{self.task.name}>", None).draw(
            [PREVIEW_SEED], guidance=self.trainer.guidance, steps=self.trainer.steps, cancel=cancel)

    def concept(self, thumbnail: bytes = b"") -> IcoConcept:
        return learned(self.learner, self.task.name, self.trainer.identity, thumbnail)
