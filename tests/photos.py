"""Picture files: of one held-out individual of the drawn world, of any image, and one that lies about its size."""

import io
import random
import struct
import zlib
from dataclasses import replace

from PIL import Image

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


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
