"""Held-out requests answered in two halves: the words once, then pictures as often as a table needs, many at a time.

The page's own way through, request by request, is `pipeline.Assistant.respond`; this goes the same steps on a batch.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from ..conditioning import EMPTY, PATCHES, SEMANTICS, TEXT
from ..control.cafe import Cafe
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import cafe_plan, text_plan
from ..miniature.reading import attributes, read
from ..miniature.renderer import render
from ..mllm.language import LanguageModel, Spoken
from ..mllm.vision import Vision, pixels
from .cases import BATCH, SUBJECT, Case, Tally, Witness, asked_of, caption_of, cases
from .metrics import mean

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


def ask(vision: Vision, language: LanguageModel, picture_tokens: int, count: int, size: int, temperature: float = 0.4) -> Asked:
    """M's answers to the first `count` held-out requests, seeds 0 to `count` less one."""
    kept, states = [], []
    every = cases(count)
    photos = pixels([render(c.photo, size).image for c in every])
    patches = torch.cat([vision.patches(part).float() for part in photos.split(BATCH)])
    for k, case in enumerate(every):
        prompt, spoken = language.builder.build([], case.words, True, picture_tokens), Spoken()
        for _ in language.stream(prompt, patches[k:k + 1], spoken, temperature, torch.Generator("cpu").manual_seed(k), NEVER):
            pass
        if spoken.hidden is not None:
            kept.append((k, spoken.text))
            states.append(vision.at_norm(language.semantics(spoken.hidden).float()))
    at = [k for k, _ in kept]
    return Asked(tuple(every[k] for k in at), tuple(at), tuple(text for _, text in kept), photos[at], patches[at], torch.cat(states))


@torch.no_grad()
def draw(decoder: Diffusion, asked: Asked, keep_subject: float, follow_words: float, steps: int) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1], G(E(x), H(s)) at two strengths; a strength of 0 leaves its source out."""
    out, e, f = [], keep_subject > 0, follow_words > 0
    for at in torch.arange(len(asked.numbers)).split(BATCH):
        patches, semantics = asked.patches[at], asked.semantics[at]
        seam = Seam({PATCHES: patches}, {SEMANTICS: semantics}, (Cafe(decoder.semantic_values),))
        seeds = [asked.numbers[k] for k in at.tolist()]
        done = decoder.sample(cafe_plan(keep_subject, follow_words, e, f), seam, seeds, steps)
        out.append(pictures(decoder, done.latents))
    return torch.cat(out)


def text_to_image(decoder: Diffusion, lines: list[str], seeds: range, steps: int, guidance: float) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1] by the base model of captions with their seeds."""
    out = []
    for at in torch.arange(len(lines)).split(BATCH):
        seam = Seam({TEXT: decoder.encode_text([lines[k] for k in at]), EMPTY: decoder.encode_text([""])})
        out.append(pictures(decoder, decoder.sample(text_plan(guidance), seam, [seeds[k] for k in at], steps).latents))
    return torch.cat(out)


def pictures(decoder: Diffusion, latents: Tensor) -> Tensor:
    """Latents (N, C, h, w) -> (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(decoder.decode(latents)).permute(0, 3, 1, 2).float() / 255


def score(witness: Witness, asked: Asked, drawn: Tensor) -> dict[str, dict]:
    """The papers' metrics and the judge's: to the photo, to the request, to the reply."""
    photos = witness.features(asked.photos)
    lines = [caption_of(case.target, k) for case, k in zip(asked.cases, asked.numbers)]
    alike = witness.alike(witness.features(drawn), photos, lines)
    subject, request, words = Tally(), Tally(), Tally()
    for case, reply, there in zip(asked.cases, asked.replies, witness.names(drawn)):
        truth = attributes(case.target)
        subject.add(there, {k: truth[k] for k in SUBJECT if k in truth})
        request.add(there, asked_of(case.words, case.target))
        words.add(there, read(reply))
    return {**{k: mean(v) for k, v in alike.items()}, "subject": subject.overall(), **subject.shares(), "request": request.overall(),
            **request.shares(), "reply": words.overall()}
