"""The attention context: equal to stock attention, eq. 1 equal to its naive form, caches and drops exact, controls pluggable."""

import copy

import pytest
import torch
import torch._dynamo.testing

from assistant.controls.cafe import Cafe, PatchScale, SemanticValues, training_context
from assistant.diffusion.attention import AttentionContext, AttentionControl, AttentionOverride, cross_layers, install
from assistant.diffusion.guidance import BatchRow
from assistant.errors import ConfigError, DeviceError
from tests.tiny_unet import drawn, installed, stock_unet

TOKENS, WIDTH, VECTOR = 17, 24, 10
T = torch.tensor(500)


@pytest.fixture(scope="module")
def stock():
    return stock_unet(WIDTH, only_cross_attention=(True, False))


@pytest.fixture(scope="module")
def unet(stock):
    return installed(stock)


def telling(unet) -> SemanticValues:
    """V_H of random weights, where new ones are zero."""
    made = SemanticValues.of(unet, VECTOR)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(weight.shape[0]))
    return made


@pytest.fixture(scope="module")
def values(unet):
    return telling(unet)


def through(unet, x, context, grad=False):
    with torch.set_grad_enabled(grad):
        return unet(x, T, None, cross_attention_kwargs={"context": context}).sample


E, F = drawn(1, TOKENS, WIDTH, seed=1), drawn(1, VECTOR, seed=2)
EVERY = (BatchRow("none"), BatchRow("e", "patches"), BatchRow("f", vector="semantics"), BatchRow("both", "patches", "semantics"))


def cafe_seam(values, cache=True, e=E, f=F, patches=1.0, semantics=1.0):
    controls = (Cafe(values, semantics), *(() if patches == 1.0 else (PatchScale(patches),)))
    return AttentionContext({"patches": e}, {"semantics": f}, controls, cache=cache)


def test_without_a_control_it_is_stock(stock, unet):
    x, context = drawn(2, 4, 16, 16), drawn(2, TOKENS, WIDTH, seed=3)
    with torch.no_grad():
        expected = stock(x, T, context).sample
        assert torch.allclose(unet(x, T, context).sample, expected, atol=1e-6)
        mask = torch.ones(2, TOKENS, dtype=torch.bool)
        mask[1, 5:] = False
        masked = stock(x, T, context, encoder_attention_mask=mask).sample
        assert torch.allclose(unet(x, T, context, encoder_attention_mask=mask).sample, masked, atol=1e-6)
        assert (masked - expected).abs().max() > 1e-4
    context = AttentionContext({"a": context[:1], "b": context[1:]}).begin((BatchRow("a", "a"), BatchRow("b", "b")), 1)
    assert torch.allclose(through(unet, x, context), expected, atol=1e-6)
    assert torch.allclose(through(unet, x, context), expected, atol=1e-6)  # from the cache


def test_rows_with_other_numbers_of_tokens_share_a_batch(stock, unet):
    x, short, long = drawn(3, 4, 16, 16), drawn(1, 5, WIDTH), drawn(1, TOKENS, WIDTH)
    context = AttentionContext({"short": short, "long": long}).begin((BatchRow("a", "long"), BatchRow("b", "short"), BatchRow("c", "long")), 1)
    with torch.no_grad():
        expected = torch.cat([stock(x[i : i + 1], T, c).sample for i, c in enumerate((long, short, long))])
    assert torch.allclose(through(unet, x, context), expected, atol=1e-5)


class NaiveEquation1:
    """Eq. 1 as written, head by head, with a K_H drawn at random; `see` says which sources each entry has."""

    def __init__(self, layer, values, e, f, see):
        self.layer, self.values, self.e, self.f, self.see = layer, values, e, f, see

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        outputs = []
        for x, (sees_e, sees_f) in zip(hidden_states, self.see):
            q, heads = attn.to_q(x), []
            k_e, v_e = attn.to_k(self.e), attn.to_v(self.e)
            v_h = self.values(self.layer, self.f)
            k_h = drawn(*v_h.shape, seed=9)
            for part in torch.arange(q.shape[-1]).chunk(attn.heads):
                root = len(part) ** 0.5
                from_h = torch.softmax(q[:, part] @ k_h[:, part].T / root, dim=-1) @ v_h[:, part]
                from_e = torch.softmax(q[:, part] @ k_e[:, part].T / root, dim=-1) @ v_e[:, part]
                heads.append(from_h * sees_f + from_e * sees_e)
            outputs.append(attn.to_out[0](torch.cat(heads, dim=-1)))
        return torch.stack(outputs)


