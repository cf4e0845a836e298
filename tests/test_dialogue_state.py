"""What stands in a conversation: operations on plans, and undo as a matter of plans."""

import json
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from assistant.dialogue_state import agrees, applied, changed, corrected, read_off, lines_of, standing, steps_back, stood, taken_away, undone, undone_behind
from assistant.generation.cafe import CafeGenerator
from assistant.generation.base import ImageFeatures, ReplyState
from assistant.requests import Turn
from assistant.world import captions
from assistant.world.dialogues import dialogue
from assistant.models.mllm import PromptBuilder
from assistant.plan import Plan, of_json, parts_of
from assistant.checkpoints import OUTSIDE
from assistant.manifest import CHECKPOINTS
from assistant.presets import MINIATURE
from assistant.training.world_dataset import TOKEN_WEIGHTS, dialogue_tokenizer, outside_words, row_of

BEACH, HAT, NIGHT = (Plan("draw", "red fox", "beach", light, worn=worn) for light, worn in (("day", ()), ("day", ("red hat",)), ("night", ("red hat",))))
TALK = tuple(Turn(words, "Here it is.", drew=True, plan=plan) for words, plan in (("beach please", BEACH), ("a red hat", HAT), ("at night", NIGHT)))


@pytest.mark.parametrize("text, count", [
    ("undo that", 1), ("Undo!", 1), ("no, undo that please", 1), ("go back", 1), ("as it was before", 1), ("put it back how it was", 1),
    ("back to the previous one", 1), ("undo it twice", 2), ("undo everything", 10**6), ("Revert.", 1),
    ("undo the hat", 0), ("go back to the beach", 0), ("was it sunny before?", 0), ("", 0), ("what did you undo?", 0)])
def test_what_is_an_undo(text: str, count: int) -> None:
    assert steps_back(text) == count


@pytest.mark.parametrize("text, line, wanted", [
    ("without the owl", "decline; other", "draw; alone"),
    ("make it watercolour, without the owl", "draw; style watercolour", "draw; style watercolour; alone"),
    ("Without its hat please", "draw; place beach", "draw; place beach; off hat"),
    ("minus the hat and without the owl", "draw", "draw; off hat; alone"),
    ("without the owl", "draw; alone", "draw; alone"),  # it was heard
    ("without the owl, a dog in its place", "draw; with brown dog", "draw; with brown dog"),
    ("not without the hat!", "draw; place beach", "draw; place beach"),
    ("take the hat off again", "draw; again hat", "draw; again hat; off hat"),
    ("lose the owl and put it on a beach", "draw; place beach", "draw; place beach; alone"),
    ("take the hat to the beach", "draw; place beach", "draw; place beach"),
    ("please don't remove the hat", "draw; place beach", "draw; place beach"),
    ("would it look better without the hat?", "answer; picture", "answer; picture"),
    ("lovely without the owl", "chat; praise", "chat; praise"),
    ("without the hatch", "decline; thing", "decline; thing"),
    ("without the dog", "decline; other", "decline; other")])  # there is none
def test_what_a_message_takes_away_in_so_many_words_is_gone(text: str, line: str, wanted: str) -> None:
    stands = standing((Turn("a hat and an owl", "Here.", drew=True, plan=replace(HAT, other="blue owl with grey spots")),))
    assert taken_away(line, text, stands) == wanted


@pytest.mark.parametrize("text, line, wanted", [
    ("no pencil, papercut", "draw; style pencil", "draw; style papercut"),
    ("Not leaning, resting. sorry!", "draw; pose standing; light night", "draw; light night; pose resting"),
    ("in the garden instead of the beach", "draw; place garden", "draw; place garden"),
    ("it should be at the beach, not in the garden, at night", "draw; light night", "draw; light night; place beach"),
    ("no pencil", "draw; style flat", "draw; style flat"),  # what else is not said
    ("pencil or papercut, no hat", "draw; style pencil", "draw; style pencil"),
    ("not pencil and not papercut", "draw; style flat", "draw; style flat"),
    ("why not papercut instead of pencil?", "answer; reason", "answer; reason")])
def test_what_a_message_corrects_in_so_many_words_is_so(text: str, line: str, wanted: str) -> None:
    values = {"place": ("garden", "beach"), "light": ("day", "night"), "style": ("flat", "pencil", "papercut"), "pose": ("standing", "leaning", "resting")}
    assert corrected(line, text, values) == wanted and corrected(line, text, {}) == line


