"""Quadruplets: wishes -> a method's targets -> the filter -> shards, by one process or many, from where it stopped.

It begins with a photo, an instruction, and the dialogue around it, by the drawn world's templates. At full size the photos are a collection of pictures, the
instructions a list, and the dialogue a language model's; whatever has the form of `Wanted` will do.

The filter is CLIP's and DINO's, its thresholds calibrated on pairs of which the truth is known. The paper keeps targets of CLIP image-instruction similarity >= 0.3
and DINO similarity to x >= 0.6, by ViT-B/32 and ViT-S/16. Other encoders have other scales, so that here each threshold lies where matching pairs and pairs that
do not match are best told apart (the best balanced accuracy).

A shard is a fixed run of wishes and follows from the settings alone, so that any process may build any shard and a shard that is there is never built again. What
was not kept leaves its scores, so that the distributions can be drawn.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from ..controls.cafe import Cafe
from ..diffusion.attention import AttentionContext
from ..diffusion.guidance import EMPTY, PATCHES, SEMANTICS, TEXT, cafe_guidance, text_guidance
from ..diffusion.latent_diffusion import LatentDiffusion
from ..files import SHARED, add_line, write_png, write_whole
from ..models.vision_encoders import VisionEncoders, pixels
from ..plan import listing
from ..world import vocabulary as v
from ..world.captions import attributes, describe
from ..world.dialogues import Exchange, dialogue
from ..world.renderer import render
from ..world.scene import COLOURS, KINDS, PATTERNS, Individual, Scene, can_pair, sample_individual, sample_scene
from .shards import Quadruplet, begin, digest, process, shard_name, write_manifest, write_shard


@dataclass(frozen=True)
class Wanted:
    """A target to be made."""

    seed: int
    photo: Image.Image  # x
    words: str  # the instruction, without naming the subject: "on the beach at night, in pencil"
    line: str  # the instruction about this class of subject, which a target is compared with: "a cat on the beach ..."
    y: str  # what the user says
    reply: str
    who: dict[str, Any]  # ground truth of the photo's subject
    asked: dict[str, Any]  # ground truth of what a target should show


def instruction(scene: Scene) -> str:
    """All of a scene but its subject, in a caption's canonical words."""
    worn = listing([v.wear(a.name, a.colour) for a in scene.accessories])
    light = "" if scene.light == "day" else v.LIGHT_SAID[scene.light][0]
    parts = ["" if scene.pose == "standing" else scene.pose, f"wearing {worn}" if worn else "", v.CONTEXT_SAID[scene.context][0], light]
    return " ".join(p for p in parts if p) + ", " + v.STYLE_SAID[scene.style][0]


def subject(kind: str, colour: str, second: str, pattern: str) -> str:
    """A subject in a caption's canonical words: "a red cat with white stripes"."""
    return v.an(describe(Individual(kind, colour, second, pattern, "", 0, 1.0, 1.0, 1.0, 1.0)))


def first_request(lots: random.Random, held_out: bool) -> tuple[Scene, Exchange, Scene]:
    """Of a drawn dialogue the photo, its first request, and what answers it: a picture of one subject."""
    while True:
        talk = dialogue(lots, held_out, turns=1)
        target = talk.exchanges[0].target
        if talk.photo is not None and target is not None and target.companion is None:
            return talk.photo, talk.exchanges[0], target


def drawn_wish(seed: int, index: int, side: int, held_out: bool = False) -> Wanted:
    """Wish number `index` of a seed: a drawn photo (`side` pixels) and a first request that is answered with a picture."""
    lots = random.Random(f"{seed}/{index}/wish")
    photo, said, target = first_request(lots, held_out)
    words, one = instruction(target), photo.individual
    who = {"kind": one.kind, "colour": one.colour, "second": one.second, "pattern": one.pattern, "eyes": one.eyes, "layout": one.layout}
    return Wanted(lots.randrange(2**31), render(photo, side).image, words, f"{v.an(one.kind)} {words}", said.user, said.reply, who, attributes(target))


PAPER = {"clip": 0.3, "dino": 0.6}  # for CLIP ViT-B/32 and DINO ViT-S/16
BINS = 60  # of a histogram, from -1 to 1
BATCH = 32


class Embedder(Protocol):
    """What filters and metrics look with; all of norm 1."""

    def individual(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, a): who is in a picture. DINO-I is its cosine."""
        ...

    def picture(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, b): what a picture shows."""
        ...

    def caption(self, lines: list[str]) -> Tensor:
        """Words -> (B, b): CLIP-T is its cosine with `picture`."""
        ...


