"""The measures and what they are taken on: known answers, held-out cases, and weights promoted for good reason only."""

import random
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from assistant.errors import WeightsError
from assistant.training.classifiers import Judge, Likeness, load_judge, load_likeness, save_judge, save_likeness
from assistant.evaluation.test_cases import (AttributeJudge, Tally, asked_of, caption_of, cases, fisher, found, frechet, load_witness, mean, named_of, psnr,
                                             scenes, share, wasserstein)
from assistant.evaluation.conversation import claims
from assistant.evaluation import cafe_tables
from assistant.evaluation.overall import base_model, compare, draw_captions, write
from assistant.world.captions import attributes
from assistant.world.renderer import render
from assistant.world.scene import Accessory, combination_held_out, individual_held_out, restage
from assistant.world.user_requests import UserRequest
from assistant.training.recipe import JUDGE_SEED, TRAIN_SEED
from assistant.models.vision_encoders import pixels
from assistant.plan import Plan
from assistant.presets import MINIATURE
from assistant.training.world_dataset import group
from assistant.manifest import CHECKPOINTS
from assistant.checkpoints import load_base, load_tokenizer


def test_shares_carry_wilsons_interval():
    half = share([True] * 50 + [False] * 50)
    assert half["value"] == 0.5 and half["count"] == 100
    assert half["low"] == pytest.approx(0.4038, abs=1e-3) and half["high"] == pytest.approx(0.5962, abs=1e-3)
    every = share([True] * 20)
    assert every["low"] == pytest.approx(0.8389, abs=1e-3) and every["high"] == pytest.approx(1.0)
    assert share([])["count"] == 0
    three = mean([1.0, 2.0, 3.0])
    assert three["value"] == 2.0 and three["high"] - three["low"] == pytest.approx(2 * 1.96 / 3**0.5)


def test_distances_of_known_sets():
    x = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet(x, x + 2.0) == pytest.approx(12.0, abs=1e-6)  # three means moved by 2
    assert frechet(x, 3 * x) == pytest.approx(12.0, rel=0.03)  # three spreads of 1 and 3
    assert wasserstein(x, x + 2.0) == pytest.approx(12.0**0.5, abs=1e-6) and wasserstein(x, x) < 1e-4
    assert fisher(x, x) == 0.0 and fisher(x[:, None], x[:, None] + 2.0) == pytest.approx(6.0)  # half of three fours
    flat = torch.full((2, 3, 4, 4), 0.5)
    assert psnr(flat, flat + 0.1).tolist() == pytest.approx([20.0, 20.0], abs=1e-4)
    assert found(torch.tensor([[1.0, 0.0], [2.0, 1.0]])) == [True, False]


def test_what_is_measured_on_was_never_trained_on_and_comes_from_its_seed():
    some = cases(24)
    assert some == cases(24) and len({c.words for c in some}) > 12
    assert all(individual_held_out(c.photo.individual) for c in some)
    pairs = scenes(24, 2)
    assert all(individual_held_out(a.individual) and a.individual == b.individual and a != b for a, b in pairs)
    assert any(combination_held_out(scene) for views in scenes(200) for scene in views)


def test_only_what_was_asked_for_counts():
    case = cases(1)[0]
    target = replace(case.target, context="beach", style="neon", accessories=(Accessory("hat", "red"),))
    wish = UserRequest("put it on the beach with a hat", context="beach", wear=(("hat", None),))
    assert asked_of(wish, target) == {"context": "beach", "accessories": (("hat", "red"),)}
    poster = next(c for c in cases(90) if "concert poster" in c.words)
    assert poster.wish.occasion and asked_of(poster.wish, poster.target) == {}, "what it is for is not where it is"
    tally = Tally()
    tally.add({"context": "beach", "accessories": ()}, {"context": "beach", "accessories": (("hat", "red"),)})
    tally.add({"accessories": (("hat", "blue"),)}, {"accessories": (("hat", "red"),)})
    shares = tally.shares()
    assert shares["context"]["value"] == 1.0 and shares["accessory"]["value"] == 0.5 and shares["its colour"]["value"] == 0.0
    assert tally.overall()["count"] == 4 and "style" not in shares


