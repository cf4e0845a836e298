"""How people type: case, punctuation, slips of the finger, American spelling, short forms."""

from __future__ import annotations

import random
import re

from .vocabulary import SAY

_SHORT = {"please": "pls", "you": "u", "thanks": "thx", "are": "r", "and": "n", "with": "w/", "for": "4",
          "because": "cuz"}
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
