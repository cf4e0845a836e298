"""A lesson of ICO: steps, previews and state of an `IcoLearner`, as `messages.Course` wants them. Knows no queue and no page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save

from assistant.concepts.branches import branches
from assistant.concepts.ico import IcoLearner, IcoRecipe, learned
from assistant.concepts.learning import go_on, recipe_of
from assistant.concepts.library import Library
from assistant.concepts.tuned import Tuned
from assistant.messages import Cancel, Task
from assistant.png import write_png

if TYPE_CHECKING:
    from assistant.concepts.teaching import Teacher

PREVIEW_SEED = 1


class IcoCourse:
    """A `messages.Course`. Options: those of `IcoRecipe`.

    Raises:
        ConceptError: an option that is not known, or what cannot be learned so.
    """

    def __init__(self, teacher: Teacher, task: Task, state: bytes | None) -> None:
        self.teacher, self.task = teacher, task
        pictures = torch.from_numpy(np.stack([np.asarray(teacher.fit(p)) for p in task.pictures]))
        painted = bool(task.masks) and all(mask is not None for mask in task.masks)
        masks = np.stack([np.asarray(teacher.fit(m).convert("L"), np.float32) / 255 for m in task.masks]) if painted else None
        self.recipe = recipe_of(IcoRecipe, {**teacher.recipes.get(task.kind, {}), **task.options})
        self.learner = IcoLearner(teacher.base, pictures, task.noun, self.recipe, None if masks is None else torch.from_numpy(masks))
        go_on(self.learner, state)

    @property
    def step(self) -> int:
        return self.learner.step_count

    @property
    def steps(self) -> int:
        return self.recipe.steps

    def advance(self) -> float:
        return self.learner.step()

    def preview(self, cancel: Cancel) -> bytes | None:
        """The fine-tuned model by itself, without an auxiliary branch."""
        base = self.teacher.base
        done = branches(base, self.concept(), f"a <{self.task.name}>", None).draw(
            [PREVIEW_SEED], guidance=self.teacher.guidance, steps=self.teacher.steps, cancel=cancel)
        return None if done.stopped else write_png(base.decode(done.latents)[0])

    def state(self) -> bytes:
        return save({k: t.contiguous() for k, t in self.learner.state().items()})

    def concept(self, thumbnail: bytes = b"") -> Tuned:
        """What is learned so far."""
        return learned(self.learner, self.task.name, self.teacher.identity, thumbnail)

    def keep(self, library: Library, thumbnail: bytes) -> None:
        library.replace(self.concept(thumbnail))