def test_a_judge_reads_back_as_it_was_written_and_its_absence_is_said(tmp_path):
    with pytest.raises(WeightsError, match="no judge.*draw-judge"):
        load_judge(tmp_path)
    judge = Judge().eval()
    save_judge(judge, tmp_path)
    x = pixels([render(views[0], 128).image for views in scenes(2)])
    again = load_judge(tmp_path)
    torch.testing.assert_close(again(x), judge(x), atol=0.02, rtol=0.05)  # in half precision
    with pytest.raises(WeightsError, match="no embeddings"):
        load_likeness(MINIATURE, tmp_path)
    save_likeness(Likeness(MINIATURE.decoder.text).eval(), tmp_path)
    witness = AttributeJudge(again, load_likeness(MINIATURE, tmp_path), load_tokenizer(CHECKPOINTS / "miniature"))
    alike = witness.alike(witness.features(x), witness.features(x), ["a red cat", "a blue dog"])
    assert alike["DINO-I"] == pytest.approx([1.0, 1.0], abs=1e-5) and alike["CLIP-I"] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert alike["CLIP-T"] != witness.alike(witness.features(x), witness.features(x), ["a green car", "a blue dog"])["CLIP-T"]
    said = witness.names(x)
    assert len(said) == 2 and set(said[0]) == {"kind", "colour", "second", "pattern", "context", "light", "style", "pose", "eyes", "accessories"}


@pytest.mark.slow
def test_the_judge_fails_a_wrong_kind_a_wrong_colour_and_a_missing_accessory():
    witness = load_witness(MINIATURE, CHECKPOINTS / "miniature")
    rng, asked, right, wrong = random.Random(5), [], [], []
    for k, views in enumerate(scenes(48)):
        scene = replace(views[0], accessories=(Accessory("hat", "red"),))
        one = scene.individual
        other = (replace(one, kind="teapot" if one.kind != "teapot" else "cat"),
                 replace(one, colour="green" if one.colour != "green" else "pink"), one)[k % 3]
        asked.append(attributes(scene)), right.append(scene)
        wrong.append(restage(rng, scene, individual=other, accessories=() if k % 3 == 2 else scene.accessories))
    for drawn, most, least in ((right, 1.0, 0.9), (wrong, 0.1, 0.0)):
        said = witness.names(pixels([render(scene, 128).image for scene in drawn]))
        for k, name in enumerate(("kind", "colour", "accessory")):
            tally = Tally()
            for there, truth in list(zip(said, asked))[k::3]:
                tally.add(there, truth)
            assert least <= tally.shares()[name]["value"] <= most, name


def test_the_judges_drawings_are_nobody_elses() -> None:
    seen = {scene for g in range(64) for scene in group(TRAIN_SEED, g)}
    own = {scene for g in range(64) for scene in group(JUDGE_SEED, g)}
    assert not seen & own and not any(individual_held_out(scene.individual) for scene in seen | own)
    weights = [{k: t for f in (CHECKPOINTS / "miniature" / of).glob("*.safetensors") for k, t in load_file(f).items()}
               for of in ("judge", "dino", "clip", "base/unet", "cafe")]
    judge, others = weights[0].values(), [t for w in weights[1:] for t in w.values()]
    assert not any(a.shape == b.shape and a.ndim > 1 and torch.equal(a, b) for a in judge for b in others)


def _result(value: float, count: int = 400) -> dict:
    shares = {name: share([True] * round(value * count) + [False] * (count - round(value * count)))
              for name in ("kind", "colour", "pattern", "context", "style", "accessory", "all")}
    return {"base": shares, "answers": {of: shares for of in ("picture against the photo", "picture against the request",
                                                               "picture against the reply", "reply against photo and request")}}


