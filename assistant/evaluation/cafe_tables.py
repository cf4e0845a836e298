"""CAFE's tables in miniature: 3 (data), 4 (MSE against cosine), 6 (F only, E only, both), the guidance surface, and alpha (eq. 4).

Every variant goes on from the weights that ship, sees as many samples, and answers the same held-out requests. What was trained is kept in the table's folder, so
that a command that was stopped goes on.

Table 3 trains the same decoder on D1 (filtered automatically), D2 (by people), D3 (SID's own) and D4 = D1 + D3. "People" are the drawn world's ground truth: what
the method took the photo's subject for, and, where there is a judge, what it sees in the target. It is measured on individuals that were never trained on, with
instructions that M reads (H(s)), by any `Embedder`; only the decoder differs between rows, E, F and M are the same.

For alpha, held-out subjects x are drawn towards held-out pictures w, alpha from 0 to 1, and named by the judge. Pairs are made by seed, none is chosen: x and w
differ in kind, colour, place and style, so that whatever is found in a picture came from one of the two. Every pair is drawn at every alpha in one batch and from
one seed, by the same way through as the page's; once with the subject kept as the page keeps it, and once with E nearly silent, where F has to carry the subject too.
"""

import io
import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .. import report
from ..requests import Mix, MixReply, MixRequest, Settings, Source, strip
from ..checkpoints import load_cafe, load_tensors
from ..config import AssistantConfig
from ..data import quadruplets
from ..data.quadruplets import Wanted, drawn_wish
from ..data.shards import Quadruplet, samples_of
from ..diffusion.latent_diffusion import LatentDiffusion
from ..engine import Assistant
from ..files import SHARED, write_whole
from ..generation.base import ImageFeatures
from ..models.mllm import Bridge, MultimodalLLM
from ..models.vision_encoders import pixels
from ..report import interval, over_strips, spread, table
from ..training.datasets import WorldDialogues, WorldPairs
from ..training.loop import Options, Trainer
from ..training.mllm import ProjectorTask
from ..training.recipe import BridgeNumbers
from ..training.self_distillation import FurtherTask, Run
from ..training.world_dataset import DialogueDataset, WorldDataset
from ..world.captions import attributes
from ..world.scene import STAGE, Scene, sample_individual, sample_scene
from .overall import photo_of
from .test_cases import SUBJECT, Asked, AttributeJudge, ask, draw, mean, score, share

HELD_OUT = 53  # seed of the wishes that are measured on
BATCH = 16
ROWS = ("D1", "D2", "D3", "D4")
ABOUT = {"D1": "filtered automatically", "D2": "D1 filtered by ground truth", "D3": "SID: eq. 4, filtered automatically", "D4": "D1 + D3"}


@dataclass(frozen=True)
class Instructions:
    """What is measured on: wishes, E(x) of their photos (n, 257, d_E), and H(s) of M's answers (n, d_F)."""

    wishes: list[Wanted]
    patches: Tensor
    semantics: Tensor


def read_instructions(assistant: Assistant, count: int, place: Path) -> Instructions:
    """`count` instructions about held-out individuals, read by M; H(s) is kept in the file `place`. What M answers in words only
    is left out."""
    side, image_generator = assistant.config.decoder.image_size, assistant.image_generator
    wishes = [drawn_wish(HELD_OUT, n, side, held_out=True) for n in range(count)]
    looks = [cast(ImageFeatures, image_generator.look(pixels([w.photo for w in wishes[k:k + BATCH]]))) for k in range(0, count, BATCH)]
    patches, semantics = torch.cat([s.patches for s in looks]), torch.cat([s.semantics for s in looks])
    if not place.exists():
        states, drew, nothing = [], [], patches.new_zeros(1, assistant.config.mllm.semantic_width)
        for k, wish in enumerate(wishes):
            found = image_generator.hear(f"draw it {wish.words}", ImageFeatures(patches[k:k + 1], semantics[k:k + 1]), threading.Event())
            drew.append(found is not None)
            states.append(found if drew[-1] else nothing)
        write_whole(place, save({"semantics": torch.cat(states), "drew": torch.tensor(drew)}), SHARED)
    found = load_file(place)
    at = found["drew"].nonzero()[:, 0]
    return Instructions([wishes[k] for k in at.tolist()], patches[at], found["semantics"][at])


