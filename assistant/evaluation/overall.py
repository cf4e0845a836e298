"""How good the miniature is, by the judge and on what was never trained on: every part by itself, then answers as a user gets them.

`judge_candidate` says by that whether a trained model may replace the one that ships: both answer the same held-out requests, and the judge decides. `curve` adds
the figures of a training's averaged weights by samples seen to a log and draws it: `python -m assistant.evaluation curve --run runs/miniature` reads the joint
training's state, while it goes on or after it. Sheets show what is drawn, seeds in order, none chosen: answers to vague requests on held-out individuals (photo,
result, request and reply), and captions with what the base model draws of them.
"""

import hashlib
import io
import json
import random
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from .. import report
from ..checkpoints import load_cafe, load_vae, load_vision
from ..config import AssistantConfig
from ..controls.cafe import SemanticValues
from ..data.quadruplets import STRENGTH, sample_latents
from ..dialogue_state import lines_of
from ..diffusion.latent_diffusion import LatentDiffusion
from ..engine import Assistant
from ..loading import load_assistant
from ..files import write_png
from ..models.vision_encoders import VisionEncoders, pixels
from ..requests import Photo, Reply, Request, Settings
from ..training import loop
from ..training.world_dataset import caption_tokenizer
from ..world.captions import attributes, plan_of, read, read_reply
from ..world.dialogues import dialogue
from ..world.renderer import render
from ..world.scene import ACCESSORIES, Scene, sample_individual, sample_scene
from ..world.vocabulary import bank
from .test_cases import (BATCH, SUBJECT, AttributeJudge, Tally, asked_of, caption_of, cases, drawings, found, frechet, mean, measure, named_of, pictures, psnr,
                         scenes, share, text_to_image)

WISHES = bank("prompts")["wishes"]


INNER, OUTER, LINES, LEADING, FONT, QUALITY = 4, 12, 5, 12, 10, 50  # pixels, lines of text, WebP quality
CAPTION_LINES = 4
LETTER = 4.8  # pixels, on average
PAPER, INK, PALE = (255, 255, 255), (30, 30, 34), (110, 110, 118)


def photo_of(scene: Scene, size: int) -> Photo:
    """A scene drawn, as a user would hand it over."""
    return as_photo(render(scene, size).image)


def as_photo(image: Image.Image) -> Photo:
    """A picture as a user would hand it over."""
    png = write_png(image)
    return Photo(png, *image.size, hashlib.sha256(png).hexdigest())


def answer(assistant: Assistant, words: str, photo: Photo, seed: int, steps: int, candidates: int = 1) -> Reply:
    """The assistant's whole reply to one request."""
    usual = assistant.info()
    settings = Settings(seed, steps, usual.sampler, usual.keep_subject, usual.follow_words, preview_every=0, candidates=candidates)
    *_, reply = assistant.respond(Request(words, photo, settings=settings), threading.Event())
    assert isinstance(reply, Reply)
    return reply


def draw_captions(base: LatentDiffusion, lines: Sequence[str], out: Path, columns: int = 8, steps: int = 20, guidance: float = 3.0) -> None:
    """Write `out`: what the base model draws of each caption, in order, none chosen, with the caption below. Seeds are their numbers."""
    size, cells = base.unet.config.sample_size * base.factor, []
    for start in range(0, len(lines), BATCH):
        part = range(start, min(len(lines), start + BATCH))
        drawn = text_to_image(base, [lines[k] for k in part], part, steps, guidance)
        for k, picture in zip(part, (drawn.movedim(1, -1) * 255).round().byte().numpy()):
            below = [(line, PALE) for line in wrapped(lines[k], size, CAPTION_LINES)]
            cells.append(_cell([Image.fromarray(picture)], below, size, CAPTION_LINES))
    _write_sheet(cells, out, columns)


