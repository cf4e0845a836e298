"""The file of a concept learned by ICO: shared words [T] and what is added to keys and values; refused if it is anything else.

A kind of its own beside Infusion's, in the same library. Keys and values are kept whole, in half precision: at Stable Diffusion 2's
shapes some 50 MB. Knows no model and no library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from assistant.concepts.file import GET_ANOTHER, check_layers, check_name, write_whole
from assistant.concepts.words import Scheme
from assistant.errors import ConceptError

FORMAT, BEFORE = "ico-2", "ico-1"  # of before, what acts in a UNet alone can still be used
FILE_LIMIT = 256 * 2**20  # bytes
SIDES = ("key", "value")


@dataclass(frozen=True, eq=False)
class Tuned:
    """What was learned from a few pictures (ICO): the fine-tuned model, as its difference from the base model."""

    name: str  # as it is written in a prompt: <name>
    noun: str  # the class noun [E]
    base: str  # hash of the base model it was learned on
    shared: Tensor  # [T], (S, d_text) float32
    tuned: Mapping[str, tuple[Tensor, Tensor]]  # cross-attention layer -> (dK, dV), (heads * d, width) float32: `Seam.tuned`
    scheme: str  # how its words were put together; what stands in a prompt is its T and E
    steps: int = 0  # of training
    recipe: Mapping[str, Any] = field(default_factory=dict)  # how it was trained, as plain data
    description: str = ""
    thumbnail: bytes = b""  # PNG

    kind = "ico"


def save_tuned(path: Path, concept: Tuned) -> None:
    """Write a concept whole or not at all.

    Raises:
        ConceptError: a name that cannot be written in a prompt, or numbers that are not finite.
    """
    check_name(concept.name)
    tensors = {"shared": concept.shared}
    for layer, parts in concept.tuned.items():
        tensors |= {f"{side}.{layer}": t for side, t in zip(SIDES, parts)}
    tensors = {k: t.detach().cpu().half().contiguous() for k, t in tensors.items()}
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ConceptError(f"The concept {concept.name!r} holds numbers that are not finite.", "Learn it again at a lower rate.")
    about = {"format": FORMAT, "name": concept.name, "noun": concept.noun, "base": concept.base, "steps": concept.steps, "scheme": concept.scheme,
             "recipe": dict(concept.recipe), "description": concept.description, "layers": list(concept.tuned)}
    if concept.thumbnail:
        tensors["thumbnail"] = torch.frombuffer(bytearray(concept.thumbnail), dtype=torch.uint8)
    write_whole(path, tensors, about)


def load_tuned(path: Path, base: str | None = None, layers: Mapping[str, int] | None = None) -> Tuned:
    """Read a concept and check everything that can be checked. Arguments as of `file.load_concept`.

    Raises:
        ConceptError: not such a file, learned on another base model, of another shape, or with numbers that are not finite.
    """
    name = path.name
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise ConceptError(f"The file {name} has {path.stat().st_size:,} bytes; a concept has at most {FILE_LIMIT:,}.", "Choose another file.")
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["concept"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        found = {k: about[k] for k in ("name", "noun", "base", "description", "scheme", "format")}
        if not all(isinstance(v, str) for v in found.values()):
            raise ValueError("text expected")
        names, steps, recipe = [str(layer) for layer in about["layers"]], int(about["steps"]), dict(about["recipe"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConceptError(f"The file {name} is no concept: it cannot be read as one.", "Choose a .safetensors file that this app exported.") from error
    version = found.pop("format")
    if version not in (FORMAT, BEFORE):
        raise ConceptError(f"The file {name} is a concept of another kind: {about['format']!r}.", "Update the app.")
    check_name(found["name"])
    if version == BEFORE:
        check_layers(found["name"], names)
    if base is not None and found["base"] != base:
        raise ConceptError(f"The concept {found['name']!r} was learned on another base model ({found['base'][:12]}, here it is {base[:12]}).",
                           "Learn it again here.")
    picture = tensors.pop("thumbnail", None)
    wanted = {"shared", *(f"{side}.{layer}" for layer in names for side in SIDES)}
    shared = tensors.get("shared")
    fits = set(tensors) == wanted and bool(names) and shared is not None and shared.ndim == 2 and len(shared) == Scheme(found["scheme"]).count("T")
    fits = fits and all(t.ndim == 2 for t in tensors.values()) and (layers is None or all(
        layer in layers and tensors[f"{side}.{layer}"].shape == (layers[layer], shared.shape[1]) for layer in names for side in SIDES))
    if not fits:
        raise ConceptError(f"The concept {found['name']!r} has another shape than this base model's layers.", GET_ANOTHER)
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ConceptError(f"The concept {found['name']!r} holds numbers that are not finite.", GET_ANOTHER)
    added = {layer: tuple(tensors[f"{side}.{layer}"].float() for side in SIDES) for layer in names}
    return Tuned(**found, shared=shared.float(), tuned=added, steps=steps, recipe=recipe,
                 thumbnail=picture.numpy().tobytes() if picture is not None else b"")
