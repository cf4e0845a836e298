"""The tables' commands: every row from the same start, kept when it is done, written with intervals."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assistant.evaluation import cafe_tables
from assistant.evaluation.test_cases import AttributeJudge, ask, cases, draw, score
from assistant.training.classifiers import Judge, Likeness
from assistant.evaluation.overall import answer, photo_of
from assistant.presets import MINIATURE
from assistant.training import world_dataset
from assistant.training.world_dataset import DialogueDataset, WorldDataset, write_dialogues
from assistant.manifest import CHECKPOINTS
from assistant.checkpoints import load_tokenizer


@pytest.fixture(scope="module")
def bench(assistant, tmp_path_factory) -> cafe_tables.Bench:
    run = tmp_path_factory.mktemp("tables")
    world_dataset.draw(run / "data", MINIATURE, 8, seed=3, workers=1)
    write_dialogues(run / "talks", MINIATURE, world := WorldDataset(run / "data", MINIATURE), 32, seed=3, workers=1)
    torch.manual_seed(0)
    witness = AttributeJudge(Judge().eval(), Likeness(MINIATURE.decoder.text).eval(), load_tokenizer(CHECKPOINTS / "miniature"))
    return cafe_tables.Bench(assistant, witness, CHECKPOINTS / "miniature", run, world, DialogueDataset(run / "talks"), 2, 1, 2)


@pytest.mark.slow
def test_table_6_leaves_sources_out_and_goes_on_where_it_stopped(bench: cafe_tables.Bench, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(cafe_tables.BATCHES, "table6", 4)
    told: list[str] = []
    found = cafe_tables.make("table6", bench, 1, told.append)
    assert list(found["rows"]) == ["F only, seed 0", "E only, seed 0", "both, seed 0"] and len(told) == 3
    assert found["samples each"] == 4
    trained = sorted(bench.run.glob("table6/*/out/cafe/semantic_values.safetensors"))
    before = [p.stat().st_mtime_ns for p in trained]
    again = cafe_tables.make("table6", bench, 1, told.append)
    assert [p.stat().st_mtime_ns for p in trained] == before and len(trained) == 3
    assert again["rows"]["both, seed 0"]["DINO-I"]["value"] == pytest.approx(found["rows"]["both, seed 0"]["DINO-I"]["value"], abs=1e-5)
    text = cafe_tables.write(found, tmp_path / "table6")
    assert "| both, seed 0 |" in text and "±" in text
    assert json.loads((tmp_path / "table6.json").read_text())["rows"]["F only, seed 0"]["kind"]["count"] == 2


@pytest.mark.slow
def test_table_4_starts_both_objectives_alike(bench: cafe_tables.Bench, monkeypatch) -> None:
    monkeypatch.setitem(cafe_tables.BATCHES, "table4", 128)  # of 32 dialogues: some end with a picture
    found = cafe_tables.make("table4", bench, 1, lambda _: None)
    assert list(found["rows"]) == ["mse, seed 0", "cosine, seed 0"]
    logs = [json.loads((bench.run / f"table4/{o}-0/state/log.jsonl").read_text().splitlines()[0]) for o in ("mse", "cosine")]
    assert logs[0]["mse"] > 0 and logs[0]["mse"] == pytest.approx(logs[1]["mse"], rel=1e-5) and logs[0]["loss"] != logs[1]["loss"]


@pytest.mark.slow
def test_the_surface_has_a_row_for_every_two_strengths(bench: cafe_tables.Bench, monkeypatch) -> None:
    monkeypatch.setattr(cafe_tables, "GRID", (0.0, 2.0))
    found = cafe_tables.make("surface", bench, 0, lambda _: None)
    assert len(found["rows"]) == len(cafe_tables.GRID) ** 2 - 1 and "keep 0, follow 0" not in found["rows"]


STRENGTH = 2.0  # the page's own


@pytest.fixture(scope="module")
def asked(assistant):
    return ask(assistant.vision, assistant.language, MINIATURE.picture_tokens, 3, 128)


@pytest.mark.slow
def test_words_and_pictures_are_the_pages_own(assistant, asked, monkeypatch) -> None:
    for name, value in (("caption_share", 0.0), ("guided", 1.0), ("guided_every", 1)):  # the tables measure the paper's two sources alone, guided to the end
        monkeypatch.setattr(assistant.image_generator, name, value)
    assert len(asked.numbers) >= 2
    drawn = draw(assistant.decoder, asked, STRENGTH, STRENGTH, 2)
    for k, number in enumerate(asked.numbers[:2]):
        case = cases(number + 1)[number]
        reply = answer(assistant, case.words, photo_of(case.photo, 128), number, 2)
        assert reply.text == asked.replies[k]
        page = np.asarray(Image.open(io.BytesIO(reply.png))).astype(int)
        ours = (drawn[k].permute(1, 2, 0) * 255).round().numpy().astype(int)
        assert np.abs(page - ours).max() <= 2  # batches add up in another order


@pytest.mark.slow
def test_a_strength_of_nothing_leaves_a_source_out(assistant, asked) -> None:
    subject = draw(assistant.decoder, asked, STRENGTH, 0.0, 1)
    other = replace(asked, semantics=-asked.semantics)
    assert torch.equal(subject, draw(assistant.decoder, other, STRENGTH, 0.0, 1))
    assert not torch.equal(subject, draw(assistant.decoder, asked, 0.0, STRENGTH, 1))


def test_scores_are_one_of_what_was_asked_for_and_less_of_anything_else(assistant, asked) -> None:
    torch.manual_seed(0)
    witness = AttributeJudge(Judge().eval(), Likeness(MINIATURE.decoder.text).eval(), load_tokenizer(CHECKPOINTS / "miniature"))
    same = score(witness, asked, asked.photos)
    assert same["DINO-I"]["value"] == pytest.approx(1.0, abs=1e-4) and same["CLIP-I"]["value"] == pytest.approx(1.0, abs=1e-4)
    assert same["kind"]["count"] == len(asked.numbers)
    assert score(witness, asked, 1 - asked.photos)["DINO-I"]["value"] < 0.9999
