"""The one loop: what is killed at any moment resumes where its last checkpoint was, and nothing is half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from assistant.errors import WeightsError
from assistant.evaluation.judge import load_judge, load_likeness
from assistant.miniature.renderer import render
from assistant.miniature.world import ACCESSORIES, COLOURS, Accessory, individual_held_out
from assistant.presets import MINIATURE
from assistant.training import books, bridge, drawings
from assistant.training.data import LABELS, VIEWS, World, draw, group, labels
from assistant.training.diffusion import VLoss, encode_latents, encode_patches, encode_semantics, expected
from assistant.training.dino import begin_local
from assistant.training.examples import DrawnTalks
from assistant.training.guess import GuessTask
from assistant.training.judge import JudgeTask, worn_cells, worn_where
from assistant.training.likeness import LikenessTask
from assistant.training.loop import Options, Trainer
from assistant.training.muon import Muon, orthogonal
from assistant.training.reading import amounts, word_reader
from assistant.training.text_reader import NEVER, TextReaderTask
from assistant.training.trunk import TrunkTask
from assistant.training.vae import VaeTask
from assistant.weights import CHECKPOINTS, load_guess, load_tensors, load_text_reader, load_vae, load_vision, save_module


SMALL = replace(MINIATURE, decoder=replace(MINIATURE.decoder, guess=replace(MINIATURE.decoder.guess, rank=24)))


class Line:
    """Fits a line: the smallest task there is."""

    name, batch_size, lr = "line", 8, 0.05

    def __init__(self, width: int = 3) -> None:
        self.net = nn.Linear(width, 1)
        with torch.no_grad():
            self.net.weight.zero_(), self.net.bias.zero_()
        self.exported = False

    def modules(self):
        return {"net": self.net}

    def batch(self, rng: np.random.Generator):
        x = torch.from_numpy(rng.normal(size=(8, self.net.in_features)).astype(np.float32))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def loss(self, batch, generator):
        noise = 0.01 * torch.randn(batch["y"].shape, generator=generator)
        return (self.net(batch["x"]) - batch["y"] + noise).square().mean(), {}

    def export(self, folder: Path) -> None:
        self.exported = True

    def sheet(self, path: Path) -> None:
        pass


def test_learns_and_exports(tmp_path: Path) -> None:
    task = Line()
    Trainer(task, tmp_path / "a", tmp_path / "out", Options(steps=200, ema=0.9)).run()
    assert task.exported and torch.allclose(task.net.weight, torch.ones(1, 3), atol=0.1)


def test_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole = Line()
    Trainer(whole, tmp_path / "whole", tmp_path / "out", Options(steps=40)).run()
    first = Trainer(Line(), tmp_path / "broken", tmp_path / "out", Options(steps=40))
    real, first.progress = first.progress, lambda: first.step / 40 if first.step < 17 else 1.0  # stopped after 17 steps
    first.run()
    first.progress = real
    again = Line()
    resumed = Trainer(again, tmp_path / "broken", tmp_path / "out", Options(steps=40))
    assert resumed.step == 17
    resumed.run()
    assert torch.allclose(whole.net.weight, again.net.weight, atol=1e-6)


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    Trainer(Line(), tmp_path, tmp_path / "out", Options(steps=2)).save()
    state = tmp_path / "state" / "state.safetensors"
    assert state.exists()

    class Other(Line):
        def modules(self):
            return {"another": self.net}

    with pytest.raises(WeightsError):
        Trainer(Other(), tmp_path, tmp_path / "out", Options(steps=2))


_CHILD = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.test_training import Line
from assistant.training.loop import Options, Trainer
task = Line()
loss = task.loss
task.loss = lambda *a: (time.sleep(0.002), loss(*a))[1]
Trainer(task, Path(sys.argv[1]), Path(sys.argv[1]) / "out", Options(steps=100000, save_every=0.05, log_every=0.1)).run()
"""


