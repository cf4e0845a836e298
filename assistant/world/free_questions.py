"""Free wordings of turns that need no new picture: questions about it and about the app, praise, thanks, chat, nonsense."""

from __future__ import annotations

import random

from . import questions, small_talk
from . import vocabulary as v
from .captions import describe
from .free_wording import PHRASES, say
from .scene import ACCESSORIES, COLOURS, CONTEXTS, KINDS, SLOTS, STYLES, Scene
from .small_talk import Said, able, fact, offered
from .text_noise import sentence, typed
from .user_requests import UserRequest, said_as
from .vocabulary import SAY

_PICTURE = ("picture_place", "light", "style", "pose", "worn", "other", "subject", "describe")
_BEFORE = {"place": "picture_place", "light": "light", "style": "style", "pose": "pose", "worn": "worn"}  # ask_before_... -> what is seen of the picture before
_REMEMBERED = 3  # turns after which the first picture may be out of what M reads (`AssistantConfig.plan_turns`)


def in_words(rng: random.Random, talk: questions.Talk) -> Said:
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
        text, answer, act, about = say(rng, "ask_changes", scene, False), questions.changed(rng, talk)[1], "answer", "changes"
    elif name == "why":
        text, answer, act, about = say(rng, "ask_why", scene, False), questions.why(rng, talk)[1], "answer", "reason"
    elif name == "history":
        count = len(talk.drawn)
        text, act, about = say(rng, "ask_history", scene, False), "answer", "history"
        answer = f"So far I drew {'one picture' if count == 1 else f'{count} pictures'}; the last one shows {questions.full(rng, scene)}."
    elif name == "before":
        of = rng.choice(tuple(_BEFORE))
        seen = _picture(rng, _BEFORE[of], talk.before)
        text, act, about = say(rng, f"ask_before_{of}", scene, False), "answer", "history"
        answer = f"In {'your photo' if len(talk.drawn) == 1 else 'the picture before'}, {seen[0].lower()}{seen[1:]}"
    elif name in ("ask_first_picture", "ask_photo"):
        text, act, about = say(rng, name, scene, False), "answer", "history"
        answer = f"{'Your photo' if name == 'ask_photo' else 'The first picture'} shows {questions.full(rng, talk.photo if name == 'ask_photo' else talk.drawn[0])}."
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
        return Said(rng.choice(SAY["other_languages"][language][1:]), SAY["other_languages"][language][0], "ask", "language")
    elif name == "nonsense":
        text = "" if rng.random() < 0.04 else rng.choice(PHRASES[rng.choice(("nonsense", "nonsense", "broken_off"))]) if rng.random() < 0.7 else small_talk.nonsense(rng)
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
        return say(rng, "ask_why_worn", scene, False, worn=one.name), questions.why_worn(rng, scene, one)
    if of == "place":
        return say(rng, "ask_who_chose", scene, False, **_slots(rng, scene)), questions.why_there(rng, scene)
    if of == "style":
        return say(rng, "ask_why_style", scene, False, style_the=v.STYLE_THE[scene.style]), questions.why_style(rng, scene)
    return say(rng, "ask_why_light", scene, False), questions.why_light(rng, scene)


def _gone(rng: random.Random, talk: questions.Talk) -> tuple[str, str]:
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
        return text, f"{'Yes, it' if context == scene.context else 'No, it'} is {questions.where(rng, scene)}."
    return text, f"It has {v.wear(name, worn[name])}." if name in worn else f"No, there is no {name} in the picture."


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
