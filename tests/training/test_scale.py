"""Training at size: one curve whatever the number of processes, and after a kill by another number of them."""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from assistant.errors import ConfigError, DeviceError, StorageError
from assistant.models.mllm import PromptBuilder
from assistant.presets import FULL, MINIATURE, PRESETS
from assistant.training import __main__ as command, cost, loop, self_distillation
from assistant.training.mllm import ProjectorTask, frozen_llama
from assistant.training.decoder import CafeTask
from assistant.training.world_dataset import draw
from assistant.training.datasets import Encoded, EncodedDialogues, EncodedPairs, Shapes
from assistant.training.loop import Options, Trainer
from assistant.training.recipe import BRIDGE, CAFE
from assistant.data import quadruplets, shards
from assistant.data.shards import Quadruplet, begin, samples_of, write_manifest, write_shard
from assistant.data.quadruplets import drawn_wish
from assistant.manifest import CHECKPOINTS, verify, write_manifest as write_manifest_of_weights
from assistant.checkpoints import load_cafe, load_language, load_llama, load_tokenizer, load_vae, load_vision
from tests import tiny_full
from tests.line_task import Line
from tests.tiny_full import TINY

ROOT = Path(__file__).resolve().parents[2]
BEGUN, STEPS = 2, 9
TOLERANCE = 1e-4  # relative: sums in another order may differ in their last bits; here they seldom do


def curve(folder: Path, name: str = "loss") -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines}), "each step once"
    return {line["step"]: line[name] for line in lines}


