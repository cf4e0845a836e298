"""The language of the drawn world: what is said can be read back, varies, keeps to the rules and to good grammar."""

import json
import random
import re
from dataclasses import replace

import pytest

from assistant import plan
from assistant.errors import InputError
from assistant.world import answers, captions, dialogues, free_wording, scene as world, user_requests, vocabulary
from assistant.world.answers import Talk
from assistant.world.captions import attributes, read, read_reply

SLIPS = re.compile(r"\ba [aeio]|\ba u[mn]b|\ban [bcdfgjklmnpqrstvwyz]|  |[{}]| [,.;:!?]|,,|\.\.|\ba "
                   r"(?:sunglasses|mountains)\b"
                   r"|\b(?:clouds|mountains) is\b|\b(\w+) \1\b|[.!?] [a-z]")


@pytest.fixture(scope="module")
def talks():
    rng = random.Random(5)
    return [dialogues.dialogue(rng) for _ in range(1500)]


@pytest.mark.slow
def test_replies_name_exactly_what_is_drawn(talks):
    drawn = [e for d in talks for e in d.exchanges if e.target is not None][:1000]
    assert len(drawn) > 500
    for e in drawn:
        assert read_reply(e.reply) == attributes(e.target), e


def test_captions_never_contradict_the_scene():
    rng = random.Random(6)
    for _ in range(1500):
        scene = world.sample_scene(rng, world.sample_individual(rng), None)
        line, truth = captions.caption(scene, rng), attributes(scene)
        assert len(line.split()) <= 30 and not SLIPS.search(line), line
        found = read(line)
        assert found["kind"] == scene.individual.kind
        for key, value in found.items():
            assert set(value) <= set(truth[key]) if key == "accessories" else truth.get(key,
                scene.individual.second) == value, line


def test_reading_attaches_colours_to_their_nouns():
    assert read("a red cat with white stripes and a blue hat") == {
        "kind": "cat", "colour": "red", "pattern": "striped", "second": "white", "accessories": (("hat", "blue"),)}
    assert read("checked green and yellow mug with an orange bow tie, crimson umbrella, on Mars by moonlight") == {
        "kind": "mug", "colour": "green", "second": "yellow", "pattern": "checked", "context": "space",
            "light": "night",
        "accessories": (("bow tie", "orange"), ("umbrella", "red"))}
    assert read("I can't draw a dog; here is a black car without the hat, in pencil") == {
        "kind": "car", "colour": "black", "style": "pencil"}
    assert read("give it a gray hat as pixel art, jumping") == {
        "accessories": (("hat", "grey"),), "style": "pixel", "pose": "jumping"}


def test_every_synonym_is_read_as_its_own_value():
    for name, said in (("context", vocabulary.CONTEXT_SAID), ("light", vocabulary.LIGHT_SAID),
                       ("style", vocabulary.STYLE_SAID), ("pose", vocabulary.POSE_SAID)):
        for value, phrases in said.items():
            for phrase in phrases:
                assert read(f"draw it {phrase}").get(name) == value, phrase


def test_variety(talks):
    replies = [e.reply for d in talks for e in d.exchanges if e.target is not None]
    wishes = [e.user for d in talks for e in d.exchanges if e.target is not None]
    rng = random.Random(8)
    while len(replies) < 2000:
        drawn = [e for e in dialogues.dialogue(rng).exchanges if e.target is not None]
        replies, wishes = replies + [e.reply for e in drawn], wishes + [e.user for e in drawn]
    assert len(set(replies[:2000])) > 1980
    assert len(set(wishes[:2000])) > 1700  # "surprise me" and "again" come back, as they do in life
    assert len({d.exchanges for d in talks}) > 0.95 * len(talks)
    assert len(set(vocabulary.MISSING_THINGS)) >= 600 and len(vocabulary.MISSING_PLACES) >= 60 and len(vocabulary.MISSING_STYLES) >= 60


def test_held_out_rule(talks):
    for d in talks:
        scenes = [e.target for e in d.exchanges if e.target] + ([d.photo] if d.photo else [])
        assert not any(world.combination_held_out(s) or world.individual_held_out(s.individual) for s in scenes)
    rng = random.Random(9)
    held = [d for d in (dialogues.dialogue(rng, held_out=True) for _ in range(100)) if d.photo]
    assert held and all(world.individual_held_out(d.photo.individual) for d in held)


