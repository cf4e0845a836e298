"""What the miniature is asked in an evaluation, and who says what came of it: held-out cases, the witness, the tally, shares with intervals, distances.

All is of held-out individuals, in any combination of kind, place and style; seeds run from 0, none is chosen.
"""

import math
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import load_tokenizer
from ..config import AssistantConfig
from ..data.quadruplets import first_request, sample_latents
from ..diffusion.latent_diffusion import LatentDiffusion
from ..generation.base import ImageFeatures, ReplyState
from ..generation.cafe import CafeGenerator
from ..models.mllm import MultimodalLLM
from ..models.vision_encoders import VisionEncoders, pixels
from ..training.classifiers import Judge, Likeness, load_judge, load_likeness
from ..training.world_dataset import ATTRIBUTES
from ..world.backgrounds import GROUND
from ..world.captions import attributes, caption, read
from ..world.renderer import render
from ..world.scene import ACCESSORIES, PAIR_MIDDLES, PAIR_SIZE, SIZES, STAGE, Scene, sample_individual, sample_scene, with_companion
from ..world.user_requests import UserRequest
from .baselines import draw_plain

Z = 1.96  # of a 95 % interval


def share(hits: Sequence[bool]) -> dict[str, float | int]:
    """Share of hits with Wilson's 95 % interval: value, low, high, count."""
    n = len(hits)
    if not n:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "count": 0}
    p, spread = sum(hits) / n, Z * Z / n
    middle = (p + spread / 2) / (1 + spread)
    half = Z * math.sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    return {"value": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "count": n}


def mean(values: Sequence[float]) -> dict[str, float | int]:
    """Mean with the normal 95 % interval: value, low, high, count."""
    x = torch.tensor(list(values), dtype=torch.float64)
    half = Z * float(x.std()) / math.sqrt(len(x)) if len(x) > 1 else math.nan
    return {"value": float(x.mean()), "low": float(x.mean()) - half, "high": float(x.mean()) + half, "count": len(x)}


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Of pictures (B, 3, H, W) in [0, 1]: decibels, (B,)."""
    return -10 * (a - b).square().mean((1, 2, 3)).clamp_min(1e-10).log10()


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of two sets of features (N, d) and (M, d), each taken for a Gaussian (Heusel et al., 2017).

    With centred A and B the trace of (S_a^1/2 S_b S_a^1/2)^1/2 is the nuclear norm of A B^T / sqrt((N - 1) (M - 1)), an N x M matrix:
    for fewer samples than dimensions, as latents have, that is exact too and far cheaper.
    """
    a, b = a.double(), b.double()
    x, y = ((t - t.mean(0)) / math.sqrt(len(t) - 1) for t in (a, b))
    if max(len(a), len(b)) < a.shape[1]:
        cross = torch.linalg.svdvals(x @ y.T).sum()
    else:
        values, vectors = torch.linalg.eigh(x.T @ x)
        root = vectors * values.clamp_min(0).sqrt() @ vectors.T
        cross = torch.linalg.eigvalsh(root @ (y.T @ y) @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + x.square().sum() + y.square().sum() - 2 * cross)


def wasserstein(a: Tensor, b: Tensor) -> float:
    """2-Wasserstein distance between Gaussians fitted to two sets (N, d) (Infusion, section 3)."""
    return math.sqrt(max(0.0, frechet(a, b)))


def fisher(base: Tensor, custom: Tensor) -> float:
    """Latent Fisher divergence (Infusion, section 3): half the mean squared distance between two models' noise predictions,
    (N, ...) each, on the same noised latents, timesteps and prompts."""
    return 0.5 * float((base.double() - custom.double()).flatten(1).square().sum(1).mean())


def found(similarity: Tensor) -> list[bool]:
    """(N, N): for each row whether its own column is its nearest."""
    return (similarity.argmax(1) == torch.arange(len(similarity))).tolist()


BATCH = 32
SUBJECT = ("kind", "colour", "pattern", "second")


@dataclass(frozen=True)
class Case:
    """A request that asks for a picture: the photo, the words, what they say, and what would answer them."""

    photo: Scene
    words: str
    wish: UserRequest
    target: Scene