def train(*arguments: str | Path) -> None:
    """The command itself, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["training", *map(str, arguments)])
        command.main()


def reached(folder: Path) -> int:
    """The step of a run's last checkpoint; 0 while one takes another's place."""
    try:
        return json.loads((folder / "state/state.json").read_text())["step"]
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_begun_by_one_gone_on_with_by_two_killed_and_ended_by_one_it_is_one_process_s_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "data", MINIATURE, groups=4, seed=5, workers=1)
    runs = [tmp_path / name for name in ("one", "many")]
    for run in runs:
        (run / "model").mkdir(parents=True)
        (run / "data").symlink_to(tmp_path / "data")
        for part in ("dino", "clip", "base/vae"):  # what it reads; it writes the rest of base beside that
            shutil.copytree(CHECKPOINTS / "miniature" / part, run / "model" / part)
    decoder = ("trunk", "--batch", 4, "--parts", 2, "--steps", STEPS, "--log-every", 0, "--threads", torch.get_num_threads(), "--no-sheet",
               "--only", r"unet\.(conv|up_blocks\.2)|layout", "--run")  # less to make orthogonal and to write
    train(*decoder, runs[0])
    one, folder = curve(runs[0] / "trunk"), runs[1] / "trunk"
    with monkeypatch.context() as patch:  # ends in good order after some steps, each as in a run of all
        patch.setattr(Trainer, "progress", lambda self, real=Trainer.progress: real(self) if self.step < BEGUN else 1.0)
        patch.setattr(Trainer, "finish", lambda self: None)
        train(*decoder, runs[1])
    assert reached(folder) == BEGUN

    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "assistant.training"]
    pair = subprocess.Popen([*launch, *map(str, decoder), str(runs[1]), "--threads", "1", "--save-every", "0.5"], cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 600
    while reached(folder) <= BEGUN:
        assert pair.poll() is None and time.monotonic() < until, pair.communicate()[0]
        time.sleep(0.02)
    for process in [*psutil.Process(pair.pid).children(recursive=True), pair]:
        process.kill()
    pair.communicate()
    assert BEGUN < reached(folder) <= len((folder / "log.jsonl").read_text().splitlines()) < STEPS
    train(*decoder, runs[1])
    many = curve(folder)
    assert set(many) == set(one) == set(range(1, STEPS + 1))
    worst = max(abs(many[k] / one[k] - 1) for k in one)
    assert worst < TOLERANCE, worst
    assert len({round(v, 3) for v in one.values()}) > STEPS / 2 and one[STEPS] != one[STEPS - 1]


# --- parts ------------------------------------------------------------------------------------------------------------------

def lines(folder: Path, parts: int, each: int, steps: int = 12, options: Options | None = None) -> Trainer:
    task = Line()
    task.batch_size = each
    trainer = Trainer(task, folder, folder / "out", options or Options(steps=steps, parts=parts, log_every=0))
    trainer.finish = lambda: None
    return trainer


def test_a_state_keeps_to_its_batch_and_parts_and_its_log_to_its_steps(tmp_path: Path) -> None:
    lines(tmp_path, 2, 4).run()
    assert json.loads((tmp_path / "state/state.json").read_text())["batch"] == 8
    with pytest.raises(ConfigError, match="2 parts, not 4.*--parts 2"):
        lines(tmp_path, 4, 2)
    with pytest.raises(ConfigError, match="8 samples, not 16.*--batch 8"):
        lines(tmp_path, 2, 8)
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 13}) + "\n" + '{"ste')  # written, but killed before the state was
    assert lines(tmp_path, 2, 4).step == 12 and list(curve(tmp_path)) == list(range(1, 13))


def test_parts_with_more_words_count_for_more(tmp_path: Path) -> None:
    """The mean over two parts is the mean over all that is in them."""
    class Words(Line):
        batch_size = 1
        def batch(self, rng):
            count = int(rng.integers(1, 9))
            x = torch.from_numpy(rng.normal(size=(count, 3))).float()
            return {"x": x, "y": x.sum(1, keepdim=True)}

        def tally(self, batch):
            return {"words": float(len(batch["x"]))}

        def loss(self, batch, generator):
            seen.append(batch)
            return self.share["words"] * (self.net(batch["x"]) - batch["y"]).square().mean(), {}

    seen = []
    trainer = Trainer(Words(), tmp_path, tmp_path / "out", Options(steps=1, parts=3, clip=1e9))
    names, values = trainer.gradients(trainer.batches(0))
    x, y = (torch.cat([b[k] for b in seen]) for k in "xy")
    whole = Line()
    loss = (whole.net(x) - y).square().mean()
    loss.backward()
    assert len({len(b["x"]) for b in seen}) > 1
    torch.testing.assert_close(trainer.params["net.weight"].grad, whole.net.weight.grad)
    torch.testing.assert_close(values[:, names.index("loss")].mean(), loss.detach())


def test_one_process_in_place_of_many_is_not_taken_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop.join("cpu") == "cpu"
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1"), monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # as `accelerate launch --cpu` does
    with pytest.raises(DeviceError, match="--multi_gpu"):
        loop.join("cpu")
    team = loop.ProcessGroup("cpu")
    team.world = 3
    with pytest.raises(ConfigError, match="3 processes cannot share a batch of 2 parts.*--parts 3"):
        team.mine(2)


# --- sets encoded beforehand ------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of quadruplets; photos are not square."""
    folder = tmp_path_factory.mktemp("pictures")
    begin(folder, {"seed": 1})

    def png(picture: Image.Image) -> bytes:
        out = io.BytesIO()
        picture.save(out, "PNG")
        return out.getvalue()

    for shard in (0, 1):
        found = []
        for n in range(5 * shard, 5 * shard + 5):
            wish, target = drawn_wish(3, n, 128), drawn_wish(4, n, 96)
            found.append(Quadruplet(f"t-{n}", png(wish.photo.crop((8, 0, 120, 128))), png(target.photo), {"y": wish.y, "reply": wish.reply}))
        write_shard(folder, shard, found)
    assert write_manifest(folder, 2)
    return folder


