"""Mixes: eq. 4's identities, what weights may be, and pictures of them on the miniature's own weights, whatever those are."""

import io
import itertools
import json
import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image

from assistant.requests import (GRID, Mix, MixReply, MixRequest, Photo, Progress, Reply, Request, Settings, Sketch, Source, Words, as_names, check_mix,
                                coefficients, grid, read_names, strip)
from assistant.diffusion.attention import AttentionContext
from assistant.diffusion.guidance import PATCHES, BatchRow
from assistant.errors import InputError
from assistant.generation.mixing import advice, film
from assistant.generation.base import blend, subject_semantics
from assistant.models.vision_encoders import pixels

X, W1, W2 = (Photo(b"", 8, 8, c * 64) for c in "abc")
QUICK = Settings(seed=5, steps=2)


def vectors(count: int, width: int = 128, seed: int = 0) -> list[torch.Tensor]:
    """Of different lengths: full size keeps its encoder's."""
    chance = torch.Generator().manual_seed(seed)
    return [torch.randn(1, width, generator=chance) * (1 + k) for k in range(count)]


def mixed(own, sources, mix: Mix) -> torch.Tensor:
    return blend(own, sources, [coefficients(mix)])


def near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-6, atol=1e-6)


def test_alpha_0_is_the_subject_and_alpha_1_the_reference():
    own, w = vectors(2)
    assert near(mixed(own, [w], Mix((X,), (Source(W1),), 0.0)), own)
    assert near(mixed(own, [w], Mix((X,), (Source(W1),), 1.0)), w)
    assert not near(mixed(own, [w], Mix((X,), (Source(W1),), 0.5)), own)


def test_the_order_of_sources_does_not_tell():
    own, *sources = vectors(5)
    weights, first = (0.9, -0.4, 0.0, 0.7), None
    for order in itertools.permutations(range(4)):
        one = mixed(own, [sources[k] for k in order], Mix((X,), tuple(Source(W1, weight=weights[k]) for k in order), 0.8))
        first = one if first is None else first
        assert near(one, first)


def test_a_source_of_weight_0_or_off_changes_nothing():
    own, a, b = vectors(3)
    alone = mixed(own, [a], Mix((X,), (Source(W1, weight=0.6),), 0.7))
    for idle in (Source(W2, weight=0.0), Source(W2, on=False), Source(W2, weight=-1.0, on=False)):
        assert near(mixed(own, [a, b], Mix((X,), (Source(W1, weight=0.6), idle), 0.7)), alone)


def test_a_mix_has_eq_4s_direction_and_its_sources_length():
    own, a, b = vectors(3)
    mix = Mix((X,), (Source(W1, weight=0.5), Source(W2, weight=0.5)), 0.8)
    found, printed = mixed(own, [a, b], mix), 0.4 * a + 0.4 * b + 0.2 * own
    assert float(torch.cosine_similarity(found, printed)) == pytest.approx(1.0, abs=1e-6)
    assert float(found.norm()) == pytest.approx(float(0.4 * a.norm() + 0.4 * b.norm() + 0.2 * own.norm()), rel=1e-5)
    assert float(printed.norm()) < 0.8 * float(found.norm())  # what an average loses, and why it is given back


def test_weights_beyond_1_are_shared_and_opposite_ones_leave_the_subject():
    both = Mix((X,), (Source(W1), Source(W2)), 1.0)
    assert coefficients(both) == (0.0, 0.5, 0.5)
    assert coefficients(replace(both, sources=(Source(W1, weight=1.0), Source(W2, weight=-1.0)))) == (1.0, 1.0, -1.0)
    assert coefficients(replace(both, sources=(Source(W1, weight=-1.0),))) == (2.0, -1.0)
    assert coefficients(Mix((X,))) == (1.0,)
    for alpha in (0.0, 0.3, 0.50001, 1.0):
        assert sum(coefficients(replace(both, alpha=alpha))) == pytest.approx(1.0)


def test_one_reference_that_is_the_subject_changes_nothing():
    (own,) = vectors(1)
    for weight in (1.0, 0.3, -1.0):
        assert near(mixed(own, [own], Mix((X,), (Source(X, weight=weight),), 0.7)), own)


def test_sources_that_cancel_are_refused_in_a_sentence():
    own, w = vectors(2)
    with pytest.raises(InputError, match="cancel each other out.*Change a weight"):
        blend(own, [w, own - w], [[-1.0, 1.0, 1.0]])


@pytest.mark.parametrize("mix, sentence", [
    (Mix(()), "no subject yet"), (Mix((X,) * 5), "5 photos of the subject; it can have 4"),
    (Mix((X,), (Source(W1),) * 9), "9 references; it can have 8"), (Mix((X,), (Source(W1, weight=1.5),)), "weight of reference 1 is 1.5"),
    (Mix((X,), (Source(),)), "Reference 1 is empty"), (Mix((X,), alpha=1.2), "Alpha is 1.2")])
def test_what_cannot_be_mixed_is_one_sentence(mix, sentence):
    with pytest.raises(InputError, match=sentence) as found:
        check_mix(mix)
    assert found.value.remedy


