"""Free wordings: what many people write for each act, from a bank of hand-written phrases (`phrases.json`), beside the grammar of `user_requests` and `answers`.

Slots of a phrase: {s} the subject, {place} and {light} and {style} with their prepositions, {a_style} and {the_place} and {old_place} as noun phrases,
{pose} a participle, {thing} what is worn with its article, {worn} its bare name, {colour}, {other} another subject, {otherkind} its kind,
{x} what the world does not have, {change} a change, {occasion}, {mood}, {like} what a colour is taken from, {part} and {marks} of the subject's
own look, {earlier} and {what} of an earlier picture.
"""

import random
from typing import Any, cast

from .. import languages
from ..dialogue_state import applied
from ..plan import listing
from . import answers, vocabulary as v
from .answers import Said, able, fact, offered
from .captions import describe, plan_of
from .scene import ACCESSORIES, ANIMALS, COLOURS, CONTEXTS, KINDS, SLOTS, STAGE, STYLES, Scene
from .user_requests import UserRequest, colour_said, friend, modifiers, named, said_as
from .vocabulary import MOODS, MOOD_ALSO, SAY, bank, mirrored, sentence, typed

PHRASES: dict[str, tuple[str, ...]] = bank("phrases")  # name of a table -> its phrases


def say(rng: random.Random, table: str, base: Scene, first: bool, **slots: str) -> str:
    """A phrase of a table about a scene, its slots filled. `first`: nothing was drawn yet."""
    return rng.choice(PHRASES[table]).format_map({"s": named(rng, base, first), "old_place": v.CONTEXT_THE[base.context], **slots})


def _other(rng: random.Random, values: tuple[str, ...], than: str) -> str:
    return rng.choice([x for x in values if x != than])


def _change(rng: random.Random, base: Scene, first: bool) -> tuple[str, dict]:
    """One change: the words, and the wish's fields."""
    worn = base.accessories
    names = {"place": 6, "light": 4, "style": 5, "pose": 3.5, "wear": 7, "two": 1, "too": 0.6}
    names |= {"remove": 4, "recolour_worn": 3.5, "swap": 3.5, "strip": 0.7, "bare": 0.7, "swap_match": 0.7, "match": 0.8} if worn else {}
    names |= {"match_worn": 0.8} if len(worn) > 1 else {}
    names |= {"match": names.get("match", 0) + 0.4} if base.individual.pattern != "plain" else {}
    names |= {"leave": 3, "other_anew": 2.5, "other_colour": 2} if base.companion is not None else {"join": 3}
    name = rng.choices(tuple(names), tuple(names.values()))[0]
    if name in _USUAL:
        attribute = "context" if name == "place" else name
        value = _other(rng, STAGE[attribute], getattr(base, attribute))
        table = name if rng.random() < _USUAL[name] else f"{name}_{value}"
        slots = {name: value if name == "pose" else said_as(rng, _SAID[attribute][value]), "the_place": v.CONTEXT_THE.get(value, "")}
        return say(rng, table, base, first, **slots, **({"a_style": said_as(rng, v.STYLE_TERSE[value])} if name == "style" else {})), {attribute: value}
    if name == "wear":
        thing = rng.choice(ACCESSORIES)
        if rng.random() < 0.22:
            return say(rng, f"wear_{thing.replace(' ', '_')}", base, first), {"wear": ((thing, None),)}
        things = [(thing, rng.choice(_COLOURS) if rng.random() < 0.75 else None)]
        if rng.random() < 0.2:
            things.append((_beside(rng, thing), rng.choice(_COLOURS) if rng.random() < 0.75 else None))
        return say(rng, name, base, first, thing=_things(rng, things)), {"wear": tuple(things)}
    if name in ("two", "too"):
        thing, colour = rng.choice(ACCESSORIES), rng.choice(worn).colour if name == "too" and worn else rng.choice(_COLOURS)
        second = _beside(rng, thing)
        wear = ((thing, colour), (second, colour))[:1 + (name == "two")]
        return say(rng, name, base, first, thing=v.wear(thing), thing2=v.wear(second), colour=colour_said(rng, colour)), {"wear": wear}
    if name == "match":
        return _match(rng, base, first)
    if name == "join":
        join = _friend(rng, base)
        return say(rng, name, base, first, other=friend(rng, join)), {"join": join}
    if name == "leave" and base.companion is not None:
        return say(rng, name, base, first, otherkind=base.companion.kind), {"leave": True}
    if name == "other_anew" and base.companion is not None:
        join = _friend(rng, base)
        return say(rng, name, base, first, otherkind=base.companion.kind, other=friend(rng, join)), {"join": join}
    if name == "other_colour" and (now := base.companion) is not None:
        colour = _other(rng, _COLOURS, now.colour)
        return say(rng, name, base, first, otherkind=now.kind, oldcolour=now.colour, colour=colour_said(rng, colour)), {"join": (now.kind, colour)}
    if name == "strip":
        return say(rng, name, base, first), {"remove": tuple(a.name for a in worn)}
    old = rng.choice(worn)
    if name == "bare":
        return say(rng, f"bare_{SLOTS[old.name]}", base, first), {"remove": (old.name,)}
    if name == "remove":
        return say(rng, name, base, first, worn=old.name), {"remove": (old.name,)}
    if name == "match_worn":
        like = next(a for a in worn if a != old)
        return say(rng, name, base, first, worn=old.name, like=like.name, like_colour=like.colour), _like(old.name, like.name, like.colour)
    if name == "recolour_worn":
        colour = _other(rng, _COLOURS, old.colour)
        return say(rng, name, base, first, worn=old.name, colour=colour_said(rng, colour)), {"wear": ((old.name, colour),)}
    new = _other(rng, ACCESSORIES, old.name)
    if name == "swap_match":
        return say(rng, name, base, first, worn=old.name, thing=v.wear(new), like_colour=old.colour), {"remove": (old.name,), **_like(new, old.name, old.colour)}
    colour = rng.choice(_COLOURS) if rng.random() < 0.6 else None
    return say(rng, name, base, first, worn=old.name, thing=_things(rng, [(new, colour)])), {"remove": (old.name,), "wear": ((new, colour),)}


