"""The studies of ICO and DCI in miniature: what is learned, what is drawn with it, who says what came of it; goes on where it stopped.

A study is a list of rows. Each row is drawn for every subject and every prompt, one seed a prompt, and judged; what was learned and what was judged lies in the
run's folder, so that studies share it. Subjects are held-out individuals in a few photos each; validation individuals (constants are chosen on them) are others
than the test's. Everything follows from a number.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import ImageDraw, ImageFont
from safetensors.torch import load_file, save
from torch import Tensor

from .. import report
from ..config import AssistantConfig
from ..controls.dci import MaskSnapshot, MaskTemperatures, at_scale, overlap, scales, stretched
from ..customization.dci_sampling import LAMBDA, branches, propose, together
from ..customization.concept_library import IcoConcept, load_tuned, save_tuned
from ..customization.concept_training import ALONE, MANUAL, WITH_DCI, ConceptImages, IcoRecipe, IcoTrainer, learned
from ..diffusion.latent_diffusion import LatentDiffusion
from ..files import SHARED, overlaid, write_whole
from ..models.vision_encoders import pixels
from ..presets import MINIATURE
from ..report import fidelity, spread, table
from ..world.captions import read
from ..world.renderer import render
from ..world.scene import POSES, Individual, Scene, sample_individual, sample_scene
from ..world.vocabulary import CONTEXT_SAID, bank
from .baselines import BASELINES, GUIDANCE, STEPS as DRAWN, Baseline, DreamBoothLora, draw_plain
from .test_cases import SUBJECT, AttributeJudge, mean

PROMPTS = bank("prompts")["concepts"]
PHOTOS = 4


@dataclass(frozen=True)
class Subject:
    """A held-out individual and the scenes it is learned from."""

    number: int
    one: Individual
    scenes: tuple[Scene, ...]

    @property
    def noun(self) -> str:
        return self.one.kind

    def pictures(self, size: int) -> Tensor:
        """uint8 (PHOTOS, size, size, 3)."""
        return torch.from_numpy(np.stack([np.asarray(render(scene, size).image) for scene in self.scenes]))

    def truth(self) -> dict[str, str]:
        """What the judge should find, in the form of `reading.attributes`."""
        return {k: getattr(self.one, k) for k in SUBJECT if k != "second" or self.one.pattern != "plain"}


def subject(number: int) -> Subject:
    """Individual `number` of Infusion's comparison, in any combination of kind, place and style."""
    rng = random.Random(f"evaluation/concept/{number}")
    one = sample_individual(rng, held_out=True)
    return Subject(number, one, tuple(sample_scene(rng, one, None) for _ in range(PHOTOS)))


def bare_subject(number: int, group: str = "test") -> Subject:
    """Individual `number` of a group, with nothing worn, in PHOTOS scenes; in the group "narrow" all of them in one place, light and
    style, as people's photos of a thing at home are: only the pose differs."""
    rng = random.Random(f"{group}/{number}")
    one = sample_individual(rng, held_out=True)
    scenes = tuple(replace(sample_scene(rng, one, None), accessories=()) for _ in range(PHOTOS))
    return Subject(number, one, tuple(replace(scenes[0], pose=pose) for pose in POSES) if group == "narrow" else scenes)


