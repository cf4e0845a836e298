"""How good the miniature is, by the judge and on what was never trained on: every part by itself, then answers as a user gets them.

All pictures are of held-out individuals, in any combination of kind, place and style; seeds run from 0, none is chosen.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..conditioning import EMPTY, TEXT
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import text_plan
from ..miniature.captions import caption
from ..miniature.dialogues import dialogue
from ..miniature.reading import attributes, read
from ..miniature.renderer import render
from ..miniature.world import ACCESSORIES, Scene, sample_individual, sample_scene
from ..pipeline import Assistant
from .judge import HEADS, Judge
from .metrics import found, frechet, mean, psnr, share
from .sheet import answer, photo_of

BATCH = 32
SUBJECT = ("kind", "colour", "pattern", "second")
STAGE = ("context", "light", "style", "pose")
STEPS, GUIDANCE = 20, 3.0  # of the base model


@dataclass(frozen=True)
class Case:
    """A request that asks for a picture: the photo, the words, and what would answer them."""

    photo: Scene
    words: str
    target: Scene


def cases(count: int) -> list[Case]:
    """The first requests of held-out dialogues that were answered with a picture, seeds 0 to `count` less one."""
    out = []
    for seed in range(count):
        rng = random.Random(f"evaluation/{seed}")
        while True:
            talk = dialogue(rng, held_out=True, turns=1)
            if talk.photo is not None and talk.exchanges[0].target is not None:
                out.append(Case(talk.photo, talk.exchanges[0].user, talk.exchanges[0].target))
                break
    return out


def scenes(count: int, views: int = 1) -> list[list[Scene]]:
    """`views` scenes of each of `count` held-out individuals."""
    out = []
    for seed in range(count):
        rng = random.Random(f"evaluation/scene/{seed}")
        one = sample_individual(rng, held_out=True)
        out.append([sample_scene(rng, one, None) for _ in range(views)])
    return out


def pixels(pictures: list[Image.Image]) -> Tensor:
    """(B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(p.convert("RGB")) for p in pictures])).permute(0, 3, 1, 2).float() / 255


class Witness:
    """What the judge says of pictures, in the form of `reading.attributes`."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @torch.no_grad()
    def names(self, x: Tensor) -> list[dict]:
        """(B, 3, 128, 128) in [0, 1] -> one dict of attributes per picture."""
        out = []
        for part in x.split(BATCH):
            for row in self.judge.name(part).tolist():
                said = {name: values[k] for (name, values), k in zip(HEADS.items(), row)}
                worn = [(a, said.pop(a)) for a in ACCESSORIES]
                said["accessories"] = tuple((a, colour) for a, colour in worn if colour)
                out.append(said)
        return out

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self.judge.features(part) for part in x.split(BATCH)])


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


def _asked(words: str, target: Scene) -> dict:
    """What a request names, with the values that answer it."""
    named, truth = read(words), attributes(target)
    asked = {name: truth[name] for name in STAGE if name in named}
    if "accessories" in named:
        wanted = {name for name, _ in named["accessories"]}
        asked["accessories"] = tuple(a for a in truth["accessories"] if a[0] in wanted)
    return asked


def judge_itself(witness: Witness, count: int, size: int) -> dict:
    """The judge's own accuracy, on the renders that all else is compared with."""
    tally, alarms = Tally(), 0
    shown = [views[0] for views in scenes(count)]
    for part in _chunks(shown):
        for scene, said in zip(part, witness.names(pixels([render(s, size).image for s in part]))):
            truth = attributes(scene)
            tally.add(said, truth)
            worn = {name for name, _ in truth["accessories"]}
            alarms += sum(name not in worn for name, _ in said["accessories"])
    quiet = [True] * (count * len(ACCESSORIES) - alarms) + [False] * alarms
    return {**tally.shares(), "nothing seen that is not worn": share(quiet)}


