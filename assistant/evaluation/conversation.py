"""Does M understand free English, and are its words true? Exchanges and conversations written by hand, by nobody's template.

Each is given with the act and the plan that is right (`sets/`): a photo, what was seen since, what is said. Nothing is drawn: the
reply's plan is compared with the right one, and what its words claim with its own plan.
"""

import json
import random
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ..generation.base import ImageFeatures, ImageGenerator, ReplyState
from ..requests import Turn
from ..world.captions import plan_of, read_reply
from ..world.user_requests import ScenePlan, UserRequest
from ..world.dialogues import operations, reply
from ..world.renderer import render
from ..world.scene import ACCESSORIES, Accessory, Scene, restage, sample_individual, sample_scene
from ..models.vision_encoders import pixels
from ..plan import Plan, told
from .test_cases import NEVER, share

SETS = Path(__file__).parent / "sets"
FIELDS = ("place", "light", "style", "pose")
_GONE = re.compile(r"(?:took off|take off|in place of|without|no) ([^.,;:]*)")
FREE = "*"  # a value that is the assistant's to choose


def load(name: str) -> list[dict[str, Any]]:
    """The set sets/`name`.json. Raises ConfigError: there is none of that name."""
    if not (SETS / f"{name}.json").is_file():
        raise ConfigError(f"There is no set {name!r}.", f"Choose from: {', '.join(sorted(file.stem for file in SETS.glob('*.json')))}.")
    return json.loads((SETS / f"{name}.json").read_text(encoding="utf-8"))


def scene_of(subject: Mapping[str, str], state: Mapping[str, Any], number: int) -> Scene:
    """A scene that shows a state; what the state leaves open follows from `number`."""
    rng = random.Random(f"conversation/{number}")
    who = replace(sample_individual(rng), **subject)
    other = None
    if state["other"]:
        colour, kind = state["other"].split()
        one = sample_individual(rng)
        second = one.second if one.second != colour else "white" if colour != "white" else "black"
        other = replace(one, kind=kind, colour=colour, second=second, pattern="plain")
    worn = tuple(Accessory(name, colour) for name, colour in state["worn"].items())
    base = sample_scene(rng, who, None)
    return restage(rng, base, context=state["place"], light=state["light"], style=state["style"], pose=state["pose"], accessories=worn, companion=other)


def history_of(scenes: Sequence[Scene], number: int) -> list[Turn]:
    """Turns that lead from the photo over what was seen since, in plain words."""
    turns = []
    for k, (before, after) in enumerate(zip(scenes, scenes[1:])):
        rng = random.Random(f"conversation/{number}/{k}")
        text = told(plan_of(before), plan_of(after)).split(". The rest")[0].removeprefix("I ")
        wish = UserRequest(text, remove=tuple({a.name for a in before.accessories} - {a.name for a in after.accessories}))
        plan = replace(plan_of(after), change=operations(before, wish, after))
        turns.append(Turn(text, reply(rng, wish, ScenePlan(after, frozenset()), k == 0), drew=True, plan=plan))
    return turns


def right(plan: Plan | None, wanted: Mapping[str, Any]) -> bool:
    """Whether a plan is the one that is wanted; FREE fits everything."""
    if plan is None or plan.act != wanted["act"]:
        return False
    if not plan.draws:
        return True
    worn = {noun or colour: colour for colour, _, noun in (thing.partition(" ") for thing in plan.worn)}
    wears = wanted["worn"] == FREE or (worn.keys() == wanted["worn"].keys() and all(c in (FREE, worn[n]) for n, c in wanted["worn"].items()))
    return wears and wanted["other"] in (FREE, plan.other) and all(wanted[name] in (FREE, getattr(plan, name)) for name in FIELDS)


