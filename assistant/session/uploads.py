"""Turn what a person hands over into values that are safe to keep: bytes or a path into a Photo, typing into words, pictures into roles.

A file's name is never believed. The size in a picture's header is read before its pixels are, so a small file that unpacks into gigabytes costs nothing.

Of two or more pictures in one message, "this one in the style of that one": whatever stands after a word of likeness is followed, whatever is told to change is the
subject. Where the words say nothing, the first picture is the subject. The answer says what was taken for what, and the board lets it be changed.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import Image, ImageCms, ImageOps, JpegImagePlugin, features

from ..errors import MessageError, PhotoError
from ..files import without_large_extras, write_png
from ..plan import listing
from ..requests import MASKED, Photo

_ORDINALS = {"first": 0, "1st": 0, "one": 0, "1": 0, "second": 1, "2nd": 1, "two": 1, "2": 1, "third": 2, "3rd": 2, "three": 2, "3": 2,
             "fourth": 3, "4th": 3, "four": 3, "4": 3, "last": -1, "latter": -1, "former": 0, "other": 1}
_MENTION = re.compile(r"\b(?:(?:the\s+)?(first|second|third|fourth|last|latter|former|other|1st|2nd|3rd|4th)(?:\s+(?:one|picture|photo|image))?"
                      r"|(?:picture|photo|image|number)\s+(one|two|three|four|[1-4]))\b", re.IGNORECASE)
_THIS = re.compile(r"\b(this|that|these|those)\b", re.IGNORECASE)
_THIS_ONE = re.compile(r"\b(?:this|that)(?:\s+(?:one|picture|photo|image))?\b", re.IGNORECASE)
_LIKE = re.compile(r"\b(in\s+the\s+(?:style|mood|look|spirit|manner|setting|place|colou?rs)\s+of|like|as\s+in|similar\s+to|inspired\s+by|after|into|with\s+the\s+"
                   r"(?:style|look|mood|background|setting|colou?rs|light)\s+of|match(?:ing)?|from)\b", re.IGNORECASE)
_USE = re.compile(r"\b(?:use|take|apply|put)\s+(?:the\s+)?(?:style|look|mood|background|setting|colou?rs|light)\s+(?:of|from)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ImageRoles:
    """Places of the pictures, from 0."""

    subject: int
    references: tuple[int, ...]


def infer(text: str, count: int) -> ImageRoles:
    """Who is who among `count` pictures, in the order in which they were added."""
    subject, mentions = 0, _mentions(text, count)
    like = _LIKE.search(text)
    use = _USE.search(text)
    if use:  # "use the style of the first on the second"
        followed = next((place for at, place in mentions if at >= use.end()), None)
        if followed is not None:
            subject = next((place for at, place in mentions if at >= use.end() and place != followed), 0 if followed else 1)
    elif like:
        before = [place for at, place in mentions if at < like.start()]
        behind = [place for at, place in mentions if at >= like.end()]
        if before:
            subject = before[-1]
        elif behind:  # "in the style of the first": the subject is another
            subject = next((k for k in range(count) if k not in behind), 0)
    return ImageRoles(subject, tuple(k for k in range(count) if k != subject))


def numbered(text: str, roles: ImageRoles) -> str:
    """The words with every picture that they mention by its place called image 1, image 2, ..., the subject first, then what is followed, in order."""
    order = (roles.subject, *roles.references)
    places = dict(_mentions(text, len(order)))

    def called(match: re.Match) -> str:
        place = places.get(match.start())
        return match[0] if place is None else f"image {order.index(place) + 1}"

    spoken = _MENTION if any(match.start() in places for match in _MENTION.finditer(text)) else _THIS_ONE
    return spoken.sub(called, text)


def _mentions(text: str, count: int) -> list[tuple[int, int]]:
    """(position in the text, picture), in order. "this" and "that" are the pictures in their order, unless numbers are given."""
    found = []
    for match in _MENTION.finditer(text):
        place = _ORDINALS[(match.group(1) or match.group(2)).lower()]
        place = count - 1 if place == -1 else place
        if place < count:
            found.append((match.start(), place))
    if found:
        return found
    return [(match.start(), k) for k, match in enumerate(_THIS.finditer(text)) if k < count]


def sentence(roles: ImageRoles) -> str:
    """The chat's answer: what was taken for what."""
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
    others = [f"the {names[k]}" for k in roles.references]
    return (f"I took the {names[roles.subject]} picture as the subject and {listing(others)} as what it should be like. "
            "All of them lie on the mixing board, where you can swap them and say how much each counts.")


