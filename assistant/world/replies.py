"""Words that come with a picture: they name all that will be seen and say, in a clause, why it suits the wish.

Every reply is read back before it is given out, so that `reading.read_reply` recovers the scene from it exactly.
"""

from __future__ import annotations

import random

from . import vague_requests as m
from . import vocabulary as v
from .captions import describe
from .scene_planner import ScenePlan
from .attribute_parser import attributes, read_reply
from .user_requests import UserRequest
from .text_noise import mirrored, sentence
from .vocabulary import SAY
from .scene import Accessory, Scene

_WARM = {"red", "orange", "yellow", "pink"}
_COOL = {"green", "teal", "blue", "purple"}
_INSTEAD = {";": ("", "", "instead"), ",": ("but", "so")}


def declined(rng: random.Random, missing: str, doing: bool, question: str) -> str:
    """The words for a wish that can't be drawn: one honest sentence, and what is offered instead, as a question."""
    text = rng.choice(SAY["reply_cannot_do"] if doing else SAY["reply_cannot"]).format(x=missing).rstrip(";,.")
    return sentence(f"{text}. {question}")


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
    things = v.listing([v.wear(a.name, a.colour) for a in scene.accessories])
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
        tail = rng.choice((f"It is {picture}", f"It is {plain}", f"All of it is done {style}",
                           f"I did everything {style}"))
        acts = f" It {does}{wears}, and all is done {style}." if pose else f" {tail}."
        return f"{put} {subject} {where}{when}{'' if pose else wears}.{acts}"
    if roll < 0.84:
        lead = rng.choice(("here is", "you get", "this is", "I made", "I drew", "here comes"))
        return f"{lead} {v.an(rng.choice(v.STYLE_A[scene.style]))} of {subject}{pose} {where}{when}{wears}."
    if scene.light != "day" and rng.random() < 0.4:
        return f"{when.strip()}, {subject} {does} {where}{wears}, {style}."
    return f"{where}{when}, {subject} {does}{wears}, {rng.choice(('done ', 'all '))}{style}."


def reasons(rng: random.Random, scene: Scene, said: frozenset[str], mood: str = "", given: Accessory | None = None,
            chose: bool = False) -> list[str]:
    """Why the choice suits: clauses (first letter small, no full stop), those about what changed. `chose`: nobody asked for the place."""
    found: list[str] = []
    place, style = v.CONTEXT_THE[scene.context], v.STYLE_THE[scene.style]
    if "context" in said:
        virtue = rng.choice(m.CONTEXT_IS[scene.context])
        many = scene.context in v.CONTEXT_MANY
        found += [f"{place} {'are' if many else 'is'} {virtue}", f"{place} {'feel' if many else 'feels'} {virtue}"]
        found += [f"I chose {place}, {'which are' if many else 'which is'} {virtue}"] * chose
        if mood:
            found += [f"{place} {'are' if many else 'is'} {virtue}, {rng.choice(SAY['reply_right']).format(a=v.an(mood))}"] * 2
    if "style" in said:
        virtue = rng.choice(m.STYLE_IS[scene.style])
        found += [f"{style} makes it {virtue}", f"{style} keeps the picture {virtue}"]
        if mood:
            found.append(f"{style} is {virtue}, {rng.choice(SAY['reply_right']).format(a=v.an(mood))}")
    if "light" in said:
        light = {"day": ("daylight", "the daylight"), "sunset": ("the sunset", "the sunset light"),
                 "night": ("the night", "night")}
        makes = rng.choice(m.LIGHT_MAKES[scene.light])
        found += [f"{rng.choice(light[scene.light])} makes it {makes}",
                  f"{rng.choice(light[scene.light])} lets it feel {makes}"]
    if "pose" in said:
        found.append(f"{scene.pose} makes it look {rng.choice(m.POSE_MAKES[scene.pose])}")
    if "wear" in said and scene.accessories:
        one, body = given if given in scene.accessories else rng.choice(scene.accessories), scene.individual
        thing, many = f"the {one.colour} {one.name}", one.name in v.PLURAL
        found.append(f"{thing} {'add' if many else 'adds'} {rng.choice(m.ACCESSORY_ADDS[one.name])}")
        if (one.colour in _WARM and body.colour in _COOL) or (one.colour in _COOL and body.colour in _WARM) \
                or {one.colour, body.colour} == {"white", "black"}:
            found.append(f"{thing} {'stand' if many else 'stands'} out against the {body.colour}")
        if body.pattern != "plain" and body.second == one.colour:
            found.append(f"{thing} {'pick' if many else 'picks'} up the {one.colour} of its "
                         f"{v.PATTERN_NOUN_SAID[body.pattern][0]}")
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
        return rng.choice(("The {} goes on in place of the {}.",
                           "I put the {} on in place of the {}.")).format(*choice.swapped)
    if choice.dropped:
        return f"It can wear two things at most, so I drew it without the {' or the '.join(choice.dropped)}."
    if wish.plea == "again":
        return rng.choice(SAY["reply_again"])
    if wish.plea == "undo":
        return rng.choice(SAY["reply_undone"])
    if wish.plea == "earlier":
        return rng.choice(SAY["reply_earlier"])
    if wish.plea == "sorry":
        return rng.choice(SAY["reply_sorry"])
    if wish.plea == "other":
        return rng.choice(SAY["reply_other"])
    if wish.occasion and rng.random() < 0.75:
        name = mirrored(wish.occasion)
        return rng.choice(SAY["reply_occasion"]).format(x=name, mood=wish.mood.name, a_mood=v.an(wish.mood.name))
    if wish.mood and rng.random() < 0.75:
        return rng.choice(SAY["reply_mood"]).format(mood=wish.mood.name, a_mood=v.an(wish.mood.name))
    if wish.remove and rng.random() < 0.7:
        return rng.choice(SAY["reply_removed"]).format(x=v.listing(list(wish.remove)))
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
        found = reasons(rng, target, choice.said if attempt < 20 else frozenset(), wish.mood.name if wish.mood else "",
                        choice.given, wish.context is None)
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