def people(witness: AttributeJudge | None) -> Callable[[Quadruplet], bool]:
    """Whether a person would keep a target: its method took the photo's subject for what it is, and the judge, if there is one,
    finds in the target that subject and all that was asked for."""

    def keeps(sample: Quadruplet) -> bool:
        who, asked = sample.about["photo"], sample.about["asked"]
        wanted = {k: who[k] for k in SUBJECT if k != "second" or who["pattern"] != "plain"}
        if any(sample.about["told"]["seen"][k] != v for k, v in wanted.items()):
            return False
        if witness is None:
            return True
        there = witness.names(pixels([Image.open(io.BytesIO(sample.target))]))[0]
        return all(there[k] == v for k, v in (wanted | {k: asked[k] for k in STAGE}).items())

    return keeps


@torch.no_grad()
def measure_data(run: Run, asked: Instructions, eyes: quadruplets.Embedder, weights: Path, witness: AttributeJudge | None = None) -> dict[str, list[Any]]:
    """Answers by the decoder in `weights`: of each case DINO-I, CLIP-T, and what the judge finds rightly."""
    decoder = load_cafe(run.parts.config, weights)
    out: dict[str, list[Any]] = {"dino": [], "clip": []}
    for start in range(0, len(asked.wishes), BATCH):
        wishes, patches, semantics = asked.wishes[start:start + BATCH], asked.patches[start:start + BATCH], asked.semantics[start:start + BATCH]
        made = quadruplets.draw(decoder, patches, semantics, [w.seed for w in wishes], run.sizes.steps)
        for found in quadruplets.scores(eyes, [w.photo for w in wishes], made, [w.line for w in wishes]):
            out["dino"].append(found["dino"]), out["clip"].append(found["clip"])
        for wish, there in zip(wishes, witness.names(pixels(made)) if witness else ()):
            wanted = {**{k: wish.who[k] for k in SUBJECT}, **{k: wish.asked[k] for k in STAGE}}
            if wish.who["pattern"] == "plain":
                del wanted["second"]
            for k, v in wanted.items():
                out.setdefault(k, []).append(there[k] == v)
    return out


def table3(run: Run, assistant: Assistant, eyes: quadruplets.Embedder, cases: int, seeds: int, witness: AttributeJudge | None = None) -> dict[str, Any]:
    """Data, filters, SID's round, training of every row, measures; whatever is in `run.folder` already is kept."""
    sizes, place = run.sizes, run.folder
    d1 = run.first_data()
    chosen = place / "d2.json"
    if not chosen.exists():
        started, keeps = time.monotonic(), people(witness)
        keys = [s.key for s in samples_of(d1) if keeps(s)]
        write_whole(chosen, json.dumps(sorted(keys)).encode(), SHARED)
        run.log("d2", started, kept=len(keys))
    human = set(json.loads(chosen.read_text()))
    data, start = {"D1": run.pairs(d1), "D2": run.pairs(d1, only=human.__contains__)}, run.parts.folder
    d3 = run.more_data(1, run.train("D1-0", data["D1"], start, 0, sizes.samples))
    run.plot([d1, d3])
    data |= {"D3": run.pairs(d3), "D4": run.pairs(d1, d3)}

    asked = read_instructions(assistant, cases, place / "asked.safetensors")
    found: dict[str, list[dict]] = {"start": [measure_data(run, asked, eyes, start, witness)]}
    for row in ROWS:
        trained = [run.train(f"{row}-{seed}", data[row], start, seed, sizes.samples) for seed in range(seeds)]
        found[row] = [measure_data(run, asked, eyes, weights, witness) for weights in trained]
    costs = {"D1": quadruplets.cost(d1), "D3": quadruplets.cost(d3)}
    first_only, both = costs["D1"]["seconds"] / 60, sum(c["seconds"] for c in costs.values()) / 60
    minutes = {"D1": first_only, "D2": first_only, "D3": both, "D4": both}  # D3 is made by a decoder that was trained on D1
    rows = {row: _summary(found[row], found["D1"]) for row in found}
    for row in ROWS:
        rows[row] |= {"samples": len(data[row]), "minutes of data": round(minutes[row], 1)}
    return {"rows": rows, "attempts": {k: c["attempts"] for k, c in costs.items()}, "thresholds": run.calibration()["thresholds"],
            "samples seen": sizes.samples // sizes.batch * sizes.batch, "steps": sizes.steps, "seeds": seeds, "cases": len(asked.wishes), "asked": cases,
            "people": "ground truth of what the method saw" + (", and the judge" if witness else ""), "weights": run.parts.weights}