def test_an_undo_goes_back_by_one_and_two_by_two() -> None:
    assert undone("undo that", standing(TALK)) == HAT
    again = (*TALK, Turn("undo that", "As it was.", drew=True, plan=HAT))
    assert undone("go back", standing(again)) == BEACH  # not forward to the night again
    assert undone("undo it twice", standing(TALK)) == undone("undo everything", standing(TALK)) == BEACH
    later = (*again, Turn("at sunset", "Here.", drew=True, plan=NIGHT), Turn("thanks!", "You're welcome.", plan=Plan("chat")))
    assert undone("undo", standing(later)) == HAT
    assert undone("undo that", standing(TALK[:1])) is None and undone("at night", standing(TALK)) is None and undone("undo", standing(())) is None
    assert undone("undo that", standing(TALK[:1], PHOTO)) == PHOTO  # what the photo shows can be gone back to, where it is known


def test_an_undo_behind_a_remark_is_one_where_a_model_hears_the_remark_alone() -> None:
    assert undone_behind("that looks off, undo", standing(TALK)) == undone_behind("Hm, no. Not nice! Undo that please.", standing(TALK)) == HAT
    for other in ("undo", "that looks off", "that looks off, at night", "undo, I like it more"):
        assert undone_behind(other, standing(TALK)) is None
    assert speak("chat; complaint", TALK, "that looks off, undo")[1].plan == HAT and speak("draw; light day", TALK, "no, undo the night")[1].plan.light == "day"


PHOTO = Plan("draw", "red fox with white spots", "garden", "day", "flat", "standing", ("green scarf",))
APART = (("hat", "crown"), ("scarf", "bow tie"))


@pytest.mark.parametrize("line, differs", [
    ("draw", {}),
    ("draw; place moon; light night; style pencil; pose jumping", {"place": "moon", "light": "night", "style": "pencil", "pose": "jumping"}),
    ("draw; wear blue hat", {"worn": ("green scarf", "blue hat")}),
    ("draw; wear blue scarf", {"worn": ("blue scarf",)}),  # another colour of the same thing
    ("draw; wear blue bow tie", {"worn": ("blue bow tie",)}),  # it takes the scarf's place
    ("draw; wear blue hat; wear pink balloon", {"worn": ("blue hat", "pink balloon")}),  # two at most: the oldest goes
    ("draw; wear hat as scarf", {"worn": ("green scarf", "green hat")}),
    ("draw; off scarf; wear bow tie as scarf", {"worn": ("green bow tie",)}),  # the colour of what was there when it was said
    ("draw; wear hat as spots", {"worn": ("green scarf", "white hat")}), ("draw; wear hat as fox", {"worn": ("green scarf", "red hat")}),
    ("draw; off scarf", {"worn": ()}), ("draw; off all", {"worn": ()}), ("draw; off hat", {}),
    ("draw; with blue dog", {"other": "blue dog"}), ("draw; alone", {}),
    ("draw; wear hat as crown; sing; place", {})])  # what cannot be told or is no operation is passed over
def test_operations_change_what_they_say_and_nothing_else(line: str, differs: dict) -> None:
    plan = applied(line, standing((), PHOTO), APART, 2)
    assert plan == replace(PHOTO, **differs) and plan.change == line


def test_operations_that_go_back() -> None:
    talk = standing(TALK, PHOTO)
    found = {to: applied(f"draw; {to}", talk) for to in ("back", "back two", "back photo", "back first", "back second", "back garden", "back fifth", "again scarf")}
    assert found == {"back": HAT, "back two": BEACH, "back photo": PHOTO, "back first": BEACH, "back second": HAT, "back garden": PHOTO, "back fifth": NIGHT,
                     "again scarf": replace(NIGHT, worn=("red hat", "green scarf"))}
    assert applied("draw; back; light sunset", talk) == replace(HAT, light="sunset")
    again = (*TALK, Turn("no, the one before", "", drew=True, plan=applied("draw; back", talk)))
    assert applied("draw; back", standing(again, PHOTO)) == BEACH
    assert applied("answer; picture", talk) == Plan("answer", about="picture") and applied("sing; a song", talk) is None


