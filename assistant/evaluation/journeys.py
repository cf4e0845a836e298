"""Exchanges as a designer had them, said again to the whole session: what is answered now beside what was answered when they were first tried.

`sets/journeys.json` holds conversations; of each turn its number in the notes, what is said, what was answered then (shortened), a photo (`ready/KIND`, `drawn`:
the last picture, or a file below the folder of photos) and lambda. What <name> stands for is learned first, from one ready picture and in a few steps.
"""

import html
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engine import Assistant
from ..errors import AssistantError
from ..plan import Plan, plan_in
from ..report import table
from ..requests import Photo, Settings, TrainingSpec
from ..session.manager import SessionManager
from ..session.store import Store
from ..session.uploads import read_photo
from .conversation import load

INTRODUCTION = """# Journeys, then and now

Exchanges as a designer had them with an early miniature, said again: `python -m assistant.evaluation journeys --photos DREAMBOOTH --learn {steps}`, weights
{weights}. Nothing is chosen: seeds are the numbers. Answers are shortened. <name>s were learned from one ready picture each, in {steps} steps, fewer
than usual; 35 to 37 stand for what the Likeness panel sends."""
OWNER, LONGEST = "journeys", 220  # characters of an answer that are shown


def replay(assistant: Assistant, photos: Path, steps: int) -> Iterator[tuple[Mapping[str, Any], str, Plan | None, bool]]:
    """Each turn, what is answered, the plan, and whether a picture was drawn. Seeds are the turns' numbers. Conversations about photos that the
    folder `photos` lacks are left out. `steps`: of learning a concept."""
    with tempfile.TemporaryDirectory(prefix="cafe-journeys-") as folder:
        manager, drawn = SessionManager(assistant, Store(folder)), 0
        learning = manager.learning
        assert learning is not None  # the miniature has a base model

        journeys: list[Any] = load("journeys")

        def photo(named: str) -> Photo | None:
            if named == "drawn":
                return manager.picture_as_photo(drawn, OWNER)
            if named.startswith("ready/"):
                return next(ready.photo for ready in assistant.subjects if named.removeprefix("ready/") in ready.name)
            return read_photo(photos / named) if (photos / named).exists() else None

        for journey in journeys:
            names = {name for turn in journey for name in (turn.get("photo"), turn.get("other")) if name}
            seen = {name: found for name in names if (found := photo(name)) is not None}
            if len(seen) < len(names):
                continue
            talk = manager.new(OWNER)
            for turn in journey:
                if "learn" in turn:
                    spec = TrainingSpec(turn["learn"], turn["noun"], (seen[turn["photo"]],), kind=turn.get("kind", "infusion"), options={"steps": steps})
                    lesson = learning.begin(OWNER, spec)
                    while learning.lesson(lesson.id, OWNER).open:
                        time.sleep(0.1)
                    continue
                others = [seen[turn["other"]]] if "other" in turn else []
                settings = replace(Settings(), seed=turn["number"], preview_every=0, imagination=turn.get("imagination", 0.0))
                try:
                    for _ in manager.send(talk.id, turn["said"], seen.get(turn.get("photo")), settings, OWNER, others):
                        pass
                except AssistantError as error:
                    yield turn, str(error), None, False
                    continue
                last = manager.open(talk.id, OWNER)[1][-1]
                drawn = last.id if last.picture else drawn
                yield turn, last.reply, plan_in(last.metadata), last.picture is not None
        manager.close()


def report(assistant: Assistant, photos: Path, steps: int) -> list[str]:
    """Lines of Markdown; see `replay`."""
    rows = {}
    for turn, answer, plan, picture in replay(assistant, photos, steps):
        shown = (plan.described() if plan is not None and plan.draws else "yes") if picture else "none"
        answer = answer if len(answer) <= LONGEST else f"{answer[:LONGEST].rsplit(' ', 1)[0]} ..."
        rows[str(turn["number"])] = [html.escape(text, False).replace("|", "\\|").replace("\n", " ") for text in (turn["said"], turn["before"], answer, shown)]
    about = INTRODUCTION.format(steps=steps, weights=assistant.weights).splitlines()
    return [*about, "", *table(("said", "answered then", "answered now", "picture now, as planned"), rows, "#")]
