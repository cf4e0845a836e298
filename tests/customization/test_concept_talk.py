"""A talk about learned concepts: what each turn sets out to do, told from its words and the plan before it. No model is needed."""

from dataclasses import replace

import pytest

from assistant.customization.concept_dialogue import prompt_of, settings_in, understand
from assistant.requests import Photo, Request, Turn
from assistant.plan import Plan, named, parts_of

PHOTO = Photo(b"", 1, 1, "")
KNOWN = ("cat", "dog", "mug", "robot", "owl", "fox", "car")


class Shelf:
    """A library's names and nouns."""

    def __init__(self, **nouns: str) -> None:
        self._nouns = nouns

    def names(self):
        return list(self._nouns)

    def nouns(self):
        return dict(self._nouns)


SHELF = Shelf(tom="cat", mugsy="mug", cat="cat", red="dog")


def meant(text, *history, **more):
    return understand(Request(text, history=history, **more), SHELF, KNOWN)


def talk(*lines):
    """What each line of a talk means, each kept as the session keeps it."""
    found, history = [], []
    for line in lines:
        one = meant(line, *history)
        found.append(one)
        history.append(Turn(line, "", None, one is None or bool(one.prompt), one.plan if one is not None else None))
    return found


@pytest.mark.parametrize(("lines", "prompt"), [
    (("<tom> on the beach", "now in the snow"), "<tom> in the snow"),
    (("<tom> on the beach", "at night", "with a red hat"), "<tom> with a red hat on the beach at night"),
    (("tom with a red hat", "make the hat blue"), "<tom> with a blue hat"),
    (("tom with a red hat", "a blue hat instead"), "<tom> with a blue hat"),
    (("tom with a red hat and a scarf", "take the hat off"), "<tom> with a scarf"),
    (("tom at night", "give him a crown", "by day"), "<tom> with a crown by day"),
    (("tom as a watercolour", "in pixel art please"), "<tom> in pixel art"),
    (("a watercolour of tom in space", "on the moon"), "a watercolour of <tom> on the moon"),
    (("tom in the snow", "and the robot too"), "<tom> and a robot in the snow"),
    (("tom with <mugsy>", "and the robot too", "on a hill"), "<tom> with <mugsy> and a robot on a hill"),
    (("tom with a hat", "how about a robot beside him?"), "<tom> with a hat beside a robot"),
    (("tom", "sleeping", "jumping on the bed", "in the forest at sunset"), "<tom> jumping on the bed in the forest at sunset"),
    (("tom", "happier", "in space"), "<tom> in space, happier"),
    (("tom in the snow", "change the style to pencil"), "<tom> in the snow, pencil"),
    (("tom in the snow", "let him wear a crown", "undo"), "<tom> in the snow"),
    (("tom in the snow", "let him wear a crown", "at night", "undo", "undo"), "<tom> in the snow"),
    (("tom in the snow with a hat", "tom at the beach"), "a <tom> at the beach"),
    (("tom in the snow with a hat", "put tom on a mountain"), "<tom> with a hat on a mountain"),
    (("tom in the snow", "and mugsy"), "<tom> and <mugsy> in the snow"),
    (("tom in the snow", "Thanks, now under water"), "<tom> under water"),
    (("tom in the snow", "could you draw it at dusk?"), "<tom> in the snow at dusk"),
    (("tom", "with a red hat"), "<tom> with a red hat"),
    (("<red> in the snow", "red at night"), "a <red> at night"),
    (("<red> in the snow", "with a red hat"), "<red> with a red hat in the snow"),
])
def test_wishes_add_to_what_stands_and_of_one_kind_the_later_one_holds(lines, prompt):
    assert talk(*lines)[-1].prompt == prompt


def test_the_first_wish_is_drawn_as_it_was_said():
    assert meant("Please draw <Tom> next to <mugsy>, on the beach").prompt == "a <Tom> next to a <mugsy>, on the beach"
    assert meant("Can you make a red <mugsy> with tom?").prompt == "a red <mugsy> with a <tom>"
    assert meant("<nobody> at night") is None  # a word like any other: nobody of that name is learned


@pytest.mark.parametrize("text", ["the cat at the beach", "a red dog", "tomorrow at the beach", "tomcat", "now at night", "hello", "what is tom-3", ""])
def test_what_is_no_learned_name_is_not_about_concepts(text):
    assert meant(text) is None