def test_every_dialogues_operations_lead_to_its_plans() -> None:
    """What the simulator writes, the engine reads: from what stands to exactly what is drawn."""
    config, kinds = MINIATURE.language, set()
    for seed in range(320):
        talk = dialogue(random.Random(f"operations/{seed}"), turns=5)
        history: list[Turn] = []
        for e in talk.exchanges:
            if e.plan.change:
                found = applied(e.plan.change, standing(history, captions.plan_of(talk.photo)), config.worn_apart, config.worn_most)
                assert found == e.plan, (e.user, e.plan.change)
                kinds |= {item.split()[0] for item in e.plan.change.split("; ")[1:]}
            history.append(Turn(e.user, e.reply, drew=e.target is not None, plan=e.plan))
    assert kinds == {"place", "light", "style", "pose", "wear", "again", "off", "with", "alone", "back"}


def test_what_a_model_reads_of_a_plan() -> None:
    plan = replace(PHOTO, worn=(), change="draw; off scarf")
    assert lines_of(plan, PHOTO) == ("draw; off scarf", "draw; red fox with white spots; garden; day; flat; standing; ; ; off green scarf")
    assert lines_of(Plan("chat", about="thanks"), PHOTO) == ("chat; thanks",) and lines_of(None, PHOTO) == ()
    assert stood((*TALK, Turn("thanks", "", plan=Plan("chat"))), PHOTO) == [PHOTO, BEACH, HAT, NIGHT, NIGHT]
    assert of_json(plan.as_json()).change == plan.change and parts_of(replace(PHOTO, change="draw"))[-1].without.change == ""


class Language:
    """A model that sees a fox in a garden and writes one line of operations."""

    words: Sequence[str] = ("Done.",)

    def __init__(self, line: str) -> None:
        self.line, self.plans, self.built, self.config = line, [], [], SimpleNamespace(plan_turns=3, worn_apart=APART, worn_most=2)
        self.taught: frozenset[str] = frozenset()
        self.outside = {"guitar": "a guitar", "in the rain": "rain", "ball": "a ball", "cookie": "cookies", "bow and arrow": "a bow and arrow"}
        self.builder = SimpleNamespace(plan_ids=(1, 2), build=lambda *args: self.built.append(args))

    def scene(self, patches, cancel) -> str:
        return PHOTO.written()

    def stream(self, prompt, patches, spoken, temperature, generator, cancel, known, settled) -> Iterator[str]:
        self.plans.append(spoken.plan)
        if spoken.plan is None:
            spoken.plan, self.read = settled(self.line)
        for piece in self.words:
            spoken.text += piece
            yield piece
        spoken.draw, spoken.hidden = True, torch.zeros(1, 4)

    def semantics(self, hidden):
        return hidden


def speak(line: str, history: Sequence[Turn], text: str, words: Sequence[str] = ("Done.",), unfamiliar: bool = False) -> tuple[Language, ReplyState]:
    vision = SimpleNamespace(unfamiliar=lambda patches, semantics: unfamiliar, noun_names=(), attributes=None, config=MINIATURE.vision, at_norm=lambda x: x)
    image_generator, said = CafeGenerator(vision, Language(line), None, 17), ReplyState()
    image_generator.language.words = words
    assert "".join(image_generator.speak(history, text, ImageFeatures(torch.zeros(1, 5, 4), torch.zeros(1, 4)), said, 0.0, torch.Generator(), threading.Event())) == said.text
    return image_generator.language, said


@pytest.mark.parametrize("words, agree", [
    ("The red hat goes on in place of the scarf.", True), ("I took off the scarf.", True), ("No problem, with a red hat.", True), ("At the beach, by night.", True),
    ("I took off the hat.", False), ("The hat goes on in place of the hat.", False), ("The blue hat adds style.", False), ("It wears a crown.", False),
    ("Still in the garden.", False), ("Beside it is a blue dog.", True), ("Beside it is a green dog.", False), ("Without the balloon now.", False),
    ("It still wears the green scarf.", False)])
def test_words_agree_with_their_plan_or_not(words: str, agree: bool) -> None:
    plan = replace(PHOTO, place="beach", light="night", worn=("red hat",), other="blue dog with pink stars")
    assert agrees(words, plan, standing((), PHOTO), MINIATURE.vision.worn_things, MINIATURE.vision.worn_colours) == agree


def test_in_place_of_words_that_do_not_agree_the_plan_is_told() -> None:
    _, said = speak("draw; wear red hat", (), "a red hat", ("Gladly. A bl", "ue hat suits", " it. It is a", " crown."))
    assert said.text == "Gladly. I drew a red fox with white spots, standing, wearing a green scarf and a red hat (garden, day, flat)." and said.wish is not None
    assert speak("draw; wear red hat", (), "a red hat", ("Gladly. A red", " hat. Fine"))[1].text == "Gladly. A red hat. Fine"


