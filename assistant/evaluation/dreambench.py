"""DreamBench (Ruiz et al., 2023), as the papers measure on it: every subject x 25 prompts x 4 pictures, by DINO, CLIP-I and CLIP-T.

A subject is a folder of photos; classes and prompts stand in the data set's own `prompts_and_classes.txt`. CAFE and presets like it answer a request about one photo,
without learning; Infusion, ICO + DCI and the baselines learn from all photos first, on the preset's base model. What was learned, drawn and measured is kept, a file
for each subject, method and prompt, so that a command that was stopped goes on; JSON, tables beside the papers' rows and contact sheets are made of those alone. The
judges are the papers', DINO ViT-S/16 and CLIP ViT-B/32, from a folder, or a preset's own E and F.
"""

import hashlib
import io
import json
import re
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from .. import report
from ..checkpoints import load_tensors, reading
from ..customization.concept_training import MOST_PICTURES, ConceptImages
from ..customization.dci_sampling import branches, propose
from ..customization.infusion_sampling import prepare_infusion
from ..customization.trainer import ConceptTrainer
from ..data.quadruplets import Embedder, OwnEmbedder
from ..diffusion.latent_diffusion import LatentDiffusion
from ..engine import Assistant
from ..errors import ConfigError
from ..files import SHARED, write_whole
from ..models.vision_encoders import VisionEncoders, pixels
from ..requests import Photo, TrainingSpec
from ..training.world_dataset import caption_tokenizer
from .baselines import BASELINES, DreamBoothLora, draw_plain
from .overall import answer, as_photo
from .test_cases import mean, share