def test_a_photo_or_another_subject_ends_the_talk():
    drawn = Turn("<tom> in the snow", "", None, True, Plan("draw", "<tom>", "in the snow"))
    dog = Turn("draw a dog", "", None, True, Plan("draw", "dog"))
    assert meant("draw a dog", drawn) is meant("a robot on the beach", drawn) is meant("at night", drawn, dog) is None
    assert meant("at night", drawn, photo=PHOTO) is meant("tom at night", photo=PHOTO) is None
    assert meant("at night", drawn, Turn("this one", "", PHOTO, True, Plan("draw", "fox"))) is None
    assert meant("at night", replace(drawn, photo=PHOTO)).prompt == "<tom> in the snow at night"  # the photo was left aside
    assert meant("at night", replace(drawn, drew=False)) is None
    assert meant("at night", replace(drawn, plan=None), Turn("by the sea", "", None, True)).prompt == "<tom> by the sea at night"  # older turns kept no plan


def test_questions_and_thanks_draw_nothing_and_answers_are_true_by_construction():
    talked = talk("tom in the snow", "what did you change?", "at night and with a red hat", "what have you changed?", "is it cold?", "thank you so much!", "who is <mugsy>?",
                  "without the car", "now at the sea", "what's different?")
    assert [bool(one.prompt) for one in talked] == [True, False, True, False, False, False, False, False, True, False]
    assert talked[1].words == "It is the first picture that I drew for you: <tom> (in the snow)."
    assert talked[3].words == "I set the light to night and added a red hat. The rest stayed as it was."
    assert talked[4].words.startswith("I drew <tom> with a red hat in the snow at night.") and "mug" in talked[6].words and "“car”" in talked[7].words
    assert talked[9].words == "I changed the place from the snow to the sea. The rest stayed as it was."
    assert all(one.plan.learned for one in talked)  # the language model is not told of them


def test_a_name_that_nobody_learned_is_said_in_a_talk_about_concepts():
    first, second = talk("<tom> in the snow", "<nobody> at night")
    assert not second.prompt and second.words.startswith("There is no concept <nobody>; there are: <cat>, <mugsy>, <red>, <tom>. Learn it first") and second.plan.learned == first.plan.learned
    assert talk("<tom> in the snow", "<b>at night</b>")[1].prompt == "<tom> in the snow at night"


@pytest.mark.parametrize(("text", "left", "value"), [
    ("lambda -2", "", -2), ("tom in the snow, lambda = 1.5", "tom in the snow", 1.5), ("set lambda to 0.5", "", 0.5), ("imagination -1 at night", "at night", -1),
    ("with λ=−0,5 in space", "in space", -0.5), ("what is lambda?", "what is lambda?", None), ("use your imagination 3 times", "use your imagination 3 times", None)])
def test_settings_leave_the_sentence(text, left, value):
    assert settings_in(text) == (left, {} if value is None else {"imagination": value})


def test_a_setting_alone_draws_the_same_picture_again():
    first, second = talk("tom in the snow", "lambda -2")
    assert second.prompt == "<tom> in the snow" and second.settings == {"imagination": -2} and second.plan == first.plan and first.settings == {}


def test_every_part_of_a_concepts_picture_can_go_and_says_so():
    (one,) = talk("tom with a red hat and <mugsy> on the beach at night")
    parts = parts_of(one.plan)
    assert [part.words for part in parts] == ["beach", "night", "red hat", "<mugsy>"]
    assert [part.asked for part in parts] == ["without the beach", "without the night", "without the red hat", "without <mugsy>"]
    gone = understand(Request("without the beach", plan=parts[0].without), SHELF, KNOWN)
    assert gone.prompt == "<tom> with a red hat beside <mugsy> at night" == prompt_of(parts[0].without) and named(gone.prompt) == ("tom", "mugsy")
    assert meant("without the hat", plan=Plan("draw", "fox", worn=())) is None  # the language model's


def test_an_earlier_picture_is_drawn_again_as_it_was_asked_for():
    plan = Plan("draw", "<tom>", "in the snow")
    assert meant("now, lambda 2", redraw={"plan": plan.as_json(), "wish": "a <tom> in snow"}).prompt == "a <tom> in snow"
    assert meant("now, lambda 2", redraw={"plan": plan.as_json()}).settings == {"imagination": 2}
    assert meant("tom at night", redraw={"semantics": ""}) is None  # drawn before there was a <tom>
    assert meant("<tom> at night", redraw={"concepts": []}).prompt == "a <tom> at night"
