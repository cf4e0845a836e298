"""Infusion beside its baselines: one concept each from a few pictures, the papers' metrics, the judge's, both of overfitting.

Every method sees the same pictures and the same steps. What was measured is kept, a file for each method and individual, so that a command that was stopped goes
on; JSON, tables, curves and a sheet of results are made of those files alone.
"""

import json
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import report
from ..customization.concept_library import InfusionConcept, load_concept, save_concept
from ..customization.concept_training import ConceptImages, InfusionRecipe, InfusionTrainer
from ..diffusion.attention import AttentionContext
from ..diffusion.guidance import CONDITIONAL, TEXT, BatchRow
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import make_scheduler
from ..files import SHARED, write_whole
from ..models.vision_encoders import pixels
from ..presets import MINIATURE
from ..world.captions import read
from ..world.renderer import render
from ..world.scene import STAGE
from .baselines import BASELINES, LINES, draw_concepts, draw_plain, said
from .dci import Subject, subject
from .test_cases import AttributeJudge, caption_of, fisher, halves, mean, pictures, scenes, share, wasserstein

ROW = (BatchRow(CONDITIONAL, TEXT),)
INFUSION, BASE = "Infusion", "base model"
METHODS = (INFUSION, *(b.name for b in BASELINES))
SHORT, WHOLE = (100, 200), (100, 200, 400, 1000, 2000)  # steps at which all is measured
USUAL = 200  # the table's
SPREAD, OTHERS = 2, 12  # seeds of each prompt for W2; pictures for the Fisher divergence
Say = Callable[[str], None]


@dataclass(frozen=True)
class Others:
    """Pictures that nobody customized: their captions, latents (N, C, h, w), timesteps (N,), and noise."""

    lines: tuple[str, ...]
    latents: Tensor
    timesteps: Tensor
    noise: Tensor


