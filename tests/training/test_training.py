"""The one loop: what is killed at any moment resumes where its last checkpoint was, and nothing is half-written."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from assistant.errors import ConfigError, WeightsError
from assistant.training.classifiers import JudgeTask, LikenessTask, load_judge, load_likeness, worn_cells, worn_where
from assistant.world.renderer import render
from assistant.world.scene import Accessory
from assistant.presets import MINIATURE
from assistant.evaluation.overall import snapshot
from assistant.training import mllm
from assistant.training.world_dataset import VIEWS, DialogueDataset, WorldDataset, draw, group, write_dialogues
from assistant.training.losses import ConditionalMean, VLoss, encode_latents, encode_semantics
from assistant.training.vision_encoders import RobustTask, begin_local, redraw
from assistant.training.datasets import WorldDialogues, WorldPairs
from assistant.training.self_distillation import FurtherTask
from assistant.training.vae import SharpTask, VaeTask, use_channels_last
from assistant.training.mllm import LanguageTask
from assistant.training.loop import Muon, Options, Trainer, orthogonal, rounded, train_only
from assistant.training.decoder import JointTask
from assistant.manifest import CHECKPOINTS
from assistant.checkpoints import (OUTSIDE, load_base, load_cafe, load_clip, load_llama, load_preview, load_tensors, load_vae, load_vision,
                                   save_module)
from tests.line_task import Line


def test_learns_and_exports(tmp_path: Path) -> None:
    task = Line()
    Trainer(task, tmp_path / "a", tmp_path / "out", Options(steps=200, ema=0.9)).run()
    assert task.exported and torch.allclose(task.net.weight, torch.ones(1, 3), atol=0.1)


def test_parameters_are_trained_alone_by_their_names(tmp_path: Path) -> None:
    task = Line()
    with pytest.raises(ConfigError, match="No parameter's name begins with 'unet'"):
        train_only(Line(), "unet")
    with pytest.raises(ConfigError, match="no regular expression"):
        train_only(task, "net.(")
    train_only(task, "net\\.weight")
    trainer = Trainer(task, tmp_path / "a", tmp_path / "out", Options(steps=200, ema=0.9))
    trainer.run()
    assert list(trainer.params) == ["net.weight"] and torch.allclose(task.net.weight, torch.ones(1, 3), atol=0.1)
    assert not task.net.bias.any()  # as it was


def test_rounded_weights_pack_half_as_large_and_are_near(tmp_path: Path) -> None:
    weight = torch.randn(96, 96, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 1, 96).view(-1, 1, 1, 1)
    kept = rounded(weight)
    assert ((kept - weight).flatten(1).norm(dim=1) / weight.flatten(1).norm(dim=1)).max() < 0.04
    sizes = [len(zlib.compress(w.half().numpy().tobytes(), 9)) for w in (kept, weight)]
    assert sizes[0] < 0.6 * sizes[1] and torch.equal(kept.half().float(), kept), "half precision holds them exactly"
    assert torch.equal(rounded(torch.zeros(2, 3)), torch.zeros(2, 3)) and torch.equal(rounded(weight[:, 0, 0, 0]), weight[:, 0, 0, 0])
    task = Line()
    Trainer(task, tmp_path / "a", tmp_path / "out", Options(steps=20, rounded=True)).run()
    assert torch.equal(rounded(task.net.weight.detach()), task.net.weight)


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


_CHILDREN = """
import os, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.line_task import Line
from assistant.training.loop import Options, Trainer
for folder in map(Path, sys.argv[1:]):
    if (process := os.fork()) == 0:
        sys.stdout = open(os.devnull, "w")
        task = Line()
        loss = task.loss
        task.loss = lambda *a: (time.sleep(0.002), loss(*a))[1]
        Trainer(task, folder, folder / "out", Options(steps=100000, save_every=0.05, log_every=0.1)).run()
    print(process, flush=True)
for _ in sys.argv[1:]:
    os.wait()