def cases(count: int) -> list[Case]:
    """The first requests of held-out dialogues that were answered with a picture, seeds 0 to `count` less one."""
    requests = (first_request(random.Random(f"evaluation/{seed}"), held_out=True) for seed in range(count))
    return [Case(photo, said.user, said.wish, target) for photo, said, target in requests if said.wish is not None]


def scenes(count: int, views: int = 1, group: str = "evaluation") -> list[list[Scene]]:
    """`views` scenes of each of `count` held-out individuals; constants are chosen on another group's than tables are made of."""
    out = []
    for seed in range(count):
        rng = random.Random(f"{group}/scene/{seed}")
        one = sample_individual(rng, held_out=True)
        out.append([sample_scene(rng, one, None) for _ in range(views)])
    return out


def caption_of(scene: Scene, number: int) -> str:
    """The line that stands for scene `number` of an evaluation, as the encoders read it."""
    return caption(scene, random.Random(f"evaluation/caption/{number}")).lower()


class AttributeJudge:
    """What the judge says of pictures, in the form of `reading.attributes`, and how alike they are in its embeddings."""

    def __init__(self, judge: Judge, likeness: Likeness, tokenizer: Callable) -> None:
        self.judge, self.likeness, self.tokenizer = judge, likeness, tokenizer

    @torch.no_grad()
    def names(self, x: Tensor) -> list[dict]:
        """(B, 3, 128, 128) in [0, 1] -> one dict of attributes per picture."""
        out = []
        for part in x.split(BATCH):
            for row in self.judge.name(part).tolist():
                said = {name: values[k] for (name, values), k in zip(ATTRIBUTES.items(), row)}
                worn = [(a, said.pop(a)) for a in ACCESSORIES]
                said["accessories"] = tuple((a, colour) for a, colour in worn if colour)
                out.append(said)
        return out

    @torch.no_grad()
    def where(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, 16, 16) in [0, 1]: where the judge finds the subject."""
        return torch.cat([self.judge.subject(self.judge.grids(part)[0]).sigmoid()[:, 0] for part in x.split(BATCH)])

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, 576)."""
        return torch.cat([self.judge.features(part) for part in x.split(BATCH)])

    def individual(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, 128) of norm 1: who is in a picture."""
        return self.likeness.individual(self.features(x))

    def picture(self, x: Tensor) -> Tensor:
        """(B, 3, 128, 128) in [0, 1] -> (B, 128) of norm 1: what a picture shows."""
        return self.likeness.picture(self.features(x))

    @torch.no_grad()
    def caption(self, lines: list[str]) -> Tensor:
        """Words -> (B, 128) of norm 1."""
        length = self.likeness.places.shape[0]
        tokens = self.tokenizer([line.lower() for line in lines], padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return self.likeness.caption(tokens.input_ids)

    @torch.no_grad()
    def alike(self, drawn: Tensor, photos: Tensor, lines: list[str]) -> dict[str, list[float]]:
        """Of pictures with their photos, features (B, 576) each, and captions: DINO-I, CLIP-I and CLIP-T, cosines."""
        one, shown = self.likeness, self.likeness.picture(drawn)
        return {"DINO-I": (one.individual(drawn) * one.individual(photos)).sum(1).tolist(),
                "CLIP-I": (shown * one.picture(photos)).sum(1).tolist(), "CLIP-T": (shown * self.caption(lines)).sum(1).tolist()}


def load_witness(config: AssistantConfig, folder: Path) -> AttributeJudge:
    """From a preset's folder of weights.

    Raises:
        WeightsError: there is no judge in it, or it is damaged.
    """
    return AttributeJudge(load_judge(folder / "judge"), load_likeness(config, folder / "judge"), load_tokenizer(folder))


class Tally:
    """Collects, attribute by attribute, whether what was wanted is there."""

    def __init__(self) -> None:
        self.hits: dict[str, list[bool]] = {}

    def add(self, there: dict, wanted: dict) -> None:
        """Compare what is there with what was wanted; attributes that nobody asked for do not count."""
        for name in (*SUBJECT, *STAGE):
            if name in wanted:
                self.hits.setdefault(name, []).append(there.get(name) == wanted[name])
        worn = dict(there.get("accessories", ()))
        for name, colour in wanted.get("accessories", ()):
            self.hits.setdefault("accessory", []).append(name in worn)
            if colour and name in worn:
                self.hits.setdefault("its colour", []).append(worn[name] == colour)

    def shares(self) -> dict[str, dict]:
        return {name: share(hits) for name, hits in self.hits.items()}

    def overall(self) -> dict:
        return share([hit for name, hits in self.hits.items() for hit in hits])


def named_of(line: str, scene: Scene) -> dict:
    """What a caption names, with the scene's values."""
    named, truth = read(line), attributes(scene)
    found = {name: truth[name] for name in named if name in truth}
    if "accessories" in found:
        worn = dict(named["accessories"])
        found["accessories"] = tuple(a for a in truth["accessories"] if a[0] in worn)
    return found