def scores(witness: AttributeJudge, who: Subject, prompts: list[str], pictures: np.ndarray) -> list[dict[str, float]]:
    """Of each picture (B, H, W, 3) of a prompt: how much of the subject is there, how much of the prompt, by the judge (shares of what
    was to be seen), and DINO-I, CLIP-I to the photos, CLIP-T to the prompt without V* (cosines)."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    features, own = witness.features(x), witness.features(who.pictures(x.shape[-1]).permute(0, 3, 1, 2).float() / 255)
    like = witness.likeness
    dino = (like.individual(features) @ like.individual(own).T).mean(1)
    clip = (like.picture(features) @ like.picture(own).T).mean(1)
    text = (like.picture(features) * witness.caption([p.replace("<one>", who.one.kind) for p in prompts])).sum(1)
    out = []
    for k, (said, prompt) in enumerate(zip(witness.names(x), prompts)):
        asked = read(prompt.replace("<one>", "thing"))
        worn = dict(said["accessories"])
        hits = [said[name] == value for name, value in asked.items() if name != "accessories"]
        hits += [name in worn for name, _ in asked.get("accessories", ())]
        out.append({"subject": float(np.mean([said[n] == v for n, v in who.truth().items()])), "prompt": float(np.mean(hits)),
                    "DINO-I": float(dino[k]), "CLIP-I": float(clip[k]), "CLIP-T": float(text[k])})
    return out


MEASURES = ("subject", "prompt", "DINO-I", "CLIP-I", "CLIP-T")
LAMBDAS = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0)
SNAPSHOTS = (25, 50, 100, 200, 300)
STEPS = MINIATURE.decoder.recipes["ico"]["steps"]  # of fine-tuning, where a study does not go along them
Say = Callable[[str], None]


@dataclass(frozen=True)
class Learned:
    """What is learned, and how long."""

    steps: int = STEPS
    scheme: str = WITH_DCI
    options: tuple[tuple[str, float], ...] = ()  # of `IcoRecipe`


@dataclass(frozen=True)
class Row:
    """How pictures of a row are drawn. `strength` None: the raw fine-tuned model."""

    label: str
    learned: Learned = Learned()
    strength: float | None = LAMBDA
    window: float = MINIATURE.decoder.dci_window
    noun: str = ""  # auxiliary; "": as it is proposed
    masks: bool = True
    bare: bool = False
    last: bool = False  # only the last cross-attention layer is merged
    sharpening: MaskTemperatures = MaskTemperatures(gain=MINIATURE.decoder.dci_gain)  # eq. 4's constants
    baseline: str = ""  # by name: another method, learned for as many steps, in place of ICO


@dataclass
class Lab:
    """Everything that studies need.

    Args:
        folder: of the run. subjects: how many. prompts: how many of PROMPTS.
    """

    config: AssistantConfig
    base: LatentDiffusion
    identity: str
    witness: AttributeJudge
    folder: Path
    subjects: int = 8
    prompts: int = 12
    say: Say = print
    group: str = "test"
    _last: tuple[tuple[int, str], Baseline] | None = None

    def who(self, number: int) -> Subject:
        return bare_subject(number, self.group)

    def photos(self, number: int) -> torch.Tensor:
        return self.who(number).pictures(self.config.decoder.image_size)

    def concept(self, number: int, wanted: Learned) -> IcoConcept:
        """Subject `number`, learned so: from its file, or on from the nearest earlier state."""
        recipe, who = replace(IcoRecipe(steps=STEPS, scheme=wanted.scheme), **dict(wanted.options)), self.who(number)
        about = json.dumps([self.identity, asdict(recipe)])
        stem = self.folder / "concepts" / f"{self.group}-{number}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
        place, state = stem.with_name(f"{stem.name}-{wanted.steps}.safetensors"), stem.with_suffix(".state")
        if not place.exists():
            learner = IcoTrainer(self.base, self.photos(number), who.one.kind, recipe)
            if state.exists() and int((kept := load_file(state))["step"]) <= wanted.steps:
                learner.restore(kept)
            while learner.step_count < wanted.steps:
                learner.step()
            save_tuned(place, learned(learner, "one", self.identity))
            write_whole(state, save({k: t.contiguous() for k, t in learner.state().items()}), SHARED)
        return load_tuned(place, self.identity)

    def baseline(self, number: int, name: str, steps: int) -> Baseline:
        """Subject `number`, learned by another method; the last one goes on where it stands."""
        if self._last is None or self._last[0] != (number, name) or self._last[1].step_count > steps:
            who, kind = self.who(number), {b.name: b for b in BASELINES}[name]
            self._last = (number, name), kind(self.base, ConceptImages(self.base, self.base.encode_image(self.photos(number))), who.one.kind)
        method = self._last[1]
        while method.step_count < steps:
            method.step()
        return method

    def noun(self, who: Subject, prompt: str, row: Row) -> str:
        """The row's auxiliary noun; where that is the class noun, the next best."""
        if row.noun and row.noun != who.one.kind:
            return row.noun
        return propose(prompt.replace("<one>", ""), who.one.kind, self.config.nouns)[0]

    def judged(self, number: int, row: Row) -> list[dict[str, float]]:
        """A row's scores of one subject, a dict a prompt; kept."""
        about = json.dumps([self.identity, self.group, number, self.prompts, DRAWN, {k: v for k, v in asdict(row).items() if k != "label"}])
        place = self.folder / "scores" / f"{hashlib.sha256(about.encode()).hexdigest()[:20]}.json"
        if place.exists():
            return json.loads(place.read_text())
        who, prompts = self.who(number), list(PROMPTS[: self.prompts])
        found = scores(self.witness, who, prompts, self.base.decode(self.drawn(number, row, who, prompts)))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(found))
        return found

    def drawn(self, number: int, row: Row, who: Subject, prompts: Sequence[str]) -> torch.Tensor:
        """Latents (len(prompts), C, h, w), one seed a prompt."""
        seeds = range(len(prompts))
        if row.baseline:
            method = self.baseline(number, row.baseline, row.learned.steps)
            return draw_plain(method.model, [p.replace("<one>", method.phrase) for p in prompts], seeds, DRAWN)
        concept = self.concept(number, row.learned)
        several = [branches(self.base, concept, p, None if row.strength is None else self.noun(who, p, row), row.bare) for p in prompts]
        layers = list(self.base.cross_layers())[-1:] if row.last else None
        return together(several).draw(seeds, row.strength if row.strength is not None else 0.0, row.window, GUIDANCE, DRAWN, layers=layers,
                                      masks=row.masks, sharpening=row.sharpening).latents

    def measure(self, rows: Sequence[Row]) -> list[dict]:
        """Every row's means over subjects and prompts, with 95 % intervals; and of rows after the first, of the differences to it, picture
        by picture."""
        cells: list[list[dict[str, float]]] = [[] for _ in rows]
        for number in range(self.subjects):
            for wanted in sorted({row.learned for row in rows if not row.baseline}, key=lambda one: one.steps):  # each goes on from the one before
                self.concept(number, wanted)
            for cell, row in zip(cells, rows):
                cell += self.judged(number, row)
            self.say(f"subject {number + 1} of {self.subjects} ({self.who(number).one.kind})")
        return [{"label": row.label, **asdict(row), **{m: mean([c[m] for c in cell]) for m in MEASURES},
                 "difference": {m: mean([c[m] - z[m] for c, z in zip(cell, cells[0])]) for m in MEASURES}} for row, cell in zip(rows, cells)]


