"""The doctor says of every preset what is there, what is missing and how it is got, what it takes, and how it would live on a GPU."""

import pytest
import torch

from assistant import doctor, loading, weights
from assistant.presets import PRESETS


@pytest.fixture
def lines(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFE_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "full" / "dino").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "full" / "dino" / name).write_text("{}")
    return "\n".join(doctor._presets())


def test_every_preset_is_told_with_what_it_lacks(lines):
    assert all(f"\n  {name} " in f"\n{lines}" for name in PRESETS)
    assert "miniature        yes, weights" in lines and "sd15             no, not all of it is here" in lines
    full = lines[lines.index("  full "):]
    assert "dino: there" in full and "llama: is missing, about 24.3 GiB of meta-llama/Llama-2-13b-chat-hf or NousResearch" in full
    assert "cafe: must be trained: python -m assistant.training cafe" in full and "python -m assistant download full" in full
    assert "79.6 GiB on this cpu (computed)" in full and "it does not fit" in full


def test_with_a_gpu_it_says_which_tier_would_be_chosen(lines, monkeypatch):
    monkeypatch.setattr(doctor, "pick_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(loading, "free_memory", lambda where: 24 * 2**30 if where.type == "cuda" else 64 * 2**30)
    monkeypatch.setattr(weights, "can_quantise", lambda: True)
    (line,) = doctor._fits(PRESETS["full"])
    assert "whole 40" in line and "4bit 20" in line and "here: 4bit, the language model is held in 4 bits" in line
    (line,) = doctor._fits(PRESETS["sd15"])
    assert "4bit" not in line and "here: whole" in line
    monkeypatch.setattr(loading, "free_memory", lambda where: 2**30)
    assert "takes at least" in doctor._fits(PRESETS["full"])[0]