def test_a_grid_has_both_pictures_in_its_corners_and_an_even_mix_where_both_are_full():
    cells = [coefficients(m) for m in grid(Mix((X,), (Source(W1), Source(W2, on=False), Source(W1)), 0.2))]
    assert len(cells) == GRID * GRID
    assert [cells[k] for k in (0, 4, 20, 24)] == [(0.0, 1.0, 0.0, 0.0), (0.0, 0.5, 0.0, 0.5), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)]
    assert [m.alpha for m in strip(Mix((X,), (Source(W1),)), 5)] == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(InputError, match="only one is on"):
        grid(Mix((X,), (Source(W1),)))


def test_a_board_in_a_file_is_read_back_and_never_believed():
    mix = Mix((X, W2), (Source(W1, weight=-0.5), Source(words="at night", on=False)), 0.25)
    assert read_names(json.loads(json.dumps(as_names(mix)))) == as_names(mix)
    wild = {**as_names(mix), "alpha": 7}
    assert read_names(wild)["alpha"] == 1.0
    for broken in ({**wild, "alpha": float("nan")}, {**wild, "subjects": ["../etc/passwd"]}, {"alpha": 1}, [], None, "board"):
        with pytest.raises(InputError, match="cannot be read"):
            read_names(broken)


def test_several_photos_are_attended_side_by_side_and_a_photo_given_twice_changes_nothing():
    own, other = vectors(2)
    assert near(subject_semantics([own]), own) and near(subject_semantics([own, own]), own)
    assert near(subject_semantics([own, other]), subject_semantics([other, own]))


def test_a_film_goes_there_and_back():
    frames = [torch.full((16, 16, 3), 40 * k, dtype=torch.uint8).numpy() for k in range(5)]
    with Image.open(io.BytesIO(film(frames))) as gif:
        shades = []
        for k in range(gif.n_frames):
            gif.seek(k)
            shades.append(gif.convert("RGB").getpixel((9, 9))[0])
    assert shades == [0, 40, 80, 120, 160, 120, 80, 40]


def test_advice_says_which_way_to_move_only_when_the_subject_is_lost():
    mix = Mix((X,), (Source(W1), Source(W2, weight=0.2)), 0.9)
    assert advice(mix, 0.8, (0.3, 0.2), 2.0, 0.45) == ""
    assert "more like reference 1 than like your subject" in advice(mix, 0.65, (0.8, 0.2), 2.0, 0.45)
    assert "Move alpha or reference 1's weight down" in advice(mix, 0.3, (0.2, None), 2.0, 0.45)
    assert "Keep the subject" in advice(replace(mix, alpha=0.1), 0.3, (None, None), 2.0, 0.45)


# on the miniature's weights


@pytest.fixture(scope="module")
def photos(assistant):
    return [subject.photo for subject in assistant.subjects]


def drawn(assistant, *mixes: Mix, settings: Settings = QUICK, film: bool = False) -> tuple[list, MixReply]:
    *events, reply = assistant.mix(MixRequest(mixes, settings, film), threading.Event())
    return events, reply


def pixels_of(png: bytes) -> torch.Tensor:
    return torch.tensor(list(Image.open(io.BytesIO(png)).convert("RGB").tobytes()), dtype=torch.int16)


@pytest.mark.slow
def test_a_batch_draws_what_each_would_be_alone(assistant, photos):
    mix = Mix((photos[0],), (Source(photos[1]), Source(photos[2])), 0.5)
    cells = (replace(mix, alpha=0.0), mix, replace(mix, alpha=1.0))
    events, together = drawn(assistant, *cells, film=True)
    assert [type(e) for e in events] == [Progress, Progress]
    assert together.film.startswith(b"GIF89a")
    for cell, one in zip(cells, together.pictures):
        alone = drawn(assistant, cell)[1].pictures[0]
        assert (pixels_of(alone.png) - pixels_of(one.png)).abs().max() <= 2  # the order of sums in a batch is another
    assert (pixels_of(together.pictures[0].png) - pixels_of(together.pictures[2].png)).abs().max() > 20


@pytest.mark.slow
def test_a_few_steps_are_the_sketch(assistant, photos):
    events, reply = drawn(assistant, Mix((photos[0],)), settings=Settings(seed=5, steps=9))
    assert [type(e) for e in events] == [Sketch] + [Progress] * 9 and not reply.stopped
    several, _ = drawn(assistant, Mix((photos[0],)), Mix((photos[1],)), settings=Settings(seed=5, steps=9))
    assert len(several[0].pngs) == 2
    quick = drawn(assistant, Mix((photos[0],)), settings=Settings(seed=5, steps=4, preview_every=0))[1].pictures[0]
    assert torch.equal(pixels_of(events[0].pngs[0]), pixels_of(quick.png))


