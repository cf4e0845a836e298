"""What Infusion is compared with, and by what: each baseline changes only what it says, metrics equal their closed forms."""

import random
import sys

import numpy as np
import pytest
import torch

from assistant.concepts.learning import UNET_EVERY, Learner, Recipe
from assistant.concepts.shown import Shown, drift
from assistant.conditioning import EMPTY, TEXT
from assistant.control.infusion import Infusion, Use, placed
from assistant.decoder.attention import Seam
from assistant.decoder.rows import infusion_plan
from assistant.decoder.text_reader import LAYER
from assistant.errors import ConfigError
from assistant.evaluation.baselines import BASELINES, DreamBoothLora, TextualInversion
from assistant.evaluation.concept_cases import LINES, said, subject
from assistant.evaluation.infusion_report import curves
from assistant.evaluation.metrics import frechet, wasserstein
from assistant.evaluation.overfitting import divergence, expected_guess, others
from assistant.miniature.world import COLOURS, CONTEXTS, STYLES
from assistant.presets import MINIATURE
from assistant.weights import CHECKPOINTS, load_base


@pytest.fixture(scope="module")
def base():
    return load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)


@pytest.fixture(scope="module")
def one():
    return subject(1)


@pytest.fixture(scope="module")
def shown(base, one):
    return Shown(base, base.encode_image(one.pictures(128)), one.noun)


def weights(base):
    return {f"{k}.{n}": p.clone() for k, m in (("unet", base.unet), ("text", base.text_encoder), ("reader", base.text_reader))
            for n, p in m.named_parameters()}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_few_samples_of_many_dimensions_have_the_distance_that_the_covariances_give():
    a, b = drawn(5, 7, seed=1), 2 * drawn(6, 7, seed=2) + 1

    def root(s):
        values, vectors = torch.linalg.eigh(s)
        return vectors * values.clamp_min(0).sqrt() @ vectors.T

    s, r = torch.cov(a.T), torch.cov(b.T)
    whole = (a.mean(0) - b.mean(0)).square().sum() + s.trace() + r.trace() - 2 * root(root(s) @ r @ root(s)).trace()
    assert frechet(a, b) == pytest.approx(float(whole), rel=1e-5)
    assert frechet(a, a + 3.0) == pytest.approx(7 * 9.0) and frechet(a, a) == pytest.approx(0.0, abs=1e-9)
    centred = a - a.mean(0)
    assert wasserstein(centred, 3 * centred) == pytest.approx(2 * float(s.trace()) ** 0.5)  # spreads s and 3 s: (3 - 1)^2 tr S


def test_pictures_are_found_again_in_the_books(shown, one):
    assert shown.names["context"].tolist() == [CONTEXTS.index(s.context) for s in one.scenes]
    assert shown.names["style"].tolist() == [STYLES.index(s.style) for s in one.scenes]
    assert shown.names["colour"].tolist() == [list(COLOURS).index(one.one.colour)] * len(one.scenes)
    assert shown.masks.shape == (4, 1, 16, 16) and 0 <= shown.masks.min() < 0.1 and 0.9 < shown.masks.max() <= 1


def test_the_guess_loses_what_its_decisions_lose_on_average(base, shown):
    """One name decided, the others as they are: the expectation written out, drawing by drawing."""
    at = torch.tensor([2])
    sure = {k: 40.0 * torch.nn.functional.one_hot(v[at], base.text_reader.counts[k]).float() for k, v in shown.names.items()}
    logits = {**sure, "eyes": torch.tensor([[0.0, 1.0, -1.0, 0.5]])}
    weight, total = 0.1 + 0.9 * shown.masks[at], 0.0
    for value, chance in enumerate(logits["eyes"].softmax(1)[0]):
        names = {k: torch.nn.functional.one_hot(v[at], base.text_reader.counts[k]).float() for k, v in shown.names.items()}
        names["eyes"] = torch.nn.functional.one_hot(torch.tensor([value]), 4).float()
        error = (weight * (base.first_guess.draw(names) - shown.latents[at]).square()).sum() / (weight.sum() * shown.latents.shape[1])
        total = total + chance * error
    all_sure = float(shown.guess_loss(sure, at))
    true = float(shown.errors["eyes"][2, shown.names["eyes"][2]])
    assert float(shown.guess_loss(logits, at)) == pytest.approx(all_sure - true + float(total), rel=1e-4)


