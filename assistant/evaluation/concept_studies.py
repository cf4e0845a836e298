"""What a learned concept can do without (8 bits, single layers left out), and what two of them do in one prompt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..concepts.file import Concept, load_concept, residual_bytes, save_concept
from .asked import pictures
from .concept_cases import LINES, draw_concepts, draw_plain, said, subject
from .infusion import Protocol, see
from .metrics import mean, share
from .two_heroes import halves

PAIR_LINES = ("{} and {} on the beach", "{} and {} in the forest", "{} and {} in flat colours", "{} and {} at night")


def learned(protocol: Protocol, number: int) -> dict[str, Tensor]:
    """The residuals that `Protocol.cells` learned of an individual."""
    return load_file(protocol.run / f"residuals-{number:02}.safetensors")


def without(residuals: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Name of a variant -> residuals: whole, and each layer left out."""
    return {"all layers": dict(residuals)} | {f"without {layer}": {k: r for k, r in residuals.items() if k != layer} for layer in residuals}


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
    """Two concepts in one prompt, 0 and 1, 2 and 3, ...: are both there, each in its own colour? The judge reads each half on its own.
    What the base model draws of the same two in words, colours named, stands beside."""
    rows: dict[str, list[bool]] = {}
    base = protocol.base
    for first in range(0, 2 * count, 2):
        both = subject(first), subject(first + 1)
        if both[0].noun == both[1].noun:
            continue
        seeds = [1000 * first + k for k in range(len(PAIR_LINES))]
        residuals = {"one": learned(protocol, first), "two": learned(protocol, first + 1)}
        drawn = draw_concepts(base, [line.format("a <one>", "a <two>") for line in PAIR_LINES], {"one": both[0].noun, "two": both[1].noun},
                              residuals, seeds)
        words = [f"a {s.one.colour} {s.noun}" for s in both]
        plain = draw_plain(base, [line.format(*words) for line in PAIR_LINES], seeds)
        for who, latents in (("Infusion", drawn), ("base model", plain)):
            for sides in zip(*(protocol.witness.names(half) for half in halves(pictures(base, latents)))):
                kinds = [said["kind"] == s.noun for said, s in zip(sides, both)]
                coloured = [said["colour"] == s.one.colour for said, s in zip(sides, both)]
                for name, hit in (("one of them", any(kinds)), ("both", all(kinds)), ("both in their own colours", all(kinds) and all(coloured))):
                    rows.setdefault(f"{who}: {name}", []).append(hit)
    return {name: share(hits) for name, hits in rows.items()}