def others(base: LatentDiffusion, count: int, size: int) -> Others:
    """Held-out drawings with their captions."""
    shown = [views[0] for views in scenes(count)]
    latents = base.encode_image((pixels([render(s, size).image for s in shown]) * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
    g = torch.Generator().manual_seed(0)
    t = torch.randint(len(make_scheduler("ddim", base.scheduler_config).alphas_cumprod), (count,), generator=g)
    return Others(tuple(caption_of(s, k) for k, s in enumerate(shown)), latents, t, torch.randn(latents.shape, generator=g))


@torch.no_grad()
def divergence(base: LatentDiffusion, custom: LatentDiffusion, on: Others) -> float:
    """Eq. 4, 1/2 E ||eps_base - eps_custom||^2 over all timesteps alike."""
    abar = make_scheduler("ddim", base.scheduler_config).alphas_cumprod
    return fisher(*(noise_predictions(m, on, abar) for m in (base, custom)))


def noise_predictions(model: LatentDiffusion, on: Others, abar: Tensor) -> Tensor:
    """The UNet's eps (N, C, h, w), whatever it is trained to predict."""
    kept = abar[on.timesteps].float().view(-1, 1, 1, 1)
    signal, spread = kept.sqrt(), (1 - kept).sqrt()
    noised = signal * on.latents + spread * on.noise
    context = AttentionContext({TEXT: model.encode_text(list(on.lines))}).begin(ROW, len(on.lines))
    out = model.unet(noised, on.timesteps, None, cross_attention_kwargs={"context": context}, return_dict=False)[0].float()
    kind = model.scheduler_config.get("prediction_type", "epsilon")
    return out if kind == "epsilon" else signal * out + spread * noised if kind == "v_prediction" else (noised - signal * out) / spread


@dataclass(frozen=True)
class Protocol:
    """Args:
        weights: which weights are measured; what was measured on others is not taken.
        run: folder of what was measured. at: steps. individuals: of Infusion, `compared`: of the baselines, and of curves and W2.
    """

    base: LatentDiffusion
    witness: AttributeJudge
    weights: str
    run: Path
    at: tuple[int, ...] = SHORT
    individuals: int = 16
    compared: int = 4
    size: int = 128
    say: Say = print

    def cells(self) -> dict[str, list[dict]]:
        """Method -> what was measured of each individual; measured now where it was not yet."""
        found: dict[str, list[dict]] = {}
        elsewhere = others(self.base, OTHERS, self.size)
        for method in (BASE, *METHODS):
            for number in range(self.individuals if method in (BASE, INFUSION) else self.compared):
                found.setdefault(method, []).append(self._cell(method, number, elsewhere))
        return found

    def _cell(self, method: str, number: int, elsewhere: Others) -> dict:
        place = self.run / f"{method.lower().replace(' ', '-')}-{number:02}.json"
        about = {"weights": f"{self.weights}, guided at every {self.base.guided_every}", "at": list(self.at) if number < self.compared else [USUAL]}
        if place.exists() and (kept := json.loads(place.read_text())) and kept["weights"] == about["weights"] and set(about["at"]) <= set(kept["at"]):
            return kept
        one = subject(number)
        made = {**about, "method": method, "individual": number, "truth": one.truth(), **self._measure(method, one, about["at"], elsewhere)}
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(made).encode(), SHARED)
        self.say(f"{method}, individual {number}")
        return made

    def _measure(self, method: str, one: Subject, at: list[int], elsewhere: Others) -> dict:
        spread = SPREAD if one.number < self.compared else 1
        before = self._plain(self.base, one, one.noun, spread) if spread > 1 else None
        if method == BASE:
            shown = before if before is not None else self._plain(self.base, one, one.noun, 1)
            again = wasserstein(before.flatten(1), self._plain(self.base, one, one.noun, spread, 500).flatten(1)) if before is not None else None
            return {"storage": 0, "steps": {"0": {**self._seen(one, shown), "w2": again, "seconds": 0.0}}}
        shown, seconds, steps = one.pictures(self.size), 0.0, {}
        clock = time.process_time()
        if method == INFUSION:
            learner: Any = InfusionTrainer(self.base, shown, one.noun, InfusionRecipe(**{**MINIATURE.decoder.recipes["infusion"], "steps": max(at)}))
            storage = 2 * sum(r.numel() for r in learner.residuals.values())
        else:
            (kind,) = (b for b in BASELINES if b.name == method)
            learner = kind(self.base, ConceptImages(self.base, self.base.encode_image(shown)), one.noun)
            storage = learner.storage()
        for stop in at:
            while learner.step_count < stop:
                learner.step()
            seconds += time.process_time() - clock
            after = self._infused(learner.residuals, one, spread) if method == INFUSION else self._plain(learner.model, one, learner.phrase, spread)
            moved = self.base if method == INFUSION else learner.model  # without a concept in it a prompt is F's: the base model's own
            steps[str(stop)] = {**self._seen(one, after), "seconds": seconds, "fisher": divergence(self.base, moved, elsewhere),
                                "w2": wasserstein(before.flatten(1), after.flatten(1)) if before is not None else None}
            clock = time.process_time()
        if method == INFUSION:
            self.run.mkdir(parents=True, exist_ok=True)  # kept beside what was measured, for the studies
            save_file({k: r.detach().clone() for k, r in learner.residuals.items()}, self.run / f"residuals-{one.number:02}.safetensors")
        return {"storage": storage, "steps": steps}

    @staticmethod
    def _seeds(one: Subject, spread: int, after: int = 0) -> list[int]:
        return [1000 * one.number + after + k for k in range(len(LINES) * spread)]

    def _plain(self, model: LatentDiffusion, one: Subject, phrase: str, spread: int, after: int = 0) -> Tensor:
        return draw_plain(model, [said(line, phrase) for line in LINES] * spread, self._seeds(one, spread, after))

    def _infused(self, residuals: dict[str, Tensor], one: Subject, spread: int) -> Tensor:
        lines = [said(line, "<it>") for line in LINES] * spread
        return draw_concepts(self.base, lines, {"it": one.noun}, {"it": residuals}, self._seeds(one, spread))

    def _seen(self, one: Subject, latents: Tensor) -> dict:
        """The first picture of each prompt, by the judge and in its embeddings."""
        return see(self.witness, one, pictures(self.base, latents[:len(LINES)]), self.size)


def see(witness: AttributeJudge, one: Subject, x: Tensor, size: int) -> dict:
    """(12, 3, H, W) of LINES in order -> name -> what was found of each that was asked for, and the three cosines' means."""
    hits: dict[str, list[bool]] = {}
    truth = one.truth()
    for line, there in zip(LINES, witness.names(x)):
        for name, value in truth.items():
            hits.setdefault(name, []).append(there[name] == value)
        asked, worn = read(said(line, one.noun)), dict(there["accessories"])
        for name in STAGE:
            if name in asked:
                hits.setdefault(f"asked {name}", []).append(there[name] == asked[name])
        for name, colour in asked.get("accessories", ()):
            hits.setdefault("asked accessory", []).append(name in worn)
            hits.setdefault("asked accessory's colour", []).append(worn.get(name) == colour)
    drawn, photos = witness.features(x), witness.features(pixels([render(s, size).image for s in one.scenes]))
    words = [said(line, one.noun) for line in LINES]
    alike = [witness.alike(drawn, photo.expand(len(drawn), -1), words) for photo in photos]
    cosines = {k: [sum(a[k][i] for a in alike) / len(alike) for i in range(len(drawn))] for k in alike[0]}
    return {"hits": hits, **cosines}


TOGETHER = (0.25, 0.35, 0.5, 0.7, 1.0)  # strengths of each of two concepts; the page's is `DecoderConfig.together`
PAIR_LINES = ("{} and {} on the beach", "{} and {} in the forest", "{} and {} in flat colours", "{} and {} at night")


def learned(protocol: Protocol, number: int) -> dict[str, Tensor]:
    """The residuals that `Protocol.cells` learned of an individual."""
    return load_file(protocol.run / f"residuals-{number:02}.safetensors")


def in_bits(residuals: Mapping[str, Tensor], bits: int) -> Mapping[str, Tensor]:
    """Residuals as a file of so many bits gives them back."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "it.safetensors"
        save_concept(place, InfusionConcept("it", "it", "study", residuals, bits=bits))
        return load_concept(place).residuals


def layers_and_bits(protocol: Protocol, count: int) -> dict[str, dict]:
    """Of `count` individuals and each variant: kind and colour by the judge, and how far latents move from the whole concept's."""
    rows: dict[str, dict] = {}
    for number in range(count):
        one, whole = subject(number), learned(protocol, number)
        seeds, lines = [1000 * number + k for k in range(len(LINES))], [said(line, "<it>") for line in LINES]
        reference: Tensor | None = None
        variants = {"all layers": whole, **{f"without {layer}": {k: r for k, r in whole.items() if k != layer} for layer in whole},
                    **{f"{bits} bits": in_bits(whole, bits) for bits in (16, 8)}}
        for name, residuals in variants.items():
            latents = draw_concepts(protocol.base, lines, {"it": one.noun}, {"it": residuals}, seeds)
            reference = latents if reference is None else reference
            row = rows.setdefault(name, {"moved": [], "hits": []})
            row["moved"] += (latents - reference).square().mean((1, 2, 3)).sqrt().tolist()
            hits = see(protocol.witness, one, pictures(protocol.base, latents), protocol.size)["hits"]
            row["hits"] += [a and b for a, b in zip(hits["kind"], hits["colour"])]
        protocol.say(f"layers and bits, individual {number}")
    return {name: {"moved": mean(row["moved"]), "kind and colour": share(row["hits"])} for name, row in rows.items()}


@torch.no_grad()
def pairs(protocol: Protocol, count: int) -> dict[str, dict]:
    """Two concepts in one prompt, 0 and 1, 2 and 3, ..., at TOGETHER: are both there, each in its own colour? The judge reads each half on its own.
    What the base model draws of the same two in words, colours named, stands beside."""
    rows: dict[str, list[bool]] = {}
    base = protocol.base
    for first in range(0, 2 * count, 2):
        both = subject(first), subject(first + 1)
        if both[0].noun == both[1].noun:
            continue
        seeds = [1000 * first + k for k in range(len(PAIR_LINES))]
        residuals = {"one": learned(protocol, first), "two": learned(protocol, first + 1)}
        lines, nouns = [line.format("a <one>", "a <two>") for line in PAIR_LINES], {"one": both[0].noun, "two": both[1].noun}
        drawn = {f"Infusion at {s:g}": draw_concepts(base, lines, nouns, residuals, seeds, strength=s) for s in TOGETHER}
        words = [f"a {s.one.colour} {s.noun}" for s in both]
        plain = draw_plain(base, [line.format(*words) for line in PAIR_LINES], seeds)
        for who, latents in {**drawn, "base model": plain}.items():
            for sides in zip(*(protocol.witness.names(half) for half in halves(pictures(base, latents)))):
                kinds = [said["kind"] == s.noun for said, s in zip(sides, both)]
                coloured = [said["colour"] == s.one.colour for said, s in zip(sides, both)]
                for name, hit in (("one of them", any(kinds)), ("both", all(kinds)), ("both in their own colours", all(kinds) and all(coloured))):
                    rows.setdefault(f"{who}: {name}", []).append(hit)
    return {name: share(hits) for name, hits in rows.items()}


COSINES = ("CLIP-T", "CLIP-I", "DINO-I")
CELL, GAP, QUALITY, ROWS = 128, 4, 44, 8  # pixels; of WebP; individuals that are shown


def summary(cells: dict[str, list[dict]]) -> dict[str, Any]:
    """Method -> step -> every measure with its 95 % interval, pictures of all individuals together."""
    out: dict[str, Any] = {}
    for method, found in cells.items():
        for step in sorted({s for cell in found for s in cell["steps"]}, key=int):
            at = [cell["steps"][step] for cell in found if step in cell["steps"]]
            hits = [cell["hits"] for cell in at]
            row: dict[str, Any] = {name: share([hit for h in hits for hit in h.get(name, ())]) for name in sorted({n for h in hits for n in h})}
            row["kind and colour"] = share([a and b for h in hits for a, b in zip(h["kind"], h["colour"])])
            row["asked"] = share([hit for h in hits for name, all_of in h.items() if name.startswith("asked") for hit in all_of])
            row |= {name: mean([v for cell in at for v in cell[name]]) for name in COSINES}
            for name in ("w2", "fisher", "seconds"):
                values = [cell[name] for cell in at if cell.get(name) is not None]
                if values:
                    row[name] = mean(values) if len(values) > 1 else {"value": values[0], "low": values[0], "high": values[0], "count": 1}
            out.setdefault(method, {})[step] = {**row, "individuals": len(at)}
        out[method]["storage"] = found[0]["storage"]
    return out


def write(protocol: Protocol, cells: dict[str, list[dict]], studies: dict[str, dict], out: Path) -> str:
    """`out`.json, `out`.md, `out`-curves.png and `out`.webp; returns the Markdown."""
    found = summary(cells)
    fair = summary({m: c[:protocol.compared] for m, c in cells.items() if protocol.compared})
    about = {"weights": protocol.weights, "guided every": protocol.base.guided_every, "individuals": protocol.individuals, "compared": protocol.compared, "prompts": len(LINES), "steps": USUAL}
    everything = {**about, "all": found, f"first {protocol.compared}": fair, **studies}
    beside = [f"All methods, {USUAL} steps; individuals x prompts: {protocol.compared} x {len(LINES)}.", "", *_table(fair), ""] if fair else []
    text = report.write(everything, [*beside, f"Infusion on {protocol.individuals} individuals beside the base model's own pictures of the noun.", "",
                      *_table({m: found[m] for m in (BASE, INFUSION)}), "", *_studies(studies),
                      "Asked: what the prompt names beside the subject (place, style, thing worn and its colour, light, pose).",
                      f"95 % intervals; seconds of one core; w2 between {len(LINES)} x {SPREAD} latents before and after, on the base model's "
                      f"row between two sets of seeds; weights {protocol.weights}."], out)
    if fair:
        curves(fair, out.with_name(f"{out.name}-curves.png"))
    sheet(protocol, out.with_suffix(".webp"))
    return text


def _show(value: dict | None) -> str:
    if value is None:
        return ""
    digits = 3 if abs(value["value"]) < 10 else 1
    half = (value["high"] - value["low"]) / 2
    return f"{value['value']:.{digits}f}" + (f" ± {half:.{digits}f}" if half == half and half > 0 else "")


def _table(rows: dict[str, Any]) -> list[str]:
    columns = ("kind", "colour", "kind and colour", "pattern", "asked", *COSINES, "w2", "fisher", "seconds")
    at = {method: found for method, steps in rows.items() if (found := steps.get(str(USUAL), steps.get("0"))) is not None}
    return report.table((*columns, "bytes"), {m: [*(_show(found.get(c)) for c in columns), f"{rows[m]['storage']:,}"] for m, found in at.items()}, "method")


def _studies(studies: dict[str, dict]) -> list[str]:
    lines: list[str] = []
    for title, rows in studies.items():
        columns = ("moved", "kind and colour") if title == "layers and bits" else ("share",)
        cells = {name: [_show(row) if columns == ("share",) else _show(row.get(c)) for c in columns] for name, row in rows.items()}
        lines += [*report.table(columns, cells, title), ""]
    return lines


def curves(rows: dict[str, Any], place: Path) -> None:
    """W2, the Fisher divergence, and the judge's subject and prompt over training steps, a panel each."""
    panels = {"2-Wasserstein distance of latents": "w2", "latent Fisher divergence": "fisher", "kind and colour right": "kind and colour",
              "what the prompt asks for right": "asked"}
    report.lines(place, {title: {m: [(int(s), found[name]["value"]) for s, found in rows[m].items() if s.isdigit() and name in found]
                               for m in METHODS if m in rows} for title, name in panels.items()}, "steps", 2, logarithmic=True)


def sheet(protocol: Protocol, place: Path) -> None:
    """The first individuals, a row each: two of its pictures, then each prompt by the base model (above) and by Infusion (below); none chosen."""
    small, line = CELL // 2 + CELL // 4, 26  # the side of a picture; the titles' height
    found: list[list[Image.Image | np.ndarray]] = []
    for number in range(min(ROWS, protocol.individuals)):
        one = subject(number)
        seeds = [1000 * number + k for k in range(len(LINES))]
        with torch.no_grad():
            plain = draw_plain(protocol.base, [said(q, one.noun) for q in LINES], seeds)
            own = draw_concepts(protocol.base, [said(q, "<it>") for q in LINES], {"it": one.noun}, {"it": learned(protocol, number)}, seeds)
        for k, latents in enumerate((plain, own)):
            found.append([render(one.scenes[k], CELL).image, *protocol.base.decode(latents)])
    whole = report.sheet(found, small, GAP, line)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(9)
    for c, words in enumerate(LINES, 1):
        pen.text((c * (small + GAP) + GAP, 2), textwrap.fill(words.replace("{}", "…"), 20), (30, 30, 34), font)
    whole.save(place, quality=QUALITY, method=6)