def test_the_subject_stays_and_no_photo_draws_nothing(talks):
    assert 0.06 < sum(d.photo is None for d in talks) / len(talks) < 0.18
    for d in talks:
        for e in d.exchanges:
            assert e.target is None or (d.photo is not None and e.target.individual == d.photo.individual)


def test_follow_ups_change_only_what_was_asked():
    rng, seen = random.Random(10), 0
    for _ in range(200):
        base = world.sample_scene(rng, world.sample_individual(rng))
        wish = user_requests.order(rng, base, first=False)
        made = dialogues.drawn(rng, Talk.about(base).after(base, ""), base, wish, held_out=True).target
        for name in ("context", "light", "style", "pose"):
            assert getattr(made, name) == (getattr(wish, name) or getattr(base, name)), wish
        if not wish.wear:
            assert made.accessories == tuple(a for a in base.accessories if a.name not in wish.remove)
        else:
            name, colour = wish.wear[-1]
            assert any(a.name == name and colour in (None, a.colour) for a in made.accessories)
            seen += 1
    assert seen


def test_lengths_and_grammar(talks):
    for d in talks:
        assert 1 <= len(d.exchanges) <= 4
        for e in d.exchanges:
            assert len(e.user.split()) <= 72 and (e.user.strip() or e.plan.act == "ask")
            assert len(e.reply.split()) <= 64 and e.reply[-1] in ".!?。" and not SLIPS.search(e.reply), e.reply


def test_same_seed_same_talk():
    assert dialogues.dialogue(random.Random(3)) == dialogues.dialogue(random.Random(3))


def test_wishes_add_to_what_stands_and_can_be_taken_back():
    """Each drawn plan differs from what was seen before only in what can be told, or is something seen before."""
    rng, back = random.Random(12), 0
    for _ in range(400):
        talk = dialogues.dialogue(rng, turns=4)
        seen = [captions.plan_of(talk.photo)] if talk.photo else []
        for e in talk.exchanges:
            assert (e.target is None) == (e.plan.act != "draw")
            if e.target is None:
                continue
            assert e.plan == captions.plan_of(e.target) == plan.read_line(e.plan.written()) == plan.of_json(e.plan.as_json())
            assert e.plan.subject == seen[0].subject
            back += e.plan in seen[:-1]
            seen.append(e.plan)
    assert back > 20


def test_what_changed_is_told_from_two_plans():
    before = plan.Plan("draw", "red fox", "garden", "day", "flat", "standing", ("red hat", "blue balloon"))
    after = plan.Plan("draw", "red fox", "snow", "day", "flat", "standing", ("green hat", "white scarf"), "blue dog with red spots")
    assert plan.told(before, after) == ("I changed the place from garden to snow, changed the red hat to a green hat, took off the blue balloon, "
                                        "added a white scarf and put a blue dog with red spots beside it. The rest stayed as it was.")
    assert plan.told(after, after).startswith("Nothing") and plan.told(replace(before, place="in garden"), before).startswith("Nothing")
    assert plan.told(None, before) == "It is the first picture that I drew for you: a red fox, standing, wearing a red hat and a blue balloon (garden, day, flat)."


def test_a_plan_is_read_from_a_chat_models_reply_and_a_bad_one_says_why():
    said = 'Sure! {"act": "draw", "place": "a foggy harbour", "worn": ["red hat"], "mood": 3} Here you go.'
    assert plan.read_json(said) == (plan.Plan("draw", place="a foggy harbour", worn=("red hat",)), said.index("}") + 1)
    assert plan.read_line("answer; changes") == plan.Plan("answer", about="changes") and plan.read_line("no plan") is None
    untidy = plan.of_json({"act": "draw", "place": "sea \ud83d", "worn": ["", " red  hat "], "other": "none"})
    assert untidy == plan.Plan("draw", place="sea", worn=("red hat",))
    for bad, why in (("I would love to.", "JSON"), ('{"act": "dance"}', "dance"), ('{"act": "draw", "place": 7}', "place"), ('{"act": "draw", "place": "' + "x" * 200 + '"}', "place"),
                     ('{"act":' + "[" * 20000, "broken"), ('{"act": "draw", "worn": {"hat": "red"}}', "worn"), ('{"act": "draw", "worn": ' + json.dumps(["hat"] * 9) + "}", "worn")):
        with pytest.raises(InputError, match=why):
            plan.read_json(bad)


