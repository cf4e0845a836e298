"""What a vague wish may mean: moods with what suits them, and reasons.

Reasons never name a value of the world other than the one they are about, so that a reply can be read back.
"""

from __future__ import annotations

from dataclasses import dataclass

from .vocabulary import bank


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


_WORDS = bank("moods")
MOODS = tuple(Mood(**about) for about in _WORDS["moods"])
MOOD_ALSO = _WORDS["also"]  # a mood's name -> other adjectives for it
CONTEXT_IS, STYLE_IS, LIGHT_MAKES, POSE_MAKES, ACCESSORY_ADDS = (
    _WORDS[name] for name in ("context_is", "style_is", "light_makes", "pose_makes", "accessory_adds"))  # reasons
TWEAKS: dict[str, dict[str, str]] = _WORDS["tweaks"]  # "warmer": what changes
