"""Every word for what the drawn world knows, and for what it does not have, what a vague wish may mean, and how people type.

The words themselves are data, in the JSON files beside this module. The lists of `CONTEXT_SAID`, `STYLE_SAID`, ... begin with the canonical phrases that
replies and captions use (`CANON` of them); what follows is how people may say the same. Reasons (`CONTEXT_IS`, ...) name no value of the world other than
the one they are about, so that a reply can be read back. `MISSING_THINGS`, ... are there so that refusals learn to copy them.
"""

import json
import random
import re
from dataclasses import dataclass
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


_OUTSIDE = bank("outside")
MISSING_THINGS, MISSING_DOINGS, MISSING_TOPICS = _OUTSIDE["things"], _OUTSIDE["doings"], _OUTSIDE["topics"]
MISSING_PLACES: dict[str, str] = _OUTSIDE["places"]  # what people name -> nearest context
MISSING_STYLES: dict[str, str] = _OUTSIDE["styles"]  # "as ..." -> nearest style
DOING_POSE: dict[str, str] = _OUTSIDE["doing_pose"]
NEAREST: dict[str, tuple[str, str]] = {thing: (what, value) for what, values in _OUTSIDE["nearest"].items() for value, things in values.items()
                                       for thing in things}  # thing -> what comes closest to it, "context" or "wear", and its value
PEOPLE, STUFF, PARTS, BREEDS = (_OUTSIDE[name] for name in ("people", "stuff", "parts", "breeds"))  # PARTS: of an "animal", of an "object"


@dataclass(frozen=True)
class Mood:
    """What suits a mood; every tuple names values of the world, an empty one leaves the choice as it is."""

    name: str  # adjective for "a ... picture"
    contexts: tuple[str, ...]
    lights: tuple[str, ...]
    styles: tuple[str, ...]
    poses: tuple[str, ...]
    accessories: tuple[str, ...]
    colours: tuple[str, ...]  # of the accessories
    occasions: tuple[str, ...]  # what people want it for


_MOODS = bank("moods")
MOODS = tuple(Mood(**about) for about in _MOODS["moods"])
MOOD_ALSO = _MOODS["also"]  # a mood's name -> other adjectives for it
CONTEXT_IS, STYLE_IS, LIGHT_MAKES, POSE_MAKES, ACCESSORY_ADDS = (
    _MOODS[name] for name in ("context_is", "style_is", "light_makes", "pose_makes", "accessory_adds"))  # reasons
TWEAKS: dict[str, dict[str, str]] = _MOODS["tweaks"]  # "warmer": what changes


_SHORT = {"please": "pls", "you": "u", "thanks": "thx", "are": "r", "and": "n", "with": "w/", "for": "4", "because": "cuz"}
_AMERICAN = (("colour", "color"), ("grey", "gray"), ("theatre", "theater"), ("cosy", "cozy"), ("centre", "center"))
_NEAR = {a: b for a, b in zip("qwertyuiopasdfghjklzxcvbnm", "wertyuioopsdfghjkllxcvbnmn", strict=True)}


def slip(rng: random.Random, word: str) -> str:
    """One slip of the finger: two letters swapped, one dropped, doubled or hit beside."""
    if len(word) < 4:
        return word
    i, roll = rng.randrange(1, len(word) - 1), rng.random()
    if roll < 0.35:
        return word[:i] + word[i + 1] + word[i] + word[i + 2:]
    if roll < 0.65:
        return word[:i] + word[i + 1:]
    if roll < 0.8:
        return word[:i] + word[i] + word[i:]
    return word[:i] + _NEAR.get(word[i].lower(), word[i]) + word[i + 1:]


def typed(rng: random.Random, text: str, keep: str = "", dress: float = 0.16) -> tuple[str, str]:
    """The text as somebody would type it.

    Args:
        text: a clean sentence or fragment, without greeting.
        keep: a phrase in it that must stay free of slips, because the answer copies it.
        dress: probability of a greeting before, and of a courtesy after.

    Returns:
        The typed text, and `keep` in the case it got.
    """
    text = text.strip()
    mark = text[-1] if text[-1:] in "?!." else ""
    body = text.rstrip("?!. ") if mark else text
    if rng.random() < dress / 2:
        body = f"{rng.choice(SAY['typed_hello'])}{rng.choice((', ', ' ', '! ') if mark else (', ', ' '))}{body}"
    if rng.random() < dress and not re.search(r"\b(please|thank|pls)\b", body):
        body = f"{body}{rng.choice((', ', ' '))}{rng.choice(SAY['typed_tail'])}"
        mark = mark if mark != "?" or rng.random() < 0.5 else ""
    if rng.random() < 0.4:
        for british, american in _AMERICAN:
            if british not in keep:
                body = body.replace(british, american)
    careless = rng.random()
    if careless < 0.5:
        body, keep, mark = body.lower(), keep.lower(), "" if rng.random() < 0.8 else mark
    elif careless < 0.53:
        body, keep = body.upper(), keep.upper()
    else:
        body = body[0].upper() + body[1:]
        if keep and keep not in body:
            keep = keep[0].upper() + keep[1:]
        body = re.sub(r"\bi\b", "I", body)
        if not mark and rng.random() < 0.45:
            mark = rng.choice((".", ".", "!"))
    guarded = set(keep.lower().split())
    words = body.split(" ")
    clumsy = 0.22 if rng.random() < 0.12 else 0.012  # some people slip often, most hardly ever: about 4% of words
    for i, word in enumerate(words):
        if word.strip(",.!?").lower() in guarded:
            continue
        if careless < 0.5 and rng.random() < 0.04:
            words[i] = _SHORT.get(word, word)
        elif rng.random() < clumsy:
            words[i] = slip(rng, word)
    body = " ".join(words)
    if rng.random() < 0.03:
        mark = rng.choice(("!!", "...", "??" if mark == "?" else "!!!", " :)"))
    return body + mark, keep


def mirrored(phrase: str) -> str:
    """The user's words as the assistant says them: "my kid's room" becomes "your kid's room"."""
    return re.sub(r"\bour\b", "your", re.sub(r"\bmy\b", "your", phrase))


def sentence(text: str) -> str:
    """With a capital letter at the start of every sentence and single spaces."""
    text = re.sub(r"\s+([,.;:!?])", r"\1", re.sub(r"\s+", " ", text)).strip()
    return re.sub(r"(^|[.!?] )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