_COLOURS = tuple(COLOURS)
_SAID = {"context": v.CONTEXT_SAID, "light": v.LIGHT_SAID, "style": v.STYLE_SAID, "pose": v.POSE_SAID}
_USUAL = {"place": 0.75, "light": 0.45, "style": 0.55, "pose": 0.3}  # share of wishes for one that are put in words for any of them
_CARDS = frozenset("card postcard poster invitation menu label cover sticker calendar".split())  # an occasion that ends so is itself what is made
_NO_WAIT = (". no wait, ", ". No, ", ", no, ", "... actually no, ", " - scratch that, ", ", hmm or rather ", ". Sorry, I mean ", ". oh no, better: ", ", wait, not that, ", ". On second thought, ")
_LONG = 45  # words of a wish for several changes, at most


def _beside(rng: random.Random, thing: str) -> str:
    """What can be worn beside a thing."""
    return rng.choice([a for a in ACCESSORIES if SLOTS[a] != SLOTS[thing]])


def _friend(rng: random.Random, base: Scene) -> tuple[str, str | None]:
    kinds = [k for k in v.KIND_SAID if k != base.individual.kind]
    return rng.choice(kinds), rng.choice(_COLOURS) if rng.random() < 0.75 else None


def _like(name: str, like: str, colour: str) -> dict:
    """Fields of a thing in the colour of another."""
    return {"wear": ((name, colour),), "how": ((name, f"wear {name} as {like}"),)}


def _match(rng: random.Random, base: Scene, first: bool) -> tuple[str, dict]:
    """A thing in the colour of one that is worn, of the pattern or of the body."""
    one = base.individual
    likes = [(a.name, a.colour) for a in base.accessories] * 2 + [(one.kind, one.colour)]
    likes += [(v.PATTERN_NOUN_SAID[one.pattern][0], one.second)] * 2 if one.pattern != "plain" else []
    like, colour = rng.choice(likes)
    new = rng.choice([n for n in ACCESSORIES if SLOTS[n] != SLOTS.get(like)])
    return say(rng, "match", base, first, thing=v.wear(new), like=like, like_colour=colour), _like(new, like, colour)