@pytest.mark.parametrize("wait", [0.13, 0.4, 0.77])
def test_sigkill_loses_at_most_one_interval(tmp_path: Path, wait: float) -> None:
    root = str(Path(__file__).resolve().parents[1])
    child = subprocess.Popen([sys.executable, "-c", _CHILD.format(root=root), str(tmp_path)], cwd=root,
                             env={**os.environ, "OMP_NUM_THREADS": "1"})
    log = tmp_path / "log.jsonl"
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(wait)
    child.send_signal(signal.SIGKILL)
    child.wait()
    reached = json.loads(log.read_text().splitlines()[-1])
    trainer = Trainer(Line(), tmp_path, tmp_path / "out", Options(steps=100000))
    # at 2 ms a step and a save every 50 ms, an interval is some 25 steps; the log line may be older than the checkpoint
    assert trainer.step > 0 and reached["step"] - trainer.step < 200
    assert np.isfinite(sum(float(p.detach().sum()) for p in trainer.params.values()))


def test_muon_makes_its_updates_near_orthogonal() -> None:
    drawn = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    for matrix in (drawn, drawn.T):
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert values.min() > 0.6 and values.max() < 1.3
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        assert torch.nn.functional.cosine_similarity(orthogonal(matrix).flatten(), (u @ v).flatten(), 0) > 0.95


def test_muon_trains_kernels(tmp_path: Path) -> None:
    class Kernel(Line):
        matrices, lr = {"net.weight"}, 0.2

    task = Kernel()
    trainer = Trainer(task, tmp_path / "a", tmp_path / "out", Options(steps=200, ema=0.9))
    assert [type(o) for o in trainer.optimizers] == [torch.optim.AdamW, Muon]
    trainer.run()
    assert torch.allclose(task.net.weight, torch.ones(1, 3), atol=0.1)


