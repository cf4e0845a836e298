"""ICO: its words and its keys and values are learned, nothing else changes; what is kept draws what was learned; bad input is a sentence."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from assistant.customization.dci_sampling import article_for, branches, propose, together
from assistant.customization.concept_training import ALONE, MANUAL, WITH_DCI, IcoRecipe, IcoTrainer, learned
from assistant.customization.concept_library import ConceptLibrary, load_tuned, save_tuned
from assistant.customization.concept_prompt import ContextTemplate, embed, tokenize_with_placeholders
from assistant.controls.dci import MaskSnapshot
from assistant.errors import ConceptError
from assistant.presets import MINIATURE


@pytest.fixture(scope="module")
def rex(base, pictures):
    """A concept that has been learned for a moment."""
    learner = IcoTrainer(base, pictures, "cat", IcoRecipe(steps=6, batch=2, lr=0.2, lr_attention=0.1))
    for _ in range(6):
        learner.step()
    return learned(learner, "rex", "abc")


def test_learned_words_stand_among_ordinary_ones_as_stock_encoding_puts_them(base):
    table = base.text_encoder.get_input_embeddings()
    line = "a red cat in space"
    plain = tokenize_with_placeholders(base.tokenizer, [line])
    states = base.encode_embeddings(embed(base.words, plain, (), torch.zeros(0, table.weight.shape[1]))[None])
    torch.testing.assert_close(states, base.encode_text([line]), atol=1e-5, rtol=1e-5)
    spelled = tokenize_with_placeholders(base.tokenizer, ["a", 1, "cat in space"])
    assert spelled.at[1] == (2,) and spelled.words == (1, 2, 3, 4, 5)
    red = table.weight[torch.tensor(plain.ids[2])][None]
    again = base.encode_embeddings(embed(base.words, spelled, spelled.at[1], red)[None])
    torch.testing.assert_close(again, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("line, private, kept, piece", ((ALONE, 6, 2, (2, "cat")), (WITH_DCI, 2, 3, (3, "cat")), (MANUAL, 0, 3, (3, "cat")), ("E I2 T1", 2, 1, ("cat", 1))))
def test_schemes_of_any_order_and_length(base, pictures, line, private, kept, piece):
    scheme = ContextTemplate(line)
    assert (scheme.count("I"), scheme.count("T"), scheme.pieces("cat")) == (private, kept, piece)
    learner = IcoTrainer(base, pictures, "cat", IcoRecipe(scheme=line))
    assert learner.parameters["own"].shape[:2] == (2, private) and len(learner.shared) == kept
    assert [len(at) for (k, n), at in zip(scheme.parts(), learner.spelled.at) if k in "IT"] == [n for k, n in scheme.parts() if k in "IT"]


@pytest.mark.slow
def test_it_learns_the_pictures_and_leaves_the_base_model_bit_for_bit(base, pictures):
    modules = (base.unet, base.text_encoder)
    before = [{n: p.clone() for n, p in m.named_parameters()} for m in modules]
    recipe = IcoRecipe(steps=24, batch=2)
    learner = IcoTrainer(base, pictures, "cat", recipe)
    losses = [learner.step() for _ in range(24)]
    again, untrained = IcoTrainer(base, pictures, "cat", recipe), []
    for group in again.optimizer.param_groups:
        group["lr"] = 0.0
    for k in range(18, 24):  # the same draws, with nothing learned
        again.step_count = k
        untrained.append(again.step())
    assert all(after < before for after, before in zip(losses[18:], untrained))
    assert all(p.grad is not None and p.detach().abs().max() > 0 for p in learner.parameters.values())
    for module, kept in zip(modules, before):
        assert all(torch.equal(p, kept[n]) and p.grad is None for n, p in module.named_parameters())


@pytest.mark.slow
def test_other_prompts_of_the_noun_stay_what_they_were_if_the_prior_counts(base, pictures):
    drift, t = [], torch.arange(50, 850, 200)
    x = torch.randn(4, base.unet.config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    for prior in (0.0, 1.0):
        learner = IcoTrainer(base, pictures, "cat", IcoRecipe(steps=32, batch=2, lr_attention=0.1, prior=prior))
        for _ in range(32):
            learner.step()
        drift.append(float(learner._drift(learner.others[:1].expand(4, -1, -1), x, t).detach()))
    assert drift[1] < 0.75 * drift[0]


@pytest.mark.slow
def test_what_was_interrupted_goes_on_as_if_nothing_had_happened(base, pictures):
    recipe = IcoRecipe(steps=4, batch=2, flip=True)
    whole, first, second = (IcoTrainer(base, pictures, "cat", recipe) for _ in range(3))
    losses = [whole.step() for _ in range(4)]
    part = [first.step() for _ in range(2)]
    second.restore(first.state())
    part += [second.step() for _ in range(2)]
    assert part == losses and second.step_count == 4
    assert all(torch.equal(second.parameters[n], p) for n, p in whole.parameters.items())
    with pytest.raises(ConceptError, match="another model or recipe"):
        IcoTrainer(base, pictures, "cat", IcoRecipe(scheme=ALONE)).restore(first.state())


@pytest.mark.slow
def test_the_library_keeps_it_beside_infusions_and_refuses_what_is_not_one(base, rex, tmp_path):
    layers = {name: attn.inner_dim for name, attn in base.cross_layers().items()}
    library = ConceptLibrary(tmp_path / "concepts", "abc", layers)
    library.add(rex)
    kept = library.get("Rex")
    assert library.entries()[0].kind == "ico" and (kept.noun, kept.scheme, kept.steps) == ("cat", WITH_DCI, 6)
    assert all(torch.allclose(kept.tuned[n][s], rex.tuned[n][s], atol=1e-3) for n in layers for s in (0, 1))
    library.rename("rex", "max")
    assert library.get("max").shared.shape == rex.shared.shape
    with pytest.raises(ConceptError, match="another base model"):
        load_tuned(library.file("max"), "def")
    tensors = load_file(library.file("max"))
    from safetensors import safe_open
    with safe_open(library.file("max"), "pt") as file:
        about = file.metadata()
    for change, words in (({"shared": tensors["shared"][:2].clone()}, "another shape"), ({"shared": tensors["shared"] * float("nan")}, "not finite"),
                          ({"more": tensors["shared"].clone()}, "another shape")):
        save_file({**tensors, **change}, tmp_path / "bad.safetensors", about)
        with pytest.raises(ConceptError, match=words):
            load_tuned(tmp_path / "bad.safetensors", "abc", layers)
    old = json.loads(about["concept"])
    old.update(format="ico-1", layers=[*old["layers"], "names.attn2"])
    save_file({**tensors, **{f"{side}.names.attn2": torch.zeros(8, 96) for side in ("key", "value")}}, tmp_path / "bad.safetensors", {"concept": json.dumps(old)})
    with pytest.raises(ConceptError, match="older model"):
        library.take_in(tmp_path / "bad.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConceptError, match="no concept"):
        library.take_in(tmp_path / "bad.safetensors")
    with pytest.raises(ConceptError, match="not finite"):
        save_tuned(tmp_path / "nan.safetensors", replace(rex, shared=rex.shared * float("inf")))


@pytest.mark.slow
def test_both_branches_read_what_is_shown_and_each_has_its_own_words(base, rex):
    both = branches(base, rex, "a <rex> in the snow", "owl")
    assert (both.concept.words, both.auxiliary.words) == ("a <rex> in the snow", "an owl in the snow")
    assert both.concept.branch.own[0].nonzero().flatten().tolist() == [2, 3, 4, 5]  # three vectors and the noun
    real, own = (b[0].nonzero().flatten().tolist() for b in (both.auxiliary.branch.real, both.auxiliary.branch.own))
    assert sorted(set(real) - set(own)) == [2] and base.encode_text(["an owl in the snow"]).allclose(both.auxiliary.states, atol=1e-5)
    bare = branches(base, rex, "a <rex> in the snow", "owl", bare=True)
    assert (bare.concept.words, bare.auxiliary.words) == ("a <rex>", "in the snow")


def test_a_strip_is_one_batch_and_equals_its_pictures_drawn_alone(base, rex):
    both, seen = branches(base, rex, "a <rex> in the snow", "owl"), MaskSnapshot()
    strip = both.draw([5, 5, 5], (-2.0, 0.5, 2.0), steps=4, seen=seen).latents
    alone = both.draw([5], 0.5, steps=4).latents
    torch.testing.assert_close(strip[1:2], alone, atol=1e-4, rtol=1e-4)
    assert seen.auxiliary.keys() == base.cross_layers().keys()
    for layer, attn in base.cross_layers().items():
        assert seen.auxiliary[layer][0].shape[:2] == (3, attn.heads)
        means = seen.auxiliary[layer][0].mean((1, 2))
        assert means[0] < means[1] < means[2], "a larger lambda hears the auxiliary branch more"
    one = together([branches(base, rex, p, "owl") for p in ("a <rex> in the snow", "a <rex> on the beach wearing a hat")])
    torch.testing.assert_close(one.draw([5, 6], 0.5, steps=2).latents[:1], both.draw([5], 0.5, steps=2).latents, atol=1e-4, rtol=1e-4)


def test_a_closed_window_is_the_fine_tuned_model_alone(base, rex):
    closed = branches(base, rex, "a <rex> in the snow", "owl").draw([5], 2.0, window=0.0, steps=2).latents
    raw = branches(base, rex, "a <rex> in the snow", None).draw([5], steps=2).latents
    torch.testing.assert_close(closed, raw, atol=1e-5, rtol=1e-5)


def test_an_auxiliary_noun_is_common_fits_the_context_and_is_never_the_class_noun():
    assert propose("in the snow", "fox", MINIATURE.nouns)[0] == "bear" and propose("underwater", "cat")[0] == "fish"
    for noun in MINIATURE.nouns:
        found = propose(f"a {noun} somewhere", noun, MINIATURE.nouns)
        assert found and noun not in found and set(found) <= set(MINIATURE.nouns)
    assert (article_for("riding a ", "owl"), article_for("An ", "dog"), article_for("the ", "owl")) == ("riding an ", "A ", "the ")


@pytest.mark.parametrize("prompt, noun, words", (("  ", "dog", "no words to draw"), ("a cat in the snow", "dog", "<rex> is not in these words"),
                                                 ("a <rex> in the snow", "Cat", "own class noun"), ("a <rex> in the snow", " ", "no auxiliary noun"),
                                                 ("a <rex> and a <mug>", "dog", "name <mug> too"), ("very " * 60 + "<rex>", "dog", "beyond the 48 tokens")))
def test_what_cannot_be_drawn_is_said(base, rex, prompt, noun, words):
    with pytest.raises(ConceptError, match=words):
        branches(base, rex, prompt, noun)


@pytest.mark.parametrize("change, words", (({"steps": 0}, "steps 0; it can be 1 to 5000"), ({"lr": float("nan")}, "lr nan"), ({"scheme": "I2 E"}, "shared vectors T"),
                                           ({"scheme": "T2"}, "class noun E once")))
def test_a_recipe_outside_its_limits_is_refused(change, words):
    with pytest.raises(ConceptError, match=words):
        IcoRecipe(**change)