def _things(rng: random.Random, things: list[tuple[str, str | None]]) -> str:
    """"a red hat and a scarf", "a hat in red", "a hat, red"."""
    said = []
    for name, colour in things:
        name, colour = name if rng.random() < 0.7 else rng.choice(v.ACCESSORY_SAID[name]), colour_said(rng, colour) if colour else None
        apart = rng.choice((" in {}", " in {}", ", {}", " ({})", " - {}", ", a {} one")) if colour and rng.random() < 0.2 else None
        said.append(f"{v.wear(name)}{apart.format(colour)}" if apart else v.wear(name, colour))
    return listing(said)


def _meant(rng: random.Random, talk: answers.Talk) -> tuple[str, dict] | None:
    """A correction of what was asked for last; None: there is nothing to correct."""
    now, before = talk.seen, talk.states[-2]
    options: list[tuple[str, str, dict]] = []
    for name, values in STAGE.items():
        if (old := getattr(now, name)) != getattr(before, name):
            value = _other(rng, values, old)
            if name == "context":
                said = said_as(rng, v.CONTEXT_SAID[value]) if rng.random() < 0.5 else v.CONTEXT_THE[value]
            else:
                said = value if name == "pose" else said_as(rng, (v.LIGHT_SAID if name == "light" else v.STYLE_TERSE)[value])
            options.append((said, v.CONTEXT_THE[old] if name == "context" else old, {name: value}))
    for a in now.accessories:
        if a not in before.accessories:
            colour, name = _other(rng, _COLOURS, a.colour), _other(rng, ACCESSORIES, a.name)
            said = colour_said(rng, colour)
            options.append((rng.choice((said, f"the {a.name} in {said}", v.wear(a.name, said))), a.colour, {"wear": ((a.name, colour),)}))
            options.append((v.wear(name, said), rng.choice((v.wear(a.name), f"the {a.name}")), {"remove": (a.name,), "wear": ((name, colour),)}))
    if now.companion is not None and now.companion != before.companion:
        join = _friend(rng, now) if rng.random() < 0.5 else (now.companion.kind, _other(rng, _COLOURS, now.companion.colour))
        options.append((friend(rng, join), rng.choice((v.an(now.companion.kind), f"the {now.companion.kind}", v.an(f"{now.companion.colour} {now.companion.kind}"))), {"join": join}))
    if not options:
        return None
    x, old, fields = rng.choice(options)
    return say(rng, "meant", now, False, x=x, old=old), fields


