"""CAFE's data: sets that survive kills, that processes share, without doubles; filters by known truth; methods that make targets."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assistant.errors import ConfigError, StorageError
from assistant.report import histograms
from assistant.world.captions import attributes, read_reply
from assistant.world.scene import combination_held_out, individual_held_out, sample_individual, sample_scene
from assistant.presets import MINIATURE
from assistant.data import quadruplets, shards
from assistant.data.shards import Quadruplet, begin, read_shard, samples_of, shards_of, write_manifest, write_shard
from assistant.data.quadruplets import Store, drawn_pool
from assistant.training.world_dataset import caption_tokenizer
from assistant.manifest import CHECKPOINTS
from assistant.checkpoints import load_cafe, load_vision
from tests.plain_quadruplets import PLAN, Echo, build_plain, evenly, plain

ROOT = Path(__file__).resolve().parents[2]
FOLDER = CHECKPOINTS / "miniature"


@pytest.fixture(scope="module")
def vision():
    return load_vision(MINIATURE, FOLDER)


@pytest.fixture(scope="module")
def decoder(base):
    return load_cafe(MINIATURE, FOLDER, base=base)


@pytest.fixture(scope="module")
def eyes(vision):
    return quadruplets.OwnEmbedder(vision, caption_tokenizer(MINIATURE))


# --- sets on disk ---------------------------------------------------------------------------------------------------------

def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "log.jsonl"}


def test_a_set_holds_what_the_filter_kept_once_and_the_scores_of_all(tmp_path: Path) -> None:
    build_plain(tmp_path)
    made = [n for n in map(lambda n: n - (n % 5 == 4), range(50)) if n % 7 != 6]
    about = json.loads((tmp_path / "manifest.json").read_text())
    samples = list(samples_of(tmp_path))
    assert sorted(s.about["seed"] for s in samples) == sorted({n for n in made if n % 2}) and len(samples) == about["samples"]
    assert len(about["doubles"]) == sum(n % 2 for n in made) - about["samples"] > 0
    assert len(quadruplets.all_scores(tmp_path)) == len(made) and quadruplets.cost(tmp_path)["attempts"] == 50
    one = samples[0]
    assert one.about["y"] == f"y {one.about['seed']}" and one.about["told"] == {"seed": one.about["seed"]}
    assert one.about["sha256"]["photo"] == hashlib.sha256(one.photo).hexdigest()
    shards.verify([tmp_path])


_BUILDER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.plain_quadruplets import build_plain, plain
build_plain(Path(sys.argv[1]), lambda n: (time.sleep(0.02), plain(n))[1])
"""


@pytest.mark.slow
def test_a_killed_build_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    build_plain(whole)
    child = subprocess.Popen([sys.executable, "-c", _BUILDER.format(root=str(ROOT)), str(broken)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 60
    while not (broken / "shard-00001.tar").exists() and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    there = [p for p in broken.glob("shard-*.tar")]
    assert there and not (broken / "manifest.json").exists()
    before = {p: p.stat().st_mtime_ns for p in there}
    build_plain(broken)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert {k: v for k, v in contents(broken).items() if not k.startswith(".")} == contents(whole)


def test_processes_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    build_plain(alone)
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank)), monkeypatch.setenv("WORLD_SIZE", "2")
        build_plain(shared)
        assert (shared / "manifest.json").exists() == (rank == 1)
    assert contents(alone) == contents(shared)


def test_other_settings_and_damaged_shards_are_refused(tmp_path: Path) -> None:
    build_plain(tmp_path)
    with pytest.raises(ConfigError, match="seed 1, not 2"):
        quadruplets.build(tmp_path, PLAN, plain, Echo(), evenly, lambda s: True, {"seed": 2}, say=lambda what: None)
    shard = next(p for p in sorted(tmp_path.glob("shard-*.tar")) if shards_of(tmp_path)[0][0] == p)
    data = shard.read_bytes()
    shard.write_bytes(data[:600] + b"x" + data[601:])
    with pytest.raises(StorageError, match="damaged"):
        shards.verify([tmp_path])
    shard.write_bytes(data[:700])
    with pytest.raises(StorageError, match="not the one in the manifest"):
        shards_of(tmp_path)
    with pytest.raises(StorageError, match="cannot be read"):
        read_shard(shard)
    with pytest.raises(StorageError, match="no manifest"):
        shards_of(tmp_path / "nowhere")


def test_doubles_are_found_by_pictures_and_by_words(tmp_path: Path) -> None:
    begin(tmp_path, {})
    write_shard(tmp_path, 0, [Quadruplet("a", b"p", b"t", {"y": "one"}), Quadruplet("b", b"p", b"t", {"y": "two"})])
    write_shard(tmp_path, 1, [Quadruplet("c", b"p", b"u", {"y": "one"}), Quadruplet("d", b"p", b"v", {"y": "three"})])
    assert not write_manifest(tmp_path, 3) and write_manifest(tmp_path, 2)
    assert json.loads((tmp_path / "manifest.json").read_text())["doubles"] == ["b", "c"]
    assert sorted(s.key for s in samples_of(tmp_path)) == ["a", "d"]


