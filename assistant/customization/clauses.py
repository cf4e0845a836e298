"""Clauses of a wish in English: "on the beach at night, with a red hat" -> which of them say where, when, what is worn. Small tables of words
and the prepositions before them; what they do not know is kept as it was said. Knows no pictures and no history.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from .auxiliary_nouns import COMMON, LIKELY
from ..plan import article, named

LIGHTS = frozenset("light lighting night nighttime day daytime noon midday midnight dawn dusk sunset sunrise twilight evening morning afternoon moonlight sunlight "
                   "daylight starlight candlelight hour dark darkness".split())
STYLES = frozenset("watercolour watercolor watercolours aquarelle art pencil sketch drawing painting oil oils ink crayon crayons charcoal pastel pastels chalk cartoon "
                   "comic anime manga photo photograph photography render engraving etching woodcut mosaic collage poster style flat hatching origami lego".split())
WORN = frozenset("hat cap beanie beret scarf shawl sunglasses glasses goggles crown tiara bow tie flower balloon umbrella coat jacket shirt jumper sweater dress skirt "
                 "suit trousers shoes boots socks gloves mittens cape cloak mask helmet necklace collar ribbon costume uniform apron".split())
WEATHER = frozenset("rain fog mist storm thunderstorm wind".split())
HEAVEN = frozenset("moon stars sun".split())  # light where it is under them, a place where it is on them
PLACES = frozenset(word for words, _ in LIKELY[:-1] for phrase in words for word in phrase.split()[-1:]) - LIGHTS
NOUNS = frozenset([noun for _, nouns in LIKELY for noun in nouns] + list(COMMON))  # where a preset does not say what it knows

_BESIDE = ("and", "plus", "next to", "together with", "along with", "beside", "alongside")
_WEAR = ("wearing", "holding", "carrying")
_WHERE = ("in front of", "on top of", "close to", "inside", "outside", "behind", "between", "among", "around", "under", "above", "over", "near", "through", "into",
          "onto", "in", "on", "at", "by", "during")
_OPENS = re.compile(rf"\b(?:dressed (?:up )?(?:as|in|like)|without|{'|'.join((*_WEAR, *_BESIDE[1:], *_WHERE))}|with|as|to(?= (?:the|an?) ))\b"
                    r"(?! (?:it|its|his|her|him|their|them)\b)(?= *\S)|\band (?=(?:an?|the|my|some|another) |<)", re.IGNORECASE)
_DOES = re.compile(r"(?:^|(?<=> )|(?<=>))(?=\w{2,}ing\b(?<!\bking)(?<!thing)(?<!\bring)(?<!\bwing))", re.IGNORECASE)
_STILL = ("on", "over", "through", "at", "with", "into")  # "sitting on a chair" is one thing that is done, "sitting on the beach" is two
_INSTEAD = {"to": "at", "into": "in", "onto": "on"}  # where it goes is where it will be
_AN = re.compile(r"^(?:the|my|his|her|its|that|another)\b *", re.IGNORECASE)


@dataclass(frozen=True)
class Clause:
    """`kind`: one of `plan.SEEN`, "gone" (what should not be there), or "" (it can't be told)."""

    kind: str
    opener: str  # "in", "with", ...; empty: none
    words: str

    @property
    def written(self) -> str:
        """As a part of a prompt."""
        return f"{self.opener} {self.words}".strip()


def heads(words: str) -> set[str]:
    """The nouns that a phrase may be about: its last word, and the last before "of" or "with"; in the singular too."""
    found = {one.split()[-1].lower() for one in (words, re.split(r" (?:of|with) ", words)[0]) if one.split()}
    return found | {one[:-1] for one in found if one.endswith("s")}


def clauses(text: str, kinds: Collection[str]) -> list[Clause]:
    """Cut a text into clauses, in its order.

    Args:
        kinds: nouns of what can be a subject, beside the <name>s.
    """
    found: list[Clause] = []
    for segment in re.split(r"[,;:!?]+|\.(?!\d)", text):
        first = len(found)
        cuts = sorted({0, len(segment), *(m.start() for m in _OPENS.finditer(segment)), *(m.start() for m in _DOES.finditer(segment))})
        for piece in (" ".join(segment[a:b].split()) for a, b in zip(cuts, cuts[1:])):
            opened = _OPENS.match(piece + " ") if piece else None
            opener = opened[0].strip().lower() if opened else ""
            words = re.sub(r"\s+(?:and|but)$", "", piece[len(opened[0].rstrip()):].strip() if opened else piece)
            if not words:
                continue
            before = found[-1] if found else None
            kind = _kind(opener, words, kinds, before)
            if before is not None and len(found) > first and _one(before, opener, words, kind):
                found[-1] = Clause(before.kind, before.opener, f"{before.words} {piece}")
                continue
            if opener == "and" and kind == "worn":
                opener = before.opener if before is not None and before.kind == "worn" else "with"
            if kind in ("worn", "other"):
                words = indefinite(words)
            found.append(Clause(kind, _INSTEAD.get(opener, opener) if kind != "gone" else "", words))
    return found


def indefinite(words: str) -> str:
    """"the robot" -> "a robot"; a <name> as it is."""
    bare = _AN.sub("", words)
    if bare == words or not bare or bare.startswith("<"):
        return bare or words
    return article(bare)


def _kind(opener: str, words: str, kinds: Collection[str], before: Clause | None) -> str:
    """What a clause is about, by its preposition and its noun."""
    about, first = heads(words), words.split()[0].lower()
    someone = bool(named(words) or about & set(kinds))
    if opener == "without" or (opener == "and" and before is not None and before.kind == "gone"):
        return "gone"
    if opener.startswith("dressed"):
        return "pose"
    if about & LIGHTS and opener in ("", "in", "at", "by", "under", "during") or (opener in ("under", "in") and about & HEAVEN):
        return "light"
    if opener in ("", "in", "as") and (about & STYLES or "style of" in words) or (opener == "by" and first not in ("the", "a", "an")):
        return "style"
    if opener in _WEAR or (opener == "with" and not someone):
        return "worn"
    if opener in _BESIDE[2:] and about & PLACES and not someone:
        return "place"
    if opener in _BESIDE or (someone and opener in ("with", "near")):
        worn = opener == "and" and not someone and (about & WORN or (before is not None and before.kind == "worn"))
        return "worn" if worn else "other"
    if opener in ("", "in") and about & WORN:
        return "worn"
    if opener == "as" or about & WEATHER or (not opener and re.fullmatch(r"\w{2,}ing", first) and first not in ("something", "nothing", "king")):
        return "pose"
    return "place" if opener or about & PLACES else ""


def _one(before: Clause, opener: str, words: str, kind: str) -> bool:
    """Whether a clause belongs to the one before it."""
    if kind == "place" and before.kind == "pose" and opener in _STILL and before.words.count(" ") < 2 and before.words.endswith("ing"):
        return not heads(words) & PLACES
    return opener == "and" and before.kind == "place" and bool(heads(words) & PLACES)