def wish(rng: random.Random, talk: answers.Talk) -> UserRequest:
    """A wish for one to three changes, a correction, a free choice, a mood, an occasion, or the same once more."""
    base, first, roll = talk.seen, talk.last is None, rng.random()
    if roll < 0.05:
        return UserRequest(typed(rng, say(rng, "creative", base, first))[0], creative=True)
    if roll < 0.11:
        mood = rng.choice(MOODS)
        if rng.random() < 0.5:
            adjective = mood.name if rng.random() < 0.4 else rng.choice(MOOD_ALSO[mood.name])
            return UserRequest(typed(rng, say(rng, "mood", base, first, mood=adjective))[0], mood=mood, creative=True)
        occasion = rng.choice(mood.occasions)
        table = "occasion_card" if occasion.split()[-1] in _CARDS and rng.random() < 0.4 else "occasion"
        text, said = typed(rng, say(rng, table, base, first, occasion=occasion), occasion)
        return UserRequest(text, mood=mood, creative=True, occasion=said.lower() if said.isupper() else said)
    if not first and roll < 0.14:
        return UserRequest(typed(rng, say(rng, "again", base, first))[0], plea="again")
    if roll < 0.19:
        name = rng.choice(tuple(STAGE))
        change: dict[str, Any] = {name: _other(rng, STAGE[name], getattr(base, name))}
        return UserRequest(typed(rng, say(rng, "keep_but", base, first, change=modifiers(rng, change)))[0], **change)
    if not first and roll < 0.24 and (meant := _meant(rng, talk)) is not None:
        return UserRequest(typed(rng, meant[0])[0], **meant[1])
    if not first and roll < 0.25:
        thing = (rng.choice(ACCESSORIES), rng.choice(_COLOURS))
        return UserRequest(typed(rng, say(rng, "you_forgot", base, first, worn=thing[0], thing=v.wear(*thing)))[0], wear=(thing,))
    if 0.25 < roll < 0.29:
        return _outside(rng, base, first)
    text, asked = _change(rng, base, first)
    if asked.keys() <= {*STAGE, "wear"} and rng.random() < 0.05:  # they think better of it while they write
        for said, other in (_change(rng, base, first) for _ in range(12)):
            if other.keys() == asked.keys() and len(f"{said} {text}".split()) < _LONG / 2:
                text = f"{said.rstrip('.?!')}{rng.choice(_NO_WAIT)}{text[:1].lower()}{text[1:]}"
                break
    for _ in range(rng.choices((0, 1, 2), (56, 34, 10))[0]):
        more, also = _change(rng, base, False)
        both = {n for n, _ in (*asked.get("wear", ()), *also.get("wear", ()))} & {*asked.get("remove", ()), *also.get("remove", ())}
        if not both and not also.keys() & asked.keys() and len(f"{text} {more}".split()) < _LONG:
            joint = rng.choice((" and ", ", ", ", and ", ". ", ". also ", ", then ", " but ", "; ", " + ", ". oh and "))
            text, asked = f"{text.rstrip('.?!')}{joint}{more}", asked | also
    touched = {n for n, _ in asked.get("wear", ())} | set(asked.get("remove", ()))
    stays = [a.name for a in base.accessories if SLOTS[a.name] not in {SLOTS[n] for n in touched}]
    if stays and len(touched) < 2 and rng.random() < 0.12:
        kept, joint = say(rng, "keep", base, first, worn=rng.choice(stays)), rng.choice((", ", ", but ", " and ", ". "))
        text = f"{text.rstrip('.?!')}{joint}{kept}" if rng.random() < 0.6 else f"{kept}{joint}{text}"
    if rng.random() < 0.05:  # and something that can't be drawn
        x = rng.choice(v.MISSING_THINGS)
        x = x if x.endswith("s") and not x.endswith("ss") else v.an(x)
        table, missing = rng.choice((("out_thing", x), ("recolour_subject", "another look of it"), ("part", "another look of it")))
        said = typed(rng, f"{text.rstrip('.?!')}{rng.choice((' and ', ', and ', '. '))}{say(rng, table, base, False, x=x, colour=rng.choice(_COLOURS), part=_part(rng, base))}", x)
        return UserRequest(said[0], missing=said[1].lower() if table == "out_thing" else missing, missing_is="thing", **asked)
    if rng.random() < 0.07:
        text = rng.choice(PHRASES["briefs"]).format(wish=text.rstrip(".?!"))
    elif not first and rng.random() < 0.15:
        text = f"{rng.choice(PHRASES['asides'])} {text}"
    return UserRequest(typed(rng, text)[0], **asked)


def _outside(rng: random.Random, base: Scene, first: bool) -> UserRequest:
    """A place or a style that the world does not have: the nearest one is drawn."""
    if rng.random() < 0.6:
        place, context = rng.choice(tuple(v.MISSING_PLACES.items()))
        missing, about, fields = place.split(" ", 1)[1], "place", {"context": context}
        text = say(rng, about, base, first, place=place, the_place=missing)
    else:
        missing, style = rng.choice(tuple(v.MISSING_STYLES.items()))
        about, fields = "style", {"style": style}
        text = say(rng, about, base, first, style=f"{rng.choice(('as', 'like'))} {missing}", a_style=missing)
    text, missing = typed(rng, text, missing)
    return UserRequest(text, missing=missing.lower(), missing_is=about, **cast(dict[str, Any], fields))


def _part(rng: random.Random, base: Scene) -> str:
    return rng.choice(v.PARTS["animal" if base.individual.kind in ANIMALS else "object"])


