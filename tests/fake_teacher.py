"""A teacher without models: a step is a moment, a preview a disc that grows. The library is the real one. For tests."""

import json
import time

import numpy as np
import torch
from PIL import Image, ImageDraw

from assistant.customization.concept_library import ConceptLibrary, IcoConcept, InfusionConcept
from assistant.errors import ConceptError
from assistant.requests import DatasetAdvice
from assistant.files import write_png

BASE, LAYERS = "fake", {"layer": 4}


class FakeTeacher:
    """Args: pause: seconds a step. A noun "break" fails at its fifth step."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause, self.courses = pause, []

    def open(self, folder):
        return ConceptLibrary(folder, BASE, LAYERS)

    def advise(self, pictures):
        few = ("1 picture is few: with 3 to 5 it is told what belongs to the thing.",) if len(pictures) == 1 else ()
        return DatasetAdvice("cat" if pictures else "", few)

    def begin(self, task, state=None):
        if not task.noun.strip():
            raise ConceptError("A concept needs a class noun.", "Say what kind of thing it is, for instance: mug.")
        self.courses.append(FakeCourse(self, task, state))
        return self.courses[-1]


class FakeCourse:
    def __init__(self, trainer, task, state):
        self.trainer, self.task, self.steps = trainer, task, int(task.options.get("steps", 40))
        self.step = self.began = json.loads(state)["step"] if state else 0

    def advance(self):
        if self.task.noun == "break" and self.step == 5 and not self.began:
            raise ConceptError("The device ran out of memory while learning.", "Go on with it when others are done.")
        time.sleep(self.trainer.pause)
        self.step += 1
        return 1.0 / (1 + self.step)

    def preview(self, cancel):
        if cancel.is_set():
            return None
        image = Image.new("RGB", (128, 128), "#cde")
        size = 10 + 50 * self.step / self.steps
        ImageDraw.Draw(image).ellipse((64 - size, 64 - size, 64 + size, 64 + size), fill="#c64")
        return write_png(np.asarray(image))

    def state(self):
        return json.dumps({"step": self.step}).encode()

    def keep(self, library, thumbnail):
        if self.task.kind == IcoConcept.kind:
            about = (torch.zeros(2, 4), {"layer": (torch.full((4, 4), float(self.step)),) * 2}, "T2 E")
            library.replace(IcoConcept(self.task.name, self.task.noun, BASE, *about, self.step, thumbnail=thumbnail))
            return
        library.replace(InfusionConcept(self.task.name, self.task.noun, BASE, {"layer": torch.full((1, 4), float(self.step))},
                                self.step, {"steps": self.steps, "pictures": len(self.task.pictures)}, thumbnail=thumbnail))
