"""Downloads over HTTP from a stand-in hub on this machine: they go on where they broke off, go to mirrors, use the Hugging Face cache and mend what is cut."""

import hashlib
import os
import random
import sys
import time
from dataclasses import replace

import gradio as gr
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from assistant import loading, manifest, presets
from assistant.__main__ import main
from assistant.config import Source
from assistant.errors import WeightsError
from assistant.hub import client as hub_client
from assistant.hub.client import HubClient
from assistant.hub.download_job import DownloadJob
from assistant.hub.download import Interrupted, download, look, missing
from assistant.presets import SD15
from tests import tiny_full
from tests.stand_in_hub import SHA, StandInHub
from ui import weights_card
from ui.weights_card import card, duration, size

WEIGHTS, HALF = (random.Random(n).randbytes(size) for n, size in ((1, 400_000), (2, 200_000)))
FILES = {"unet/config.json": b"{}", "unet/model.safetensors": WEIGHTS, "vae/config.json": b"[]", "vae/model.safetensors": WEIGHTS[:9000]}
NAMES = tuple(FILES)
ONE = replace(SD15, name="one", safety=None, sources={"base": Source(("ada/original", "bob/mirror"), NAMES, gib=1.0)})
BIG = "unet/model.safetensors"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    monkeypatch.setattr(hub_client, "WAITS", 0.0)
    return tmp_path / "hf-cache"


@pytest.fixture
def hub():
    with StandInHub({"ada/original": FILES, "bob/mirror": FILES}) as hub:
        yield hub


def fetch(hub, folder, config=ONE, came=lambda count, kept: None):
    client, said = HubClient(hub.url), []
    download(look(config, folder, client), folder, client, said.append, came)
    return said


def whole(folder, part="base"):
    return (folder / part / BIG).read_bytes() == WEIGHTS


def test_a_connection_that_breaks_off_is_taken_up_where_it_ended(hub, tmp_path):
    hub.cuts[BIG] = [150_000, 100_000]
    fetch(hub, tmp_path / "w")
    assert whole(tmp_path / "w") and hub.sent(BIG) == len(WEIGHTS)  # each byte once
    assert [first for path, first, _ in hub.log if path == BIG] == [0, 150_000, 250_000]
    assert missing(ONE, tmp_path / "w") == [] and loading.identified(ONE, tmp_path / "w")


def test_a_program_that_was_ended_goes_on_at_the_next_start(hub, tmp_path):
    """What the hub's library does not: its next try is another file, from the first byte on."""
    def ended(count, kept):
        if hub.sent(BIG) > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(hub, tmp_path / "w", came=ended)
    kept = (tmp_path / "w/.incoming/base" / f"{BIG}.incomplete").stat().st_size
    assert kept > 0 and missing(ONE, tmp_path / "w") == ["base"]
    before, told = len(hub.log), []
    fetch(hub, tmp_path / "w", came=lambda count, kept: told.append((count, kept)))
    assert whole(tmp_path / "w") and hub.log[before][:2] == (BIG, kept) and (kept, True) in told
    assert sum(count for count, _ in told) == sum(map(len, FILES.values())) - len(FILES["unet/config.json"])


def test_a_server_that_cannot_go_on_in_the_middle_sends_it_whole(hub, tmp_path):
    hub.ranges, hub.cuts[BIG] = False, [150_000]
    told = []
    fetch(hub, tmp_path / "w", came=lambda count, kept: told.append(count))
    assert whole(tmp_path / "w") and sum(told) == sum(map(len, FILES.values()))


def test_a_file_that_a_source_does_not_give_comes_from_the_mirror_that_has_the_very_same(hub, tmp_path):
    hub.refuses = {f"ada/original/{BIG}": 500}  # its storage (Xet) is down: the listing is there, the file is not
    said = fetch(hub, tmp_path / "w")
    assert whole(tmp_path / "w") and any("answers 500" in line and "bob/mirror is taken" in line for line in said)
    hub.repositories["bob/mirror"][BIG] = WEIGHTS[::-1]  # another file of that name and size
    with pytest.raises(Interrupted, match="answers 500"):
        fetch(hub, tmp_path / "other")


