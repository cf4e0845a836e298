"""A mask that a person paints over a photo: it takes CLIPSeg's place before E, is kept beside the upload, and a redraw uses the one that was drawn with."""

import dataclasses
import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from assistant import model_factory
from assistant.engine import Assistant
from assistant.errors import NotFoundError, PhotoError
from assistant.memory.budget import Tier
from assistant.memory.oom_retry import OomRetryEngine
from assistant.requests import Reply, Request, Settings
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from assistant.session.uploads import read_mask
from tests import tiny_open as tiny
from tests.fake_engine import FakeEngine, photo_of, png_of

QUICK = Settings(seed=4, steps=3, preview_every=2)
PHOTO = photo_of(3, 96)


def mask_of(box: tuple[int, int, int, int], side: int = 96) -> bytes:
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return png_of(mask)


LEFT, RIGHT = mask_of((5, 10, 40, 80)), mask_of((50, 10, 90, 80))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Assistant(tiny.CONFIG, model_factory.load_drawer(tiny.CONFIG, tiny.write(tmp_path_factory.mktemp("open"))), "0" * 12)


def reply_of(engine, **request) -> Reply:
    return list(engine.respond(Request("a red cat", settings=QUICK, **request), threading.Event()))[-1]


# the engine

def test_a_painted_mask_changes_what_e_sees_and_only_that(engine):
    masked = dataclasses.replace(PHOTO, mask=LEFT)
    assert engine.info().masks
    whole = engine.features.known(PHOTO)
    left, right = (engine.features.alone(dataclasses.replace(PHOTO, mask=mask), whole) for mask in (LEFT, RIGHT))
    assert not torch.equal(left.patches, right.patches) and torch.equal(left.semantics, whole.semantics)
    elsewhere = np.array(Image.open(io.BytesIO(PHOTO.png)))
    elsewhere[:, 60:] = 9  # outside the mask
    other = dataclasses.replace(photo_of(3, 96), png=png_of(Image.fromarray(elsewhere)), sha256="1" * 64, mask=LEFT)
    assert torch.equal(engine.features.alone(other, engine.features.known(other)).patches, left.patches)
    first, second, unmasked = (reply_of(engine, photo=photo) for photo in (masked, dataclasses.replace(PHOTO, mask=RIGHT), PHOTO))
    assert len({first.png, second.png, unmasked.png}) == 3 and first.text == second.text == unmasked.text
    assert first.metadata["subject_mask"] == masked.mask_name and "subject_mask" not in unmasked.metadata


def test_the_mask_that_is_found_draws_as_none_does(engine, monkeypatch):
    def halves(x, words=""):
        return torch.linspace(0, 1, x.shape[-1]).expand_as(x[:, :1])

    monkeypatch.setattr(engine.image_generator.vision.segmenter, "mask", halves)
    engine.features.clear()
    found = engine.subject_mask(PHOTO, "a cat")
    left = np.asarray(Image.open(io.BytesIO(found)))
    assert left.shape == (96, 96) and left[:, 0].max() == 0 and left[:, -1].min() == 255 and 0 < left[0].mean() < 255
    seen = engine.features.known(PHOTO)
    alone, painted = (engine.features.alone(photo, seen).patches for photo in (PHOTO, dataclasses.replace(PHOTO, mask=found)))
    assert (alone - painted).abs().max() < 0.05
    assert engine.subject_mask(dataclasses.replace(PHOTO, mask=LEFT)) == LEFT
    monkeypatch.setattr(engine.image_generator.vision.segmenter, "mask", lambda x, words="": torch.zeros_like(x[:, :1]))
    assert np.asarray(Image.open(io.BytesIO(engine.subject_mask(PHOTO)))).min() == 255, "not found: all of it is drawn"


def test_a_shortage_of_memory_costs_a_tier_and_no_mask(engine, monkeypatch):
    short, whole = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")], engine.features.subject

    def subject(*given):
        if short:
            raise short.pop()
        return whole(*given)

    monkeypatch.setattr(engine.features, "subject", subject)
    home = SimpleNamespace(tier=None, lower=lambda learning=False: Tier("turns", "they take turns", turns=True))
    assert OomRetryEngine(engine, home).subject_mask(dataclasses.replace(PHOTO, mask=LEFT)) == LEFT and not short


# what is painted