def _summary(found: Sequence[dict[str, list]], first: Sequence[dict[str, list]]) -> dict[str, Any]:
    """Of every measure its mean over cases, each the mean of its trainings; the difference to `first` in the same cases; and the
    means of the trainings, which tell how much chance there is in training."""
    out: dict[str, Any] = {}
    for name in found[0]:
        if name in ("dino", "clip"):
            own, theirs = (torch.tensor([r[name] for r in runs], dtype=torch.float64).mean(0) for runs in (found, first))
            out[name] = {**mean(own.tolist()), "less D1": mean((own - theirs).tolist()), "trainings": [sum(r[name]) / len(r[name]) for r in found]}
        else:
            out[name] = share([hit for r in found for hit in r[name]])
    return out


def write_table3(found: dict[str, Any], out: Path) -> str:
    """`out`.json and `out`.md; returns the Markdown."""
    names = [k for k in ("kind", "colour", "pattern", "context", "style") if k in found["rows"]["D1"]]
    rows = {f"{row}: {ABOUT.get(row, 'the weights that ship')}": [
        str(values.get("samples", "")), str(values.get("minutes of data", "")), interval(values["dino"]), interval(values["clip"]),
        *(interval(values[k]["less D1"] if row != "D1" else None) for k in ("dino", "clip")), *(interval(values[k]) for k in names)]
        for row, values in found["rows"].items()}
    columns = ("samples", "minutes", "DINO-I", "CLIP-T", "DINO-I less D1", "CLIP-T less D1", *names)
    return report.write(found, [*report.table(columns, rows, "data"), "", f"{found['cases']} held-out cases, {found['seeds']} trainings of each row, each of {found['samples seen']} samples; {found['steps']} steps; 95 % intervals; "
                        f"minutes of data on one core. People: {found['people']}."], out)


ALPHAS = 11
OF_W, OF_X = ("context", "style"), ("kind", "colour")
WAYS = {"as the page draws, with x's subject in place of w's": True, "eq. 4 as it is": False}  # `DecoderConfig.swap_subject`
SHOWN = 4  # pairs whose strips are part of the picture


@dataclass(frozen=True)
class Pair:
    x: Scene
    w: Scene


def pairs(count: int) -> list[Pair]:
    """Seeds 0 to `count` less one."""
    out = []
    for seed in range(count):
        rng = random.Random(f"mixing/{seed}")
        x = sample_scene(rng, sample_individual(rng, held_out=True), None)
        while True:
            w = sample_scene(rng, sample_individual(rng, held_out=True), None)
            a, b = attributes(x), attributes(w)
            if all(a[name] != b[name] for name in (*OF_W, *OF_X)):
                out.append(Pair(x, w))
                break
    return out


def measure_mixing(assistant: Assistant, witness: AttributeJudge, count: int, steps: int, say: Callable[[str], None] = print) -> dict:
    """Share of pictures with w's place and style, with x's kind and colour, and with all of them, at every alpha and both WAYS."""
    found = {"pairs": count, "steps": steps, "weights": assistant.weights, "seeds": f"0 to {count - 1}", "curves": {}, "strips": []}
    for name, swap in WAYS.items():
        rows = []
        cast(Any, assistant.image_generator).swap_subject = swap
        for seed, pair in enumerate(pairs(count)):
            settings = Settings(seed=seed, steps=steps, preview_every=0)
            row, pictures = _row(assistant, witness, pair, settings)
            rows.append(row)
            if seed < SHOWN and not found["curves"]:
                found["strips"].append(pictures)
            if (seed + 1) % 16 == 0:
                say(f"mixing, {name}: {seed + 1} of {count} pairs")
        found["curves"][name] = _curve(rows)
    return found


def _row(assistant: Assistant, witness: AttributeJudge, pair: Pair, settings: Settings) -> tuple[list[dict], list[Image.Image]]:
    """One pair at every alpha: what is found, and x, the pictures, w."""
    size = assistant.config.decoder.image_size
    mix = Mix((photo_of(pair.x, size),), (Source(photo_of(pair.w, size)),))
    *_, reply = assistant.mix(MixRequest(strip(mix, ALPHAS), settings), threading.Event())
    assert isinstance(reply, MixReply) and mix.sources[0].photo is not None
    pictures = [Image.open(io.BytesIO(p.png)) for p in reply.pictures]
    x, w = attributes(pair.x), attributes(pair.w)
    found = [{**{name: there.get(name) == w[name] for name in OF_W}, **{name: there.get(name) == x[name] for name in OF_X},
              "subject": p.subject, "reference": p.sources[0]} for there, p in zip(witness.names(pixels(pictures)), reply.pictures)]
    return found, [Image.open(io.BytesIO(mix.subjects[0].png)), *pictures, Image.open(io.BytesIO(mix.sources[0].photo.png))]


