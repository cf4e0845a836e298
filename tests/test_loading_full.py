"""A folder in the published layout, at miniature numbers, through the loader of the preset `full`: it answers; what is wrong is said."""

import io
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from assistant import loading, presets, checkpoints
from assistant.generation.base import decoded
from assistant.errors import DeviceError, WeightsError
from assistant.loading import groups_of, load, identified
from assistant.memory.budget import tier
from assistant.requests import Reply, Request, Settings, Words
from assistant.hub.download import missing, require
from assistant.presets import FULL
from assistant.memory.offloading import OffloadManager
from assistant.session.uploads import read_photo
from assistant.memory.oom_retry import OomRetryEngine
from tests.tiny_full import TINY, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write(folder)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tiny", ignore=shutil.ignore_patterns("manifest.json"))
    return tmp_path / "tiny"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", TINY)


def photo(colour="teal"):
    out = io.BytesIO()
    Image.new("RGB", (90, 60), colour).save(out, "PNG")
    return read_photo(out.getvalue())


def alike(one, other):
    """The same picture but for rounding: a copied weight lies elsewhere in memory, and a processor sums in another order there."""
    pictures = [np.asarray(Image.open(io.BytesIO(reply.png)), float) for reply in (one, other)]
    return np.abs(pictures[0] - pictures[1]).max() <= 2


def answered(engine, request):
    events = list(engine.respond(request, threading.Event()))
    assert isinstance(events[-1], Reply)
    return events


@pytest.mark.slow
def test_it_loads_answers_and_draws(folder):
    engine = load("tiny", "cpu", "auto", "auto", folder)
    ask = Request("put it on a beach", photo(), settings=Settings(seed=3, steps=2, preview_every=1))
    *before, reply = answered(engine, ask)
    assert Image.open(io.BytesIO(reply.png)).size == (64, 64) and reply.metadata["preset"] == "tiny"
    assert any(isinstance(e, Words) for e in before) and reply.text
    assert any(getattr(e, "preview", None) for e in before)  # rough colours without a file of their own
    assert reply.png == answered(engine, ask)[-1].png
    told = answered(engine, replace(ask, photo=photo("red")))[-1]
    assert told.png != reply.png
    assert engine.features.see(photo()).patches.shape == (1, 10, 48)  # 3 x 3 patches of positions learned at 5 x 5


def test_bfloat16_halves_what_is_held_and_still_draws(folder):
    engine = load("tiny", "cpu", "bfloat16", "auto", folder)
    assert {p.dtype for p in engine.decoder.unet.parameters()} == {torch.bfloat16} and engine.decoder.vae.dtype == torch.float32
    reply = answered(engine, Request("a beach", photo(), settings=Settings(seed=3, steps=2)))[-1]
    assert reply.png and reply.text


@pytest.mark.parametrize("gone, command", [
    ("llama/model-00002*", "python -m assistant download tiny --to"), ("clip/*.safetensors", "python -m assistant download tiny --to"),
    ("bridge/*", "python -m assistant.training bridge"), ("cafe/*.safetensors", "python -m assistant.training cafe")])
def test_what_is_missing_is_named_with_the_next_command(copy, gone, command):
    for path in copy.glob(gone):
        path.unlink()
    part = gone.partition("/")[0]
    assert missing(TINY, copy) == [part]
    with pytest.raises(WeightsError, match=part) as raised:
        load("tiny", "cpu", "auto", "auto", copy)
    assert command in raised.value.remedy and "\n" not in str(raised.value)


def test_an_empty_place_names_all_of_it(tmp_path):
    with pytest.raises(WeightsError) as raised:
        require(FULL, tmp_path)
    said = str(raised.value)
    assert all(word in said for word in ("dino, clip, llama and base", "bridge and cafe", "licence", "python -m assistant download full"))


