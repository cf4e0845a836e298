"""What users ask for: a `UserRequest` says it in their words and in the world's values. Draws nothing and answers nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import vocabulary as v
from .vague_requests import MOOD_ALSO, MOODS, Mood
from .text_noise import typed
from .vocabulary import SAY
from .scene import ACCESSORIES, COLOURS, CONTEXTS, KINDS, LIGHTS, POSES, SLOTS, STYLES, Scene


@dataclass(frozen=True)
class UserRequest:
    """A request for a picture. None and empty: not said."""

    text: str
    context: str | None = None
    light: str | None = None
    style: str | None = None
    pose: str | None = None
    wear: tuple[tuple[str, str | None], ...] = ()  # (accessory, colour or None)
    remove: tuple[str, ...] = ()
    join: tuple[str | None, str | None] | None = None  # another subject beside it: (kind, colour); None: the assistant's choice
    leave: bool = False  # the other subject goes
    mood: Mood | None = None
    creative: bool = False  # the assistant is free to choose
    missing: str = ""  # what the world does not have, in the user's words
    missing_is: str = ""  # "thing", "place", "style" or "doing"
    occasion: str = ""  # what it is for, in the user's words
    plea: str = ""  # "again", "recolour", "undo", "other place", "off": said in the reply's first words
    how: tuple[tuple[str, str], ...] = ()  # (accessory, the operation that puts it on), where its colour is not said by name
    back: str = ""  # the operation that goes back to something seen before


def named(rng: random.Random, base: Scene, first: bool) -> str:
    """How people refer to the subject."""
    one = base.individual
    kind = one.kind if rng.random() < 0.8 else rng.choice(v.KIND_SAID[one.kind])
    if not first and rng.random() < 0.7:
        return rng.choice(("it", "it", "it", "him", "her", "this", "the same", "them"))
    return rng.choice(SAY["named"]).format(kind=kind, colour=one.colour)


def said_as(rng: random.Random, phrases: tuple[str, ...]) -> str:
    """One of the ways to say it, the usual ones more often."""
    return rng.choice(phrases[:3]) if rng.random() < 0.35 else rng.choice(phrases)


def _place(rng: random.Random, context: str) -> str:
    if context in ("mountains", "city", "castle", "volcano", "clouds", "forest") and rng.random() < 0.12:
        noun = v.CONTEXT_TERSE[context][0]
        return f"with {noun if context in v.CONTEXT_MANY else v.an(noun)} in the background"
    return said_as(rng, v.CONTEXT_SAID[context])


def colour_said(rng: random.Random, colour: str) -> str:
    """A colour as people name it."""
    return colour if rng.random() < 0.75 else rng.choice(v.COLOUR_SAID[colour])


def _worn(rng: random.Random, name: str, colour: str | None) -> str:
    said = name if rng.random() < 0.6 else rng.choice(v.ACCESSORY_SAID[name])
    return v.wear(said, colour_said(rng, colour) if colour else None)


def changes(rng: random.Random, base: Scene, first: bool) -> dict:
    """One to three attributes to ask for, each other than what the base has."""
    names = {"context": 5, "wear": 4, "style": 3.5, "light": 2.5, "pose": 1.6}
    if base.accessories:
        names["remove"] = 1.3
    names |= {"leave": 2.5} if base.companion else {"join": 1.2}
    count = rng.choices((1, 2, 3, 4), (48, 33, 15, 4) if first else (68, 26, 6, 0))[0]
    asked: dict = {}
    while len(asked) < count:
        name = rng.choices(tuple(names), tuple(names.values()))[0]
        if name in asked:
            continue
        if name == "wear":
            asked[name] = _wear(rng, rng.choices((1, 2, 3), (87, 12, 1))[0])
        elif name == "remove":
            taken = rng.choice(base.accessories).name
            asked[name] = (taken,)
        elif name == "join":
            free = rng.random() < 0.15
            asked[name] = (None, None) if free else (rng.choice([k for k in KINDS if k != base.individual.kind]), rng.choice(tuple(COLOURS)) if rng.random() < 0.7 else None)
        elif name == "leave":
            asked[name] = True
        else:
            values = {"context": CONTEXTS, "light": LIGHTS, "style": STYLES, "pose": POSES}[name]
            usual = [x for x in values if x != getattr(base, name)]
            asked[name] = rng.choice(usual if rng.random() < 0.96 else values)
    if "remove" in asked and "wear" in asked:
        asked["wear"] = tuple(w for w in asked["wear"] if w[0] not in asked["remove"])
        if not asked["wear"]:
            del asked["wear"]
    return asked


def _wear(rng: random.Random, count: int) -> tuple[tuple[str, str | None], ...]:
    chosen: list[tuple[str, str | None]] = []
    while len(chosen) < count:
        name = rng.choice(ACCESSORIES)
        if SLOTS[name] not in {SLOTS[n] for n, _ in chosen} or (rng.random() < 0.03 and name not in dict(chosen)):
            chosen.append((name, rng.choice(tuple(COLOURS)) if rng.random() < 0.72 else None))
    return tuple(chosen)


def modifiers(rng: random.Random, asked: dict) -> str:
    """The changes as phrases after a noun: "jumping on mars at night with a red hat"."""
    parts = []
    if "wear" in asked:
        things = v.listing([_worn(rng, n, c) for n, c in asked["wear"]])
        parts.append(f"{rng.choice(('with', 'with', 'wearing'))} {things}")
    if "context" in asked:
        parts.append(_place(rng, asked["context"]))
    if "light" in asked:
        parts.append(said_as(rng, v.LIGHT_SAID[asked["light"]]))
    if "style" in asked:
        parts.append(said_as(rng, v.STYLE_SAID[asked["style"]]))
    if "remove" in asked:
        parts.append(v.listing([f"without {rng.choice(('the', 'the', 'its', 'a'))} {n}" if n not in v.PLURAL
                                else f"without {rng.choice(('the ', 'its ', ''))}{n}" for n in asked["remove"]]))
    if "leave" in asked:
        parts.append(rng.choice(("alone", "alone again", "on its own", "by itself", "without the other one", "without its friend")))
    rng.shuffle(parts)
    if "join" in asked:
        parts.insert(rng.choice((0, len(parts))), rng.choice(v.JOINED).format(x=friend(rng, asked["join"])))
    if "pose" in asked:
        parts.insert(0, said_as(rng, v.POSE_SAID[asked["pose"]]))
    return " ".join(parts)


def friend(rng: random.Random, join: tuple[str | None, str | None]) -> str:
    """Another subject in a user's words, with its article."""
    kind, colour = join
    if kind is None:
        return rng.choice(("a friend", "a friend", "its friend", "a buddy", "a companion", "someone else", "some company", "another character", "a pal", "a second one"))
    said = kind if rng.random() < 0.8 else rng.choice(v.KIND_SAID[kind])
    return v.an(f"{colour_said(rng, colour)} {said}" if colour else said)


