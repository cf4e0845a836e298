"""What the language model is not asked: a message in another language, and a yes to nothing."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.languages import SAY, other_language
from assistant.plan import Plan
from assistant.requests import Request, Settings, Turn

SETS = Path(__file__).resolve().parents[1] / "assistant" / "evaluation" / "sets"
SAID = {"gracias, muy bonito": "spanish", "merci beaucoup, c'est magnifique": "french", "Kannst du ihn bitte am Strand malen?": "german",
        "puoi farlo di notte?": "italian", "você pode fazer isso à noite?": "portuguese", "kun je hem een mooi hoed geven?": "dutch", "czy możesz to jeszcze raz zrób": "polish",
        "çok güzel, teşekkürler": "turkish", "можно в лесу?": "russian", "在海滩上": "chinese", "もっと明るくしてください": "japanese"}


@pytest.mark.parametrize("text, language", SAID.items())
def test_a_message_in_another_language_is_told(text: str, language: str) -> None:
    assert other_language(text) == language


def test_english_is_not_taken_for_another_language() -> None:
    """Also with a foreign word or two in it; nor is a language that is not known here."""
    for text in ("merci", "hola amigo", "a red hat, s'il vous plait", "make it look like la vie en rose", "a sombrero please", "das Auto", "Як справи, друже? Ці квіти", ""):
        assert other_language(text) is None, text
    exchanges = json.loads((SETS / "exchanges.json").read_text())
    told = {one["said"] for one in exchanges if other_language(one["said"])}
    assert len(exchanges) == 200 and told and told <= {one["said"] for one in exchanges if one["plan"] == {"act": "ask"}}, told


def test_yes_where_nothing_was_asked_draws_nothing(assistant) -> None:
    drawn = Turn("in the snow", "I drew it in the snow.", assistant.subjects[0].photo, True, Plan("draw", "red fox", "snow", "day", "flat", "standing"))
    *_, reply = assistant.respond(Request("yes!", history=(drawn,), settings=Settings(seed=1, steps=2)), threading.Event())
    assert reply.png is None and reply.text == "I'm not sure what you mean. Tell me what to draw next."
    offered = replace(drawn, reply="Shall I put it in the garden?", drew=False, plan=Plan("decline", about="thing"))
    *_, reply = assistant.respond(Request("yes", history=(drawn, offered), settings=Settings(seed=1, steps=2)), threading.Event())
    assert "not sure" not in reply.text


def test_it_is_answered_in_that_language_and_nothing_is_drawn(assistant) -> None:
    for text in ("gracias, muy bonito", "merci beaucoup, c'est magnifique"):
        *_, reply = assistant.respond(Request(text, assistant.subjects[0].photo, settings=Settings(seed=1, steps=2)), threading.Event())
        assert reply.png is None and reply.text == SAY[SAID[text]] and (reply.plan.act, reply.plan.about) == ("ask", "language")