def claims(text: str, plan: Plan) -> bool:
    """Whether all that a reply with a picture says of it is in its plan, and what it says to have taken off is not."""
    wears = {thing.partition(" ")[2] or thing for thing in plan.worn}
    if any(name in wears for gone in _GONE.findall(text.lower()) for name in ACCESSORIES if re.search(rf"\b{name}\b", gone)):
        return False
    said = read_reply(text)
    worn = {f"{colour} {name}" if colour else name for name, colour in said["accessories"]}
    fields = all(said.get(name, getattr(plan, own)) == getattr(plan, own) for name, own in (("context", "place"), ("light", "light"), ("style", "style"), ("pose", "pose")))
    return fields and worn <= set(plan.worn) | wears and \
        (" Beside it " not in text or bool(plan.other) and plan.other.split(" with ")[0] in text.split(" Beside it ")[1])


class Speaker:
    """M behind its image generator, without chance."""

    def __init__(self, image_generator: ImageGenerator, size: int) -> None:
        self.image_generator, self.size = image_generator, size

    def look(self, scene: Scene) -> ImageFeatures | None:
        return self.image_generator.look(pixels([render(scene, self.size).image]))

    def says(self, history: Sequence[Turn], text: str, seen: ImageFeatures | None) -> ReplyState:
        said = ReplyState()
        for _ in self.image_generator.speak(history, text, seen, said, 0.0, torch.Generator().manual_seed(zlib.crc32(text.encode())), NEVER):
            pass
        return said


def exchanges(speaker: Speaker, cases: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], ReplyState]]:
    """Each case with what is answered."""
    for number, case in enumerate(cases):
        scenes = [scene_of(case["subject"], state, number) for state in case["states"]]
        yield case, speaker.says(history_of(scenes, number), case["said"], speaker.look(scenes[0]))


def conversations(speaker: Speaker, cases: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any], ReplyState]]:
    """Each turn of each conversation, its number first, with what is answered to it and all before it."""
    for number, case in enumerate(cases):
        seen = speaker.look(scene_of(case["subject"], case["photo"], number))
        history: list[Turn] = []
        for k, turn in enumerate(case["turns"]):
            said = speaker.says(history, turn["said"], seen)
            history.append(Turn(turn["said"], said.text, drew=said.wish is not None, plan=said.plan))
            yield k, turn, said


def measure(answered: Sequence[tuple[Mapping[str, Any], ReplyState]]) -> dict[str, dict]:
    """Shares: the act, the plan, and claims that are true of the own plan."""
    drawn = [(said.text, said.plan) for _, said in answered if said.plan is not None and said.plan.draws]
    found = {"act": share([said.plan is not None and said.plan.act == case["plan"]["act"] for case, said in answered]),
             "plan": share([right(said.plan, case["plan"]) for case, said in answered]), "claims": share([claims(text, plan) for text, plan in drawn])}
    for act in ("draw", "answer", "chat", "decline", "ask"):
        found[f"plan of {act}"] = share([right(said.plan, case["plan"]) for case, said in answered if case["plan"]["act"] == act])
    return found


def report(image_generator: ImageGenerator, size: int, names: Sequence[str]) -> tuple[dict[str, dict], list[str]]:
    """Measures of sets by name ("conversations" turn by turn), and a line for each case that went wrong."""
    speaker, found, wrong = Speaker(image_generator, size), {}, []
    for name in names:
        if name == "conversations":
            turns = list(conversations(speaker, load(name)))
            found[name] = measure([(turn, said) for _, turn, said in turns])
            found[f"{name}, sixth turn"] = measure([(turn, said) for k, turn, said in turns if k == 5])
            answered = [(turn, said) for _, turn, said in turns]
        else:
            answered = list(exchanges(speaker, load(name)))
            found[name] = measure(answered)
        wrong += [f"{name}: {case['said']!r} wanted {json.dumps(case['plan'])}, planned {said.plan.written() if said.plan else None}: {said.text}"
                  for case, said in answered if not right(said.plan, case["plan"])]
    return found, wrong
