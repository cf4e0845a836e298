"""Photos of one held-out individual of the drawn world."""

import io
import random
from dataclasses import replace

from assistant.requests import Photo
from assistant.world.renderer import render
from assistant.world.scene import sample_individual, sample_scene
from assistant.session.uploads import read_photo


def photos(kind: str, count: int, seed: int = 4) -> tuple[Photo, ...]:
    """As many scenes of it, 128 pixels wide."""
    rng = random.Random(seed)
    one, found = replace(sample_individual(rng, held_out=True), kind=kind), []
    for _ in range(count):
        out = io.BytesIO()
        render(sample_scene(rng, one, None), 128).image.save(out, "PNG")
        found.append(read_photo(out.getvalue()))
    return tuple(found)
