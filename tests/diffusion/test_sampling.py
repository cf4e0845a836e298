"""The denoising loop: stock latents for the same seed, three solvers that agree, previews, cancel, seeds, modules."""

import copy
import itertools
import threading

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from assistant.diffusion import guidance, sampler
from assistant.diffusion.attention import AttentionContext
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.diffusion.guidance import BatchRow, GuidancePlan, LatentStream, cafe_guidance, guide, text_guidance
from assistant.diffusion.sampler import denoise, draw_noise, estimate_x0, make_scheduler
from assistant.errors import ConfigError
from tests.tiny_unet import stock_unet

NAMES = ("ddim", "dpm++", "unipc")
CONFIG = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "steps_offset": 1,  # read with "leading" spacing only; stock pipelines warn of any other number
}


@pytest.fixture(scope="module")
def modules():
    unet = stock_unet(32)
    vae = AutoencoderKL(
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
        scaling_factor=0.5,
        shift_factor=None,
    ).eval()
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: i for i, token in enumerate(vocab)}, merges=[], model_max_length=16)
    config = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        eos_token_id=len(vocab) - 1,
        bos_token_id=len(vocab) - 2,
    )
    return {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(config).eval(), "tokenizer": tokenizer}


@pytest.fixture(scope="module")
def diffusion(modules):
    preview = (torch.eye(4, 3) / 4, torch.full((3,), 0.5))
    return LatentDiffusion(scheduler_config=CONFIG, preview=preview, **{**modules, "unet": copy.deepcopy(modules["unet"])})


