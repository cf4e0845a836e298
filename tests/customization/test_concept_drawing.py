"""Concepts in the engine: a request that names one is drawn with it, says so, and can be drawn again; lessons behind the protocol."""

import base64
import io
import json
import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image

from assistant.customization.infusion_sampling import prepare_infusion
from assistant.customization.concept_library import IcoConcept, InfusionConcept
from assistant.customization.concept_prompt import caption
from assistant.errors import ConceptError, InputError
from assistant.requests import Progress, Reply, Request, Settings, TrainingSpec, Turn, Words
from assistant.world.scene import KINDS
from assistant.plan import Plan, named, plan_in
from assistant.presets import MINIATURE
from assistant.session.uploads import read_photo
from tests.photos import photos


@pytest.fixture(scope="module")
def engine(assistant):
    return assistant


@pytest.fixture(scope="module")
def library(engine, tmp_path_factory):
    """Two concepts with residuals that show."""
    library = engine.trainer.open(tmp_path_factory.mktemp("owner") / "concepts")
    for number, (name, noun) in enumerate((("tom", "cat"), ("mugsy", "mug"))):
        g = torch.Generator().manual_seed(number)
        residuals = {layer: torch.randn(1, width, generator=g) for layer, width in library.layers.items()}
        library.add(InfusionConcept(name, noun, engine.trainer.identity, residuals, 7))
    return library


def asked(engine, library, text: str, **settings) -> tuple[str, Reply, list]:
    events = list(engine.respond(Request(text, settings=Settings(seed=3, steps=3, preview_every=1, **settings), library=library), threading.Event()))
    return "".join(e.delta for e in events if isinstance(e, Words)), events[-1], [e for e in events if isinstance(e, Progress)]


@pytest.mark.slow
def test_a_request_that_names_concepts_is_drawn_with_them_and_says_so(engine, library):
    words, reply, progress = asked(engine, library, "please draw <Tom> with <mugsy> on the beach", strengths={"mugsy": 0.5})
    assert words == reply.text == "Drawn from words, with <tom> and <mugsy> at 0.5: “a cat with a mug on the beach”."
    assert [p.step for p in progress] == [1, 2, 3] and progress[0].preview
    about = json.loads(Image.open(io.BytesIO(reply.png)).text["assistant"])
    assert about["method"] == "Infusion" and about["seed"] == 3 and about["read"] == "a cat with a mug on the beach"
    assert [(c["name"], c["strength"], c["steps"]) for c in about["concepts"]] == [("tom", 1.0, 7), ("mugsy", 0.5, 7)]
    assert asked(engine, library, "please draw <Tom> with <mugsy> on the beach", strengths={"mugsy": 0.5})[1].png == reply.png
    assert asked(engine, library, "please draw <Tom> with <mugsy> on the beach")[1].png != reply.png
    mask = base64.b64decode(reply.metadata["mask"])  # where its word was heard, beside the picture
    assert len(mask) == 64 and min(mask) == 0 and max(mask) == 255


@pytest.mark.slow
def test_at_no_strength_it_is_the_base_model_bit_for_bit_and_the_base_model_is_not_changed(engine, library):
    before = {n: p.clone() for n, p in engine.trainer.base.unet.named_parameters()}
    none = asked(engine, library, "<tom> on the beach", strengths={"tom": 0.0})[1]
    some = asked(engine, library, "<tom> on the beach", strengths={"tom": 2.0})[1]
    plain = InfusionConcept("plain", "cat", engine.trainer.identity, {k: torch.zeros(1, w) for k, w in library.layers.items()})
    library.replace(plain)
    same = asked(engine, library, "<plain> on the beach")[1]
    library.delete("plain")
    pixels = [Image.open(io.BytesIO(r.png)).tobytes() for r in (none, same, some)]
    assert pixels[0] == pixels[1] != pixels[2]
    assert all(torch.equal(p, before[n]) for n, p in engine.trainer.base.unet.named_parameters())


def test_what_cannot_be_drawn_is_said_and_a_photo_is_left_aside_openly(engine, library):
    asked_of_none = Request("draw <tim>", settings=Settings(seed=1, steps=1), library=library)
    assert list(engine.respond(asked_of_none, threading.Event()))[-1].text  # a word like any other
    with pytest.raises(ConceptError, match="strength of <tom> is 3; it can be 0 to 2"):
        asked(engine, library, "draw <tom>", strengths={"tom": 3.0})
    events = engine.respond(Request("<tom> at night", photos("dog", 1)[0], settings=Settings(seed=1, steps=1), library=library), threading.Event())
    assert "Your picture was left aside" in list(events)[-1].text
    stop = threading.Event()
    stop.set()
    assert list(engine.respond(Request("<tom>", settings=Settings(seed=1, steps=4), library=library), stop))[-1].stopped


