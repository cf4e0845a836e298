"""Requests answered in batches are what the page would have answered one by one."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from assistant.evaluation.asked import ask, draw, score
from assistant.evaluation.cases import Witness, cases
from assistant.evaluation.judge import Judge, Likeness
from assistant.evaluation.sheet import answer, photo_of
from assistant.presets import MINIATURE
from assistant.weights import CHECKPOINTS, load_tokenizer

STRENGTH = 2.0  # the page's own


@pytest.fixture(scope="module")
def asked(assistant):
    return ask(assistant.vision, assistant.language, MINIATURE.picture_tokens, 3, 128)


def test_words_and_pictures_are_the_pages_own(assistant, asked) -> None:
    assert len(asked.numbers) >= 2
    drawn = draw(assistant.decoder, asked, STRENGTH, STRENGTH, 2)
    for k, number in enumerate(asked.numbers[:2]):
        case = cases(number + 1)[number]
        reply = answer(assistant, case.words, photo_of(case.photo, 128), number, 2)
        assert reply.text == asked.replies[k]
        page = np.asarray(Image.open(io.BytesIO(reply.png))).astype(int)
        ours = (drawn[k].permute(1, 2, 0) * 255).round().numpy().astype(int)
        assert np.abs(page - ours).max() <= 2  # batches add up in another order


def test_a_strength_of_nothing_leaves_a_source_out(assistant, asked) -> None:
    subject = draw(assistant.decoder, asked, STRENGTH, 0.0, 1)
    other = replace(asked, semantics=-asked.semantics)
    assert torch.equal(subject, draw(assistant.decoder, other, STRENGTH, 0.0, 1))
    assert not torch.equal(subject, draw(assistant.decoder, asked, 0.0, STRENGTH, 1))


def test_scores_are_one_of_what_was_asked_for_and_less_of_anything_else(assistant, asked) -> None:
    torch.manual_seed(0)
    witness = Witness(Judge().eval(), Likeness(MINIATURE.decoder.text).eval(), load_tokenizer(CHECKPOINTS / "miniature"))
    same = score(witness, asked, asked.photos)
    assert same["DINO-I"]["value"] == pytest.approx(1.0, abs=1e-4) and same["CLIP-I"]["value"] == pytest.approx(1.0, abs=1e-4)
    assert same["kind"]["count"] == len(asked.numbers)
    assert score(witness, asked, 1 - asked.photos)["DINO-I"]["value"] < 0.9999
