"""DreamBench (Ruiz et al., 2023), as the papers measure on it: every subject x 25 prompts x 4 pictures, by DINO, CLIP-I and CLIP-T.

A subject is a folder of photos; classes and prompts stand in the data set's own `prompts_and_classes.txt`. CAFE and presets like it answer a request
about one photo, without learning; Infusion, ICO + DCI and the baselines learn from all photos first, on the preset's base model. What was learned, drawn
and measured is kept, a file for each subject, method and prompt, so that a command that was stopped goes on.
"""

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..customization.dci_sampling import branches, propose
from ..customization.infusion_sampling import prepare_infusion
from ..customization.concept_training import MOST_PICTURES, ConceptImages
from ..data.quadruplets import Embedder
from ..engine import Assistant
from ..errors import ConfigError
from ..files import SHARED, write_whole
from ..models.vision_encoders import pixels
from ..requests import Photo, TrainingSpec
from .baselines import BASELINES, DreamBoothLora, draw_plain
from .overall import answer, as_photo

LISTING = "prompts_and_classes.txt"
LIVE = ("cat", "dog")  # classes that are asked the prompts for live subjects
LAMBDAS = (-2.0, -1.0, 0.0, 1.0, 2.0)
INFUSION, ICO = "Infusion", "ICO"
ASKED = ("Can you generate an image for {}?", "Generate an image for {}.")  # CAFE, section 4.2
NAME = "it"  # of a concept
KEEP = 50  # steps of learning after which its state is kept
MEASURES = ("DINO", "CLIP-I", "CLIP-T")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A folder of photos; `prompts` have "{}" where the subject is named."""

    name: str
    noun: str
    photos: tuple[Photo, ...]
    prompts: tuple[str, ...]


def subjects(folder: Path) -> list[Subject]:
    """Every subject that has a folder, in the listing's order.

    Raises:
        ConfigError: no listing, no subject, or a photo that cannot be read.
    """
    listing = folder / LISTING
    if not listing.exists():
        raise ConfigError(f"There is no {LISTING} in {folder}.", "Name the folder of the DreamBooth data set, which holds it.")
    text = listing.read_text(encoding="utf-8")
    classes = dict(re.findall(r"^(\w+),([^\n,]+)$", text, re.MULTILINE))
    objects, _, live = text.partition("Live Subject Prompts")
    prompts = [tuple(" ".join(p.split()) for p in re.findall(r"'([^'\n]*\{0\} \{1\}[^'\n]*)'", part.replace("{0}  {1}", "{0} {1}"))) for part in (objects, live)]
    prompts = [tuple(p.replace("{0} {1}", "{}") for p in part) for part in prompts]
    found = []
    for name, noun in classes.items():
        files = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))[:MOST_PICTURES]
        if files:
            found.append(Subject(name, noun.strip(), tuple(read(file) for file in files), prompts[noun.strip() in LIVE] or prompts[0]))
    if not found or not found[0].prompts:
        raise ConfigError(f"{folder} holds {'no folder of photos that its listing names' if not found else 'no prompts in its listing'}.",
                          f"Its folders are named as in {LISTING}, and each holds a few JPEG or PNG files.")
    return found


def read(file: Path) -> Photo:
    """A photo, upright, at most 1024 pixels. Raises ConfigError."""
    try:
        image = ImageOps.exif_transpose(Image.open(file, formats=["JPEG", "PNG", "WEBP"])).convert("RGB")
    except (OSError, ValueError) as error:
        raise ConfigError(f"The photo {file} cannot be read: {error}", "Take it away, or get it again.") from error
    image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    return as_photo(image)


# Draws pictures of a prompt with "{}" in it, one a seed: uint8 (H, W, 3) each; None: it answered in words only.
Painter = Callable[[str, Sequence[int]], list[np.ndarray | None]]


@dataclass
class DreamBench:
    """The protocol.

    Args:
        run: folder of what was learned, drawn and measured.
        images: pictures of each prompt. prompts: how many; None: all. steps: of denoising; None: the preset's.
        learn: steps of every method's learning; None: the preset's, or the method's own.
    """

    assistant: Assistant
    judge: Embedder
    judged_by: str
    run: Path
    images: int = 4
    prompts: int | None = None
    steps: int | None = None
    learn: int | None = None
    lambdas: tuple[float, ...] = LAMBDAS
    say: Say = print
    methods: tuple[str, ...] = ()
    _seen: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # a subject's photos, as the judges see them

    def __post_init__(self) -> None:
        known = self.known()
        unknown = [m for m in self.methods if m not in known]
        if unknown:
            raise ConfigError(f"The preset {self.assistant.config.name!r} has no method {unknown[0]!r}.", f"It has: {', '.join(known)}.")
        if not self.methods and find_spec("peft") is None and DreamBoothLora.name in known:
            self.say(f"{DreamBoothLora.name} is left out: it needs peft, which is not installed. Run: pip install -r tests/requirements.txt")
            known = tuple(m for m in known if m != DreamBoothLora.name)
        self.methods = self.methods or known

    def known(self) -> tuple[str, ...]:
        """All methods that the preset can be measured with."""
        one = self.assistant
        learned = (INFUSION, ICO, *(f"ICO + DCI, λ = {v:g}" for v in self.lambdas), *(b.name for b in BASELINES)) if one.trainer is not None else ()
        return (*((one.image_generator.method,) if one.vision is not None else ()), *learned)

    @cached_property
    def place(self) -> Path:
        """The folder of these weights, judges and numbers: what was measured with others is not taken."""
        about = {"preset": self.assistant.config.name, "weights": self.assistant.weights, "judges": self.judged_by, "steps": self._steps, "learn": self.learn}
        found = self.run / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
        found.mkdir(parents=True, exist_ok=True)
        write_whole(found / "about.json", json.dumps(about, indent=1).encode(), SHARED)
        return found

    @property
    def _steps(self) -> int:
        return self.steps or self.assistant.config.decoder.steps

    def measure(self, of: Sequence[Subject]) -> dict[str, list[dict]]:
        """Method -> its cells, one a subject and prompt: subject, prompt, and of each picture DINO, CLIP-I and CLIP-T."""
        found: dict[str, list[dict]] = {"real": [self._real(one) for one in of]}
        for one in of:
            for method in self.methods:
                cells = [self._kept(method, one, n) for n in range(len(one.prompts[:self.prompts]))]
                if any(len(cell["pictures"]) < self.images for cell in cells):
                    started = time.monotonic()
                    painter = self._painter(method, one)
                    learned = time.monotonic() - started
                    cells = [self._drawn(method, one, n, cell, painter, learned) for n, cell in enumerate(cells)]
                    self.say(f"{one.name}: {method}")
                found.setdefault(method, []).extend({**cell, "pictures": cell["pictures"][:self.images]} for cell in cells)
        return found

    def _cell(self, method: str, one: Subject, number: int) -> Path:
        return self.place / slug(method) / one.name / f"{number:02}.json"

    def _kept(self, method: str, one: Subject, number: int) -> dict:
        place = self._cell(method, one, number)
        return json.loads(place.read_text()) if place.exists() else {"subject": one.name, "prompt": one.prompts[number], "pictures": []}

    def _drawn(self, method: str, one: Subject, number: int, cell: dict, painter: Painter, learned: float) -> dict:
        """A cell with all of its pictures; those that are there stay."""
        have = len(cell["pictures"])
        if have >= self.images:
            return cell
        place = self._cell(method, one, number)
        place.parent.mkdir(parents=True, exist_ok=True)
        for k, picture in enumerate(painter(one.prompts[number], [100 * number + k for k in range(have, self.images)]), have):
            if picture is not None:
                Image.fromarray(picture).save(place.with_name(f"{number:02}-{k}.webp"), quality=92)
            cell["pictures"].append(None if picture is None else self._scores(one, one.prompts[number], picture))
        cell = {**cell, "learned in": round(learned, 1)}
        write_whole(place, json.dumps(cell).encode(), SHARED)
        return cell

    def shown(self, method: str, one: Subject, number: int) -> Image.Image | None:
        """The first picture of a prompt."""
        place = self._cell(method, one, number)
        place = place.with_name(f"{place.stem}-0.webp")
        return Image.open(place) if place.exists() else None

    def _photos(self, one: Subject) -> tuple[Tensor, Tensor]:
        """What the judges see in its photos, (P, a) and (P, b)."""
        if one.name not in self._seen:
            shown = [pixels([Image.open(io.BytesIO(photo.png))]) for photo in one.photos]
            self._seen[one.name] = torch.cat([self.judge.individual(x) for x in shown]), torch.cat([self.judge.picture(x) for x in shown])
        return self._seen[one.name]

    def _scores(self, one: Subject, prompt: str, picture: np.ndarray) -> dict[str, float]:
        """DINO and CLIP-I: the mean cosine to the photos; CLIP-T: to the prompt without the concept's own word."""
        dino, clip = self._photos(one)
        x = pixels([Image.fromarray(picture)])
        drawn = self.judge.picture(x)
        found = (self.judge.individual(x) @ dino.T, drawn @ clip.T, drawn @ self.judge.caption([prompt.format(one.noun)]).T)
        return {name: round(float(value.mean()), 5) for name, value in zip(MEASURES, found)}

    def _real(self, one: Subject) -> dict:
        """The photos among themselves: what a perfect copy of the subject would reach."""
        pairs = [(a, b) for b in range(len(one.photos)) for a in range(b)]
        dino, clip = self._photos(one)
        return {"subject": one.name, "prompt": "", "pictures": [{"DINO": float(dino[a] @ dino[b]), "CLIP-I": float(clip[a] @ clip[b])} for a, b in pairs]}

    def _painter(self, method: str, one: Subject) -> Painter:
        if method == self.assistant.image_generator.method:
            return lambda prompt, seeds: [self._answer(one, prompt, seed) for seed in seeds]
        base, about = self.assistant.base, self.assistant.config.decoder
        for kind in BASELINES:
            if kind.name == method:
                learner = self._baseline(kind, one)
                return lambda prompt, seeds: list(base.decode(draw_plain(learner.model, [prompt.format(learner.phrase)] * len(seeds), seeds, self._steps, about.guidance)))
        concept = self._concept("infusion" if method == INFUSION else "ico", one)
        if method == INFUSION:
            return lambda prompt, seeds: list(base.decode(prepare_infusion(base, prompt.format(f"<{NAME}>"), {NAME: one.noun}, lambda _: concept, about.guidance).draw(
                seeds, self._steps, about.sampler).latents))
        strength = None if method == ICO else float(method.rpartition(" ")[2])

        def paint(prompt: str, seeds: Sequence[int]) -> list[np.ndarray]:
            noun = None if strength is None else propose(prompt.format(""), one.noun, self.assistant.config.nouns)[0]
            drawing = branches(base, concept, prompt.format(f"<{NAME}>"), noun)
            return list(base.decode(drawing.draw(seeds, strength or 0.0, about.dci_window, about.guidance, self._steps, about.sampler,
                                                 sharpening=self.assistant._sharpening).latents))

        return paint

    def _answer(self, one: Subject, prompt: str, seed: int) -> np.ndarray | None:
        """What the assistant draws when it is asked as CAFE's authors asked, of one photo: picture k of the k-th."""
        words = ASKED[seed % len(ASKED)].format(re.sub(r"^an? ", "this ", prompt).format(one.noun))
        reply = answer(self.assistant, words, one.photos[seed % 100 % len(one.photos)], seed, self._steps)
        return None if reply.png is None else np.asarray(Image.open(io.BytesIO(reply.png)).convert("RGB"))

    def _concept(self, kind: str, one: Subject) -> Any:
        """Learned now, or goes on where it was stopped: the file of a state."""
        place = self.place / "learned" / f"{one.name}-{kind}.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        task = TrainingSpec(NAME, one.noun, one.photos, kind=kind, options={} if self.learn is None else {"steps": self.learn})
        course = self.assistant.trainer.begin(task, place.read_bytes() if place.exists() else None)
        while course.step < course.steps:
            course.advance()
            if course.step % KEEP == 0 or course.step == course.steps:
                write_whole(place, course.state(), SHARED)
        return course.concept()

    def _baseline(self, kind: type, one: Subject) -> Any:
        base, about = self.assistant.base, self.assistant.config
        pictures = torch.from_numpy(np.stack([np.asarray(self.assistant.trainer.fit(photo)) for photo in one.photos]))
        ships = about.folder is not None
        learner = kind(base, ConceptImages(base, base.encode_image(pictures)), one.noun, None if ships else kind.published[0], guidance=about.decoder.guidance)
        for _ in range(self.learn or (about.decoder.recipes.get("infusion", {}).get("steps", 300) if ships else kind.published[1])):
            learner.step()
        return learner


def slug(method: str) -> str:
    """A method's name as a folder's."""
    return re.sub(r"[^a-z0-9.-]+", "-", method.lower().replace("λ = ", "lambda")).strip("-")
