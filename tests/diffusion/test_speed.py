"""Kernels, the probe, the compiled step, the static cache, switches and the bench: the same numbers faster, or the old way and one line."""

import copy
import json
import logging
import threading

import pytest
import torch
import torch._dynamo.testing
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM

from assistant import benchmark
from assistant.benchmark import Case, Options, cafe_step, ip_adapter_step, stock_step
from assistant.machine import Step, Table, flops, in_turns, ratio
from assistant.controls.cafe import Cafe, PatchScale, SemanticValues
from assistant.diffusion import acceleration, attention
from assistant.diffusion.attention import AttentionContext, install
from assistant.diffusion.acceleration import Acceleration, CompiledUNet, tune
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.diffusion.guidance import cafe_guidance
from assistant.diffusion.sampler import predict
from assistant.errors import ConfigError, DeviceError
from assistant.requests import SCHEDULERS
from assistant.models.mllm import cache_of, sampled
from assistant.presets import PRESETS
from tests.tiny_full import TINY
from tests.tiny_unet import drawn, installed, stock_unet

WIDTH, VECTOR, TOKENS = 24, 10, 17
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def unet():
    return installed(stock_unet(WIDTH, sample_size=8, block_out_channels=(32, 32)).requires_grad_(False))


@pytest.fixture(scope="module")
def values(unet):
    made = SemanticValues.of(unet, VECTOR).requires_grad_(False)
    for weight in made.parameters():
        weight.normal_(generator=torch.Generator().manual_seed(weight.shape[0]))
    return made


def context_of(values, seed=1, controls=()):
    return AttentionContext({"patches": drawn(1, TOKENS, WIDTH, seed=seed)}, {"semantics": drawn(1, VECTOR, seed=seed)}, (Cafe(values), *controls))


def step(unet, context, rows=cafe_guidance(2.0, 2.0).rows, seed=5):
    return predict(unet, drawn(1, 4, 8, 8, seed=seed).repeat(len(rows), 1, 1, 1), torch.tensor(500), context.begin(rows, 1))


# --- attention kernels -------------------------------------------------------------------------------------------------

SHAPES = [(2, 8, 64, 77, 40), (1, 5, 256, 257, 64), (2, 8, 64, 64, 80), (1, 8, 16, 257, 160), (3, 4, 9, 16, 40)]
WHERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KIND = torch.float16 if torch.cuda.is_available() else torch.float32


@pytest.mark.parametrize("kernel", [name for name in attention.KERNELS if name not in ("auto", "sdpa")])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_a_kernel_gives_what_sdpa_gives(kernel, shape):
    sample = torch.zeros((), device=WHERE, dtype=KIND)
    reason = attention.refusal(kernel, sample, shape)
    if reason:
        pytest.skip(f"the {kernel} kernels do not run on {WHERE} in {KIND} at this shape: {reason}")
    batch, heads, queries, tokens, width = shape
    q, k, v = (drawn(batch, n, heads, width, seed=i).to(WHERE, KIND).transpose(1, 2) for i, n in enumerate((queries, tokens, tokens)))
    with torch.inference_mode():
        ours, expected = (attention.attend(name, q, k, v, width**-0.5) for name in (kernel, "sdpa"))
    torch.testing.assert_close(ours, expected, atol=2e-3 if KIND is torch.float16 else 1e-5, rtol=1e-3)


def test_xformers_with_a_mask_gives_what_sdpa_gives():
    reason = attention.refusal("xformers", torch.zeros((), device=WHERE, dtype=KIND))
    if reason:
        pytest.skip(f"xformers' kernels do not run on {WHERE}: {reason}")
    q, k = drawn(2, 4, 16, 64).to(WHERE, KIND), drawn(2, 4, 24, 64, seed=1).to(WHERE, KIND)
    mask = torch.zeros(2, 4, 16, 24, device=WHERE, dtype=KIND)
    mask[..., 9:] = -torch.inf
    ours, expected = (attention.attend(name, q, k, k, 0.125, mask) for name in ("xformers", "sdpa"))
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_torchs_own_kernels_are_called_as_torch_declares_them(kernel):
    """Without a GPU: on tensors that only have a device and a shape."""
    with FakeTensorMode(), torch.inference_mode():
        q, k = (torch.empty(2, 8, n, 40, device="cuda", dtype=torch.float16) for n in (64, 257))
        assert attention._TORCHS[kernel](q, k, k, 0.1).shape == q.shape


def test_where_a_kernel_by_name_cannot_serve_sdpa_does():
    q, k, wide = drawn(1, 2, 6, 8), drawn(1, 2, 5, 8, seed=1), drawn(1, 2, 5, 16, seed=2).requires_grad_()
    out = attention.attend("flash", q, k, wide, 8**-0.5)  # values of two rows joined, and a gradient
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, k, wide))
    assert out.requires_grad