_PROCESS = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
import torch
from tests.test_training import Line
from assistant.training.loop import Options, Trainer
torch.distributed.init_process_group("gloo")
task, folder = Line(), Path(sys.argv[1])
task.matrices = {{"net.weight"}}
trainer = Trainer(task, folder, folder / "out", Options(steps=20, parts=2, log_every=0))
assert trainer.step == 9
trainer.finish = lambda: None  # it puts the EMA in
trainer.run()
(folder / f"{{trainer.rank}}.txt").write_text(str(task.net.weight.tolist()))
torch.distributed.destroy_process_group()
"""


def test_two_processes_go_on_from_one_share_gradients_and_one_writes(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[1])
    script = tmp_path / "process.py"
    script.write_text(_PROCESS.format(root=root))

    def alone(folder: Path, until: int) -> torch.Tensor:
        task = Line()
        task.matrices = {"net.weight"}
        trainer = Trainer(task, folder, folder / "out", Options(steps=20, parts=2, log_every=0))
        real, trainer.finish = trainer.progress, lambda: None
        trainer.progress = lambda: real() if trainer.step < until else 1.0
        trainer.run()
        return task.net.weight.detach()

    alone(tmp_path, 9)  # begun by one process, which had both parts
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(tmp_path)],
                   check=True, capture_output=True, cwd=root, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    logged = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert logged[-1] == 20 and logged == sorted(set(logged)), "only one process keeps the log"
    assert (tmp_path / "0.txt").read_text() == (tmp_path / "1.txt").read_text()
    torch.testing.assert_close(torch.tensor(json.loads((tmp_path / "0.txt").read_text())), alone(tmp_path / "alone", 20))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("world")
    draw(folder, MINIATURE, groups=6, talks=2, seed=5, workers=1)
    return World(folder, MINIATURE)


def test_the_trunk_trains_and_exports_two_decoders(world: World, tmp_path: Path) -> None:
    task = TrunkTask(MINIATURE, world, "cpu", CHECKPOINTS / MINIATURE.folder, batch_size=4)
    task.sheet = lambda path: None  # drawing it takes longer than the rest
    before = task.base.unet.mid_block.resnets[0].conv1.weight.detach().clone()
    Trainer(task, tmp_path / "state", tmp_path / "model", Options(steps=2)).run()
    assert not torch.equal(task.base.unet.mid_block.resnets[0].conv1.weight, before)
    assert (tmp_path / "model/base/unet/config.json").exists()
    assert (tmp_path / "model/cafe/semantic_values.safetensors").exists()


def test_expected_semantics_forget_what_attributes_do_not_say(world: World) -> None:
    vision = load_vision(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    semantics = encode_semantics(world, "cpu", vision)
    labels = torch.from_numpy(world["labels"][:len(semantics)].copy()).float()
    said = labels[:, :1] * torch.ones(1, 3)  # says the kind and nothing else
    torch.testing.assert_close(expected(world, said), said, atol=0.05, rtol=0)
    noise = torch.randn(len(said), 3, generator=torch.Generator().manual_seed(0))
    assert expected(world, said + noise).sub(said).square().mean() < noise.square().mean()


def test_a_vision_transformer_begins_by_looking_at_what_is_like_itself() -> None:
    dino = Dinov2Model(Dinov2Config(**MINIATURE.vision.dino))
    begin_local(dino, torch.Generator().manual_seed(0))
    for layer in dino.encoder.layer:
        at = layer.attention
        looks, passes = at.q_proj.weight.T @ at.k_proj.weight, at.o_proj.weight @ at.v_proj.weight
        assert looks.trace() > 30 and -60 < passes.trace() < -20  # of width 96; near 0 where weights are random


def test_a_saved_module_replaces_its_own_shards_only_and_names_no_folder(tmp_path: Path) -> None:
    vae = load_vae(CHECKPOINTS / "miniature/base/vae")
    for name in ("diffusion_pytorch_model-00001-of-00002.safetensors", "semantic_values.safetensors"):
        (tmp_path / name).write_bytes(b"old")
    save_module(vae, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors", "semantic_values.safetensors"}
    assert str(CHECKPOINTS) not in (tmp_path / "config.json").read_text()
    again = load_vae(tmp_path)
    assert all(torch.allclose(p, q, atol=1e-3, rtol=1e-3) for p, q in zip(again.parameters(), vae.parameters(), strict=True))
    assert not any("_name_or_path" in p.read_text() for p in (CHECKPOINTS / "miniature").rglob("config.json"))


def test_v_at_the_last_step_is_the_picture_and_early_training_stays_near_it() -> None:
    latents = torch.randn(512, 20, 4, 4, generator=torch.Generator().manual_seed(1))
    loss = VLoss(MINIATURE, "cpu", latents)
    assert loss.abar[-1] == 0  # zero terminal SNR: v = -x0 there
    drawn = {done: loss.draw(latents, torch.Generator().manual_seed(2), done)[1].float().mean() for done in (0.0, 1.0)}
    assert drawn[0.0] > 800 > drawn[1.0] > 500


@pytest.mark.parametrize("hidden", (0, 64))
def test_h_of_either_form_is_fitted_and_the_bridge_trains(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           hidden: int) -> None:
    monkeypatch.setattr(bridge, "FITTED", (1, 1))
    monkeypatch.setattr(bridge, "FITTING", 100)
    config = replace(MINIATURE, language=replace(MINIATURE.language, semantic_hidden=hidden))
    task = bridge.BridgeTask(config, DrawnTalks(config, world, "cpu", CHECKPOINTS / "miniature"), "cpu", CHECKPOINTS / "miniature", batch_size=8)
    batch = task.source.batch(np.random.default_rng((11, 0)), 8, first=0.0)  # one of those that H is fitted on
    with torch.no_grad():
        state, truth, _ = task._forward(batch)
        task._fit(1)
        left = (task.bridge.H(state) - truth).square().mean() / truth.var()
    assert left < 0.3

    before = task.bridge.V.weight.detach().clone()
    Trainer(task, tmp_path / "state", tmp_path / "out", Options(steps=2)).run()
    assert not torch.equal(task.bridge.V.weight, before)
    again = bridge.Bridge(config.language, config.vision.patch_width)
    load_tensors(tmp_path / "out" / "bridge.safetensors", again)
    assert torch.allclose(again.token, task.bridge.token, atol=1e-2)


def test_a_linear_reader_names_what_is_in_a_picture_and_patches_are_quiet(world: World) -> None:
    patches = encode_patches(world, "cpu", load_vision(MINIATURE, CHECKPOINTS / MINIATURE.folder))
    truth = amounts(torch.from_numpy(world["labels"][:len(patches)].copy()))
    for row in world.groups[world.groups % 2 == 0]:  # the photo of a dialogue, by the dialogue's own words
        assert set(truth[row * VIEWS].nonzero().flatten().tolist()) == {int(w) for w in world["words"][row, 0] if w >= 0}
    reader = word_reader(world, patches)
    assert (reader(patches[:, 0].float()) - truth).square().mean() < 0.5 * truth.var(0).mean()
    assert reader(patches[:, 1:].float()).square().mean() < 0.05


@pytest.fixture(scope="module")
def drawn_books(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("books")
    drawings.draw_books(folder, SMALL, CHECKPOINTS / "miniature/base/vae", 64, seed=5, workers=1, shard=64)
    return folder


def test_drawings_for_books_are_of_average_build_and_the_same_with_and_without(drawn_books: Path) -> None:
    (bare,), (dressed,) = (drawings.read_books(drawn_books, sort) for sort in drawings.SORTS)
    each = 1 + len(ACCESSORIES)
    assert len(bare.latents) == 64 and len(dressed.latents) == 6 * each and len(drawings.read_books(drawn_books, "bare", 0)) == 0
    assert (bare.labels[:, LABELS.index("eyes") + 1:] == 0).all()
    worn = dressed.labels[:, LABELS.index("eyes") + 1:].unflatten(0, (6, each)) > 0
    assert not worn[:, 0].any() and (worn[:, 1:] == torch.eye(each - 1, dtype=torch.bool)).all()
    rest = dressed.labels[:, :LABELS.index("eyes") + 1].unflatten(0, (6, each))
    assert (rest == rest[:, :1]).all()
    scene = drawings.bare(5, 3)
    assert scene == drawings.bare(5, 3) and (scene.individual.width, scene.individual.part, scene.scale) == (1.0, 1.0, 0.65)
    assert not any(individual_held_out(drawings.bare(5, i).individual) for i in range(64))


def test_a_first_guess_learns_its_drawings_by_heart_and_is_loaded(world: World, drawn_books: Path, tmp_path: Path) -> None:
    task = GuessTask(SMALL, world, "cpu", CHECKPOINTS / MINIATURE.folder, batch_size=8, books=drawn_books)
    Trainer(task, tmp_path / "state", tmp_path / "first_guess", Options(steps=60)).run()
    again = load_guess(SMALL, tmp_path / "first_guess")
    read = again.read(task.seen[:, None].float(), task.semantics.float())
    assert (read["kind"].argmax(1) == task.names["kind"]).float().mean() > 0.8
    for sort in drawings.SORTS:
        (found,) = drawings.read_books(drawn_books, sort)
        latents, told = found.latents.float(), books.shares(SMALL.decoder.guess, found)
        drawn = again.draw(told)
        assert (drawn - latents).square().mean() < 0.1 * (latents - latents.mean(0)).square().mean()
        assert (task.guess.draw(told) - drawn).square().mean() < 4e-4 * latents.var()  # what 8 bits a page cost
    names = {k: t.clone() for k, t in told.items()}
    names["worn0"] = torch.eye(names["worn0"].shape[1])[:1].expand_as(names["worn0"])  # the hat comes off
    moved = (again.draw(names) - drawn).square().mean((1, 2, 3))
    assert (moved[told["worn0"][:, 0] == 0] > 1e-3).all() and (moved[told["worn0"][:, 0] == 1] < 1e-9).all()
    further = GuessTask(SMALL, world, "cpu", CHECKPOINTS / MINIATURE.folder, batch_size=8, warm=tmp_path / "first_guess")
    Trainer(further, tmp_path / "further", tmp_path / "kept", Options(steps=2)).run()
    kept = load_guess(SMALL, tmp_path / "kept")
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(kept.pages, again.pages))
    assert torch.allclose(kept.background, again.background, atol=1e-5)
    assert not torch.equal(kept.subject.layers[0].weight, again.subject.layers[0].weight)


def test_the_autoencoders_decoder_learns_from_latents_and_guesses_and_its_encoder_stays(world: World, drawn_books: Path, tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINTS / "miniature/base/vae", tmp_path / "vae")
    task = VaeTask(MINIATURE, world, "cpu", tmp_path / "vae", batch_size=64, guess=CHECKPOINTS / "miniature/first_guess", books=drawn_books)
    given = task.batch(np.random.default_rng(0))
    alone = VaeTask(MINIATURE, world, "cpu", tmp_path / "vae", batch_size=64).batch(np.random.default_rng(0))
    exact = encode_latents(world, "cpu", task.vae)
    assert {k: v.shape for k, v in given.items()} == {k: v.shape for k, v in alone.items()}
    whole = torch.cat([exact, task.guessed[0]])
    crops = whole.unfold(2, 8, 1).unfold(3, 8, 1)[:, 0].flatten(1, 2)  # every crop of the first channel
    of_world = sum(any(torch.equal(z[0], c) for c in crops[:len(exact)].flatten(0, 1)) for z in given["latents"][:16])
    assert 3 < of_world < 13, "about half of a batch are latents of pictures, the others are guesses"
    before = {k: t.clone() for k, t in task.vae.state_dict().items()}
    Trainer(task, tmp_path / "state", tmp_path / "vae", Options(steps=1)).run()
    after = load_vae(tmp_path / "vae").state_dict()
    assert all(torch.allclose(after[k], t, atol=1e-3, rtol=1e-3) for k, t in before.items() if k.startswith(("encoder", "quant")))
    assert not torch.equal(after["decoder.mid_block.resnets.0.conv1.weight"], before["decoder.mid_block.resnets.0.conv1.weight"])


def test_where_a_pattern_lies_is_drawn_by_lot_again(world: World) -> None:
    scenes = [s for g in range(6) for s in group(5, g).scenes]
    assert [labels(s) for s in scenes] == world["labels"][:6 * VIEWS].tolist()
    found = books.layouts(world)
    assert found[:6 * VIEWS].tolist() == [s.individual.layout for s in scenes]
    assert torch.equal(books.layouts(world), found)  # from the file


def test_what_is_worn_is_found_where_it_is(world: World) -> None:
    cells = worn_cells(world, 1)
    scenes = [s for g in range(6) for s in group(5, g).scenes]
    for scene, at in zip(scenes, cells):
        assert [bool(c.max() > 80) for c in at] == [k < len(scene.accessories) for k in range(2)]
    hat = replace(scenes[0], accessories=(Accessory("hat", "red"),), pose="standing")
    rows = worn_where(hat, 128, 16)[0].sum(1)
    assert rows[:8].sum() > 3 * rows[8:].sum(), "a hat is on top"
    changed = np.abs(np.subtract(*(np.asarray(render(s, 128).image, np.float32) for s in (hat, replace(hat, accessories=()))))).sum(2).reshape(16, 8, 16, 8).mean((1, 3))
    assert changed[worn_where(hat, 128, 16)[0] > 128].min() > changed[worn_where(hat, 128, 16)[0] == 0].max()


def test_a_judge_and_its_embeddings_learn_from_their_own_set_and_are_loaded(world: World, tmp_path: Path) -> None:
    task = JudgeTask(MINIATURE, world, "cpu", batch_size=12)
    first = float(task.loss(task.batch(np.random.default_rng(0)), torch.Generator().manual_seed(0))[0].detach())
    Trainer(task, tmp_path / "state", tmp_path / "judge", Options(steps=8)).run()
    last = float(task.loss(task.batch(np.random.default_rng(0)), torch.Generator().manual_seed(0))[0].detach())
    assert last < 0.95 * first
    assert load_judge(tmp_path / "judge").name(torch.rand(2, 3, 128, 128)).shape == (2, 17)
    alike = LikenessTask(MINIATURE, world, "cpu", tmp_path / "judge", batch_size=64)
    batch = alike.batch(np.random.default_rng(0))
    assert len(set((batch["a"] // VIEWS).tolist())) == len(batch["a"]), "an individual would be its own contrast"
    assert torch.equal(batch["a"] // VIEWS, batch["b"] // VIEWS) and not (batch["a"] == batch["b"]).any()
    Trainer(alike, tmp_path / "alike", tmp_path / "judge", Options(steps=80)).run()
    again = load_likeness(MINIATURE, tmp_path / "judge")
    a, b = again.individual(alike.features[batch["a"]].float()), again.individual(alike.features[batch["b"]].float())
    assert (a * b).sum(1).mean() > (a * b.roll(1, 0)).sum(1).mean() + 0.1


def test_a_reader_of_words_learns_captions_and_which_colours_go_together(world: World, tmp_path: Path) -> None:
    task = TextReaderTask(MINIATURE, world, "cpu", CHECKPOINTS / "miniature/base/text_encoder", batch_size=48)
    red, pink = (tuple(COLOURS).index(c) for c in ("red", "pink"))
    assert task.reader.pairs[red, red] == task.reader.pairs[red, pink] == NEVER
    found = []
    for steps in (1, 40):
        Trainer(task, tmp_path / "state", tmp_path / "text_reader", Options(steps=steps)).run()
        found.append(float(task.loss(task.batch(np.random.default_rng(1)), torch.Generator())[1]["kind"]))
    assert found[1] < 0.75 * found[0]
    again = load_text_reader(MINIATURE, tmp_path / "text_reader/text_reader")
    assert torch.allclose(again.queries, task.reader.queries, atol=1e-3)
