"""Puts a scene into one line, as a caption or as a plan, and reads captions, replies and requests back into attributes.

Reading finds the vocabulary's phrases, longest first, and attaches each colour to the noun it stands before; clauses that say what is *not* in the picture
("I can't draw a dog", "without the hat") are passed over.
"""

import random
import re
from functools import lru_cache

from ..plan import Plan, listing
from . import vocabulary as v
from .scene import ACCESSORIES, Individual, Scene

_OPENERS = ("a picture of", "a drawing of", "an image of", "there is", "we see", "a cute picture of", "a scene with")


def describe(individual: Individual) -> str:
    """The subject in canonical words: "red cat with white stripes"."""
    if individual.pattern == "plain":
        return f"{individual.colour} {individual.kind}"
    return f"{individual.colour} {individual.kind} with {individual.second} {v.PATTERN_NOUN_SAID[individual.pattern][0]}"


def plan_of(scene: Scene) -> Plan:
    """What is seen in a scene, in the world's own words."""
    other = describe(scene.companion) if scene.companion is not None else ""
    return Plan("draw", describe(scene.individual), scene.context, scene.light, scene.style, scene.pose,
                tuple(f"{a.colour} {a.name}" for a in scene.accessories), other)


def _said(rng: random.Random, phrases: tuple[str, ...], wide: float = 0.25) -> str:
    """A canonical phrase, or with probability `wide` any of them."""
    return rng.choice(phrases) if rng.random() < wide else rng.choice(phrases[:v.CANON])


def _subject(rng: random.Random, one: Individual) -> str:
    roll, kind = rng.random(), one.kind
    if rng.random() < 0.06:
        kind = v.KIND_SAID[kind][1]
    if one.pattern == "plain":
        return f"plain {one.colour} {kind}" if roll < 0.12 else f"{one.colour} {kind}"
    adjective, noun = v.PATTERN_ADJ_SAID[one.pattern][0], v.PATTERN_NOUN_SAID[one.pattern][0]
    if roll < 0.10:
        return f"{one.colour} {kind}"
    if roll < 0.18:
        return f"{adjective} {one.colour} {kind}"
    if roll < 0.60:
        return f"{one.colour} {kind} with {one.second} {noun}"
    if roll < 0.78:
        return f"{adjective} {one.colour} and {one.second} {kind}"
    if roll < 0.90 or one.pattern == "starry":
        return f"{one.colour} and {one.second} {adjective} {kind}"
    return f"{one.second}-{adjective} {one.colour} {kind}"


def caption(scene: Scene, rng: random.Random) -> str:
    """One line of at most 30 words that is true of the scene; parts of it are left out at random."""
    roll = rng.random()
    one = scene.individual
    place = _said(rng, v.CONTEXT_SAID[scene.context]) if scene.context != "underwater" or rng.random() < 0.3 \
        else "underwater"
    if roll < 0.12:
        heroes = [one] if scene.companion is None else [one, scene.companion]
        plain = roll >= 0.05 and rng.random() < 0.5
        names = " and ".join(v.an(h.kind if plain else f"{h.colour} {h.kind}") for h in heroes)
        return names if roll < 0.05 else f"{names} {place}"
    light = rng.random() < (0.1 if scene.light == "day" else 0.88)
    pose = rng.random() < (0.08 if scene.pose == "standing" else 0.82)
    style, context = rng.random() < 0.85, rng.random() < 0.9
    worn = [a for a in scene.accessories if rng.random() < 0.92]
    if roll < 0.22 and scene.companion is None:
        return _tags(rng, scene, worn, light, pose, style, context)
    doing = f" {_said(rng, v.POSE_SAID[scene.pose][:6], 0.15)}" if pose else ""
    when = f" {_said(rng, v.LIGHT_SAID[scene.light], 0.15)}" if light else ""
    where = f" {place}" if context else ""
    wears = ""
    if worn:
        things = listing([v.wear(a.name, a.colour) for a in worn])
        held = all(a.name in ("balloon", "umbrella") for a in worn)
        how = rng.choice(("with", "holding", "with") if held else ("wearing", "in", "wearing") if len(worn) == 1 and worn[0].name != "flower" else ("wearing",))
        wears = f" {how} {things}"
    body = [wears, where + when] if rng.random() < 0.6 else [where + when, wears]
    if scene.companion is not None:
        who = [v.an(_subject(rng, one)) + wears, v.an(_subject(rng, scene.companion))]
        line = f"{rng.choice((' and ', ' and ', ' next to ', ' beside ')).join(who)}{doing}{where}{when}"
    else:
        line = v.an(_subject(rng, one)) + doing + "".join(body)
    if not style:
        return line if rng.random() < 0.7 else f"{rng.choice(_OPENERS)} {line}"
    if rng.random() < 0.45:
        return f"{v.an(rng.choice(v.STYLE_A[scene.style]))} of {line}"
    return f"{line}{', ' if worn else rng.choice((', ', ' ', ', '))}{_said(rng, v.STYLE_SAID[scene.style], 0.15)}"


