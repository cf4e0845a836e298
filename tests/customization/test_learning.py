"""Learning a concept: only residuals change, they make the pictures likelier, and a resumed run is the same run."""


import numpy as np
import pytest
import torch

from assistant.customization.concept_training import InfusionRecipe, InfusionTrainer
from assistant.diffusion.guidance import CUSTOMIZED, FOUNDATION, TEXT, BatchRow
from assistant.controls.infusion import Infusion, Queries, ConceptInstance
from assistant.diffusion.attention import AttentionContext
from assistant.errors import ConceptError


def test_f_computed_apart_is_f_in_one_batch(base):
    learner = InfusionTrainer(base, torch.zeros(2, 128, 128, 3, dtype=torch.uint8), "cat", masks=torch.ones(2, 128, 128))
    x, t = torch.randn(2, *learner.latents.shape[1:], generator=torch.Generator().manual_seed(0)), torch.tensor([300, 700])
    use = ConceptInstance({n: torch.randn(r.shape, generator=torch.Generator().manual_seed(1)) for n, r in learner.residuals.items()}, learner.where[:2])
    tokens, queries = {TEXT: learner.states[:2]}, Queries()
    with torch.no_grad():
        learner._predict(x, t, AttentionContext(tokens, controls=(queries,)).begin((BatchRow(FOUNDATION, TEXT),), 2))
        apart = learner._predict(x, t, AttentionContext(tokens, controls=(Infusion((use,), queries.kept),)).begin((BatchRow(CUSTOMIZED, TEXT),), 2))
        rows = (BatchRow(FOUNDATION, TEXT), BatchRow(CUSTOMIZED, TEXT))
        both = learner._predict(x.repeat(2, 1, 1, 1), t.repeat(2), AttentionContext(tokens, controls=(Infusion((use,)),)).begin(rows, 2))
    torch.testing.assert_close(apart, both[2:], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_it_learns_the_pictures_and_leaves_the_base_model_bit_for_bit(base, pictures):
    before = {n: p.clone() for n, p in base.unet.named_parameters()}
    learner = InfusionTrainer(base, pictures, "cat", InfusionRecipe(steps=24, batch=4, flip=True))
    assert learner.masks.min() >= 0 and learner.masks.max() <= 1 and learner.masks.std() > 0.05
    losses = [learner.step() for _ in range(24)]
    again = InfusionTrainer(base, pictures, "cat", InfusionRecipe(steps=24, batch=4, flip=True))
    untrained = []
    for k in range(12, 24):  # the same draws, with nothing learned
        again.step_count = k
        again.optimizer.param_groups[0]["lr"] = 0.0
        untrained.append(again.step())
    assert np.mean(losses[12:]) < np.mean(untrained)
    assert all(r.abs().max() > 0 for r in learner.residuals.values())
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in base.unet.named_parameters())


@pytest.mark.slow
def test_what_was_interrupted_goes_on_as_if_nothing_had_happened(base, pictures):
    recipe, masks = InfusionRecipe(steps=4, batch=1), torch.ones(pictures.shape[:3])
    whole, first, second = (InfusionTrainer(base, pictures, "cat", recipe, masks) for _ in range(3))
    losses = [whole.step() for _ in range(4)]
    part = [first.step() for _ in range(2)]
    second.restore(first.state())
    part += [second.step() for _ in range(2)]
    assert part == losses and second.step_count == 4
    assert all(torch.equal(second.residuals[n], r) for n, r in whole.residuals.items())
    with pytest.raises(ConceptError, match="another model or recipe"):
        InfusionTrainer(base, pictures, "cat", InfusionRecipe(residuals=2), masks).restore(first.state())


@pytest.mark.parametrize("change, words", (({"steps": 0}, "steps 0; it can be 1 to 5000"), ({"lr": float("nan")}, "lr nan"),
                                           ({"residuals": 9}, "residuals 9")))
def test_a_recipe_outside_its_limits_is_refused(change, words):
    with pytest.raises(ConceptError, match=words):
        InfusionRecipe(**change)


def test_what_cannot_be_learned_from_is_said(base, pictures):
    for given, noun, words in ((pictures[:0], "cat", "0 pictures"), (pictures[:1].expand(9, -1, -1, -1), "cat", "9 pictures"), (pictures, " ", "class noun")):
        with pytest.raises(ConceptError, match=words):
            InfusionTrainer(base, given, noun)
    with pytest.raises(ConceptError, match="masks"):
        InfusionTrainer(base, pictures, "cat", masks=torch.ones(1, 4, 4))
