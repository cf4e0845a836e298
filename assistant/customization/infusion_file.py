"""The concept file: one safetensors file that says what it is, and is refused if it is anything else.

All layers' residuals lie in one tensor, so that a concept of kilobytes is not mostly names. Knows no model and no library.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import ConceptError
from ..files import not_weights, write_whole

FORMAT, BEFORE = "infusion-2", "infusion-1"  # of before, what acts in a UNet alone can still be used
UNET = ("down_blocks.", "mid_block.", "up_blocks.")  # how the names of a UNet's layers begin
NAME_LENGTH = 40
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # no file may be called so there, whatever its extension
FILE_LIMIT = 4 * 2**20  # bytes; far above any real one
WORDS = ("format", "name", "noun", "base", "description")  # what every concept file says of itself in text
GET_ANOTHER = "Export it again from where it was learned."


@dataclass(frozen=True, eq=False)
class InfusionConcept:
    """What was learned from a few pictures (Infusion, eq. 7)."""

    name: str  # as it is written in a prompt: <name>
    noun: str  # the class noun it stands on
    base: str  # hash of the base model it was learned on
    residuals: Mapping[str, torch.Tensor]  # cross-attention layer -> (r, heads * d) float32; a layer may be left out
    steps: int = 0  # of training
    recipe: Mapping[str, Any] = field(default_factory=dict)  # how it was trained, as plain data
    description: str = ""
    thumbnail: bytes = b""  # PNG
    bits: int = 16  # how its file keeps the residuals: 16, or 8 with one scale for each layer's each residual

    kind = "infusion"


def residual_bytes(path: Path) -> int:
    """Bytes of a file's residuals alone, without metadata and thumbnail."""
    with safe_open(path, "pt") as file:
        return sum(file.get_tensor(k).nbytes for k in ("residuals", "scales") if k in file.keys())


def save_concept(path: Path, concept: InfusionConcept) -> None:
    """Write a concept whole or not at all.

    Raises:
        ConceptError: a name that cannot be written in a prompt, no residuals, or numbers that are not finite.
    """
    check_name(concept.name)
    flat = {layer: t.detach().float().cpu() for layer, t in concept.residuals.items()}
    counts = {t.shape[0] for t in flat.values() if t.ndim == 2}
    if len(counts) != 1 or any(t.ndim != 2 for t in flat.values()):
        raise ConceptError("A concept needs residuals (r, width), as many for every layer.", "Learn it first.")
    if not all(bool(t.isfinite().all()) for t in flat.values()):
        raise ConceptError(f"The concept {concept.name!r} holds numbers that are not finite.", "Learn it again at a lower rate.")
    about = {"format": FORMAT, "name": concept.name, "noun": concept.noun, "base": concept.base, "steps": concept.steps,
             "recipe": dict(concept.recipe), "description": concept.description, "residuals": counts.pop(), "bits": concept.bits,
             "layers": {layer: t.shape[1] for layer, t in flat.items()}}
    tensors: dict[str, torch.Tensor] = {}
    if concept.bits == 16:
        tensors["residuals"] = torch.cat([t.flatten() for t in flat.values()]).half()
    else:
        scales = torch.cat([t.abs().amax(1) for t in flat.values()]).clamp_min(1e-12).half().float() / 127
        rows = [row for t in flat.values() for row in t]
        tensors["residuals"] = torch.cat([(row / s).round().clamp(-127, 127) for row, s in zip(rows, scales)]).to(torch.int8)
        tensors["scales"] = (scales * 127).half()
    write_file(path, tensors, about, concept.thumbnail)