def _tags(rng: random.Random, scene: Scene, worn: list, light: bool, pose: bool, style: bool, context: bool) -> str:
    """A list of tags, the subject first."""
    one = scene.individual
    tags = [f"{a.colour} {a.name}" for a in worn]
    if one.pattern != "plain" and rng.random() < 0.9:
        tags.append(f"{one.second} {v.PATTERN_NOUN_SAID[one.pattern][0]}")
    tags += [v.CONTEXT_TERSE[scene.context][0]] * context + [v.LIGHT_TERSE[scene.light][0]] * light
    tags += [v.STYLE_TERSE[scene.style][0]] * style + [scene.pose] * pose
    rng.shuffle(tags)
    return ", ".join([f"{one.colour} {one.kind}", *tags])


_FILLER = r"(?:\s|little|small|big|lovely|nice|cute|pair of|bright|warm|cool|fancy|fluffy|-)*"
_CLAUSE = re.compile(r"[^.;:!?]+[.;:!?]*")
_NOT_THERE = re.compile(  # marks of clauses about what is missing
    r"\b(?:can't|cannot|can not|never learned|don't know|there is no|outside my|beyond me|keeps? its own|not in my|"
    r"more than i)\b")
_WITHOUT = re.compile(  # phrases about what is gone, up to the next comma or clause
    r"\b(?:without|instead of|rather than|not|no longer|no|in place of|took off|take off|remove|lose|drop|away from)\b"
    r"(?:(?!\b(?:and|but|so|with|now|here)\b)[^.,;:!?])*")


def _phrases() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    tables = (("context", v.CONTEXT_SAID), ("light", v.LIGHT_SAID), ("style", v.STYLE_SAID), ("style", v.STYLE_A), ("pose", v.POSE_SAID), ("pose", v.POSE_DOES),
              ("accessory", v.ACCESSORY_SAID), ("colour", v.COLOUR_SAID), ("kind", v.KIND_SAID), ("adjective", v.PATTERN_ADJ_SAID),
              ("noun", v.PATTERN_NOUN_SAID), ("context", v.CONTEXT_TERSE), ("light", v.LIGHT_TERSE), ("style", v.STYLE_TERSE), ("pose", v.POSE_BARE))
    for kind, said in tables:  # a phrase that stands in two of them is the first one's
        for value, phrases in said.items():
            for phrase in phrases:
                found.setdefault(phrase.lower(), (kind, value))
    for phrase in tuple(found):  # the other spelling
        for british, american in (("colour", "color"), ("grey", "gray")):
            if british in phrase:
                found.setdefault(phrase.replace(british, american), found[phrase])
    return found


@lru_cache(maxsize=1)
def _matcher() -> tuple[re.Pattern[str], dict[str, tuple[str, str]]]:
    phrases = _phrases()
    words = sorted(phrases, key=len, reverse=True)
    return re.compile(r"(?<![\w'])(?:" + "|".join(map(re.escape, words)) + r")(?![\w'])"), phrases


