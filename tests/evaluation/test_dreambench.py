"""DreamBench's protocol on tiny models: whose photos, which prompts, what is measured, what is kept, what is told beside the papers' rows."""

import io
import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import v2

from assistant import __main__ as cli, model_factory
from assistant.engine import Assistant
from assistant.errors import ConfigError
from assistant.evaluation import baselines, dreambench
from assistant.evaluation.baselines import BASELINES, DreamBoothLora, draw_plain
from assistant.evaluation.dreambench import MEASURES, DreamBench, PublishedEmbedder, judges, subjects, write
from tests import tiny_judges, tiny_open

LISTING = """Classes

subject_name,class
mug1,mug
cat9,cat
clock,clock

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
'a {0} {1} in a chef outfit'.format(unique_token, class_token)
]
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two subjects of two photos each; of the third there is no folder."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "prompts_and_classes.txt").write_text(LISTING)
    for seed, name in enumerate(("mug1", "cat9")):
        (folder / name).mkdir()
        for k in range(2):
            rng = np.random.default_rng(10 * seed + k)
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / name / f"0{k}.jpg")
    return folder


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return PublishedEmbedder(tiny_judges.write(tmp_path_factory.mktemp("judges")))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    config = replace(tiny_open.CONFIG, decoder=replace(tiny_open.CONFIG.decoder, steps=1))
    generator = model_factory.load_drawer(config, tiny_open.write(tmp_path_factory.mktemp("open")))
    return Assistant(config, generator, "0" * 12, base=(generator.decoder, "base"))


@pytest.fixture
def bench(engine, judge, tmp_path, monkeypatch):
    """What preserves a prior is drawn in one step."""
    monkeypatch.setattr(baselines, "PRIOR_PICTURES", 2)
    monkeypatch.setattr(baselines, "draw_plain", lambda base, lines, seeds, guidance: draw_plain(base, lines, seeds, 1, guidance))

    def make(**changes) -> DreamBench:
        return DreamBench(engine, judge, "tiny judges", tmp_path / "run", **{"images": 1, "learn": 1, "lambdas": (-1.0, 1.0), "say": lambda _: None, **changes})

    return make


def test_subjects_are_folders_of_the_listing_and_living_ones_have_prompts_of_their_own(photos, tmp_path) -> None:
    mug, cat = subjects(photos)
    assert (mug.name, mug.noun, mug.prompts) == ("mug1", "mug", ("a {} in the snow", "a red {}")) and len(mug.photos) == 2
    assert cat.prompts == ("a {} in the snow", "a {} in a chef outfit")
    with pytest.raises(ConfigError, match="prompts_and_classes.txt"):
        subjects(tmp_path)
    (tmp_path / "prompts_and_classes.txt").write_text(LISTING)
    with pytest.raises(ConfigError, match="no folder of photos"):
        subjects(tmp_path)
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/00.jpg").write_bytes(b"<html>")
    with pytest.raises(ConfigError, match="00.jpg cannot be read"):
        subjects(tmp_path)


def test_judges_see_pictures_as_their_authors_preprocess_them(judge) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 44, 3), dtype=np.uint8))
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    for seen, model, short in ((judge.individual, judge.dino, round(32 * 256 / 224)), (judge.picture, judge.clip.encode_image, 32)):
        mean, std = (judge._dino if model is judge.dino else judge._clip)[2:]
        theirs = v2.Compose([v2.Resize(short, v2.InterpolationMode.BICUBIC, antialias=True), lambda t: t.clamp(0, 1), v2.CenterCrop(32), v2.Normalize(mean, std)])
        assert torch.allclose(seen(x), F.normalize(model(theirs(x)).detach(), dim=-1), atol=1e-5)
    own = judge.caption(["a mug", "a red cat"])
    assert own.shape == (2, 24) and torch.allclose(own.norm(dim=1), torch.ones(2)) and not torch.allclose(own[0], own[1])


def test_judges_that_are_not_complete_are_named_and_a_preset_without_its_own_needs_them(engine, tmp_path) -> None:
    tiny_judges.write(tmp_path)
    (tmp_path / "dino/model.safetensors").unlink()
    with pytest.raises(ConfigError, match="dino/model.safetensors is missing"):
        PublishedEmbedder(tmp_path)
    with pytest.raises(ConfigError, match="--judges"):
        judges(engine, None)


@pytest.mark.slow
def test_every_method_is_measured_beside_the_papers_rows_and_nothing_is_done_twice(bench, photos, judge, tmp_path, monkeypatch) -> None:
    of = subjects(photos)
    whole = bench()
    assert whole.methods == ("IP-Adapter", "Infusion", "ICO", "ICO + DCI, λ = -1", "ICO + DCI, λ = 1", *(b.name for b in BASELINES if find_spec("peft") or b is not DreamBoothLora))
    cells = whole.measure(of)
    assert all(len(found) == 4 and all(len(cell["pictures"]) == 1 for cell in found) for method, found in cells.items() if method != "real")
    drawn = [Image.open(whole._cell("Infusion", of[1], 1).with_name("01-0.webp"))]
    assert drawn[0].size == (32, 32)
    (real,) = cells["real"][0]["pictures"]
    shown = [torch.from_numpy(np.array(Image.open(io.BytesIO(p.png)))).permute(2, 0, 1)[None].float() / 255 for p in of[0].photos]
    assert real["DINO"] == pytest.approx(float(judge.individual(shown[0]) @ judge.individual(shown[1]).T), abs=1e-5)

    text = write(whole, of, cells, tmp_path / "out")
    assert "| CAFE's paper, table 1: CAFE | 0.715 | 0.827 | 0.294 |" in text and "| Infusion's paper, table 1: Infusion | 0.697 | 0.816 | 0.267 |" in text
    assert all(f"| {method} | " in text for method in whole.methods) and "tiny judges" in text and "2 subjects x 2 prompts x 1 pictures" in text
    told = json.loads((tmp_path / "out.json").read_text())
    values = [cell["pictures"][0]["CLIP-T"] for cell in cells["DreamBooth"]]
    assert told["methods"]["DreamBooth"]["CLIP-T"]["value"] == pytest.approx(np.mean(values)) and set(told["methods"]["DreamBooth"]["subjects"]) == {"mug1", "cat9"}
    assert Image.open(tmp_path / "out-ico-dci-lambda-1.webp").size == (3 * 100 + 4, 40 + 2 * 100 + 4)

    monkeypatch.setattr(DreamBench, "_painter", lambda *_: pytest.fail("all is there"))
    assert bench().measure(of) == cells
    asked = []
    monkeypatch.setattr(DreamBench, "_painter", lambda *_: lambda prompt, seeds: asked.append(list(seeds)) or [np.zeros((32, 32, 3), np.uint8)] * len(seeds))
    more = bench(images=3, methods=("Infusion",), prompts=1).measure(of)
    assert asked == [[1, 2]] * 2, "the pictures that were there stay"
    assert more["Infusion"][0]["pictures"][0] == cells["Infusion"][0]["pictures"][0] and len(more["Infusion"]) == 2


@pytest.mark.slow
def test_learning_that_was_stopped_goes_on_from_its_state(bench, photos, monkeypatch) -> None:
    monkeypatch.setattr(dreambench, "KEEP", 2)
    one = subjects(photos)[0]
    whole = bench(learn=4)._concept("infusion", one)
    (bench(learn=4).place / "learned/mug1-infusion.safetensors").unlink()
    halted, steps = bench(learn=4), []
    begin = halted.assistant.trainer.begin

    def stopping(task, state=None):
        course = begin(task, state)
        advance = course.advance
        course.advance = lambda: (steps.append(course.step), advance())[1] if len(steps) != 3 else (_ for _ in ()).throw(KeyboardInterrupt)
        return course

    monkeypatch.setattr(halted.assistant.trainer, "begin", stopping)
    with pytest.raises(KeyboardInterrupt):
        halted._concept("infusion", one)
    steps.append(None)
    again = halted._concept("infusion", one)
    assert steps == [0, 1, 2, None, 2, 3] and all(torch.equal(again.residuals[k], r) for k, r in whole.residuals.items())


def test_a_reply_in_words_only_counts_as_not_drawn(bench, photos, tmp_path, monkeypatch) -> None:
    one = bench(methods=("IP-Adapter",), images=2, prompts=1)
    monkeypatch.setattr(DreamBench, "_answer", lambda self, who, prompt, seed: None if seed == 1 else np.zeros((32, 32, 3), np.uint8))
    of = subjects(photos)[:1]
    cells = one.measure(of)
    assert cells["IP-Adapter"][0]["pictures"][1] is None and set(cells["IP-Adapter"][0]["pictures"][0]) == set(MEASURES)
    assert "IP-Adapter answered 50% of its requests with a picture." in write(one, of, cells, tmp_path / "out")


def test_a_method_that_the_preset_does_not_have_is_said_with_those_that_it_has(bench) -> None:
    with pytest.raises(ConfigError, match="no method 'CAFE'.*IP-Adapter, Infusion, ICO"):
        bench(methods=("CAFE",))


@pytest.mark.slow
def test_the_command_measures_the_miniature_by_its_own_encoders_and_says_so(photos, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["assistant", "eval", "dreambench", "--photos", str(photos), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out"),
                                      "--device", "cpu", "--subjects", "1", "--prompts", "1", "--images", "1", "--steps", "1", "--methods", "CAFE"])
    cli.main()
    assert "E and F of the preset miniature itself, not the papers'" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["methods"]["CAFE"]["DINO"]["count"] == 1
    monkeypatch.setattr(sys, "argv", ["assistant", "doctor", "--nonsense"])
    with pytest.raises(SystemExit):
        cli.main()
