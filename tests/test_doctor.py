"""Doctor: `--run` tries every preset at tiny numbers, a fault is a line; torch beside its driver; what fits which card; what is sent says nothing private."""

import json
import re
from pathlib import Path

import pytest
import torch

from assistant import benchmark as bench, doctor, loading, machine, presets
from assistant.errors import DeviceError, NotFiniteError
from assistant.memory.budget import GIB, HOST_TIERS, Budget
from assistant.presets import FULL, OPEN
from assistant.machine import Table
from assistant.doctor import checked, failures, trial
from tests import tiny_full, tiny_open, tiny_sdxl
from tests.fake_engine import draw, png_of

SIZES = Path(__file__).resolve().parents[1] / "docs" / "full-size.md"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    tiny_full.write(full := tmp_path_factory.mktemp("full"))
    return {"open": tiny_open.write(tmp_path_factory.mktemp("open")), "sdxl": tiny_sdxl.write(tmp_path_factory.mktemp("sdxl")), "tiny": full, "tiny-base": full}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    for name, config in (("open", tiny_open.CONFIG), ("sdxl", tiny_sdxl.CONFIG), ("tiny", tiny_full.TINY), ("tiny-base", tiny_full.TINY_BASE)):
        monkeypatch.setitem(presets.PRESETS, name, config)


# --- --run ---------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("name, dtype", [("miniature", "auto"), ("tiny", "bfloat16"), ("open", "auto"), ("sdxl", "auto"), ("tiny", "auto"), ("tiny-base", "auto")])
def test_every_preset_is_tried_and_a_table_says_that_it_works(name, dtype, folders, capsys, tmp_path):
    status = doctor.run(name, "cpu", dtype, folder=folders.get(name), steps=4, save=tmp_path / "trial.json")
    said = capsys.readouterr().out
    assert status == 0 and "All of it works here." in said, said
    table = said[said.index("To paste into an issue"):]
    lines = re.findall(r"^\| (.+?) \| (\d+\.\d\d s) \| (.+) \|$", table, re.M)
    done = {what: found for what, _, found in lines}
    assert {"picture", "infusion, 10 steps of learning", "ico, 10 steps of learning", "strip of 3"} <= done.keys()
    assert "3 of" in done["strip of 3"] and ("9 of" in done["grid of 3 x 3"] if name != "tiny-base" else "| grid | none |" in table)
    assert len(json.loads((tmp_path / "trial.json").read_text())["lines"]) >= 7


def test_a_fault_is_a_line_of_the_table_and_the_next_step_is_tried(assistant, monkeypatch):
    photos = [subject.photo for subject in assistant.subjects[:3]]
    monkeypatch.setattr(assistant.decoder, "decode", lambda latents: torch.zeros(len(latents), 128, 128, 3, dtype=torch.uint8).numpy())
    monkeypatch.setattr(assistant.trainer, "begin", lambda task: (_ for _ in ()).throw(RuntimeError("no kernel image is available")))
    table = trial(assistant, photos, 1)
    said = dict((what, note) for what, value, note in table.lines if value == "FAILED")
    assert "Picture 1 is black" in said["picture"] and "no kernel image" in said["infusion, 10 steps of learning"] and "grid of 3 x 3" in said
    assert failures(table) == list(said) and len(said) == 5


def test_numbers_that_are_none_are_a_sentence_and_no_black_picture(base):
    with pytest.raises(NotFiniteError, match="not finite numbers"):
        base.decode(torch.full((1, base.unet.config.in_channels, 16, 16), torch.nan))
    assert "1 of 128 x 128" in checked([png_of(draw(1))])