class OwnEmbedder:
    """E's class token and F.

    Args:
        tokenizer: of F's text tower, a transformers tokenizer with `model_max_length`.
    """

    def __init__(self, vision: VisionEncoders, tokenizer: Any) -> None:
        self.vision, self.tokenizer = vision, tokenizer
        self.device = next(vision.parameters()).device

    @torch.no_grad()
    def individual(self, x: Tensor) -> Tensor:
        return F.normalize(self.vision.patches(x.to(self.device))[:, 0].float(), dim=-1)

    @torch.no_grad()
    def picture(self, x: Tensor) -> Tensor:
        return F.normalize(self.vision.semantics(x.to(self.device)).float(), dim=-1)

    @torch.no_grad()
    def caption(self, lines: list[str]) -> Tensor:
        tokens = self.tokenizer([line.lower() for line in lines], padding="max_length", truncation=True,
                                max_length=self.tokenizer.model_max_length, return_tensors="pt")
        return F.normalize(self.vision.clip.encode_text(tokens.input_ids.to(self.device)).float(), dim=-1)


@dataclass(frozen=True)
class Thresholds:
    """The least similarity that a target is kept with."""

    clip: float
    dino: float

    def keeps(self, scores: dict[str, float]) -> bool:
        return scores["clip"] >= self.clip and scores["dino"] >= self.dino


def scores(eyes: Embedder, photos: Sequence[Image.Image], pictures: Sequence[Image.Image], lines: Sequence[str]) -> list[dict[str, float]]:
    """"clip" and "dino" of each target: its similarity to the instruction, and to the photo."""
    shown = pixels(pictures)
    clip = (eyes.picture(shown) * eyes.caption(list(lines))).sum(1).tolist()
    dino = (eyes.individual(shown) * eyes.individual(pixels(photos))).sum(1).tolist()
    return [{"clip": round(c, 5), "dino": round(d, 5)} for c, d in zip(clip, dino)]


def histogram(values: Sequence[float]) -> list[int]:
    """Counts in BINS equal bins from -1 to 1."""
    return torch.histc(torch.tensor(values, dtype=torch.float64), BINS, -1.0, 1.0).int().tolist()