def draw_sheet(assistant: Assistant, count: int, out: Path, columns: int = 8, steps: int = 20) -> dict[str, float]:
    """Write `out` (a picture) and `out`.json with every request, reply and ground truth; returns how often the words were right.

    Words are right when the reply names the photo's own kind, colour or pattern; what it draws is for the eye, or the judge.
    """
    size = assistant.config.decoder.image_size
    cells, lines, right = [], [], {"kind": [], "colour": [], "pattern": []}
    for seed in range(count):
        rng = random.Random(f"sheet/{seed}")
        scene = sample_scene(rng, sample_individual(rng, held_out=True), None)
        photo, wish = photo_of(scene, size), WISHES[seed % len(WISHES)]
        reply = answer(assistant, wish, photo, seed, steps)
        below = [(wish, INK), *((line, PALE) for line in wrapped(reply.text, 2 * size + INNER, LINES - 1))]
        cells.append(_cell([Image.open(io.BytesIO(png)) if png else None for png in (photo.png, reply.png)], below, size, LINES))
        said, truth = read_reply(reply.text), attributes(scene)
        for name, hits in right.items():
            hits.append(said.get(name) == truth.get(name))
        lines.append({"seed": seed, "wish": wish, "reply": reply.text, "drew": reply.png is not None, "photo": _plain(truth), "said": _plain(said)})
    _write_sheet(cells, out, columns)
    written = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)  # a cell a line
    out.with_suffix(".json").write_text(f"[\n{written}\n]\n", encoding="utf-8")
    return {**{k: float(np.mean(v)) for k, v in right.items()}, "drew": float(np.mean([line["drew"] for line in lines]))}


def _cell(pictures: Sequence[Image.Image | None], below: Sequence[tuple[str, tuple[int, int, int]]], size: int, room: int) -> Image.Image:
    """Pictures side by side, lines of text with their ink below, of which there is room for so many; the gap to the next cell on the right."""
    cell = Image.new("RGB", (len(pictures) * (size + INNER) - INNER + OUTER, size + room * LEADING + INNER), PAPER)
    for k, picture in enumerate(pictures):
        if picture is not None:
            cell.paste(picture, (k * (size + INNER), 0))
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(FONT)
    for k, (line, ink) in enumerate(below):
        pen.text((0, size + INNER + k * LEADING), line, ink, font)
    return cell