def test_a_talk_goes_on_from_what_was_drawn_and_its_chips_and_redraws_keep_the_concept(engine, library):
    def said(text, *turns, **more):
        request = Request(text, history=turns, settings=Settings(seed=3, steps=1, preview_every=0), library=library, **more)
        return list(engine.respond(request, threading.Event()))[-1]

    def kept(text, reply):
        return Turn(text, reply.text, None, reply.png is not None, plan_in(reply.metadata))

    first = said("Tom at the beach with a red hat")
    assert first.metadata["read"] == "a cat at the beach with a red hat" and first.plan == plan_in(first.metadata) and first.plan.worn == ("with a red hat",)
    turns = [kept("Tom at the beach with a red hat", first)]
    second = said("now in the snow", *turns)
    assert second.metadata["read"] == "a cat with a red hat in the snow" and second.metadata["concepts"][0]["name"] == "tom"
    turns.append(kept("now in the snow", second))
    told = said("what did you change?", *turns)
    assert told.png is None and told.text == "I changed the place from the beach to the snow. The rest stayed as it was."
    turns.append(kept("what did you change?", told))
    gone = said("without the red hat", *turns, plan=replace(second.plan, worn=()))  # a chip that was tapped away
    assert gone.metadata["read"] == "a cat in the snow"
    again = said("now in the snow", *turns[:1], redraw=second.metadata)
    assert again.png == second.png and again.plan == second.plan
    early = said("tom at the beach with a red hat", redraw=first.metadata)
    assert early.metadata["read"] == first.metadata["read"]
    assert not said("thanks!", *turns).png and said("and the robot too", *turns).metadata["read"] == "a cat with a red hat beside a robot in the snow"


def test_lambda_in_a_sentence_is_a_setting_of_that_turn_and_never_in_the_prompt(engine, library):
    reply = asked(engine, library, "<tom> in the snow, lambda -2")[1]
    assert reply.settings.imagination == reply.metadata["imagination"] == -2 and reply.metadata["read"] == "a cat in the snow"
    assert "Lambda (λ) was left aside" in reply.text
    width = engine.config.decoder.text["hidden_size"]
    zeros = {layer: (torch.zeros(inner, width), torch.zeros(inner, width)) for layer, inner in library.layers.items()}
    library.add(IcoConcept("rex", "cat", engine.trainer.identity, torch.full((2, width), 0.01), zeros, "T2 E"))
    reply = asked(engine, library, "rex in the snow, lambda = 1.5")[1]
    library.delete("rex")
    assert reply.text.startswith("Drawn from words, with <rex>: “a <rex> in the snow”. So that your words count") and "(λ = 1.5)" in reply.text
    mask = base64.b64decode(reply.metadata["mask"])
    assert len(mask) == 8 * 8 and max(mask) > 128 > min(mask)
    assert reply.settings.imagination == 1.5 and reply.plan.place == "in the snow" and "V*" not in json.dumps(reply.metadata)
    with pytest.raises(InputError, match=r"lambda \(likeness or imagination\) is 5; it can be -2 to 2"):
        asked(engine, library, "<tom> in the snow, lambda 5")


def test_the_language_model_is_not_told_of_what_was_learned(engine, library, monkeypatch):
    read, build = [], engine.language.builder.build
    monkeypatch.setattr(engine.language.builder, "build", lambda turns, *rest: (read.append(turns), build(turns, *rest))[1])
    history = (Turn("on the beach", "Here it is.", engine.subjects[0].photo, True, Plan("draw", "red cat", "beach")),
               Turn("<tom> at night", "Drawn from words.", None, True, Plan("draw", "<tom>", light="at night")))
    stop = threading.Event()
    stop.set()
    assert list(engine.respond(Request("draw a dog", history=history, library=library), stop))[-1].stopped
    assert [user for user, *_ in read[0]] == ["on the beach"]