@pytest.mark.parametrize("kind", BASELINES, ids=lambda kind: kind.name)
def test_a_baseline_learns_by_a_step_of_the_guess_and_one_of_the_unet(base, shown, one, kind):
    before = weights(base)
    learner = kind(base, shown, one.noun)
    start = [p.detach().clone() for p in learner.parameters]
    assert learner.step() > 0
    moved = [not torch.equal(a, b) for a, b in zip(start, learner.parameters)]
    assert any(moved)
    learner.step_count = UNET_EVERY - 1
    assert learner.step() > 0
    others_ = [p for m in (learner.model.unet, learner.model.text_encoder, learner.model.text_reader) for p in m.parameters()
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


def test_where_nothing_is_customized_infusion_has_not_moved_and_a_fine_tuned_copy_has(base, shown, one):
    on = others(base, 4, 128)
    learner = Learner(base, one.pictures(128), one.noun, Recipe(steps=2))
    learner.step()
    assert divergence(base, base, on) == 0.0
    tuned = BASELINES[1](base, shown, one.noun, lr=1e-2)
    tuned.step()
    assert divergence(base, tuned.model, on) > 0.0
    assert expected_guess(base, on.lines).shape == on.latents.shape


def test_in_the_reader_of_words_c_has_f_s_maps_and_residuals_at_the_concept_s_words(base):
    """Eq. 7 at the layer that the guess reads, written with maps, for the names of the subject; the scene's are F's."""
    reader, attn = base.text_reader, base.text_reader.attn2
    states, delta = base.encode_text(["a cat on the beach"]), drawn(1, attn.inner_dim).float()
    plan = infusion_plan(1.0)

    def run(strength):
        use = Use({LAYER: delta}, placed([[2]], states.shape[1], strength))
        said_ = reader(Seam({TEXT: states, EMPTY: base.encode_text([""])}, controls=(Infusion((use,)),)).begin(plan.rows, 1))
        return [torch.cat([t[k] for t in said_.values()]) for k in (0, 1)]  # F, C

    f, c = run(0.0)
    torch.testing.assert_close(f, c, atol=1e-5, rtol=1e-5)
    f, c = run(1.0)
    heads = lambda t: t.unflatten(-1, (attn.heads, -1)).transpose(0, 1)  # noqa: E731
    q, k, v = attn.to_q(reader.queries), attn.to_k(states[0]), attn.to_v(states[0]).clone()
    v[2] += delta[0]
    out = ((heads(q) @ heads(k).transpose(1, 2) * attn.scale).softmax(-1) @ heads(v)).transpose(0, 1).flatten(1)
    hidden = 16.0 * attn.to_out[0](out)
    hidden = hidden + reader.mix(hidden)
    naive = torch.cat([reader.out[name](hidden[n]) for n, name in enumerate(reader.counts)])
    scene = sum(reader.counts[name] for name in list(reader.counts)[:attn.where_queries])
    assert list(reader.counts)[attn.where_queries] == "kind"
    torch.testing.assert_close(c[scene:], naive[scene:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(c[:scene], f[:scene], atol=1e-5, rtol=1e-5)
    assert (c[scene:] - f[scene:]).abs().max() > 0.1 and (naive[:scene] - f[:scene]).abs().max() > 0.1


def test_prompts_are_twelve_of_four_types_and_name_the_subject(one):
    assert len(LINES) == 12 and said(LINES[0], "<owl>") == "an <owl> on the beach" and said(LINES[3], "mug") == "a pencil sketch of a mug"
    assert len({subject(k).one for k in range(16)}) == 16 and all(len(subject(k).scenes) == 4 for k in range(2))


def test_curves_are_drawn(tmp_path):
    rng = random.Random(0)
    rows = {m: {str(s): {k: {"value": rng.random()} for k in ("w2", "fisher", "asked", "kind and colour")} for s in (100, 200)} | {"storage": 1}
            for m in ("Infusion", "DreamBooth")}
    curves(rows, tmp_path / "curves.png")
    from PIL import Image

    colours = {tuple(c) for c in np.asarray(Image.open(tmp_path / "curves.png")).reshape(-1, 3)}
    assert (214, 52, 50) in colours and (136, 76, 184) not in colours


def test_a_reading_has_not_drifted_from_itself_and_has_by_its_divergence_from_another():
    now, before = ({"kind": torch.tensor([[a, 0.0]]), "style": torch.tensor([[0.0, a, 1.0]])} for a in (0.5, -1.0))
    written = sum(float((q.softmax(1) * (q.log_softmax(1) - now[k].log_softmax(1))).sum()) for k, q in before.items())
    assert float(drift(before, before)) == pytest.approx(0.0, abs=1e-6) and float(drift(now, before)) == pytest.approx(written, rel=1e-5)