def autoencoder(decoder: Diffusion, witness: Witness, count: int, size: int) -> dict:
    """Reconstructions: PSNR, and what the judge sees in them; in the originals, `judge_itself` says."""
    tally, decibels = Tally(), []
    for part in _chunks([views[0] for views in scenes(count)]):
        x = pixels([render(s, size).image for s in part])
        again = decoder.decode(decoder.encode_image((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1)))
        y = torch.from_numpy(again).permute(0, 3, 1, 2).float() / 255
        decibels += psnr(x, y).tolist()
        for scene, said in zip(part, witness.names(y)):
            tally.add(said, attributes(scene))
    return {"psnr": mean(decibels), "reconstructions": tally.shares()}


@torch.no_grad()
def encoders(assistant: Assistant, tokenizer: Callable, count: int, size: int) -> dict:
    """F: the right caption of `count`; E: the same individual in another scene of `count`."""
    pairs = scenes(count, 2)
    vision = assistant.vision
    first, second = (pixels([render(views[k], size).image for views in pairs]) for k in (0, 1))
    images = torch.cat([vision.semantics(part) for part in first.split(BATCH)])
    lines = [caption(views[0], random.Random(f"evaluation/caption/{i}")).lower() for i, views in enumerate(pairs)]
    tokens = tokenizer(lines, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt")
    texts = F.normalize(vision.clip.encode_text(tokens.input_ids), dim=-1)
    a, b = (F.normalize(torch.cat([vision.patches(part)[:, 0] for part in x.split(BATCH)]), dim=-1) for x in (first, second))
    return {"F: its caption": share(found(images @ texts.T)), "E: the same individual": share(found(a @ b.T)), "of": count}


def base_model(base: Diffusion, witness: Witness, count: int, size: int) -> tuple[dict, Tensor]:
    """Text to image from held-out captions; the pictures' features beside, for their distance from drawings."""
    tally, features = Tally(), []
    shown = [views[0] for views in scenes(count)]
    for start in range(0, count, BATCH // 2):
        part = shown[start:start + BATCH // 2]
        lines = [caption(scene, random.Random(f"evaluation/caption/{start + k}")).lower() for k, scene in enumerate(part)]
        seam = Seam({TEXT: base.encode_text(lines), EMPTY: base.encode_text([""])})
        done = base.sample(text_plan(GUIDANCE), seam, range(start, start + len(part)), STEPS)
        x = torch.from_numpy(base.decode(done.latents)).permute(0, 3, 1, 2).float() / 255
        for line, scene, said in zip(lines, part, witness.names(x)):
            truth, named = attributes(scene), read(line)
            tally.add(said, {k: truth[k] for k in named if k in truth})
        features.append(witness.features(x))
    return tally.shares(), torch.cat(features)


def answers(assistant: Assistant, witness: Witness, count: int, steps: int, seen: Callable[[int], None]) -> tuple[dict, Tensor]:
    """One request each as the page would send it; the judge against the request, the photo and the reply."""
    size = assistant.config.decoder.image_size
    subject, request, words, said_right = Tally(), Tally(), Tally(), Tally()
    features, drew, likeness = [], [], {"subject": [], "words": []}
    for seed, case in enumerate(cases(count)):
        reply = answer(assistant, case.words, photo_of(case.photo, size), seed, steps)
        truth = attributes(case.target)
        asked = {**{k: truth[k] for k in ("kind", "colour")}, **_asked(case.words, case.target)}
        said_right.add(read(reply.text), asked)
        drew.append(reply.png is not None)
        if reply.png is not None:
            x = pixels([Image.open(io.BytesIO(reply.png))])
            there = witness.names(x)[0]
            subject.add(there, {k: truth[k] for k in SUBJECT if k in truth})
            request.add(there, _asked(case.words, case.target))
            words.add(there, read(reply.text))
            features.append(witness.features(x))
            for name, value in reply.likeness.items():
                likeness[name].append(value)
        seen(seed + 1)
    return {"drew": share(drew), "picture against the photo": subject.shares(), "picture against the request": request.shares(),
            "picture against the reply": {**words.shares(), "all": words.overall()},
            "reply against photo and request": {**said_right.shares(), "all": said_right.overall()},
            "likeness": {k: mean(v) for k, v in likeness.items()}}, torch.cat(features)


@torch.no_grad()
def perplexity(assistant: Assistant, count: int, size: int) -> dict:
    """Of held-out replies to a photo and a request, with V's reading of the photo before them."""
    language, losses = assistant.language, []
    for seed in range(count):
        talk = dialogue(random.Random(f"evaluation/talk/{seed}"), held_out=True, turns=1)
        if talk.photo is None:
            continue
        exchange, builder = talk.exchanges[0], language.builder
        prompt = builder.build([], exchange.user, True, assistant.config.picture_tokens)
        said = builder.reply(exchange.reply, exchange.target is not None)
        patches = assistant.vision.patches(pixels([render(talk.photo, size).image]))
        table = language.llama.get_input_embeddings()
        embeds = torch.cat([language.embed(prompt, patches), table(torch.tensor([said]))], 1)
        logits = language.llama(inputs_embeds=embeds, logits_to_keep=len(said) + 1).logits[0, :-1].float()
        losses.append((float(F.cross_entropy(logits, torch.tensor(said), reduction="sum")), len(said)))
    total = sum(n for _, n in losses)
    return {"value": float(np.exp(sum(loss for loss, _ in losses) / total)), "count": len(losses), "tokens": total}


def _chunks(items: list) -> Iterator[list]:
    for start in range(0, len(items), BATCH):
        yield items[start:start + BATCH]


def references(witness: Witness, count: int, size: int, after: int = 0) -> Tensor:
    """Features of drawings themselves, `count` held-out ones from number `after` on."""
    shown = [views[0] for views in scenes(after + count)[after:]]
    return torch.cat([witness.features(pixels([render(s, size).image for s in part])) for part in _chunks(shown)])


def evaluate(assistant: Assistant, base: Diffusion, judge: Judge, counts: dict[str, int], steps: int,
             say: Callable[[str], None]) -> dict:
    """Every measure, as nested dicts of value, low, high, count.

    Args:
        counts: "renders", "answers", "base", "retrieval".
        say: told what is being measured.
    """
    size, witness, out = assistant.config.decoder.image_size, Witness(judge), {}
    say("the judge itself")
    out["judge"] = judge_itself(witness, counts["renders"], size)
    say("the autoencoder")
    out["autoencoder"] = autoencoder(base, witness, counts["renders"], size)
    say("E and F")
    out["encoders"] = encoders(assistant, base.tokenizer, counts["retrieval"], size)
    say("M")
    out["perplexity of replies"] = perplexity(assistant, counts["retrieval"], size)
    say("text to image")
    out["base"], drawn = base_model(base, witness, counts["base"], size)
    real = references(witness, counts["base"], size, counts["renders"])
    out["base"]["frechet"] = {"value": frechet(drawn, real), "count": counts["base"],
                              "drawings among themselves": frechet(references(witness, counts["base"], size), real)}
    say("answers")
    out["answers"], drawn = answers(assistant, witness, counts["answers"], steps, lambda n: say(f"answers {n}") if n % 32 == 0 else None)
    if len(drawn) > 1:
        out["answers"]["frechet"] = {"value": frechet(drawn, references(witness, len(drawn), size)), "count": len(drawn)}
    return out


def write(found_: dict, out: Path, about: dict) -> str:
    """`out`.json and `out`.md; returns the Markdown."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({**about, **found_}, indent=1) + "\n", encoding="utf-8")
    lines = ["| measure | | value | 95 % | of |", "|---|---|---|---|---|"]

    def rows(name: str, values: dict) -> None:
        if "value" in values:
            interval = f"{values['low']:.3f} to {values['high']:.3f}" if "low" in values else ""
            lines.append(f"| {name.rpartition(' / ')[0]} | {name.rpartition(' / ')[2]} | {values['value']:.3f} | {interval} | {values['count']} |")
        for key, inner in values.items():
            if isinstance(inner, dict):
                rows(f"{name} / {key}" if name else key, inner)

    rows("", found_)
    text = "\n".join(lines) + "\n"
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    return text
