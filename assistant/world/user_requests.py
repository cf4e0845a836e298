"""What users ask for, in their words and in the world's values, first and after they have seen something; and the scene that a request means.

`choose` obeys what was said, keeps the rest and chooses what was left open. Nothing is drawn or answered here.
"""

import random
from dataclasses import dataclass, replace
from typing import Any

from ..plan import listing
from . import vocabulary as v
from .scene import (ACCESSORIES, COLOURS, CONTEXTS, KINDS, LIGHTS, POSES, SLOTS, STAGE, STYLES, Accessory, Individual, Scene, can_pair, individual_held_out,
                    restage, sample_individual)
from .vocabulary import MISSING_DOINGS, MOODS, MOOD_ALSO, NEAREST, SAY, TWEAKS, Mood, typed


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
            asked[name] = (rng.choice(base.accessories).name,)
        elif name == "join":
            free = rng.random() < 0.15
            asked[name] = (None, None) if free else (rng.choice([k for k in KINDS if k != base.individual.kind]), rng.choice(tuple(COLOURS)) if rng.random() < 0.7 else None)
        elif name == "leave":
            asked[name] = True
        else:
            usual = [x for x in STAGE[name] if x != getattr(base, name)]
            asked[name] = rng.choice(usual if rng.random() < 0.96 else STAGE[name])
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
        things = listing([_worn(rng, n, c) for n, c in asked["wear"]])
        parts.append(f"{rng.choice(('with', 'with', 'wearing'))} {things}")
    if "context" in asked:
        parts.append(_place(rng, asked["context"]))
    if "light" in asked:
        parts.append(said_as(rng, v.LIGHT_SAID[asked["light"]]))
    if "style" in asked:
        parts.append(said_as(rng, v.STYLE_SAID[asked["style"]]))
    if "remove" in asked:
        parts.append(listing([f"without {rng.choice(('the', 'the', 'its', 'a'))} {n}" if n not in v.PLURAL
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
            things = listing([_worn(rng, n, c) for n, c in asked["wear"]])
            parts.append(rng.choice(SAY["order_wear"]).format(who=who, things=things))
        elif name == "context":
            place = said_as(rng, v.CONTEXT_SAID[asked["context"]])
            options = [f"put {who} {place}", f"place {who} {place}", f"draw {who} {place}", f"show {who} {place}",
                       f"set {who} {place}", f"change the background to {v.CONTEXT_TERSE[asked['context']][0]}"]
            bare = place.split(" ", 1)
            if bare[0] in ("in", "on", "at") and len(bare) > 1 and not bare[1].startswith(("front", "top", "mount", "holiday")):
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
            parts.append(rng.choice(SAY["order_remove"]).format(thing=asked["remove"][0]))
    return ", ".join(parts[:-1]) + (rng.choice((" and ", " and ", ", then ", ", ")) if parts[1:] else "") + parts[-1]


def _terse(rng: random.Random, asked: dict) -> str:
    """The changes as a list of bare words."""
    parts = []
    for name, value in asked.items():
        if name == "wear":
            parts += [rng.choice(("{c} {n}", "{c} {n}", "{n} ({c})", "{n}: {c}")).format(c=c, n=n) if c else n for n, c in value]
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
    return rng.choice((", ", ", ", ", ", " ", " and ", " + ", "; ", ". ", " / ")).join(parts)


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
        text, asked["remove"] = text.rstrip("?") + ", nothing on its head or body", tuple(a.name for a in base.accessories)
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


def tweak(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A comparative ("warmer") or a complaint ("too dark") that names one change."""
    name = rng.choice(tuple(TWEAKS))
    change: dict[str, Any] = dict(TWEAKS[name])
    text = rng.choice(SAY["wish_tweak"]).format(n=name)
    if rng.random() < 0.2:
        if base.light == "night":
            text, change = rng.choice(("too dark", "it's too dark", "i can't see anything, too dark")), {"light": "day"}
        elif base.light == "day":
            text, change = rng.choice(("too bright", "it's too bright for me")), {"light": "sunset"}
    if "wear" in change:
        change["wear"] = ((change["wear"], None),)
    elif name == "warmer" and rng.random() < 0.4:  # at night it cannot be the sunset that warms
        joint, night = rng.choice((", and ", " and ", ", ", " but ")), said_as(rng, v.LIGHT_SAID["night"])
        text = f"{text.rstrip('?')}{joint}{night}"
        change = {"light": "night", "wear": (("scarf", rng.choice(("red", "orange", "yellow"))),)}
    elif rng.random() < 0.22:
        more = {k: x for k, x in changes(rng, base, False).items() if k not in change and k != "remove"}
        if more:
            text = f"{text.rstrip('?')}{rng.choice((', and ', ' and ', ', '))}{modifiers(rng, more)}"
            change |= more
    return UserRequest(typed(rng, text)[0], **change)


def recolour(rng: random.Random, base: Scene) -> str:
    """A wish to change the subject itself, which the assistant keeps."""
    colour = colour_said(rng, rng.choice([c for c in COLOURS if c != base.individual.colour]))
    kind = base.individual.kind
    pattern = rng.choice(tuple(v.PATTERN_ADJ_SAID)[1:])
    text = rng.choice(SAY["wish_recolour"]).format(colour=colour, kind=kind, marks=v.PATTERN_NOUN_SAID[pattern][0], pattern=pattern)
    return typed(rng, text)[0]


def feeling(rng: random.Random, base: Scene) -> tuple[str, str]:
    """(text, feeling): a wish for another face, which the assistant can't draw."""
    feels = rng.choice(("sad", "happy", "angry", "scared", "surprised", "bored", "proud", "shy", "in love", "worried", "grumpy", "excited", "tired of it all"))
    more = {"sad": "sadder", "happy": "happier", "angry": "angrier", "grumpy": "grumpier", "shy": "shyer"}.get(feels, f"more {feels}")
    does = rng.choice(("smile", "cry", "laugh", "wink", "frown", "look at me", "close its eyes", "open its mouth", "grin"))
    s = named(rng, base, False)
    text = rng.choice(SAY["wish_face"]).format(feels=feels, more=more, s=s, does=does)
    return typed(rng, text)[0], "another face" if does not in text else rng.choice(("another face", "what its face does"))


def repaint(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """Another colour for something it wears; a new accessory if it wears nothing."""
    if not base.accessories:
        return order(rng, base, first)
    one = rng.choice(base.accessories)
    colour = rng.choice([c for c in COLOURS if c != one.colour])
    said = colour_said(rng, colour)
    text = rng.choice(SAY["wish_repaint"]).format(x=one.name, colour=said, a_x=v.wear(one.name, said), old=one.colour).replace("a orange", "an orange")
    return UserRequest(typed(rng, text)[0], wear=((one.name, colour),))


def redo(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """Another try: the same once more, or another place, style or moment of the assistant's choice."""
    roll = rng.random()
    if roll < 0.45:
        return UserRequest(typed(rng, rng.choice(SAY["wish_redo"]))[0], plea="again")
    if roll < 0.65:
        return UserRequest(typed(rng, rng.choice(SAY["wish_other_place"]))[0], context=rng.choice([c for c in CONTEXTS if c != base.context]), plea="other")
    if roll < 0.8:
        return UserRequest(typed(rng, rng.choice(SAY["wish_other_style"]))[0], style=rng.choice([x for x in STYLES if x != base.style]), plea="other")
    if base.accessories and roll < 0.9:
        text = rng.choice(SAY["wish_bare"]).format(kind=base.individual.kind)
        return UserRequest(typed(rng, text)[0], remove=tuple(a.name for a in base.accessories), plea="off")
    return UserRequest(typed(rng, rng.choice(SAY["wish_sorry"]))[0], creative=True, plea="sorry")


def refuse(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A wish that something be not so: the light, the pose, what is worn, the other subject."""
    unwanted: list[tuple[str, str, dict]] = [("light", base.light, {"light": "day"})] if base.light != "day" else []
    unwanted += [("pose", base.pose, {"pose": "standing"})] if base.pose != "standing" else []
    unwanted += [("worn", a.name, {"remove": (a.name,)}) for a in base.accessories]
    unwanted += [("other", base.companion.kind, {"leave": True})] if base.companion is not None else []
    if not unwanted:
        return order(rng, base, first)
    text, change = rng.choice([(t.format(x=x, kind=base.individual.kind), change) for about, x, change in unwanted for t in SAY["wish_not"][about]])
    return UserRequest(typed(rng, text)[0], **change)


def other_subject(rng: random.Random, base: Scene) -> tuple[str, str]:
    """(text, noun phrase): a wish for a subject that is not in the picture."""
    kinds = [k for k in KINDS if k != base.individual.kind]
    thing = rng.choice(kinds) if rng.random() < 0.35 else rng.choice(v.MISSING_THINGS)
    noun = thing if thing.endswith("s") and not thing.endswith("ss") else v.an(thing)
    return typed(rng, rng.choice(SAY["wish_other_subject"]).format(x=noun), noun)


def beyond(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A wish the world cannot grant as it stands; `creative` where no part of it can be drawn."""
    roll, s = rng.random(), named(rng, base, first)
    extra: dict = {}
    if roll < 0.45:
        what, thing = "thing", rng.choice(v.MISSING_THINGS)
        missing = thing if thing.endswith("s") and not thing.endswith("ss") else v.an(thing)
        text = rng.choice(SAY["wish_thing"]).format(s=s, x=missing)
        if rng.random() < 0.3:
            extra = {"context": rng.choice([c for c in CONTEXTS if c != base.context])}
            text = f"{text.rstrip('?')} {said_as(rng, v.CONTEXT_SAID[extra['context']])}"
    elif roll < 0.65:
        place, context = rng.choice(tuple(v.MISSING_PLACES.items()))
        what, missing, extra = "place", place.split(" ", 1)[1], {"context": context}
        text = rng.choice(SAY["wish_ask"] if first else SAY["wish_again"]).format(s=s, m=place)
        if rng.random() < 0.2:
            text = missing
    elif roll < 0.83:
        missing, style = rng.choice(tuple(v.MISSING_STYLES.items()))
        what, extra = "style", {"style": style}
        text = rng.choice(SAY["wish_style"]).format(s=s, x=missing)
    else:
        what, missing = "doing", rng.choice(v.MISSING_DOINGS)
        text = rng.choice(SAY["wish_doing"]).format(s=s, x=missing)
        if missing in v.DOING_POSE:
            extra = {"pose": v.DOING_POSE[missing]}
    text, missing = typed(rng, text, missing)
    missing = missing.lower() if missing.isupper() and len(missing) > 3 else missing
    return UserRequest(text, missing=missing, missing_is=what, creative=not extra, **extra)


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
    now = {name: getattr(base, name) for name in STAGE}
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
    elsewhere = any(getattr(wish, name) is not None for name in STAGE)
    worn = [a for a in worn if a.name not in wish.remove]
    for name, colour in wear:
        beside = [a for a in worn if SLOTS[a.name] == SLOTS[name]]
        swapped = (name, beside[0].name) if beside and beside[0].name != name else swapped
        if elsewhere and not colour:  # "on a farm with sunglasses" names those that it has on
            colour = next((a.colour for a in worn if a.name == name), None)
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
    if missing in MISSING_DOINGS:
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