def seam_for(diffusion, prompt="a red cat"):
    text, empty = diffusion.encode_text([prompt, ""]).chunk(2)
    return AttentionContext({"text": text, "empty": empty})


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", NAMES)
def test_latents_equal_the_stock_pipeline(modules, diffusion, name, kind):
    config = {**CONFIG, "prediction_type": kind, "rescale_betas_zero_snr": kind == "v_prediction"}
    pipeline = StableDiffusionPipeline(
        **modules,
        scheduler=sampler.SCHEDULERS[name].from_config(config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 6, "guidance_scale": 5.0, "output_type": "latent"}
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    expected = pipeline(["a red cat"] * 2, generator=generators, height=32, width=32, **options).images
    context = seam_for(diffusion)
    ours = denoise(
        diffusion.unet, text_guidance(5.0), make_scheduler(name, config), draw_noise((3, 4), (4, 16, 16)), 6, context
    )
    assert expected.std() > 0.1
    torch.testing.assert_close(ours.latents, expected, atol=1e-5, rtol=1e-5)


class Gaussian(torch.nn.Module):
    """The exact v-prediction where pictures are independent normal numbers: the best any UNet could do."""

    dtype, mean, deviation = torch.float32, 0.5, 1.2

    def forward(self, x, timestep, _context, cross_attention_kwargs=None, return_dict=False):
        kept = make_scheduler("ddim", CONFIG).alphas_cumprod[timestep]
        a, s = kept.sqrt(), (1 - kept).sqrt()
        shrink = a * self.deviation**2 / (kept * self.deviation**2 + s**2)
        x0 = self.mean + shrink * (x - a * self.mean)
        return (a * (x - a * x0) / s - s * x0,)


@pytest.mark.parametrize("name", NAMES)
def test_each_solver_reaches_the_exact_solution_from_pure_noise(name):
    noise, toy, plan = draw_noise((0, 1), (4, 8, 8)), Gaussian(), cafe_guidance(1, 1, patches=False, semantics=False)
    exact = toy.mean + toy.deviation * noise
    errors = []
    for steps in (10, 100):
        got = denoise(toy, plan, make_scheduler(name, CONFIG), noise, steps, AttentionContext({})).latents
        errors.append((got - exact).abs().max().item())
    assert errors[1] < 0.1 and errors[1] < errors[0] < 1.0


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_steps_runs_from_pure_noise_and_ends_finite(name):
    noise, toy, plan = draw_noise((0,), (4, 2, 2)), Gaussian(), cafe_guidance(1, 1, patches=False, semantics=False)
    for steps in (1, 2, 3, 7, 15, 61):  # 61: the stock schedulers plan one step too many, to timestep -1
        seen = []
        done = denoise(
            toy, plan, make_scheduler(name, CONFIG), noise, steps, AttentionContext({}), lambda i, n, _: seen.append((i, n))
        )
        assert seen == [(i + 1, steps) for i in range(steps)] and not done.stopped and done.steps_done == steps
        assert done.latents.isfinite().all() and (done.latents - 0.5).abs().max() < 10


def test_the_three_schedulers_come_from_one_configuration():
    for name in NAMES:
        one, two = make_scheduler(name, CONFIG), make_scheduler(name, CONFIG)
        assert one is not two and type(one) is sampler.SCHEDULERS[name]
        assert one.config.prediction_type == "v_prediction" and one.config.timestep_spacing == "trailing"
    # Saved by a class that knows no clipping, read by one that clips unless told.
    saved = dict(make_scheduler("dpm++", {k: v for k, v in CONFIG.items() if k != "clip_sample"}).config)
    assert make_scheduler("ddim", saved).config.clip_sample is False
    with pytest.raises(ConfigError, match="dpm"):
        make_scheduler("euler", CONFIG)
    with pytest.raises(ConfigError, match="v_prediction"):
        make_scheduler("ddim", {**CONFIG, "prediction_type": "epsilon"})


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_x0_estimate_inverts_the_noising(kind):
    scheduler = make_scheduler("ddim", {**CONFIG, "prediction_type": kind, "rescale_betas_zero_snr": False})
    x0, noise = draw_noise((0, 1), (4, 2, 2)).chunk(2)
    t = torch.tensor([700])
    noisy, velocity = scheduler.add_noise(x0, noise, t), None
    kept = scheduler.alphas_cumprod[700]
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * x0
    prediction = {"epsilon": noise, "v_prediction": velocity, "sample": x0}[kind]
    torch.testing.assert_close(estimate_x0(scheduler, prediction, 700, noisy), x0, atol=1e-5, rtol=1e-4)


def test_previews_are_clean_estimates_at_their_steps(diffusion):
    shown = {}
    diffusion.sample(
        text_guidance(2.0),
        seam_for(diffusion),
        (0, 1),
        9,
        on_step=lambda step, steps, x0: shown.__setitem__(step, x0),
        preview_every=3,
    )
    assert sorted(shown) == list(range(1, 10))
    assert [step for step, x0 in shown.items() if x0 is not None] == [3, 6]
    pictures = diffusion.decode_preview(shown[3])
    assert [p.size for p in pictures] == [(32, 32)] * 2


def test_cancel_ends_before_the_next_step_with_the_last_estimate(diffusion):
    flag, calls, estimates = threading.Event(), [], []
    hook = diffusion.unet.register_forward_hook(lambda *_: calls.append(1))

    def on_step(step, steps, x0):
        estimates.append(x0)
        if step == 3:
            flag.set()

    context = seam_for(diffusion)
    done = diffusion.sample(text_guidance(2.0), context, (0,), 20, on_step=on_step, preview_every=1, cancel=flag)
    assert done.stopped and done.steps_done == 3 and len(calls) == 3
    assert torch.equal(done.latents, estimates[-1])
    at_once = diffusion.sample(text_guidance(2.0), context, (0,), 20, cancel=flag)
    hook.remove()
    assert at_once.stopped and at_once.steps_done == 0 and len(calls) == 3


def test_a_seed_means_the_same_alone_and_in_company(diffusion):
    together = diffusion.sample(text_guidance(3.0), seam_for(diffusion), (7, 8), 4).latents
    for i, seed in enumerate((7, 8)):
        alone = diffusion.sample(text_guidance(3.0), seam_for(diffusion), (seed,), 4).latents
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
    again = diffusion.sample(text_guidance(3.0), seam_for(diffusion), (7, 8), 4).latents
    assert torch.equal(again, together)


def test_two_streams_keep_latents_and_solvers_of_their_own(diffusion):
    """A second stream that does the same as the first ends at the same picture; a shorter one ends where it was."""

    def second(until):
        rows = (BatchRow("a", "text"), BatchRow("b", "text", stream="second"))
        return GuidancePlan(rows, (LatentStream((("a", 1.0),)), LatentStream((("b", 1.0),), "second", until=until)))

    context, widths = seam_for(diffusion), []
    hook = diffusion.unet.register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[0]))
    whole = diffusion.sample(second(1.0), context, (0,), 6)
    short = diffusion.sample(second(0.5), context, (0,), 6)
    hook.remove()
    torch.testing.assert_close(whole.streams["second"], whole.latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(short.latents, whole.latents, atol=1e-5, rtol=1e-5)
    assert (short.streams["second"] - short.latents).abs().max() > 1e-3
    assert widths == [2] * 6 + [2] * 3 + [1] * 3


def test_pictures_to_latents_and_back(diffusion):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    latents = diffusion.encode_image(pixels)
    assert latents.shape == (2, 4, 16, 16) and latents.dtype == torch.float32
    with torch.no_grad():
        x = torch.tensor(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        mode = diffusion.vae.encode(x).latent_dist.mode()
        torch.testing.assert_close(latents, mode * diffusion.vae.config.scaling_factor)
        expected = (diffusion.vae.decode(mode).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    decoded = diffusion.decode(latents)
    assert decoded.shape == (2, 32, 32, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded - expected.numpy() * 255).max() < 1


def test_the_linear_preview_is_the_given_map(diffusion):
    latents = torch.zeros(1, 4, 16, 16)
    latents[:, 0] = 2.0  # red: 2 / 4 + 0.5 = 1
    array = np.asarray(diffusion.decode_preview(latents)[0])
    assert (array == [255, 128, 128]).all()


def test_text_states_equal_the_stock_pipeline(modules, diffusion):
    pipeline = StableDiffusionPipeline(
        **modules, scheduler=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    with torch.no_grad():
        text, empty = pipeline.encode_prompt("a red cat in snow", "cpu", 1, True)
    torch.testing.assert_close(diffusion.encode_text(["a red cat in snow", ""]), torch.cat([text, empty]))


def test_modules_that_do_not_fit_are_refused(modules):
    with pytest.raises(ConfigError, match="channels"):
        LatentDiffusion(stock_unet(32, in_channels=3, out_channels=3), modules["vae"], CONFIG)
    with pytest.raises(ConfigError, match="text encoder alone"):
        LatentDiffusion(stock_unet(32), modules["vae"], CONFIG, text_encoder=modules["text_encoder"])
    with pytest.raises(ConfigError, match="text encoder"):
        LatentDiffusion(stock_unet(32), modules["vae"], CONFIG).encode_text(["a"])


def names(plan, step=0, steps=10):
    return [row.name for row in plan.active_rows(step, steps)]


def predictions():
    generator = torch.Generator().manual_seed(0)
    known = (guidance.UNCONDITIONAL, guidance.CONDITIONAL, guidance.SUBJECT_ONLY, guidance.SEMANTICS_ONLY, guidance.CAPTION)
    return {name: torch.randn(2, 4, 3, 3, generator=generator) for name in known}


@pytest.mark.parametrize(
    "strengths, expected",
    [
        ((2.0, 1.5), ["unconditional", "subject_only", "conditional"]),
        ((2.0, 2.0), ["unconditional", "conditional"]),
        ((2.0, 0.0), ["unconditional", "subject_only"]),
        ((1.0, 1.0), ["conditional"]),
        ((1.0, 0.0), ["subject_only"]),
        ((1.0, 3.0), ["subject_only", "conditional"]),
        ((0.0, 0.0), ["unconditional"]),
    ],
)
def test_rows_that_would_change_nothing_are_not_computed(strengths, expected):
    assert names(cafe_guidance(*strengths)) == expected


def test_missing_sources_leave_their_rows_out():
    assert names(cafe_guidance(2.0, 3.0, patches=False)) == ["unconditional", "semantics_only"]
    assert names(cafe_guidance(2.0, 3.0, semantics=False)) == ["unconditional", "subject_only"]
    assert names(cafe_guidance(2.0, 3.0, patches=False, semantics=False)) == ["unconditional"]
    assert names(text_guidance(1.0)) == ["conditional"]
    assert names(cafe_guidance(2.0, 2.0, caption=1.0)) == ["unconditional", "conditional", "caption"]


@pytest.mark.parametrize("w_e, w_f", [*itertools.product((0.0, 0.5, 1.0, 2.0, 7.5), repeat=2)])
def test_guidance_equals_the_full_formula_however_many_rows_are_left(w_e, w_f):
    e = predictions()
    none, subject, both = e["unconditional"], e["subject_only"], e["conditional"]
    full = none + w_e * (subject - none) + w_f * (both - subject)
    torch.testing.assert_close(guide(cafe_guidance(w_e, w_f).streams[0], e), full, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(guide(cafe_guidance(w_e, w_f, caption=0.7).streams[0], e), full + 0.7 * (e["caption"] - none), atol=1e-5, rtol=1e-5)


def test_text_guidance_is_bit_for_bit_the_customary_one():
    e = predictions()
    expected = e["unconditional"] + 5.0 * (e["conditional"] - e["unconditional"])
    assert torch.equal(guide(text_guidance(5.0).streams[0], e), expected)


def test_a_stream_with_a_window_takes_its_rows_along():
    own = BatchRow(guidance.AUXILIARY, "auxiliary_text", stream="auxiliary")
    plan = GuidancePlan(
        (BatchRow(guidance.UNCONDITIONAL, "empty"), BatchRow(guidance.CONCEPT, "text"), own),
        (
            LatentStream(((guidance.UNCONDITIONAL, -4.0), (guidance.CONCEPT, 5.0))),
            LatentStream(((guidance.UNCONDITIONAL, -4.0), (guidance.AUXILIARY, 5.0)), "auxiliary", until=0.15),
        ),
    )
    alive = [names(plan, step, 20) for step in range(20)]
    assert all(row == ["unconditional", "concept", "auxiliary"] for row in alive[:3])
    assert all(row == ["unconditional", "concept"] for row in alive[3:])
    assert [s.name for s in plan.active_streams(3, 20)] == ["image"]


def test_guidance_may_end_before_the_last_steps_and_its_rows_with_it():
    plan, e = cafe_guidance(2.0, 2.0, caption=1.0, guided=0.75), predictions()
    assert [len(names(plan, step, 20)) for step in (0, 14, 15, 19)] == [3, 3, 1, 1] and names(plan, 15, 20) == ["conditional"]
    assert torch.equal(guide(plan.active_streams(15, 20)[0], e), e["conditional"])
    assert torch.equal(guide(plan.active_streams(14, 20)[0], e), guide(cafe_guidance(2.0, 2.0, caption=1.0).streams[0], e))
    assert names(cafe_guidance(2.0, 0.0, guided=0.5), 19, 20) == ["unconditional", "subject_only"]  # nothing that could go on alone


def test_between_the_steps_that_compute_every_row_the_last_guidance_goes_on():
    plan = cafe_guidance(2.0, 2.0, guided=0.5, every=2)
    assert [len(names(plan, step, 8)) for step in range(8)] == [2, 1, 2, 1, 1, 1, 1, 1]
    assert [plan.active_streams(step, 8)[0].carried for step in range(8)] == [False, True, False, True, False, False, False, False]

    class Constant(torch.nn.Module):
        """Predicts 1 of an unconditional row and 3 of a conditional one."""

        dtype = torch.float32

        def forward(self, batch, timestep, _, encoder_hidden_states=None, return_dict=False, **more):
            rows = [1.0, 3.0] if len(batch) == 2 else [3.0]
            return (torch.tensor(rows)[:, None, None, None].expand(batch.shape),)

    def seen(plan: GuidancePlan) -> list[float]:
        found, context = [], AttentionContext({guidance.PATCHES: torch.zeros(1, 1, 1)}, {guidance.SEMANTICS: torch.zeros(1, 1)}, ())
        scheduler = make_scheduler("ddim", dict(num_train_timesteps=100, prediction_type="sample"))
        step = scheduler.step
        scheduler.step = lambda prediction, *rest, **more: (found.append(prediction.mean().item()), step(prediction, *rest, **more))[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampler.copy, "deepcopy", lambda one: one)
            denoise(Constant(), plan, scheduler, torch.zeros(1, 4, 2, 2), 8, context)
        return found

    assert seen(plan) == [5.0] * 4 + [3.0] * 4  # 1 + 2 (3 - 1), also where it is carried


@pytest.mark.parametrize(
    "made",
    [
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("a", 1.0),), every=0),)),
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("a", 1.0),), every=2, alone="b"),)),
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("a", 0.5),)),)),
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("b", 1.0),)),)),
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("a", 1.0),), guided=0.5, alone="b"),)),
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("a", 1.0),), guided=1.5, alone="a"),)),
        lambda: GuidancePlan((BatchRow("a"), BatchRow("a")), (LatentStream((("a", 1.0),)),)),
        lambda: GuidancePlan((BatchRow("a", stream="elsewhere"),), (LatentStream((("a", 1.0),)),)),
        lambda: GuidancePlan((BatchRow("a"),), (LatentStream((("a", 1.0),), until=1.5),)),
        lambda: GuidancePlan((BatchRow("a", stream="s"),), (LatentStream((("a", 1.0),)), LatentStream((("a", 1.0),), "s", until=0.5))),
    ],
)
def test_a_plan_that_cannot_work_is_refused(made):
    with pytest.raises(ConfigError):
        made()
