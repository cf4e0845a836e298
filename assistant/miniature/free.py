"""Free wordings: what many people write for each act, from a bank of hand-written phrases (`phrases.json`), beside the grammar of `requests`.

Slots of a phrase: {s} the subject, {place} and {light} and {style} with their prepositions, {a_style} and {the_place} and {old_place} as noun phrases,
{pose} a participle, {thing} what is worn with its article, {worn} its bare name, {colour}, {other} another subject, {otherkind} its kind,
{x} what the world does not have, {change} a change, {occasion}, {mood}.
"""

from __future__ import annotations

import random

from . import outside, questions
from . import vocabulary as v
from .captions import describe
from .moods import MOOD_ALSO, MOODS
from .requests import Wish, colour_said, friend, modifiers, named, said_as
from .slips import sentence, typed
from .smalltalk import Said, able, offered
from .vocabulary import SAY, bank
from .world import ACCESSORIES, COLOURS, CONTEXTS, LIGHTS, POSES, SLOTS, STYLES, Scene

PHRASES: dict[str, tuple[str, ...]] = bank("phrases")  # name of a table -> its phrases


def _say(rng: random.Random, table: str, base: Scene, first: bool, **slots: str) -> str:
    return rng.choice(PHRASES[table]).format_map({"s": named(rng, base, first), "old_place": v.CONTEXT_THE[base.context], **slots})


def _other(rng: random.Random, values: tuple[str, ...], than: str) -> str:
    return rng.choice([x for x in values if x != than])


def _change(rng: random.Random, base: Scene, first: bool) -> tuple[str, dict]:
    """One change: the words, and the wish's fields."""
    names = {"place": 6, "light": 4, "style": 5, "pose": 3, "wear": 6}
    names |= {"remove": 3, "recolour_worn": 2, "swap": 2} if base.accessories else {}
    names |= {"leave": 3} if base.companion is not None else {"join": 2}
    name = rng.choices(tuple(names), tuple(names.values()))[0]
    if name == "place":
        context = _other(rng, CONTEXTS, base.context)
        return _say(rng, name, base, first, place=said_as(rng, v.CONTEXT_SAID[context]), the_place=v.CONTEXT_THE[context]), {"context": context}
    if name == "light":
        light = _other(rng, LIGHTS, base.light)
        table = name if rng.random() < 0.45 else f"light_{light}"
        return _say(rng, table, base, first, light=said_as(rng, v.LIGHT_SAID[light])), {"light": light}
    if name == "style":
        style = _other(rng, STYLES, base.style)
        table = name if rng.random() < 0.55 else f"style_{style}"
        return _say(rng, table, base, first, style=said_as(rng, v.STYLE_SAID[style]), a_style=said_as(rng, v.STYLE_TERSE[style])), {"style": style}
    if name == "pose":
        pose = _other(rng, POSES, base.pose)
        table = name if rng.random() < 0.3 else f"pose_{pose}"
        return _say(rng, table, base, first, pose=pose), {"pose": pose}
    if name == "wear":
        worn = rng.choice(ACCESSORIES)
        if rng.random() < 0.22:
            return _say(rng, f"wear_{worn.replace(' ', '_')}", base, first), {"wear": ((worn, None),)}
        things = [(worn, rng.choice(tuple(COLOURS)) if rng.random() < 0.7 else None)]
        if rng.random() < 0.15:
            things.append((rng.choice([a for a in ACCESSORIES if SLOTS[a] != SLOTS[worn]]), rng.choice(tuple(COLOURS)) if rng.random() < 0.7 else None))
        return _say(rng, name, base, first, thing=_things(rng, things)), {"wear": tuple(things)}
    if name == "join":
        join = (rng.choice([k for k in v.KIND_SAID if k != base.individual.kind]), rng.choice(tuple(COLOURS)) if rng.random() < 0.75 else None)
        return _say(rng, name, base, first, other=friend(rng, join)), {"join": join}
    if name == "leave":
        return _say(rng, name, base, first, otherkind=base.companion.kind), {"leave": True}
    old = rng.choice(base.accessories)
    if name == "remove":
        return _say(rng, name, base, first, worn=old.name), {"remove": (old.name,)}
    if name == "recolour_worn":
        colour = _other(rng, tuple(COLOURS), old.colour)
        return _say(rng, name, base, first, worn=old.name, colour=colour_said(rng, colour)), {"wear": ((old.name, colour),)}
    new = (rng.choice([a for a in ACCESSORIES if a != old.name]), rng.choice(tuple(COLOURS)) if rng.random() < 0.6 else None)
    return _say(rng, name, base, first, worn=old.name, thing=_things(rng, [new])), {"remove": (old.name,), "wear": (new,)}