@pytest.mark.parametrize("text, line, words, told", [
    ("playing the guitar in the city", "draw; place city", ("It is in the city.",), "It is in the city. I can't draw a guitar."),
    ("in the rain with two balls", "draw; place city", ("It is in the city", ". Fine."), "It is in the city. Fine. I can't draw rain or a ball."),
    ("with a guitar", "draw; place city", ("I can't draw a guitar, so it is in the city.",), "I can't draw a guitar, so it is in the city."),
    ("with a bow and arrow, a ball, in the rain", "draw; place city", ("It is in the city.",), "It is in the city. I can't draw a bow and arrow, a ball or rain."),
    ("not with a guitar", "draw; place city", ("It is in the city.",), "It is in the city."),
    ("like a guitar, for a ball", "draw; place city", ("It is in the city.",), "It is in the city."),
    ("without the ball", "draw; place city", ("It is in the city.",), "It is in the city."),
    ("with cookies", "draw; place city", ("I can't draw a crown.",), "I can't draw cookies. I drew a red fox with white spots, standing, wearing a green scarf (city, day, flat)."),
    ("with a dinghy", "draw; place city", ("I can't draw a crown.",), "Not all of that is something that I can draw. I drew a red fox with white spots, standing, "
     "wearing a green scarf (city, day, flat)."),
    ("with a ball?", "decline; thing", ("I can't draw that.",), "I can't draw that.")])
def test_what_cannot_be_drawn_is_said_where_a_model_passes_over_it(text: str, line: str, words: Sequence[str], told: str) -> None:
    assert speak(line, (), text, words)[1].text == told


def test_what_cannot_be_drawn_is_none_of_what_people_name_when_they_ask_for_what_can() -> None:
    names = outside_words(60)
    assert names["guitar"] == "a guitar" and names["in the rain"] == "rain" and names["poodle"] == "a poodle" and "car" not in outside_words(2000)
    kept = json.loads((CHECKPOINTS / "miniature/llama" / OUTSIDE).read_text())
    assert set(kept) < set(names) and not set(kept) & {"car", "friend", *MINIATURE.vision.worn_things}


def test_of_a_photo_that_it_cannot_read_it_says_so_once_at_length() -> None:
    class Asked(Language):
        def stream(self, prompt, patches, spoken, temperature, generator, cancel, known, settled):
            spoken.plan, _ = settled(self.line)
            spoken.text = known(spoken.plan)
            yield spoken.text

    history: list[Turn] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "Language", Asked)
        for text, line, begins in (
                ("something creative", "draw; place beach", "I know drawings only, and this picture is not like any of them, so I cannot tell what it shows. I drew what"),
                ("at night", "draw; light night", "What I make of your photo, once more: something, standing (beach, night, flat)."),
                ("what breed is it?", "answer; unknown", "I know drawings only, so I can't tell what your photo shows. What I made of it is something, standing (beach, night"),
                ("make it blue", "decline; look", "That is nothing that I can draw. I can put what I make of your photo in other places")):
            said = speak(line, history, text, unfamiliar=True)[1]
            assert said.text.startswith(begins) and "fox" not in said.text
            history.append(Turn(text, said.text, drew=said.plan.draws, plan=said.plan))


def test_a_first_wish_changes_what_the_photo_shows() -> None:
    language, said = speak("draw; light night; wear bow tie as scarf", (), "at night, the scarf a bow tie of that colour")
    assert said.plan == replace(PHOTO, light="night", worn=("green bow tie",)) and said.wish is not None
    assert language.read == "draw; red fox with white spots; garden; night; flat; standing; green bow tie; ; off green scarf"
    assert language.built == [([], "at night, the scarf a bow tie of that colour", True, 17, (), PHOTO.written())]


def test_a_model_reads_the_last_turns_and_what_stood_before_them() -> None:
    language, said = speak("draw; off hat", TALK, "lose the hat")
    assert said.plan == replace(NIGHT, worn=())
    (turns, _, _, _, plan, seen), = language.built
    assert [t[0] for t in turns] == ["a red hat", "at night"] and turns[0][1] == "" and seen == BEACH.written() and plan == ()


def test_an_undo_is_planned_without_the_model() -> None:
    language, said = speak("", TALK, "undo that")
    assert said.plan == HAT and language.plans == [HAT] and language.built[0][4] == ("draw; back", HAT.written())