def test_weights_are_promoted_only_if_they_are_better_and_no_worse_anywhere():
    shipped = _result(0.8)
    assert compare(shipped, _result(0.82)).better
    assert not compare(shipped, shipped).better and not compare(shipped, _result(0.79)).better
    lopsided = _result(0.9)
    lopsided["base"] = {**lopsided["base"], "kind": share([True] * 200 + [False] * 200)}
    verdict = compare(shipped, lopsided)
    assert not verdict.better and "base, kind" in verdict.lines[-1]
    nothing = _result(0.9)
    nothing["base"] = {"kind": share([])}
    assert compare(shipped, nothing).better and not any(line.startswith("base") for line in compare(shipped, nothing).lines)


def test_mixing_pairs_differ_in_all_that_is_asked_of_a_picture_and_a_curve_that_goes_back_is_told():
    found = cafe_tables.pairs(12)
    assert found[:6] == cafe_tables.pairs(6)  # by seed
    for pair in found:
        x, w = attributes(pair.x), attributes(pair.w)
        assert all(x[name] != w[name] for name in (*cafe_tables.OF_W, *cafe_tables.OF_X))
        assert individual_held_out(pair.x.individual) and individual_held_out(pair.w.individual)
    rows = [{"style": {"value": v}} for v in (0.1, 0.5, 0.4, 0.9)]
    assert cafe_tables.against(rows, "style", True) == pytest.approx(0.1) and cafe_tables.against(rows, "style", False) == pytest.approx(0.8)
    assert cafe_tables.against(rows[:2], "style", True) == 0.0


@pytest.mark.slow
def test_captions_are_drawn_in_order_and_compared_with_what_they_name(tmp_path):
    folder = CHECKPOINTS / "miniature"
    base, witness = load_base(MINIATURE, folder), load_witness(MINIATURE, folder)
    shown = [views[0] for views in scenes(3)]
    lines = [caption_of(scene, number) for number, scene in enumerate(shown)]
    draw_captions(base, lines, tmp_path / "captions.png", columns=2, steps=1)
    assert Image.open(tmp_path / "captions.png").width == 2 * (128 + 12) + 12
    found, features = base_model(base, witness, shown, 128, 1, 3.0)
    assert features.shape == (3, 576) and found["kind"]["count"] == found["drawings"]["kind"]["count"] > 0
    for line, scene in zip(lines, shown):
        assert all(found is not None for found in named_of(line, scene).values()) and "kind" in named_of(line, scene)
    bare = replace(shown[0], accessories=(Accessory("hat", "red"), Accessory("scarf", "blue")))
    assert named_of("a cat wearing a hat on the beach", bare)["accessories"] == (("hat", "red"),)
    answered = {of: {"kind": share([True])} for of in ("picture against the photo", "picture against the request", "picture against the reply")}
    text = write({"base": found, "answers": answered}, tmp_path / "all", {"steps": 1, "guidance": 3.0})
    assert "| a caption drawn, 1 steps, guidance 3 |" in text and "| the drawings themselves |" in text


def test_a_claim_is_false_if_the_plan_does_not_hold_it_or_still_holds_what_was_taken_off() -> None:
    plan = Plan("draw", "orange cat", "beach", "night", "flat", "standing", ("red hat",))
    scene = "I drew your orange cat at the beach by night, wearing a red hat, in flat colours."
    assert claims(scene, plan) and claims(f"I took off the scarf. {scene}", plan) and claims(f"The hat goes on in place of the crown. {scene}", plan)
    assert not claims(f"I took off the hat. {scene}", plan) and not claims(scene.replace("beach", "farm"), plan)
    assert not claims(scene, replace(plan, worn=())) and not claims(f"{scene} Beside it is a blue dog.", plan)