def raw(steps: int = STEPS, scheme: str = WITH_DCI, label: str = "", **options: float) -> Row:
    """The fine-tuned model by itself."""
    return Row(label or f"raw, {steps} steps", Learned(steps, scheme, tuple(options.items())), None)


STUDIES: dict[str, list[Row]] = {
    # figure 9: lambda, after the raw model and its own curve over fine-tuning steps
    "sweep": [raw(), *(Row(f"λ = {v:g}", strength=v) for v in LAMBDAS), *(raw(k) for k in SNAPSHOTS if k != STEPS)],
    # the same where all photos were taken in one place: the fine-tuned model then holds on to it
    "narrow": [raw(), *(Row(f"λ = {v:g}", strength=v) for v in (-2.0, 0.0, 0.5, 1.0, 2.0)), *(raw(k) for k in (50, 100, 200))],
    # one place, and nothing that holds other prompts: a model that was fine-tuned too far
    "overfit": [raw(prior=0.0), *(Row(f"λ = {v:g}", Learned(options=(("prior", 0.0),)), v) for v in (-2.0, 0.0, 0.5, 1.0, 2.0)),
                *(raw(k, prior=0.0) for k in (25, 50, 100, 200))],
    # figure 6: fidelity against editability along fine-tuning, of the baselines and of ICO
    "curves": [*(Row(f"{b.name}, {k}", Learned(k), None, baseline=b.name) for b in BASELINES if b is not DreamBoothLora for k in SNAPSHOTS),
               *(raw(k, scheme, f"ICO, {name}, {k}") for name, scheme in (("M4 L2 S2", ALONE), ("M1 L1 S3", WITH_DCI)) for k in SNAPSHOTS),
               *(Row(f"ICO + DCI, λ = {v:g}", strength=v) for v in LAMBDAS)],
    # figure 8: prompt schemes, at two lengths of fine-tuning
    "schemes": [raw(k, line, f"{line}, {k}") for line in (MANUAL, "T3 E", "I1 T1 E I1", "I1 T2 E I1", WITH_DCI, ALONE, "I4 T3 E I2", "I4 E T2 I2")
                for k in (100, STEPS)],
    # figure 10: without masks, without entire prompts, last layer only; and other gains in eq. 4
    "ablations": [raw(), Row("DCI"), Row("without masks: half of each branch", masks=False), Row("without entire prompts", bare=True),
                  Row("last layer only", last=True), *(Row(f"gain {g:g}", sharpening=MaskTemperatures(gain=g)) for g in (500.0, 1500.0, 12_000.0))],
    # figure 12: the auxiliary noun, as proposed for each prompt, and the same for all
    "nouns": [raw(), Row("as proposed"), *(Row(n, noun=n) for n in ("dog", "cat", "bear", "car", "mug", "fish"))],
    # how long the auxiliary branch lives
    "windows": [raw(), *(Row(f"T_a = {w:g} T", window=w) for w in (0.15, 0.3, 0.5, 0.8, 1.0))]}


def study(name: str, lab: Lab) -> dict:
    """The table of that name, with what it cost."""
    started = time.monotonic()
    rows = lab.measure(STUDIES[name])
    return {"study": name, "base": lab.identity, "subjects": lab.subjects, "prompts": lab.prompts, "rows": rows,
            "minutes": round((time.monotonic() - started) / 60, 1), "threads": torch.get_num_threads()}


