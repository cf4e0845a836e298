"""Questions about the picture, the change and the reasons, with true answers in words. Draws nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .. import plan
from ..dialogue_state import Standing, backs
from . import vague_requests as m
from . import vocabulary as v
from .captions import describe, plan_of
from .user_requests import UserRequest
from .text_noise import sentence, typed
from .vocabulary import SAY
from .scene import ACCESSORIES, ANIMALS, COLOURS, KINDS, Accessory, Scene


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
    return v.listing([v.wear(a.name, a.colour) for a in scene.accessories])


def full(rng: random.Random, scene: Scene) -> str:
    """Everything in the picture, as a noun phrase."""
    light = "" if scene.light == "day" else f" {v.LIGHT_SAID[scene.light][0]}"
    pose = "" if scene.pose == "standing" else f" {scene.pose}"
    worn = f" wearing {_things(scene)}" if scene.accessories else ""
    beside = f" next to {v.an(describe(scene.companion))}" if scene.companion is not None else ""
    return f"{v.an(describe(scene.individual))}{pose}{worn}{beside} {where(rng, scene)}{light}, {v.STYLE_SAID[scene.style][0]}"


def what(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene = talk.seen
    text = rng.choice(("what is in the picture?", "what do you see?", "describe the picture", "describe this",
                       "what is this?",
                       "who is this?", "what's on the photo?", "what can you see in my picture?",
                       "tell me what you see",
                       "what have we got here?", "can you describe it?", "do you know what this is?", "caption this",
                       "what did you draw?" if talk.last else "what's in my photo?", "explain the picture",
                       "what is that?"))
    all_ = full(rng, scene)
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
    whole = one.colour if one.pattern == "plain" else \
        f"{one.colour} with {one.second} {v.PATTERN_NOUN_SAID[one.pattern][0]}"
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
    asked = {"is it striped?": "striped", "are those stripes?": "striped", "does it have spots?": "spotted",
             "is it plain?": "plain"}
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
    text = rng.choice(SAY["ask_place"])
    light = "" if scene.light == "day" else f" {v.LIGHT_SAID[scene.light][0]}"
    return text, rng.choice((f"It is {where(rng, scene)}{light}.",
                             f"The {scene.individual.kind} is {where(rng, scene)}{light}."))


def style(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene = talk.seen
    if rng.random() < 0.35:
        text = rng.choice(SAY["ask_light"])
        return text, {"day": "It is day.", "sunset": "The sun is setting.", "night": "It is night."}[scene.light]
    if rng.random() < 0.3:
        text = rng.choice(SAY["ask_pose"])
        return text, f"It is {'just standing' if scene.pose == 'standing' else scene.pose}."
    text = rng.choice(SAY["ask_style"])
    a = v.an(v.STYLE_A[scene.style][0])
    if text == "is this a watercolour?":
        return text, f"Yes, it is {a}." if scene.style == "watercolour" else f"No, it is {a}."
    return text, f"No, it is a drawing, {a}." if text == "is it a photo?" else rng.choice((f"It is {a}.", f"That is "
            f"{a}.", f"It is drawn {v.STYLE_SAID[scene.style][0]}."))


def changed(rng: random.Random, talk: Talk) -> tuple[str, str]:
    """What was changed last. The answer is read from two plans, in use as here."""
    text = rng.choice(SAY["ask_changed"])
    return typed(rng, text)[0], plan.told(plan_of(talk.before), plan_of(talk.last))


def why_worn(rng: random.Random, scene: Scene, one: Accessory) -> str:
    """What speaks for a thing that it wears."""
    return f"The {one.colour} {one.name} {'give' if one.name in v.PLURAL else 'gives'} the {scene.individual.kind} {rng.choice(m.ACCESSORY_ADDS[one.name])}."


def why_style(rng: random.Random, scene: Scene) -> str:
    """What speaks for the style."""
    return f"{v.STYLE_THE[scene.style]} makes the picture {rng.choice(m.STYLE_IS[scene.style])}."


def why_light(rng: random.Random, scene: Scene) -> str:
    """What speaks for the light."""
    light = "daylight" if scene.light == "day" else scene.light
    return f"The {light} makes the {scene.individual.kind} look {rng.choice(m.LIGHT_MAKES[scene.light])}."


def why_there(rng: random.Random, scene: Scene) -> str:
    """What speaks for the place."""
    noun, kind_name, many = v.CONTEXT_THE[scene.context], scene.individual.kind, scene.context in v.CONTEXT_MANY
    virtue, (be, it_is, suits) = rng.choice(m.CONTEXT_IS[scene.context]), ("are", "they are", "suit") if many else ("is", "it is", "suits")
    return rng.choice((f"{noun} {be} {virtue}, and I think that suits the {kind_name}.", f"I like {noun} for it: {it_is} {virtue}.",
                       f"Because {noun} {be} {virtue}, which {suits} the {scene.individual.colour} {kind_name}."))


def why(rng: random.Random, talk: Talk) -> tuple[str, str]:
    scene, roll = talk.last, rng.random()
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