def write_file(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any], thumbnail: bytes) -> None:
    """Write a concept file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**tensors, **({"thumbnail": torch.frombuffer(bytearray(thumbnail), dtype=torch.uint8)} if thumbnail else {})}
    write_whole(path, save(whole, {"concept": json.dumps({**about, "sha256": _digest(about, whole)}, ensure_ascii=False)}))


def _digest(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of all that a file holds."""
    found = hashlib.sha256(json.dumps({k: v for k, v in about.items() if k != "sha256"}, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


Parsed = TypeVar("Parsed")


def read_file(path: Path, limit: int, parse: Callable[[dict[str, Any]], Parsed]) -> tuple[Parsed, str, dict[str, torch.Tensor], bytes, bool]:
    """What `parse` makes of what a concept file says of itself, its format, its tensors, its thumbnail, and whether it is as it was written.

    Raises:
        ConceptError: it is too large, or cannot be read as a concept; what `parse` raises counts as that.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["concept"])
            if path.stat().st_size > limit:
                raise _too_large(path, limit)
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        if not all(isinstance(about[name], str) for name in WORDS) or not 0 <= int(about["steps"]) < 10**9:
            raise ValueError("text expected, and a number of steps")
        parsed = parse(about)
        whole = _digest(about, tensors) == about.get("sha256", _digest(about, tensors))  # older files have none
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        said = foreign(path)
        if said == UNKNOWN and path.exists() and path.stat().st_size > limit:
            raise _too_large(path, limit) from error
        raise ConceptError(f"The file {path.name} is no concept: it {said}.", "Choose a .safetensors file that this app exported.") from error
    picture = tensors.pop("thumbnail", None)
    return parsed, about["format"], tensors, picture.numpy().tobytes() if picture is not None else b"", whole


def _too_large(path: Path, limit: int) -> ConceptError:
    return ConceptError(f"The file {path.name} has {path.stat().st_size:,} bytes; a concept has at most {limit:,}.", "Choose another file.")


UNKNOWN = "cannot be read as one"


def check_whole(path: Path, whole: bool) -> None:
    """Raises ConceptError: the file is not as it was written."""
    if not whole:
        raise ConceptError(f"The file {path.name} is damaged: its checksum is not the one that it was written with.", GET_ANOTHER)


def foreign(path: Path) -> str:
    """What a file that is no concept of ours is, as the rest of a sentence. Of tensors only the names and shapes are read."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if (known := not_weights(head)) is not None:
            return known
        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    except (OSError, SafetensorError, ValueError):
        return UNKNOWN
    if any("lora" in key.lower() for key in shapes):
        return "is a LoRA, for another program; LoRAs cannot be used here"
    widths = {shape[-1] for shape in shapes.values() if len(shape) in (1, 2)}
    if {"clip_l", "clip_g"} <= shapes.keys():
        return "is a Textual Inversion for SDXL, which no preset here is"
    if len(shapes) == 1 and widths & EMBEDDINGS.keys():
        return f"is a Textual Inversion for {EMBEDDINGS[widths.pop()]}; embeddings of other programs cannot be used here, what is learned here can"
    return UNKNOWN


EMBEDDINGS = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 1280: "SDXL"}  # by the width of a text encoder


def check_use(name: str, learned_on: str, base: str | None, old: bool, layers: Iterable[str]) -> None:
    """Raises ConceptError: an impossible name, another base model, or, of an `old` format, a layer outside a UNet, which no model has any more."""
    check_name(name)
    if old and not all(layer.startswith(UNET) for layer in layers):
        raise ConceptError(f"The concept {name!r} was learned for an older model, whose pictures were not made by diffusion.",
                           "Learn it again from its photos.")
    if base is not None and learned_on != base:
        raise ConceptError(f"The concept {name!r} was learned on another base model ({learned_on[:12]}, here it is {base[:12]}).", "Learn it again here.")


def load_concept(path: Path, base: str | None = None, layers: Mapping[str, int] | None = None) -> InfusionConcept:
    """Read a concept and check everything that can be checked.

    Args:
        base: hash of the base model it will be used on; None: not compared.
        layers: that model's cross-attention layers and their widths; None: not compared.

    Raises:
        ConceptError: not a concept file, learned on another base model, of another shape, or with numbers that are not finite.
    """
    def parse(about: dict[str, Any]) -> tuple[InfusionConcept, dict[str, int], int]:
        concept = InfusionConcept(**{k: about[k] for k in WORDS if k != "format"}, residuals={}, steps=int(about["steps"]), recipe=dict(about["recipe"]), bits=about["bits"])
        return concept, {str(k): int(v) for k, v in about["layers"].items()}, int(about["residuals"])

    (concept, widths, count), version, tensors, thumbnail, whole = read_file(path, FILE_LIMIT, parse)
    if version not in (FORMAT, BEFORE) or concept.bits not in (8, 16) or count < 1:
        raise ConceptError(f"The file {path.name} is a concept of a kind that is not known here: {version!r}, {concept.bits} bits.", "Update the app.")
    check_use(concept.name, concept.base, base, version == BEFORE, widths)
    wrong = [k for k, w in widths.items() if layers is not None and layers.get(k) != w]
    total = count * sum(widths.values())
    if wrong or not widths or tensors.get("residuals") is None or tensors["residuals"].shape != (total,):
        raise ConceptError(f"The concept {concept.name!r} has another shape than this base model's layers{f': {wrong[0]}' if wrong else ''}.",
                           GET_ANOTHER)
    values = tensors["residuals"].float()
    if concept.bits == 8:
        scales = tensors.get("scales")
        if scales is None or scales.shape != (count * len(widths),):
            raise ConceptError(f"The concept {concept.name!r} lacks the scales of its residuals.", GET_ANOTHER)
        sizes = torch.tensor([w for w in widths.values() for _ in range(count)])
        values = values * (scales.float() / 127).repeat_interleave(sizes)
    if not bool(values.isfinite().all()):
        raise ConceptError(f"The concept {concept.name!r} holds numbers that are not finite.", GET_ANOTHER)
    check_whole(path, whole or version != FORMAT)
    parts = values.split([count * w for w in widths.values()])
    return replace(concept, residuals={k: part.view(count, w) for (k, w), part in zip(widths.items(), parts)}, thumbnail=thumbnail)


def check_name(name: str) -> None:
    """Names are written as <name> in prompts.

    Raises:
        ConceptError: this one cannot be.
    """
    fits = all(c in "-_\u200c\u200d" or unicodedata.category(c)[0] in "LMN" for c in name)  # vowel signs are marks, and some letters need a joiner
    if not 1 <= len(name) <= NAME_LENGTH or not fits or not any(c.isalnum() for c in name):
        raise ConceptError(f"{name[:60]!r} cannot be a concept's name: 1 to {NAME_LENGTH} letters, digits, - or _.", "Choose another name.")
    if RESERVED.fullmatch(name):
        raise ConceptError(f"{name!r} cannot be a concept's name: Windows keeps it for a device.", "Choose another name.")