def _curve(rows: list[list[dict]]) -> dict:
    """Pairs by alphas -> a line for every alpha, the best of them, and how monotone each column is."""
    lines = []
    for k in range(ALPHAS):
        here = [row[k] for row in rows]
        lines.append({"alpha": k / (ALPHAS - 1), **{name: share([r[name] for r in here]) for name in (*OF_W, *OF_X)},
                      "w's place and style": share([all(r[n] for n in OF_W) for r in here]),
                      "x's kind and colour": share([all(r[n] for n in OF_X) for r in here]),
                      "both": share([all(r[n] for n in (*OF_W, *OF_X)) for r in here]),
                      "DINO to x": mean([r["subject"] for r in here]), "CLIP to w": mean([r["reference"] for r in here])})
    best = max(lines, key=lambda line: line["both"]["value"])
    trends = {**dict.fromkeys((*OF_W, "CLIP to w"), True), **dict.fromkeys((*OF_X, "DINO to x"), False)}
    return {"rows": lines, "best alpha": best["alpha"], "best": best["both"],
            "change": {name: lines[-1][name]["value"] - lines[0][name]["value"] for name in trends},
            "against": {name: against(lines, name, rising) for name, rising in trends.items()}}


def against(rows: list[dict], name: str, rising: bool) -> float:
    """How far the curve ever goes back on what it had reached: 0 for a monotone one."""
    values = np.array([row[name]["value"] for row in rows]) * (1 if rising else -1)
    return float((np.maximum.accumulate(values) - values).max())


def write_mixing(found: dict, out: Path) -> str:
    """`out`.json, `out`.md and `out`.webp (the page's curves over strips); returns the Markdown."""
    strips, names = found.pop("strips"), (*OF_W, *OF_X, "w's place and style", "x's kind and colour", "both", "DINO to x", "CLIP to w")
    lines = []
    for title, curve in found["curves"].items():
        lines += [f"{title[0].upper()}{title[1:]}:", "",
                  *table(names, {f"{row['alpha']:.1f}": [spread(row[n], 2) for n in names] for row in curve["rows"]}, "alpha")]
        said = ", ".join(f"{name} {curve['change'][name]:+.2f} ({value:.2f})" for name, value in curve["against"].items())
        lines += ["", f"Both are right most often at alpha {curve['best alpha']:.1f}: {curve['best']['value']:.2f} "
                  f"({curve['best']['low']:.2f} to {curve['best']['high']:.2f}). From alpha 0 to 1, and in brackets the largest step back on the way: {said}.", ""]
    lines.append(f"{found['pairs']} held-out pairs, seeds {found['seeds']}, {found['steps']} steps, weights {found['weights']}; half widths of 95 % "
                 "intervals. Place and style are w's, kind and colour x's, as the judge names them.")
    text = report.write(found, lines, out)
    shown = next(iter(found["curves"].values()))
    series = {name: [(row["alpha"], row[name]["value"], row[name]["low"], row[name]["high"]) for row in shown["rows"]]
              for name in (*OF_W, *OF_X, "both", "DINO to x")}
    over_strips(out.with_suffix(".webp"), series, strips, shown["best alpha"], "alpha")
    return text