def test_what_is_painted_is_read_at_any_scale():
    assert read_mask(LEFT, PHOTO) == LEFT
    twice = Image.open(io.BytesIO(read_mask(mask_of((10, 20, 81, 161), 192), PHOTO)))
    assert twice.mode == "L" and twice.size == (96, 96) and np.array_equal(np.asarray(twice) > 127, np.asarray(Image.open(io.BytesIO(LEFT))) > 127)


@pytest.mark.parametrize("painted, says", [
    (mask_of((0, 0, 9, 9), 64)[:60], "no whole PNG"), (b"GIF89a", "no whole PNG"),
    (png_of(Image.new("L", (96, 50), 255)), "has 96 x 50 pixels; the picture has 96 x 96"),
    (png_of(Image.new("L", (96, 96))), "covers 0.0 % of the picture; it can cover 1 to 90 %"),
    (png_of(Image.new("L", (96, 96), 255)), "covers 100.0 % of the picture; it can cover 1 to 90 %")], ids=["cut", "GIF", "shape", "empty", "full"])
def test_a_mask_that_cannot_be_is_told_in_a_sentence(painted, says):
    with pytest.raises(PhotoError, match=says) as told:
        read_mask(painted, PHOTO)
    assert told.value.remedy


# the session

def masks_of(engine: FakeEngine) -> list[bytes | None]:
    """Of the subject of each request."""
    subjects = [request.photo or next(turn.photo for turn in reversed(request.history) if turn.photo) for request in engine.requests]
    return [subject.mask for subject in subjects]


def answered(events) -> None:
    assert isinstance(list(events)[-1], Reply)


def test_a_mask_is_kept_over_a_restart_and_a_redraw_uses_the_one_that_was_drawn_with(tmp_path):
    engine = FakeEngine(masks=True)
    manager = SessionManager(engine, store := Store(tmp_path))
    conversation = manager.new("ann").id
    answered(manager.send(conversation, "a cat", PHOTO, QUICK, "ann"))
    first = manager.open(conversation, "ann")[1][0].id
    assert Image.open(io.BytesIO(manager.subject_mask(first, "ann").mask)).getpixel((48, 48)) == 255, "as found"
    manager.keep_mask(first, "ann", LEFT)
    answered(manager.send(conversation, "at night", None, QUICK, "ann"))
    manager.keep_mask(first, "ann", RIGHT)
    answered(manager.redraw(first, "ann", QUICK))
    second = manager.open(conversation, "ann")[1][1]
    answered(manager.redraw(second.id, "ann", QUICK))
    assert masks_of(engine) == [None, LEFT, None, LEFT]
    manager.close()
    store.close()

    engine, store = FakeEngine(masks=True), Store(tmp_path)  # its start sweeps what nobody needs
    manager = SessionManager(engine, store)
    assert not store.verify().missing and manager.subject_mask(first, "ann").mask == RIGHT
    answered(manager.redraw(second.id, "ann", QUICK))
    answered(manager.send(conversation, "by the sea", None, QUICK, "ann"))
    answered(manager.send(manager.new("ann").id, "elsewhere", PHOTO, QUICK, "ann"))
    answered(manager.send(manager.new("bob").id, "another's", PHOTO, QUICK, "bob"))
    answered(manager.send(conversation, "this one in the style of that one", PHOTO, QUICK, "ann", [photo_of(5)]))
    assert masks_of(engine) == [LEFT, RIGHT, RIGHT, None, RIGHT] and engine.requests[-1].mix.subjects[0].mask == RIGHT
    manager.keep_mask(first, "ann", None)
    answered(manager.send(conversation, "as found", None, QUICK, "ann"))
    assert masks_of(engine)[-1] is None
    for refused in (lambda: manager.keep_mask(first, "bob", LEFT), lambda: manager.subject_mask(first, "bob"),
                    lambda: SessionManager(FakeEngine(), store).subject_mask(first, "ann")):
        with pytest.raises(NotFoundError):
            refused()
    manager.close()
    store.close()


def test_a_mask_goes_with_its_photo(tmp_path, monkeypatch):
    manager = SessionManager(FakeEngine(masks=True), store := Store(tmp_path))
    conversation = manager.new("ann").id
    answered(manager.send(conversation, "a cat", PHOTO, QUICK, "ann"))
    manager.keep_mask(manager.open(conversation, "ann")[1][0].id, "ann", LEFT)
    manager.delete(conversation, "ann")
    manager.close()
    store.close()
    monkeypatch.setattr("assistant.session.store.TRASH_SECONDS", -60)
    Store(tmp_path).close()
    store = Store(tmp_path)
    assert store.mask("ann", PHOTO.sha256) is None and not store.files.names()
    store.close()