@pytest.fixture(scope="module")
def encoded(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded") / "set"
    train("encode", "--data", pictures, "--out", folder, "--batch", 3)
    return folder


@pytest.mark.slow
def test_a_set_is_encoded_once_and_read_by_rows(pictures: Path, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = json.loads((encoded / "manifest.json").read_text())
    assert about["samples"] == 10 and [s["samples"] for s in about["shards"]] == [5, 5] and set(about["settings"]["encoders"]) == {"E", "F", "latents"}
    found = Encoded(MINIATURE, encoded)
    shards.verify([encoded])
    assert len(found) == 10 and abs(about["bytes"] / 10 / Shapes.of(MINIATURE).bytes - 1) < 0.05
    rows = found.rows([7, 2], "latents", "patches", "semantics")
    vision, vae = load_vision(MINIATURE, CHECKPOINTS / "miniature"), load_vae(CHECKPOINTS / "miniature/base/vae")
    photo, target = drawn_wish(3, 7, 128).photo.crop((8, 0, 120, 128)), drawn_wish(4, 7, 96).photo
    from assistant.models.vision_encoders import pad_square, pixels, resize
    x, y = pad_square(pixels([photo])), resize(pixels([target]), 128)
    torch.testing.assert_close(rows["patches"][:1].float(), vision.patches(x), atol=0.02, rtol=0.02)
    torch.testing.assert_close(rows["semantics"][:1].float(), vision.semantics(y), atol=0.02, rtol=0.02)
    torch.testing.assert_close(rows["latents"][:1].float(), vae.encode(2 * y - 1).latent_dist.mean * vae.config.scaling_factor, atol=0.02, rtol=0.02)
    assert found.said([7])[0] == (drawn_wish(3, 7, 128).y, drawn_wish(3, 7, 128).reply)

    before = {p.name: p.stat().st_mtime_ns for p in encoded.iterdir()}
    train("encode", "--data", pictures, "--out", encoded)
    assert {p.name: p.stat().st_mtime_ns for p in encoded.iterdir()} == before, "nothing was left to do"
    (encoded / "manifest.json").unlink(), (encoded / "encoded-00001.safetensors").unlink()
    bytes_before = (encoded / "encoded-00000.safetensors").read_bytes()
    for rank in (0, 1):  # what is missing is the second one's to make
        monkeypatch.setattr("assistant.training.datasets.process", lambda: (rank, 2))
        train("encode", "--data", pictures, "--out", encoded)
        assert (encoded / "manifest.json").exists() == (rank == 1)
    assert json.loads((encoded / "manifest.json").read_text())["samples"] == 10
    assert (encoded / "encoded-00000.safetensors").read_bytes() == bytes_before


@pytest.mark.slow
def test_sets_that_do_not_fit_are_refused(pictures: Path, encoded: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not encoded yet"):
        Encoded(MINIATURE, pictures)
    with pytest.raises(StorageError, match="not finished"):
        Encoded(MINIATURE, tmp_path)
    with pytest.raises(ConfigError, match="the preset 'full' has"):
        Encoded(FULL, encoded)
    other = tmp_path / "other"
    shutil.copytree(encoded, other)
    about = json.loads((other / "manifest.json").read_text())
    about["settings"]["encoders"]["E"] = "another"
    (other / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="different encoders"):
        Encoded(MINIATURE, encoded, other)
    shard = other / "encoded-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        shards.verify([other])


def test_an_exchange_is_learned_as_it_is_asked_in_use(encoded: Path) -> None:
    """The learnable token stands where `LanguageModel.stream` puts it: behind the draw token, or where M would end."""
    tokenizer = load_llama(CHECKPOINTS / "miniature/llama")[1]
    for draw_token in ("<draw>", None):
        config = replace(MINIATURE, language=replace(MINIATURE.language, draw_token=draw_token))
        builder = PromptBuilder(config.language, tokenizer)
        ids, start, said = EncodedDialogues(config, Encoded(MINIATURE, encoded), builder).line("make it blue", "A blue one it is.")
        assert tuple(ids[:start]) == builder.opening("make it blue", True).ids
        words = tokenizer.encode("A blue one it is.", add_special_tokens=False)
        assert ids[start:start + len(words)] == words
        assert ids[start + len(words):] == ([tokenizer.convert_tokens_to_ids("<draw>"), 0] if draw_token else [tokenizer.eos_token_id])
        assert start + said == len(ids) - (draw_token is not None)


@pytest.mark.slow
def test_decoder_and_bridge_learn_from_an_encoded_set_and_load_again(encoded: Path, tmp_path: Path) -> None:
    shared = ("--data", encoded, "--run", tmp_path, "--steps", 3, "--batch", 4, "--parts", 2, "--log-every", 0, "--no-sheet")
    train("cafe", *shared, "--checkpointing", "--ema-device", "cpu")
    train("bridge", *shared)
    assert set(curve(tmp_path / "cafe")) == {1, 2, 3} and all(0 < v < 20 for v in curve(tmp_path / "bridge").values())
    for part in ("base", "llama"):
        (tmp_path / "model" / part).symlink_to(CHECKPOINTS / "miniature" / part)
    apart = replace(MINIATURE, decoder=replace(MINIATURE.decoder, joint=False))  # `cafe` trains a UNet of the decoder's own
    trained = load_cafe(apart, tmp_path / "model")
    assert trained.unet.config.cross_attention_dim == MINIATURE.vision.patch_width
    assert any(v.weight.abs().max() > 0 for v in trained.semantic_values.layers.values())  # zero before training
    bridge = load_language(MINIATURE, tmp_path / "model").bridge
    assert bridge.token.abs().max() > 0 and bridge.V.weight.shape == (192, 96)


@pytest.mark.slow
@pytest.mark.parametrize("kind", (CafeTask, ProjectorTask))
def test_checkpointing_keeps_less_and_changes_no_gradient(encoded: Path, kind: type) -> None:
    rows, weights, found = Encoded(MINIATURE, encoded), CHECKPOINTS / "miniature", []
    tokenizer = load_llama(weights / "llama")[1]
    source, numbers = ((EncodedPairs(rows), CAFE) if kind is CafeTask else
                       (EncodedDialogues(MINIATURE, rows, PromptBuilder(MINIATURE.language, tokenizer)), BRIDGE))
    for checkpointing in (False, True):
        torch.manual_seed(0)
        task = kind(MINIATURE, source, "cpu", weights, 2, numbers=numbers, checkpointing=checkpointing)
        batch = task.batch(np.random.default_rng(0))
        with cost.kept(set()) as held:
            loss = task.loss(batch, torch.Generator().manual_seed(0))[0]
        size = sum(t.untyped_storage().nbytes() for t in held.values())
        loss.backward()
        found.append((size, {n: p.grad for module in task.modules().values() for n, p in module.named_parameters()}))
    assert found[1][0] < 0.7 * found[0][0] and any(g.abs().max() > 1e-3 for g in found[0][1].values())
    for name, g in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], g, atol=1e-6, rtol=1e-4)


# --- full size in miniature numbers, and what it costs ------------------------------------------------------------------------

@pytest.mark.slow
def test_a_preset_of_published_parts_is_trained_beside_them_and_loads(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The structure of `full`: M without a draw token reads all patches, E is read at another side than its positions'."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    weights = tmp_path / "weights"
    tiny_full.write(weights)
    for part in ("cafe", "bridge"):
        shutil.rmtree(weights / part)
    write_manifest_of_weights(weights)
    shared = ("--preset", "tiny", "--weights", weights, "--run", tmp_path / "run")
    train("encode", *shared, "--data", pictures, "--out", tmp_path / "set")
    train("cafe", *shared, "--data", tmp_path / "set", "--steps", 3, "--batch", 4, "--parts", 2)
    train("bridge", *shared, "--data", tmp_path / "set", "--steps", 3, "--batch", 4, "--parts", 2, "--checkpointing", "--language-dtype", "bfloat16")
    assert (tmp_path / "run/cafe/sheet.png").exists()
    verify.cache_clear()
    verify(weights)
    assert {"bridge/bridge.safetensors", "cafe/config.json"} <= set(json.loads((weights / "manifest.json").read_text()))
    decoder, language = load_cafe(TINY, weights), load_language(TINY, weights)
    assert any(v.weight.abs().max() > 0 for v in decoder.semantic_values.layers.values()) and language.bridge.token.abs().max() > 0

    rounds = ("targets", *shared, "--data", pictures, "--out", tmp_path / "d3", "--attempts", 4, "--drawing-steps", 2)
    train(*rounds, "--least", -1, -1)  # M and G know nothing yet, and a filter would leave nothing
    made = sorted(samples_of(tmp_path / "d3"), key=lambda s: s.key)
    assert len(made) == 4 and Image.open(io.BytesIO(made[0].target)).size == (64, 64)
    wish = drawn_wish(3, 4, 128)  # round 1 begins where round 0 would have ended: its first wish is the fifth sample's
    assert made[0].about["y"] == wish.y and made[0].about["told"]["line"] == wish.y and 0.7 <= made[0].about["told"]["alpha"] <= 1.0
    train("encode", *shared, "--data", pictures, tmp_path / "d3", "--out", tmp_path / "both")
    assert len(Encoded(TINY, tmp_path / "both")) == 14
    with pytest.raises(ConfigError, match="steps 2, not 3"):
        train(*rounds[:-1], 3, "--least", -1, -1)
    with pytest.raises(ConfigError, match="nothing to learn from"):
        train("cafe", *shared)
    with pytest.raises(ConfigError, match="'llama' is not in"):
        train("bridge", "--preset", "tiny", "--weights", tmp_path, "--run", tmp_path / "other", "--data", tmp_path / "set")


@pytest.mark.slow
def test_the_table_of_costs_keeps_what_is_measured_apart(capsys: pytest.CaptureFixture) -> None:
    train("cost", "--preset", "miniature", "--samples", 1000, "--epochs", 2)
    measured, computed = capsys.readouterr().out.split("### Computed for `miniature`")
    assert measured.startswith("### Measured with `miniature` on this machine's CPU") and "Nothing here is measured" in computed
    for table in (measured, computed):
        assert [line.split(" |")[0][2:] for line in table.splitlines() if line.startswith("| ")][1:4] == ["encode", "bridge", "decoder"]
    counts = cost.counted(MINIATURE)
    assert 2.5 * counts.row < counts.decoder < 3.2 * counts.row
    words = 2 * counts.parameters["llama"] * (cost.WORDS + MINIATURE.picture_tokens)  # two for each weight and token, without attention
    assert 0.7 * words < counts.bridge_again < 1.3 * words
    assert cost.decoder_activations(MINIATURE, 2, True) < cost.decoder_activations(MINIATURE, 2, False)
    with pytest.raises(ConfigError, match="above 0"):
        cost.Plan(keep=0.0)


def test_m_in_four_bits_passes_gradients_on_or_says_what_it_lacks(encoded: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(DeviceError, match="pip install bitsandbytes"):
            frozen_llama(tmp_path, "cpu", "4bit")
        return
    llama = frozen_llama(CHECKPOINTS / "miniature/llama", "cpu", "4bit")
    assert any(p.dtype == torch.uint8 for p in llama[0].parameters())
    source = EncodedDialogues(MINIATURE, Encoded(MINIATURE, encoded), PromptBuilder(MINIATURE.language, llama[1]))
    for checkpointing in (False, True):
        task = ProjectorTask(MINIATURE, source, "cpu", tmp_path, 2, numbers=BRIDGE, llama=llama, checkpointing=checkpointing)
        task.loss(task.batch(np.random.default_rng(0)), torch.Generator())[0].backward()
        assert task.bridge.V.weight.grad.norm() > 0 and task.bridge.token.grad.norm() > 0


def test_thresholds_come_from_the_set_where_no_world_is_drawn(tmp_path: Path) -> None:
    begin(tmp_path, {})
    found = [(drawn_wish(3, n, 128), io.BytesIO()) for n in range(8)]
    for wish, png in found:
        wish.photo.save(png, "PNG")
    write_shard(tmp_path, 0, [Quadruplet(f"t-{n}", png.getvalue(), png.getvalue(), {"y": wish.y, "reply": wish.reply, "line": wish.line})
                              for n, (wish, png) in enumerate(found)])  # each target is its own photo
    assert write_manifest(tmp_path, 1)
    samples = self_distillation.Samples(64, tmp_path)
    assert len(samples) == 8 and samples.wish(3).photo.size == (64, 64) and samples.wish(3).words == samples.wish(3).line
    assert samples.wish(11).y == samples.wish(3).y and samples.wish(11).seed != samples.wish(3).seed
    eyes = quadruplets.OwnEmbedder(load_vision(MINIATURE, CHECKPOINTS / "miniature"), load_tokenizer(CHECKPOINTS / "miniature"))
    limits = self_distillation.calibrate(eyes, samples)
    assert 0.99 < limits.dino <= 1.001 and -0.1 < limits.clip < 1.0  # eight wishes, some of which CLIP hardly knows