def asked_of(wish: UserRequest, target: Scene) -> dict:
    """What a request asks for in so many words, with the values that answer it."""
    truth = attributes(target)
    asked = {name: truth[name] for name in STAGE if getattr(wish, name) is not None}
    if wish.wear:
        wanted = {name for name, _ in wish.wear}
        asked["accessories"] = tuple(a for a in truth["accessories"] if a[0] in wanted)
    return asked


BESIDE = 0.08  # of the frame: how far beyond its middle a half is looked at


def pairs(count: int) -> list[Scene]:
    """Scenes of two held-out individuals each, seeds 0 to `count` less one, none chosen."""
    out = []
    for seed in range(count):
        rng = random.Random(f"evaluation/pair/{seed}")
        out.append(with_companion(rng, sample_scene(rng, sample_individual(rng, held_out=True), None), held_out=True))
    return out


def caption_of_pair(scene: Scene, number: int) -> str:
    """A caption that names both heroes with their colours."""
    assert scene.companion is not None
    colours = {scene.individual.colour, scene.companion.colour}
    return next(line for k in range(100) if all(c in (line := caption_of(scene, 1000 * k + number)) for c in colours))


def halves(x: Tensor) -> Iterator[Tensor]:
    """(B, 3, n, n) -> each hero's surroundings, enlarged so that it is as large as a hero alone, (B, 3, n, n) twice."""
    n = x.shape[-1]
    side = PAIR_SIZE / (sum(SIZES) / 2)
    steps = (torch.arange(n) + 0.5) / n * side
    for middle in PAIR_MIDDLES:
        across = middle - side / 2 + steps
        across = across.clamp(max=0.5 + BESIDE) if middle < 0.5 else across.clamp(min=0.5 - BESIDE)
        down = GROUND * (1 - side) + steps
        y, x_ = torch.meshgrid(2 * down - 1, 2 * across - 1, indexing="ij")
        grid = torch.stack((x_, y), -1).expand(len(x), n, n, 2).to(x)
        yield F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def measure(draw: Callable[[list[str], range], Tensor], witness: AttributeJudge, count: int) -> dict[str, dict]:
    """Shares of the first `count` pairs.

    Args:
        draw: captions and their seeds -> pictures (B, 3, n, n) in [0, 1].
    """
    hits: dict[str, list[bool]] = {"one of the kinds at least": [], "both kinds": [], "both kinds in their own colours": []}
    shown = pairs(count)
    for start in range(0, count, BATCH):
        part = shown[start:start + BATCH]
        x = draw([caption_of_pair(s, start + k) for k, s in enumerate(part)], range(start, start + len(part)))
        sides = [witness.names(half) for half in halves(x)]
        for scene, *names in zip(part, *sides):
            heroes = (scene.individual, scene.companion)
            kinds = [said["kind"] == one.kind for said, one in zip(names, heroes)]
            coloured = [said["colour"] == one.colour for said, one in zip(names, heroes)]
            for name, hit in zip(hits, (any(kinds), all(kinds), all(kinds) and all(coloured))):
                hits[name].append(hit)
    return {name: share(values) for name, values in hits.items()}