def test_a_kernel_that_does_not_run_here_is_refused_in_a_sentence():
    if torch.cuda.is_available():
        pytest.skip("says what happens without a GPU")
    for name in ("flash", "xformers"):
        with pytest.raises(DeviceError, match="do not run on cpu"):
            attention.choose(name, torch.zeros(1))
    assert attention.choose("auto", torch.zeros(1)) == "sdpa" and attention.choose("math", torch.zeros(1)) == "math"


# --- the probe ---------------------------------------------------------------------------------------------------------

def test_the_probe_chooses_by_shape_remembers_and_changes_no_number(unet, values, tmp_path, monkeypatch):
    ours, memory = copy.deepcopy(unet), tmp_path / "cache" / "attention.json"
    found = acceleration.shapes(ours, TOKENS)
    assert set(found.values()) == {(2, 4, 64, 64, 8), (2, 4, 64, TOKENS, 8), (2, 4, 16, 16, 8), (2, 4, 16, TOKENS, 8)}
    asked = []

    def seconds(shape, sample, candidates=acceleration.CANDIDATES):
        asked.append(shape)
        return {"sdpa": 1.0, "math": 0.5 if shape[2] == 64 else 2.0}

    monkeypatch.setattr(acceleration, "measured", seconds)
    chosen = acceleration.fit(ours, TOKENS, memory)
    assert {chosen[layer] for layer, shape in found.items() if shape[2] == 64} == {"math"}
    assert {chosen[layer] for layer, shape in found.items() if shape[2] == 16} == {"sdpa"}
    assert len(asked) == 4 and len(json.loads(memory.read_text())) == 4
    assert acceleration.fit(ours, TOKENS, memory) == chosen and len(asked) == 4  # from the file
    memory.write_text("not JSON")
    assert acceleration.fit(ours, TOKENS, memory) == chosen and len(asked) == 8  # measured again
    torch.testing.assert_close(step(ours, context_of(values)), step(unet, context_of(values)), atol=1e-5, rtol=1e-5)


def test_what_runs_is_measured():
    seconds = acceleration.measured((1, 2, 4, 4, 8), torch.zeros(1))
    assert seconds.keys() >= {"sdpa", "math"} and all(s > 0 for s in seconds.values())
    if not torch.cuda.is_available():
        assert "flash" not in seconds


def test_a_kernel_that_overflows_is_never_taken_and_the_others_only_where_they_win(monkeypatch):
    """Half precision with scores beyond what it can hold, as Stable Diffusion 2's are: the plain product gave NaN."""
    q = (300 * drawn(1, 64, 2, 64)).half().transpose(1, 2)
    v = drawn(1, 64, 2, 64, seed=1).half().transpose(1, 2)
    assert attention.attend("math", q, q, v, 0.125).isfinite().all()
    monkeypatch.setitem(attention._TORCHS, "flash", lambda q, k, v, scale: (q * scale @ k.transpose(-1, -2)).softmax(dim=-1) @ v)
    monkeypatch.setitem(attention._TORCHS, "cudnn", lambda q, k, v, scale: torch.full_like(q, torch.nan))
    found = acceleration.measured((1, 2, 4, 4, 64), torch.zeros(1, dtype=torch.half))
    assert "math" in found and not found.keys() & {"flash", "cudnn"}
    assert acceleration.quickest({"sdpa": 1.0, "xformers": 0.97}) == "sdpa" == acceleration.quickest({"sdpa": 1.0, "xformers": 1.3})
    assert acceleration.quickest({"sdpa": 1.0, "xformers": 0.8}) == "xformers"


# --- the compiled step -------------------------------------------------------------------------------------------------

class Later:
    """Background work that a test begins."""

    def __init__(self):
        self.work = []

    def __call__(self, work):
        self.work.append(work)

    def run(self):
        while self.work:
            self.work.pop(0)()


def slower(monkeypatch, factor):
    """The clock says that a made step takes `factor` of a plain one."""
    times = iter([1.0] * 5 + [factor] * 5)
    monkeypatch.setattr("assistant.diffusion.acceleration._seconds", lambda *_: next(times))


def test_the_plain_model_answers_until_the_compiled_step_is_ready(unet, values, monkeypatch):
    later, calls = Later(), []

    def make(function, *example):
        return lambda *given: calls.append(1) or function(*given)

    warmed = CompiledUNet(unet, make, later)
    slower(monkeypatch, 0.5)
    expected = step(unet, context_of(values))
    assert torch.equal(step(warmed, context_of(values)), expected) and not calls and len(later.work) == 1
    later.run()
    assert warmed.state.startswith("taken: 0.50 x")
    calls.clear()
    torch.testing.assert_close(step(warmed, context_of(values)), expected, atol=1e-5, rtol=1e-5)
    assert len(calls) == 1
    other = context_of(values, seed=8)  # another request of the same shape
    torch.testing.assert_close(step(warmed, other), step(unet, context_of(values, seed=8)), atol=1e-5, rtol=1e-5)
    assert len(calls) == 2 and not later.work
    step(warmed, context_of(values), cafe_guidance(2.0, 3.0).rows)  # other rows are another shape
    assert len(later.work) == 1


