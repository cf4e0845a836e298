"""Words for what the drawn world does not have: things, places, styles and doings, so that refusals learn to copy them."""

from __future__ import annotations

from .vocabulary import bank

_WORDS = bank("outside")
THINGS, DOINGS, TOPICS = _WORDS["things"], _WORDS["doings"], _WORDS["topics"]
PLACES: dict[str, str] = _WORDS["places"]  # what people name -> nearest context
STYLES: dict[str, str] = _WORDS["styles"]  # "as ..." -> nearest style
DOING_POSE: dict[str, str] = _WORDS["doing_pose"]
NEAREST: dict[str, tuple[str, str]] = {thing: (what, value) for what, values in _WORDS["nearest"].items() for value, things in values.items()
                                       for thing in things}  # thing -> what comes closest to it, "context" or "wear", and its value
PEOPLE, STUFF, PARTS, BREEDS = (_WORDS[name] for name in ("people", "stuff", "parts", "breeds"))  # PARTS: of an "animal", of an "object"
