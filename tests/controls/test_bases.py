"""Infusion, ICO and DCI on base models like Stable Diffusion: the miniature's code, at their full widths, in half precision."""

import copy
import io
import math
import threading

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from assistant import presets
from assistant.customization.concept_training import scaled_backward_step
from assistant.customization.trainer import ConceptTrainer
from assistant.diffusion.guidance import AUXILIARY_TEXT, EMPTY, TEXT, dci_guidance, infusion_guidance
from assistant.controls.dci import BranchTokens, Dci, MaskTemperatures
from assistant.controls.infusion import Infusion, ConceptInstance, residual_mask
from assistant.diffusion import attention
from assistant.diffusion.attention import AttentionContext, cross_layers, install
from assistant.loading import load
from assistant.requests import Reply, Request, Settings, SweepReply, SweepRequest, TrainingSpec
from assistant.session.uploads import read_photo
from tests.tiny_full import TINY_BASE, write
from tests.tiny_unet import drawn


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write(folder)
    presets.PRESETS["tiny-base"] = TINY_BASE
    yield load("tiny-base", "cpu", "auto", "auto", folder)
    del presets.PRESETS["tiny-base"]


def photo(seed):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (70, 80, 3), np.uint8)).save(out, "PNG")
    return read_photo(out.getvalue())


def last(events):
    return list(events)[-1]


@pytest.mark.slow
def test_a_preset_of_a_base_model_alone_draws_from_words(engine):
    reply = last(engine.respond(Request("a cat on the beach", settings=Settings(seed=1, steps=2, preview_every=1)), threading.Event()))
    assert isinstance(reply, Reply) and Image.open(io.BytesIO(reply.png)).size == (64, 64) and reply.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ("infusion", "ico"))
def test_a_concept_is_learned_taken_up_again_kept_and_drawn_with(engine, kind, tmp_path):
    trainer: ConceptTrainer = engine.trainer
    task = TrainingSpec("tom", "cat", (photo(1), photo(2)), kind=kind, options={"steps": 4, "batch": 2})
    assert trainer.advise(task.pictures).noun == ""  # nobody names things here
    course = trainer.begin(task)
    losses = [course.advance() for _ in range(2)]
    again = trainer.begin(task, course.state())
    assert [course.advance(), course.advance()] == [again.advance(), again.advance()] and all(map(math.isfinite, losses))
    preview = course.preview(threading.Event())
    assert Image.open(io.BytesIO(preview)).size == (64, 64)
    library = trainer.open(tmp_path)
    course.keep(library, preview)
    ask = Request("<tom> on the beach", settings=Settings(seed=1, steps=3, window=0.5, preview_every=1), library=library)
    reply = last(engine.respond(ask, threading.Event()))
    assert reply.png and reply.metadata["method"] == {"infusion": "Infusion", "ico": "ICO + DCI"}[kind]
    if kind == "ico":
        found = last(engine.strip(SweepRequest("<tom> on the beach", library, (-1.0, 1.0), ask.settings), threading.Event()))
        assert isinstance(found, SweepReply) and len(found.pictures) == 2 and len(found.masks.scales) == 7  # 8, 4, 2 down, 1 in the middle, and up again


WIDTHS = [320, 640, 1280]