def best_threshold(same: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """The threshold of the best balanced accuracy: (share of `same` at or above it + share of `other` below it) / 2.

    Returns:
        threshold, balanced_accuracy, and what passes it: same, other; area: the chance that one of `same` exceeds one of `other`.
    """
    a, b = (torch.tensor(sorted(x), dtype=torch.float64) for x in (same, other))
    cuts = torch.cat([a, b]).unique()
    kept = 1 - torch.searchsorted(a, cuts) / len(a)
    passed = 1 - torch.searchsorted(b, cuts) / len(b)
    at = int((kept - passed).argmax())
    area = float(torch.searchsorted(b, a).double().mean() + torch.searchsorted(b, a, right=True).double().mean()) / (2 * len(b))
    return {"threshold": float(cuts[at]), "balanced_accuracy": float(0.5 + (kept[at] - passed[at]) / 2), "same": float(kept[at]),
            "other": float(passed[at]), "area": area}


def calibrate(eyes: Embedder, count: int, seed: int, side: int) -> dict[str, Any]:
    """Thresholds from `count` drawn pairs of each sort, of training individuals.

    DINO: two pictures of one individual, against a picture of it and one of another individual in the very scene of the second.
    CLIP: a picture and the line of its scene, against a picture of the same individual in another scene and that line.

    Returns:
        thresholds, and for "clip" and "dino" `best_threshold`, the paper's threshold, and the histograms of both sorts.
    """
    found: dict[str, list[float]] = {"clip same": [], "clip other": [], "dino same": [], "dino other": []}
    for start in range(0, count, BATCH):
        first, second, stranger, lines = [], [], [], []
        for index in range(start, min(count, start + BATCH)):
            lots = random.Random(f"{seed}/{index}/calibration")
            one, another = sample_individual(lots), sample_individual(lots)
            a, b = sample_scene(lots, one), sample_scene(lots, one)
            for scenes, scene in ((first, a), (second, b), (stranger, replace(b, individual=another))):
                scenes.append(render(scene, side).image)
            lines.append(f"{v.an(one.kind)} {instruction(b)}")
        whole, elsewhere = scores(eyes, first, second, lines), scores(eyes, second, first, lines)
        strange = scores(eyes, first, stranger, lines)
        found["clip same"] += [s["clip"] for s in whole]
        found["clip other"] += [s["clip"] for s in elsewhere]
        found["dino same"] += [s["dino"] for s in whole]
        found["dino other"] += [s["dino"] for s in strange]
    out: dict[str, Any] = {"pairs": count, "seed": seed}
    for name in ("clip", "dino"):
        same, other = found[f"{name} same"], found[f"{name} other"]
        out[name] = {**best_threshold(same, other), "paper": PAPER[name], "histograms": {"same": histogram(same), "other": histogram(other)}}
    out["thresholds"] = asdict(Thresholds(*(round(out[name]["threshold"], 4) for name in ("clip", "dino"))))
    return out


@dataclass(frozen=True)
class Made:
    """A target, and what its method noted of how it came about."""

    picture: Image.Image
    told: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """`name` is written into every sample; None: no picture for this photo."""

    name: str

    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> Sequence[Made | None]: ...


# photos, targets, instruction lines -> "clip" and "dino" of each
Scorer = Callable[[Sequence[Image.Image], Sequence[Image.Image], Sequence[str]], list[dict[str, float]]]


@dataclass(frozen=True)
class Plan:
    """How large a set is and how its work is cut."""

    name: str  # the first part of every key
    attempts: int  # wishes, of which the filter keeps some
    first: int = 0  # number of the first wish
    shard: int = 128  # wishes a shard
    batch: int = 16  # wishes a call of the method

    @property
    def shards(self) -> int:
        return -(-self.attempts // self.shard)


def build(folder: Path, plan: Plan, wish: Callable[[int], Wanted], method: Method, score: Scorer, keeps: Callable[[dict[str, float]], bool],
          settings: Mapping[str, Any], say: Callable[[str], None] = print) -> None:
    """Build what is missing of the set in `folder`; several processes (`shards.process`) take turns at the shards.

    Args:
        wish: its number -> the wish.
        settings: all that the set follows from, beside `plan` and the method's name.

    Raises:
        ConfigError: `folder` holds a set of other settings.
    """
    cut = {"name": plan.name, "attempts": plan.attempts, "first": plan.first, "shard": plan.shard, "method": method.name}
    begin(folder, {**cut, **settings})
    rank, world = process()
    for number in range(rank, plan.shards, world):
        if (folder / shard_name(number)).exists():
            continue
        started = time.monotonic()
        wishes = range(plan.first + number * plan.shard, plan.first + min(plan.attempts, (number + 1) * plan.shard))
        kept, seen = [], []
        for start in range(0, len(wishes), plan.batch):
            for sample, found in _some(plan.name, wishes[start:start + plan.batch], wish, method, score, keeps):
                seen.append(found)
                kept += [sample] if sample else []
        write_whole(folder / f"scores-{number:05}.json", (json.dumps(seen) + "\n").encode(), SHARED)
        add_line(folder / "log.jsonl", {"shard": number, "attempts": len(wishes), "kept": len(kept), "seconds": round(time.monotonic() - started, 2), "rank": rank})
        write_shard(folder, number, kept)  # last: a shard that is there is done
        say(f"{plan.name} shard {number + 1} of {plan.shards}: {len(kept)} of {len(wishes)} kept")
    if not (folder / "manifest.json").exists():
        write_manifest(folder, plan.shards)


def _some(name: str, numbers: Sequence[int], wish: Callable[[int], Wanted], method: Method, score: Scorer,
          keeps: Callable[[dict[str, float]], bool]) -> Iterator[tuple[Quadruplet | None, dict[str, Any]]]:
    """Of each wish its sample, if it is kept, and its scores."""
    wanted = [wish(n) for n in numbers]
    made = method([w.photo for w in wanted], [w.words for w in wanted], [w.seed for w in wanted])
    there = [(n, w, m) for n, w, m in zip(numbers, wanted, made) if m is not None]
    found = score([w.photo for _, w, _ in there], [m.picture for _, _, m in there], [w.line for _, w, _ in there]) if there else []
    for (n, w, m), scored in zip(there, found):
        key, good = f"{name}-{n:07}", keeps(scored)
        sample = None
        if good:
            photo, target = write_png(w.photo), write_png(m.picture)
            about = {"y": w.y, "reply": w.reply, "words": w.words, "line": w.line, "seed": w.seed, "method": method.name, "told": dict(m.told),
                     "scores": scored, "photo": w.who, "asked": w.asked, "sha256": {"photo": digest(photo), "target": digest(target)}}
            sample = Quadruplet(key, photo, target, about)
        yield sample, {"key": key, "kept": good, **scored}


def all_scores(folder: Path) -> list[dict[str, Any]]:
    """Key, scores, and whether it was kept, of every target that was made."""
    return [line for path in sorted(folder.glob("scores-*.json")) for line in json.loads(path.read_text())]


def cost(folder: Path) -> dict[str, float | int]:
    """Attempts, samples kept, and the seconds that all processes together spent on them."""
    lines = {line["shard"]: line for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines())}
    return {"attempts": sum(line["attempts"] for line in lines.values()), "kept": sum(line["kept"] for line in lines.values()),
            "seconds": round(sum(line["seconds"] for line in lines.values()), 1)}


GUIDANCE = 3.0  # of the base model
STRENGTH = 2.0  # of E and of F, as the page has it

# photos -> the kind, colours and pattern of each one's subject
Namer = Callable[[Sequence[Image.Image]], list[dict[str, str]]]


class ZeroShot:
    """Names a photo's subject by the captions that are nearest to it in CLIP's space (Radford et al., 2021), mistakes and all: first the
    kind and its colour, then the pattern and the pattern's colour. A `Namer`."""

    def __init__(self, eyes: Embedder) -> None:
        self.eyes = eyes
        self._candidates = lru_cache(None)(self._embedded)  # kept with this object

    def _embedded(self, kind: str = "", colour: str = "") -> tuple[list[dict[str, str]], Tensor]:
        """What a subject may be, with the captions' unit embeddings (n, b)."""
        if not kind:
            found = [{"kind": k, "colour": c, "second": "", "pattern": PATTERNS[0]} for k in KINDS for c in COLOURS]
        else:
            seconds = [c for c in COLOURS if c != colour and can_pair(colour, c)]
            found = [{"kind": kind, "colour": colour, "second": c, "pattern": p} for p in PATTERNS for c in (seconds if p != PATTERNS[0] else seconds[:1])]
        return found, self.eyes.caption([subject(**one) for one in found])

    def _nearest(self, picture: Tensor, *of: str) -> dict[str, str]:
        found, captions = self._candidates(*of)
        return found[int((captions @ picture).argmax())]

    def __call__(self, photos: Sequence[Image.Image]) -> list[dict[str, str]]:
        shown = self.eyes.picture(pixels(photos))
        plain = [self._nearest(picture) for picture in shown]
        return [self._nearest(picture, one["kind"], one["colour"]) for picture, one in zip(shown, plain)]


def draw_lines(base: LatentDiffusion, lines: Sequence[str], seeds: Sequence[int], steps: int) -> list[Image.Image]:
    """Pictures of captions by the base text-to-image model."""
    context = AttentionContext({TEXT: base.encode_text(list(lines)), EMPTY: base.encode_text([""])})
    return [Image.fromarray(a) for a in base.decode(base.sample(text_guidance(GUIDANCE), context, seeds, steps).latents)]


class Captioned:
    """Describes the photo's subject and has the base model draw that description with the instruction: D1's method here.

    What no words say (where stripes lie, which eyes) is lost, and the namer's mistakes become the target's.
    """

    name = "captioned"

    def __init__(self, namer: Namer, base: LatentDiffusion, steps: int) -> None:
        self.namer, self.base, self.steps = namer, base, steps

    @torch.no_grad()
    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> list[Made]:
        names = self.namer(photos)
        lines = [f"{subject(**found)} {said}".lower() for found, said in zip(names, words)]
        pictures = draw_lines(self.base, lines, seeds, self.steps)
        return [Made(picture, {"line": line, "seen": found}) for picture, line, found in zip(pictures, lines, names)]


# captions, seeds -> F(w), (B, d_F), of a picture w that shows each
Reference = Callable[[Sequence[str], Sequence[int]], Tensor]


class Mixed:
    """Eq. 4: G(E(x), alpha F(w) + (1 - alpha) F(x)), SID's method.

    Args:
        decoder: G, with V_H.
        reference: finds or draws w for a caption; a `Store.nearest`, or `Drawn`.
        alpha: alpha is drawn evenly between these two for each target, from its seed.
        namer: names the photo's subject before the words; None: the words name it.
    """

    name = "mixed"

    def __init__(self, vision: VisionEncoders, decoder: LatentDiffusion, reference: Reference, alpha: tuple[float, float], steps: int,
                 namer: Namer | None = None) -> None:
        self.vision, self.decoder, self.reference, self.alpha, self.steps, self.namer = vision, decoder, reference, alpha, steps, namer

    @torch.no_grad()
    def __call__(self, photos: Sequence[Image.Image], words: Sequence[str], seeds: Sequence[int]) -> list[Made]:
        x = pixels(photos).to(self.decoder.device)
        patches, own = self.vision.patches(x).float(), self.vision.semantics(x).float()
        told, lines = [{} for _ in photos], list(words)
        if self.namer is not None:
            told = [{"seen": found} for found in self.namer(photos)]
            lines = [f"{subject(**found['seen'])} {said}".lower() for found, said in zip(told, words)]
        low, high = self.alpha
        lots = [torch.rand((), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        alpha = torch.stack([low + (high - low) * lot for lot in lots])[:, None].to(own)
        semantics = self.vision.at_norm(alpha * self.reference(lines, seeds) + (1 - alpha) * own)
        pictures = draw(self.decoder, patches, semantics, seeds, self.steps)
        return [Made(picture, {"line": line, **found, "alpha": round(float(a), 4)}) for picture, line, found, a in zip(pictures, lines, told, alpha)]


class Drawn:
    """w drawn by the base model from the caption."""

    def __init__(self, vision: VisionEncoders, base: LatentDiffusion, steps: int) -> None:
        self.vision, self.base, self.steps = vision, base, steps

    def __call__(self, lines: Sequence[str], seeds: Sequence[int]) -> Tensor:
        return self.vision.semantics(pixels(draw_lines(self.base, lines, seeds, self.steps)).to(self.base.device)).float()


@torch.no_grad()
def sample_latents(decoder: LatentDiffusion, patches: Tensor, semantics: Tensor, seeds: Sequence[int], steps: int, keep_subject: float = STRENGTH,
                   follow_words: float = STRENGTH) -> Tensor:
    """G(E(x), F): E(x) (B, N, d_E) and F(w), H(s) or a mixture (B, d_F) -> latents (B, C, h, w). A strength of 0 leaves its source out."""
    context = AttentionContext({PATCHES: patches}, {SEMANTICS: semantics}, (Cafe(decoder.semantic_values),))
    return decoder.sample(cafe_guidance(keep_subject, follow_words, keep_subject > 0, follow_words > 0), context, seeds, steps).latents


def draw(decoder: LatentDiffusion, patches: Tensor, semantics: Tensor, seeds: Sequence[int], steps: int) -> list[Image.Image]:
    """As `sample_latents` -> B pictures."""
    return [Image.fromarray(a) for a in decoder.decode(sample_latents(decoder, patches, semantics, seeds, steps))]


STORE_BATCH = 64


def drawn_pool(seed: int, count: int, side: int) -> Iterable[Image.Image]:
    """Pictures of training individuals in training combinations, for the miniature's store."""
    for index in range(count):
        lots = random.Random(f"{seed}/{index}/store")
        yield render(sample_scene(lots, sample_individual(lots)), side).image


class Store:
    """Pictures as F tells them, (N, d_F) at the decoder's norm, and what their F is compared with words in."""

    def __init__(self, semantics: Tensor, eyes: Embedder) -> None:
        self.semantics, self.eyes = semantics, eyes
        self.directions = F.normalize(semantics.float(), dim=-1)

    @classmethod
    def of(cls, place: Path, pool: Iterable[Image.Image], vision: VisionEncoders, eyes: Embedder) -> Store:
        """Read from the file `place`, or made from `pool` and written there."""
        if not place.exists():
            pictures = iter(pool)
            found = [vision.semantics(pixels(some)).float() for some in iter(lambda: list(islice(pictures, STORE_BATCH)), [])]
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, save({"semantics": torch.cat(found)}), SHARED)
        return cls(load_file(place)["semantics"], eyes)

    def nearest(self, lines: Sequence[str], seeds: Sequence[int] = ()) -> Tensor:
        """F of the picture that F's text tower finds nearest to each caption, (len(lines), d_F). A `Reference`."""
        return self.semantics[(self.eyes.caption(list(lines)) @ self.directions.T).argmax(1)]