@pytest.mark.parametrize("status", [403, 500])
def test_a_repository_that_is_disabled_or_down_is_passed_over(hub, tmp_path, status):
    hub.refuses = {"ada/original": status}
    errand = look(ONE, tmp_path, HubClient(hub.url))
    assert errand.listings[0].origin == "bob/mirror" and f"answers {status}" in errand.notes[0]


def test_half_precision_is_taken_where_there_is_one_unless_the_whole_is_there(hub, tmp_path):
    fetch(hub, tmp_path / "old")
    hub.repositories["ada/original"]["unet/model.fp16.safetensors"] = HALF
    assert not look(ONE, tmp_path / "old", HubClient(hub.url)).wanted
    fetch(hub, tmp_path / "new")
    assert (tmp_path / "new/base" / BIG).read_bytes() == HALF and loading.identified(ONE, tmp_path / "new")


def test_the_command_fetches_and_says_what(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hub_client.HubClient, "__init__", lambda self: setattr(self, "endpoint", hub.url))
    monkeypatch.setitem(presets.PRESETS, "one", ONE)
    monkeypatch.setattr(sys, "argv", ["assistant", "download", "one", "--to", str(tmp_path / "w")])
    main()
    said = capsys.readouterr().out
    assert whole(tmp_path / "w") and f"2 of 4: base/{BIG}" in said and f"Done: {tmp_path / 'w'}" in said


# --- the Hugging Face cache ------------------------------------------------------------------------------------------------

