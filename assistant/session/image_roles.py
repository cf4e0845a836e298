"""Two or more pictures in one message: which is the subject, and which are to be followed? Knows words only.

"this one in the style of that one": whatever stands after a word of likeness is followed, whatever is told to change is the
subject. Where the words say nothing, the first picture is the subject. The answer says what was taken for what, and the board
lets it be changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ORDINALS = {"first": 0, "1st": 0, "one": 0, "1": 0, "second": 1, "2nd": 1, "two": 1, "2": 1, "third": 2, "3rd": 2, "three": 2, "3": 2,
             "fourth": 3, "4th": 3, "four": 3, "4": 3, "last": -1, "latter": -1, "former": 0, "other": 1}
_MENTION = re.compile(r"\b(?:(?:the\s+)?(first|second|third|fourth|last|latter|former|other|1st|2nd|3rd|4th)(?:\s+(?:one|picture|photo|image))?"
                      r"|(?:picture|photo|image|number)\s+(one|two|three|four|[1-4]))\b", re.IGNORECASE)
_THIS = re.compile(r"\b(this|that|these|those)\b", re.IGNORECASE)
_THIS_ONE = re.compile(r"\b(?:this|that)(?:\s+(?:one|picture|photo|image))?\b", re.IGNORECASE)
_LIKE = re.compile(r"\b(in\s+the\s+(?:style|mood|look|spirit|manner|setting|place|colou?rs)\s+of|like|as\s+in|similar\s+to|inspired\s+by|after|into|with\s+the\s+"
                   r"(?:style|look|mood|background|setting|colou?rs|light)\s+of|match(?:ing)?|from)\b", re.IGNORECASE)
_USE = re.compile(r"\b(?:use|take|apply|put)\s+(?:the\s+)?(?:style|look|mood|background|setting|colou?rs|light)\s+(?:of|from)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ImageRoles:
    """Places of the pictures, from 0."""

    subject: int
    references: tuple[int, ...]


def infer(text: str, count: int) -> ImageRoles:
    """Who is who among `count` pictures, in the order in which they were added."""
    subject, mentions = 0, _mentions(text, count)
    like = _LIKE.search(text)
    use = _USE.search(text)
    if use:  # "use the style of the first on the second"
        followed = next((place for at, place in mentions if at >= use.end()), None)
        if followed is not None:
            subject = next((place for at, place in mentions if at >= use.end() and place != followed), 0 if followed else 1)
    elif like:
        before = [place for at, place in mentions if at < like.start()]
        behind = [place for at, place in mentions if at >= like.end()]
        if before:
            subject = before[-1]
        elif behind:  # "in the style of the first": the subject is another
            subject = next((k for k in range(count) if k not in behind), 0)
    return ImageRoles(subject, tuple(k for k in range(count) if k != subject))


def numbered(text: str, roles: ImageRoles) -> str:
    """The words with every picture that they mention by its place called image 1, image 2, ..., the subject first, then what is followed, in order."""
    order = (roles.subject, *roles.references)
    places = dict(_mentions(text, len(order)))

    def called(match: re.Match) -> str:
        place = places.get(match.start())
        return match[0] if place is None else f"image {order.index(place) + 1}"

    spoken = _MENTION if any(match.start() in places for match in _MENTION.finditer(text)) else _THIS_ONE
    return spoken.sub(called, text)


def _mentions(text: str, count: int) -> list[tuple[int, int]]:
    """(position in the text, picture), in order. "this" and "that" are the pictures in their order, unless numbers are given."""
    found = []
    for match in _MENTION.finditer(text):
        place = _ORDINALS[(match.group(1) or match.group(2)).lower()]
        place = count - 1 if place == -1 else place
        if place < count:
            found.append((match.start(), place))
    if found:
        return found
    return [(match.start(), k) for k, match in enumerate(_THIS.finditer(text)) if k < count]


def sentence(roles: ImageRoles) -> str:
    """The chat's answer: what was taken for what."""
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
    others = [f"the {names[k]}" for k in roles.references]
    listed = others[0] if len(others) == 1 else f"{', '.join(others[:-1])} and {others[-1]}"
    return (f"I took the {names[roles.subject]} picture as the subject and {listed} as what it should be like. "
            "All of them lie on the mixing board, where you can swap them and say how much each counts.")