@pytest.mark.slow
def test_one_compilation_serves_every_request_of_its_shape(monkeypatch):
    torch._dynamo.reset()
    torch.manual_seed(0)
    small = UNet2DConditionModel(sample_size=8, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4, attention_head_dim=2,
                                 down_block_types=("CrossAttnDownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None,
                                 cross_attention_dim=WIDTH).eval().requires_grad_(False)
    install(small)
    counter, later, own = torch._dynamo.testing.CompileCounter(), Later(), SemanticValues.of(small, VECTOR)
    torch.nn.init.normal_(next(own.parameters()), generator=torch.Generator().manual_seed(0))
    slower(monkeypatch, 0.5)
    warmed = CompiledUNet(small, lambda function, *example: torch.compile(function, backend=counter, dynamic=False), later)
    rows = cafe_guidance(2.0, 3.0).rows  # two of them share E(x)
    step(warmed, context_of(own), rows)
    later.run()
    for seed in (2, 3):
        torch.testing.assert_close(step(warmed, context_of(own, seed=seed), rows), step(small, context_of(own, seed=seed), rows), atol=1e-5, rtol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_a_step_that_is_wrong_or_slower_is_not_taken_and_a_failure_is_one_line(unet, values, monkeypatch, caplog):
    expected = step(unet, context_of(values))

    def fails(function, *example):
        raise RuntimeError("no compiler\nand a long story")

    def wrong(function, *example):
        return lambda *given: function(*given) + 1

    def breaks(function, *example):
        made = []
        return lambda *given: function(*given) if made.append(1) or len(made) == 1 else 1 / 0

    for make, factor, state in ((lambda f, *e: f, 1.5, "not taken"), (fails, 0.5, "failed"), (wrong, 0.5, "failed"), (breaks, 0.5, "taken")):
        slower(monkeypatch, factor)
        caplog.clear()
        later = Later()
        warmed = CompiledUNet(unet, make, later)
        with caplog.at_level(logging.WARNING):
            step(warmed, context_of(values))
            later.run()
            assert warmed.state.startswith(state)
            for _ in range(2):
                assert torch.equal(step(warmed, context_of(values)), expected)
        assert len(caplog.records) == (state != "not taken") and "long story" not in caplog.text


def test_controls_with_a_say_at_each_step_are_served_by_the_plain_model(unet, values):
    later = Later()
    warmed = CompiledUNet(unet, lambda f, *e: f, later)
    out = step(warmed, context_of(values, controls=(PatchScale(0.5),)))
    assert torch.equal(out, step(unet, context_of(values, controls=(PatchScale(0.5),)))) and not later.work


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need an NVIDIA GPU")
def test_a_recorded_graph_gives_what_the_plain_model_gives(unet, values):
    from assistant.diffusion.acceleration import CapturedGraph

    ours, theirs = copy.deepcopy(unet).cuda(), copy.deepcopy(values).cuda()
    later = Later()
    warmed = CompiledUNet(ours, lambda function, *example: CapturedGraph(function, *example), later)

    def on(seed):
        context = AttentionContext({"patches": drawn(1, TOKENS, WIDTH, seed=seed).cuda()}, {"semantics": drawn(1, VECTOR, seed=seed).cuda()}, (Cafe(theirs),))
        rows = cafe_guidance(2.0, 2.0).rows
        batch = drawn(1, 4, 8, 8, seed=seed).repeat(2, 1, 1, 1).cuda()
        return [predict(m, batch, torch.tensor(500).cuda(), context.begin(rows, 1)) for m in (warmed, ours)]

    on(1)
    later.run()
    assert "plain step" in warmed.state
    for seed in (2, 3):
        torch.testing.assert_close(*on(seed), atol=1e-4, rtol=1e-4)


# --- switches and caches -----------------------------------------------------------------------------------------------

def test_switches():
    usual = Acceleration()
    assert usual.changed(["channels-last=on", "static-cache=on"]) == Acceleration(channels_last=True, static_cache=True)
    for wrong in ("channels-last", "channels-last=yes", "faster=on"):
        with pytest.raises(ConfigError, match="channels-last, compiled, probed, static-cache"):
            usual.changed([wrong])


def test_a_tuned_decoder_draws_the_same_picture(unet, values):
    vae = AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        norm_num_groups=4).eval()
    scheduler = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)

    def picture(decoder):
        return decoder.sample(cafe_guidance(2.0, 2.0), context_of(values), [3], 3).latents

    decoder = LatentDiffusion(copy.deepcopy(unet), vae, scheduler)
    plain = picture(decoder)
    tune(decoder, Acceleration(channels_last=True, compiled=True), TOKENS)
    decoder.step._start = lambda work: None
    assert decoder.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last) and isinstance(decoder.step, CompiledUNet)
    torch.testing.assert_close(picture(decoder), plain, atol=1e-4, rtol=1e-4)


