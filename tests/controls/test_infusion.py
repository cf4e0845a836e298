"""Infusion on the attention context: equal to its equations written naively at every layer, and to nothing at all without residuals."""

import copy

import pytest
import torch

from assistant.diffusion.guidance import EMPTY, TEXT, infusion_guidance, text_guidance
from assistant.controls.infusion import Infusion, ConceptInstance, residual_mask
from assistant.diffusion.attention import AttentionContext, cross_layers
from assistant.diffusion.sampler import denoise, draw_noise, make_scheduler
from assistant.errors import ConfigError
from assistant.presets import MINIATURE
from tests.tiny_unet import drawn, installed, stock_unet

TOKENS, WIDTH = 11, 24
T = torch.tensor(400)
ROWS = infusion_guidance(3.0).rows  # unconditional, F's unconditional, F, C


@pytest.fixture(scope="module")
def stock():
    return stock_unet(WIDTH, only_cross_attention=(True, False)).requires_grad_(False)


@pytest.fixture(scope="module")
def unet(stock):
    return installed(stock)


PROMPT, NOTHING = drawn(1, TOKENS, WIDTH, seed=1), drawn(1, TOKENS, WIDTH, seed=2)


def residuals(unet, count=1, seed=0, size=1.0):
    return {name: size * drawn(count, attn.inner_dim, seed=seed + k) for k, (name, attn) in enumerate(cross_layers(unet).items())}


def context_of(*uses, prompt=PROMPT, cache=True):
    return AttentionContext({TEXT: prompt, EMPTY: NOTHING}, controls=(Infusion(uses),), cache=cache)


def layers_outputs(unet, run):
    """What every cross-attention layer gives, by name, and the UNet's own output."""
    found = {}
    hooks = [a.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out)) for name, a in cross_layers(unet).items()]
    try:
        with torch.no_grad():
            whole = run()
    finally:
        for hook in hooks:
            hook.remove()
    return found, whole


class Naive:
    """Eqs. 7 and 9 as written, head by head, with maps; entries are unconditional, F's unconditional, F, C."""

    def __init__(self, layer, uses):
        self.layer, self.uses = layer, uses

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        outputs, foundation = [], None
        for k, x in enumerate(hidden_states):
            context = (PROMPT if k >= 2 else NOTHING)[0]
            q, key, value = attn.to_q(x), attn.to_k(context), attn.to_v(context).clone()
            if k == 3:
                for table, positions, strength in self.uses:
                    for r, at in enumerate(positions):
                        for p in at:
                            value[p] += strength * table[self.layer][r]
            heads, maps = [], []
            for h, part in enumerate(torch.arange(q.shape[-1]).chunk(attn.heads)):
                own = torch.softmax(q[:, part] @ key[:, part].T / len(part) ** 0.5, dim=-1)
                maps.append(own)
                heads.append((foundation[h] if k == 3 else own) @ value[:, part])
            if k == 2:
                foundation = maps
            outputs.append(attn.to_out[0](torch.cat(heads, dim=-1)))
        return torch.stack(outputs)