class PublishedEmbedder:
    """DINO ViT-S/16's class token and CLIP ViT-B/32, the judges of the papers: see `data.quadruplets.Embedder`.

    Args:
        folder: of `dino` (timm's vit_small_patch16_224.dino: config.json, model.safetensors) and `clip` (timm's vit_base_patch32_clip_224.openai:
            open_clip_config.json, open_clip_model.safetensors).

    Raises:
        ConfigError: a file is missing. WeightsError: it cannot be read.
    """

    about = "DINO ViT-S/16, CLIP ViT-B/32"

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        import open_clip
        import timm

        wanted = {"dino": ("config.json", "model.safetensors"), "clip": ("open_clip_config.json", "open_clip_model.safetensors")}
        missing = [f"{part}/{file}" for part, files in wanted.items() for file in files if not (folder / part / file).exists()]
        if missing:
            raise ConfigError(f"The judges in {folder} are not complete: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.",
                              "Put the files of timm/vit_small_patch16_224.dino into dino, and of timm/vit_base_patch32_clip_224.openai into clip.")
        with reading("judges"):
            self.dino: Any = timm.create_model(f"local-dir:{folder / 'dino'}", pretrained=False, num_classes=0)
            self.clip: Any = open_clip.create_model(f"local-dir:{folder / 'clip'}", require_pretrained=True)
            self.tokens = open_clip.get_tokenizer(f"local-dir:{folder / 'clip'}")
        load_tensors(folder / "dino/model.safetensors", self.dino)
        self.device = torch.device(device)
        for model in (self.dino, self.clip):
            model.eval().requires_grad_(False).to(self.device)
        about = self.dino.pretrained_cfg
        self._dino = (about["input_size"][-1], round(about["input_size"][-1] * 256 / 224), about["mean"], about["std"])  # the authors' own preprocessing
        side = self.clip.visual.image_size
        side = side[0] if isinstance(side, tuple | list) else side
        self._clip = (side, side, self.clip.visual.image_mean, self.clip.visual.image_std)

    def _seen(self, model: Any, x: Tensor, side: int, short: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """The short side resized, the middle cut out, normalised: (B, 3, H, W) in [0, 1] -> unit vectors (B, d)."""
        x = v2.functional.resize(x.to(self.device), [short], v2.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
        x = v2.functional.center_crop(x, [side, side])
        return F.normalize(model((x - x.new_tensor(mean).view(3, 1, 1)) / x.new_tensor(std).view(3, 1, 1)).float(), dim=-1)

    @torch.no_grad()
    def individual(self, x: Tensor) -> Tensor:
        return self._seen(self.dino, x, *self._dino)

    @torch.no_grad()
    def picture(self, x: Tensor) -> Tensor:
        return self._seen(self.clip.encode_image, x, *self._clip)

    @torch.no_grad()
    def caption(self, lines: list[str]) -> Tensor:
        return F.normalize(self.clip.encode_text(self.tokens(lines).to(self.device)).float(), dim=-1)


def judges(assistant: Assistant, folder: Path | None) -> tuple[Embedder, str]:
    """Who measures, and what is said of them: the papers' own from a folder or, of a preset that ships with the code, its own E and F.

    Raises:
        ConfigError: no folder, and none of its own; or as `PublishedEmbedder`.
    """
    if folder is not None:
        return PublishedEmbedder(folder, assistant.decoder.device), PublishedEmbedder.about
    if not isinstance(assistant.vision, VisionEncoders) or not assistant.config.folder:
        raise ConfigError(f"The preset {assistant.config.name!r} ships without judges of its own.",
                          "Name a folder with DINO ViT-S/16 and CLIP ViT-B/32: --judges FOLDER.")
    about = f"E and F of the preset {assistant.config.name} itself, not the papers': no number here compares with theirs"
    return OwnEmbedder(assistant.vision, caption_tokenizer(assistant.config)), about


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
                          f"Name a folder with sub-folders named as in {LISTING}, a few JPEG or PNG files in each.")
    return found


def read(file: Path) -> Photo:
    """A photo, upright, at most 1024 pixels. Raises ConfigError."""
    try:
        image = ImageOps.exif_transpose(Image.open(file, formats=["JPEG", "PNG", "WEBP"])).convert("RGB")
    except (OSError, ValueError) as error:
        raise ConfigError(f"The photo {file} cannot be read ({error}).", "Take it away, or get it again.") from error
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
            raise ConfigError(f"The preset {self.assistant.config.name!r} has no method {unknown[0]!r}.", f"Choose one of: {', '.join(known)}.")
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
        base, about = cast(LatentDiffusion, self.assistant.base), self.assistant.config.decoder  # `methods` has none of these where there is no base
        for kind in BASELINES:
            if kind.name == method:
                learner = self._baseline(kind, one)
                return lambda prompt, seeds: list(base.decode(draw_plain(learner.model, [prompt.format(learner.phrase)] * len(seeds), seeds, self._steps, about.guidance)))
        concept = self._concept("infusion" if method == INFUSION else "ico", one)
        if method == INFUSION:
            return lambda prompt, seeds: list(base.decode(prepare_infusion(base, prompt.format(f"<{NAME}>"), {NAME: one.noun}, lambda _: concept, about.guidance).draw(
                seeds, self._steps, about.sampler).latents))
        strength = None if method == ICO else float(method.rpartition(" ")[2])

        def paint(prompt: str, seeds: Sequence[int]) -> list[np.ndarray | None]:
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
        course: Any = cast(ConceptTrainer, self.assistant.trainer).begin(task, place.read_bytes() if place.exists() else None)
        while course.step < course.steps:
            course.advance()
            if course.step % KEEP == 0 or course.step == course.steps:
                write_whole(place, course.state(), SHARED)
        return course.concept()

    def _baseline(self, kind: type, one: Subject) -> Any:
        base, about = cast(LatentDiffusion, self.assistant.base), self.assistant.config
        pictures = torch.from_numpy(np.stack([np.asarray(cast(ConceptTrainer, self.assistant.trainer).fit(photo)) for photo in one.photos]))
        ships = bool(about.folder)
        learner = kind(base, ConceptImages(base, base.encode_image(pictures)), one.noun, None if ships else kind.published[0], guidance=about.decoder.guidance)
        for _ in range(self.learn or (about.decoder.recipes.get("infusion", {}).get("steps", 300) if ships else kind.published[1])):
            learner.step()
        return learner


def slug(method: str) -> str:
    """A method's name as a folder's."""
    return re.sub(r"[^a-z0-9.-]+", "-", method.lower().replace("λ = ", "lambda")).strip("-")


REAL = "real photos, among themselves"
# DINO, CLIP-I, CLIP-T by DINO ViT-S/16 and CLIP ViT-B/32, on 30 subjects x 25 prompts x 4 pictures (CAFE), 20 concepts x 25 x 5 (Infusion); ICO + DCI's paper
# gives curves and no numbers
PUBLISHED: dict[str, dict[str, list[float | None]]] = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))
CELL, GAP, TOP, QUALITY = 96, 4, 40, 60  # pixels; of WebP