_NTH = ("first", "second", "third", "fourth", "fifth")


def back(rng: random.Random, talk: answers.Talk) -> tuple[Scene, UserRequest]:
    """Back to something seen before: (the scene to go on from, the wish)."""
    last, stack, states = talk.seen, list(talk.stack), talk.states
    lost = talk.lost
    places = [old.context for old in states[:-1] if old.context != last.context]
    fields = [(name, getattr(old, name)) for old in states[:-1] for name in STAGE if getattr(old, name) != getattr(last, name)]
    kinds = {"undo": 4, "back_but": 1.5} if len(stack) > 1 else {}
    kinds |= {"undo_two": 1.5} if len(stack) > 2 else {}
    kinds |= {"first_again": 1.2} | ({"nth": 1.5} if len(talk.drawn) > 1 else {})
    kinds |= ({"prefer_worn": 2.5} if lost else {}) | ({"prefer_place": 2} if places else {}) | ({"back_whole": 2, "from_earlier": 1.2} if fields else {})
    name = rng.choices(tuple(kinds), tuple(kinds.values()))[0]

    def words(table: str, **slots: str) -> str:
        return typed(rng, say(rng, table, last, False, **slots))[0]

    if name == "undo":
        text = words(name) if rng.random() < 0.8 else typed(rng, rng.choice(SAY["wish_undo"]))[0]
        return stack[-2], UserRequest(text, plea="undo", back="back")
    if name == "back_but":
        key = rng.choice(tuple(STAGE))
        change: dict[str, Any] = {key: _other(rng, STAGE[key], getattr(last, key))}
        return stack[-2], UserRequest(words(name, change=modifiers(rng, change)), back="back", **change)
    if name == "undo_two":
        return stack[-3], UserRequest(words(name), plea="earlier", back="back two")
    if name == "first_again":
        return talk.photo, UserRequest(words(name), plea="earlier", back="back photo")
    if name == "nth":
        number = rng.randrange(min(5, len(talk.drawn)))
        text = rng.choice(SAY["wish_nth"]).format(n=rng.choice((_NTH[number], ("1st", "2nd", "3rd", "4th", "5th")[number])))
        return talk.drawn[number], UserRequest(typed(rng, text)[0], plea="earlier", back=f"back {_NTH[number]}")
    if name == "prefer_worn":
        a = rng.choice(lost)
        return last, UserRequest(words(name, worn=a.name), wear=((a.name, a.colour),), how=((a.name, f"again {a.name}"),))
    if name == "prefer_place":
        context = rng.choice(places)
        return last, UserRequest(words(name, the_place=v.CONTEXT_THE[context]), context=context)
    key, value = rng.choice(fields)
    if name == "from_earlier":
        what = {"context": ("place", "background"), "light": ("light",), "style": ("style", "look"), "pose": ("pose",)}[key]
        value = next(getattr(s, key) for s in reversed(states) if getattr(s, key) != getattr(last, key))
        return last, UserRequest(words(name, what=rng.choice(what)), **{key: value})
    plan = applied(f"draw; back {value}", talk.now)
    text = words(name, earlier=said_as(rng, _SAID[key][value]))
    return next(s for s in reversed(states) if plan_of(s) == plan), UserRequest(text, plea="earlier", back=f"back {value}")


