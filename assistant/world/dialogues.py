"""Samples whole conversations about a picture from a state that is the truth: what is seen, a wish, the plan, a reply.

A reply names all that will be seen and says, in a clause, why it suits the wish. It is read back before it is given out, so that `captions.read_reply`
recovers the scene from it exactly.
"""

import random
from dataclasses import dataclass, field, replace

from ..plan import Plan, listing
from . import answers, free_wording, user_requests, vocabulary as v
from .answers import Talk
from .captions import attributes, describe, plan_of, read_reply
from .scene import Accessory, Scene, combination_held_out, sample_individual, sample_scene
from .user_requests import ScenePlan, UserRequest, choose
from .vocabulary import SAY, mirrored, sentence

_WARM = {"red", "orange", "yellow", "pink"}
_COOL = {"green", "teal", "blue", "purple"}
_INSTEAD = {";": ("", "", "instead"), ",": ("but", "so")}


def _subject(rng: random.Random, scene: Scene) -> str:
    one, roll = scene.individual, rng.random()
    if one.pattern == "plain":
        said = f"plain {one.colour} {one.kind}" if roll < 0.12 else describe(one)
    elif roll < 0.8:
        said = describe(one)
    else:
        said = f"{v.PATTERN_ADJ_SAID[one.pattern][0]} {one.colour} and {one.second} {one.kind}"
    return f"{rng.choice(('your', 'your', 'the'))} {said}"


def _wears(rng: random.Random, scene: Scene, still: bool) -> str:
    """", wearing a red hat and a pink bow tie", ", with a blue balloon" or nothing."""
    if not scene.accessories:
        return ""
    things = listing([v.wear(a.name, a.colour) for a in scene.accessories])
    if all(a.name in ("balloon", "umbrella") for a in scene.accessories):
        return rng.choice((f", with {things}", f", holding {things}", f", {things} at its side"))
    if still and rng.random() < 0.4:
        return f", still {rng.choice(('wearing', 'with'))} {things}"
    return f", {rng.choice(('wearing', 'wearing', 'with', 'dressed up with'))} {things}"


def _scene(rng: random.Random, scene: Scene, said: frozenset[str], whole: bool) -> str:
    """One or two sentences (first letter small) that name everything; not `whole`: fit to follow "so"."""
    subject = _subject(rng, scene)
    where = rng.choice(v.CONTEXT_SAID[scene.context][:v.CANON])
    if scene.context == "underwater":
        where = "underwater"
    when = ""
    if scene.light != "day" or "light" in said or rng.random() < 0.08:
        when = " " + rng.choice(v.LIGHT_SAID[scene.light][:2])
    style = rng.choice(v.STYLE_SAID[scene.style][:v.CANON])
    wears = _wears(rng, scene, "wear" not in said)
    pose = "" if scene.pose == "standing" and ("pose" not in said or rng.random() < 0.2) else " " + scene.pose
    does = rng.choice(v.POSE_DOES[scene.pose])
    roll = rng.random() if whole else rng.choice((0.2, 0.55, 0.8))
    if roll < 0.34:
        drawn = rng.choice(("", "", "done ", "all "))
        return f"{rng.choice(SAY['reply_leads'])} {subject}{pose} {where}{when}{wears}, {drawn}{style}."
    if roll < 0.5:
        return f"{subject} {does} {where}{when}{wears}, {rng.choice(('', 'done ', 'all '))}{style}."
    if roll < 0.66:
        put = rng.choice(("I put", "I placed", "I set", "I drew", "I imagined"))
        picture = v.an(rng.choice(v.STYLE_A[scene.style]))
        plain = v.an(v.STYLE_A[scene.style][0])
        tail = rng.choice((f"It is {picture}", f"It is {plain}", f"All of it is done {style}", f"I did everything {style}"))
        acts = f" It {does}{wears}, and all is done {style}." if pose else f" {tail}."
        return f"{put} {subject} {where}{when}{'' if pose else wears}.{acts}"
    if roll < 0.84:
        lead = rng.choice(("here is", "you get", "this is", "I made", "I drew", "here comes"))
        return f"{lead} {v.an(rng.choice(v.STYLE_A[scene.style]))} of {subject}{pose} {where}{when}{wears}."
    if scene.light != "day" and rng.random() < 0.4:
        return f"{when.strip()}, {subject} {does} {where}{wears}, {style}."
    return f"{where}{when}, {subject} {does}{wears}, {rng.choice(('done ', 'all '))}{style}."


