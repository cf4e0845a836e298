"""Samples whole conversations about a picture from a state that is the truth: what is seen, a wish, the plan, a reply. Knows no model."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ..plan import Plan
from . import free_questions, free_wording, user_requests, edit_requests, small_talk
from .captions import describe, plan_of
from .scene_planner import choose
from .replies import declined, reply
from .user_requests import UserRequest
from .small_talk import Talk
from .vocabulary import SAY
from .scene import Scene, combination_held_out, sample_individual, sample_scene


@dataclass(frozen=True)
class Exchange:
    """One turn. `target` is the scene drawn with the reply; None: answered in words only."""

    user: str
    reply: str
    target: Scene | None
    plan: Plan


@dataclass(frozen=True)
class Dialogue:
    """A conversation; `photo` None: no picture was given."""

    photo: Scene | None
    exchanges: tuple[Exchange, ...]


_FIRST = ((user_requests.order, 50), (user_requests.vague, 21), (edit_requests.beyond, 6), (edit_requests.tweak, 3), (edit_requests.repaint, 2))
_NEXT = ((user_requests.order, 48), (edit_requests.tweak, 10), (edit_requests.redo, 9), (user_requests.vague, 7), (edit_requests.beyond, 5), (edit_requests.repaint, 5),
         (edit_requests.refuse, 5))
_IN_WORDS = 0.32  # share of turns that are answered without a picture
_DECLINED = 0.09  # share of turns whose wish can't be drawn
_BACK = 0.14  # share of turns, once there is something to go back to, that do
_FREE = 0.75  # share of turns in free wordings
_GIVEN = 0.04  # share of pictures whose plan was given, and came from no words


def operations(base: Scene, wish: UserRequest, target: Scene) -> str:
    """What leads from what stands to the picture of a wish, as `dialogue_state.applied` reads it."""
    before, after, asked = plan_of(base), plan_of(target), {name for name, _ in wish.wear}
    items = [wish.back] if wish.back else []
    items += [f"{name} {getattr(after, name)}" for name, said in (("place", wish.context), ("light", wish.light), ("style", wish.style), ("pose", wish.pose))
              if said is not None or getattr(before, name) != getattr(after, name)]
    gone = [a.name for a in base.accessories if a.name in wish.remove and a.name not in {b.name for b in target.accessories}]
    items += ["off all"] if len(gone) == len(base.accessories) > 1 or gone and wish.plea == "off" else [f"off {name}" for name in gone]
    items += [dict(wish.how).get(a.name, f"wear {a.colour} {a.name}") for a in target.accessories if a not in base.accessories or a.name in asked]
    if after.other != before.other or wish.leave:
        items.append(f"with {after.other}" if after.other else "alone")
    return "; ".join(("draw", *items))


def drawn(rng: random.Random, talk: Talk, base: Scene, wish: UserRequest, held_out: bool) -> Exchange | None:
    """Answer a wish with a picture that goes on from `base`; None if the choice is one that training must not see."""
    first = talk.last is None
    choice = choose(rng, base, wish, first)
    if not first and rng.random() < 0.14:
        wish = replace(wish, text=small_talk.aside(rng, wish.text))
    if not held_out and combination_held_out(choice.target):
        return None
    change = "" if rng.random() < _GIVEN else operations(base, wish, choice.target)
    return Exchange(wish.text, "" if talk.quiet else reply(rng, wish, choice, first), choice.target, replace(plan_of(choice.target), change=change))


def dialogue(rng: random.Random, held_out: bool = False, turns: int | None = None, photo: Scene | None = None, quiet: bool = False) -> Dialogue:
    """Sample an individual, a photo of it (or none) and a conversation.

    Args:
        held_out: individuals kept for evaluation, any combination; else training individuals and combinations only.
        turns: number of exchanges; None draws one to four.
        photo: the photo, if it is given.
        quiet: of the replies that come with pictures, the last alone has words.
    """
    count = turns or rng.choices((1, 2, 3, 4), (32, 28, 22, 18))[0]
    if photo is None:
        photo = sample_scene(rng, sample_individual(rng, held_out), None if held_out else False)
        if rng.random() < 0.12:
            return Dialogue(None, tuple(Exchange(text, answer, None, Plan("ask", about="picture")) for text, answer in (
                small_talk.without_picture(rng, photo, i) for i in range(count))))
    talk = Talk.about(photo)
    exchanges: list[Exchange] = []
    while len(exchanges) < count:
        exchange, offer = _turn(rng, replace(talk, quiet=quiet and len(exchanges) + 1 < count), held_out)
        if exchange is None:
            continue
        exchanges.append(exchange)
        talk = replace(talk if exchange.target is None else talk.after(exchange.target, exchange.plan.change), offer=offer, turns=talk.turns + 1)
    return Dialogue(photo, tuple(exchanges))


def _turn(rng: random.Random, talk: Talk, held_out: bool) -> tuple[Exchange | None, UserRequest | None]:
    """One exchange (None: draw again) and what its reply offered to draw."""
    first, base = talk.last is None, talk.seen
    if talk.offer is not None and rng.random() < 0.6:
        return drawn(rng, talk, base, replace(talk.offer, text=small_talk.yes(rng)), held_out), None
    roll, freely = rng.random(), rng.random() < _FREE
    if roll < _IN_WORDS:
        said = (free_questions if freely else small_talk).in_words(rng, talk)
        return Exchange(said.text, said.answer, None, Plan(said.act, about=said.about)), said.offer
    if roll < _IN_WORDS + _DECLINED:
        if freely:
            return _offered(rng, talk, *free_wording.beyond(rng, base, first), None)
        return _decline(rng, talk)
    if not first and roll < _IN_WORDS + _DECLINED + _BACK:
        back, wish = free_wording.back(rng, talk)
        return drawn(rng, talk, back, wish, held_out), None
    if freely:
        return drawn(rng, talk, base, free_wording.wish(rng, talk), held_out), None
    makers, weights = zip(*(_FIRST if first else _NEXT), strict=True)
    wish = rng.choices(makers, weights)[0](rng, base, first)
    if wish.missing and wish.creative:  # no part of it can be drawn
        return _offered(rng, talk, wish.text, wish.missing, wish.missing_is == "doing", "thing", wish)
    return drawn(rng, talk, base, wish, held_out), None


def _decline(rng: random.Random, talk: Talk) -> tuple[Exchange, UserRequest | None]:
    """A wish that can't be drawn as a whole: the subject's own look, its face, another subject, another language's words."""
    roll, base = rng.random(), talk.seen
    if roll < 0.4:
        text, what = edit_requests.recolour(rng, base), "look"
        said = rng.choice(SAY["decline_look"])
        return _said(rng, talk, text, said, what)
    if roll < 0.65:
        text, face = edit_requests.feeling(rng, base)
        return _offered(rng, talk, text, face, False, "face", None)
    text, noun = edit_requests.other_subject(rng, base)
    one = describe(base.individual)
    return _said(rng, talk, text, rng.choice(SAY["decline_subject"]).format(one=one, noun=noun), "subject")


def _offered(rng: random.Random, talk: Talk, text: str, missing: str, doing: bool, about: str, wish: UserRequest | None) -> tuple[Exchange, UserRequest | None]:
    """Say what can't be drawn and offer the nearest thing that can."""
    question, offer = small_talk.nearest_offer(rng, talk.seen, wish) if wish is not None else small_talk.offered(rng, talk.seen)
    return Exchange(text, declined(rng, missing, doing, question), None, Plan("decline", about=about)), offer


def _said(rng: random.Random, talk: Talk, text: str, answer: str, about: str) -> tuple[Exchange, UserRequest | None]:
    offer = None
    if rng.random() < 0.6:
        question, offer = small_talk.offered(rng, talk.seen)
        answer = f"{answer} {question}"
    return Exchange(text, answer, None, Plan("decline", about=about)), offer
