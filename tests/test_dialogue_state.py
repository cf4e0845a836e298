"""What stands in a conversation: undo as a matter of plans, and words that must agree with theirs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from assistant.dialogue_state import repaired, steps_back, undone
from assistant.drawers.cafe import CafeDrawer
from assistant.drawers.drawer import Said, Seen
from assistant.messages import Turn
from assistant.plan import Plan

BEACH, HAT, NIGHT = (Plan("draw", "red fox", "beach", light, worn=worn) for light, worn in (("day", ()), ("day", ("red hat",)), ("night", ("red hat",))))
TALK = tuple(Turn(words, "Here it is.", drew=True, plan=plan) for words, plan in (("beach please", BEACH), ("a red hat", HAT), ("at night", NIGHT)))


@pytest.mark.parametrize("text, count", [
    ("undo that", 1), ("Undo!", 1), ("no, undo that please", 1), ("go back", 1), ("as it was before", 1), ("put it back how it was", 1),
    ("back to the previous one", 1), ("undo it twice", 2), ("undo everything", 10**6), ("Revert.", 1),
    ("undo the hat", 0), ("go back to the beach", 0), ("was it sunny before?", 0), ("", 0), ("what did you undo?", 0)])
def test_what_is_an_undo(text: str, count: int) -> None:
    assert steps_back(text) == count


def test_an_undo_goes_back_by_one_and_two_by_two() -> None:
    assert undone("undo that", TALK) == HAT
    again = (*TALK, Turn("undo that", "As it was.", drew=True, plan=HAT))
    assert undone("go back", again) == BEACH  # not forward to the night again
    assert undone("undo it twice", TALK) == undone("undo everything", TALK) == BEACH
    later = (*again, Turn("at sunset", "Here.", drew=True, plan=NIGHT), Turn("thanks!", "You're welcome.", plan=Plan("chat")))
    assert undone("undo", later) == HAT
    assert undone("undo that", TALK[:1]) is None and undone("at night", TALK) is None and undone("undo", ()) is None


PLAN = Plan("draw", "red fox", worn=("red hat", "blue scarf"), other="green owl")


@pytest.mark.parametrize("words, worn, other", [
    ("I took off the hat. It has a blue scarf.", ("blue scarf",), "green owl"),
    ("Here it is without the owl.", ("red hat", "blue scarf"), ""),
    ("In place of the hat it wears the scarf.", ("blue scarf",), "green owl"),
    ("I took off the hat and the scarf.", (), "green owl")])
def test_a_plan_loses_what_its_words_say_is_gone(words: str, worn: tuple[str, ...], other: str) -> None:
    found = repaired(words, PLAN)
    assert found.worn == worn and found.other == other


@pytest.mark.parametrize("words", ["The red hat goes in place of the blue hat.", "I took off the blue hat and gave it a red hat.", "No problem, with the hat.",
                                   "I took off the crown.", "It stands without a care."])
def test_words_that_agree_change_nothing(words: str) -> None:
    assert repaired(words, PLAN) is None


class Language:
    """Says first what its plan does not hold; what it is told to plan it follows."""

    def __init__(self) -> None:
        self.plans: list[Plan | None] = []
        self.builder = SimpleNamespace(build=lambda turns, text, picture, tokens, plan: plan)

    def stream(self, prompt, patches, spoken, temperature, generator, cancel, known=None) -> Iterator[str]:
        self.plans.append(spoken.plan)
        words = ["I took off ", "the hat. ", "It is night."] if spoken.plan is None else ["The hat is off. ", "It is night."]
        spoken.plan = spoken.plan or NIGHT
        for piece in words:
            spoken.text += piece
            yield piece
        spoken.draw, spoken.hidden = True, torch.zeros(1, 4)

    def semantics(self, hidden):
        return hidden


def test_words_that_contradict_their_plan_are_not_told() -> None:
    vision = SimpleNamespace(unfamiliar=lambda patches, semantics: False, at_norm=lambda x: x)
    drawer, said = CafeDrawer(vision, Language(), None, 17), Said()
    told = list(drawer.speak((), "lose the hat", Seen(torch.zeros(1, 5, 4), torch.zeros(1, 4)), said, 0.0, torch.Generator(), threading.Event()))
    assert "".join(told) == said.text == "The hat is off. It is night."
    assert said.plan == Plan("draw", "red fox", "beach", "night") and said.wish is not None
    assert drawer.language.plans == [None, said.plan]


def test_an_undo_is_planned_without_the_model() -> None:
    vision = SimpleNamespace(unfamiliar=lambda patches, semantics: False, at_norm=lambda x: x)
    drawer, said = CafeDrawer(vision, Language(), None, 17), Said()
    list(drawer.speak(TALK, "undo that", Seen(torch.zeros(1, 5, 4), torch.zeros(1, 4)), said, 0.0, torch.Generator(), threading.Event()))
    assert said.plan == HAT and drawer.language.plans == [HAT]


def test_an_undo_among_photos_passes_over_what_was_learned() -> None:
    """M is never given a plan with a <name>, of which it knows nothing."""
    vision = SimpleNamespace(unfamiliar=lambda patches, semantics: False, at_norm=lambda x: x)
    drawer, said = CafeDrawer(vision, Language(), None, 17), Said()
    talk = (*TALK[:2], Turn("tom at night", "Drawn.", drew=True, plan=Plan("draw", "<tom>", light="at night")), TALK[2])
    list(drawer.speak(talk, "undo that", Seen(torch.zeros(1, 5, 4), torch.zeros(1, 4)), said, 0.0, torch.Generator(), threading.Event()))
    assert said.plan == HAT