def reasons(rng: random.Random, scene: Scene, said: frozenset[str], mood: str = "", given: Accessory | None = None, chose: bool = False) -> list[str]:
    """Why the choice suits: clauses (first letter small, no full stop), those about what changed. `chose`: nobody asked for the place."""
    found: list[str] = []
    place, style = v.CONTEXT_THE[scene.context], v.STYLE_THE[scene.style]
    if "context" in said:
        virtue = rng.choice(v.CONTEXT_IS[scene.context])
        many = scene.context in v.CONTEXT_MANY
        found += [f"{place} {'are' if many else 'is'} {virtue}", f"{place} {'feel' if many else 'feels'} {virtue}"]
        found += [f"I chose {place}, {'which are' if many else 'which is'} {virtue}"] * chose
        if mood:
            found += [f"{place} {'are' if many else 'is'} {virtue}, {rng.choice(SAY['reply_right']).format(a=v.an(mood))}"] * 2
    if "style" in said:
        virtue = rng.choice(v.STYLE_IS[scene.style])
        found += [f"{style} makes it {virtue}", f"{style} keeps the picture {virtue}"]
        if mood:
            found.append(f"{style} is {virtue}, {rng.choice(SAY['reply_right']).format(a=v.an(mood))}")
    if "light" in said:
        light = {"day": ("daylight", "the daylight"), "sunset": ("the sunset", "the sunset light"), "night": ("the night", "night")}
        makes = rng.choice(v.LIGHT_MAKES[scene.light])
        found += [f"{rng.choice(light[scene.light])} makes it {makes}", f"{rng.choice(light[scene.light])} lets it feel {makes}"]
    if "pose" in said:
        found.append(f"{scene.pose} makes it look {rng.choice(v.POSE_MAKES[scene.pose])}")
    if "wear" in said and scene.accessories:
        one, body = given if given in scene.accessories else rng.choice(scene.accessories), scene.individual
        thing, many = f"the {one.colour} {one.name}", one.name in v.PLURAL
        found.append(f"{thing} {'add' if many else 'adds'} {rng.choice(v.ACCESSORY_ADDS[one.name])}")
        if (one.colour in _WARM and body.colour in _COOL) or (one.colour in _COOL and body.colour in _WARM) \
                or {one.colour, body.colour} == {"white", "black"}:
            found.append(f"{thing} {'stand' if many else 'stands'} out against the {body.colour}")
        if body.pattern != "plain" and body.second == one.colour:
            found.append(f"{thing} {'pick' if many else 'picks'} up the {one.colour} of its {v.PATTERN_NOUN_SAID[body.pattern][0]}")
    return found


def _opening(rng: random.Random, wish: UserRequest, choice: ScenePlan, first: bool) -> str:
    """What is said before the scene: politeness, an apology, what is missing, what the wish was for."""
    target = choice.target
    if wish.missing:
        text = rng.choice(SAY["reply_cannot_do"] if wish.missing_is == "doing" else SAY["reply_cannot"]).format(x=wish.missing)
        y = ""
        if "wear" in choice.said and choice.given is not None:
            y = v.wear(choice.given.name, choice.given.colour)
        elif wish.missing_is in ("thing", "place") and "context" in choice.said:
            y = v.CONTEXT_THE[target.context]
        elif wish.missing_is == "style":
            y = v.STYLE_THE[target.style]
        if choice.near and y and rng.random() < 0.75:
            said = SAY["reply_gets"] if choice.near == "instead" else SAY["reply_closest"]
            if y.endswith("s"):  # the mountains, the clouds, sunglasses
                said = said[:1]
            return f"{text} {rng.choice(said).format(y=y)}"
        return text if text.endswith(".") else f"{text} {rng.choice(_INSTEAD[text[-1]])}"
    if choice.swapped:
        return rng.choice(("The {} goes on in place of the {}.", "I put the {} on in place of the {}.")).format(*choice.swapped)
    if choice.dropped:
        return f"It can wear two things at most, so I drew it without the {' or the '.join(choice.dropped)}."
    if f"reply_{wish.plea}" in SAY:
        return rng.choice(SAY[f"reply_{wish.plea}"])
    if wish.occasion and wish.mood and rng.random() < 0.75:
        name = mirrored(wish.occasion)
        return rng.choice(SAY["reply_occasion"]).format(x=name, mood=wish.mood.name, a_mood=v.an(wish.mood.name))
    if wish.mood and rng.random() < 0.75:
        return rng.choice(SAY["reply_mood"]).format(mood=wish.mood.name, a_mood=v.an(wish.mood.name))
    if wish.remove and rng.random() < 0.7:
        return rng.choice(SAY["reply_removed"]).format(x=listing(list(wish.remove)))
    if wish.creative and rng.random() < 0.6:
        return rng.choice(SAY["reply_creative"])
    if rng.random() < 0.5:
        return ""
    return rng.choice(SAY["reply_first"] if first else SAY["reply_next"])