@pytest.mark.slow
def test_likeness_is_to_the_photos_a_concept_was_learned_from_if_they_are_kept(engine, library):
    def likeness(**more):
        request = Request("<tom> at night", settings=Settings(seed=3, steps=3, preview_every=0), library=library, **more)
        return list(engine.respond(request, threading.Event()))[-1].likeness

    itself = list(engine.respond(Request("<tom> at night", settings=Settings(seed=3, steps=3, preview_every=0), library=library), threading.Event()))[-1].png
    asked_for = []
    near = likeness(examples=lambda name: (asked_for.append(name), (read_photo(itself),))[1])
    assert near["subject"] > 0.99 and asked_for == ["tom"]
    assert likeness(examples=lambda name: photos("fish", 2))["subject"] < near["subject"]
    assert likeness() == likeness(examples=lambda name: ()) == {}


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
    assert engine.trainer.advise(cats).noun == "cat" and engine.trainer.advise(()).noun == ""
    said = " ".join(engine.trainer.advise((cats[0], cats[0], cats[1], mug)).warnings)
    assert "Pictures 1 and 2 are almost the same" in said and "picture 4 more like a mug" in said
    tiny = io.BytesIO()
    Image.open(io.BytesIO(cats[0].png)).resize((40, 60)).save(tiny, "PNG")
    said = " ".join(engine.trainer.advise((read_photo(tiny.getvalue()),)).warnings)
    assert "1 picture is few" in said and "Picture 1 is smaller than 128 pixels" in said


@pytest.mark.slow
def test_a_lesson_goes_on_from_its_state_and_puts_a_usable_concept_into_the_library(engine, library):
    task = TrainingSpec("cat-1", "cat", photos("cat", 2), options={"steps": 4, "batch": 1})
    whole, first = engine.trainer.begin(task), engine.trainer.begin(task)
    losses = [whole.advance() for _ in range(4)]
    part = [first.advance() for _ in range(2)]
    second = engine.trainer.begin(task, first.state())
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
    found = engine.trainer.begin(TrainingSpec("a", "cat", photos("cat", 2), options={"steps": 1})).learner.masks
    course = engine.trainer.begin(TrainingSpec("a", "cat", photos("cat", 2), (None, read_photo(half.getvalue())), options={"steps": 1}))
    painted = course.learner.masks
    assert torch.equal(painted[0], found[0]) and painted[1, 0, :7].max() == 0 and painted[1, 0, 9:].min() == 1
    assert course.concept().recipe["painted"] == 1


@pytest.mark.parametrize(("change", "words"), [({"kind": "magic"}, "way of learning called 'magic'"), ({"options": {"stepz": 3}}, "no option 'stepz'"),
                                               ({"noun": ""}, "class noun")])
def test_what_cannot_be_learned_is_said(engine, change, words):
    with pytest.raises(ConceptError, match=words):
        engine.trainer.begin(replace(TrainingSpec("a", "cat", photos("cat", 1), options={"steps": 2}), **change))


def test_a_name_learned_by_both_methods_slides_alone_and_stands_beside_others(engine, library):
    width = engine.config.decoder.text["hidden_size"]
    zeros = {layer: (torch.zeros(inner, width), torch.zeros(inner, width)) for layer, inner in library.layers.items()}
    library.add(InfusionConcept("max", "cat", engine.trainer.identity, library.get("tom").residuals))
    library.replace(IcoConcept("max", "cat", engine.trainer.identity, torch.full((2, width), 0.01), zeros, "T2 E"))
    alone, beside = (asked(engine, library, f"{words}, lambda -2")[1].metadata for words in ("<max> on the beach", "<max> with <mugsy>"))
    library.delete("max")
    assert (alone["method"], alone["said"], alone["concepts"][0]["kind"]) == ("ICO + DCI", {"imagination": -2.0}, "ico")
    assert beside["method"] == "Infusion" and "said" not in beside  # it has no slider


def test_concepts_that_share_a_prompt_act_more_gently(base) -> None:
    zeros = {name: torch.zeros(1, attn.inner_dim) for name, attn in base.cross_layers().items()}
    nouns = {"tom": "cat", "max": "fox"}

    def acts(prompt: str, **strengths: float) -> list[float]:
        made = prepare_infusion(base, prompt, nouns, lambda name: InfusionConcept(name, nouns[name], "b", zeros), 3.0, strengths, together=0.35)
        return [round(float(use.where.max()), 3) for use in made.context.controls[0].uses]

    assert acts("a <tom> in the snow") == acts("<tom> and <tom>")[:1] == [1.0]
    assert acts("a <tom> and a <max>") == [0.35, 0.35] and acts("a <tom> and a <max>", max=2.0) == [0.35, 0.7]