def test_equation_1_against_its_naive_form_and_dropped_sources_are_zero(stock, unet, values):
    naive = copy.deepcopy(stock)
    processors = dict(naive.attn_processors)
    see = [(0, 0), (1, 0), (0, 1), (1, 1)]
    for name in cross_layers(naive):
        processors[f"{name}.processor"] = NaiveEquation1(name, values, E[0], F, see)
    naive.set_attn_processor(processors)
    x = drawn(4, 4, 16, 16)
    with torch.no_grad():
        expected = naive(x, T, E.expand(4, -1, -1)).sample
    ours = through(unet, x, cafe_seam(values).begin(EVERY, 1))
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-5)
    # A dropped source leaves no trace of its content.
    other = cafe_seam(values, e=E + 1, f=F - 1).begin(EVERY, 1)
    changed = (through(unet, x, other) - ours).abs().amax(dim=(1, 2, 3))
    assert changed[0] == 0 and (changed[1:] > 1e-3).all()


def test_one_token_identity(unet):
    """Attention over a single token is its value broadcast, whatever the queries and the key."""
    q, k, v = drawn(2, 3, 9, 8), drawn(2, 3, 1, 8, seed=1), drawn(2, 3, 1, 8, seed=2)
    out = torch.nn.functional.scaled_dot_product_attention(q * 50, k, v)
    assert torch.equal(out, v.expand_as(out))


def test_cached_equals_uncached_and_projects_each_condition_once(unet, values):
    x, counted = drawn(8, 4, 16, 16), []
    hooks = [a.to_k.register_forward_hook(lambda *_: counted.append(1)) for a in cross_layers(unet).values()]
    try:
        cached = cafe_seam(values)
        kept = [through(unet, x, cached.begin(EVERY, 2, step, 2)) for step in range(2)]
        assert len(counted) == len(hooks)  # two rows, two images, two steps: one projection a layer
        anew, again = (through(unet, x, cafe_seam(values, cache=False).begin(EVERY, 2)) for _ in range(2))
        assert len(counted) > 2 * len(hooks)  # nothing was kept
    finally:
        for hook in hooks:
            hook.remove()
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[0], anew) and torch.equal(anew, again)


def test_conditions_of_their_own_for_each_image(unet, values):
    x, e, f = drawn(2, 4, 16, 16), drawn(2, TOKENS, WIDTH, seed=4), drawn(2, VECTOR, seed=5)
    row = (BatchRow("none"), BatchRow("both", "patches", "semantics"))
    both = through(unet, x.repeat(2, 1, 1, 1), cafe_seam(values, e=e, f=f).begin(row, 2))
    for i in range(2):
        context = cafe_seam(values, e=e[i : i + 1], f=f[i : i + 1]).begin(row, 1)
        alone = through(unet, x[i : i + 1].repeat(2, 1, 1, 1), context)
        torch.testing.assert_close(both[i::2], alone, atol=1e-5, rtol=1e-5)


def test_scale_zero_is_none(unet, values):
    x, row = drawn(1, 4, 16, 16), (BatchRow("both", "patches", "semantics"),)

    def at(row, **scales):
        return through(unet, x, cafe_seam(values, **scales).begin(row, 1))

    assert torch.equal(at(row, semantics=0.0), at((BatchRow("e", "patches"),)))
    assert torch.allclose(at(row, patches=0.0), at((BatchRow("f", vector="semantics"),)), atol=1e-6)
    plain = through(unet, x, AttentionContext({"patches": E}).begin((BatchRow("e", "patches"),), 1))
    assert torch.equal(at(row, semantics=0.0), plain)
    half = at(row, semantics=0.5)
    doubled = through(unet, x, cafe_seam(values, f=F / 2).begin(row, 1))
    torch.testing.assert_close(half, doubled, atol=1e-5, rtol=1e-5)


def test_untrained_values_change_nothing(unet):
    x, row = drawn(1, 4, 16, 16), (BatchRow("both", "patches", "semantics"),)
    fresh = through(unet, x, cafe_seam(SemanticValues.of(unet, VECTOR)).begin(row, 1))
    assert torch.equal(fresh, through(unet, x, AttentionContext({"patches": E}).begin((BatchRow("e", "patches"),), 1)))


def test_training_drops_sample_by_sample_and_gradients_flow(unet, values):
    e, f = drawn(4, TOKENS, WIDTH), drawn(4, VECTOR)
    keep_e, keep_f = torch.tensor([0.0, 1, 0, 1]), torch.tensor([0.0, 0, 1, 1])
    x = drawn(4, 4, 16, 16)
    out = through(unet, x, training_context(values, e, f, keep_e, keep_f), grad=True)
    for i, row in enumerate(EVERY):
        context = cafe_seam(values, e=e[i : i + 1], f=f[i : i + 1]).begin((row,), 1)
        alone = through(unet, x[i : i + 1], context)
        torch.testing.assert_close(out[i : i + 1], alone, atol=1e-5, rtol=1e-5)
    f_grad = f.requires_grad_()
    through(unet, x, training_context(values, e, f_grad, keep_e, keep_f), grad=True).square().mean().backward()
    assert (f_grad.grad[:2] == 0).all() and (f_grad.grad[2:].abs().amax(dim=1) > 0).all()
    assert all(w.grad.abs().max() > 0 for w in values.parameters())
    assert all(a.to_k.weight.grad.abs().max() > 0 for a in cross_layers(unet).values())
    unet.zero_grad()
    values.zero_grad()