"""


@pytest.mark.slow
def test_sigkill_loses_at_most_one_interval(tmp_path: Path) -> None:
    root, folders = str(Path(__file__).resolve().parents[2]), [tmp_path / name for name in "abc"]
    program = [sys.executable, "-c", _CHILDREN.format(root=root), *map(str, folders)]
    with subprocess.Popen(program, cwd=root, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as parent:
        processes = [int(parent.stdout.readline()) for _ in folders]
        deadline = time.monotonic() + 60
        while not all((folder / "log.jsonl").exists() for folder in folders) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process, wait in zip(processes, (0.13, 0.27, 0.37)):
            time.sleep(wait)
            os.kill(process, signal.SIGKILL)
    for folder in folders:
        reached = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
        trainer = Trainer(Line(), folder, folder / "out", Options(steps=100000))
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


def test_channels_last_group_norm_equals_torchs() -> None:
    torch.manual_seed(0)
    norm, x = nn.GroupNorm(4, 24), 2 * torch.randn(3, 24, 16, 8) + 0.5
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    found = []
    for network, run in ((nn.Sequential(norm), torch.autocast("cpu", enabled=False)), (nn.Sequential(copy.deepcopy(norm)), torch.autocast("cpu", torch.bfloat16))):
        if found:
            use_channels_last(network)
        at = x.clone().requires_grad_()
        with run:
            y = network(at.contiguous(memory_format=torch.channels_last))
        (y.float() * torch.linspace(-1, 2, y.numel()).view(y.shape)).sum().backward()
        found.append((y.detach().float(), at.grad, network[0].weight.grad, network[0].bias.grad))
    assert network[0](x).dtype == torch.float32  # outside training it is torch's own
    for own, torchs in zip(found[1], found[0]):
        assert torch.linalg.vector_norm(own - torchs) < 0.01 * torch.linalg.vector_norm(torchs)


def test_muon_trains_kernels(tmp_path: Path) -> None:
    class Kernel(Line):
        matrices, lr = {"net.weight"}, 0.2

    task = Kernel()
    trainer = Trainer(task, tmp_path / "a", tmp_path / "out", Options(steps=200, ema=0.9))
    assert [type(o) for o in trainer.optimizers] == [torch.optim.AdamW, Muon]
    trainer.run()
    assert torch.allclose(task.net.weight, torch.ones(1, 3), atol=0.1)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> WorldDataset:
    folder = tmp_path_factory.mktemp("world")
    draw(folder, MINIATURE, groups=6, seed=5, workers=1)
    return WorldDataset(folder, MINIATURE)


@pytest.fixture(scope="module")
def talks(world: WorldDataset, tmp_path_factory) -> DialogueDataset:
    folder = tmp_path_factory.mktemp("talks")
    write_dialogues(folder, MINIATURE, world, 96, seed=5, workers=1)
    return DialogueDataset(folder)


@pytest.mark.slow
def test_the_trunk_trains_and_exports_two_decoders(world: WorldDataset, tmp_path: Path) -> None:
    task = JointTask(MINIATURE, world, "cpu", CHECKPOINTS / MINIATURE.folder, batch_size=4)
    task.sheet = lambda path: None  # drawing it takes longer than the rest
    before = task.base.unet.mid_block.resnets[0].conv1.weight.detach().clone()
    Trainer(task, tmp_path / "state", tmp_path / "model", Options(steps=2)).run()
    assert not torch.equal(task.base.unet.mid_block.resnets[0].conv1.weight, before)
    assert (tmp_path / "model/base/unet/config.json").exists()
    assert (tmp_path / "model/cafe/semantic_values.safetensors").exists()
    train_only(task, r"unet\.conv_out")  # the curve's judge finds the rest where it began
    trainer = Trainer(task, tmp_path / "part", tmp_path / "other", Options(steps=1, sheet=False))
    trainer.run()
    found, shipped = snapshot(MINIATURE, tmp_path / "part", CHECKPOINTS / MINIATURE.folder, 7), load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    assert found.samples == 7 + 4 and torch.equal(found.decoder.unet.conv_out.weight, trainer.ema["unet.conv_out.weight"])
    assert torch.equal(found.decoder.unet.conv_in.weight, shipped.unet.conv_in.weight)


def test_expected_semantics_forget_what_attributes_do_not_say(world: WorldDataset) -> None:
    vision = load_vision(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    semantics = encode_semantics(world, "cpu", vision)
    labels = torch.from_numpy(world["labels"][:len(semantics)].copy()).float()
    said = labels[:, :1] * torch.ones(1, 3)  # says the kind and nothing else
    torch.testing.assert_close(ConditionalMean(world, said)(), said, atol=0.05, rtol=0)
    noise = torch.randn(len(said), 3, generator=torch.Generator().manual_seed(0))
    assert ConditionalMean(world, said + noise)().sub(said).square().mean() < noise.square().mean()


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


def test_v_tells_the_picture_and_more_timesteps_are_drawn_at_high_noise_and_in_the_middle() -> None:
    latents = torch.randn(512, 12, 4, 4, generator=torch.Generator().manual_seed(1))
    loss = VLoss(MINIATURE, "cpu")
    assert loss.abar[-1] == 0  # zero terminal SNR: v = -x0 there
    noised, t, target = loss.draw(latents, torch.Generator().manual_seed(2))
    assert 0.43 < ((t > 300) & (t < 600)).float().mean() < 0.55 and (t > 600).sum() > 2 * (t < 300).sum()
    _, without, _ = VLoss(MINIATURE, "cpu", middle=0.0).draw(latents, torch.Generator().manual_seed(2))
    assert 560 < without.float().mean() < 690  # 1000 / (1 + skew)
    kept = loss.abar[t].view(-1, 1, 1, 1)
    torch.testing.assert_close(kept.sqrt() * noised - (1 - kept).sqrt() * target, latents, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", (0, 64))
def test_h_of_either_form_is_fitted_and_the_bridge_trains(world: WorldDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           hidden: int, talks: DialogueDataset) -> None:
    monkeypatch.setattr(mllm, "FITTED", 8)
    monkeypatch.setattr(mllm, "FITTING", 100)
    config = replace(MINIATURE, language=replace(MINIATURE.language, semantic_hidden=hidden))
    task = mllm.ProjectorTask(config, WorldDialogues(config, world, talks, "cpu", CHECKPOINTS / "miniature"), "cpu", CHECKPOINTS / "miniature", batch_size=12)
    batches = [task.source.batch(np.random.default_rng((11, k)), 12) for k in range(8)]  # those that H is fitted on
    with torch.no_grad():
        state, truth = (torch.cat(part) for part in list(zip(*map(task._forward, batches)))[:2])
        task._fit(8)
        left = (task.bridge.H(state) - truth).square().mean() / truth.var()
    assert left < 0.3

    before = task.bridge.V.weight.detach().clone()
    Trainer(task, tmp_path / "state", tmp_path / "out", Options(steps=2)).run()
    assert not torch.equal(task.bridge.V.weight, before)
    again = mllm.Bridge(config.language, config.vision.patch_width)
    load_tensors(tmp_path / "out" / "bridge.safetensors", again)
    assert torch.allclose(again.token, task.bridge.token, atol=1e-2)


@pytest.mark.slow
def test_m_is_trained_with_its_bridge_which_then_goes_on_alone(world: WorldDataset, talks: DialogueDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mllm, "outside_words", lambda: {"guitar": "a guitar"})  # looking through 20,000 conversations takes seconds
    shipped = CHECKPOINTS / "miniature"
    assert len(talks.alone) and len(talks.seen) + len(talks.alone) == 96
    at = talks.seen[talks["token_at"][talks.seen] >= 0]  # a dialogue is about its photo, but where another subject was asked for
    assert len(at) and (talks["targets"][at, :4] == world["labels"][talks["photos"][at], :4]).all(1).mean() > 0.7
    task = LanguageTask(MINIATURE, world, talks, "cpu", shipped, batch_size=16)
    batch = task.batch(np.random.default_rng(0))
    assert len(batch["lines"]) == 15 and len(batch["alone_lines"]) == 1 and batch["alone_spoken"][:, -1].any()
    first = float(task.loss(batch, torch.Generator())[0].detach())
    Trainer(task, tmp_path / "state", tmp_path, Options(steps=4)).run()
    assert float(task.loss(batch, torch.Generator())[0].detach()) < first
    assert json.loads((tmp_path / "llama" / OUTSIDE).read_text()) == {"guitar": "a guitar"}
    again = load_llama(tmp_path / "llama")[0]
    assert torch.allclose(again.lm_head.weight, task.llama.lm_head.weight, atol=1e-2)
    source = WorldDialogues(MINIATURE, world, talks, "cpu", shipped)
    after = mllm.ProjectorTask(MINIATURE, source, "cpu", tmp_path, batch_size=4, warm=tmp_path / "bridge")
    assert torch.allclose(after.bridge.V.weight, task.bridge.V.weight, atol=1e-2)
    assert not any(p.requires_grad for p in after.llama.parameters())
    warm = LanguageTask(MINIATURE, world, talks, "cpu", shipped, batch_size=8, warm=tmp_path)
    assert torch.allclose(warm.llama.lm_head.weight, again.lm_head.weight) and warm.llama.lm_head.weight.requires_grad


@pytest.mark.slow
def test_a_decoder_goes_on_with_pairs_of_any_source_and_sources_are_left_out(world: WorldDataset, tmp_path: Path) -> None:
    shipped = CHECKPOINTS / MINIATURE.folder
    source = WorldPairs(MINIATURE, world, "cpu", shipped)
    task, kept = FurtherTask(MINIATURE, world, source, "cpu", shipped, 400), {}
    assert (task.base.batch_size, task.cafe.batch_size) == (100, 300)
    for task.sources in (("E", "F"), ("E",), ("F",)):
        kept[task.sources] = task.batch(np.random.default_rng(0))["cafe.keep"].mean(1).tolist()
    assert {k: [0.85 < share < 0.95 for share in v] for k, v in kept.items()} == {("E", "F"): [True, True], ("E",): [True, False], ("F",): [False, True]}
    assert kept[("E",)][1] == kept[("F",)][0] == 0.0
    with pytest.raises(ConfigError, match="sources"):
        FurtherTask(MINIATURE, world, source, "cpu", shipped, 4, ())
    task = FurtherTask(MINIATURE, world, source, "cpu", shipped, 4)
    before = {k: t.clone() for k, t in task.base.unet.state_dict().items()}
    Trainer(task, tmp_path / "state", tmp_path / "out", Options(steps=2, sheet=False)).run()
    shutil.copytree(shipped / "base/vae", tmp_path / "out/base/vae")
    after = load_cafe(MINIATURE, tmp_path / "out").unet.state_dict()
    assert any(not torch.equal(after[k], t) for k, t in before.items()), "it is not the shipped one"
    assert all((after[k] - t).abs().max() < 0.1 for k, t in before.items()), "it goes on from the shipped one"


@pytest.mark.slow
def test_the_autoencoder_learns_and_its_latents_are_standardised(world: WorldDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorldDataset, "pictures", lambda self, rng, count, real=WorldDataset.pictures: real(self, rng, min(count, 32)))
    torch.manual_seed(0)  # of its first weights
    task = VaeTask(MINIATURE, world, "cpu", batch_size=4)
    batch = task.batch(np.random.default_rng(0))
    first = float(task.loss(batch, torch.Generator().manual_seed(0))[0].detach())
    Trainer(task, tmp_path / "state", tmp_path / "vae", Options(steps=6)).run()
    assert float(task.loss(batch, torch.Generator().manual_seed(0))[0].detach()) < first
    vae = load_vae(tmp_path / "vae")
    x = torch.from_numpy(world["images"][:18].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(x).latent_dist.mean * vae.config.scaling_factor
    assert latents.shape == (18, MINIATURE.decoder.vae["latent_channels"], 16, 16) and latents.mean((0, 2, 3)).abs().max() < 0.2 and abs(float(latents.std()) - 1) < 0.2
    matrix, bias = load_preview(tmp_path / "vae")
    small = torch.nn.functional.avg_pool2d(x, 8) / 2 + 0.5
    error = (torch.einsum("bchw,cr->brhw", latents, matrix) + bias.view(-1, 1, 1) - small).square().mean()
    assert error < 0.95 * small.var()  # after six steps latents say little of colours, but something


def test_what_is_worn_is_found_where_it_is(world: WorldDataset) -> None:
    cells = worn_cells(world, 1)
    scenes = [s for g in range(6) for s in group(5, g)]
    for scene, at in zip(scenes, cells):
        assert [bool(c.max() > 80) for c in at] == [k < len(scene.accessories) for k in range(2)]
    hat = replace(scenes[0], accessories=(Accessory("hat", "red"),), pose="standing")
    rows = worn_where(hat, 128, 16)[0].sum(1)
    assert rows[:8].sum() > 3 * rows[8:].sum(), "a hat is on top"
    changed = np.abs(np.subtract(*(np.asarray(render(s, 128).image, np.float32) for s in (hat, replace(hat, accessories=()))))).sum(2).reshape(16, 8, 16, 8).mean((1, 3))
    assert changed[worn_where(hat, 128, 16)[0] > 128].min() > changed[worn_where(hat, 128, 16)[0] == 0].max()


@pytest.mark.slow
def test_a_judge_and_its_embeddings_learn_from_their_own_set_and_are_loaded(world: WorldDataset, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_the_decoder_alone_learns_to_decode_what_the_unet_leaves(world: WorldDataset, tmp_path: Path) -> None:
    """The critic learns beside it, all weights of both are trained, and the encoder, so all latents, stay as they are."""
    shipped = CHECKPOINTS / MINIATURE.folder
    redraw(world, load_base(MINIATURE, shipped), tmp_path / "redrawn", 6, seed=1, latest=300)
    vae = load_vae(shipped / "base/vae")
    task = SharpTask(MINIATURE, world, encode_latents(world, "cpu", vae), tmp_path / "redrawn", "cpu", shipped / "base/vae", batch_size=4)
    batch = task.batch(np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)
    assert batch["latents"].shape == (4, 16, 8, 8) and batch["images"].shape == (4, 64, 64, 3)
    before = task.loss(batch, generator)
    before[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for module in task.modules().values() for p in module.parameters() if p.ndim > 1)
    task.lr = 5e-3  # in a few steps
    Trainer(task, tmp_path / "state", tmp_path / "vae", Options(steps=6, sheet=False)).run()
    after = task.loss(batch, torch.Generator().manual_seed(0))[1]
    assert after["critic"] < before[1]["critic"]
    kept, was = load_vae(tmp_path / "vae").state_dict(), vae.state_dict()
    assert {k.split(".")[0] for k, t in was.items() if not torch.equal(kept[k], t)} == {"decoder", "post_quant_conv"}
    assert (tmp_path / "vae/preview.safetensors").exists()


@pytest.mark.slow
def test_f_learns_to_read_what_the_decoder_draws(world: WorldDataset, tmp_path: Path) -> None:
    """Near what it gave of the originals, which it still gives of those."""
    shipped = CHECKPOINTS / MINIATURE.folder
    redraw(world, load_base(MINIATURE, shipped), tmp_path / "redrawn", 6, seed=1)
    task = RobustTask(MINIATURE, world, tmp_path / "redrawn", "cpu", shipped / "clip", batch_size=8)
    task.lr = 2e-4
    images = task.redrawn["images"]
    assert images.shape == (6, 128, 128, 3) and np.abs(images.astype(float) - world["images"][task.redrawn["at"]]).mean() > 5  # drawn anew
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    batch = task.batch(rng)
    before = task.loss(batch, generator)[1]
    optimizer = torch.optim.Adam([p for p in task.clip.parameters() if p.requires_grad], 2e-4)
    for _ in range(8):
        optimizer.zero_grad()
        task.loss(batch, generator)[0].backward()
        optimizer.step()
    after = task.loss(batch, generator)[1]
    assert before["clean"] < 1e-6 and after["redrawn"] < 0.8 * before["redrawn"] and after["clean"] < 0.1
    task.export(tmp_path / "clip")
    assert torch.equal(load_clip(MINIATURE, tmp_path / "clip").visual.conv1.weight.half(), task.clip.visual.conv1.weight.half())