def test_alpha_1_draws_the_picture_that_f_of_w_draws(assistant, photos, monkeypatch):
    monkeypatch.setattr(assistant.image_generator, "swap_subject", False)
    *_, reply = assistant.respond(Request("", photos[0], like=photos[1], settings=QUICK), threading.Event())
    assert isinstance(reply, Reply)
    one = drawn(assistant, Mix((photos[0],), (Source(photos[1]),), 1.0))[1].pictures[0]
    assert (pixels_of(reply.png) - pixels_of(one.png)).abs().max() <= 2


@pytest.mark.slow
def test_a_reference_brings_its_place_and_x_s_subject_stands_in_it(assistant, photos, monkeypatch):
    read = lambda seen: assistant.vision.attributes.read(seen.patches, seen.semantics)  # noqa: E731

    def mixed(swap: bool):
        monkeypatch.setattr(assistant.image_generator, "swap_subject", swap)
        one = drawn(assistant, Mix((photos[0],), (Source(photos[6]),), 1.0), settings=Settings(steps=20, seed=3))[1].pictures[0]
        return read(assistant.image_generator.look(pixels([Image.open(io.BytesIO(one.png))])))

    (x, w), swapped, plain = (read(assistant.features.known(photos[k])) for k in (0, 6)), mixed(True), mixed(False)
    assert x.place != w.place and swapped.place == plain.place == w.place
    assert swapped.subject.split(" with ")[0] == x.subject.split(" with ")[0] != plain.subject.split(" with ")[0]


def test_a_picture_carries_its_whole_board_and_how_near_it_is(assistant, photos):
    mix = Mix((photos[0], photos[3]), (Source(photos[1], weight=0.5), Source(words="on the beach at night")), 0.9)
    one = drawn(assistant, mix)[1].pictures[0]
    kept = json.loads(Image.open(io.BytesIO(one.png)).text["assistant"])
    assert kept["board"] == as_names(mix) and kept["seed"] == 5 and kept["board"]["subjects"] == [photos[0].sha256, photos[3].sha256]
    assert len(one.sources) == 2 and all(0 <= v <= 1 for v in (one.subject, *one.sources))
    assert drawn(assistant, mix)[1].pictures[0].png == one.png


def test_words_mean_the_same_each_time_and_what_asks_for_no_picture_is_refused(assistant, photos, monkeypatch):
    mix = Mix((photos[0],), (Source(words="on the beach at night"),), 1.0)
    without, with_words = drawn(assistant, replace(mix, alpha=0.0), mix)[1].pictures
    assert with_words.sources[0] > without.sources[0]  # it looks more like what H(s) says
    assert drawn(assistant, replace(mix, alpha=0.0), mix)[1].pictures[1].png == with_words.png
    monkeypatch.setattr(assistant.language, "stream", lambda *args, **more: iter(()))  # an answer in words only
    with pytest.raises(InputError, match="“thank you” does not say what to draw"):
        drawn(assistant, replace(mix, sources=(Source(words="thank you"),)))


@pytest.mark.slow
def test_stopping_ends_the_batch(assistant, photos):
    cancel, steps = threading.Event(), 0
    for event in assistant.mix(MixRequest(strip(Mix((photos[0],), (Source(photos[1]),))), Settings(seed=1, steps=100)), cancel):
        steps += isinstance(event, Progress)
        cancel.set()
    assert event.stopped and steps < 10


def test_e_of_all_cells_is_projected_once(assistant, photos):
    decoder, patches = assistant.decoder, assistant.features.see(photos[0]).patches
    context = AttentionContext({PATCHES: patches}, {})
    context.begin((BatchRow("one", tokens=PATCHES),), images=25)
    layer, attn = next((n, m) for n, m in decoder.unet.named_modules() if n.endswith("attn2"))
    key, _ = context.key_value(layer, attn, (PATCHES,))
    assert key.shape[0] == 25 and key.stride(0) == 0  # one copy, seen by all


def test_two_pictures_in_a_message_are_answered_as_the_board_draws_them(assistant, photos):
    mix = Mix((photos[0],), (Source(photos[1]),), 0.8)
    first, *_, reply = assistant.respond(Request("this like that", photos[0], settings=QUICK, mix=mix, say="As you like."), threading.Event())
    assert isinstance(reply, Reply) and first == Words("As you like.") and reply.text == "As you like." and 0 <= reply.likeness["reference"] <= 1
    assert torch.equal(pixels_of(reply.png), pixels_of(drawn(assistant, mix)[1].pictures[0].png))
    *_, again = assistant.respond(Request("", photos[0], settings=QUICK, redraw=reply.metadata), threading.Event())
    assert (pixels_of(again.png) - pixels_of(reply.png)).abs().max() <= 2


def test_the_base_model_draws_a_reference_from_words(assistant):
    one = assistant.imagine("A red fox on the beach", Settings(seed=3, steps=2), threading.Event())
    assert Image.open(io.BytesIO(one)).size == (assistant.config.decoder.image_size,) * 2
    assert assistant.imagine("A red fox on the beach", Settings(seed=3, steps=2), threading.Event()) == one
    with pytest.raises(InputError, match="no words"):
        assistant.imagine("  ", Settings(seed=3), threading.Event())