def test_a_static_cache_gives_the_same_tokens_and_the_same_state():
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                         num_key_value_heads=2, max_position_embeddings=128)).eval()
    prompt, tail = drawn(1, 9, 32), drawn(1, 2, 32, seed=1)
    found = {}
    for static in (False, True):
        cache = cache_of(llama, 9 + 24, static)
        tokens = list(sampled(llama, {"inputs_embeds": prompt}, cache, 20, 0.9, torch.Generator().manual_seed(4), threading.Event()))
        with torch.no_grad():
            found[static] = tokens, llama.model(inputs_embeds=tail, past_key_values=cache, use_cache=True).last_hidden_state
    assert found[True][0] == found[False][0] and len(set(found[True][0])) > 3
    torch.testing.assert_close(found[True][1], found[False][1], atol=1e-5, rtol=1e-5)
    assert cache.layers[0].keys.shape[2] == 128  # rounded up, not beyond what the model reads


# --- the bench ---------------------------------------------------------------------------------------------------------

def test_the_benchs_steps_are_of_one_unet_and_leave_it_as_it_was(unet, values):
    case, before = Case(unet, values, text=7, patches=TOKENS), dict(unet.attn_processors)
    ours, stock, adapter = cafe_step(case), stock_step(case), ip_adapter_step(case)
    outs = []
    for made in (ours, stock, adapter, ours):
        made.before()
        outs.append(made.run())
    assert torch.equal(outs[0], outs[3]) and unet.attn_processors == before
    assert all(o.shape == (2, 4, 8, 8) for o in outs)
    assert len({round(float(o.abs().sum()), 3) for o in outs}) == 3
    counted = {}
    for name, made in (("cafe", ours), ("stock", stock), ("adapter", adapter)):
        made.before()
        counted[name] = flops(made.run)
    assert counted["stock"] < counted["adapter"] and counted["cafe"] < counted["adapter"]
    ours.before()


def test_ratios_are_of_the_same_turns_and_the_table_says_what_was_not_measured(capsys):
    times = in_turns({"one": Step(lambda: None), "two": Step(lambda: sum(range(20000)))}, 5, CPU)
    assert len(times["one"]) == 5 and ratio(times, "one", "two") < 1 < ratio(times, "two", "one")
    table = Table()
    table.ratio("a step", 1.049, "stock", 1.05)
    table.add("on a GPU", note="this run had no CUDA device")
    assert "at most 1.05 wanted" in capsys.readouterr().out
    assert table.markdown().splitlines()[2:] == [
        "| a step | 1.05 x | stock, at most 1.05 wanted |", "| on a GPU | not measured | this run had no CUDA device |"]


def test_every_preset_has_a_quick_a_usual_and_a_fine_pace():
    for config in PRESETS.values():
        d = config.decoder
        paces = [d.quick, (d.sampler, d.steps), d.fine]
        assert all(sampler in SCHEDULERS for sampler, _ in paces), config.name
        assert [n for _, n in paces] == sorted({n for _, n in paces}) and paces[0][1] * 2 <= paces[1][1], config.name


@pytest.mark.slow
def test_the_bench_of_random_weights_measures_every_part_of_a_preset_and_loads_nothing(monkeypatch):
    monkeypatch.setattr(benchmark, "preset", lambda name: TINY)
    monkeypatch.setattr(benchmark, "WORDS", 3)
    monkeypatch.setattr(benchmark, "PROMPT", 20)
    table = Table()
    benchmark.measure(table, Options("tiny", "cpu", steps=1, repeat=1, random=True))
    found = {what: value for what, value, _ in table.lines}
    assert {"CAFE picture, 64 px", "text-to-image picture, 64 px", "Infusion picture, 64 px", "DCI picture, 64 px", "words of the language model",
            "static cache of keys and values", "share of matrix-multiply speed", "peak memory, decoder"} <= found.keys()
    assert found["CAFE picture, 64 px"].endswith(" s") and found["words of the language model"].endswith("/s")
    assert found["the same on a GPU"] == "not measured"
    without = Table()
    monkeypatch.setattr(benchmark, "free_memory", lambda device: 10**9 if not without.lines else 0)
    with pytest.raises(DeviceError, match="GiB"):
        benchmark.measure(without, Options("tiny", "cpu", steps=1, repeat=1, random=True))
