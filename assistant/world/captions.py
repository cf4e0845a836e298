"""Puts a scene into one line, as a caption for the image encoder and the base model, or as a plan. Knows no conversation."""

from __future__ import annotations

import random

from ..plan import Plan
from . import vocabulary as v
from .scene import Individual, Scene

_OPENERS = ("a picture of", "a drawing of", "an image of", "there is", "we see", "a cute picture of", "a scene with")


def describe(individual: Individual) -> str:
    """The subject in canonical words: "red cat with white stripes"."""
    if individual.pattern == "plain":
        return f"{individual.colour} {individual.kind}"
    return f"{individual.colour} {individual.kind} with {individual.second} " \
           f"{v.PATTERN_NOUN_SAID[individual.pattern][0]}"


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
        things = v.listing([v.wear(a.name, a.colour) for a in worn])
        held = all(a.name in ("balloon", "umbrella") for a in worn)
        how = rng.choice(("with", "holding", "with") if held else ("wearing", "in",
            "wearing") if len(worn) == 1 and worn[0].name != "flower"
                         else ("wearing",))
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
