"""DCI on the attention context: equal to its equations written naively at every layer, head and step, and to nothing where the window is closed."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from assistant.controls.dci import BranchTokens, Dci, MaskSnapshot, MaskTemperatures, at_scale, branch_mask, overlap, region, scales
from assistant.diffusion.guidance import AUXILIARY_TEXT, EMPTY, TEXT, dci_guidance, text_guidance
from assistant.diffusion.attention import AttentionContext, cross_layers, install
from assistant.diffusion.sampler import denoise, draw_noise, make_scheduler
from assistant.errors import ConceptError, ConfigError
from assistant.files import MARK, overlaid
from assistant.presets import MINIATURE
from tests import tiny_unet
from tests.tiny_unet import installed, stock_unet

TOKENS, WIDTH = 11, 24
REAL, OWN = (1, 2, 3, 4, 5, 6), (3, 4)  # "a V* cat in the snow": V* and cat
A_REAL, A_OWN = (1, 2, 3, 4, 5), (1, 3, 4, 5)  # "a dog in the snow": all but dog
SHARP = MaskTemperatures(tokens=7.0, space=5.0, gain=3000.0)


@pytest.fixture(scope="module")
def stock():
    return stock_unet(WIDTH, only_cross_attention=(True, False)).double().requires_grad_(False)  # so that rounding does not grow over steps


@pytest.fixture(scope="module")
def unet(stock):
    return installed(stock)


drawn = partial(tiny_unet.drawn, dtype=torch.float64)
PROMPT, OTHER, NOTHING = (3 * drawn(1, TOKENS, WIDTH, seed=s) for s in (1, 2, 3))


def tuned(unet):
    return {name: (0.3 * drawn(*a.to_k.weight.shape, seed=k), 0.3 * drawn(*a.to_v.weight.shape, seed=50 + k))
            for k, (name, a) in enumerate(cross_layers(unet).items())}


def finetuned(stock, added):
    """A copy of the stock UNet with what is added written into its weights."""
    out = copy.deepcopy(stock)
    for name, attn in cross_layers(out).items():
        attn.to_k.weight += added[name][0]
        attn.to_v.weight += added[name][1]
    return out


def dci(strength=1.0, **options):
    return Dci(BranchTokens.of(TOKENS, REAL, OWN), BranchTokens.of(TOKENS, A_REAL, A_OWN), strength, SHARP, **options)


def context_of(unet, *controls, prompt=PROMPT, other=OTHER):
    return AttentionContext({TEXT: prompt, AUXILIARY_TEXT: other, EMPTY: NOTHING}, controls=controls, tuned=tuned(unet))


def scheduler():
    return make_scheduler("ddim", MINIATURE.decoder.scheduler)


class Naive:
    """Eqs. 3 to 5 as written, pixel by pixel and head by head; entries are unconditional, concept, auxiliary."""

    def __init__(self, layer, strength, masks):
        self.layer, self.strength, self.masks = layer, strength, masks

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        entries = []
        for x, context in zip(hidden_states, (NOTHING, PROMPT, OTHER)):
            q, k, v = attn.to_q(x), attn.to_k(context[0]), attn.to_v(context[0])
            entries.append([(torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(len(h)), 1), v[:, h]) for h in torch.arange(q.shape[1]).chunk(attn.heads)])
        rows = [[m @ v for m, v in heads] for heads in entries]
        for head in range(attn.heads):
            soft = []
            for entry, real, own in ((1, REAL, OWN), (2, A_REAL, A_OWN)):
                attention, sums = entries[entry][head][0], []
                for pixel in attention:
                    sharp = [math.exp(SHARP.tokens * float(pixel[p])) for p in real]
                    sums.append(sum(s for s, p in zip(sharp, real) if p in own) / sum(sharp))
                space = [math.exp(SHARP.space * s) for s in sums]
                soft.append([SHARP.gain * len(space) / 64**2 * s / sum(space) for s in space])
            for pixel, (c, a) in enumerate(zip(*soft)):
                concept, auxiliary = math.exp(c), math.exp(self.strength * a)
                share = auxiliary / (concept + auxiliary)
                self.masks.setdefault(self.layer, {})[(head, pixel)] = share
                rows[1][head][pixel] = (1 - share) * rows[1][head][pixel] + share * rows[2][head][pixel]
        return torch.stack([attn.to_out[0](torch.cat(heads, 1)) for heads in rows])


@pytest.mark.parametrize("strength", (-1.5, 2.0))
def test_fast_masks_equal_the_formulas_written_out_at_every_layer_head_and_step(stock, unet, strength):
    slow, x = finetuned(stock, tuned(unet)), drawn(3, 4, 16, 16)
    processors = dict(slow.attn_processors)
    for step, time in enumerate((900, 500)):
        found: dict = {}
        slow.set_attn_processor({**processors, **{f"{n}.processor": Naive(n, strength, found) for n in cross_layers(slow)}})
        expected = slow(x, torch.tensor(time), PROMPT.expand(3, -1, -1)).sample.float()
        seen = MaskSnapshot()
        context = context_of(unet, dci(strength, seen=seen)).begin(dci_guidance(3.0, 1.0).rows, 1, step, 2)
        with torch.no_grad():
            got = unet(x, torch.tensor(time), None, cross_attention_kwargs={"context": context}).sample.float()
        assert seen.auxiliary.keys() == found.keys() and len(found) >= 4
        for layer, masks in found.items():
            (mask,) = seen.auxiliary[layer]  # (1, heads, Nq)
            expected_mask = torch.tensor([[masks[h, p] for p in range(mask.shape[2])] for h in range(mask.shape[1])])
            torch.testing.assert_close(mask[0], expected_mask, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_a_closed_window_is_plain_sampling_of_the_fine_tuned_model(stock, unet):
    noise, written = draw_noise((3,), (4, 16, 16)), finetuned(stock, tuned(unet))
    install(written)
    plain = denoise(written, text_guidance(3.0), scheduler(), noise, 4, AttentionContext({TEXT: PROMPT, EMPTY: NOTHING}))
    closed = denoise(unet, dci_guidance(3.0, 0.0), scheduler(), noise, 4, context_of(unet, dci()))
    torch.testing.assert_close(closed.latents, plain.latents, atol=1e-5, rtol=1e-5)
    opened = denoise(unet, dci_guidance(3.0, 0.5), scheduler(), noise, 4, context_of(unet, dci()))
    assert (opened.latents - plain.latents).abs().max() > 0.01


@pytest.mark.slow
def test_the_shared_unconditional_is_the_unshared_where_both_branches_have_the_same_latents(unet):
    noise = draw_noise((3, 4), (4, 16, 16))
    first = [denoise(unet, dci_guidance(3.0, 1.0, shared), scheduler(), noise, 1, context_of(unet, dci())) for shared in (True, False)]
    torch.testing.assert_close(first[0].latents, first[1].latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first[0].streams["auxiliary"], first[1].streams["auxiliary"], atol=1e-5, rtol=1e-5)
    # the same words in both branches: the latents never part, however long the window
    same = [denoise(unet, dci_guidance(3.0, 1.0, shared), scheduler(), noise, 4, context_of(unet, other=PROMPT)) for shared in (True, False)]
    torch.testing.assert_close(same[0].latents, same[1].latents, atol=1e-5, rtol=1e-5)
    later = [denoise(unet, dci_guidance(3.0, 1.0, shared), scheduler(), noise, 4, context_of(unet, dci())) for shared in (True, False)]
    assert (later[0].latents - later[1].latents).abs().max() > 1e-4


def test_the_auxiliary_row_is_in_the_batch_in_the_window_only(unet):
    plan, alive = dci_guidance(3.0, 0.15), []
    for step in range(20):
        alive.append(len(plan.active_rows(step, 20)))
    assert alive == [3] * 3 + [2] * 17
    assert [len(dci_guidance(1.0, 0.5).active_rows(step, 2)) for step in range(2)] == [2, 1]
    rests = dci_guidance(3.0, 0.5, every=2)
    assert [len(rests.active_rows(step, 8)) for step in range(8)] == [3, 2, 3, 2, 2, 1, 2, 1]
    assert [len(dci_guidance(3.0, 0.0, every=2).active_rows(step, 4)) for step in range(4)] == [2, 1, 2, 1]


def test_the_auxiliary_branch_goes_its_own_way(unet):
    noise = draw_noise((3,), (4, 16, 16))
    merged = denoise(unet, dci_guidance(3.0, 1.0, False), scheduler(), noise, 3, context_of(unet, dci()))
    alone = denoise(unet, text_guidance(3.0), scheduler(), noise, 3, AttentionContext({TEXT: OTHER, EMPTY: NOTHING}, tuned=tuned(unet)))
    torch.testing.assert_close(merged.streams["auxiliary"], alone.latents, atol=1e-5, rtol=1e-5)


def test_lambdas_of_one_batch_are_what_each_gives_alone(unet):
    noise = draw_noise((3, 3, 3), (4, 16, 16))
    together = denoise(unet, dci_guidance(3.0, 0.5), scheduler(), noise, 2, context_of(unet, dci(torch.tensor([-2.0, 0.0, 2.0]))))
    for k, strength in enumerate((-2.0, 0.0, 2.0)):
        alone = denoise(unet, dci_guidance(3.0, 0.5), scheduler(), noise[:1], 2, context_of(unet, dci(strength)))
        torch.testing.assert_close(together.latents[k:k + 1], alone.latents, atol=1e-5, rtol=1e-5)
    assert (together.latents[0] - together.latents[2]).abs().max() > 0.01


def test_a_fine_tuned_model_of_one_request_leaves_the_shared_one_bit_for_bit(unet):
    kept, noise = {n: p.clone() for n, p in unet.named_parameters()}, draw_noise((3,), (4, 16, 16))
    plain = denoise(unet, text_guidance(3.0), scheduler(), noise, 2, AttentionContext({TEXT: PROMPT, EMPTY: NOTHING}))
    denoise(unet, dci_guidance(3.0, 0.5), scheduler(), noise, 2, context_of(unet, dci()))
    again = denoise(unet, text_guidance(3.0), scheduler(), noise, 2, AttentionContext({TEXT: PROMPT, EMPTY: NOTHING}))
    assert torch.equal(plain.latents, again.latents)
    assert all(torch.equal(p, kept[n]) for n, p in unet.named_parameters())


def test_without_sharpening_lambda_does_next_to_nothing_which_is_why_there_is_some():
    generator = torch.Generator().manual_seed(0)
    concept, auxiliary = (torch.rand(1, 4, 4096, generator=generator) for _ in range(2))
    literal, sharp = MaskTemperatures(1.0, 1.0, 1.0), MaskTemperatures()
    spread = [(branch_mask(concept, auxiliary, 2.0, s) - branch_mask(concept, auxiliary, -2.0, s)).abs().max() for s in (literal, sharp)]
    assert spread[0] < 1e-3 and spread[1] > 0.3


def test_what_cannot_be_is_said():
    with pytest.raises(ConfigError, match="Lambda is 2.5; it can be -2 to 2"):
        dci(2.5)
    with pytest.raises(ConfigError, match="Lambda is nan"):
        dci(float("nan"))
    with pytest.raises(ConfigError, match="window is 1.2"):
        dci_guidance(3.0, 1.2)
    with pytest.raises(ConfigError, match="token set"):
        BranchTokens.of(TOKENS, REAL, ())
    with pytest.raises(ConfigError, match="sharpening"):
        MaskTemperatures(gain=0.0)


def test_masks_are_told_apart_by_grid_and_way_and_averaged_as_asked():
    masks = {"down_blocks.0.attn2": [torch.full((2, 3, 16), 0.25), torch.full((2, 3, 16), 0.75)],
             "up_blocks.1.attn2": [torch.arange(64.0).expand(2, 3, 64) / 64, torch.ones(2, 3, 64)]}
    assert list(scales(masks)) == ["4 down", "8 up"]
    assert at_scale(masks, "4 down").unique().tolist() == [0.5] and at_scale(masks, "4 down", step=1).unique().tolist() == [0.75]
    assert at_scale(masks, "8 up", step=0, head=2).shape == (2, 8, 8)
    with pytest.raises(ConceptError, match="no head 4 among 3"):
        at_scale(masks, "8 up", head=3)
    with pytest.raises(ConceptError, match="scale '9 up'"):
        at_scale(masks, "9 up")
    truth = torch.zeros(1, 16, 16)
    truth[:, :8] = 1
    assert overlap(torch.cat([torch.ones(1, 4, 8), torch.zeros(1, 4, 8)], 1), truth) == [1.0]
    picture = np.full((16, 16, 3), 200, np.uint8)
    assert (overlaid(picture, np.ones((4, 4)), 0.0) == 200).all() and (overlaid(picture, np.ones((4, 4)), 1.0) == MARK).all()
    spots = {"the middle": (slice(6, 10), slice(6, 10)), "the top": (slice(0, 5), slice(None)), "the bottom right": (slice(11, 16), slice(11, 16)),
             "everywhere alike": (slice(0), slice(0)), "the bottom and the left": None}
    for words, spot in spots.items():
        mask = torch.zeros(16, 16)
        if spot is None:
            mask[11:], mask[:, :5] = 1, 1
        else:
            mask[spot] = 1
        assert region(mask) == words
    ring = torch.ones(16, 16)
    ring[5:11, 5:11] = 0
    assert region(ring) == "all around the middle"