def _things(rng: random.Random, things: list[tuple[str, str | None]]) -> str:
    return v.listing([v.wear(name if rng.random() < 0.7 else rng.choice(v.ACCESSORY_SAID[name]), colour_said(rng, c) if c else None) for name, c in things])


def wish(rng: random.Random, base: Scene, first: bool) -> Wish:
    """A wish for one to three changes, a free choice, a mood, an occasion, or the same once more."""
    roll = rng.random()
    if roll < 0.07:
        return Wish(typed(rng, _say(rng, "creative", base, first))[0], creative=True)
    if roll < 0.16:
        mood = rng.choice(MOODS)
        if rng.random() < 0.5:
            adjective = mood.name if rng.random() < 0.4 else rng.choice(MOOD_ALSO[mood.name])
            return Wish(typed(rng, _say(rng, "mood", base, first, mood=adjective))[0], mood=mood, creative=True)
        occasion = rng.choice(mood.occasions)
        text, said = typed(rng, _say(rng, "occasion", base, first, occasion=occasion), occasion)
        return Wish(text, mood=mood, creative=True, occasion=said.lower() if said.isupper() else said)
    if not first and roll < 0.2:
        return Wish(typed(rng, _say(rng, "again", base, first))[0], plea="again")
    if roll < 0.25:
        name = rng.choice(("context", "light", "style", "pose"))
        value = _other(rng, {"context": CONTEXTS, "light": LIGHTS, "style": STYLES, "pose": POSES}[name], getattr(base, name))
        return Wish(typed(rng, _say(rng, "keep_but", base, first, change=modifiers(rng, {name: value})))[0], **{name: value})
    text, asked = _change(rng, base, first)
    for _ in range(rng.choices((0, 1, 2), (62, 31, 7))[0]):
        more, also = _change(rng, base, False)
        if not also.keys() & asked.keys():
            joint = rng.choice((" and ", ", ", ", and ", ". ", ". also ", ", then ", " but ", "; "))
            text, asked = f"{text.rstrip('.?!')}{joint}{more}", asked | also
    if "wear" in asked and "remove" in asked:  # what is both put on and taken off stays on
        asked["remove"] = tuple(name for name in asked["remove"] if name not in {n for n, _ in asked["wear"]})
    if not first and rng.random() < 0.15:
        text = f"{rng.choice(PHRASES['asides'])} {text}"
    return Wish(typed(rng, text)[0], **asked)


def back(rng: random.Random, states: tuple[Scene, ...]) -> tuple[Scene, Wish]:
    """Back to something seen before: (the scene to go on from, the wish). `states`: all that was seen, the photo first; two at least."""
    last, roll = states[-1], rng.random()
    lost = [(old, a) for old in states[:-1] for a in old.accessories if a not in last.accessories]
    if lost and roll < 0.3:
        a = rng.choice(lost)[1]
        return last, Wish(typed(rng, _say(rng, "prefer_worn", last, False, worn=a.name))[0], wear=((a.name, a.colour),))
    places = [old.context for old in states[:-1] if old.context != last.context]
    if places and roll < 0.5:
        context = rng.choice(places)
        return last, Wish(typed(rng, _say(rng, "prefer_place", last, False, the_place=v.CONTEXT_THE[context]))[0], context=context)
    if len(states) > 2 and roll < 0.58:
        return states[-3], Wish(typed(rng, _say(rng, "undo_two", last, False))[0], plea="undo")
    if len(states) > 2 and roll < 0.66:
        return states[0], Wish(typed(rng, _say(rng, "first_again", last, False))[0], plea="undo")
    return states[-2], Wish(typed(rng, _say(rng, "undo", last, False))[0], plea="undo")


