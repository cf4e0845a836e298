"""Everything answered in words: greetings, thanks, what it can do, what it cannot know, other topics, nonsense, no picture."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from . import user_requests, edit_requests
from . import vocabulary as v
from .captions import describe
from .scene_planner import choose
from .out_of_domain_terms import THINGS, TOPICS
from .questions import Talk, ask
from .user_requests import UserRequest
from .text_noise import sentence, typed
from .vocabulary import SAY, bank
from .scene import ACCESSORIES, COLOURS, CONTEXTS, LIGHTS, STYLES, Scene

_FACTS = ("private", "cost", "time", "files")  # of the app: phrases of ask_... are answered by sayings of app_...


@dataclass(frozen=True)
class Said:
    """A turn without a new picture: what was said, what is answered, what that is (see `plan.Plan`), what it offers to draw."""

    text: str
    answer: str
    act: str
    about: str
    offer: UserRequest | None = None


def yes(rng: random.Random) -> str:
    """Agreement with what the previous reply offered."""
    return typed(rng, rng.choice(SAY["yes"]), dress=0.04)[0]


def aside(rng: random.Random, text: str) -> str:
    """A wish with a word on the last picture before it."""
    return f"{rng.choice(SAY['asides'])}{rng.choice((' ', ' ', ' now ', ' and now '))}{text}"


def offered(rng: random.Random, scene: Scene) -> tuple[str, UserRequest]:
    """A suggestion, and the wish that a yes to it stands for."""
    context = rng.choice([c for c in CONTEXTS if c != scene.context])
    place, it = "underwater" if context == "underwater" else v.CONTEXT_SAID[context][0], rng.choice(("it", f"the "
            f"{scene.individual.kind}"))
    ask_it = rng.choice(SAY["offer_place"])
    roll = rng.random()
    if roll < 0.4:
        return ask_it.format(it=it, m=place), UserRequest("", context=context)
    if roll < 0.6:
        light = rng.choice(LIGHTS[1:])
        return ask_it.format(it=it, m=f"{place} {v.LIGHT_SAID[light][0]}"), UserRequest("", context=context, light=light)
    if roll < 0.8:
        style = rng.choice([x for x in STYLES if x != scene.style])
        return ask_it.format(it=it, m=f"{place}, {v.STYLE_SAID[style][0]}"), UserRequest("", context=context, style=style)
    name, colour = rng.choice(ACCESSORIES), rng.choice(tuple(COLOURS))
    return rng.choice(SAY["offer_wear"]).format(it=it, x=v.wear(name, colour)), \
        UserRequest("", wear=((name, colour),))


def nearest_offer(rng: random.Random, scene: Scene, wish: UserRequest) -> tuple[str, UserRequest]:
    """A suggestion that comes near to what is missing."""
    choice = choose(rng, scene, wish, False)
    target, it = choice.target, rng.choice(("it", f"the {scene.individual.kind}"))
    if "wear" in choice.said and choice.given is not None:
        return rng.choice(("Shall I give {it} {x} instead?", "How about {x} instead?", "Would {x} do?")).format(
            it=it, x=v.wear(choice.given.name, choice.given.colour)), UserRequest("", wear=((choice.given.name, choice.given.colour),))
    if "context" in choice.said:
        where = "underwater" if target.context == "underwater" else v.CONTEXT_SAID[target.context][0]
        return rng.choice(("Shall I put {it} {w} instead?", "How about {it} {w}?", "I could put {it} {w}; shall I?")).format(it=it, w=where), UserRequest("", context=target.context)
    if target.pose != scene.pose:
        return rng.choice(("Shall I draw {it} {p} instead?", "I could draw {it} {p}; shall I?")).format(it=it, p=target.pose), UserRequest("", pose=target.pose)
    return offered(rng, scene)


def nonsense(rng: random.Random) -> str:
    """What means nothing: letters, signs, numbers."""
    roll = rng.random()
    if roll < 0.25:
        return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 14)))
    if roll < 0.4:
        return "".join(rng.choice("asdfghjkl") for _ in range(rng.randint(3, 9)))
    if roll < 0.6:
        return "".join(rng.choice(SAY["emoji"]) for _ in range(rng.randint(1, 5)))
    if roll < 0.75:
        return rng.choice("?!.,;-_*#") * rng.randint(1, 8)
    if roll < 0.9:
        return "".join(rng.choice(string.digits) for _ in range(rng.randint(1, 8)))
    return " ".join("".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2,
        7))) for _ in range(rng.randint(2, 4)))


def able(rng: random.Random, how: str = "able_shortly") -> str:
    """What the assistant can do and how, whatever of it was asked."""
    return rng.choice(SAY[how]).format(
        c=v.listing([v.CONTEXT_THE[c] for c in rng.sample(CONTEXTS, 3)]), s=v.listing([v.STYLE_THE[s] for s in rng.sample(STYLES, 2)]),
        a=v.listing([v.wear(a) for a in rng.sample(ACCESSORIES, 2)]))


def fact(rng: random.Random) -> tuple[str, str]:
    """A question about where pictures go, what they cost, how long they take or how to save them, with its answer."""
    of = rng.choice(_FACTS)
    return rng.choice(bank("phrases")[f"ask_{of}"]), rng.choice(SAY[f"app_{of}"])


def _able(rng: random.Random) -> tuple[str, str]:
    roll = rng.random()
    if roll < 0.55:
        return rng.choice(SAY["able"]), able(rng, "able_answered")
    if roll < 0.7:
        return rng.choice(SAY["styles"]), rng.choice(("I know {x}.", "There are {x}.",
            "You can have {x}.")).format(x=v.listing([v.STYLE_THE[s] for s in STYLES]))
    if roll < 0.85:
        return rng.choice(SAY["places"]), rng.choice(("Sixteen places: {x}.",
            "I know {x}.")).format(x=v.listing(list(CONTEXTS)))
    if roll < 0.95:
        return rng.choice(SAY["wears"]), rng.choice(("It can wear or hold {x}, two at a time.",
            "I have {x}.")).format(x=v.listing([v.wear(a) for a in ACCESSORIES]))
    return rng.choice(SAY["colours"]), f"I know {v.listing(list(COLOURS))}, for everything it wears."


def _chat(rng: random.Random) -> tuple[str, str, str, str]:
    """Small talk that needs no picture: (user, reply without a closing question, act, about)."""
    roll = rng.random()
    if roll < 0.18:
        return rng.choice(SAY["greet"]), rng.choice(SAY["greeted"]), "chat", "greeting"
    if roll < 0.36:
        return *_able(rng), "answer", "app"
    if roll < 0.5:
        topic = rng.choice(TOPICS)
        return topic, rng.choice(SAY["topic_passed"]), "chat", "topic"
    if roll < 0.66:
        return nonsense(rng), rng.choice(SAY["unclear"]), "ask", "unclear"
    if roll < 0.8:
        language = rng.choice(tuple(SAY["other_languages"]))
        return rng.choice(SAY["other_languages"][language][1:]), SAY["other_languages"][language][0], "ask", "language"
    if roll < 0.9:
        return rng.choice(SAY["inject"]), rng.choice(SAY["inject_answered"]), "ask", "unclear"
    return rng.choice(SAY["insult"]), rng.choice(SAY["insulted"]), "chat", "complaint"


def in_words(rng: random.Random, talk: Talk) -> Said:
    """A turn that needs no new picture."""
    roll, scene, offer = rng.random(), talk.seen, None
    if talk.offer is not None and roll < 0.35:
        return Said(typed(rng, rng.choice(SAY["no"]))[0], rng.choice(("All right. ", "No problem. ", "Fine. ", "Then something else. ")) + rng.choice(SAY["ask_wish"]),
                    "chat", "no")
    if roll < 0.42 + (0.15 if talk.last else 0):
        (text, answer, about), act = ask(rng, talk), "answer"
    elif roll < 0.62:
        text, answer, act, about, offer = _about(rng, talk)
    elif roll < 0.76 and (talk.last or roll < 0.66):
        texts, answers, about = rng.choice(((SAY["thank"], SAY["thanked"], "thanks"), (SAY["praise"], SAY["praised"], "praise"), (SAY["bye"], SAY["byed"], "goodbye")))
        return Said(typed(rng, rng.choice(texts), dress=0.0)[0], rng.choice(answers), "chat", about)
    else:
        text, answer, act, about = _chat(rng)
        if about == "language":
            return Said(text, answer, act, about)
        if about == "greeting" and rng.random() < 0.5:
            seen = rng.choice(("I see", "That is", "What a nice picture:"))
            answer = f"{answer} {seen} {v.an(describe(scene.individual))}."
        if rng.random() < 0.7:
            answer = f"{answer} {rng.choice(SAY['ask_wish'])}"
            return Said(typed(rng, text, dress=0.0)[0] if text[:1].isalpha() else text, sentence(answer), act, about)
    if offer is None and about != "changes" and rng.random() < 0.3:
        asked, offer = offered(rng, scene)
        answer = f"{answer} {asked}"
    return Said(typed(rng, text, dress=0.06)[0] if text[:1].isalpha() else text, sentence(answer), act, about, offer)


def _about(rng: random.Random, talk: Talk) -> tuple[str, str, str, str, UserRequest | None]:
    """What the picture cannot tell, what is not there to be taken off, or a complaint about the likeness."""
    roll, one = rng.random(), talk.seen.individual
    if roll < 0.55:
        what = rng.choice(tuple(SAY["unknown"]))
        return rng.choice(SAY["unknown"][what]), rng.choice(SAY["unknown_answered"]).format(what=what, one=v.an(describe(one))), "answer", "unknown", None
    bare = [n for n in ACCESSORIES if n not in {a.name for a in talk.seen.accessories}]
    if roll < 0.68 or talk.last is None:
        name = rng.choice(bare)
        are = "are" if name in v.PLURAL else "is"
        return rng.choice((f"take off the {name}", f"remove the {name}", f"without the {name}", f"no {name} please", f"take the {name} off")), \
            rng.choice(SAY["not_worn"]).format(name=name, are=are), "decline", "worn", None
    kind = one.kind
    text = rng.choice(SAY["not_mine"]).format(kind=kind)
    return text, rng.choice(SAY["likeness_sorry"]).format(one=describe(one)), "answer", "likeness", UserRequest("", plea="again")


def without_picture(rng: random.Random, stand_in: Scene, turn: int) -> tuple[str, str]:
    """A turn of a conversation in which no picture was given. `stand_in` only lends the user's words a subject."""
    if rng.random() < 0.6:
        makers = (user_requests.order, user_requests.order, user_requests.order, user_requests.vague, user_requests.vague, edit_requests.beyond,
            edit_requests.tweak)
        text = rng.choice(makers)(rng, stand_in, turn == 0 or rng.random() < 0.7).text
        start = rng.choice(SAY["glad"])
        return text, f"{start} {rng.choice(SAY['need'])}".strip()
    if rng.random() < 0.25:
        text = rng.choice(("what is in the picture?", "what colour is it?", "who is this?", "describe the picture",
            "what do you see?", "where is it?", "draw " + v.an(rng.choice(THINGS)),
                           "can you draw " + v.an(rng.choice(THINGS)) + "?", "draw a cat", "make a picture of a dog",
                           "draw something", "a robot please", "can you see it?"))
        return typed(rng, text)[0], " ".join((rng.choice(SAY["nothing_seen"]), rng.choice(SAY["need"])))
    if turn and rng.random() < 0.3:
        pair = rng.choice(((SAY["thank"], SAY["thanked"]), (SAY["bye"], SAY["byed"][:2] + SAY["byed"][3:])))
        return typed(rng, rng.choice(pair[0]), dress=0.0)[0], rng.choice(pair[1])
    text, answer, *_ = fact(rng) if rng.random() < 0.15 else _chat(rng)
    return (typed(rng, text, dress=0.0)[0] if text[:1].isalpha() else text), f"{answer} {rng.choice(SAY['need'])}"