def _asked(table, talk):
    """Turns in words whose wording is of one table: of each, the text is the slots that were filled."""
    rng = random.Random(20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(free_wording, "say", lambda rng, name, *args, **slots: (name, slots))
        patch.setattr(free_wording, "typed", lambda rng, said, dress: (said,))
        found = [replace(said, text=said.text[1]) for said in (free_wording.in_words(rng, talk) for _ in range(3000)) if said.text and said.text[0] == table]
    assert found, table
    return found


@pytest.mark.slow
def test_what_was_is_told_from_what_was_seen():
    one = world.Individual("fox", "red", "white", "striped", "dots", 0, 1.0, 1.0, 1.0, 1.0)
    photo = world.Scene(one, "garden", "day", "flat", "standing", (world.Accessory("sunglasses", "blue"),), 0.65, 0.5, False, 1)
    first = world.Scene(one, "castle", "night", "pencil", "jumping", (world.Accessory("hat", "red"),), 0.65, 0.5, False, 1)
    now = world.Scene(one, "beach", "sunset", "neon", "resting", (world.Accessory("crown", "pink"),), 0.65, 0.5, False, 1)
    talk = Talk.about(photo).after(first, "").after(now, "")
    assert [a.name for a in talk.lost] == ["sunglasses", "hat"]
    for table, told in (("ask_before_place", "castle"), ("ask_before_light", "night"), ("ask_before_style", "pencil"), ("ask_before_pose", "jumping"), ("ask_before_worn", "red hat")):
        assert all(told in said.answer and (said.act, said.about) == ("answer", "history") for said in _asked(table, talk)), table
    for table, told in (("ask_who_chose", "beach"), ("ask_why_style", "Neon"), ("ask_why_light", "sunset"), ("ask_why_worn", "pink crown")):
        assert all(told in said.answer and (said.act, said.about) == ("answer", "reason") for said in _asked(table, talk)), table
    assert all("castle" in said.answer and "red hat" in said.answer for said in _asked("ask_first_picture", talk))
    assert all("garden" in said.answer and "blue sunglasses" in said.answer for said in _asked("ask_photo", talk))
    for said in _asked("ask_gone", talk):
        assert (("pink crown" in said.answer and "red hat" in said.answer) if said.text["worn"] == "hat" else "blue sunglasses" in said.answer), said
    assert all("once more" in said.answer and said.offer.plea == "again" for said in _asked("ask_likeness", talk))
    assert all(said.text["worn"] in said.answer and said.text["worn"] != "crown" and said.about == "worn" for said in _asked("remove", talk))


def test_remarks_ask_for_nothing_and_facts_of_the_app_are_answered():
    one = world.Individual("mug", "teal", "white", "plain", "dots", 0, 1.0, 1.0, 1.0, 1.0)
    talk = Talk.about(world.Scene(one, "garden", "day", "flat", "standing", (), 0.65, 0.5, False, 1))
    assert all((said.act, said.about) == ("chat", "smalltalk") for said in _asked("remark", talk))
    assert all((said.act, said.about) == ("decline", "other") for said in _asked("leave", talk))
    rng, tables = random.Random(22), {phrase: table for table in ("ask_private", "ask_cost", "ask_time", "ask_files") for phrase in free_wording.PHRASES[table]}
    told = {"ask_private": ("this machine",), "ask_cost": ("free", "nothing"), "ask_time": ("second",), "ask_files": ("PNG",)}
    for text, answer in (answers.fact(rng) for _ in range(300)):
        assert any(word in answer for word in told[tables[text]]), (text, answer)
    for said in _asked("ask_styles", talk):
        assert all(style.lower() in said.answer.lower() for style in (said.text["style1"], said.text["style2"])), said


def test_phrases_are_whole_and_said_once():
    for table, phrases in free_wording.PHRASES.items():
        assert len({p.lower() for p in phrases}) == len(phrases), table
        assert all(p == p.strip() and "  " not in p and len(p.split()) <= 30 for p in phrases), table


def test_free_wishes_do_not_contradict_themselves_and_a_place_or_style_that_is_not_there_becomes_the_nearest():
    rng, seen = random.Random(21), set()
    for _ in range(1500):
        base = world.sample_scene(rng, world.sample_individual(rng))
        wish = free_wording.wish(rng, Talk.about(base))
        assert not {name for name, _ in wish.wear} & set(wish.remove), wish
        if wish.missing_is in ("place", "style"):
            known = {place.split(" ", 1)[1]: near for place, near in vocabulary.MISSING_PLACES.items()} if wish.missing_is == "place" else vocabulary.MISSING_STYLES
            assert known[wish.missing] == (wish.context or wish.style) and wish.missing in wish.text.lower(), wish
            seen.add(wish.missing_is)
    assert seen == {"place", "style"}
