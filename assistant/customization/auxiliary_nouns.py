"""The auxiliary noun of DCI: what stands where the concept was, so that the rest of the prompt is drawn as words alone say.

Any common noun but the class noun will do; one that is likely in the prompt's context is better. A table says which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ConceptError

# Words of a context -> nouns that are often seen there, likeliest first.
LIKELY: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("underwater", "sea", "reef", "ocean", "aquarium", "bottom of the sea"), ("fish", "turtle")),
    (("beach", "shore", "sand", "seaside", "coast", "pond", "lake", "river"), ("duck", "turtle", "boat")),
    (("space", "moon", "planet", "stars", "rocket"), ("robot", "astronaut")),
    (("snow", "ice", "winter", "arctic"), ("fox", "bear")),
    (("forest", "woods", "trees", "mountain", "mountains"), ("bear", "fox", "owl", "deer")),
    (("garden", "park", "farm", "meadow", "grass"), ("bunny", "dog", "horse")),
    (("kitchen", "table", "breakfast", "tea"), ("mug", "teapot", "bowl")),
    (("library", "school", "books", "study"), ("owl", "backpack", "book")),
    (("city", "street", "road", "traffic"), ("car", "dog", "person")),
    (("night", "clouds", "sky", "castle"), ("owl", "bird")),
    (("hat", "scarf", "crown", "sunglasses", "wearing", "holding"), ("bear", "person")),
)
COMMON = ("dog", "cat", "bear", "car", "bird", "person", "chair", "cup")  # where the context says nothing


def propose(words: str, noun: str, known: Sequence[str] = (), count: int = 4) -> tuple[str, ...]:
    """Auxiliary nouns for a prompt, best first; never the class noun, nor one that the prompt says already.

    Args:
        words: the prompt as the base model reads it.
        noun: the class noun. known: nouns that the base model knows; empty: any.
    """
    said = set(re.findall(r"[a-z]+", words.lower())) | {noun.lower()}
    near = [n for context, nouns in LIKELY if any(_holds(words, c) for c in context) for n in nouns]
    ordered = dict.fromkeys([*near, *COMMON, *known])
    return tuple(n for n in ordered if n not in said and (not known or n in known))[:count]


def check(auxiliary: str, noun: str) -> str:
    """The noun, trimmed.

    Raises:
        ConceptError: none, the class noun itself, or more than a noun.
    """
    found = " ".join(auxiliary.split())
    if not found:
        raise ConceptError("There is no auxiliary noun.", "Say a common noun, for instance: dog.")
    if found.lower() == noun.lower():
        raise ConceptError(f"The auxiliary noun is “{found}”, which is the concept's own class noun.", "Choose another noun.")
    if len(found) > 40 or not re.fullmatch(r"[\w' -]+", found):
        raise ConceptError(f"“{found[:40]}” is no auxiliary noun: it can be 1 to 40 letters.", "Choose a common noun, for instance: dog.")
    return found


def article_for(before: str, noun: str) -> str:
    """`before` with its last article, a or an, as the noun wants it: "riding a " before "owl" -> "riding an "."""
    right = "an" if noun[:1].lower() in tuple("aeiou") else "a"
    return re.sub(r"\b[Aa]n?(\s+)$", lambda found: (right.capitalize() if found[0][0] == "A" else right) + found[1], before)


def _holds(words: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", words.lower()) is not None