def beyond(rng: random.Random, base: Scene, first: bool) -> tuple[str, str, bool, str]:
    """A wish that can't be drawn: (text, what is missing, whether it is a doing, what it is about)."""
    kinds = {"recolour_subject": 4, "part": 3, "face": 3, "other_subject": 3, "out_thing": 5, "out_doing": 4, "person": 2, "fill": 1.5, "text_in_picture": 1.5,
             "video_or_3d": 1}
    kinds |= {"second_dress": 2} if base.companion is not None else {}
    kinds |= {"new_marks": 2} if base.individual.pattern != "plain" else {}
    name = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
    x = rng.choice({"out_doing": v.MISSING_DOINGS, "person": v.PEOPLE, "fill": v.STUFF}.get(name, v.MISSING_THINGS))
    if name == "other_subject" and rng.random() < 0.4:
        x = rng.choice(v.BREEDS)
    elif name in ("other_subject", "out_thing"):
        x = x if x.endswith("s") and not x.endswith("ss") else v.an(x)
    marks = [names[0] for names in v.PATTERN_NOUN_SAID.values()]
    own = v.PATTERN_NOUN_SAID.get(base.individual.pattern, ("",))[0]
    slots = {"x": x, "colour": rng.choice(_COLOURS), "part": _part(rng, base), "marks": own, "marks2": rng.choice([m for m in marks if m and m != own])}
    if base.companion is not None:
        slots |= {"otherkind": base.companion.kind, "thing": _things(rng, [(rng.choice(ACCESSORIES), rng.choice(_COLOURS))])}
    text, x = typed(rng, say(rng, name, base, first, **slots), x)
    x = mirrored(x.lower())
    missing, about = {"recolour_subject": ("another look of it", "look"), "part": ("another look of it", "look"), "new_marks": ("another look of it", "look"),
                      "face": ("another face", "face"), "other_subject": (f"{x} in its place", "subject"), "out_thing": (x, "thing"), "person": (x, "thing"),
                      "fill": (x, "thing"), "out_doing": (x, "doing"), "text_in_picture": ("letters", "text"), "video_or_3d": ("anything but a picture", "medium"),
                      "second_dress": ("anything on the other one", "other")}[name]
    return text, missing, name == "out_doing", about


_PICTURE = ("picture_place", "light", "style", "pose", "worn", "other", "subject", "describe")
_BEFORE = {"place": "picture_place", "light": "light", "style": "style", "pose": "pose", "worn": "worn"}  # ask_before_... -> what is seen of the picture before
_REMEMBERED = 3  # turns after which the first picture may be out of what M reads (`AssistantConfig.plan_turns`)