def in_cache(cache, files, repository="ada/original", commit=SHA):
    """As the hub's library lays it: blobs by their hashes, snapshots that point to them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    for path, data in files.items():
        blob, link = folder / "blobs" / hashlib.sha256(data).hexdigest(), folder / "snapshots" / commit / path
        for one in (blob, link):
            one.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        if not link.exists():
            link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs/main").write_text(commit)


def test_files_of_the_hugging_face_cache_are_linked_not_fetched_and_not_copied(hub, tmp_path, own_cache):
    in_cache(own_cache, {BIG: WEIGHTS}, commit="e" * 40)  # of an older revision
    errand = look(ONE, tmp_path / "w", HubClient(hub.url))
    assert errand.bytes == sum(len(data) for path, data in FILES.items() if path != BIG)
    fetch(hub, tmp_path / "w")
    blob = own_cache / "models--ada--original/blobs" / hashlib.sha256(WEIGHTS).hexdigest()
    assert whole(tmp_path / "w") and hub.sent(BIG) == 0 and blob.samefile(tmp_path / "w/base" / BIG) and blob.stat().st_nlink == 2


def test_on_another_disk_they_are_used_in_place(hub, tmp_path, own_cache, monkeypatch):
    in_cache(own_cache, {BIG: WEIGHTS})
    monkeypatch.setattr(hub_client.os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "another disk")))
    fetch(hub, tmp_path / "w")
    assert (tmp_path / "w/base" / BIG).is_symlink() and whole(tmp_path / "w") and loading.identified(ONE, tmp_path / "w")


def test_offline_the_cache_is_enough(tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    nobody = type("Nobody", (), {"url": "http://127.0.0.1:9"})
    with pytest.raises(Interrupted, match="HF_HUB_OFFLINE.*not whole in the Hugging Face cache"):
        fetch(nobody, tmp_path / "w")
    in_cache(own_cache, FILES)
    fetch(nobody, tmp_path / "w")
    assert whole(tmp_path / "w") and missing(ONE, tmp_path / "w") == []


# --- what is not whole -----------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 400000\n"


@pytest.mark.parametrize("spoil, said", [(lambda data: POINTER, "Git LFS pointer"), (lambda data: data[:-100], "cut short or damaged: it has .* bytes")])
def test_a_pointer_or_a_cut_file_is_named_with_what_mends_it_and_mending_is_enough(tmp_path, spoil, said):
    """In a folder that was put together by hand, e.g. a clone made without git-lfs."""
    tiny_full.write(tmp_path)
    path = tmp_path / "dino/model.safetensors"
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    with pytest.raises(WeightsError, match=f"dino/model.safetensors .*{said}") as raised:
        loading.identified(tiny_full.TINY, tmp_path)
    assert f"python -m assistant download tiny --to {tmp_path}" in raised.value.remedy and ("git lfs pull" in raised.value.remedy) == ("LFS" in said)
    assert not (tmp_path / "manifest.json").exists()
    path.write_bytes(good)
    assert loading.identified(tiny_full.TINY, tmp_path)
    path.write_bytes(spoil(good))  # and where a manifest knows what it was
    manifest.verify.cache_clear()
    with pytest.raises(WeightsError, match=said):
        loading.identified(tiny_full.TINY, tmp_path)


def test_the_same_command_mends_what_was_put_there_and_fetches_nothing_else(hub, tmp_path):
    tensors = save({"a": torch.zeros(900)})
    hub.repositories["ada/original"][BIG] = tensors
    for path, data in {**FILES, BIG: POINTER}.items():
        (tmp_path / "base" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / path).write_bytes(data)
    fetch(hub, tmp_path)
    assert hub.sent(BIG) == len(tensors) and hub.sent("vae/model.safetensors") == 0 and (tmp_path / "base" / BIG).read_bytes() == tensors
    assert loading.identified(ONE, tmp_path)
    (tmp_path / "base/unet/config.json").write_bytes(b"[]")  # damaged, of the same size
    fetch(hub, tmp_path)
    assert (tmp_path / "base/unet/config.json").read_bytes() == b"{}"


# --- beside a page ---------------------------------------------------------------------------------------------------------

def until(job, *states, seconds=20.0):
    end = time.monotonic() + seconds
    while job.status().state not in states:
        assert time.monotonic() < end, job.status()
        time.sleep(0.02)
    return job.status()


def test_a_download_is_paused_and_gone_on_with_and_tells_how_far_it_is(hub, tmp_path):
    hub.pace = 400_000
    job = DownloadJob(ONE, tmp_path / "w", HubClient(hub.url))
    offered = job.status()
    assert offered.state == "offered" and offered.parts[0].repository == "ada/original" and offered.free > 0 and hub.log == []
    job.begin()
    job.begin()  # a second click
    while not job.status().done > 100_000:
        time.sleep(0.02)
    running = job.status()
    assert running.state == "running" and running.total == sum(map(len, FILES.values())) and 50_000 < running.pace < 800_000 and 0 < running.left < 20
    job.pause()
    paused = until(job, "paused")
    sent = hub.sent(BIG)
    job.begin()
    hub.pace = 0
    job.wait()
    assert job.status().state == "loading" and whole(tmp_path / "w") and paused.done < paused.total
    assert hub.sent(BIG) < len(WEIGHTS) + 100_000 and sent < len(WEIGHTS)  # what was on its way is lost, no more
    job.unusable(WeightsError("It takes more memory than there is.", "Close something."))
    assert job.status().state == "unusable" and "Close something." in card(job.status(), True)


def test_unattended_it_tries_again_until_the_network_is_back(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_client, "TRIES", 0)
    hub.refuses = {"ada/original": 503, "bob/mirror": 503}
    job = DownloadJob(ONE, tmp_path / "w", HubClient(hub.url), unattended=True, retry=(0.05,))
    while "Trying again" not in job.status().file:
        time.sleep(0.01)
    assert job.status().state == "running"
    hub.refuses = {}
    job.wait()
    assert whole(tmp_path / "w")


def test_what_cannot_be_had_is_a_sentence_on_the_card_and_for_those_who_wait_an_error(hub, tmp_path):
    hub.refuses = {"ada/original": 403, "bob/mirror": 403}
    job = DownloadJob(ONE, tmp_path / "w", HubClient(hub.url), unattended=True)
    with pytest.raises(WeightsError, match="answers 403"):
        job.wait(patiently=False)
    shown = card(job.status(), True)
    assert "answers 403" in shown and "Try again" in shown and "Try again" not in card(job.status(), False)


@pytest.mark.slow
def test_only_those_who_may_begin_a_download(hub, tmp_path):
    job = DownloadJob(ONE, tmp_path / "w", HubClient(hub.url))
    event = gr.EventData(None, {"act": "weights.begin"})
    with gr.Blocks():
        weights_card.WeightsCard(job, may_act=False).press(event)
        assert job.status().state == "offered"
        weights_card.WeightsCard(job, may_act=True).press(event)
    job.wait()
    assert whole(tmp_path / "w") and size(3_400_000_000) == "3.4 GB" and duration(600) == "10 min" and duration(2.2) == "2 s"