def read(text: str) -> dict:
    """The attributes a text names; keys only for what is named.

    Returns:
        kind, colour, second, pattern, context, light, style, pose: canonical names of the world;
        accessories: tuple of (name, colour or None), in the world's order.
    """
    text = text.lower().replace("’", "'")
    if _NOT_THERE.search(text):
        text = " ".join(clause for clause in _CLAUSE.findall(text) if not _NOT_THERE.search(clause))
    text = _WITHOUT.sub(" ", text)
    pattern, phrases = _matcher()
    items = [(*phrases[m.group()], m.start(), m.end()) for m in pattern.finditer(text)]
    found: dict = {}
    used: set[int] = set()

    def near(i: int, j: int, between: str = "") -> bool:
        """Whether item j follows item i with nothing but filler (or `between`) in the gap."""
        return re.fullmatch(_FILLER + (f"(?:{between})?" + _FILLER if between else ""), text[items[i][3]:items[j][2]]) is not None

    worn: dict[str, str | None] = {}
    for j, (kind, value, _, _) in enumerate(items):
        before = j > 0 and items[j - 1][0] == "colour" and near(j - 1, j)
        if kind == "accessory":
            if worn.get(value) is None:
                worn[value] = items[j - 1][1] if before else None
            if before:
                used.add(j - 1)
        elif kind == "noun" and (before or value != "starry"):
            found.setdefault("pattern", value)
            if before:
                found.setdefault("second", items[j - 1][1])
                used.add(j - 1)
    _read_subject(items, near, used, found)
    for kind, value, _, _ in items:
        if kind in ("context", "light", "style", "pose"):
            found.setdefault(kind, value)
    loose = [i for i, item in enumerate(items) if item[0] == "colour" and i not in used]
    if "kind" not in found and "colour" not in found and loose:
        found["colour"] = items[loose[0]][1]
    if worn:
        found["accessories"] = tuple((name, worn[name]) for name in ACCESSORIES if name in worn)
    return found


def _read_subject(items: list, near, used: set[int], found: dict) -> None:
    """Kind, its colour, and pattern and second colour where they stand beside it."""
    for k, (kind, value, _, _) in enumerate(items):
        if kind != "kind":
            continue
        first = "kind" not in found
        found.setdefault("kind", value)
        if found["kind"] != value:
            continue
        colours: list[int] = []
        i = k
        while i > 0 and items[i - 1][0] in ("colour", "adjective") and i - 1 not in used and near(i - 1, i, "and|,|with"):
            i -= 1
            if items[i][0] == "adjective":
                found.setdefault("pattern", items[i][1])
            else:
                colours.insert(0, i)
        if colours:
            # "white-striped red cat": a colour right before the adjective, another after it, is the pattern's
            if len(colours) > 1 and items[colours[0] + 1][0] == "adjective" and colours[1] == colours[0] + 2:
                colours.reverse()
            found.setdefault("colour", items[colours[0]][1])
            if len(colours) > 1:
                found.setdefault("second", items[colours[1]][1])
            used.update(colours)
        if k + 1 < len(items) and first:
            after = items[k + 1]
            if after[0] == "colour" and "colour" not in found and near(k, k + 1, "is|in|that is|which is"):
                found["colour"] = after[1]
                used.add(k + 1)
            elif after[0] == "adjective" and near(k, k + 1, ","):
                found.setdefault("pattern", after[1])
                if k + 2 < len(items) and items[k + 2][0] == "colour" and near(k + 1, k + 2, "in|with"):
                    found.setdefault("second", items[k + 2][1])
                    used.add(k + 2)


def attributes(scene: Scene) -> dict:
    """The scene's own attributes in the form of `read`; a plain subject has no second colour that words name."""
    one = scene.individual
    found = {"kind": one.kind, "colour": one.colour, "pattern": one.pattern, "context": scene.context, "light": scene.light, "style": scene.style,
             "pose": scene.pose, "accessories": tuple((a.name, a.colour) for a in sorted(scene.accessories, key=lambda a: ACCESSORIES.index(a.name)))}
    if one.pattern != "plain":
        found["second"] = one.second
    return found


def read_reply(text: str) -> dict:
    """`read` of the first subject, with what a reply leaves unsaid filled in: plain, by day, standing, wearing nothing."""
    return {"pattern": "plain", "light": "day", "pose": "standing", "accessories": (), **read(text.split(" Beside it ")[0])}
