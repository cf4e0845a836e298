"""Concepts in the engine: a request that names one is drawn with it, says so, and can be drawn again; lessons behind the protocol."""

from __future__ import annotations

import io
import json
import random
import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image

from assistant.concepts.answer import wish_of
from assistant.concepts.file import Concept
from assistant.concepts.prompt import caption, named
from assistant.errors import ConceptError, NotFoundError
from assistant.messages import Progress, Reply, Request, Settings, Task, Turn, Words
from assistant.miniature.renderer import render
from assistant.miniature.world import KINDS, sample_individual, sample_scene
from assistant.pipeline import load
from assistant.presets import MINIATURE
from assistant.session.intake import read_photo


def photos(kind: str, count: int, seed: int = 4):
    rng = random.Random(seed)
    one, found = replace(sample_individual(rng, held_out=True), kind=kind), []
    for _ in range(count):
        out = io.BytesIO()
        render(sample_scene(rng, one, None), 128).image.save(out, "PNG")
        found.append(read_photo(out.getvalue()))
    return tuple(found)


@pytest.fixture(scope="module")
def engine():
    return load("miniature", "cpu")


@pytest.fixture(scope="module")
def library(engine, tmp_path_factory):
    """Two concepts with residuals that show."""
    library = engine.teacher.open(tmp_path_factory.mktemp("owner") / "concepts")
    for number, (name, noun) in enumerate((("tom", "cat"), ("mugsy", "mug"))):
        g = torch.Generator().manual_seed(number)
        residuals = {layer: torch.randn(1, width, generator=g) for layer, width in library.layers.items()}
        library.add(Concept(name, noun, engine.teacher.identity, residuals, 7))
    return library


def asked(engine, library, text: str, **settings) -> tuple[str, Reply, list]:
    events = list(engine.respond(Request(text, settings=Settings(seed=3, steps=3, preview_every=1, **settings), library=library), threading.Event()))
    return "".join(e.delta for e in events if isinstance(e, Words)), events[-1], [e for e in events if isinstance(e, Progress)]


def test_a_request_that_names_concepts_is_drawn_with_them_and_says_so(engine, library):
    words, reply, progress = asked(engine, library, "please draw <Tom> with <mugsy> on the beach", strengths={"mugsy": 0.5})
    assert words == reply.text == "Drawn from words, with <tom> and <mugsy> at 0.5: “a cat with a mug on the beach”."
    assert [p.step for p in progress] == [1, 2, 3] and progress[0].preview
    about = json.loads(Image.open(io.BytesIO(reply.png)).text["assistant"])
    assert about["method"] == "Infusion" and about["seed"] == 3 and about["read"] == "a cat with a mug on the beach"
    assert [(c["name"], c["strength"], c["steps"]) for c in about["concepts"]] == [("tom", 1.0, 7), ("mugsy", 0.5, 7)]
    assert asked(engine, library, "please draw <Tom> with <mugsy> on the beach", strengths={"mugsy": 0.5})[1].png == reply.png
    assert asked(engine, library, "please draw <Tom> with <mugsy> on the beach")[1].png != reply.png


def test_at_no_strength_it_is_the_base_model_bit_for_bit_and_the_base_model_is_not_changed(engine, library):
    before = {n: p.clone() for n, p in engine.teacher.base.unet.named_parameters()}
    none = asked(engine, library, "<tom> on the beach", strengths={"tom": 0.0})[1]
    some = asked(engine, library, "<tom> on the beach", strengths={"tom": 2.0})[1]
    plain = Concept("plain", "cat", engine.teacher.identity, {k: torch.zeros(1, w) for k, w in library.layers.items()})
    library.replace(plain)
    same = asked(engine, library, "<plain> on the beach")[1]
    library.delete("plain")
    pixels = [Image.open(io.BytesIO(r.png)).tobytes() for r in (none, same, some)]
    assert pixels[0] == pixels[1] != pixels[2]
    assert all(torch.equal(p, before[n]) for n, p in engine.teacher.base.unet.named_parameters())


def test_what_cannot_be_drawn_is_said_and_a_photo_is_left_aside_openly(engine, library):
    with pytest.raises(NotFoundError, match="no concept <tim>; there are: <mugsy>, <tom>"):
        asked(engine, library, "draw <tim>")
    with pytest.raises(ConceptError, match="strength of <tom> is 3; it can be 0 to 2"):
        asked(engine, library, "draw <tom>", strengths={"tom": 3.0})
    events = engine.respond(Request("<tom> at night", photos("dog", 1)[0], settings=Settings(seed=1, steps=1), library=library), threading.Event())
    assert "Your picture was left aside" in list(events)[-1].text
    stop = threading.Event()
    stop.set()
    assert list(engine.respond(Request("<tom>", settings=Settings(seed=1, steps=4), library=library), stop))[-1].stopped