def in_words(rng: random.Random, talk: answers.Talk) -> Said:
    """A turn that needs no new picture."""
    scene, drawn = talk.seen, talk.last is not None
    kinds = {"picture": 7, "ask_there": 1.5, "ask_keep": 3, "app": 4, "ask_limits": 2.5, "greeting": 1.5, "smalltalk": 3, "life": 2.5, "insult": 0.7, "nonsense": 3.5,
             "language": 2.5, "facts": 3, "ask_styles": 1, "remark": 3, "not_worn": 0.8}
    kinds |= {"changes": 5, "why": 2.5, "reason": 2.5, "history": 1.5, "thanks": 3, "praise": 3, "praise_part": 2.5, "goodbye": 1.8,
              "complaint_general": 1.5, "before": 2, "likeness": 1} if drawn else {}
    kinds |= {"ask_first_picture": 0.8, "ask_photo": 0.8} if drawn and talk.turns <= _REMEMBERED else {}
    kinds |= ({"ask_gone": 2} if talk.lost else {}) | ({"nobody": 0.5} if scene.companion is None else {})
    name = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
    offer = None
    if name == "picture":
        of = rng.choice(_PICTURE)
        text, answer, act, about = say(rng, f"ask_{of}", scene, not drawn), _picture(rng, of, scene), "answer", "picture"
    elif name == "changes":
        text, answer, act, about = say(rng, "ask_changes", scene, False), answers.changed(rng, talk)[1], "answer", "changes"
    elif name == "why":
        text, answer, act, about = say(rng, "ask_why", scene, False), answers.why(rng, talk)[1], "answer", "reason"
    elif name == "history":
        count = len(talk.drawn)
        text, act, about = say(rng, "ask_history", scene, False), "answer", "history"
        answer = f"So far I drew {'one picture' if count == 1 else f'{count} pictures'}; the last one shows {answers.full(rng, scene)}."
    elif name == "before":
        of = rng.choice(tuple(_BEFORE))
        seen = _picture(rng, _BEFORE[of], talk.states[-2])
        text, act, about = say(rng, f"ask_before_{of}", scene, False), "answer", "history"
        answer = f"In {'your photo' if len(talk.drawn) == 1 else 'the picture before'}, {seen[0].lower()}{seen[1:]}"
    elif name in ("ask_first_picture", "ask_photo"):
        text, act, about = say(rng, name, scene, False), "answer", "history"
        answer = f"{'Your photo' if name == 'ask_photo' else 'The first picture'} shows {answers.full(rng, talk.photo if name == 'ask_photo' else talk.drawn[0])}."
    elif name == "ask_gone":
        (text, answer), act, about = _gone(rng, talk), "answer", "reason"
    elif name == "facts":
        (text, answer), act, about = fact(rng), "answer", "app"
    elif name == "ask_styles":
        one, two = rng.sample(STYLES, 2)
        text, act, about = say(rng, name, scene, not drawn, style1=v.STYLE_THE[one], style2=v.STYLE_THE[two]), "answer", "app"
        answer = f"{v.STYLE_THE[one]} is {SAY['style_is'][one]}, {v.STYLE_THE[two]} is {SAY['style_is'][two]}."
    elif name == "not_worn":
        worn = rng.choice([n for n in ACCESSORIES if n not in {a.name for a in scene.accessories}])
        text, act, about = say(rng, "remove", scene, not drawn, worn=worn), "decline", "worn"
        answer = rng.choice(SAY["not_worn"]).format(name=worn, are="are" if worn in v.PLURAL else "is")
    elif name == "likeness":
        text, act, about, offer = say(rng, "ask_likeness", scene, False, kind=scene.individual.kind), "answer", name, UserRequest("", plea="again")
        answer = rng.choice(SAY["likeness_sorry"]).format(one=describe(scene.individual))
    elif name == "nobody":
        text, act, about = say(rng, "leave", scene, not drawn, otherkind=rng.choice([k for k in KINDS if k != scene.individual.kind])), "decline", "other"
        answer = rng.choice(SAY["nobody_there"])
    elif name in ("app", "ask_limits"):
        text, answer, act, about = say(rng, "ask_app" if name == "app" else name, scene, not drawn, **_slots(rng, scene)), able(rng), "answer", "app"
    elif name in ("ask_there", "ask_keep"):
        (text, answer), act, about = _check(rng, name, scene, not drawn), "answer", "picture"
    elif name == "reason":
        (text, answer), act, about = _reason(rng, scene), "answer", "reason"
    elif name == "language":
        language = rng.choice(tuple(SAY["other_languages"]))
        return Said(rng.choice(SAY["other_languages"][language]), languages.SAY[language], "ask", "language")
    elif name == "nonsense":
        text = "" if rng.random() < 0.04 else rng.choice(PHRASES[rng.choice(("nonsense", "nonsense", "broken_off"))]) if rng.random() < 0.7 else answers.nonsense(rng)
        return Said(text, f"{rng.choice(SAY['unclear'])} {rng.choice(SAY['ask_wish'])}", "ask", "unclear")
    else:
        text, act = say(rng, name, scene, not drawn, **_slots(rng, scene)), "chat"
        about = {"complaint_general": "complaint", "insult": "complaint", "praise_part": "praise", "life": "smalltalk", "remark": "smalltalk"}.get(name, name)
        answer = rng.choice({"greeting": SAY["greeted"], "thanks": SAY["thanked"], "praise": SAY["praised"], "goodbye": SAY["byed"], "insult": SAY["insulted"],
                             "complaint_general": SAY["insulted"], "smalltalk": SAY["heard"], "life": SAY["heard"], "remark": SAY["heard"], "praise_part": SAY["praised"]}[name])
        if name in ("complaint_general", "greeting", "smalltalk", "life", "remark") and rng.random() < 0.6:
            answer = f"{answer} {rng.choice(SAY['ask_wish'])}"
    if act == "answer" and about not in ("changes", "app", "likeness") and rng.random() < 0.2:
        asked, offer = offered(rng, scene)
        answer = f"{answer} {asked}"
    return Said(typed(rng, text, dress=0.05)[0], sentence(answer), act, about, offer)


