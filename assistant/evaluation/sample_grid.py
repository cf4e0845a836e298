"""Sheets of what is drawn, seeds in order, none chosen: answers to vague requests on held-out individuals (photo, result, request and
reply), and captions with what the base model draws of them."""

import hashlib
import io
import json
import random
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..diffusion.latent_diffusion import LatentDiffusion
from ..requests import Photo, Reply, Request, Settings
from ..world.captions import attributes, read_reply
from ..world.renderer import render
from ..world.scene import Scene, sample_individual, sample_scene
from ..engine import Assistant
from ..image_io import write_png
from .test_cases import BATCH, text_to_image

WISHES = ("I want something creative for this one, can you help?", "surprise me", "make something fun of this", "something cosy, please",
          "I need a picture for a birthday card", "make it more dramatic", "something dreamy", "a poster for my kid's room")


INNER, OUTER, LINES, LEADING, FONT, QUALITY = 4, 12, 5, 12, 10, 50  # pixels, lines of text, WebP quality
CAPTION_LINES = 4
LETTER = 4.8  # pixels, on average
PAPER, INK, PALE = (255, 255, 255), (30, 30, 34), (110, 110, 118)


def photo_of(scene: Scene, size: int) -> Photo:
    """A scene drawn, as a user would hand it over."""
    return as_photo(render(scene, size).image)


def as_photo(image: Image.Image) -> Photo:
    """A picture as a user would hand it over."""
    png = write_png(image)
    return Photo(png, *image.size, hashlib.sha256(png).hexdigest())


def held_out_photo(seed: int, size: int) -> tuple[Scene, Photo]:
    """An individual that was never trained on, in a scene of its own."""
    rng = random.Random(f"sheet/{seed}")
    scene = sample_scene(rng, sample_individual(rng, held_out=True), None)
    return scene, photo_of(scene, size)


def answer(assistant: Assistant, words: str, photo: Photo, seed: int, steps: int, candidates: int = 1) -> Reply:
    """The assistant's whole reply to one request."""
    usual = assistant.info()
    settings = Settings(seed, steps, usual.sampler, usual.keep_subject, usual.follow_words, preview_every=0, candidates=candidates)
    *_, reply = assistant.respond(Request(words, photo, settings=settings), threading.Event())
    assert isinstance(reply, Reply)
    return reply


def draw_captions(base: LatentDiffusion, lines: Sequence[str], out: Path, columns: int = 8, steps: int = 20, guidance: float = 3.0) -> None:
    """Write `out`: what the base model draws of each caption, in order, none chosen, with the caption below. Seeds are their numbers."""
    size = base.unet.config.sample_size * base.factor
    height, rows = size + CAPTION_LINES * LEADING + INNER, -(-len(lines) // columns)
    sheet = Image.new("RGB", (columns * (size + OUTER) + OUTER, rows * (height + OUTER) + OUTER), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for start in range(0, len(lines), BATCH):
        part = range(start, min(len(lines), start + BATCH))
        drawn = text_to_image(base, [lines[k] for k in part], part, steps, guidance)
        for k, picture in zip(part, (drawn.movedim(1, -1) * 255).round().byte().numpy()):
            x, y = OUTER + k % columns * (size + OUTER), OUTER + k // columns * (height + OUTER)
            sheet.paste(Image.fromarray(picture), (x, y))
            for i, line in enumerate(wrapped(lines[k], size, CAPTION_LINES)):
                pen.text((x, y + size + INNER + i * LEADING), line, PALE, font)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=QUALITY, method=6)


def draw_sheet(assistant: Assistant, count: int, out: Path, columns: int = 8, steps: int = 20) -> dict[str, float]:
    """Write `out` (a picture) and `out`.json with every request, reply and ground truth; returns how often the words were right.

    Words are right when the reply names the photo's own kind, colour or pattern; what it draws is for the eye, or the judge.
    """
    size = assistant.config.decoder.image_size
    width, height, rows = 2 * size + INNER, size + LINES * LEADING + INNER, -(-count // columns)
    sheet = Image.new("RGB", (columns * (width + OUTER) + OUTER, rows * (height + OUTER) + OUTER), PAPER)
    lines, right = [], {"kind": [], "colour": [], "pattern": []}
    for seed in range(count):
        scene, photo = held_out_photo(seed, size)
        wish = WISHES[seed % len(WISHES)]
        reply = answer(assistant, wish, photo, seed, steps)
        sheet.paste(_cell(photo.png, wish, reply, size, width, height),
                    (OUTER + seed % columns * (width + OUTER), OUTER + seed // columns * (height + OUTER)))
        said, truth = read_reply(reply.text), attributes(scene)
        for name, hits in right.items():
            hits.append(said.get(name) == truth.get(name))
        lines.append({"seed": seed, "wish": wish, "reply": reply.text, "drew": reply.png is not None, "photo": _plain(truth), "said": _plain(said)})
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=QUALITY, method=6)
    written = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)  # a cell a line
    out.with_suffix(".json").write_text(f"[\n{written}\n]\n", encoding="utf-8")
    return {**{k: float(np.mean(v)) for k, v in right.items()}, "drew": float(np.mean([line["drew"] for line in lines]))}


def _cell(photo: bytes, wish: str, reply: Reply, size: int, width: int, height: int) -> Image.Image:
    """Photo and answer side by side, the request and the reply below."""
    cell = Image.new("RGB", (width, height), PAPER)
    cell.paste(Image.open(io.BytesIO(photo)), (0, 0))
    if reply.png:
        cell.paste(Image.open(io.BytesIO(reply.png)), (size + INNER, 0))
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(FONT)
    for k, (line, ink) in enumerate([(wish, INK), *((line, PALE) for line in wrapped(reply.text, width, LINES - 1))]):
        pen.text((0, size + INNER + k * LEADING), line, ink, font)
    return cell


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """`text` in at most so many lines of about `width` pixels; what is left over ends in an ellipsis."""
    return textwrap.wrap(text, int(width / LETTER), max_lines=lines, placeholder="…")


def _plain(values: dict) -> dict:
    return {k: [list(a) for a in v] if k == "accessories" else v for k, v in values.items()}