def test_an_undo_among_photos_passes_over_what_was_learned() -> None:
    """M is never given a plan with a <name>, of which it knows nothing."""
    talk = (*TALK[:2], Turn("tom at night", "Drawn.", drew=True, plan=Plan("draw", "<tom>", light="at night")), TALK[2])
    language, said = speak("", talk, "undo that")
    assert said.plan == HAT and "<tom>" not in str(language.built)


def test_a_dialogue_is_learned_as_it_is_read_in_use() -> None:
    """Token for token, up to where M begins to write: its operations are what it says first, and what they lead to is given to it."""
    builder, long = PromptBuilder(MINIATURE.language, dialogue_tokenizer(MINIATURE)), 0
    image_generator = CafeGenerator(None, SimpleNamespace(builder=builder, config=MINIATURE.language), None, MINIATURE.picture_tokens)
    for seed in range(40):
        talk = dialogue(random.Random(f"rows/{seed}"), turns=1 + seed % 6, quiet=True)
        if talk.photo is None:
            continue
        *before, last = talk.exchanges
        photo = captions.plan_of(talk.photo)
        history = [Turn(e.user, e.reply, drew=e.target is not None, plan=e.plan) for e in before]
        row = row_of(talk, builder)
        prompt = image_generator._prompt(history, last.user, photo, True, None)
        assert tuple(row.ids[:len(prompt.ids)]) == prompt.ids
        lines = lines_of(last.plan, stood(history, photo)[-1])
        said = builder.plan(lines[0])
        rest = row.ids[len(prompt.ids):]
        assert rest[:len(said)] == said and set(row.counts[len(prompt.ids):][:len(said)]) <= {TOKEN_WEIGHTS["plan"]}
        assert rest[len(said):] == [*builder.plan(*lines[1:]), *builder.reply(last.reply, last.target is not None)]
        assert (row.token_at == len(row.ids) - 1 and row.counts[-1] == 0) if last.target is not None else row.token_at == -1
        head = len(builder.looking().ids)
        assert (row.counts[head] == TOKEN_WEIGHTS["seen"]) == (len(talk.exchanges) <= MINIATURE.language.plan_turns)  # else what stood is given
        long += len(talk.exchanges) > MINIATURE.language.plan_turns
    assert long


def test_what_changed_since_a_board_is_not_invented() -> None:
    asked, fox = Plan("answer", about="changes"), Plan("draw", "red fox", "garden")
    assert changed(asked, [None, fox]) == "I drew a red fox (garden); what the picture before it was asked for was not kept."
    assert changed(asked, [replace(fox, place="snow"), fox]) == "I changed the place from snow to garden. The rest stayed as it was."
    assert changed(asked, [fox, None]) is None and changed(asked, []) is None and changed(fox, [None, fox]) is None


def test_whether_something_read_off_is_read_from_what_stands() -> None:
    now, things = Plan("draw", "pink bunny", "garden", worn=("red hat",), other="grey dog"), ("bunny", "cat", "dog", "hat", "bow tie")
    assert read_off("is there a cat in the picture?", now, things) == f"No: it shows {now.told()}."
    assert (read_off("Is there a hat", now, things) or "").startswith("Yes") and (read_off("are there any dogs in it?", now, things) or "").startswith("Yes")
    assert (read_off("is there a bow tie?", now, things) or "").startswith("No")
    for other in ("is there a reason?", "is there a style that you like?", "put a cat there", "why is there a cat in the picture?"):
        assert read_off(other, now, things) is None
    assert read_off("is there a cat?", None, things) is None


@pytest.mark.parametrize("text, begins", [
    ("where is it and what is it wearing?", "It shows"), ("what place and what style?", "It shows"), ("who is in it and what is it doing?", "It shows"),
    ("how many animals are there?", "Two: it shows"), ("how many eyes does it have?", "I don't count eyes; it shows"), ("how many are there", "Two: it shows")])
def test_a_question_about_several_things_is_answered_whole(text: str, begins: str) -> None:
    now = Plan("draw", "pink bunny", "garden", worn=("red hat",), other="grey dog")
    assert read_off(text, now, ()) == f"{begins} {now.told()}."
    assert read_off(text, None, ()) is None
    for other in ("what place is it?", "how many styles do you know?", "how many pictures can you draw?", "why this place and this style?", "which place and which style can you draw?",
                  "how many people can use it?"):
        assert read_off(other, now, ()) is None, other