def _verbs(rng: random.Random, asked: dict, it: str) -> str:
    """The changes as orders: "give it a red hat and put it on the beach"."""
    parts = []
    for name in rng.sample(tuple(asked), len(asked)):
        who = it if not parts else "it"
        if name == "wear":
            things = v.listing([_worn(rng, n, c) for n, c in asked["wear"]])
            parts.append(rng.choice(SAY["order_wear"]).format(who=who, things=things))
        elif name == "context":
            place = said_as(rng, v.CONTEXT_SAID[asked["context"]])
            options = [f"put {who} {place}", f"place {who} {place}", f"draw {who} {place}", f"show {who} {place}",
                       f"set {who} {place}", f"change the background to {v.CONTEXT_TERSE[asked['context']][0]}"]
            bare = place.split(" ", 1)
            if bare[0] in ("in", "on",
                           "at") and len(bare) > 1 and not bare[1].startswith(("front", "top", "mount", "holiday")):
                options += [f"take {who} to {bare[1]}", f"send {who} to {bare[1]}", f"move {who} to {bare[1]}"]
            parts.append(rng.choice(options))
        elif name == "light":
            noun, phrase = rng.choice(v.LIGHT_TERSE[asked["light"]]), said_as(rng, v.LIGHT_SAID[asked["light"]])
            parts.append(rng.choice(SAY["order_light"]).format(noun=noun, phrase=phrase))
        elif name == "style":
            phrase, noun = said_as(rng, v.STYLE_SAID[asked["style"]]), rng.choice(v.STYLE_TERSE[asked["style"]])
            parts.append(rng.choice(SAY["order_style"]).format(noun=noun, who=who, phrase=phrase))
        elif name == "join":
            parts.append(rng.choice(v.JOIN).format(x=friend(rng, asked["join"]), s=who))
        elif name == "leave":
            parts.append(rng.choice(SAY["order_leave"]).format(s=who))
        elif name == "pose":
            verb = rng.choice(v.POSE_BARE[asked["pose"]])
            parts.append(rng.choice((f"make {who} {verb}", f"let {who} {verb}", f"have {who} {verb}")))
        else:
            thing = asked["remove"][0]
            parts.append(rng.choice(SAY["order_remove"]).format(thing=thing))
    return ", ".join(parts[:-1]) + (rng.choice((" and ", " and ", ", then ", ", ")) if parts[1:] else "") + parts[-1]