STRENGTH = 2.0  # of a source that is given, as the page has it
BATCHES = {"table4": 32, "table6": 64}
GRID = (0.0, 0.5, 1.0, 2.0, 4.0)  # strengths of the surface
Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What every table is made with.

    Args:
        weights: folder of the weights that variants start from.
        run: folder of the table's states; `world`, `talks`: the drawn set that variants learn from, and dialogues about it.
        requests: held-out requests that each variant answers, in `steps` of denoising. `seeds`: runs of each variant.
    """

    assistant: Assistant
    witness: AttributeJudge
    weights: Path
    run: Path
    world: WorldDataset | None
    talks: DialogueDataset | None = None
    requests: int = 256
    seeds: int = 2
    steps: int = 20

    @property
    def config(self) -> AssistantConfig:
        return self.assistant.config

    def asked(self, language: MultimodalLLM | None = None) -> Asked:
        a = self.assistant
        return ask(a.vision, language or a.language, a.config.picture_tokens, self.requests, a.config.decoder.image_size)

    def drawn(self, decoder: LatentDiffusion, asked: Asked, keep_subject: float, follow_words: float) -> Tensor:
        return draw(decoder, asked, keep_subject, follow_words, self.steps)


def table4(bench: Bench, steps: int, say: Say) -> dict:
    """V, H and the token trained by eq. 2 with MSE, and with negative cosine in its place: from V and the token that ship and a fresh H."""
    assert bench.world is not None and bench.talks is not None
    rows = {}
    for objective in ("mse", "cosine"):
        for seed in range(bench.seeds):
            place = bench.run / f"table4/{objective}-{seed}"
            torch.manual_seed(seed)  # only the fresh layers' initial weights
            task = ProjectorTask(bench.config, WorldDialogues(bench.config, bench.world, bench.talks, "cpu", bench.weights), "cpu", bench.weights, BATCHES["table4"], objective,
                              replace(BridgeNumbers(), fitted=False), warm=bench.weights / "bridge")
            for layer in task.bridge.H.modules():
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
            if not (place / "out/bridge.safetensors").exists():
                Trainer(task, place / "state", place / "out", Options(steps=steps, seed=seed)).run()
            bridge = Bridge(bench.config.mllm, bench.config.encoders.patch_width)
            load_tensors(place / "out/bridge.safetensors", bridge)
            shipped = bench.assistant.language
            asked = bench.asked(MultimodalLLM(shipped.config, shipped.llama, bridge.eval().requires_grad_(False), shipped.builder))
            drawn = bench.drawn(cast(LatentDiffusion, bench.assistant.decoder), asked, STRENGTH, STRENGTH)
            rows[f"{objective}, seed {seed}"] = score(bench.witness, asked, drawn)
            say(f"table 4: {objective}, seed {seed}")
    return {"samples each": steps * BATCHES["table4"], "rows": rows}


def table6(bench: Bench, steps: int, say: Say) -> dict:
    """The decoder gone on with by eq. 3 with F only, E only, and both, and drawn from what each was given."""
    assert bench.world is not None
    source, asked, rows = WorldPairs(bench.config, bench.world, "cpu", bench.weights), bench.asked(), {}
    for name, sources in (("F only", ("F",)), ("E only", ("E",)), ("both", ("E", "F"))):
        for seed in range(bench.seeds):
            place = bench.run / f"table6/{''.join(sources)}-{seed}"
            if not (place / "out/base/vae").exists():
                torch.manual_seed(seed)  # only the initial weights of what is thrown away afterwards
                task = FurtherTask(bench.config, bench.world, source, "cpu", bench.weights, BATCHES["table6"], sources)
                Trainer(task, place / "state", place / "out", Options(steps=steps, seed=seed, sheet=False)).run()
                shutil.copytree(bench.weights / "base/vae", place / "out/base/vae")
            decoder = load_cafe(bench.config, place / "out")
            drawn = bench.drawn(decoder, asked, STRENGTH * ("E" in sources), STRENGTH * ("F" in sources))
            rows[f"{name}, seed {seed}"] = score(bench.witness, asked, drawn)
            say(f"table 6: {name}, seed {seed}")
    return {"samples each": steps * BATCHES["table6"], "rows": rows}


def surface(bench: Bench, say: Say) -> dict:
    """What the two strengths do to the shipped weights' pictures."""
    asked, rows = bench.asked(), {}
    for keep in GRID:
        for follow in GRID:
            if keep or follow:
                rows[f"keep {keep:g}, follow {follow:g}"] = score(bench.witness, asked, bench.drawn(cast(LatentDiffusion, bench.assistant.decoder), asked, keep, follow))
        say(f"surface: keep subject {keep:g}")
    return {"rows": rows}


COLUMNS = ("DINO-I", "CLIP-I", "CLIP-T", "kind", "colour", "pattern", "context", "style", "accessory")


def make(name: str, bench: Bench, steps: int, say: Say) -> dict:
    """The table of that name, with what it cost."""
    started = time.monotonic()
    found = {"table4": lambda: table4(bench, steps, say), "table6": lambda: table6(bench, steps, say), "surface": lambda: surface(bench, say)}[name]()
    return {"table": name, "weights": bench.assistant.weights, "requests": bench.requests, "steps": bench.steps, **found,
            "minutes": round((time.monotonic() - started) / 60, 1), "threads": torch.get_num_threads()}


def write(found: dict, out: Path, columns: tuple[str, ...] = COLUMNS) -> str:
    """`out`.json and `out`.md, a row each with half the width of its 95 % intervals; returns the Markdown."""
    samples = f"{found['samples each']:,} samples each; " if "samples each" in found else ""
    return report.write(found, [*report.table(columns, {name: [report.spread(row.get(c)) for c in columns] for name, row in found["rows"].items()}), "",
                                f"{found['requests']} held-out requests; {samples}{found['steps']} steps; {found['minutes']} minutes on "
                                f"{found['threads']} threads; weights {found['weights']}."], out)
