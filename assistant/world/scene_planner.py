"""Turns a wish into the scene to be drawn: obeys what was said, keeps the rest, chooses what was left open. Writes no words."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .out_of_domain_terms import DOINGS, NEAREST
from .user_requests import UserRequest
from .scene import (ACCESSORIES, COLOURS, CONTEXTS, KINDS, LIGHTS, POSES, SLOTS, STYLES, Accessory, Individual, Scene, can_pair,
                    individual_held_out, restage, sample_individual)

_WARM = {"red", "orange", "yellow", "pink", "brown"}
_COOL = {"green", "teal", "blue", "purple"}


@dataclass(frozen=True)
class ScenePlan:
    """The scene to draw, and what the reply should say of how it came about."""

    target: Scene
    said: frozenset[str]  # attributes the user asked for or the assistant chose: context, light, style, pose, wear
    swapped: tuple[str, str] | None = None  # a new accessory and the one in whose place it goes
    dropped: tuple[str, ...] = ()  # accessories that went because two is the most
    given: Accessory | None = None  # the accessory added last
    near: str = ""  # what stands in for a missing thing: "near", the closest known, or "instead", a free choice


def accent(rng: random.Random, scene: Scene, pool: tuple[str, ...] = ()) -> str:
    """A colour for an accessory: from the pool, or repeating the pattern's, or standing out against the body."""
    one = scene.individual
    options = [c for c in pool if c != one.colour]
    if options:
        return rng.choice(options)
    if one.pattern != "plain" and rng.random() < 0.4:
        return one.second
    contrast = _COOL if one.colour in _WARM else _WARM
    return rng.choice([c for c in COLOURS if c != one.colour and (c in contrast or one.colour not in _WARM | _COOL)])


def _fitting(rng: random.Random, values: tuple[str, ...], other_than: str) -> str:
    return rng.choice([x for x in values if x != other_than] or list(values))


def choose(rng: random.Random, base: Scene, wish: UserRequest, first: bool) -> ScenePlan:
    """The scene that answers a wish.

    Args:
        base: the previous picture, or the photo if nothing was drawn yet.
        first: nothing was drawn yet.
    """
    now = {name: getattr(base, name) for name in ("context", "light", "style", "pose")}
    worn = list(base.accessories)
    said: set[str] = set()
    near = "near" if wish.missing and wish.missing_is != "thing" else ""
    wear, pool = list(wish.wear), ()
    if wish.creative and not wish.missing:
        mood = wish.mood
        pool = mood.colours if mood else ()
        if first or rng.random() < 0.7:
            now["context"] = _fitting(rng, mood.contexts if mood else CONTEXTS, base.context)
            said.add("context")
        if first or rng.random() < 0.7 or not said:
            now["light"] = rng.choice(mood.lights) if mood else rng.choices(LIGHTS, (5, 3, 3))[0]
            said.add("light")
        if rng.random() < 0.65:
            now["style"] = rng.choice(mood.styles if mood else STYLES)
            said.add("style")
        now["pose"] = rng.choice(mood.poses) if mood else rng.choices(POSES, (4, 3, 2, 2))[0]
        if now["pose"] != "standing":
            said.add("pose")
        taken = {SLOTS[a.name] for a in worn}
        free = [n for n in (mood.accessories if mood else ACCESSORIES) if SLOTS[n] not in taken]
        if not wear and free and len(worn) < 2 and rng.random() < 0.6:
            wear = [(rng.choice(free), None)]
    elif wish.missing and wish.creative:
        near = _nearest(rng, base, wish.missing, now, wear, said)
    for name in now:
        if getattr(wish, name) is not None:
            now[name] = getattr(wish, name)
            said.add(name)
    swapped, dropped, given = None, (), None
    worn = [a for a in worn if a.name not in wish.remove]
    for name, colour in wear:
        beside = [a for a in worn if SLOTS[a.name] == SLOTS[name]]
        swapped = (name, beside[0].name) if beside and beside[0].name != name else swapped
        given = Accessory(name, colour or accent(rng, base, pool))
        worn = [a for a in worn if SLOTS[a.name] != SLOTS[name]] + [given]
        said.add("wear")
    while len(worn) > 2:
        dropped += (worn.pop(0).name,)
    companion = None if wish.leave else base.companion
    if wish.join is not None:
        companion = _friend(rng, base, *wish.join)
        said.add("companion")
    target = restage(rng, base, accessories=tuple(worn), companion=companion, **now)
    return ScenePlan(target, frozenset(said), swapped, dropped, given, near)


def _friend(rng: random.Random, base: Scene, kind: str | None, colour: str | None) -> Individual:
    """Another subject: plain, so that its words say all that is seen of it; of a chosen colour, or one that the first has not."""
    while True:
        kind = kind or rng.choice([k for k in KINDS if k != base.individual.kind])
        one = replace(sample_individual(rng), kind=kind, pattern="plain", colour=colour or rng.choice([c for c in COLOURS if c != base.individual.colour]))
        if can_pair(one.colour, one.second) and one.second != one.colour and not individual_held_out(one):
            return one


def _nearest(rng: random.Random, base: Scene, missing: str, now: dict, wear: list, said: set[str]) -> str:
    """What comes closest to a missing thing or doing: a place, an accessory or a pose. Returns `ScenePlan.near`."""
    missing = missing.lower()
    if missing in DOINGS:
        now["pose"] = _fitting(rng, POSES[1:], base.pose)
        said.add("pose")
        return ""
    thing = missing.split(" ", 1)[1] if missing.startswith(("a ", "an ")) else missing
    what, value = NEAREST.get(thing, ("", ""))
    taken = {SLOTS[a.name] for a in base.accessories}
    free = [n for n in ACCESSORIES if SLOTS[n] not in taken]
    if what == "context" and value != base.context:
        now["context"] = value
        said.add("context")
        return "near"
    if what == "wear":
        wear.append((value, None))
        return "near"
    if len(base.accessories) < 2:
        wear.append((rng.choice(free), None))
    else:
        now["context"] = _fitting(rng, CONTEXTS, base.context)
        said.add("context")
    return "instead"