def test_a_half_precision_decoder_takes_conditions_as_they_were_encoded(unet, values):
    x = drawn(4, 4, 16, 16)
    half_unet, half_values = copy.deepcopy(unet).bfloat16(), copy.deepcopy(values).bfloat16()
    half = through(half_unet, x.bfloat16(), cafe_seam(half_values).begin(EVERY, 1))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), through(unet, x, cafe_seam(values).begin(EVERY, 1)), atol=0.15, rtol=0.05)


def test_two_requests_may_run_interleaved(unet, values):
    x, rows = drawn(4, 4, 16, 16), EVERY
    one, two = cafe_seam(values), cafe_seam(values, e=E * 2, f=-F)
    alone = [through(unet, x, cafe_seam(values, e=e, f=f).begin(rows, 1)) for e, f in ((E, F), (E * 2, -F))]
    for _ in range(2):
        assert torch.equal(through(unet, x, one.begin(rows, 1)), alone[0])
        assert torch.equal(through(unet, x, two.begin(rows, 1)), alone[1])


class JoinedValues(AttentionControl):
    """One row's map applied to two rows' values."""

    def replace(self, call):
        if not (call.cross and call.has("leader", "follower")):
            return ()
        (key, value), (_, other) = call.key_value("leader"), call.key_value("follower")
        query = call.query[call.span("leader")]
        return [AttentionOverride(query, key, torch.cat([value, other], dim=-1), ("leader", "follower"))]


class TwoMaps(AttentionControl):
    """The same by materialised maps, put in place afterwards."""

    def maps(self, call):
        return ("leader",) if call.cross else ()

    def post_attention(self, call, out):
        if not call.cross:
            return out
        mapped = call.maps["leader"] @ call.key_value("follower")[1]
        rest = out[: call.span("follower").start]
        return torch.cat([rest, mapped])


def test_a_control_can_join_values_and_another_can_use_maps(unet):
    other = drawn(1, TOKENS, WIDTH, seed=8)
    rows = (BatchRow("plain", "text"), BatchRow("leader", "text"), BatchRow("follower", "other"))
    x = drawn(6, 4, 16, 16)
    seams = [AttentionContext({"text": E, "other": other}, controls=c) for c in ((JoinedValues(),), (TwoMaps(),), ())]
    joined, mapped, plain = (through(unet, x, context.begin(rows, 2)) for context in seams)
    torch.testing.assert_close(joined, mapped, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joined[:4], plain[:4], atol=1e-5, rtol=1e-5)
    assert (joined[4:] - plain[4:]).abs().max() > 1e-3
    with pytest.raises(ConfigError):  # two controls want the same rows
        through(unet, x, AttentionContext({"text": E, "other": other}, controls=[JoinedValues()] * 2).begin(rows, 2))


class SelfEdit(AttentionControl):
    """Hands every self-attention's own queries, keys and values back, row by row."""

    def replace(self, call):
        if call.cross:
            return ()
        return [AttentionOverride(call.query[call.span(r.name)], *call.key_value(r.name), (r.name,)) for r in call.context.rows[1:]]


def test_self_attention_passes_the_seam_too(unet):
    x, rows = drawn(3, 4, 16, 16), tuple(BatchRow(name, "text") for name in "abc")
    edited = through(unet, x, AttentionContext({"text": E}, controls=(SelfEdit(),)).begin(rows, 1))
    torch.testing.assert_close(edited, through(unet, x, AttentionContext({"text": E}).begin(rows, 1)), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_dynamo_traces_training_without_recompiling_each_step():
    small = installed(stock_unet(WIDTH, block_out_channels=(32,), down_block_types=("CrossAttnDownBlock2D",), mid_block_type=None,
                                 up_block_types=("CrossAttnUpBlock2D",)))
    values = telling(small)
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(small, backend=counter)
    x, e, f, keep = drawn(2, 4, 16, 16), drawn(2, TOKENS, WIDTH), drawn(2, VECTOR), torch.ones(2)
    expected = through(small, x, training_context(values, e, f, keep, keep))
    for _ in range(3):
        out = through(compiled, x, training_context(values, e, f, keep, keep), grad=True)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_mistakes_are_named(unet):
    x = drawn(1, 4, 16, 16)
    with pytest.raises(ConfigError, match="semantics"):
        AttentionContext({"patches": E}).begin((BatchRow("f", vector="semantics"),), 1)
    with pytest.raises(ConfigError, match="2 images"):
        AttentionContext({"patches": E.repeat(2, 1, 1)}).begin((BatchRow("e", "patches"),), 3)
    with pytest.raises(ConfigError, match="2x1"):
        through(unet, x, AttentionContext({"patches": E}).begin((BatchRow("a", "patches"), BatchRow("b", "patches")), 1))
    with pytest.raises(ConfigError, match="kernel"):
        install(unet, "fast")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_xformers_is_refused_where_it_does_not_run(unet):
    with pytest.raises(DeviceError, match="sdpa"):
        install(unet, "xformers")