MAX_BYTES = 40 * 2**20
MAX_PIXELS = 50_000_000
MAX_DRAFT_PIXELS = 250_000_000  # of a JPEG that is decoded at a fraction of its size, as phones of 108 and 200 megapixels write it
MIN_SIDE = 8  # pixels
MAX_ASPECT = 16  # long side / short side
MAX_SIDE = 1024  # pixels, of what is kept
MAX_CHARACTERS = 4000

try:  # not among the requirements; a phone's photos are read where it is there
    import pillow_heif  # pyright: ignore[reportMissingImports]
    pillow_heif.register_heif_opener()
except ImportError:
    pillow_heif = None

_ACCEPTED = "Use a PNG, JPEG, WebP, GIF, BMP or TIFF picture."
_PHONE = "Share it as a JPEG; on an iPhone, Settings, Camera, Formats, Most Compatible takes photos that can be read everywhere."
_FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"] + (["AVIF"] if features.check("avif") else []) + (["HEIF"] if pillow_heif else [])
_WARNINGS = threading.Lock()  # `warnings.catch_warnings` changes a global
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # can make text read as something else


def read_photo(source: bytes | bytearray | str | Path) -> Photo:
    """Check a picture and normalise it: first frame, upright, 8-bit sRGB on white, at most MAX_SIDE, metadata gone.

    Args:
        source: the file's bytes, or where it lies.

    Raises:
        PhotoError: the picture cannot be read or must not be opened; the sentence names why.
    """
    data = _read_bytes(source)
    if not data:
        raise PhotoError("This file is empty (0 bytes).", "Choose the picture again.")
    with _open(data) as image:
        drafted = image.format == "JPEG" and not image.info.get("progressive")  # one that is progressive is held whole, at any size
        _check_size(*image.size, MAX_DRAFT_PIXELS if drafted else MAX_PIXELS)
        if image.format == "JPEG":
            image.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))  # decodes a large photo at a fraction of the memory
        try:
            picture = _to_srgb(_upright(image))
        except Exception as error:  # decoders raise whatever a damaged byte leads them to
            raise PhotoError(
                f"This {image.format} picture is damaged or cut short and cannot be read to its end.",
                "Export or download it again.") from error
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return _to_photo(picture)


def read_mask(source: bytes | str | Path, photo: Photo) -> bytes:
    """What a person painted over a photo, white on black, as `Photo.mask`: a PNG of the photo's shape, at any scale.

    Raises:
        PhotoError: it is no PNG, has another shape, or shows no subject or nothing but it.
    """
    try:
        with Image.open(io.BytesIO(_read_bytes(source)), formats=["PNG"]) as image:
            (width, height), shape = image.size, f"{photo.width} x {photo.height}"
            if width * height > MAX_PIXELS or abs(height - width * photo.height / photo.width) > 1 + width / photo.width:
                raise PhotoError(f"The mask has {width} x {height} pixels; the picture has {shape}, and its mask has the same shape.", "Paint it over the whole picture.")
            mask = image.convert("L").resize((photo.width, photo.height), Image.Resampling.BILINEAR)
    except PhotoError:
        raise
    except Exception as error:  # decoders raise whatever a damaged byte leads them to
        raise PhotoError("The mask is no whole PNG picture.", "Paint it again.") from error
    share = sum(mask.histogram()[128:]) / (mask.width * mask.height)
    if not MASKED[0] <= share <= MASKED[1]:
        raise PhotoError(f"The mask covers {100 * share:.1f} % of the picture; it can cover {100 * MASKED[0]:.0f} to {100 * MASKED[1]:.0f} %.",
                         "Paint over the subject and nothing else, or take it as found.")
    return write_png(mask)


def read_text(text: str, has_photo: bool) -> str:
    """Clean a message: control characters gone, ends stripped. Empty is fine beside a photo.

    Raises:
        MessageError: empty without a photo, or longer than MAX_CHARACTERS.
    """
    text = unicodedata.normalize("NFC", (text or "").replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(c for c in text if c in "\n\t" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _BIDI))
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        raise MessageError(f"This message has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}.",
                           "Shorten it and send it again.")
    if not text and not has_photo:
        raise MessageError("There is nothing to answer yet.", "Write a few words or add a picture.")
    return text