def test_what_is_added_to_a_concept_goes_on_from_it():
    named_, night, pink = Turn("draw <tom> on the beach", "", drew=True), Turn("now at night", "", drew=True), Turn("hm?", "well")
    photo = Turn("this one", "", photo=photos("cat", 1)[0], drew=True)
    assert wish_of(Request("and with a red hat!", history=(photo, named_, night, pink))) == "draw <tom> on the beach, at night, with a red hat"
    for request in (Request("at night", history=(named_, photo)), Request("what did you change?", history=(named_,)), Request("at night"),
                    Request("at night", photos("cat", 1)[0], (named_,)), Request("at night", history=(replace(named_, drew=False),))):
        assert wish_of(request) == ""


@pytest.mark.parametrize(("wish", "read"), [
    ("draw <tom> on the beach", "a <tom> on the beach"), ("Can you make a red <mugsy> with <owl>?", "a red <mugsy> with an <owl>"),
    ("draw a picture of <tom> next to <owl>", "a picture of a <tom> next to an <owl>"), ("the <owl> and my <tom>", "the <owl> and my <tom>"),
    ("Now put <mugsy> under water!", "a <mugsy> under water"), ("happy <owl> on a mountain", "happy <owl> on a mountain")])
def test_wishes_become_captions(wish, read):
    assert caption(wish, {"tom": "cat", "mugsy": "mug", "owl": "owl"}) == read
    assert named("<a> and < b > and <c-1>") == ("a", "c-1")


def test_advice_names_the_kind_and_what_makes_learning_worse(engine):
    assert MINIATURE.nouns == KINDS
    cats, mug = photos("cat", 3), photos("mug", 1, 5)[0]
    assert engine.teacher.advise(cats).noun == "cat" and engine.teacher.advise(()).noun == ""
    said = " ".join(engine.teacher.advise((cats[0], cats[0], cats[1], mug)).warnings)
    assert "Pictures 1 and 2 are almost the same" in said and "picture 4 more like a mug" in said
    tiny = io.BytesIO()
    Image.open(io.BytesIO(cats[0].png)).resize((40, 60)).save(tiny, "PNG")
    said = " ".join(engine.teacher.advise((read_photo(tiny.getvalue()),)).warnings)
    assert "1 picture is few" in said and "Picture 1 is smaller than 128 pixels" in said


def test_a_lesson_goes_on_from_its_state_and_puts_a_usable_concept_into_the_library(engine, library):
    task = Task("cat-1", "cat", photos("cat", 2), options={"steps": 4, "batch": 1})
    whole, first = engine.teacher.begin(task), engine.teacher.begin(task)
    losses = [whole.advance() for _ in range(4)]
    part = [first.advance() for _ in range(2)]
    second = engine.teacher.begin(task, first.state())
    assert (second.step, second.steps) == (2, 4) and part + [second.advance() for _ in range(2)] == losses
    second.keep(library, second.preview(threading.Event()))
    concept = library.get("cat-1")
    assert concept.steps == 4 and concept.recipe["pictures"] == 2 and Image.open(io.BytesIO(concept.thumbnail)).size == (128, 128)
    assert asked(engine, library, "<cat-1> at night")[1].png
    stop = threading.Event()
    stop.set()
    assert second.preview(stop) is None


def test_what_is_painted_takes_the_place_of_what_was_found(engine):
    half = io.BytesIO()
    Image.linear_gradient("L").resize((200, 200)).point(lambda v: 255 * (v > 127)).save(half, "PNG")
    found = engine.teacher.begin(Task("a", "cat", photos("cat", 2), options={"steps": 1})).learner.masks
    course = engine.teacher.begin(Task("a", "cat", photos("cat", 2), (None, read_photo(half.getvalue())), options={"steps": 1}))
    painted = course.learner.masks
    assert torch.equal(painted[0], found[0]) and painted[1, 0, :7].max() == 0 and painted[1, 0, 9:].min() == 1
    assert course.concept().recipe["painted"] == 1


@pytest.mark.parametrize(("change", "words"), [({"kind": "magic"}, "way of learning called 'magic'"), ({"options": {"stepz": 3}}, "no option 'stepz'"),
                                               ({"noun": ""}, "class noun")])
def test_what_cannot_be_learned_is_said(engine, change, words):
    with pytest.raises(ConceptError, match=words):
        engine.teacher.begin(replace(Task("a", "cat", photos("cat", 1), options={"steps": 2}), **change))
