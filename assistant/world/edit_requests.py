"""What users ask for after they have seen something: corrections, comparatives, another try, another subject. Draws nothing."""

from __future__ import annotations

import random

from . import out_of_domain_terms
from . import vocabulary as v
from .vague_requests import TWEAKS
from .user_requests import UserRequest, changes, colour_said, modifiers, named, order, said_as
from .text_noise import typed
from .vocabulary import SAY
from .scene import COLOURS, CONTEXTS, KINDS, STYLES, Scene


def tweak(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A comparative ("warmer") or a complaint ("too dark") that names one change."""
    name = rng.choice(tuple(TWEAKS))
    change = dict(TWEAKS[name])
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
        text = rng.choice(SAY["wish_redo"])
        return UserRequest(typed(rng, text)[0], plea="again")
    if roll < 0.65:
        text = rng.choice(SAY["wish_other_place"])
        return UserRequest(typed(rng, text)[0], context=rng.choice([c for c in CONTEXTS if c != base.context]), plea="other")
    if roll < 0.8:
        text = rng.choice(SAY["wish_other_style"])
        return UserRequest(typed(rng, text)[0], style=rng.choice([x for x in STYLES if x != base.style]), plea="other")
    if base.accessories and roll < 0.9:
        text = rng.choice(("take everything off", "no accessories", "without anything on", "remove all accessories",
                           "undress it",
                           "just the " + base.individual.kind, "nothing on it please", "no extras"))
        return UserRequest(typed(rng, text)[0], remove=tuple(a.name for a in base.accessories), plea="off")
    text = rng.choice(SAY["wish_sorry"])
    return UserRequest(typed(rng, text)[0], creative=True, plea="sorry")


def refuse(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A wish that something be not so: the light, the pose, what is worn, the other subject."""
    options: list[tuple[str, dict]] = []
    if base.light != "day":
        night = base.light
        options += [(t.format(n=night), {"light": "day"}) for t in ("not at {n}", "i don't want it at {n}", "no {n} please", "without the {n}", "not {n} any more",
                                                                    "why {n}? make it day", "don't make it {n}", "it shouldn't be {n}")]
    if base.pose != "standing":
        options += [(t.format(p=base.pose), {"pose": "standing"}) for t in ("not {p}", "it shouldn't be {p}", "stop {p}", "no {p}, just standing", "don't let it be {p}")]
    for a in base.accessories:
        options += [(t.format(x=a.name), {"remove": (a.name,)}) for t in ("no {x}", "no {x} please", "i don't want the {x}", "why the {x}? take it off", "not with the {x}",
                                                                         "i never asked for {x}", "the {x} has to go", "can we lose the {x}?", "skip the {x}")]
    if base.companion is not None:
        options += [(t.format(k=base.companion.kind), {"leave": True}) for t in ("without the {k}", "no {k}", "take the {k} away", "remove the {k}", "i don't need the {k}",
                                                                               "just the first one", "the {k} can go", "only {s}".replace("{s}", "the " + base.individual.kind))]
    if not options:
        return order(rng, base, first)
    text, change = rng.choice(options)
    return UserRequest(typed(rng, text)[0], **change)


def other_subject(rng: random.Random, base: Scene) -> tuple[str, str]:
    """(text, noun phrase): a wish for a subject that is not in the picture."""
    kinds = [k for k in KINDS if k != base.individual.kind]
    thing = rng.choice(kinds) if rng.random() < 0.35 else rng.choice(out_of_domain_terms.THINGS)
    noun = thing if thing.endswith("s") and not thing.endswith("ss") else v.an(thing)
    text = rng.choice(SAY["wish_other_subject"]).format(x=noun)
    return typed(rng, text, noun)


def beyond(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A wish the world cannot grant as it stands; `creative` where no part of it can be drawn."""
    roll, s = rng.random(), named(rng, base, first)
    extra: dict = {}
    if roll < 0.45:
        what, thing = "thing", rng.choice(out_of_domain_terms.THINGS)
        missing = thing if thing.endswith("s") and not thing.endswith("ss") else v.an(thing)
        text = rng.choice(SAY["wish_thing"]).format(s=s, x=missing)
        if rng.random() < 0.3:
            extra = {"context": rng.choice([c for c in CONTEXTS if c != base.context])}
            text = f"{text.rstrip('?')} {said_as(rng, v.CONTEXT_SAID[extra['context']])}"
    elif roll < 0.65:
        place, context = rng.choice(tuple(out_of_domain_terms.PLACES.items()))
        what, missing, extra = "place", place.split(" ", 1)[1], {"context": context}
        text = rng.choice(SAY["wish_ask"] if first else SAY["wish_again"]).format(s=s, m=place)
        if rng.random() < 0.2:
            text = missing
    elif roll < 0.83:
        missing, style = rng.choice(tuple(out_of_domain_terms.STYLES.items()))
        what, extra = "style", {"style": style}
        text = rng.choice(SAY["wish_style"]).format(s=s, x=missing)
    else:
        what, missing = "doing", rng.choice(out_of_domain_terms.DOINGS)
        text = rng.choice(SAY["wish_doing"]).format(s=s, x=missing)
        if missing in out_of_domain_terms.DOING_POSE:
            extra = {"pose": out_of_domain_terms.DOING_POSE[missing]}
    text, missing = typed(rng, text, missing)
    missing = missing.lower() if missing.isupper() and len(missing) > 3 else missing
    return UserRequest(text, missing=missing, missing_is=what, creative=not extra, **extra)