def _write_sheet(cells: Sequence[Image.Image], out: Path, columns: int) -> None:
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width + OUTER, -(-len(cells) // columns) * (height + OUTER) + OUTER), PAPER)
    for k, cell in enumerate(cells):
        sheet.paste(cell, (OUTER + k % columns * width, OUTER + k // columns * (height + OUTER)))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=QUALITY, method=6)


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """`text` in at most so many lines of about `width` pixels; what is left over ends in an ellipsis."""
    return textwrap.wrap(text, int(width / LETTER), max_lines=lines, placeholder="…")


def _plain(values: dict) -> dict:
    return {k: [list(a) for a in v] if k == "accessories" else v for k, v in values.items()}


LOOKED = 2  # candidates, where answers are looked at
ASKED = ("kind", "colour", "context", "style", "accessory", "pattern", "light", "pose")  # columns of the tables


def judge_itself(witness: AttributeJudge, count: int, size: int) -> dict:
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


def autoencoder(decoder: LatentDiffusion, witness: AttributeJudge, count: int, size: int) -> dict:
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
    lines = [caption_of(views[0], i) for i, views in enumerate(pairs)]
    tokens = tokenizer(lines, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt")
    texts = F.normalize(vision.clip.encode_text(tokens.input_ids), dim=-1)
    a, b = (F.normalize(torch.cat([vision.patches(part)[:, 0] for part in x.split(BATCH)]), dim=-1) for x in (first, second))
    return {"F: its caption": share(found(images @ texts.T)), "E: the same individual": share(found(a @ b.T)), "of": count}


def base_model(base: LatentDiffusion, witness: AttributeJudge, shown: list[Scene], size: int, steps: int, guidance: float) -> tuple[dict, Tensor]:
    """Text to image from the captions of scenes, seeds 0 to their number less one: whether what the captions name is found in the pictures,
    and in the drawings themselves; the pictures' features beside, for their distance from drawings."""
    tally, ideal, features, count = Tally(), Tally(), [], len(shown)
    for start in range(0, count, BATCH):
        part = shown[start:start + BATCH]
        lines = [caption_of(scene, start + k) for k, scene in enumerate(part)]
        x = text_to_image(base, lines, range(start, start + len(part)), steps, guidance)
        drawings = witness.names(pixels([render(scene, size).image for scene in part]))
        for line, scene, said, best in zip(lines, part, witness.names(x), drawings):
            for one, there in ((tally, said), (ideal, best)):
                one.add(there, named_of(line, scene))
        features.append(witness.features(x))
    return {**tally.shares(), "drawings": ideal.shares()}, torch.cat(features)


def answers(assistant: Assistant, witness: AttributeJudge, count: int, steps: int, seen: Callable[[int], None], candidates: int = 1) -> tuple[dict, Tensor]:
    """One request each as the page would send it; the judge against the request, the photo and the reply.

    Args:
        candidates: pictures at most for one answer; what an answer says that did not come out is no claim of its words.
    """
    size = assistant.config.decoder.image_size
    subject, request, words, every, said_right = Tally(), Tally(), Tally(), Tally(), Tally()
    features, drew, tried, admitted, gone, alike, ideal = [], [], [], [], [], {}, {}
    for seed, case in enumerate(cases(count)):
        photo = photo_of(case.photo, size)
        reply = answer(assistant, case.words, photo, seed, steps, candidates)
        truth = attributes(case.target)
        asked = {**{k: truth[k] for k in ("kind", "colour")}, **asked_of(case.wish, case.target)}
        said_right.add(read(reply.text), asked)
        drew.append(reply.png is not None)
        if reply.png is not None:
            x = pixels([Image.open(io.BytesIO(reply.png))])
            there = witness.names(x)[0]
            subject.add(there, {k: truth[k] for k in SUBJECT if k in truth})
            request.add(there, asked_of(case.wish, case.target))
            words.add(there, _claimed(read(reply.text), reply.missing))
            every.add(there, read(reply.text))
            for one in reply.missing:
                named = Tally()
                named.add(there, read(one))
                gone.append(named.overall()["value"] < 1)
            tried.append(float(reply.metadata.get("tried", 1)))
            admitted.append(float(bool(reply.missing)))
            features.append(witness.features(x))
            shown = witness.features(torch.cat([pixels([Image.open(io.BytesIO(photo.png))]), pixels([render(case.target, size).image])]))
            line = [caption_of(case.target, seed)]
            for store, drawn in ((alike, features[-1]), (ideal, shown[1:])):
                for name, values in witness.alike(drawn, shown[:1], line).items():
                    store.setdefault(name, []).extend(values)
        seen(seed + 1)
    return {"drew": share(drew), "pictures drawn": mean(tried), "something said to be missing": mean(admitted),
            "what is said to be missing is": share(gone), "picture against the photo": subject.shares(), "picture against the request": request.shares(),
            "picture against the reply": {**words.shares(), "all": words.overall(), "all, also what is said to be missing": every.overall()},
            "reply against photo and request": {**said_right.shares(), "all": said_right.overall()},
            "to photo and request": {k: mean(v) for k, v in alike.items()},
            "drawings that answer it, to photo and request": {k: mean(v) for k, v in ideal.items()}}, torch.cat(features)


def _claimed(said: dict, missing: Sequence[str]) -> dict:
    """What words claim of a picture, as `read` gives it, less what is said not to have come out."""
    gone: dict = {}
    for one in missing:
        for key, value in read(one).items():
            gone[key] = (*gone.get(key, ()), *value) if key == "accessories" else value
    kept = {k: v for k, v in said.items() if k not in gone}
    if "accessories" in said and "accessories" in gone:
        names = {name for name, _ in gone["accessories"]}
        kept["accessories"] = tuple((name, colour) for name, colour in said["accessories"] if name not in names)
    return {k: v for k, v in kept.items() if k != "accessories" or v}


@torch.no_grad()
def perplexity(assistant: Assistant, count: int, size: int) -> dict:
    """Of held-out replies to a photo and a request, with V's reading of the photo, and of pictures the plan, before them."""
    language, losses = assistant.language, []
    for seed in range(count):
        talk = dialogue(random.Random(f"evaluation/talk/{seed}"), held_out=True, turns=1)
        if talk.photo is None:
            continue
        exchange, builder = talk.exchanges[0], language.builder
        photo, plan = plan_of(talk.photo), exchange.plan
        lines = lines_of(plan, photo)
        prompt = builder.build([], exchange.user, True, assistant.config.picture_tokens, lines if plan.draws else (), photo.written())
        said = builder.reply(exchange.reply, exchange.target is not None, () if plan.draws else lines)
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


def references(witness: AttributeJudge, count: int, size: int, after: int = 0) -> Tensor:
    """Features of drawings themselves, `count` held-out ones from number `after` on."""
    shown = [views[0] for views in scenes(after + count)[after:]]
    return torch.cat([witness.features(pixels([render(s, size).image for s in part])) for part in _chunks(shown)])


def evaluate(assistant: Assistant, base: LatentDiffusion, witness: AttributeJudge, counts: dict[str, int], steps: int, say: Callable[[str], None]) -> dict:
    """Every measure, as nested dicts of value, low, high, count.

    Args:
        counts: "renders", "answers", "base", "retrieval".
        steps: of denoising, for captions and answers.
        say: told what is being measured.
    """
    size, guidance, out = assistant.config.decoder.image_size, assistant.config.decoder.guidance, {}
    for name, what, find in (("judge", "the judge itself", lambda: judge_itself(witness, counts["renders"], size)),
                             ("autoencoder", "the autoencoder", lambda: autoencoder(base, witness, counts["renders"], size)),
                             ("encoders", "E and F", lambda: encoders(assistant, base.tokenizer, counts["retrieval"], size)),
                             ("perplexity of replies", "M", lambda: perplexity(assistant, counts["retrieval"], size))):
        say(what)
        out[name] = find()
    say("text to image")
    out["base"], drawn = base_model(base, witness, [views[0] for views in scenes(counts["base"])], size, steps, guidance)
    say("two heroes")
    out["two heroes"] = measure(lambda lines, seeds: text_to_image(base, lines, seeds, steps, guidance), witness, counts["base"])
    out["two heroes"]["drawings"] = measure(drawings(counts["base"], size), witness, counts["base"])
    real = references(witness, counts["base"], size, counts["renders"])
    out["base"]["frechet"] = {"value": frechet(drawn, real), "count": counts["base"],
                              "drawings among themselves": frechet(references(witness, counts["base"], size), real)}
    say("answers")
    out["answers"], drawn = answers(assistant, witness, counts["answers"], steps, lambda n: say(f"answers {n}") if n % 32 == 0 else None)
    say("answers, looked at")
    out["answers, looked at"], _ = answers(assistant, witness, counts["answers"], steps, lambda n: None, LOOKED)
    if len(drawn) > 1:
        out["answers"]["frechet"] = {"value": frechet(drawn, references(witness, len(drawn), size)), "count": len(drawn)}
    return out


def tables(found_: dict, about: dict) -> list[str]:
    """What was asked for and is there, by the judge: of captions, beside the drawings themselves, and of a photo with a request."""
    base, answered = found_["base"], found_["answers"]
    how = f"{about['steps']} steps, guidance {about['guidance']:g}" if "guidance" in about else f"{about['steps']} steps"
    rows = {f"a caption drawn, {how}": base, "the drawings themselves": base["drawings"],
            "a photo and a request drawn": answered["picture against the request"] | answered["picture against the photo"],
            "the reply's words and the picture": answered["picture against the reply"],
            f"the same, looked at and drawn {LOOKED} times at most": found_.get("answers, looked at", {}).get("picture against the reply", {})}

    def cell(of: dict | None) -> str:
        return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f}; {of['count']})" if of and of["count"] else ""

    return report.table((*ASKED, "all"), {name: [cell(row.get(k)) for k in (*ASKED, "all")] for name, row in rows.items()})


def write(found_: dict, out: Path, about: dict) -> str:
    """`out`.json and `out`.md, two tables of what matters before all measures; returns the Markdown."""
    lines = [*tables(found_, about), "", "| measure | | value | 95 % | of |", "|---|---|---|---|---|"]

    def rows(name: str, values: dict) -> None:
        if "value" in values:
            interval = f"{values['low']:.3f} to {values['high']:.3f}" if "low" in values else ""
            lines.append(f"| {name.rpartition(' / ')[0]} | {name.rpartition(' / ')[2]} | {values['value']:.3f} | {interval} | {values['count']} |")
        for key, inner in values.items():
            if isinstance(inner, dict):
                rows(f"{name} / {key}" if name else key, inner)

    rows("", found_)
    return report.write({**about, **found_}, lines, out)


# what counts, as paths into `evaluate`'s result; each is a share of hits
MEASURES = (
    *(("answers", "picture against the photo", name) for name in ("kind", "colour", "pattern")),
    *(("answers", "picture against the request", name) for name in ("context", "style", "accessory")),
    ("answers", "picture against the reply", "all"), ("answers", "reply against photo and request", "all"),
    *(("base", name) for name in ("kind", "colour", "pattern", "context", "style", "accessory")),
)


@dataclass(frozen=True)
class Verdict:
    """`better`: whether the candidate may ship; `lines`: why, a measure a line and the outcome last."""

    better: bool
    lines: tuple[str, ...]


def compare(shipped: dict, candidate: dict) -> Verdict:
    """A candidate is better if the mean of the measures rises and none of them falls for sure: its 95 % interval must not lie
    wholly below the shipped one's. A measure that had no case in either set is left out.

    Args:
        shipped, candidate: results of `evaluate` with the same counts.
    """
    lines, gains, falls = [], [], []
    for path in MEASURES:
        old, new = _at(shipped, path), _at(candidate, path)
        if not old["count"] or not new["count"]:
            continue
        name = ", ".join(path)
        fell = new["high"] < old["low"]
        gains.append(new["value"] - old["value"])
        falls += [name] * fell
        lines.append(f"{name}: {old['value']:.3f} -> {new['value']:.3f}{'  worse beyond chance' if fell else ''}")
    gain = sum(gains) / len(gains) if gains else 0.0
    better = gain > 0 and not falls
    why = f"mean {gain:+.4f}" + (f", but worse: {'; '.join(falls)}" if falls else "")
    return Verdict(better, (*lines, f"{'better' if better else 'not better'} ({why})"))


def _at(result: dict, path: tuple[str, ...]) -> dict:
    for key in path:
        result = result.get(key, {})
    return result if "count" in result else {"count": 0}


def judge_candidate(config: AssistantConfig, shipped: Path, candidate: Path, witness: AttributeJudge, counts: dict[str, int], steps: int,
                    say: Callable[[str], None]) -> Verdict:
    """Measure both folders of weights on the same cases and seeds.

    Raises:
        WeightsError: one of them is incomplete or damaged.
    """
    found = []
    for folder in (shipped, candidate):
        assistant = load_assistant(config.name, folder=folder)
        assert assistant.base is not None
        found.append(evaluate(assistant, assistant.base, witness, counts, steps, lambda what: say(f"{folder.name}: {what}")))
    return compare(*found)


WRITTEN = ("kind", "colour", "pattern", "context", "style", "accessory")


@dataclass(frozen=True)
class Snapshot:
    """A joint training's averaged weights."""

    decoder: LatentDiffusion
    vision: VisionEncoders
    samples: int


def snapshot(config: AssistantConfig, run: Path, model: Path, before: int = 0) -> Snapshot:
    """The averaged weights in a training's state.

    Args:
        run: folder of the joint training's state. model: folder with base/vae, dino and clip.
        before: samples seen before this run.
    """
    about = loop.read_progress(run)
    tokenizer = caption_tokenizer(config)
    text = CLIPTextModel(CLIPTextConfig(**config.decoder.text, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                                        pad_token_id=tokenizer.pad_token_id))
    unet = UNet2DConditionModel(**config.decoder.unet, cross_attention_dim=config.decoder.text["hidden_size"])
    with safe_open(run / "state/state.safetensors", "pt") as file:
        values = SemanticValues.of(unet, config.mllm.semantic_width)
        parts = {"unet": unet, "text": text, "values": values}
        kept = {name: {k.removeprefix(f"ema.{name}."): file.get_tensor(k) for k in file.keys() if k.startswith(f"ema.{name}.")} for name in parts}
        if any(kept[name].keys() != module.state_dict().keys() for name, module in parts.items()):  # trained in part: the rest is as it began
            begun = load_cafe(config, model)
            kept = {name: {**cast(Any, part).state_dict(), **kept[name]} for name, part in (("unet", begun.unet), ("text", begun.text_encoder), ("values", begun.semantic_values))}
        for name, module in parts.items():
            module.load_state_dict(kept[name])
    decoder = LatentDiffusion(unet.eval(), load_vae(model / "base/vae"), config.decoder.scheduler, text.eval(), tokenizer, values.eval())
    assert about is not None  # its tensors were there
    return Snapshot(decoder, load_vision(config, model), before + about["step"] * about["batch"])


@torch.no_grad()
def cafe_alone(one: Snapshot | Assistant, witness: AttributeJudge, shown: list[list[Scene]], size: int, steps: int, keep: float = STRENGTH, follow: float = STRENGTH) -> dict:
    """G(E(x), F(target)) of two scenes each of held-out individuals: what the decoder does with words that were understood."""
    tally, decoder = Tally(), cast(LatentDiffusion, one.decoder)
    for start in range(0, len(shown), BATCH):
        views = shown[start:start + BATCH]
        photos, targets = (pixels([render(v[k], size).image for v in views]) for k in (0, 1))
        x = pictures(decoder, sample_latents(decoder, one.vision.patches(photos).float(), one.vision.semantics(targets).float(),
                                             range(start, start + len(views)), steps, keep, follow))
        for v, said in zip(views, witness.names(x)):
            tally.add(said, attributes(v[1]))
    return tally.shares()


def guidance_rows(assistant: Assistant, witness: AttributeJudge, count: int, steps: int, strengths: Sequence[float], pairs: Sequence[tuple[float, float]]) -> dict:
    """What strengths of guidance do, on validation individuals: to captions, and to G(E(x), F(target)) at pairs of E's and F's."""
    assert assistant.base is not None
    size = assistant.config.decoder.image_size
    captioned, shown = ([views[0] for views in scenes(count, 1, "validation")], scenes(count, 2, "validation"))
    rows = {f"captions, {g:g}": base_model(assistant.base, witness, captioned, size, steps, g)[0] for g in strengths}
    return rows | {f"E {e:g}, F {f:g}": cafe_alone(assistant, witness, shown, size, steps, e, f) for e, f in pairs}


def judge(config: AssistantConfig, one: Snapshot, witness: AttributeJudge, count: int, steps: int) -> dict:
    """What the judge finds of captions, of two heroes and of CAFE alone, `count` of each; shares as plain numbers."""
    size, guidance = config.decoder.image_size, config.decoder.guidance
    base, _ = base_model(one.decoder, witness, [v[0] for v in scenes(count)], size, steps, guidance)
    two = measure(lambda lines, seeds: text_to_image(one.decoder, lines, seeds, steps, guidance), witness, count)
    cafe = cafe_alone(one, witness, scenes(count, 2), size, steps)

    def plain(found: dict, names: tuple[str, ...]) -> dict:
        return {name: round(found[name]["value"], 3) for name in names if name in found}

    return {"samples": one.samples, "count": count, "steps": steps, "guidance": guidance, "caption": plain(base, WRITTEN),
            "two heroes": plain(two, tuple(two)), "cafe": plain(cafe, WRITTEN)}


def draw(log: Path, place: Path) -> None:
    """The log's shares over samples as an SVG: a panel each for captions, two heroes and CAFE."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    report.lines(place, {panel: {name: [(line["samples"] / 1000, line[panel][name]) for line in lines if name in line[panel]]
                               for name in dict.fromkeys(n for line in lines for n in line[panel])}
                       for panel in ("caption", "two heroes", "cafe")}, "thousand samples", 3)
