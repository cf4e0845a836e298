"""Photos that the miniature cannot read: they are told from drawings, and never given a name."""

import io
import threading
from dataclasses import replace
from pathlib import Path

import gradio
import pytest
import torch
from PIL import Image

from assistant.errors import ConfigError
from assistant.requests import Request, Settings
from assistant.world.renderer import render
from assistant.models.vision_encoders import OutOfDistribution, pad_square, pixels
from assistant.presets import MINIATURE
from assistant.session.uploads import read_photo
from assistant.training.world_dataset import group
from assistant.training.classifiers import _regress, fit_ood

PHOTOS = sorted((Path(gradio.__file__).parent / "media_assets/images").glob("*.jp*g"))  # none of them was fitted


def unfamiliar(assistant, picture: Image.Image) -> bool:
    x = pad_square(pixels([picture]))
    return assistant.vision.unfamiliar(assistant.vision.patches(x), assistant.vision.semantics(x))


@pytest.mark.slow
def test_real_photos_are_told_from_drawings(assistant) -> None:
    assert len(PHOTOS) >= 4
    found = [unfamiliar(assistant, Image.open(p).convert("RGB")) for p in PHOTOS]
    assert sum(found) >= len(PHOTOS) - 1, dict(zip([p.name for p in PHOTOS], found))
    drawings = [render(s).image for g in range(34) for s in group(500_001, g, True)]
    assert sum(unfamiliar(assistant, d) for d in drawings) <= 4  # of 102
    assert not any(unfamiliar(assistant, Image.open(io.BytesIO(s.photo.png))) for s in assistant.subjects)


def test_what_is_said_of_a_photo_names_no_kind(assistant) -> None:
    photo = read_photo(PHOTOS[0].read_bytes())
    for words, draws in (("put it in the snow at night", True), ("what is this?", False)):
        *_, reply = assistant.respond(Request(words, photo, settings=Settings(seed=1, steps=2, temperature=0.0)), threading.Event())
        assert "drawings only" in reply.text and not any(kind in reply.text for kind in MINIATURE.nouns), reply.text
        assert (reply.png is not None) == draws
        if draws:
            assert reply.plan.draws and reply.plan.subject == "" and reply.plan.worn == () and "subject" not in reply.metadata["plan"]
            *_, given = assistant.respond(Request("without the night", photo, settings=Settings(seed=1, steps=2, temperature=0.0),
                                                  plan=replace(reply.plan, light="day")), threading.Event())
            assert given.png and "drawings only" in given.text and not any(kind in given.text for kind in MINIATURE.nouns), given.text
            assert "snow" in reply.plan.place and "snow" in reply.text and not any("something" in m for m in reply.missing)


def test_regression_separates_what_can_be_separated() -> None:
    generator = torch.Generator().manual_seed(0)
    inside, outside = (torch.randn(80, 3 * 2 + 4, generator=generator) + shift for shift in (0.0, 2.0))
    model = OutOfDistribution(2, 4)
    _regress(model, inside, outside)
    logits = model.linear((torch.cat([inside, outside]) - model.mean) / model.std)[:, 0]
    assert (logits[:80] < 0).float().mean() > 0.95 < (logits[80:] > 0).float().mean()


def test_photos_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There are 0 photos in"):
        fit_ood(MINIATURE, tmp_path, tmp_path)
