"""What a learned concept can do without (8 bits, single layers left out), and what two of them do in one prompt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..concepts.file import Concept, load_concept, residual_bytes, save_concept
from ..decoder.text_reader import LAYER
from ..miniature.world import KINDS
from .concept_cases import LINES, draw_concepts, draw_plain, pictures_of, said, subject
from .infusion import Protocol, see
from .metrics import mean, share

PAIR_LINES = ("{} and {} on the beach", "{} and {} in the forest", "{} and {} in flat colours", "{} and {} at night")


def learned(protocol: Protocol, number: int) -> dict[str, Tensor]:
    """The residuals that `Protocol.cells` learned of an individual."""
    return load_file(protocol.run / f"residuals-{number:02}.safetensors")


def without(residuals: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Name of a variant -> residuals: whole, each layer left out, only the reader of words', only the UNet's."""
    found = {"all layers": dict(residuals)}
    if LAYER in residuals:
        found["the reader of words' alone"] = {LAYER: residuals[LAYER]}
    return found | {f"without {layer}": {k: r for k, r in residuals.items() if k != layer} for layer in residuals}


def in_bits(residuals: Mapping[str, Tensor], bits: int) -> tuple[dict[str, Tensor], int, int]:
    """Residuals as a file of so many bits gives them back, the file's bytes, and its residuals'."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "it.safetensors"
        save_concept(place, Concept("it", "it", "study", residuals, bits=bits))
        return dict(load_concept(place).residuals), place.stat().st_size, residual_bytes(place)


def layers_and_bits(protocol: Protocol, count: int) -> dict[str, dict]:
    """Of `count` individuals and each variant: kind and colour by the judge, and how far latents move from the whole concept's."""
    rows: dict[str, dict] = {}
    for number in range(count):
        one, whole = subject(number), learned(protocol, number)
        seeds, lines = [1000 * number + k for k in range(len(LINES))], [said(line, "<it>") for line in LINES]
        reference: Tensor | None = None
        variants = {**without(whole), **{f"{bits} bits": in_bits(whole, bits)[0] for bits in (16, 8)}}
        for name, residuals in variants.items():
            latents = draw_concepts(protocol.base, lines, {"it": one.noun}, {"it": residuals}, seeds) if residuals else \
                draw_plain(protocol.base, [said(line, one.noun) for line in LINES], seeds)
            reference = latents if reference is None else reference
            row = rows.setdefault(name, {"moved": [], "hits": []})
            row["moved"] += (latents - reference).square().mean((1, 2, 3)).sqrt().tolist()
            if not (name.startswith("without") and float(row["moved"][-1]) < 0.05 and LAYER not in name):  # the eye cannot tell them
                hits = see(protocol.witness, one, pictures_of(protocol.base, latents), protocol.size)["hits"]
                row["hits"] += [a and b for a, b in zip(hits["kind"], hits["colour"])]
        protocol.say(f"layers and bits, individual {number}")
    return {name: {"moved": mean(row["moved"]), **({"kind and colour": share(row["hits"])} if row["hits"] else {})} for name, row in rows.items()}


@torch.no_grad()
def pairs(protocol: Protocol, count: int) -> dict[str, dict]:
    """Two concepts in one prompt, 0 and 1, 2 and 3, ...: which of them the judge finds, and whose colour the one that is there has.

    The judge names one subject a picture. Both are counted as there where its likelihood of the second kind is at least 0.2 beside
    the first's; the base model's own words for the same two kinds are drawn beside.
    """
    rows: dict[str, list[bool]] = {}
    base, judge = protocol.base, protocol.witness.judge
    for first in range(0, 2 * count, 2):
        a, b = subject(first), subject(first + 1)
        if a.noun == b.noun:
            continue
        seeds = [1000 * first + k for k in range(len(PAIR_LINES))]
        lines = [line.format("a <one>", "a <two>") for line in PAIR_LINES]
        learned_both = {"one": learned(protocol, first), "two": learned(protocol, first + 1)}
        drawn = draw_concepts(base, lines, {"one": a.noun, "two": b.noun}, learned_both, seeds)
        plain = draw_plain(base, [line.format(f"a {a.noun}", f"a {b.noun}") for line in PAIR_LINES], seeds)
        for who, latents in (("Infusion", drawn), ("base model", plain)):
            x = pictures_of(base, latents)
            chance = judge(x)[:, :len(KINDS)].softmax(1)
            for p, there in zip(chance, protocol.witness.names(x)):
                pa, pb = float(p[KINDS.index(a.noun)]), float(p[KINDS.index(b.noun)])
                rows.setdefault(f"{who}: both", []).append(min(pa, pb) >= 0.2)
                rows.setdefault(f"{who}: one of them", []).append(there["kind"] in (a.noun, b.noun))
                if who == "Infusion" and there["kind"] in (a.noun, b.noun):
                    own, other = (a, b) if there["kind"] == a.noun else (b, a)
                    rows.setdefault("Infusion: in its own colour", []).append(there["colour"] == own.one.colour)
                    rows.setdefault("Infusion: in the other's colour", []).append(there["colour"] == other.one.colour)
    return {name: share(hits) for name, hits in rows.items()}