def _terse(rng: random.Random, asked: dict) -> str:
    """The changes as a list of bare words."""
    parts = []
    for name, value in asked.items():
        if name == "wear":
            parts += [f"{c} {n}" if c else n for n, c in value]
        elif name == "remove":
            parts += [f"no {n}" for n in value]
        elif name == "join":
            parts.append(rng.choice(("plus {x}", "and {x}", "with {x}")).format(x=friend(rng, value)))
        elif name == "leave":
            parts.append(rng.choice(("alone", "no friend", "just one")))
        elif name == "pose":
            parts.append(rng.choice(v.POSE_SAID[value]))
        else:
            said = {"context": v.CONTEXT_TERSE, "light": v.LIGHT_TERSE, "style": v.STYLE_TERSE}[name][value]
            parts.append(said[0] if rng.random() < 0.3 else rng.choice(said))
    rng.shuffle(parts)
    return rng.choice((", ", ", ", " ", " and ", " + ")).join(parts)


def order(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """An explicit wish for one to four attributes."""
    asked = changes(rng, base, first)
    roll = rng.random()
    if not first and roll < 0.08 and set(asked) == {"context"}:
        old = v.CONTEXT_SAID[base.context][0]
        new = said_as(rng, v.CONTEXT_SAID[asked["context"]])
        text = rng.choice((f"not {old}, {new}", f"{new} instead of {v.CONTEXT_TERSE[base.context][0]}",
                           f"not {old} but {new}", f"i don't want it {old}, rather {new}"))
    elif roll < (0.22 if first else 0.18):
        text = _terse(rng, asked)
    elif roll < 0.58:
        text = rng.choice(SAY["wish_verb"]).format(v=_verbs(rng, asked, named(rng, base, first)))
        text = text if first or rng.random() < 0.6 else f"{rng.choice(('now', 'now', 'ok now', 'then', 'next'))} {text}"
    elif first or rng.random() < 0.25:
        text = rng.choice(SAY["wish_ask"]).format(s=named(rng, base, first), m=modifiers(rng, asked))
    else:
        text = rng.choice(SAY["wish_again"]).format(m=modifiers(rng, asked))
    if first and base.accessories and "remove" not in asked and "wear" not in asked and rng.random() < 0.03:
        text, asked["remove"] = text.rstrip("?") + ", nothing on its head or body", tuple(
            a.name for a in base.accessories)
    return UserRequest(typed(rng, text)[0], **asked)


def vague(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A wish that leaves the choice to the assistant: a mood, an occasion, or nothing at all."""
    s, roll = named(rng, base, first), rng.random()
    if roll < 0.28:
        return UserRequest(typed(rng, rng.choice(SAY["wish_creative"]).format(s=s))[0], creative=True)
    mood = rng.choice(MOODS)
    adjective = mood.name if rng.random() < 0.4 else rng.choice(MOOD_ALSO[mood.name])
    occasion = rng.choice(mood.occasions)
    extra: dict = {}
    if roll < 0.62:
        frame = rng.choice(SAY["wish_feel"]).replace("a {a}", "{aa}")
        text, said = frame.format(aa=v.an(adjective), a=adjective, s=s), ""
    elif roll < 0.9:
        text, said = rng.choice(SAY["wish_for"]).format(o=occasion, s=s), occasion
    else:
        frame = rng.choice(SAY["wish_both"]).replace("a {a}", "{aa}")
        text, said = frame.format(aa=v.an(adjective), a=adjective, o=occasion, s=s), occasion
    if rng.random() < 0.16:
        extra = {k: x for k, x in changes(rng, base, True).items() if k != "remove"}
        extra = dict(list(extra.items())[:1])
        if extra:
            text = f"{text.rstrip('?')}{rng.choice((', ', ' and ', ', maybe '))}{modifiers(rng, extra)}"
    text, said = typed(rng, text, said)
    said = said.lower() if said.isupper() else said
    return UserRequest(text, mood=mood, creative=True, occasion=said, **extra)
