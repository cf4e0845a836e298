"""The base model's reader of words: through the seam like any cross-attention layer, by lot where words are silent."""

from __future__ import annotations

import pytest
import torch

from assistant.conditioning import EMPTY, TEXT
from assistant.control.infusion import Infusion, Use
from assistant.decoder.attention import Control, Seam
from assistant.decoder.rows import CONDITIONAL, CUSTOMIZED, FOUNDATION, Row, infusion_plan, text_plan
from assistant.decoder.text_reader import LAYER
from assistant.miniature.reading import read
from assistant.miniature.world import COLOURS, KINDS, STYLES
from assistant.presets import MINIATURE
from assistant.weights import CHECKPOINTS, load_base

PROMPTS = ("a red cat on the beach, pixel art", "watercolour of a blue dog with white stripes in the snow",
           "a yellow teapot wearing a green hat in the library, flat colours", "a purple fish in space")


@pytest.fixture(scope="module")
def base():
    return load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)


def seam_of(base, prompts=PROMPTS, controls=()) -> Seam:
    return Seam({TEXT: base.encode_text(prompts), EMPTY: base.encode_text([""])}, controls=controls)


def said(base, seam: Seam, images: int) -> dict[str, torch.Tensor]:
    return base.text_reader(seam.begin((Row(CONDITIONAL, TEXT),), images))


def test_names_are_what_the_words_say(base) -> None:
    found = said(base, seam_of(base), len(PROMPTS))
    for k, prompt in enumerate(PROMPTS):
        words = read(prompt)
        assert KINDS[int(found["kind"][k].argmax())] == words["kind"]
        assert tuple(COLOURS)[int(found["colour"][k].argmax())] == words["colour"]
        if "style" in words:
            assert STYLES[int(found["style"][k].argmax())] == words["style"]
    hat = found["worn0"].softmax(1)
    assert hat[2, 1 + tuple(COLOURS).index("green")] > 0.8 and hat[0, 0] > 0.8


def test_the_seed_decides_what_words_leave_open_and_nothing_else(base) -> None:
    plan, seeds = text_plan(3.0), range(24)
    seam = seam_of(base, ["a purple fish"] * 24)
    rows = plan.alive(0, 1)
    logits = {k: t[24:] for k, t in base.text_reader(seam.begin(rows, 24)).items()}
    chosen = base.text_reader.decide(logits, seeds)
    assert {KINDS[i] for i in chosen["kind"].argmax(1).tolist()} == {"fish"}
    assert len(set(chosen["context"].argmax(1).tolist())) > 6
    purple = tuple(COLOURS).index("purple")
    assert not {COLOUR for COLOUR in chosen["second"].argmax(1).tolist()} & {purple, tuple(COLOURS).index("black")}, "it would not be seen"
    again = base.text_reader.decide(logits, seeds)
    assert all(torch.equal(chosen[k], again[k]) for k in chosen)
    alone = base.guess_words(plan, seam_of(base, ["a purple fish"]), [7])["image"]
    together = base.guess_words(plan, seam, seeds)["image"]
    assert torch.allclose(together[7:8], alone, atol=1e-4)
    assert not torch.allclose(together[7], together[8], atol=0.1)


def test_a_control_reaches_the_names(base) -> None:
    class Look(Control):
        seen: torch.Tensor | None = None

        def maps(self, call):
            return (CONDITIONAL,) if call.layer == LAYER else ()

        def after(self, call, out):
            self.seen = call.maps.get(CONDITIONAL, self.seen)
            return out

    look, plain = Look(), said(base, seam_of(base), len(PROMPTS))
    looked = said(base, seam_of(base, controls=(look,)), len(PROMPTS))
    assert all(torch.allclose(plain[k], looked[k], atol=1e-4) for k in plain)
    assert look.seen.shape == (len(PROMPTS), 8, len(plain), 48)
    assert torch.allclose(look.seen.sum(-1), torch.ones(len(PROMPTS), 8, len(plain)), atol=1e-4)


def test_infusions_residual_moves_the_names_of_its_own_stream_only(base) -> None:
    where = torch.zeros(1, 1, 48)
    where[..., 2] = 1.0  # red, to which colours attend
    width = base.text_reader.attn2.inner_dim
    plan = infusion_plan(1.0)
    rows = plan.alive(0, 1)
    order = [row.name for row in rows]

    def names(strength: float) -> dict[str, torch.Tensor]:
        use = Use({LAYER: strength * torch.ones(1, width)}, where)
        found = base.text_reader(seam_of(base, PROMPTS[:1], (Infusion((use,)),)).begin(rows, 1))
        return {k: dict(zip(order, t)) for k, t in found.items()}

    none, some = names(0.0), names(3.0)
    for k in none:
        assert torch.allclose(none[k][CUSTOMIZED], none[k][FOUNDATION], atol=1e-5)
        assert torch.allclose(some[k][FOUNDATION], none[k][FOUNDATION], atol=1e-5)
    assert not torch.allclose(some["colour"][CUSTOMIZED], none["colour"][CUSTOMIZED], atol=0.1)


def test_a_first_guess_of_words_is_what_the_base_model_draws_from(base) -> None:
    plan, seeds = text_plan(3.0), [0, 1, 2, 3]
    seam = seam_of(base)
    guess = base.guess_words(plan, seam, seeds)
    done = base.sample(plan, seam, seeds, 4, guess=guess)
    error = (done.latents - guess["image"]).square().mean()
    assert error < 0.1 * guess["image"].var() and not torch.equal(done.latents, guess["image"])