def beyond(rng: random.Random, base: Scene, first: bool) -> tuple[str, str, bool, str]:
    """A wish that can't be drawn: (text, what is missing, whether it is a doing, what it is about)."""
    kinds = {"recolour_subject": 4, "face": 3, "other_subject": 3, "out_thing": 5, "out_doing": 4, "text_in_picture": 1.5, "video_or_3d": 1}
    kinds |= {"second_dress": 2} if base.companion is not None else {}
    name = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
    x = rng.choice(outside.DOINGS if name == "out_doing" else outside.THINGS)
    if name in ("other_subject", "out_thing"):
        x = x if x.endswith("s") and not x.endswith("ss") else v.an(x)
    slots = {"x": x, "colour": rng.choice(tuple(COLOURS))}
    if base.companion is not None:
        slots |= {"otherkind": base.companion.kind, "thing": _things(rng, [(rng.choice(ACCESSORIES), rng.choice(tuple(COLOURS)))])}
    text = typed(rng, _say(rng, name, base, first, **slots))[0]
    missing, about = {"recolour_subject": ("another look of it", "look"), "face": ("another face", "face"), "other_subject": (f"{x} in its place", "subject"),
                      "out_thing": (x, "thing"), "out_doing": (x, "doing"), "text_in_picture": ("letters", "text"), "video_or_3d": ("anything but a picture", "medium"),
                      "second_dress": ("anything on the other one", "other")}[name]
    return text, missing, name == "out_doing", about


_PICTURE = ("picture_place", "light", "style", "pose", "worn", "other", "subject", "describe")


def in_words(rng: random.Random, talk: questions.Talk) -> Said:
    """A turn that needs no new picture."""
    scene, drawn = talk.seen, talk.last is not None
    kinds = {"picture": 9, "app": 4, "greeting": 1.5, "smalltalk": 3, "insult": 0.7, "nonsense": 3}
    kinds |= {"changes": 5, "why": 2.5, "history": 1.5, "thanks": 3, "praise": 3, "goodbye": 1, "complaint_general": 1.5} if drawn else {}
    name = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
    offer = None
    if name == "picture":
        of = rng.choice(_PICTURE)
        text, answer, act, about = _say(rng, f"ask_{of}", scene, not drawn), _picture(rng, of, scene), "answer", "picture"
    elif name == "changes":
        text, answer, act, about = _say(rng, "ask_changes", scene, False), questions.changed(rng, talk)[1], "answer", "changes"
    elif name == "why":
        text, answer, act, about = _say(rng, "ask_why", scene, False), questions.why(rng, talk)[1], "answer", "reason"
    elif name == "history":
        count = len(talk.drawn)
        text, act, about = _say(rng, "ask_history", scene, False), "answer", "history"
        answer = f"So far I drew {'one picture' if count == 1 else f'{count} pictures'}; the last one shows {questions.full(rng, scene)}."
    elif name == "app":
        text, answer, act, about = _say(rng, "ask_app", scene, not drawn), able(rng), "answer", "app"
    elif name == "nonsense":
        text, answer, act, about = rng.choice(PHRASES["nonsense"]), rng.choice(SAY["unclear"]), "ask", "unclear"
        return Said(text, f"{answer} {rng.choice(SAY['ask_wish'])}", act, about)
    else:
        text, act, about = _say(rng, name, scene, not drawn), "chat", {"complaint_general": "complaint", "insult": "complaint"}.get(name, name)
        answer = rng.choice({"greeting": SAY["greeted"], "thanks": SAY["thanked"], "praise": SAY["praised"], "goodbye": SAY["byed"], "insult": SAY["insulted"],
                             "complaint_general": SAY["insulted"], "smalltalk": SAY["heard"]}[name])
        if name in ("complaint_general", "greeting", "smalltalk") and rng.random() < 0.6:
            answer = f"{answer} {rng.choice(SAY['ask_wish'])}"
    if act == "answer" and about not in ("changes", "app") and rng.random() < 0.2:
        asked, offer = offered(rng, scene)
        answer = f"{answer} {asked}"
    return Said(typed(rng, text, dress=0.05)[0], sentence(answer), act, about, offer)


def _picture(rng: random.Random, of: str, scene: Scene) -> str:
    """What is seen of one thing."""
    one = scene.individual
    if of == "picture_place":
        return f"It is {questions.where(rng, scene)}{'' if scene.light == 'day' else f' {v.LIGHT_SAID[scene.light][0]}'}."
    if of == "light":
        return {"day": "It is day.", "sunset": "The sun is setting.", "night": "It is night."}[scene.light]
    if of == "style":
        return f"It is {v.an(v.STYLE_A[scene.style][0])}."
    if of == "pose":
        return f"It is {'just standing' if scene.pose == 'standing' else scene.pose}."
    if of == "worn":
        return f"It has {v.listing([v.wear(a.name, a.colour) for a in scene.accessories])}." if scene.accessories else "It has nothing on."
    if of == "other":
        return f"Beside it is {v.an(describe(scene.companion))}." if scene.companion is not None else "There is nobody beside it."
    if of == "subject":
        return f"It is {v.an(describe(one))}."
    return f"I see {questions.full(rng, scene)}."
