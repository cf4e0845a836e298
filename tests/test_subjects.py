"""The drawn world's subjects: inside the frame, told apart by pose and pattern, named by their colour."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from assistant.miniature.subjects import draw_subject
from assistant.miniature.world import (ACCESSORIES, COLOURS, KINDS, MIDDLES, PATTERNS, POSES, SIZES, Accessory, Individual,
                                       Scene)

ONE = Individual("cat", "teal", "yellow", "plain", "round", 5, 1.0, 1.0, 1.0, 1.0)
PX = 192


def scene(kind: str = "cat", pose: str = "standing", accessories: tuple[Accessory, ...] = (), scale: float = 0.64,
          x: float = 0.5, flip: bool = False, **individual: object) -> Scene:
    return Scene(replace(ONE, kind=kind, **individual), "beach", "day", "flat", pose, accessories, scale, x, flip, 0)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def extent(mask: Image.Image) -> tuple[int, int, int, int]:
    box = mask.getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("kind", KINDS)
def test_everything_stays_inside_and_the_mask_is_the_body(kind: str) -> None:
    for pose, held in itertools.product(POSES, (("hat", "umbrella"), ("crown", "balloon"), ("scarf", "flower"))):
        worn = tuple(Accessory(a, "red") for a in held)
        layers = draw_subject(scene(kind, pose, worn, SIZES[1], MIDDLES[1], width=1.04, height=1.03, head=1.05, part=1.1), PX)
        for image, most in ((layers.behind, 0), (layers.body, 0), (layers.front, 30)):  # the largest one's hat may touch
            alpha = pixels(image)[..., 3] > 0
            assert sum(int(edge.sum()) for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])) <= most, (pose, held)
        assert layers.mask.mode == "L" and layers.mask.size == (PX, PX)
        assert set(np.unique(pixels(layers.mask))) == {0, 255}
        assert np.array_equal(pixels(layers.mask), pixels(layers.body)[..., 3])
        bare = draw_subject(scene(kind, pose, (), 0.5), PX)
        assert bare.behind.getbbox() is None and bare.front.getbbox() is None


@pytest.mark.parametrize("kind", KINDS)
def test_poses_differ_as_they_are_named(kind: str) -> None:
    drawn = {pose: draw_subject(scene(kind, pose, scale=0.52), PX) for pose in POSES}
    box = {pose: extent(d.mask) for pose, d in drawn.items()}
    ground = 0.86 * PX
    for pose in ("standing", "leaning", "resting"):
        assert abs(box[pose][3] - ground) <= 3
    assert box["jumping"][3] < ground - 0.07 * PX
    assert drawn["jumping"].foot[1] == pytest.approx(ground)
    assert box["resting"][3] - box["resting"][1] < 0.88 * (box["standing"][3] - box["standing"][1])
    assert np.mean(pixels(drawn["leaning"].mask) != pixels(drawn["standing"].mask)) > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_coat_is_the_colour_it_is_called(kind: str) -> None:
    for colour in COLOURS:
        layers = draw_subject(scene(kind, colour=colour, second="yellow" if colour != "yellow" else "purple"), PX)
        body = pixels(layers.body)[pixels(layers.mask) == 255][:, :3]
        nearest = np.abs(body[:, None] - np.array(list(COLOURS.values()))[None]).sum(-1).argmin(1)
        counts = np.bincount(nearest, minlength=len(COLOURS))
        assert list(COLOURS)[int(counts.argmax())] == colour, (kind, colour)


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_differ_from_each_other_and_from_plain(kind: str) -> None:
    drawn = {p: pixels(draw_subject(scene(kind, pattern=p), PX).body) for p in PATTERNS}
    area = (drawn["plain"][..., 3] > 0).sum()
    for i, a in enumerate(PATTERNS):
        for b in PATTERNS[i + 1:]:
            assert (np.abs(drawn[a] - drawn[b]).sum(-1) > 60).sum() > 0.06 * area, (a, b)


def test_the_pattern_belongs_to_the_individual() -> None:
    one = draw_subject(scene("teapot", pattern="patched", scale=0.5), PX)
    again = draw_subject(scene("teapot", pattern="patched", scale=0.5, accessories=(Accessory("bow tie", "red"),)), PX)
    other = draw_subject(scene("teapot", pattern="patched", scale=0.5, layout=6), PX)
    mirrored = draw_subject(scene("teapot", pattern="patched", scale=0.5, flip=True), PX)
    assert np.array_equal(pixels(one.body), pixels(again.body))
    assert not np.array_equal(pixels(one.body), pixels(other.body))
    yellow = [np.abs(pixels(d.body)[..., :3] - COLOURS["yellow"]).sum(-1) < 40 for d in (one, mirrored)]
    assert np.mean(yellow[0] ^ yellow[1][:, ::-1]) < 0.02 < np.mean(yellow[0])


@pytest.mark.parametrize("name", ACCESSORIES)
def test_an_accessory_shows_its_colour_on_every_kind(name: str) -> None:
    for kind in KINDS:
        layers = draw_subject(scene(kind, "standing", (Accessory(name, "purple"),)), PX)
        picture = Image.new("RGB", (PX, PX), (255, 255, 255))
        for image in (layers.behind, layers.body, layers.front):
            picture.paste(image, mask=image)
        seen = (np.abs(pixels(picture) - COLOURS["purple"]).sum(-1) < 60).sum()
        assert seen > (0.0022 if name in ("sunglasses", "bow tie") else 0.005) * PX * PX, (kind, seen)


@pytest.mark.parametrize("px", (96, 384, 1024))
def test_size_is_free(px: int) -> None:
    layers = draw_subject(scene("owl"), px)
    left, top, right, bottom = extent(layers.mask)
    assert layers.body.size == (px, px) and abs((left + right) / 2 - px / 2) < 0.03 * px
    assert 0.55 * px < bottom - top < 0.75 * px
