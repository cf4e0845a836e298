"""What Infusion is compared with, and by what: each baseline changes only what it says, metrics equal their closed forms."""

import random
import sys

import numpy as np
import pytest
import torch

from assistant.customization.concept_training import ConceptImages, InfusionRecipe, InfusionTrainer
from assistant.errors import ConfigError
from assistant.evaluation import baselines
from assistant.evaluation.baselines import BASELINES, LINES, DreamBoothLora, TextualInversion, draw_plain, said
from assistant.evaluation.infusion import curves, divergence, others
from assistant.evaluation.test_cases import frechet, wasserstein
from assistant.evaluation.dci import subject
from tests.tiny_unet import drawn


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What preserves the prior is drawn in two steps."""
    monkeypatch.setattr(baselines, "PRIOR_PICTURES", 2)
    monkeypatch.setattr(baselines, "draw_plain", lambda base, lines, seeds, guidance: draw_plain(base, lines, seeds, 2, guidance))


@pytest.fixture(scope="module")
def one():
    return subject(1)


@pytest.fixture(scope="module")
def shown(base, one):
    return ConceptImages(base, base.encode_image(one.pictures(128)))


def weights(base):
    return {f"{k}.{n}": p.clone() for k, m in (("unet", base.unet), ("text", base.text_encoder))
            for n, p in m.named_parameters()}


def test_few_samples_of_many_dimensions_have_the_distance_that_the_covariances_give():
    a, b = drawn(5, 7, seed=1, dtype=torch.float64), 2 * drawn(6, 7, seed=2, dtype=torch.float64) + 1

    def root(s):
        values, vectors = torch.linalg.eigh(s)
        return vectors * values.clamp_min(0).sqrt() @ vectors.T

    s, r = torch.cov(a.T), torch.cov(b.T)
    whole = (a.mean(0) - b.mean(0)).square().sum() + s.trace() + r.trace() - 2 * root(root(s) @ r @ root(s)).trace()
    assert frechet(a, b) == pytest.approx(float(whole), rel=1e-5)
    assert frechet(a, a + 3.0) == pytest.approx(7 * 9.0) and frechet(a, a) == pytest.approx(0.0, abs=1e-9)
    centred = a - a.mean(0)
    assert wasserstein(centred, 3 * centred) == pytest.approx(2 * float(s.trace()) ** 0.5)  # spreads s and 3 s: (3 - 1)^2 tr S


@pytest.mark.parametrize("kind", BASELINES, ids=lambda kind: kind.name)
def test_a_baseline_learns_what_it_says_and_leaves_the_base_model(base, shown, one, kind):
    before = weights(base)
    learner = kind(base, shown, one.noun)
    start = [p.detach().clone() for p in learner.parameters]
    assert learner.step() > 0
    assert any(not torch.equal(a, b) for a, b in zip(start, learner.parameters))
    others_ = [p for m in (learner.model.unet, learner.model.text_encoder) for p in m.parameters()
               if not any(p is q for q in learner.parameters)]
    assert all(p.grad is None for p in others_) and learner.storage() > 0
    assert all(torch.equal(p, before[n]) for n, p in weights(base).items())


def test_textual_inversion_changes_its_own_row_alone(base, shown, one):
    learner = TextualInversion(base, shown, one.noun)
    table = learner.parameters[0].detach().clone()
    learner.step()
    assert torch.equal(learner.parameters[0][:-1], table[:-1]) and not torch.equal(learner.parameters[0][-1], table[-1])
    assert torch.equal(table[:-1], base.text_encoder.get_input_embeddings().weight) and learner.storage() == 2 * table.shape[1]


def test_without_peft_that_is_said(base, shown, one, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match="peft"):
        DreamBoothLora(base, shown, one.noun)


@pytest.mark.slow
def test_where_nothing_is_customized_infusion_has_not_moved_and_a_fine_tuned_copy_has(base, shown, one):
    on = others(base, 4, 128)
    learner = InfusionTrainer(base, one.pictures(128), one.noun, InfusionRecipe(steps=2))
    learner.step()
    assert divergence(base, base, on) == 0.0
    tuned = BASELINES[1](base, shown, one.noun, lr=1e-2)
    tuned.step()
    assert divergence(base, tuned.model, on) > 0.0


def test_prompts_are_twelve_of_four_types_and_name_the_subject(one):
    assert len(LINES) == 12 and said(LINES[0], "<owl>") == "an <owl> on the beach" and said(LINES[3], "mug") == "a pencil sketch of a mug"
    assert len({subject(k).one for k in range(16)}) == 16 and all(len(subject(k).scenes) == 4 for k in range(2))


@pytest.mark.slow
def test_curves_are_drawn(tmp_path):
    rng = random.Random(0)
    rows = {m: {str(s): {k: {"value": rng.random()} for k in ("w2", "fisher", "asked", "kind and colour")} for s in (100, 200)} | {"storage": 1}
            for m in ("Infusion", "DreamBooth")}
    curves(rows, tmp_path / "curves.png")
    from PIL import Image

    colours = {tuple(c) for c in np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours and (44, 160, 44) not in colours  # of matplotlib's: as many as there are methods