@pytest.mark.parametrize("part, file, change, said", [
    ("dino", "dino/model.safetensors", lambda t: t.pop("layernorm.weight"), "they lack layernorm.weight"),
    ("unet", "base/unet/diffusion_pytorch_model.safetensors", lambda t: t.update(stray=torch.zeros(1)), "they have beside them stray"),
    ("unet", "base/unet/diffusion_pytorch_model.safetensors", lambda t: t.update({"conv_in.bias": torch.zeros(3)}), "conv_in.bias"),
    ("bridge", "bridge/bridge.safetensors", lambda t: t.update({"V.weight": torch.zeros(2, 2)}), "bridge.safetensors"),
], ids=("lacks", "stray", "shape", "bridge"))
def test_weights_of_another_model_are_refused(copy, part, file, change, said):
    tensors = load_file(copy / file)
    change(tensors)
    save_file(tensors, copy / file, {"format": "pt"})
    with pytest.raises(WeightsError, match=said):
        load("tiny", "cpu", "auto", "auto", copy)


def test_pickled_weights_beside_nothing_are_never_opened(copy):
    (copy / "base/unet/diffusion_pytorch_model.safetensors").rename(copy / "base/unet/diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="lacks base"):
        load("tiny", "cpu", "auto", "auto", copy)


def test_a_folder_put_together_by_hand_is_known_again_and_damage_is_seen(copy):
    first = identified(TINY, copy)
    assert (copy / "manifest.json").exists() and identified(TINY, copy) == first
    from assistant.manifest import verify
    verify.cache_clear()
    with (copy / "cafe/config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(WeightsError, match="cafe/config.json is damaged"):
        identified(TINY, copy)


@pytest.mark.parametrize("name", ("turns", "layers"))
def test_a_tier_changes_where_weights_live_and_nothing_else(folder, name):
    ask = Request("put it on a beach", photo(), settings=Settings(seed=3, steps=2))
    engine = load("tiny", "cpu", "auto", "auto", folder)
    expected = answered(engine, ask)[-1]
    parts = groups_of(engine.image_generator, engine.base)
    residence = OffloadManager(torch.device("cpu"), parts, tier=tier(name))
    reply = answered(engine, ask)[-1]
    assert reply.text == expected.text and alike(reply, expected)
    assert [n for n, group in parts.items() if group.here] == (["eyes"] if name == "turns" else [])  # likeness was looked at last
    assert residence.lower() is None or alike(answered(engine, ask)[-1], expected)


@pytest.mark.slow
def test_out_of_memory_in_the_decoder_ends_in_the_picture_that_was_asked_for(folder, monkeypatch):
    ask = Request("put it on a beach", photo(), settings=Settings(seed=3, steps=2))
    engine = load("tiny", "cpu", "auto", "auto", folder)
    expected = answered(engine, ask)[-1]
    residence = OffloadManager(torch.device("cpu"), groups_of(engine.image_generator, engine.base), (engine.decoder.vae,), tier("whole"))
    decode, shorts = engine.decoder.decode, [torch.OutOfMemoryError("CUDA out of memory")]

    def short(latents):
        if shorts:
            raise shorts.pop()
        return decode(latents)

    monkeypatch.setattr(engine.decoder, "decode", short)
    sparing = OomRetryEngine(engine, residence)
    reply = answered(sparing, ask)[-1]
    assert residence.tier.name == "turns" and engine.decoder.vae.use_tiling
    assert reply.text.startswith(expected.text) and "Memory ran out" in reply.text
    said = [decoded(r.metadata["semantics"], torch.device("cpu")) for r in (reply, expected)]
    torch.testing.assert_close(*said, atol=1e-4, rtol=1e-4)
    assert Image.open(io.BytesIO(reply.png)).size == (64, 64)
    shorts += [torch.OutOfMemoryError("CUDA out of memory")] * 2
    with pytest.raises(DeviceError, match="again, in the next tier too"):
        answered(sparing, ask)


def test_a_tier_is_picked_by_what_is_free(monkeypatch):
    monkeypatch.setattr(loading, "free_memory", lambda where: (24 if where.type == "cuda" else 64) * 2**30)
    monkeypatch.setattr(checkpoints, "can_quantise", lambda: True)
    cuda, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert loading.pick_tier(FULL, "auto", cuda, torch.float16).name == "4bit"
    assert loading.pick_tier(FULL, "layers", cuda, torch.float16).name == "layers"
    with pytest.raises(DeviceError, match="for NVIDIA GPUs"):
        loading.pick_tier(FULL, "turns", cpu, torch.float32)
    assert loading.pick_tier(FULL, "auto", cpu, torch.float32).name == "halved"  # 64 GiB hold it in 16 bits
    with pytest.raises(DeviceError, match="without a GPU"):
        loading.pick_tier(FULL, "auto", cpu, torch.float32, may_halve=False)


@pytest.mark.slow
def test_memory_that_runs_out_while_loading_costs_a_tier_and_is_said(monkeypatch, capsys, tmp_path):
    """Also inside a file's reading, where a shortage was told as a damaged file."""
    with pytest.raises(torch.OutOfMemoryError), checkpoints.reading("weights"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    shorts, tried = [torch.OutOfMemoryError("CUDA out of memory.")] * 2, []

    def hands(config, folder, attention, kind, where, language_dtype, **extra):
        tried.append((language_dtype, extra.get("quantization_config") is not None))
        if shorts:
            raise shorts.pop()
        return SimpleNamespace(decoder=SimpleNamespace(vae=None)), SimpleNamespace(vae=None)

    monkeypatch.setattr(loading, "hands", hands)
    monkeypatch.setattr(loading, "groups_of", lambda *_: {})
    monkeypatch.setattr(loading, "OffloadManager", lambda where, groups, vaes, chosen, moving: chosen)
    monkeypatch.setattr(checkpoints, "can_quantise", lambda: True)
    monkeypatch.setattr(checkpoints, "in_4_bits", lambda *_: {"quantization_config": 4})
    cuda, kinds = torch.device("cuda", 0), (torch.float16, torch.bfloat16)
    assert loading.settled(FULL, tmp_path, "auto", kinds, cuda, tier("whole"))[2:] == (tier("turns"), tier("turns"))
    assert tried == [(torch.bfloat16, False), (torch.bfloat16, True), (torch.bfloat16, False)]
    assert "Memory ran out in the tier whole; in 4bit, the language model is held in 4 bits." in capsys.readouterr().out
    shorts += [torch.OutOfMemoryError("CUDA out of memory.")] * 2
    with pytest.raises(DeviceError, match="while 'full' was loaded, and there is no tier that takes less") as raised:
        loading.settled(FULL, tmp_path, "auto", kinds, cuda, tier("4bit-turns"))
    assert raised.value.__context__ is None
    shorts += [RuntimeError("shapes differ")]
    with pytest.raises(RuntimeError, match="shapes"):
        loading.settled(FULL, tmp_path, "auto", kinds, cuda, tier("whole"))


def test_a_chat_model_is_in_bfloat16_where_the_device_computes_in_it(monkeypatch):
    cuda, cpu = torch.device("cuda", 0), torch.device("cpu")
    for there, kind in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: there or including_emulation)
        assert loading.pick_chat_dtype("auto", cuda) is kind and loading.pick_chat_dtype("float16", cuda) is torch.float16
    assert loading.pick_chat_dtype("auto", cpu) is torch.float32 and loading.pick_dtype("auto", cuda) is torch.float16


@pytest.mark.slow
def test_a_compiled_step_is_given_up_before_its_weights_move(folder):
    engine = load("tiny", "cpu", "auto", "auto", folder)
    decoders = (engine.decoder, engine.base)
    for decoder in decoders:
        decoder.step = lambda *_, **__: pytest.fail("recorded with weights that are elsewhere now")
    residence = OffloadManager(torch.device("cpu"), groups_of(engine.image_generator, engine.base), tier=tier("whole"), moving=lambda: loading.plain(*decoders))
    assert all(d.step is not d.unet for d in decoders)
    residence.lower()
    assert all(d.step is d.unet for d in decoders) and answered(engine, Request("a beach", photo(), settings=Settings(seed=3, steps=1)))[-1].png
