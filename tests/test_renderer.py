"""The drawn world's pictures: repeatable, well-formed, every context and style distinct, light true to the subject."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from assistant.miniature import world
from assistant.miniature.renderer import render
from assistant.miniature.scenery import backdrop
from assistant.miniature.styles import PAINTERS


def scene_from(seed: int, **changes) -> world.Scene:
    rng = random.Random(seed)
    scene = world.sample_scene(rng, world.sample_individual(rng), held_out=None)
    return replace(scene, **changes)


@pytest.mark.parametrize("style", world.STYLES)
def test_the_same_scene_gives_the_same_bytes(style):
    scene = scene_from(3, style=style)
    first = render(scene)
    render(scene_from(4, style=style))  # another picture between leaves no trace
    again = render(scene)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()


@pytest.mark.parametrize("size", (64, 128, 192))
@pytest.mark.parametrize("style", world.STYLES)
def test_size_and_mode(style, size):
    rendering = render(scene_from(5, style=style), size)
    assert rendering.image.size == rendering.mask.size == (size, size)
    assert (rendering.image.mode, rendering.mask.mode) == ("RGB", "L")


def test_masks_are_inside_the_frame_and_of_plausible_area():
    for seed in range(32):
        mask = np.asarray(render(scene_from(seed, style="flat")).mask) / 255
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert (border > 0).mean() < 0.03  # a tip may touch the frame, nothing is cut
        assert 0.06 < mask.mean() < 0.60
        assert ((mask > 0.05) & (mask < 0.95)).any()  # antialiased


def test_light_keeps_the_subjects_colour():
    """The mean colour inside the mask moves by at most 12 % of full scale per channel from day to sunset or night."""
    for seed in range(12):
        means = []
        for light in world.LIGHTS:
            rendering = render(scene_from(seed, style="flat", light=light, accessories=()))
            inside = np.asarray(rendering.mask) > 250
            means.append(np.asarray(rendering.image, float)[inside].mean(0) / 255)
        assert np.abs(np.stack(means[1:]) - means[0]).max() <= 0.12


@pytest.mark.parametrize("context", world.CONTEXTS)
def test_lights_are_told_apart_and_layouts_are_fresh(context):
    seen = {light: np.asarray(backdrop(scene_from(7, context=context, light=light), 64), float)
            for light in world.LIGHTS}
    assert seen["night"].mean() < 0.75 * seen["day"].mean()
    warmth = {light: (view[..., 0] - view[..., 2]).mean() for light, view in seen.items()}
    assert warmth["sunset"] > warmth["day"] + 10 and warmth["sunset"] > warmth["night"] + 20
    other = np.asarray(backdrop(replace(scene_from(7, context=context, light="day"), seed=world.BACKDROP + 1), 64), float)
    assert np.abs(other - seen["day"]).mean() > 1


def test_contexts_and_styles_all_differ():
    views = [np.asarray(backdrop(scene_from(9, context=context, light="day"), 32), float) for context in world.CONTEXTS]
    views += [np.asarray(render(scene_from(9, context="beach", style=style), 32).image, float) for style in PAINTERS]
    for i, one in enumerate(views):
        for other in views[:i]:
            assert np.abs(one - other).mean() > 6


def test_pixel_style_is_chunky_and_of_few_colours():
    image = np.asarray(render(scene_from(11, style="pixel")).image)
    blocks = image[:126, :126].reshape(42, 3, 42, 3, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert len(np.unique(image.reshape(-1, 3), axis=0)) <= 24


def test_a_tenth_is_held_out():
    rng = random.Random(0)
    everyone = [(kind, colour, second, pattern) for kind in world.KINDS for colour in world.COLOURS
                for second in world.COLOURS for pattern in world.PATTERNS]
    base = world.sample_individual(rng)
    shut = sum(world.individual_held_out(replace(base, kind=k, colour=c, second=s, pattern=p)) for k, c, s,
               p in everyone)
    assert 0.08 < shut / len(everyone) < 0.12
    scene = scene_from(0)
    places = [(k, c, s) for k in world.KINDS for c in world.CONTEXTS for s in world.STYLES]
    shut = sum(world.combination_held_out(replace(scene, individual=replace(base, kind=k), context=c, style=s)) for k,
               c, s in places)
    assert 0.07 < shut / len(places) < 0.13
    assert not world.individual_held_out(world.sample_individual(rng))
    assert world.individual_held_out(world.sample_individual(rng, held_out=True))


@pytest.mark.parametrize("pose", world.POSES)
def test_what_a_hero_wears_or_holds_neither_moves_nor_shrinks_it(pose):
    for seed in range(8):
        scene = scene_from(seed, style="flat", pose=pose, accessories=())
        things = (world.Accessory("crown", "red"), world.Accessory("umbrella", "blue"))
        bare, worn = render(scene), render(replace(scene, accessories=things))
        assert bare.mask.tobytes() == worn.mask.tobytes() and bare.image.tobytes() != worn.image.tobytes()