@pytest.fixture(scope="module")
def narrow():
    """Stable Diffusion 1.5's widths, heads and words, one layer a scale, at an eighth of its latents' side."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=8, layers_per_block=1, block_out_channels=WIDTHS, cross_attention_dim=768, attention_head_dim=8,
                                down_block_types=("CrossAttnDownBlock2D",) * 3, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), mid_block_type=None)
    return unet.eval().requires_grad_(False)


def context_of(rows, controls, tuned=None, dtype=torch.float32):
    texts = {name: drawn(1, 77, 768, seed=seed).to(dtype) for name, seed in ((TEXT, 1), (EMPTY, 2), (AUXILIARY_TEXT, 3))}
    return AttentionContext(texts, controls=controls, tuned=tuned).begin(rows, 1)


class Naive:
    """Infusion's eq. 7 and DCI's eqs. 3 to 5 as written, head by head, with every map; entries are the plan's rows."""

    def __init__(self, layer, residuals, tuned, sharpening, lam):
        self.layer, self.residuals, self.tuned, self.sharpening, self.lam = layer, residuals, tuned, sharpening, lam

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, temb=None):
        width, outs, maps, values = attn.inner_dim // attn.heads, [], [], []
        contexts = [drawn(1, 77, 768, seed=s)[0] for s in ((2, 2, 1, 1) if self.residuals else (2, 1, 3))]
        for k, context in enumerate(contexts):
            key, value = attn.to_k(context), attn.to_v(context)
            if self.tuned:
                added = self.tuned[self.layer]
                key, value = key + context @ added[0].T, value + context @ added[1].T
            if self.residuals and k == 3:
                value = value.clone()
                value[4] += self.residuals[self.layer][0]
            query = attn.to_q(x[k])
            heads = [slice(h * width, (h + 1) * width) for h in range(attn.heads)]
            own = [torch.softmax(query[:, h] @ key[:, h].T / width**0.5, -1) for h in heads]
            maps.append(maps[2] if self.residuals and k == 3 else own)
            values.append([value[:, h] for h in heads])
            outs.append([m @ v for m, v in zip(maps[-1], values[-1])])
        if self.tuned:
            s = self.sharpening
            for h in range(attn.heads):
                sums = []
                for k, tokens in ((1, (3, 4)), (2, (1, 2))):
                    again = torch.softmax(s.tokens * maps[k][h][:, 1:9], -1)
                    sums.append(again[:, [t - 1 for t in tokens]].sum(-1))
                a, b = (s.gain * m.shape[0] / 64**2 * torch.softmax(s.space * m, 0) for m in sums)
                both = torch.softmax(torch.stack([a, self.lam * b]), 0)
                outs[1][h] = both[0][:, None] * outs[1][h] + both[1][:, None] * outs[2][h]
        return torch.stack([attn.to_out[0](torch.cat(o, -1)) for o in outs])


