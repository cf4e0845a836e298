"""SID's rounds and table 3: every step happens once, whatever interrupts them, and ends as without interruption."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from assistant.errors import ConfigError
from assistant.evaluation.test_cases import mean
from assistant.evaluation.cafe_tables import people, table3, write_table3
from assistant.presets import MINIATURE
from assistant.training import self_distillation
from assistant.data import quadruplets
from assistant.data.shards import Quadruplet, samples_of
from assistant.training.self_distillation import Parts, Run, Sizes
from assistant.manifest import CHECKPOINTS

pytestmark = pytest.mark.slow

SIZES = Sizes(pairs=4, pool=8, attempts=6, rounds=1, samples=8, batch=4, captions=2, steps=1)
OPEN = {"thresholds": {"clip": -1.0, "dino": -1.0}} | {
    name: {"histograms": {"same": [1], "other": [1]}, "threshold": -1.0, "paper": 0.5} for name in ("clip", "dino")}


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts.load(MINIATURE, CHECKPOINTS / MINIATURE.folder)


def begin(folder: Path, parts: Parts) -> Run:
    """A run whose filter lets all pass."""
    run = Run(folder, parts, SIZES, say=lambda what: None)
    (folder / "calibration.json").write_text(json.dumps(OPEN))
    return run


class Killed(BaseException):
    """As a kill ends a process: nothing cleans up after it."""


def test_rounds_interrupted_anywhere_end_as_unbroken_ones(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = begin(tmp_path / "whole", parts), tmp_path / "broken"
    last = whole.rounds()
    assert last == tmp_path / "whole" / "round-1" and (tmp_path / "whole" / "calibration.png").exists()

    def dies_at(module, name: str, call: int) -> None:
        real, calls = getattr(module, name), []

        def dying(*args, **kwargs):
            calls.append(1)
            if len(calls) == call:
                raise Killed
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying)
            with pytest.raises(Killed):
                begin(broken, parts).rounds()

    dies_at(quadruplets, "write_shard", 1)  # before d1 has its only shard
    assert not (broken / "d1" / "manifest.json").exists()
    dies_at(self_distillation.Trainer, "finish", 1)  # round 0 is trained, but not written out
    dies_at(quadruplets, "write_manifest", 1)  # d3-1 is made, but not listed
    assert (broken / "round-0/base/vae").exists() and not (broken / "d3-1" / "manifest.json").exists()
    again = begin(broken, parts).rounds()
    assert (broken / "d1/shard-00000.tar").read_bytes() == (tmp_path / "whole/d1/shard-00000.tar").read_bytes()
    one, other, before = (torch.cat([t.flatten().float() for t in load_file(folder / "cafe/semantic_values.safetensors").values()])
                          for folder in (last, again, broken / "round-0"))
    # the last bit of a product depends on where in memory it lies, so that they are not equal to the bit
    assert (one - other).abs().max() < 0.1 * (one - before).abs().max()
    done = [json.loads(line)["what"] for line in (broken / "log.jsonl").read_text().splitlines()]
    assert done == ["d1", "round-0", "d3-1", "round-1"]
    log = (broken / "log.jsonl").read_text()
    begin(broken, parts).rounds()  # nothing is left to do
    assert (broken / "log.jsonl").read_text() == log
    keys = [{s.key for s in samples_of(broken / name)} for name in ("d1", "d3-1")]
    assert not keys[0] & keys[1] and all(keys)
    with pytest.raises(ConfigError, match="attempts 6, not 9"):
        Run(broken, parts, replace(SIZES, attempts=9))


def test_people_keep_what_was_seen_and_drawn_rightly() -> None:
    who = {"kind": "cat", "colour": "red", "second": "blue", "pattern": "plain"}
    about = {"photo": who, "asked": {"context": "beach", "light": "day", "style": "flat", "pose": "standing"}, "told": {"seen": dict(who)}}
    png = CHECKPOINTS / "miniature/subjects"
    target = next(png.glob("*.png")).read_bytes()
    assert people(None)(Quadruplet("a", b"", target, about))
    assert people(None)(Quadruplet("a", b"", target, {**about, "told": {"seen": {**who, "second": "pink"}}}))  # a plain one's belly
    assert not people(None)(Quadruplet("a", b"", target, {**about, "told": {"seen": {**who, "colour": "pink"}}}))

    class Sees:
        def __init__(self, **names: str) -> None:
            self.said = {**who, **about["asked"], **names}

        def names(self, x):
            assert x.shape == (1, 3, 128, 128)
            return [self.said]

    assert people(Sees())(Quadruplet("a", b"", target, about))
    assert not people(Sees(context="forest"))(Quadruplet("a", b"", target, about))


def test_table_3_is_redrawn_from_its_folder(parts: Parts, assistant, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", parts)
    found = table3(run, assistant, parts.eyes, cases=2, seeds=1)
    text = write_table3(found, tmp_path / "out" / "table3")
    assert [line.split(":")[0] for line in text.splitlines()[2:7]] == ["| start", "| D1", "| D2", "| D3", "| D4"]
    rows = found["rows"]
    assert rows["D4"]["samples"] == rows["D1"]["samples"] + rows["D3"]["samples"] and rows["D2"]["samples"] <= rows["D1"]["samples"]
    assert rows["D1"]["dino"]["less D1"] == mean([0.0] * found["cases"]) and rows["D3"]["dino"]["low"] < rows["D3"]["dino"]["high"]
    assert rows["D1"]["dino"]["value"] != rows["start"]["dino"]["value"] and rows["D4"]["dino"]["count"] == found["cases"]
    shutil.rmtree(tmp_path / "out")
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert write_table3(table3(run, assistant, parts.eyes, cases=2, seeds=1), tmp_path / "out" / "table3") == text
    assert (tmp_path / "run" / "log.jsonl").read_text() == log  # nothing was made or trained again
