"""Samples whole conversations about a picture: one to three turns, drawn or answered in words. Knows no model."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from . import requests, revisions, smalltalk
from .choices import choose
from .replies import reply
from .requests import Wish
from .world import Scene, combination_held_out, sample_individual, sample_scene


@dataclass(frozen=True)
class Exchange:
    """One turn. `target` is the scene drawn with the reply; None: answered in words only."""

    user: str
    reply: str
    target: Scene | None


@dataclass(frozen=True)
class Dialogue:
    """A conversation; `photo` None: no picture was given."""

    photo: Scene | None
    exchanges: tuple[Exchange, ...]


_FIRST = ((requests.order, 46), (requests.vague, 21), (revisions.beyond, 9), (revisions.recolour, 2),
          (revisions.tweak, 3),
          (revisions.repaint, 2))
_NEXT = ((requests.order, 48), (revisions.tweak, 10), (revisions.redo, 12), (requests.vague, 7), (revisions.beyond, 7),
         (revisions.recolour, 2), (revisions.repaint, 5))
_IN_WORDS = 0.24  # share of turns answered without a picture


def drawn(rng: random.Random, base: Scene, wish: Wish, first: bool, held_out: bool) -> Exchange | None:
    """Answer a wish with a picture; None if the choice is one that training must not see."""
    choice = choose(rng, base, wish, first)
    if not held_out and combination_held_out(choice.target):
        return None
    return Exchange(wish.text, reply(rng, wish, choice, first), choice.target)


def dialogue(rng: random.Random, held_out: bool = False, turns: int | None = None) -> Dialogue:
    """Sample an individual, a photo of it (or none) and a conversation.

    Args:
        held_out: individuals kept for evaluation, any combination; else training individuals and combinations only.
        turns: number of exchanges; None draws one to three.
    """
    photo = sample_scene(rng, sample_individual(rng, held_out), None if held_out else False)
    count = turns or rng.choices((1, 2, 3), (42, 33, 25))[0]
    if rng.random() < 0.12:
        return Dialogue(None, tuple(Exchange(*smalltalk.without_picture(rng, photo, i), None) for i in range(count)))
    state = smalltalk.Talk(photo)
    exchanges: list[Exchange] = []
    while len(exchanges) < count:
        exchange, offer = _turn(rng, state, held_out)
        if exchange is None:
            continue
        exchanges.append(exchange)
        state = replace(state, offer=offer, turns=state.turns + 1)
        if exchange.target is not None:
            state = replace(state, before=state.last, last=exchange.target)
    return Dialogue(photo, tuple(exchanges))


def _turn(rng: random.Random, state: smalltalk.Talk, held_out: bool) -> tuple[Exchange | None, Wish | None]:
    """One exchange (None: draw again) and what its reply offered to draw."""
    first, base = state.last is None, state.last or state.photo
    if state.offer is not None and rng.random() < 0.6:
        text = smalltalk.yes(rng)
        return drawn(rng, base, replace(state.offer, text=text), first, held_out), None
    if rng.random() < _IN_WORDS:
        text, answer, offer = smalltalk.in_words(rng, state)
        return Exchange(text, answer, None), offer
    if state.before is not None and rng.random() < 0.04:
        return drawn(rng, state.before, Wish(smalltalk.undo(rng), plea="undo"), False, held_out), None
    if rng.random() < 0.025:
        return drawn(rng, base, smalltalk.foreign(rng), first, held_out), None
    makers, weights = zip(*(_FIRST if first else _NEXT), strict=True)
    wish = rng.choices(makers, weights)[0](rng, base, first)
    return drawn(rng, base, wish, first, held_out), None