# --- wishes and words -------------------------------------------------------------------------------------------------------

def test_an_instruction_says_all_of_a_scene_and_nothing_of_its_subject() -> None:
    for seed in range(200):
        lots = random.Random(seed)
        scene = sample_scene(lots, sample_individual(lots))
        truth, said = attributes(scene), read_reply(quadruplets.instruction(scene))
        assert {k: said[k] for k in ("context", "light", "style", "pose", "accessories")} == \
               {k: truth[k] for k in ("context", "light", "style", "pose", "accessories")}
        assert "kind" not in said and "colour" not in said


def test_wishes_follow_from_their_number_and_keep_what_is_held_out_apart() -> None:
    one, again, other = quadruplets.drawn_wish(1, 5, 32), quadruplets.drawn_wish(1, 5, 32), quadruplets.drawn_wish(1, 6, 32)
    assert (one.seed, one.y, one.photo.tobytes()) == (again.seed, again.y, again.photo.tobytes()) and one.seed != other.seed
    who = quadruplets.drawn_wish(1, 5, 32, held_out=True).who
    individual = sample_individual(random.Random(0))
    named = individual.__class__(**{**individual.__dict__, **{k: who[k] for k in ("kind", "colour", "second", "pattern")}})
    assert individual_held_out(named) and not combination_held_out(sample_scene(random.Random(0), individual))


# --- filters ----------------------------------------------------------------------------------------------------------------

def test_the_threshold_of_two_known_sets() -> None:
    found = quadruplets.best_threshold([0.5, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.65])
    assert found["threshold"] == 0.5 and found["balanced_accuracy"] == pytest.approx(0.875)
    assert (found["same"], found["other"]) == (1.0, 0.25) and found["area"] == pytest.approx(14 / 16)
    assert quadruplets.best_threshold([0.5] * 3, [0.5] * 3)["area"] == pytest.approx(0.5)
    counts = quadruplets.histogram([-1.0, 0.0, 0.999])
    assert sum(counts) == 3 and counts[0] == counts[30] == counts[-1] == 1


@pytest.mark.slow
def test_e_and_f_tell_matching_pairs_from_others(eyes, tmp_path: Path) -> None:
    found = quadruplets.calibrate(eyes, 32, 0, 128)
    assert found["clip"]["area"] > 0.95 and found["dino"]["area"] > 0.95
    limits = quadruplets.Thresholds(**found["thresholds"])
    assert 0.0 < limits.clip < 0.5 and 0.1 < limits.dino < 0.8
    assert limits.keeps({"clip": 0.9, "dino": 0.9}) and not limits.keeps({"clip": 0.9, "dino": 0.0})
    histograms(tmp_path / "a.png", [(name, found[name]["histograms"], {"kept from": found[name]["threshold"]}) for name in ("clip", "dino")])
    shown = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert all((shown == ink).all(-1).sum() > 100 for ink in ((31, 119, 180), (255, 127, 14)))  # matplotlib's first two


# --- methods ----------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_captioning_says_what_clip_finds_and_draws_it(vision, base, eyes) -> None:
    some = [quadruplets.drawn_wish(2, n, 128) for n in range(6)]
    made = quadruplets.Captioned(quadruplets.ZeroShot(eyes), base, steps=1)([w.photo for w in some], [w.words for w in some], [w.seed for w in some])
    assert all(m.told["line"].endswith(w.words) and m.told["seen"]["kind"] in m.told["line"] for m, w in zip(made, some))
    for name in ("kind", "colour"):
        assert sum(m.told["seen"][name] == w.who[name] for m, w in zip(made, some)) >= 4
    assert all(m.picture.size == (128, 128) for m in made) and len({m.picture.tobytes() for m in made}) == 6


@pytest.mark.slow
def test_eq_4_goes_from_the_photo_to_the_reference(vision, decoder, eyes, tmp_path: Path) -> None:
    store = Store.of(tmp_path / "store.safetensors", drawn_pool(0, 64, 128), vision, eyes)
    assert torch.equal(Store.of(tmp_path / "store.safetensors", [], vision, eyes).semantics, store.semantics)  # from the file
    some = [quadruplets.drawn_wish(2, n, 128) for n in range(4)]
    photos, words, seeds = [w.photo for w in some], [w.words for w in some], [w.seed for w in some]
    x = quadruplets.pixels(photos)
    patches, own = vision.patches(x), vision.semantics(x)
    drawn = {a: quadruplets.Mixed(vision, decoder, store.nearest, (a, a), 2, quadruplets.ZeroShot(eyes))(photos, words, seeds) for a in (0.0, 1.0)}
    w = store.nearest([m.told["line"] for m in drawn[1.0]])
    for alpha, semantics in ((0.0, own), (1.0, vision.at_norm(w))):
        same = quadruplets.draw(decoder, patches, semantics, seeds, 2)
        assert (quadruplets.pixels([m.picture for m in drawn[alpha]]) - quadruplets.pixels(same)).abs().max() < 0.02
    assert all(m.told["alpha"] == 1.0 for m in drawn[1.0])