def reply(rng: random.Random, wish: UserRequest, choice: ScenePlan, first: bool) -> str:
    """The words for a drawn answer: 15 to 50 of them, from which the scene can be read back exactly."""
    target, truth = choice.target, attributes(choice.target)
    for attempt in range(40):
        opening = _opening(rng, wish, choice, first)
        found = reasons(rng, target, choice.said if attempt < 20 else frozenset(), wish.mood.name if wish.mood else "", choice.given, wish.context is None)
        why = rng.choice(found) if found else ""
        joined = opening[-1:] not in (".", "!", "?", "")
        roll = rng.random()
        scene = _scene(rng, target, choice.said, whole=not joined and not 0.62 <= roll < 0.76)
        if not why:
            kept = rng.choice(("", "", "I kept the rest as it was.", "The rest stays the same."))
            text = f"{opening} {scene} {kept}"
        elif joined or roll < 0.62:
            text = f"{opening} {scene} {sentence(why)}."
        elif roll < 0.76:
            text = f"{opening} {sentence(why)}, so {scene}"
        elif roll < 0.9 and not why.startswith("I "):
            text = f"{opening} {scene[:-1]}, because {why}."
        else:
            text = f"{opening} {sentence(why)}: {scene}"
        text = sentence(text)
        if 12 <= len(text.split()) <= 50 and read_reply(text) == truth:
            return text + _beside(rng, target, choice.said)
    return sentence(_scene(rng, target, frozenset({"light", "pose"}), whole=False)) + _beside(rng, target, choice.said)


def _beside(rng: random.Random, scene: Scene, said: frozenset[str]) -> str:
    """A last sentence on the other subject, if there is one."""
    if scene.companion is None:
        return ""
    other = v.an(describe(scene.companion))
    return f" {rng.choice((f'Beside it is {other}.', f'Beside it stands {other}.') if 'companion' in said else (f'Beside it is still {other}.', f'Beside it is {other}.'))}"


@dataclass(frozen=True)
class Exchange:
    """One turn. `target` is the scene drawn with the reply, as `wish` asks for it; None: answered in words only."""

    user: str
    reply: str
    target: Scene | None
    plan: Plan
    wish: UserRequest | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Dialogue:
    """A conversation; `photo` None: no picture was given."""

    photo: Scene | None
    exchanges: tuple[Exchange, ...]


_FIRST = ((user_requests.order, 50), (user_requests.vague, 21), (user_requests.beyond, 6), (user_requests.tweak, 3), (user_requests.repaint, 2))
_NEXT = ((user_requests.order, 48), (user_requests.tweak, 10), (user_requests.redo, 9), (user_requests.vague, 7), (user_requests.beyond, 5), (user_requests.repaint, 5),
         (user_requests.refuse, 5))
_IN_WORDS = 0.32  # share of turns that are answered without a picture
_DECLINED = 0.09  # share of turns whose wish can't be drawn
_BACK = 0.14  # share of turns, once there is something to go back to, that do
_FREE = 0.75  # share of turns in free wordings
_GIVEN = 0.04  # share of pictures whose plan was given, and came from no words


def operations(base: Scene, wish: UserRequest, target: Scene) -> str:
    """What leads from what stands to the picture of a wish, as `dialogue_state.applied` reads it."""
    before, after, asked = plan_of(base), plan_of(target), {name for name, _ in wish.wear}
    items = [wish.back] if wish.back else []
    items += [f"{name} {getattr(after, name)}" for name, said in (("place", wish.context), ("light", wish.light), ("style", wish.style), ("pose", wish.pose))
              if said is not None or getattr(before, name) != getattr(after, name)]
    gone = [a.name for a in base.accessories if a.name in wish.remove and a.name not in {b.name for b in target.accessories}]
    items += ["off all"] if len(gone) == len(base.accessories) > 1 or gone and wish.plea == "off" else [f"off {name}" for name in gone]
    items += [dict(wish.how).get(a.name, f"wear {a.colour} {a.name}") for a in target.accessories if a not in base.accessories or a.name in asked]
    if after.other != before.other or wish.leave:
        items.append(f"with {after.other}" if after.other else "alone")
    return "; ".join(("draw", *items))


def drawn(rng: random.Random, talk: Talk, base: Scene, wish: UserRequest, held_out: bool) -> Exchange | None:
    """Answer a wish with a picture that goes on from `base`; None if the choice is one that training must not see."""
    first = talk.last is None
    choice = choose(rng, base, wish, first)
    if not first and rng.random() < 0.14:
        wish = replace(wish, text=answers.aside(rng, wish.text))
    if not held_out and combination_held_out(choice.target):
        return None
    change = "" if rng.random() < _GIVEN else operations(base, wish, choice.target)
    return Exchange(wish.text, "" if talk.quiet else reply(rng, wish, choice, first), choice.target, replace(plan_of(choice.target), change=change), wish)


