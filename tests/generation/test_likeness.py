"""Likeness in `open`: the subject cut out by CLIPSeg and cropped, a strength that ends where adapters break; and pictures that are held back."""

import io
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor, ViTImageProcessor

import app
from assistant import loading, model_factory, presets
from assistant.deferred_engine import info_of
from assistant.engine import Assistant
from assistant.errors import UnsafeError, WeightsError
from assistant.model_factory import build, count
from assistant.models.segmentation import GREY, MARGIN, MEAN, STD, cut_out, on_grey
from assistant.models.vision_encoders import pixels
from assistant.plan import Plan
from assistant.presets import OPEN, SD15, with_safety
from assistant.requests import Mix, MixRequest, Progress, Request, Settings, Source, TrainingSpec
from assistant.session.uploads import read_photo
from tests import tiny_open as tiny

NEVER, QUICK = threading.Event(), Settings(seed=4, steps=3, preview_every=1)


def scene(ground: str, size: tuple[int, int] = (160, 90), at: tuple[int, int] = (110, 50), radius: int = 20) -> Image.Image:
    """A red disc somewhere on a ground."""
    image = Image.new("RGB", size, ground)
    ImageDraw.Draw(image).ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), "red")
    return image


def photo_of(image: Image.Image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return read_photo(out.getvalue())


def red(x: torch.Tensor) -> torch.Tensor:
    """The mask that a perfect segmenter of red discs gives."""
    return ((x[:, :1] > 0.9) & (x[:, 1:2] < 0.1)).float()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("open"))


@pytest.fixture
def engine(folder):
    image_generator = model_factory.load_drawer(tiny.CONFIG, folder)
    return Assistant(tiny.CONFIG, image_generator, "0" * 12, base=(image_generator.decoder, "base"))


def respond(engine, text="a red cat", **request):
    request.setdefault("settings", QUICK)
    return list(engine.respond(Request(text, **request), NEVER))


# the subject alone

@pytest.mark.slow
def test_the_mask_is_what_transformers_own_processor_and_model_give(folder):
    ours = model_factory.load_segmenter(folder / "clipseg")
    image = scene("green")
    processor = CLIPSegProcessor(ViTImageProcessor(size=dict(height=352, width=352), image_mean=MEAN, image_std=STD, resample=2), tiny.tokenizer())
    for words, prompts in (("a red disc", ["a red disc"]), ("", ["a person", "an animal", "an object", "a toy"])):
        given = processor(text=prompts, images=[image] * len(prompts), padding=True, return_tensors="pt")
        with torch.no_grad():
            theirs = CLIPSegForImageSegmentation.from_pretrained(folder / "clipseg").eval()(**given).logits.view(-1, 352, 352).sigmoid().amax(0)
        theirs = torch.nn.functional.interpolate(theirs[None, None], (90, 160), mode="bilinear", antialias=True)
        assert (ours.mask(pixels([image]), words) - theirs).abs().max() < 0.02 and theirs.std() > 0


@pytest.mark.parametrize("size, at", [((160, 90), (110, 50)), ((160, 90), (12, 10)), ((60, 180), (30, 150)), ((100, 100), (50, 50))], ids=("16:9", "corner", "1:3", "square"))
def test_the_subject_is_cropped_to_and_not_smeared(size, at):
    x = pixels([scene("green", size, at)])
    cut = cut_out(x, red(x))
    side = cut.shape[-1]
    assert cut.shape == (1, 3, side, side)
    found = red(cut)[0, 0]
    height, width = (int(found.any(dim).sum()) for dim in (1, 0))
    assert (height, width) == tuple(int(red(x)[0, 0].any(dim).sum()) for dim in (1, 0)), "neither squeezed nor cut"
    assert max(height, width) == pytest.approx(side / (1 + 2 * MARGIN), abs=2)
    assert torch.equal(cut[0, :, found == 0], torch.full_like(cut[0, :, found == 0], GREY)), "plain grey, beyond the photo too"
    whole = on_grey(x)
    assert whole.shape[-1] == whole.shape[-2] == max(size) and (size[0] == size[1] or float(whole[0, :, 0, 0].std()) == 0)


def test_nothing_is_cut_where_nothing_is_found_or_all_is():
    x = pixels([scene("green")])
    assert cut_out(x, torch.zeros_like(x[:, :1])) is None and cut_out(x, torch.ones_like(x[:, :1])) is None
    few = red(x)
    few[0, 0, 0, 0] = 1.0  # one pixel far away
    assert cut_out(x, few).shape == cut_out(x, red(x)).shape


def test_the_background_does_not_leak_into_what_is_drawn(engine, monkeypatch):
    grounds = [photo_of(scene(ground)) for ground in ("green", "blue")]
    drawn = [respond(engine, photo=photo, text="", like=photo_of(scene("white")))[-1].png for photo in grounds]
    monkeypatch.setattr(engine.image_generator.vision.segmenter, "mask", lambda x, words="": red(x))
    engine.features.clear()
    alone = [respond(engine, photo=photo, text="", like=photo_of(scene("white")))[-1].png for photo in grounds]
    pictures = [[np.asarray(Image.open(io.BytesIO(png))) for png in pngs] for pngs in (drawn, alone)]
    assert np.array_equal(*pictures[1]) and not np.array_equal(pictures[1][0], pictures[0][0])
    board = [list(engine.mix(MixRequest((Mix((photo,), (Source(photo_of(scene("white"))),), 1.0),), QUICK), NEVER))[-1].pictures[0].png for photo in grounds]
    assert np.array_equal(*(np.asarray(Image.open(io.BytesIO(png))) for png in board))


