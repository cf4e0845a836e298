"""Downloads: whole, checked, resumable, never pickles; what cannot be is one sentence. The hub is a fake, it is the expensive edge."""

import hashlib
import shutil
import sys
from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from assistant import doctor, loading, checkpoints
from assistant.hub import download as parts
from assistant.config import Source
from assistant.errors import ConfigError, WeightsError
from assistant.hub.client import FolderClient, HubClient
from assistant.hub.download import Remote, Unavailable, download, look, missing, told
from assistant.presets import CHAT_MODELS, FULL, LICENCES, OPEN, PRESETS, SD15, with_llm, with_safety
from assistant.manifest import read_listing, verify
from tests import tiny_vlm

FILES = {"unet/config.json": b"{}", "unet/model.safetensors": b"u" * 3000, "unet/model.fp16.safetensors": b"h" * 1500, "unet/model.bin": b"p",
         "README.md": b"read", "vae/config.json": b"{}", "vae/model-00001-of-00002.safetensors": b"1" * 100,
         "vae/model-00002-of-00002.safetensors": b"2" * 100,
         "vae/model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'}
SOURCE = Source(("ada/original", "bob/mirror"), ("unet/config.json", "unet/model.safetensors", "vae/config.json", "vae/model.safetensors"), gib=1.0)
ONE = replace(SD15, name="one", sources={"base": SOURCE})


class Hub:
    """Repositories in memory. `breaks`: path -> how many times it comes short, or comes wrong."""

    def __init__(self, repositories, gone=(), breaks=None, wrong=None):
        self.repositories, self.gone, self.breaks, self.wrong = repositories, dict(gone), dict(breaks or {}), dict(wrong or {})
        self.fetched = []

    places = HubClient.places

    def offers(self, origin, revision):
        if origin in self.gone:
            raise self.gone[origin]
        return revision or "f" * 40, [Remote(p, len(b), hashlib.sha256(b).hexdigest() if p.endswith(("safetensors", "bin")) else "")
                                      for p, b in self.repositories[origin].items()]

    def fetch(self, origin, revision, file, into, came):
        path = file.path
        self.fetched.append(path)
        content, to = self.repositories[origin][path], into / path
        for faults, spoil in ((self.breaks, lambda b: b[:len(b) // 2]), (self.wrong, lambda b: b"?" * len(b))):
            if faults.get(path, 0) > 0:
                faults[path] -= 1
                content = spoil(content)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(content)
        return to


@pytest.fixture
def hub():
    return Hub({"ada/original": FILES, "bob/mirror": FILES})


def run(hub, folder, config=ONE):
    said = []
    errand = look(config, folder, hub)
    download(errand, folder, hub, said.append)
    return errand, said


def test_only_what_is_needed_comes_whole_and_is_known_by_its_checksum(hub, tmp_path):
    errand, said = run(hub, tmp_path)
    assert sorted(hub.fetched) == sorted(p for p in FILES if p not in ("README.md", "unet/model.bin", "unet/model.safetensors"))
    assert (tmp_path / "base/unet/model.safetensors").read_bytes() == FILES["unet/model.fp16.safetensors"]  # half the bytes, under the name that is loaded
    assert read_listing(tmp_path)["base/unet/model.safetensors"]["sha256"] == hashlib.sha256(FILES["unet/model.fp16.safetensors"]).hexdigest()
    verify(tmp_path)
    assert missing(ONE, tmp_path) == [] and not (tmp_path / ".incoming").exists()
    assert said[0].startswith("1 of 6: base/unet/config.json")
    hub.fetched.clear()
    again, _ = run(hub, tmp_path)
    assert not again.wanted and not hub.fetched and "Nothing to fetch" in told(ONE, again, tmp_path)


def test_a_download_that_broke_off_goes_on_with_what_is_not_there_yet(hub, tmp_path):
    hub.breaks = {"vae/model-00002-of-00002.safetensors": 9}
    with pytest.raises(WeightsError, match="50 bytes of 100 came"):
        run(hub, tmp_path)
    assert missing(ONE, tmp_path) == ["base"] and not list(tmp_path.rglob("base/vae/model-00002*"))
    hub.breaks, done = {}, list(hub.fetched)
    hub.fetched.clear()
    run(hub, tmp_path)
    assert hub.fetched == [p for p in ("vae/model-00002-of-00002.safetensors", "vae/model.safetensors.index.json") if p in FILES]
    assert "unet/model.fp16.safetensors" in done and missing(ONE, tmp_path) == []


def test_a_file_that_comes_truncated_once_is_fetched_once_more(hub, tmp_path):
    hub.breaks = {"unet/model.fp16.safetensors": 1}
    _, said = run(hub, tmp_path)
    assert any("damaged" in line for line in said) and missing(ONE, tmp_path) == []


def test_another_file_of_the_same_size_is_refused(hub, tmp_path):
    hub.wrong = {"unet/model.fp16.safetensors": 2}
    with pytest.raises(WeightsError, match="its checksum is not what ada/original says"):
        run(hub, tmp_path)
    assert not (tmp_path / "base/unet/model.safetensors").exists()


def test_a_gated_original_is_passed_over_for_a_mirror_and_said(hub, tmp_path):
    gate = Unavailable("ada/original gives its files only to those who accepted its licence", "accept it at https://hub/ada and run: hf auth login")
    hub.gone = {"ada/original": gate}
    errand, _ = run(hub, tmp_path)
    assert errand.listings[0].origin == "bob/mirror" and "bob/mirror is taken" in told(ONE, errand, tmp_path)
    hub.gone["bob/mirror"] = Unavailable("bob/mirror is not there any more, or is not public")
    with pytest.raises(WeightsError, match="hf auth login"):
        look(ONE, tmp_path / "other", hub)


def test_a_repository_of_pickles_is_named_as_one_and_never_fetched(tmp_path):
    pickles = {"unet/config.json": b"{}", "unet/model.bin": b"p", "vae/config.json": b"{}", "vae/model.bin": b"p"}
    hub = Hub({"ada/original": pickles, "bob/mirror": pickles})
    with pytest.raises(WeightsError, match="pickled weights only, which are never loaded") as raised:
        look(ONE, tmp_path, hub)
    assert "--from a folder with .safetensors" in raised.value.remedy and not hub.fetched


def test_a_disk_that_is_too_small_is_found_out_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(parts.shutil, "disk_usage", lambda _: namedtuple("Usage", "total used free")(1, 1, 2**29))
    with pytest.raises(WeightsError, match="has 0.5 GiB free") as raised:
        run(hub, tmp_path / "new" / "place")
    assert "Free 0.5 GiB" in raised.value.remedy and "--to" in raised.value.remedy and not hub.fetched


def test_a_disk_that_fills_up_meanwhile_is_said(hub, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "fetch", full)
    with pytest.raises(WeightsError, match="the disk is full"):
        run(hub, tmp_path)


def test_a_root_inside_a_repository_becomes_the_part(tmp_path):
    nested = Hub({"ada/original": {f"models/encoder/{k}": v for k, v in FILES.items()} | {"models/other/config.json": b"x"}})
    config = replace(ONE, sources={"seer": replace(SOURCE, hubs=("ada/original",), root="models/encoder")})
    run(nested, tmp_path, config)
    assert (tmp_path / "seer/unet/model.safetensors").exists() and not (tmp_path / "seer/models").exists() and missing(config, tmp_path) == []


def test_a_folder_serves_as_a_hub_without_network(hub, tmp_path):
    run(hub, tmp_path / "first")
    errand, _ = run(FolderClient(tmp_path / "first"), tmp_path / "second")
    assert missing(ONE, tmp_path / "second") == [] and errand.listings[0].origin == "base"
    shutil.rmtree(tmp_path / "first")
    verify(tmp_path / "second")  # linked or copied: it stands alone
    with pytest.raises(WeightsError, match="has no folder base"):
        look(ONE, tmp_path / "third", FolderClient(tmp_path / "first"))


def test_every_error_of_the_hubs_library_becomes_a_sentence():
    from huggingface_hub import errors

    request = getattr(sys.modules[errors.HTTPError.__module__.partition(".")[0]], "Request")("GET", "https://hub/x")
    answer = getattr(sys.modules[errors.HTTPError.__module__.partition(".")[0]], "Response")(403, request=request)

    def asked(error):
        def ask():
            raise error
        return HubClient._asked("ada/original", ask)

    with pytest.raises(Unavailable, match="accepted its licence") as gated:
        asked(errors.GatedRepoError("no", response=answer))
    assert "hf auth login" in gated.value.remedy
    with pytest.raises(Unavailable, match="not there any more"):
        asked(errors.RepositoryNotFoundError("no", response=answer))
    with pytest.raises(Unavailable, match="does not give its files .it answers 403") as disabled:
        asked(errors.DisabledRepoError("no", response=answer))
    assert not disabled.value.passing
    for error in (errors.LocalEntryNotFoundError("no"), ConnectionError("no"), TimeoutError()):
        with pytest.raises(Unavailable, match="cannot be reached") as unreached:
            asked(error)
        assert unreached.value.passing
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE"):
        asked(errors.OfflineModeIsEnabled("no"))


def test_without_network_the_command_ends_in_one_sentence(tmp_path, monkeypatch):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    from assistant.__main__ import main

    def offline(*_, **__):
        raise OfflineModeIsEnabled("no")

    monkeypatch.setattr(HfApi, "model_info", offline)
    monkeypatch.setattr(sys, "argv", ["assistant", "download", "sd15", "--to", str(tmp_path), "--dry"])
    with pytest.raises(WeightsError, match="switched off by HF_HUB_OFFLINE"):
        main()
    monkeypatch.setattr(sys, "argv", ["assistant", "download", "miniature"])
    with pytest.raises(ConfigError, match="ships with the code"):
        main()


def test_the_full_presets_patterns_choose_the_published_files():
    published = ["config.json", "generation_config.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                 "model-00003-of-00003.safetensors", "model.safetensors.index.json", "pytorch_model-00001-of-00003.bin", "tokenizer.json",
                 "tokenizer.model", "tokenizer_config.json", "LICENSE.txt", "original/consolidated.00.pth"]
    offered = [Remote(p, 1) for p in published]
    chosen = {f.path for f in offered if parts._chosen(f.path, FULL.sources["llama"], offered)}
    assert chosen == {p for p in published if "bin" not in p and "LICENSE" not in p and "original" not in p}
    parts._complete("x", FULL.sources["llama"], [f for f in offered if f.path in chosen], offered)
    published = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
                 "unet/diffusion_pytorch_model.non_ema.safetensors", "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors",
                 "v1-5-pruned.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/special_tokens_map.json", "model_index.json"]
    offered = [Remote(p, 1) for p in published]
    chosen = {f.path for f in offered if parts._chosen(f.path, SD15.sources["base"], offered)}
    assert chosen == {*published[:2], *published[-4:]}


@pytest.mark.parametrize("name, left, taken", [
    ("Qwen/Qwen3-VL-2B-Instruct", [".gitattributes", "README.md"], list(tiny_vlm.QWEN_FILES)),
    ("llava-hf/llava-1.5-7b-hf", [".gitattributes", "README.md"], [
        *(p for p in tiny_vlm.LLAVA_FILES if p != "model.safetensors"), "added_tokens.json", "special_tokens_map.json", "tokenizer.model",
        "model.safetensors.index.json", *(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))]),
    ("mistral-like/twice", ["consolidated.safetensors"], ["config.json", "model.safetensors", "tokenizer.json"])], ids=("qwen3-vl", "llava", "twice"))
def test_a_chat_models_patterns_choose_the_published_files_once(name, left, taken):
    source = with_llm(OPEN, name).sources[f"llm-{name.replace('/', '--')}"]
    offered = [Remote(p, 1) for p in (*left, *taken)]
    chosen = [f for f in offered if parts._chosen(f.path, source, offered)]
    assert sorted(f.path for f in chosen) == sorted(taken)
    parts._complete(name, source, chosen, offered)


def test_every_part_that_is_downloaded_says_its_licence_before(hub, tmp_path, monkeypatch):
    assert all(source.hubs[0] in LICENCES for config in map(with_safety, PRESETS.values()) for source in (*config.sources.values(), *CHAT_MODELS.values()))
    assert f"licence: see https://huggingface.co/{SOURCE.hubs[0]}" in told(ONE, look(ONE, tmp_path, hub), tmp_path)
    monkeypatch.setitem(LICENCES, SOURCE.hubs[0], "CreativeML Open RAIL-M")
    assert "licence: CreativeML Open RAIL-M" in told(ONE, look(ONE, tmp_path, hub), tmp_path)


@pytest.fixture
def lines(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFE_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "full" / "dino").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "full" / "dino" / name).write_text("{}")
    return "\n".join(doctor._presets())


@pytest.mark.slow
def test_every_preset_is_told_with_what_it_lacks(lines):
    assert all(f"\n  {name} " in f"\n{lines}" for name in PRESETS)
    assert "miniature        yes, weights" in lines and "sd15             no, not all of it is here" in lines
    full = lines[lines.index("  full "):]
    assert "dino: there" in full and "llama: is missing, about 24.2 GiB of meta-llama/Llama-2-13b-chat-hf or NousResearch" in full
    assert "cafe: must be trained: python -m assistant.training cafe" in full and "python -m assistant download full" in full
    assert "79.6 GiB on this cpu (computed)" in full and "it does not fit" in full


@pytest.mark.slow
def test_with_a_gpu_it_says_which_tier_would_be_chosen(lines, monkeypatch):
    monkeypatch.setattr(doctor, "pick_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(loading, "free_memory", lambda where: 24 * 2**30 if where.type == "cuda" else 64 * 2**30)
    monkeypatch.setattr(checkpoints, "can_quantise", lambda: True)
    (line,) = doctor._fits(PRESETS["full"])
    assert "whole 40" in line and "4bit 20" in line and "here: 4bit, the language model is held in 4 bits" in line
    (line,) = doctor._fits(PRESETS["sd15"])
    assert "4bit" not in line and "here: whole" in line
    monkeypatch.setattr(loading, "free_memory", lambda where: 2**30)
    assert "takes at least" in doctor._fits(PRESETS["full"])[0]