def write(found: dict, out: Path) -> str:
    """`out`.json, .md and .webp: subject against prompt, a point a row with its intervals. Returns the Markdown."""
    lines = [*table(MEASURES, {row["label"]: [spread(row[m]) for m in MEASURES] for row in found["rows"]}),
             "", f"{found['subjects']} held-out subjects x {found['prompts']} prompts, one seed each; ±: half of a 95 % interval over pictures; "
             f"{found['minutes']} minutes on {found['threads']} threads (what earlier studies had learned is not counted)."]
    text = report.write(found, lines, out)
    fidelity(out.with_suffix(".webp"), found["rows"])
    return text


# How well DCI's masks find the subject: intersection over union with where the judge finds it in the picture that was drawn. The masks are those
# of the window, early in denoising; the judge looks at the finished picture. How well its own regions agree with the renderer's stands beside.
FRESH = 4  # pictures of each subject
SHOWN, CELL, GAP = 8, 128, 6
JUDGE = "the judge's region, on drawings"


def masks(lab: Lab) -> dict:
    """Per scale and per layer: the concept branch's sum over its token set (eq. 3), and eq. 4's mask of the concept branch."""
    found: dict[str, dict[str, list[float]]] = {"eq. 3, V* and noun": {}, "eq. 4, the concept's": {}, JUDGE: {}}
    examples = []
    for number in range(lab.subjects):
        who, rng = lab.who(number), random.Random(f"masks/{number}")
        scenes = [replace(sample_scene(rng, who.one, None), accessories=()) for _ in range(FRESH)]
        prompts = [f"a <one> {CONTEXT_SAID[scene.context][0]}" for scene in scenes]
        drawings = [render(scene, lab.config.decoder.image_size) for scene in scenes]
        true = torch.from_numpy(np.stack([np.asarray(d.mask, np.float32) / 255 for d in drawings]))
        found[JUDGE].setdefault("16", []).extend(overlap(lab.witness.where(pixels([d.image for d in drawings])), true))
        concept, seen = lab.concept(number, Learned()), MaskSnapshot()
        several = [branches(lab.base, concept, p, lab.noun(who, p, Row(""))) for p in prompts]
        pictures = lab.base.decode(together(several).draw(range(FRESH), steps=DRAWN, seen=seen).latents)
        where = lab.witness.where(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
        turned = {layer: [1 - m for m in steps] for layer, steps in seen.auxiliary.items()}
        for name, kept in zip(found, (seen.concept, turned)):
            for scale, layers in scales(kept).items():
                found[name].setdefault(scale, []).extend(overlap(at_scale(kept, scale), where))
                for layer in layers if len(layers) > 1 else ():
                    found[name].setdefault(layer, []).extend(overlap(at_scale({layer: kept[layer]}, scale), where))
        if len(examples) < SHOWN:
            examples.append([pictures[0], overlaid(pictures[0], stretched(where[0]).numpy(), 0.7),
                             *(overlaid(pictures[0], stretched(at_scale(seen.concept, scale)[0]).numpy(), 0.7) for scale in scales(seen.concept))])
        lab.say(f"subject {number + 1} of {lab.subjects}")
    return {"study": "masks", "base": lab.identity, "subjects": lab.subjects, "pictures": FRESH, "examples": examples, "scales": list(scales(seen.concept)),
            "rows": {name: {scale: mean(values) for scale, values in by.items()} for name, by in found.items()}}


def write_masks(found: dict, out: Path) -> str:
    """`out`.json, .md, and .webp with examples: picture, where the judge finds the subject, and the concept's mask at every scale, laid over it."""
    examples, names = found.pop("examples"), list(found["rows"])
    sides = dict.fromkeys(s for by in found["rows"].values() for s in by)
    lines = [*table(names, {side: [spread(by.get(side)) for by in found["rows"].values()] for side in sides}, "IoU with the subject"),
             "", f"{found['subjects']} held-out subjects x {found['pictures']} pictures from noise in {DRAWN} steps; masks averaged over a scale's layers, heads "
             "and the window's steps, stretched, cut at one half; the subject's region is the judge's, in the finished picture; ±: half of a 95 % interval."]
    text = report.write(found, lines, out)
    sheet = report.sheet(examples, CELL, GAP, top=16)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for k, title in enumerate(["picture", "the judge's region", *found["scales"]]):
        pen.text((GAP + k * (CELL + GAP), 2), title, (60, 60, 66), font)
    sheet.save(out.with_suffix(".webp"), quality=72, method=6)
    return text