def _read_bytes(source: bytes | bytearray | str | Path) -> bytes:
    if isinstance(source, (bytes, bytearray)):
        size, data = len(source), bytes(source)
    else:
        try:
            size = Path(source).stat().st_size
            data = Path(source).read_bytes() if size <= MAX_BYTES else b""
        except OSError as error:
            raise PhotoError("The picture's file could not be opened.", "Choose the picture again.") from error
    if size > MAX_BYTES:
        raise PhotoError(f"This file has {size / 2**20:.0f} MB; the limit is {MAX_BYTES // 2**20} MB.",
                         "Save a smaller copy of the picture.")
    return data


def _open(data: bytes) -> Image.Image:
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if data.startswith(b"\xff\xd8\xff"):  # not by `Image.open`, which refuses what can be drafted; of several pictures (MPO) the first
                return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
            return Image.open(io.BytesIO(without_large_extras(data)), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_many(int(found.group(1)) if found else 2 * MAX_PIXELS) from error
    except Exception as error:  # not only UnidentifiedImageError: a header can be damaged in many ways
        sentence = _name_it(data)
        raise PhotoError(sentence, _PHONE if "HEIC" in sentence else _ACCEPTED) from error


def _check_size(width: int, height: int, most: int) -> None:
    if width * height > most:
        raise _too_many(width * height, f"{width:,} x {height:,}, ", most)
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"This picture is too small ({width} x {height} pixels); "
                         f"each side needs at least {MIN_SIDE}.", "Use a larger picture.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PhotoError(f"This picture is too narrow ({width:,} x {height:,} pixels); one side may be at most "
                         f"{MAX_ASPECT} times the other.", "Crop it around the subject.")


def _too_many(pixels: int, size: str = "", most: int = MAX_PIXELS) -> PhotoError:
    return PhotoError(f"This picture is too large ({size}{pixels / 1e6:,.{0 if pixels > 1.02 * most else 2}f} megapixels); "
                      f"the limit is {most // 10**6} megapixels.", "Save a smaller copy of it.")


def _upright(image: Image.Image) -> Image.Image:
    image.seek(0)
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block must not cost a sound picture
        return image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit RGB in sRGB, transparency laid on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        flat = Image.new("RGBA", layer.size, "white")
        flat.alpha_composite(layer)
        flat.info["icc_profile"] = image.info.get("icc_profile")
        image = flat.convert("RGB")
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            turned = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB")
            if turned is not None:
                return turned
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a profile nobody can read: take the numbers as sRGB, as browsers do
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit and float greys to L. Pillow's own conversion clips instead of scaling."""
    if image.mode != "F":
        scale, offset = 1 / 257, 0.0  # 65535 / 257 = 255
        image = image.convert("I")
    else:
        low, high = cast(tuple[float, float], image.getextrema())
        scale = 255 / (high - low) if high > low else 1.0
        offset = -low * scale
    return image.convert("F").point(lambda value: value * scale + offset).convert("L")


def _to_photo(image: Image.Image) -> Photo:
    clean = Image.new("RGB", image.size)  # a fresh image carries no profile, EXIF or text into the file
    clean.paste(image)
    png = write_png(clean)
    return Photo(png=png, width=clean.width, height=clean.height, sha256=hashlib.sha256(png).hexdigest())


def _name_it(data: bytes) -> str:
    """Say what a file that is no picture of ours is, in a sentence."""
    head = data[:4096]
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    known = (
        (b"<svg" in head.lower(), "This is an SVG drawing, not a picture made of pixels."),
        (brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
         "This is a HEIC photo, which cannot be read here."),
        (brand in (b"avif", b"avis"), "This is an AVIF picture, which cannot be read here."),
        (bool(brand), "This is a video, not a picture."),
        (head.startswith(b"%PDF"), "This is a PDF document, not a picture."),
        (head.startswith(b"PK\x03\x04"), "This is a ZIP archive or an office document, not a picture."),
        (head.startswith(b"\x1f\x8b"), "This is a compressed file, not a picture."),
        (head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")), "This is a web page, not a picture."),
        (head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")),
         "This picture is damaged or cut short and cannot be read."),
        (_is_text(head), "This is a text file, not a picture."),
    )
    return next((sentence for fits, sentence in known if fits), "This file is not a picture of a kind known here.")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut at the end of the head does not count
            return False
        text = head[:error.start].decode("utf-8")
    return bool(text) and all(c.isprintable() or c in "\r\n\t\f" for c in text)
