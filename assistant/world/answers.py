"""Turns answered in words, with true answers: questions about the picture, the change and the reasons, greetings, thanks, other topics, nonsense."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, replace

from .. import languages, plan
from ..dialogue_state import Standing, backs
from ..plan import listing
from . import user_requests, vocabulary as v
from .captions import describe, plan_of
from .scene import ACCESSORIES, ANIMALS, COLOURS, CONTEXTS, KINDS, LIGHTS, STYLES, Accessory, Scene
from .user_requests import UserRequest, choose
from .vocabulary import MISSING_THINGS, MISSING_TOPICS, SAY, bank, sentence, typed


@dataclass(frozen=True)
class Talk:
    """Where a conversation stands."""

    photo: Scene
    drawn: tuple[Scene, ...] = ()  # newest last
    stack: tuple[Scene, ...] = ()  # what an undo goes back through: the photo first, what stands last
    now: Standing = Standing()  # the plans of these
    offer: UserRequest | None = None  # what the previous reply offered to draw
    turns: int = 0
    quiet: bool = False  # whether pictures come without words

    @classmethod
    def about(cls, photo: Scene) -> Talk:
        """A conversation that begins."""
        plan = plan_of(photo)
        return cls(photo, stack=(photo,), now=Standing((plan,), (plan,), True))

    def after(self, target: Scene, line: str) -> Talk:
        """With a picture that a line of operations led to."""
        back = backs(line)
        stack = self.stack[:max(1, len(self.stack) - back)] if back else self.stack
        now = self.now.after(plan_of(target), back)
        return replace(self, drawn=(*self.drawn, target), stack=stack if len(now.stack) == len(stack) else (*stack, target), now=now)

    @property
    def states(self) -> tuple[Scene, ...]:
        """All that was seen, the photo first."""
        return (self.photo, *self.drawn)

    @property
    def last(self) -> Scene | None:
        """The picture drawn last."""
        return self.drawn[-1] if self.drawn else None

    @property
    def before(self) -> Scene | None:
        """What was seen before it."""
        return self.states[-2] if self.drawn else None

    @property
    def lost(self) -> tuple[Accessory, ...]:
        """What it wore earlier and no longer wears, each as it was worn last."""
        worn = {a.name for a in self.seen.accessories}
        return tuple(a for a in {a.name: a for s in self.states[:-1] for a in s.accessories}.values() if a.name not in worn)

    @property
    def seen(self) -> Scene:
        """The picture a question is about."""
        return self.last or self.photo


def where(rng: random.Random, scene: Scene) -> str:
    """The place with its preposition."""
    return "underwater" if scene.context == "underwater" else rng.choice(v.CONTEXT_SAID[scene.context][:v.CANON])


def _things(scene: Scene) -> str:
    return listing([v.wear(a.name, a.colour) for a in scene.accessories])


def full(rng: random.Random, scene: Scene) -> str:
    """Everything in the picture, as a noun phrase."""
    light = "" if scene.light == "day" else f" {v.LIGHT_SAID[scene.light][0]}"
    pose = "" if scene.pose == "standing" else f" {scene.pose}"
    worn = f" wearing {_things(scene)}" if scene.accessories else ""
    beside = f" next to {v.an(describe(scene.companion))}" if scene.companion is not None else ""
    return f"{v.an(describe(scene.individual))}{pose}{worn}{beside} {where(rng, scene)}{light}, {v.STYLE_SAID[scene.style][0]}"


def what(rng: random.Random, talk: Talk) -> tuple[str, str]:
    text, all_ = rng.choice(SAY["ask_seen"]).format(mine="what did you draw?" if talk.last else "what's in my photo?"), full(rng, talk.seen)
    return text, rng.choice(SAY["seen_full"]).format(x=all_)


def kind(rng: random.Random, talk: Talk) -> tuple[str, str]:
    one = talk.seen.individual
    if rng.random() < 0.5:
        text = rng.choice(SAY["ask_species"])
        answer = f"It is {v.an(one.kind)}" if one.kind in ANIMALS else f"It is not an animal but {v.an(one.kind)}"
        return text, f"{answer}, {v.an(describe(one))}."
    asked = one.kind if rng.random() < 0.5 else rng.choice(KINDS)
    text = rng.choice(SAY["ask_is"]).format(x=v.an(asked))
    if asked == one.kind:
        return text, rng.choice(SAY["is_not"]).format(one=v.an(describe(one)))
    return text, rng.choice((f"No, it is {v.an(describe(one))}.", f"No, I see {v.an(describe(one))}."))


def colour(rng: random.Random, talk: Talk) -> tuple[str, str]:
    one = talk.seen.individual
    noun = rng.choice(("it", f"the {one.kind}", f"my {one.kind}"))
    whole = one.colour if one.pattern == "plain" else f"{one.colour} with {one.second} {v.PATTERN_NOUN_SAID[one.pattern][0]}"
    if rng.random() < 0.7:
        text = rng.choice(SAY["ask_colour"]).format(it=noun)
        return text, rng.choice((f"The {one.kind} is {whole}.", f"It is {whole}.", f"Its colour is {whole}."))
    asked = one.colour if rng.random() < 0.5 else rng.choice(tuple(COLOURS))
    return f"is {noun} {asked}?", f"{'Yes' if asked == one.colour else 'No'}, the {one.kind} is {whole}."


def pattern(rng: random.Random, talk: Talk) -> tuple[str, str]:
    one = talk.seen.individual
    text = rng.choice(SAY["ask_pattern"])
    said = f"plain {one.colour}, without a pattern" if one.pattern == "plain" else \
        f"{one.pattern}: {one.second} {v.PATTERN_NOUN_SAID[one.pattern][0]} on {one.colour}"
    asked = {"is it striped?": "striped", "are those stripes?": "striped", "does it have spots?": "spotted", "is it plain?": "plain"}
    start = {True: "Yes, it is", False: "No, it is"}.get(asked[text] == one.pattern) if text in asked else "It is"
    return text, f"{start} {said}."


def wearing(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene = talk.seen
    names = [a.name for a in scene.accessories]
    if rng.random() < 0.5:
        text = rng.choice(SAY["ask_wearing"])
        yes = rng.choice((f"It wears {_things(scene)}.", f"It has {_things(scene)}.", f"I see {_things(scene)}."))
        return text, yes if names else rng.choice(SAY["wears_nothing"])
    asked = rng.choice(names) if names and rng.random() < 0.5 else rng.choice(ACCESSORIES)
    text = rng.choice(("is it wearing {x}?", "does it have {x}?", "is there {x}?")).format(x=v.wear(asked))
    for a in scene.accessories:
        if a.name == asked:
            return text, f"Yes, {v.wear(a.name, a.colour)}."
    return text, f"No, it has {_things(scene)}." if names else f"No, there is no {asked} in the picture."


def place(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene = talk.seen
    light = "" if scene.light == "day" else f" {v.LIGHT_SAID[scene.light][0]}"
    return rng.choice(SAY["ask_place"]), rng.choice((f"It is {where(rng, scene)}{light}.", f"The {scene.individual.kind} is {where(rng, scene)}{light}."))


def style(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene = talk.seen
    if rng.random() < 0.35:
        return rng.choice(SAY["ask_light"]), {"day": "It is day.", "sunset": "The sun is setting.", "night": "It is night."}[scene.light]
    if rng.random() < 0.3:
        return rng.choice(SAY["ask_pose"]), f"It is {'just standing' if scene.pose == 'standing' else scene.pose}."
    text = rng.choice(SAY["ask_style"])
    a = v.an(v.STYLE_A[scene.style][0])
    if text == "is this a watercolour?":
        return text, f"Yes, it is {a}." if scene.style == "watercolour" else f"No, it is {a}."
    return text, f"No, it is a drawing, {a}." if text == "is it a photo?" else rng.choice((f"It is {a}.", f"That is "
            f"{a}.", f"It is drawn {v.STYLE_SAID[scene.style][0]}."))


def changed(rng: random.Random, talk: Talk) -> tuple[str, str]:
    """What was changed last. The answer is read from two plans, in use as here."""
    text = rng.choice(SAY["ask_changed"])
    return typed(rng, text)[0], plan.told(plan_of(talk.states[-2]), plan_of(talk.drawn[-1]))


def why_worn(rng: random.Random, scene: Scene, one: Accessory) -> str:
    """What speaks for a thing that it wears."""
    return f"The {one.colour} {one.name} {'give' if one.name in v.PLURAL else 'gives'} the {scene.individual.kind} {rng.choice(v.ACCESSORY_ADDS[one.name])}."


def why_style(rng: random.Random, scene: Scene) -> str:
    """What speaks for the style."""
    return f"{v.STYLE_THE[scene.style]} makes the picture {rng.choice(v.STYLE_IS[scene.style])}."


def why_light(rng: random.Random, scene: Scene) -> str:
    """What speaks for the light."""
    light = "daylight" if scene.light == "day" else scene.light
    return f"The {light} makes the {scene.individual.kind} look {rng.choice(v.LIGHT_MAKES[scene.light])}."


def why_there(rng: random.Random, scene: Scene) -> str:
    """What speaks for the place."""
    noun, kind_name, many = v.CONTEXT_THE[scene.context], scene.individual.kind, scene.context in v.CONTEXT_MANY
    virtue, (be, it_is, suits) = rng.choice(v.CONTEXT_IS[scene.context]), ("are", "they are", "suit") if many else ("is", "it is", "suits")
    return rng.choice((f"{noun} {be} {virtue}, and I think that suits the {kind_name}.", f"I like {noun} for it: {it_is} {virtue}.",
                       f"Because {noun} {be} {virtue}, which {suits} the {scene.individual.colour} {kind_name}."))


def why(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene, roll = talk.drawn[-1], rng.random()
    if scene.accessories and roll < 0.25:
        one = rng.choice(scene.accessories)
        text = rng.choice((f"why the {one.name}?", f"why {one.name}?", f"why did you choose the {one.name}?", f"why {v.wear(one.name, one.colour)}?"))
        return text, why_worn(rng, scene, one)
    if roll < 0.5:
        noun = v.STYLE_THE[scene.style]
        return rng.choice(("why this style?", "why that style?", f"why {noun}?", f"why did you use {noun}?")), why_style(rng, scene)
    if scene.light != "day" and roll < 0.65:
        return rng.choice((f"why {scene.light}?", f"why at {scene.light}?", f"why is it {scene.light}?")), why_light(rng, scene)
    noun = v.CONTEXT_THE[scene.context]
    return rng.choice((f"why {noun}?", f"why {noun}?", "why there?", f"why did you choose {noun}?", "why that place?", "why this background?", "why?")), why_there(rng, scene)


ABOUT_PICTURE = ((what, 5), (kind, 3), (colour, 3), (pattern, 1.5), (wearing, 2.5), (place, 2.5), (style, 2.5))
ABOUT_CHANGE = ((changed, 4), (why, 5))


def ask(rng: random.Random, talk: Talk) -> tuple[str, str, str]:
    """A question about what is seen or, once something was drawn, about what was done; with its answer and what it is about."""
    makers, weights = zip(*(ABOUT_PICTURE + (ABOUT_CHANGE * 2 if talk.last else ())), strict=True)
    maker = rng.choices(makers, weights)[0]
    text, answer = maker(rng, talk)
    return text, sentence(answer), {changed: "changes", why: "reason"}.get(maker, "picture")


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
    place, it = v.CONTEXT_SAID[context][0], rng.choice(("it", f"the {scene.individual.kind}"))
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
    return rng.choice(SAY["offer_wear"]).format(it=it, x=v.wear(name, colour)), UserRequest("", wear=((name, colour),))


def nearest_offer(rng: random.Random, scene: Scene, wish: UserRequest) -> tuple[str, UserRequest]:
    """A suggestion that comes near to what is missing."""
    choice = choose(rng, scene, wish, False)
    target, it = choice.target, rng.choice(("it", f"the {scene.individual.kind}"))
    if "wear" in choice.said and choice.given is not None:
        return rng.choice(("Shall I give {it} {x} instead?", "How about {x} instead?", "Would {x} do?")).format(
            it=it, x=v.wear(choice.given.name, choice.given.colour)), UserRequest("", wear=((choice.given.name, choice.given.colour),))
    if "context" in choice.said:
        return rng.choice(("Shall I put {it} {w} instead?", "How about {it} {w}?", "I could put {it} {w}; shall I?")).format(
            it=it, w=v.CONTEXT_SAID[target.context][0]), UserRequest("", context=target.context)
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
    return " ".join("".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 7))) for _ in range(rng.randint(2, 4)))


def able(rng: random.Random, how: str = "able_shortly") -> str:
    """What the assistant can do and how, whatever of it was asked."""
    return rng.choice(SAY[how]).format(
        c=listing([v.CONTEXT_THE[c] for c in rng.sample(CONTEXTS, 3)]), s=listing([v.STYLE_THE[s] for s in rng.sample(STYLES, 2)]),
        a=listing([v.wear(a) for a in rng.sample(ACCESSORIES, 2)]))


def fact(rng: random.Random) -> tuple[str, str]:
    """A question about where pictures go, what they cost, how long they take or how to save them, with its answer."""
    of = rng.choice(_FACTS)
    return rng.choice(bank("phrases")[f"ask_{of}"]), rng.choice(SAY[f"app_{of}"])


def _able(rng: random.Random) -> tuple[str, str]:
    roll = rng.random()
    if roll < 0.55:
        return rng.choice(SAY["able"]), able(rng, "able_answered")
    if roll < 0.7:
        return rng.choice(SAY["styles"]), rng.choice(("I know {x}.", "There are {x}.", "You can have {x}.")).format(x=listing([v.STYLE_THE[s] for s in STYLES]))
    if roll < 0.85:
        return rng.choice(SAY["places"]), rng.choice(("Sixteen places: {x}.", "I know {x}.")).format(x=listing(list(CONTEXTS)))
    if roll < 0.95:
        return rng.choice(SAY["wears"]), rng.choice(("It can wear or hold {x}, two at a time.",
            "I have {x}.")).format(x=listing([v.wear(a) for a in ACCESSORIES]))
    return rng.choice(SAY["colours"]), f"I know {listing(list(COLOURS))}, for everything it wears."


def _chat(rng: random.Random) -> tuple[str, str, str, str]:
    """Small talk that needs no picture: (user, reply without a closing question, act, about)."""
    roll = rng.random()
    if roll < 0.18:
        return rng.choice(SAY["greet"]), rng.choice(SAY["greeted"]), "chat", "greeting"
    if roll < 0.36:
        return *_able(rng), "answer", "app"
    if roll < 0.5:
        topic = rng.choice(MISSING_TOPICS)
        return topic, rng.choice(SAY["topic_passed"]), "chat", "topic"
    if roll < 0.66:
        return nonsense(rng), rng.choice(SAY["unclear"]), "ask", "unclear"
    if roll < 0.8:
        language = rng.choice(tuple(SAY["other_languages"]))
        return rng.choice(SAY["other_languages"][language]), languages.SAY[language], "ask", "language"
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
        return rng.choice(SAY["take_off"]).format(name=name), rng.choice(SAY["not_worn"]).format(name=name, are=are), "decline", "worn", None
    text = rng.choice(SAY["not_mine"]).format(kind=one.kind)
    return text, rng.choice(SAY["likeness_sorry"]).format(one=describe(one)), "answer", "likeness", UserRequest("", plea="again")


def without_picture(rng: random.Random, stand_in: Scene, turn: int) -> tuple[str, str]:
    """A turn of a conversation in which no picture was given. `stand_in` only lends the user's words a subject."""
    if rng.random() < 0.6:
        makers = (*(user_requests.order,) * 3, *(user_requests.vague,) * 2, user_requests.beyond, user_requests.tweak)
        text = rng.choice(makers)(rng, stand_in, turn == 0 or rng.random() < 0.7).text
        return text, f"{rng.choice(SAY['glad'])} {rng.choice(SAY['need'])}".strip()
    if rng.random() < 0.25:
        x, y = (v.an(rng.choice(MISSING_THINGS)) for _ in range(2))
        text = rng.choice(SAY["ask_without_picture"]).format(x=x, y=y)
        return typed(rng, text)[0], " ".join((rng.choice(SAY["nothing_seen"]), rng.choice(SAY["need"])))
    if turn and rng.random() < 0.3:
        pair = rng.choice(((SAY["thank"], SAY["thanked"]), (SAY["bye"], SAY["byed"][:2] + SAY["byed"][3:])))
        return typed(rng, rng.choice(pair[0]), dress=0.0)[0], rng.choice(pair[1])
    text, answer, *_ = fact(rng) if rng.random() < 0.15 else _chat(rng)
    return (typed(rng, text, dress=0.0)[0] if text[:1].isalpha() else text), f"{answer} {rng.choice(SAY['need'])}"