def test_the_plans_words_say_what_the_subject_is(engine, monkeypatch):
    asked = []
    monkeypatch.setattr(engine.image_generator.vision.segmenter, "mask", lambda x, words="": asked.append(words) or torch.zeros_like(x[:, :1]))
    respond(engine, photo=photo_of(scene("green")), plan=Plan("draw", "a red disc", "at the sea"))
    assert asked == ["a red disc", ""], "by its name, then as anything"
    respond(engine, photo=photo_of(scene("green")), plan=Plan("draw", "a red disc", "in the snow"))
    assert len(asked) == 2, "once a photo and name"


# strength, sampler, guidance

def test_keeping_the_subject_ends_where_adapters_break(engine):
    scales = []
    for keep in (1.0, 3.0, 10.0):
        prepared = engine.image_generator.prepare([engine.features.see(photo_of(scene("green")))], engine.image_generator.recall({"prompts": [["a cat", 1.0]]}),
                                                  Settings(keep_subject=keep), [0])
        scales.append(next(float(c.scale) for c in prepared.context.controls if c.name == "subject"))
    assert scales == pytest.approx([0.4, 1.2, 1.2])
    info = info_of(OPEN, "cpu", "0" * 12, ())
    assert info.keep_subject_most == pytest.approx(4.0) and info.keep_subject * OPEN.adapters.subject.unit == pytest.approx(0.6)
    assert info.sampler == "ddim" and info.steps >= 30 and OPEN.decoder.guidance_unit * info.follow_words == OPEN.decoder.guidance == 5.0
    assert info_of(SD15, "cpu", "0" * 12, ()).keep_subject_most == 10.0


# pictures that are held back

@pytest.fixture
def loaded(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "open", tiny.CONFIG)
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.slow
def test_a_picture_that_is_unsafe_is_a_sentence_and_never_shown(loaded):
    plain = loading.load("open", "cpu", folder=loaded)
    tiny.safety_checker(loaded / "safety_checker", threshold=-2.0)
    (loaded / "manifest.json").unlink()
    strict = loading.load("open", "cpu", folder=loaded, safety=True)
    events, photo = [], photo_of(scene("green"))
    with pytest.raises(UnsafeError, match="safety checker holds this picture back.*other words"):
        for event in strict.respond(Request("a red cat", photo=photo, settings=QUICK), NEVER):
            events.append(event)
    assert [e.preview for e in events if isinstance(e, Progress)] == [None] * 3
    assert any(e.preview for e in respond(plain, photo=photo) if isinstance(e, Progress))
    mix = MixRequest(tuple(Mix((photo,), (Source(words="a blue car"),), alpha) for alpha in (0.0, 0.5)), replace(QUICK, steps=9))
    with pytest.raises(UnsafeError, match="2 of 2 pictures"):
        assert not [e for e in strict.mix(mix, NEVER) if not isinstance(e, Progress)]
    with pytest.raises(UnsafeError):
        strict.imagine("a blue car", QUICK, NEVER)
    course = strict.trainer.begin(TrainingSpec("tom", "cat", (photo, photo_of(scene("blue"))), options={"steps": 2}))
    assert course.advance() is not None and course.preview(NEVER) is None


def test_a_safe_picture_is_the_one_that_nobody_checked_and_off_needs_no_checker(loaded):
    photo = photo_of(scene("green"))
    checked = loading.load("open", "cpu", folder=loaded, safety=True)
    reply = respond(checked, photo=photo)[-1]
    shutil.rmtree(loaded / "safety_checker")
    (loaded / "manifest.json").unlink()
    assert np.array_equal(*(np.asarray(Image.open(io.BytesIO(r.png))) for r in (reply, respond(loading.load("open", "cpu", folder=loaded), photo=photo)[-1])))
    with pytest.raises(WeightsError, match="lacks safety_checker"):
        loading.load("open", "cpu", folder=loaded, safety=True)


@pytest.mark.parametrize("argv, safety", [([], False), (["--share"], True), (["--host", "0.0.0.0"], True), (["--safety", "off", "--share"], False),
                                          (["--safety", "on"], True)])
def test_it_is_on_where_others_may_reach_the_page(argv, safety, monkeypatch):
    given = []
    monkeypatch.setattr(loading, "load", lambda *args: given.append(args))
    options = app.arguments(["--preset", "open", *argv])
    app.load(options)
    assert given[0][-2] is safety


def test_the_checker_and_clipseg_are_as_large_as_published():
    made = build(with_safety(OPEN), only=("safety_checker", "clipseg"))
    assert count(made["safety_checker"]) == 303_981_588 and 0 < 608_018_440 - 2 * 303_981_588 < 100_000
    assert count(made["clipseg"]) * 4 / 2**30 == pytest.approx(OPEN.sources["clipseg"].gib, abs=0.01)