def _slots(rng: random.Random, scene: Scene) -> dict[str, str]:
    """What a question or a word of praise may name."""
    worn = rng.choice(scene.accessories) if scene.accessories else None
    first, second = rng.sample(ACCESSORIES, 2)
    far = rng.choice([c for c in CONTEXTS if c != scene.context])
    return {"far": said_as(rng, v.CONTEXT_SAID[far]), "the_far": v.CONTEXT_THE[far], "gift": v.wear(rng.choice(ACCESSORIES)),
            "worn": worn.name if worn else first, "thing": v.wear(worn.name if worn else first, worn.colour if worn else None), "thing2": v.wear(second),
            "place": said_as(rng, v.CONTEXT_SAID[scene.context]), "the_place": v.CONTEXT_THE[scene.context], "kind": scene.individual.kind,
            **dict(zip(("style1", "style2"), rng.sample(STYLES, 2)))}


def _reason(rng: random.Random, scene: Scene) -> tuple[str, str]:
    """A question why one thing is as it is, with what speaks for it."""
    of = rng.choice(("place", "place", "style", "light", *["worn"] * len(scene.accessories)))
    if of == "worn":
        one = rng.choice(scene.accessories)
        return say(rng, "ask_why_worn", scene, False, worn=one.name), answers.why_worn(rng, scene, one)
    if of == "place":
        return say(rng, "ask_who_chose", scene, False, **_slots(rng, scene)), answers.why_there(rng, scene)
    if of == "style":
        return say(rng, "ask_why_style", scene, False, style_the=v.STYLE_THE[scene.style]), answers.why_style(rng, scene)
    return say(rng, "ask_why_light", scene, False), answers.why_light(rng, scene)


def _gone(rng: random.Random, talk: answers.Talk) -> tuple[str, str]:
    """A question about what it no longer wears, with its answer."""
    lost = rng.choice(talk.lost)
    instead = next((a for a in talk.seen.accessories if SLOTS[a.name] == SLOTS[lost.name]), None)
    answer = rng.choice(SAY["was_replaced" if instead else "was_taken_off"])
    return say(rng, "ask_gone", talk.seen, False, worn=lost.name), answer.format(
        x=f"{lost.colour} {lost.name}", y=f"{instead.colour} {instead.name}" if instead else "", were="were" if lost.name in v.PLURAL else "was")


def _check(rng: random.Random, table: str, scene: Scene, first: bool) -> tuple[str, str]:
    """A question whether a thing is there, or a place is the one named, with its answer."""
    worn = {a.name: a.colour for a in scene.accessories}
    name = rng.choice(tuple(worn)) if worn and rng.random() < 0.7 else rng.choice(ACCESSORIES)
    context = scene.context if rng.random() < 0.6 else rng.choice(CONTEXTS)
    one, two = rng.sample(tuple(COLOURS), 2)
    text = say(rng, table, scene, first, worn=name, colour=worn.get(name, one), colour2=two, place=said_as(rng, v.CONTEXT_SAID[context]), the_place=v.CONTEXT_THE[context])
    if table == "ask_there":
        return text, f"{'Yes, it' if context == scene.context else 'No, it'} is {answers.where(rng, scene)}."
    return text, f"It has {v.wear(name, worn[name])}." if name in worn else f"No, there is no {name} in the picture."


def _picture(rng: random.Random, of: str, scene: Scene) -> str:
    """What is seen of one thing."""
    one = scene.individual
    if of == "picture_place":
        return f"It is {answers.where(rng, scene)}{'' if scene.light == 'day' else f' {v.LIGHT_SAID[scene.light][0]}'}."
    if of == "light":
        return {"day": "It is day.", "sunset": "The sun is setting.", "night": "It is night."}[scene.light]
    if of == "style":
        return f"It is {v.an(v.STYLE_A[scene.style][0])}."
    if of == "pose":
        return f"It is {'just standing' if scene.pose == 'standing' else scene.pose}."
    if of == "worn":
        return f"It has {listing([v.wear(a.name, a.colour) for a in scene.accessories])}." if scene.accessories else "It has nothing on."
    if of == "other":
        return f"Beside it is {v.an(describe(scene.companion))}." if scene.companion is not None else "There is nobody beside it."
    if of == "subject":
        return f"It is {v.an(describe(one))}."
    return f"I see {answers.full(rng, scene)}."