def test_joined_values_equal_maps_written_out_at_every_layer_with_several_concepts(stock, unet):
    spoken = [(residuals(unet, 1, 10), ((2, 3),), 1.0), (residuals(unet, 2, 50), ((6,), (7,)), 0.4)]
    uses = [ConceptInstance(table, residual_mask(positions, TOKENS, strength)) for table, positions, strength in spoken]
    naive, x = copy.deepcopy(stock), drawn(4, 4, 16, 16)
    processors = dict(naive.attn_processors)
    processors |= {f"{name}.processor": Naive(name, spoken) for name in cross_layers(naive)}
    naive.set_attn_processor(processors)
    expected, whole = layers_outputs(naive, lambda: naive(x, T, PROMPT.expand(4, -1, -1)).sample)
    context = context_of(*uses).begin(ROWS, 1)
    got, ours = layers_outputs(unet, lambda: unet(x, T, None, cross_attention_kwargs={"context": context}).sample)
    assert got.keys() == expected.keys() and len(got) >= 4
    for name, layer in got.items():
        torch.testing.assert_close(layer, expected[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours, whole, atol=1e-5, rtol=1e-5)
    assert (ours[3] - ours[2]).abs().max() > 0.01


@pytest.mark.parametrize("uses", (lambda u: (), lambda u: (ConceptInstance(residuals(u, size=0.0), residual_mask([[2]], TOKENS)),),
                                  lambda u: (ConceptInstance(residuals(u), residual_mask([[2]], TOKENS, 0.0)),)), ids=("none", "zero", "strength 0"))
def test_without_residuals_or_strength_the_two_streams_are_one_picture_and_stock(unet, uses):
    noise = draw_noise((3,), (4, 16, 16))
    scheduler = lambda: make_scheduler("ddim", MINIATURE.decoder.scheduler)  # noqa: E731
    done = denoise(unet, infusion_guidance(3.0), scheduler(), noise, 4, context_of(*uses(unet)))
    plain = denoise(unet, text_guidance(3.0), scheduler(), noise, 4, AttentionContext({TEXT: PROMPT, EMPTY: NOTHING}))
    torch.testing.assert_close(done.latents, done.streams["foundation"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(done.latents, plain.latents, atol=1e-5, rtol=1e-5)


def test_the_foundation_is_never_touched(unet):
    noise = draw_noise((3,), (4, 16, 16))
    kept = {name: p.clone() for name, p in unet.named_parameters()}
    scheduler = lambda: make_scheduler("ddim", MINIATURE.decoder.scheduler)  # noqa: E731
    done = denoise(unet, infusion_guidance(3.0), scheduler(), noise, 4, context_of(ConceptInstance(residuals(unet), residual_mask([[2]], TOKENS))))
    plain = denoise(unet, text_guidance(3.0), scheduler(), noise, 4, AttentionContext({TEXT: PROMPT, EMPTY: NOTHING}))
    torch.testing.assert_close(done.streams["foundation"], plain.latents, atol=1e-5, rtol=1e-5)
    assert (done.latents - plain.latents).abs().max() > 0.01
    assert all(torch.equal(p, kept[name]) for name, p in unet.named_parameters())


def test_between_guided_steps_both_streams_go_on_with_the_guidance_they_had(stock, unet):
    noise, scheduler = draw_noise((3,), (4, 16, 16)), make_scheduler("ddim", MINIATURE.decoder.scheduler)
    plan = infusion_guidance(3.0, every=2)
    assert [len(plan.active_rows(step, 4)) for step in range(4)] == [4, 2, 4, 2]
    done = denoise(unet, plan, make_scheduler("ddim", MINIATURE.decoder.scheduler), noise, 4, context_of(ConceptInstance(residuals(unet), residual_mask([[2]], TOKENS))))
    scheduler.set_timesteps(4)
    latents, added = noise, noise
    with torch.no_grad():
        for number, t in enumerate(scheduler.timesteps):
            empty, said = (stock(latents, t, states).sample for states in (NOTHING, PROMPT))
            added = added if number % 2 else 2.0 * (said - empty)
            latents = scheduler.step(said + added, t, latents).prev_sample
    torch.testing.assert_close(done.streams["foundation"], latents, atol=1e-4, rtol=1e-4)
    assert (done.latents - latents).abs().max() > 0.01


def test_images_drawn_together_may_have_prompts_of_their_own_and_gradients_reach_the_residuals_alone(unet):
    x, prompts = drawn(4, 4, 16, 16), torch.cat([PROMPT, drawn(1, TOKENS, WIDTH, seed=7)])
    rows, table = infusion_guidance(1.0).rows, {name: r.requires_grad_() for name, r in residuals(unet).items()}
    where = torch.cat([residual_mask([[2]], TOKENS), residual_mask([[5]], TOKENS)])
    context = context_of(ConceptInstance(table, where), prompt=prompts, cache=False).begin(rows, 2)
    both = unet(x, T, None, cross_attention_kwargs={"context": context}).sample
    for i in range(2):
        context = context_of(ConceptInstance(table, where[i:i + 1]), prompt=prompts[i:i + 1]).begin(rows, 1)
        alone = unet(x[i::2], T, None, cross_attention_kwargs={"context": context}).sample
        torch.testing.assert_close(both[i::2], alone, atol=1e-5, rtol=1e-5)
    both[2:].square().mean().backward()
    assert all(r.grad.abs().max() > 0 for r in table.values()) and all(p.grad is None for p in unet.parameters())


def test_what_cannot_be_is_said(unet):
    with pytest.raises(ConfigError, match="11 tokens"):
        residual_mask([[11]], TOKENS)
    assert [row.name for row in infusion_guidance(1.0, every=2).active_rows(0, 2)] == ["foundation", "customized"]