@pytest.mark.slow
@pytest.mark.parametrize("way", ("infusion", "dci"))
def test_at_stable_diffusions_widths_the_seam_gives_what_the_equations_give(narrow, way):
    layers = cross_layers(narrow)
    assert {a.inner_dim for a in layers.values()} == set(WIDTHS) and {a.inner_dim // a.heads for a in layers.values()} == {40, 80, 160}
    residuals = {n: drawn(1, a.inner_dim, seed=k) for k, (n, a) in enumerate(layers.items())} if way == "infusion" else None
    tuned = None if residuals else {n: tuple(0.02 * drawn(a.inner_dim, 768, seed=k + i) for i in (0, 50)) for k, (n, a) in enumerate(layers.items())}
    sharpening, lam = MaskTemperatures(), 1.5
    rows = infusion_guidance(8.0).rows if residuals else dci_guidance(7.5, 1.0).rows
    naive, ours, x, t = copy.deepcopy(narrow), copy.deepcopy(narrow), drawn(len(rows), 4, 8, 8), torch.tensor(400)
    processors = dict(naive.attn_processors)
    processors |= {f"{n}.processor": Naive(n, residuals, tuned, sharpening, lam) for n in layers}
    naive.set_attn_processor(processors)
    install(ours)
    controls = (Infusion([ConceptInstance(residuals, residual_mask([[4]], 77))]),) if residuals else (
        Dci(BranchTokens.of(77, range(1, 9), (3, 4)), BranchTokens.of(77, range(1, 9), (1, 2)), lam, sharpening),)
    with torch.no_grad():
        expected = naive(x, t, drawn(1, 77, 768, seed=1).expand(len(rows), -1, -1)).sample
        got = ours(x, t, None, cross_attention_kwargs={"context": context_of(rows, controls, tuned)}).sample
        plain = ours(x, t, None, cross_attention_kwargs={"context": context_of(rows, (), tuned)}).sample
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    changed = 3 if residuals else 1
    assert (got - plain)[changed].abs().max() > 1e-2


def test_maps_of_half_precision_do_not_overflow():
    """Scores before they are scaled are beyond 65,504 here, as they are in Stable Diffusion 2.1."""
    query = torch.full((1, 2, 4, 160), 30.0, dtype=torch.float16)
    key = 30.0 + drawn(1, 2, 7, 160).half()
    value = drawn(1, 2, 7, 160, seed=1).half()
    out, found = attention.attend_with_map(query, key, value, 160**-0.5)
    exact, expected = attention.attend_with_map(query.double(), key.double(), value.double(), 160**-0.5)
    assert bool(out.isfinite().all()) and out.dtype == torch.float16
    torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(out.double(), exact, atol=2e-2, rtol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_in_half_precision_both_methods_stay_finite_and_near(narrow, dtype):
    """One block's cross-attention at its full widths, in half precision against single."""
    layers, found = cross_layers(narrow), {}
    for held in (torch.float32, dtype):
        unet = copy.deepcopy(narrow)
        install(unet)
        name, attn = next((n, a) for n, a in cross_layers(unet).items() if a.inner_dim == 1280)
        attn.to(held)
        for way, rows in (("infusion", infusion_guidance(8.0).rows), ("dci", dci_guidance(7.5, 1.0).rows)):
            use = ConceptInstance({name: drawn(1, 1280, seed=5)}, residual_mask([[4]], 77))
            branch = BranchTokens.of(77, range(1, 9), (3, 4))
            control = Infusion([use]) if way == "infusion" else Dci(branch, BranchTokens.of(77, range(1, 9), (1, 2)), 1.0)
            tuned = None if way == "infusion" else {name: tuple(0.02 * drawn(1280, 768, seed=k) for k in (6, 7))}
            hidden = drawn(len(rows), 16, 1280, seed=8).to(held)
            with torch.no_grad():
                found[way, held] = attn(hidden, context=context_of(rows, (control,), tuned, held)).float()
    for way in ("infusion", "dci"):
        half, single = found[way, dtype], found[way, torch.float32]
        assert bool(half.isfinite().all())
        assert (half - single).abs().max() < 0.06 * single.abs().max()
    assert len(layers) == 5 and len(found) == 4


def test_gradients_too_small_for_half_precision_arrive_and_infinite_ones_do_nothing():
    small = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.SGD([small], lr=1.0)
    assert scaled_backward_step((small.half() * torch.tensor(1e-4).half()).float().mean() * 1e-4, optimizer)  # 2.5e-9 each: nothing in half precision
    torch.testing.assert_close(small.detach(), torch.full((4,), -2.5e-9), rtol=0.02, atol=0.0)
    before = small.detach().clone()
    assert not scaled_backward_step((small * float("inf")).sum(), optimizer) and torch.equal(small.detach(), before)
    exact = torch.randn(5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plain = exact.detach().clone().requires_grad_()
    scaled_backward_step(exact.pow(3).sum(), torch.optim.SGD([exact], lr=0.1))
    plain.pow(3).sum().backward()
    assert torch.equal(exact.detach(), plain.detach() - 0.1 * plain.grad)  # in single precision not a bit is another


@pytest.mark.slow
def test_recomputed_activations_give_the_same_gradients(narrow):
    found = []
    for recompute in (False, True):
        unet = copy.deepcopy(narrow)
        install(unet)
        if recompute:
            unet.enable_gradient_checkpointing()
        residuals = {n: torch.zeros(1, a.inner_dim, requires_grad=True) for n, a in cross_layers(unet).items()}
        context = AttentionContext({TEXT: drawn(1, 77, 768, seed=1)}, controls=(Infusion([ConceptInstance(residuals, residual_mask([[4]], 77))]),), cache=False)
        context.begin(infusion_guidance(1.0).rows, 1)
        unet(drawn(2, 4, 8, 8), torch.tensor(400), None, cross_attention_kwargs={"context": context}).sample[1].square().mean().backward()
        found.append(torch.cat([r.grad.flatten() for r in residuals.values()]))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-4)
    assert found[0].abs().max() > 0


def test_a_base_model_brings_its_own_way_of_learning(engine):
    trainer = engine.trainer
    task = TrainingSpec("tom", "cat", (photo(1),), kind="ico", options={"steps": 2, "batch": 1})
    assert trainer.begin(task).recipe.lr_attention == 5e-4 and trainer.begin(task).steps == 2
    assert trainer.begin(TrainingSpec("tom", "cat", (photo(1),), options={"batch": 1})).steps == 500
    assert trainer.base.unet.is_gradient_checkpointing