def summary(cells: dict[str, list[dict]]) -> dict[str, Any]:
    """Method -> every measure over its pictures with a 95 % interval, the share of requests that were drawn, and each subject's means."""
    out: dict[str, Any] = {}
    for method, found in cells.items():
        drawn = [picture for cell in found for picture in cell["pictures"] if picture is not None]
        names = [name for name in MEASURES if drawn and name in drawn[0]]
        by_subject = {}
        for subject in dict.fromkeys(cell["subject"] for cell in found):
            own = [p for cell in found if cell["subject"] == subject for p in cell["pictures"] if p is not None]
            by_subject[subject] = {name: sum(p[name] for p in own) / len(own) for name in names} if own else {}
        out[method] = {**{name: mean([p[name] for p in drawn]) for name in names}, "subjects": by_subject,
                       "drawn": share([p is not None for cell in found for p in cell["pictures"]])}
        learned = {cell["subject"]: cell["learned in"] for cell in found if "learned in" in cell}
        if learned:
            out[method]["seconds of learning"] = sum(learned.values()) / len(learned)
    return out


def write(bench: DreamBench, of: Sequence[Subject], cells: dict[str, list[dict]], out: Path) -> str:
    """`out`.json, `out`.md, and of each method `out`-METHOD.webp; returns the Markdown."""
    found = summary(cells)
    one, prompts = bench.assistant, max(len(s.prompts[:bench.prompts]) for s in of)
    about = {"preset": one.config.name, "weights": one.weights, "judges": bench.judged_by, "subjects": [s.name for s in of], "prompts": prompts, "pictures": bench.images}
    rows = {(REAL if method == "real" else method): [report.spread(row.get(m)) for m in MEASURES] +
            ["" if method == "real" else f"{row['drawn']['count']}", "" if method == "real" else f"{row.get('seconds of learning', 0):.0f}"] for method, row in found.items()}
    published = {f"{where}: {method}": values for where, table in PUBLISHED.items() for method, values in table.items()}
    rows |= {name: [f"{v:.3f}" if v is not None else "" for v in values] + ["", ""] for name, values in published.items()}
    text = report.write({**about, "methods": found, "published": {name: dict(zip(MEASURES, values)) for name, values in published.items()}}, [
        *report.table((*MEASURES, "pictures", "seconds of learning a subject"), rows, f"preset {one.config.name}"), "",
        f"{len(of)} subjects x {prompts} prompts x {bench.images} pictures (the papers': 30 x 25 x 4, and 20 x 25 x 5), seeds fixed, none chosen; ±: half of a 95 % "
        f"interval over pictures. Judges: {bench.judged_by}. DINO and CLIP-I are to all photos of the subject, CLIP-T is to the prompt with the class noun. "
        f"{bench.steps or one.config.decoder.steps} steps of denoising; weights {one.weights}.",
        *(f"{method} answered {row['drawn']['value']:.0%} of its requests with a picture." for method, row in found.items() if row["drawn"]["value"] < 1)], out)
    for method in bench.methods:
        sheet(bench, of, method, out.with_name(f"{out.name}-{slug(method)}.webp"))
    return text


def sheet(bench: DreamBench, of: Sequence[Subject], method: str, place: Path) -> None:
    """A subject a row: its first photo, then the first picture of each prompt; none chosen. The first subject's prompts stand above."""
    blank = Image.new("RGB", (CELL, CELL), "white")
    rows = [[ImageOps.fit(Image.open(io.BytesIO(one.photos[0].png)), (CELL, CELL)), *(bench.shown(method, one, n) or blank for n in range(len(one.prompts[:bench.prompts])))] for one in of]
    whole = report.sheet(rows, CELL, GAP, TOP)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(8)
    for n, prompt in enumerate(of[0].prompts[:bench.prompts], 1):
        pen.text((GAP + n * (CELL + GAP), 1), textwrap.fill(prompt.format("…"), 19, max_lines=4), (30, 30, 34), font)
    whole.save(place, quality=QUALITY, method=6)