def dialogue(rng: random.Random, held_out: bool = False, turns: int | None = None, photo: Scene | None = None, quiet: bool = False) -> Dialogue:
    """Sample an individual, a photo of it (or none) and a conversation.

    Args:
        held_out: individuals kept for evaluation, any combination; else training individuals and combinations only.
        turns: number of exchanges; None draws one to four.
        photo: the photo, if it is given.
        quiet: of the replies that come with pictures, the last alone has words.
    """
    count = turns or rng.choices((1, 2, 3, 4), (32, 28, 22, 18))[0]
    if photo is None:
        photo = sample_scene(rng, sample_individual(rng, held_out), None if held_out else False)
        if rng.random() < 0.12:
            return Dialogue(None, tuple(Exchange(text, answer, None, Plan("ask", about="picture")) for text, answer in (
                answers.without_picture(rng, photo, i) for i in range(count))))
    talk = Talk.about(photo)
    exchanges: list[Exchange] = []
    while len(exchanges) < count:
        exchange, offer = _turn(rng, replace(talk, quiet=quiet and len(exchanges) + 1 < count), held_out)
        if exchange is None:
            continue
        exchanges.append(exchange)
        talk = replace(talk if exchange.target is None else talk.after(exchange.target, exchange.plan.change), offer=offer, turns=talk.turns + 1)
    return Dialogue(photo, tuple(exchanges))


def _turn(rng: random.Random, talk: Talk, held_out: bool) -> tuple[Exchange | None, UserRequest | None]:
    """One exchange (None: draw again) and what its reply offered to draw."""
    first, base = talk.last is None, talk.seen
    if talk.offer is not None and rng.random() < 0.6:
        return drawn(rng, talk, base, replace(talk.offer, text=answers.yes(rng)), held_out), None
    roll, freely = rng.random(), rng.random() < _FREE
    if roll < _IN_WORDS:
        said = (free_wording if freely else answers).in_words(rng, talk)
        return Exchange(said.text, said.answer, None, Plan(said.act, about=said.about)), said.offer
    if roll < _IN_WORDS + _DECLINED:
        if freely:
            return _offered(rng, talk, *free_wording.beyond(rng, base, first), None)
        return _decline(rng, talk)
    if not first and roll < _IN_WORDS + _DECLINED + _BACK:
        back, wish = free_wording.back(rng, talk)
        return drawn(rng, talk, back, wish, held_out), None
    if freely:
        return drawn(rng, talk, base, free_wording.wish(rng, talk), held_out), None
    makers, weights = zip(*(_FIRST if first else _NEXT), strict=True)
    wish = rng.choices(makers, weights)[0](rng, base, first)
    if wish.missing and wish.creative:  # no part of it can be drawn
        return _offered(rng, talk, wish.text, wish.missing, wish.missing_is == "doing", "thing", wish)
    return drawn(rng, talk, base, wish, held_out), None


def _decline(rng: random.Random, talk: Talk) -> tuple[Exchange, UserRequest | None]:
    """A wish that can't be drawn as a whole: the subject's own look, its face, another subject, another language's words."""
    roll, base = rng.random(), talk.seen
    if roll < 0.4:
        return _said(rng, talk, user_requests.recolour(rng, base), rng.choice(SAY["decline_look"]), "look")
    if roll < 0.65:
        text, face = user_requests.feeling(rng, base)
        return _offered(rng, talk, text, face, False, "face", None)
    text, noun = user_requests.other_subject(rng, base)
    one = describe(base.individual)
    return _said(rng, talk, text, rng.choice(SAY["decline_subject"]).format(one=one, noun=noun), "subject")


def _offered(rng: random.Random, talk: Talk, text: str, missing: str, doing: bool, about: str, wish: UserRequest | None) -> tuple[Exchange, UserRequest | None]:
    """One honest sentence on what can't be drawn, and as a question the nearest thing that can."""
    question, offer = answers.nearest_offer(rng, talk.seen, wish) if wish is not None else answers.offered(rng, talk.seen)
    said = rng.choice(SAY["reply_cannot_do"] if doing else SAY["reply_cannot"]).format(x=missing).rstrip(";,.")
    return Exchange(text, sentence(f"{said}. {question}"), None, Plan("decline", about=about)), offer


def _said(rng: random.Random, talk: Talk, text: str, answer: str, about: str) -> tuple[Exchange, UserRequest | None]:
    offer = None
    if rng.random() < 0.6:
        question, offer = answers.offered(rng, talk.seen)
        answer = f"{answer} {question}"
    return Exchange(text, answer, None, Plan("decline", about=about)), offer