def drawings(count: int, size: int) -> Callable[[list[str], range], Tensor]:
    """The drawn world's own pictures in place of a model's: what the judge says of the truth."""
    shown = pairs(count)
    return lambda lines, seeds: pixels([render(shown[k], size).image for k in seeds])


NEVER = threading.Event()


@dataclass(frozen=True)
class Asked:
    """Requests with what they are drawn from; those that were answered in words only are left out."""

    cases: tuple[Case, ...]
    numbers: tuple[int, ...]  # which of the evaluation's cases they are, and their seeds
    replies: tuple[str, ...]
    photos: Tensor  # (N, 3, H, W) in [0, 1]
    patches: Tensor  # E(x), (N, 257, d_E)
    semantics: Tensor  # H(s), (N, d_F)


def ask(vision: VisionEncoders, language: MultimodalLLM, picture_tokens: int, count: int, size: int, temperature: float = 0.4) -> Asked:
    """M's answers to the first `count` held-out requests, seeds 0 to `count` less one."""
    kept, states = [], []
    every, image_generator = cases(count), CafeGenerator(vision, language, cast(Any, None), picture_tokens)  # it draws nothing
    photos = pixels([render(c.photo, size).image for c in every])
    seen = [image_generator.look(part) for part in photos.split(BATCH)]
    patches, semantics = torch.cat([s.patches for s in seen]), torch.cat([s.semantics for s in seen])
    for k, case in enumerate(every):
        said = ReplyState()
        for _ in image_generator.speak((), case.words, ImageFeatures(patches[k:k + 1], semantics[k:k + 1]), said, temperature, torch.Generator("cpu").manual_seed(k), NEVER):
            pass
        if said.wish is not None:
            kept.append((k, said.text))
            states.append(said.wish.semantics)
    at = [k for k, _ in kept]
    return Asked(tuple(every[k] for k in at), tuple(at), tuple(text for _, text in kept), photos[at], patches[at], torch.cat(states))


@torch.no_grad()
def draw(decoder: LatentDiffusion, asked: Asked, keep_subject: float, follow_words: float, steps: int) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1], G(E(x), H(s)) at two strengths; a strength of 0 leaves its source out."""
    def some(at: Tensor) -> Tensor:
        return sample_latents(decoder, asked.patches[at], asked.semantics[at], [asked.numbers[k] for k in at.tolist()], steps, keep_subject, follow_words)

    return torch.cat([pictures(decoder, some(at)) for at in torch.arange(len(asked.numbers)).split(BATCH)])


def text_to_image(decoder: LatentDiffusion, lines: list[str], seeds: range, steps: int, guidance: float) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] by the base model of captions with their seeds."""
    return torch.cat([pictures(decoder, draw_plain(decoder, [lines[k] for k in at], [seeds[k] for k in at], steps, guidance))
                      for at in torch.arange(len(lines)).split(BATCH)])


def pictures(decoder: LatentDiffusion, latents: Tensor) -> Tensor:
    """Latents (N, C, h, w) -> (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(decoder.decode(latents)).permute(0, 3, 1, 2).float() / 255


def score(witness: AttributeJudge, asked: Asked, drawn: Tensor) -> dict[str, dict]:
    """The papers' metrics and the judge's: to the photo, to the request, to the reply."""
    photos = witness.features(asked.photos)
    lines = [caption_of(case.target, k) for case, k in zip(asked.cases, asked.numbers)]
    alike = witness.alike(witness.features(drawn), photos, lines)
    subject, request, words = Tally(), Tally(), Tally()
    for case, reply, there in zip(asked.cases, asked.replies, witness.names(drawn)):
        truth = attributes(case.target)
        subject.add(there, {k: truth[k] for k in SUBJECT if k in truth})
        request.add(there, asked_of(case.wish, case.target))
        words.add(there, read(reply))
    return {**{k: mean(v) for k, v in alike.items()}, "subject": subject.overall(), **subject.shares(), "request": request.overall(),
            **request.shares(), "reply": words.overall()}
