"""A picture as a bag of words: the tokens by which the miniature's language model learns to read a picture before it sees one.

M is trained on text alone, with a picture given as slots that hold mixtures of these words' embeddings; V then learns to
produce such slots from E(x) while M stays frozen. At full size an LLM that has read the web needs no such thing.
"""

from __future__ import annotations

from .world import ACCESSORIES, COLOURS, CONTEXTS, KINDS, LIGHTS, PATTERNS, POSES, STYLES, Scene

_ROLES: dict[str, tuple[str, ...]] = {
    "kind": KINDS, "main": tuple(COLOURS), "second": tuple(COLOURS), "pattern": PATTERNS, "context": CONTEXTS,
    "light": LIGHTS, "style": STYLES, "pose": POSES, **{a: tuple(COLOURS) for a in ACCESSORIES}}
VISUAL_WORDS: tuple[str, ...] = tuple(f"<v:{role}={value}>" for role, values in _ROLES.items() for value in values)
_INDEX = {word: i for i, word in enumerate(VISUAL_WORDS)}
MOST = 10  # words of one scene, at most: eight attributes and two accessories


def visual_words(scene: Scene) -> list[int]:
    """Indices into VISUAL_WORDS of what is in a scene, 8 to 10 of them."""
    who = scene.individual
    pairs = [("kind", who.kind), ("main", who.colour), ("second", who.second), ("pattern", who.pattern),
             ("context", scene.context), ("light", scene.light), ("style", scene.style), ("pose", scene.pose)]
    pairs += [(a.name, a.colour) for a in scene.accessories]
    return [_INDEX[f"<v:{role}={value}>"] for role, value in pairs]