# --- torch and the driver ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("driver, built, available, said", [
    (None, None, False, ""), ((12, 8), (12, 8), True, ""), ((13, 1), (12, 8), True, ""), ((12, 4), (12, 8), True, ""),
    ((12, 8), None, False, "for CPUs only. Run: .*torch==2.10.0 .*--torch-backend=cu128"),  # what Windows gets by default
    ((12, 4), None, False, "--torch-backend=cu126"), ((13, 0), None, False, "--torch-backend=cu130"),
    ((12, 8), (13, 0), False, "runs CUDA 12.8, but this torch is built for 13.0. Run: .*cu128"),
    ((11, 8), (12, 8), False, "Install a newer driver"), ((12, 8), (12, 8), False, "torch finds no GPU")])
def test_the_drivers_cuda_is_compared_with_torchs(driver, built, available, said):
    found = machine.torch_advice(driver, built, available)
    assert re.search(said, found) if said else not found


def test_a_card_that_torch_has_no_code_for_is_told_the_build_that_has():
    codes = ("sm_75", "sm_80", "sm_86", "sm_90")
    assert not machine.torch_advice((12, 8), (12, 8), True, (8, 9), codes)
    assert "cu126" in machine.torch_advice((12, 8), (12, 8), True, (6, 1), codes)
    assert "no code for the GPU (sm_120" in machine.torch_advice((13, 0), (12, 6), True, (12, 0), codes)


def test_the_driver_is_asked(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '| NVIDIA-SMI 550.54    Driver Version: 550.54    CUDA Version: 12.4     |'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.driver_cuda() == (12, 4)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert machine.driver_cuda() is None


def test_requirements_and_advice_name_one_torch():
    assert set(machine.PINNED.split()) <= set((SIZES.parents[1] / "requirements.txt").read_text().split())


# --- what fits -------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_the_documented_table_of_cards_is_the_computed_one(monkeypatch):
    monkeypatch.undo()
    assert doctor.cards() in SIZES.read_text(encoding="utf-8"), "python -m assistant doctor --cards prints the table of today"


def test_sixteen_gigabytes_without_a_gpu_are_not_refused(monkeypatch):
    """In single precision `open` takes more than is free on such a computer."""
    budget = Budget(OPEN, 4)
    assert budget.need(HOST_TIERS[0]).device > 14 * GIB and budget.choose_host(14 * GIB).name == "halved"
    with pytest.raises(DeviceError, match="without a GPU; 14.0 GiB are free"):
        budget.choose_host(14 * GIB, may_halve=False)
    with pytest.raises(DeviceError, match="takes at least"):
        Budget(FULL, 4).choose_host(14 * GIB)
    assert loading.pick_dtype("auto", torch.device("mps")) is torch.float16


@pytest.mark.slow
def test_a_halved_engine_draws_and_says_so(folders, monkeypatch):
    budget, halved = (Budget(tiny_open.CONFIG, size, folders["open"]) for size in (4, 2))
    between = (budget.need(HOST_TIERS[0]).device + halved.need(HOST_TIERS[1]).device) // 2
    monkeypatch.setattr(loading, "free_memory", lambda _: between)
    engine = loading.load("open", "cpu", "auto", "auto", folders["open"])
    assert loading.assistant_of(engine).decoder.unet.dtype is torch.bfloat16 and "bfloat16" in engine.info().notice
    assert not failures(trial(engine, [subject.photo for subject in doctor_photos()], 2))


def doctor_photos():
    from assistant.deferred_engine import ready_subjects
    from assistant.hub.download import place_of

    return ready_subjects(place_of(presets.MINIATURE))[:3]


# --- what is sent ----------------------------------------------------------------------------------------------------------

def test_a_bench_is_one_file_without_names_of_people_or_places(tmp_path, monkeypatch):
    def measured(table: Table, options) -> None:
        table.add("picture", "1.00 s", "note")

    monkeypatch.setattr(bench, "_loaded", measured)
    bench.run(bench.Options(save=tmp_path / "bench.json"))
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert kept["lines"] == [{"what": "picture", "value": "1.00 s", "note": "note"}] and kept["versions"]["torch"]
    assert kept["devices"]["cpu"] and str(Path.home()) not in (tmp_path / "bench.json").read_text() and str(tmp_path) not in json.dumps(kept)
