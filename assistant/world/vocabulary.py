"""Every word for what the drawn world knows: synonyms of its values and the phrases that place them in a sentence.

The words themselves are data, in the JSON files beside this module; nothing is sampled here. The lists of `CONTEXT_SAID`, `STYLE_SAID`, ...
begin with the canonical phrases that replies and captions use (`CANON` of them); what follows is how people may say the same.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def bank(name: str) -> dict[str, Any]:
    """A file of words beside this module; its lists are read as tuples."""
    return _fixed(json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8")))


def _fixed(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_fixed(one) for one in value)
    return {key: _fixed(one) for key, one in value.items()} if isinstance(value, dict) else value


_WORDS = bank("vocabulary")
SAY: dict[str, Any] = bank("sayings")  # what users and the assistant say, table by table
CANON = 2  # of every list of places, lights, styles and poses, this many phrases at the front are what replies and captions say
PLURAL = frozenset(_WORDS["plural"])  # take no article
KIND_SAID, COLOUR_SAID, ACCESSORY_SAID = (_WORDS[name] for name in ("kind", "colour", "accessory"))  # first: canonical
PATTERN_ADJ_SAID, PATTERN_NOUN_SAID = _WORDS["pattern_adjective"], _WORDS["pattern_noun"]
CONTEXT_SAID, LIGHT_SAID, STYLE_SAID, POSE_SAID = (_WORDS[name] for name in ("context", "light", "style", "pose"))
CONTEXT_TERSE, LIGHT_TERSE, STYLE_TERSE = (_WORDS[f"{name}_terse"] for name in ("context", "light", "style"))  # bare words; first: canonical
STYLE_THE, STYLE_A = _WORDS["style_the"], _WORDS["style_a"]
POSE_BARE, POSE_DOES = _WORDS["pose_bare"], _WORDS["pose_does"]  # "make it ...", "it ..."
JOIN, JOINED = _WORDS["join"], _WORDS["joined"]  # another subject {x} beside {s}
CONTEXT_THE = {c: f"the {c}" for c in CONTEXT_TERSE} | {"space": "space", "underwater": "the underwater world"}
CONTEXT_MANY = {"mountains", "clouds"}  # take a plural verb


def an(phrase: str) -> str:
    """The phrase with "a" or "an", decided by sound for the words used here."""
    word = phrase.lower()
    vowel = word[:1] in "aeiou" and not word.startswith(("uni", "use", "eu", "one", "ufo", "uk", "ukulele"))
    return f"{'an' if vowel or word.startswith(('8', 'hour', 'x-ray', 'mri', 'sms', 'led')) else 'a'} {phrase}"


def wear(name: str, colour: str | None = None) -> str:
    """An accessory as a noun phrase: "a red hat", "green sunglasses"."""
    phrase = f"{colour} {name}" if colour else name
    return phrase if name in PLURAL else an(phrase)


def listing(items: list[str]) -> str:
    """"a", "a and b", "a, b and c"."""
    return " and ".join(items) if len(items) < 3 else ", ".join(items[:-1]) + " and " + items[-1]
