"""The file of a concept learned by ICO: shared words [T] and what is added to keys and values; refused if it is anything else.

A kind of its own beside Infusion's, in the same library. Keys and values are kept whole, in half precision: at Stable Diffusion 2's
shapes some 50 MB. Knows no model and no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .infusion_file import GET_ANOTHER, WORDS, check_name, check_use, check_whole, read_file, write_file
from .placeholder_tokens import ContextTemplate
from ..errors import ConceptError

FORMAT, BEFORE = "ico-2", "ico-1"  # of before, what acts in a UNet alone can still be used
FILE_LIMIT = 256 * 2**20  # bytes
SIDES = ("key", "value")


@dataclass(frozen=True, eq=False)
class IcoConcept:
    """What was learned from a few pictures (ICO): the fine-tuned model, as its difference from the base model."""

    name: str  # as it is written in a prompt: <name>
    noun: str  # the class noun [E]
    base: str  # hash of the base model it was learned on
    shared: Tensor  # [T], (S, d_text) float32
    tuned: Mapping[str, tuple[Tensor, Tensor]]  # cross-attention layer -> (dK, dV), (heads * d, width) float32: `AttentionContext.tuned`
    scheme: str  # how its words were put together; what stands in a prompt is its T and E
    steps: int = 0  # of training
    recipe: Mapping[str, Any] = field(default_factory=dict)  # how it was trained, as plain data
    description: str = ""
    thumbnail: bytes = b""  # PNG

    kind = "ico"


def save_tuned(path: Path, concept: IcoConcept) -> None:
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
    write_file(path, tensors, about, concept.thumbnail)


def load_tuned(path: Path, base: str | None = None, layers: Mapping[str, int] | None = None) -> IcoConcept:
    """Read a concept and check everything that can be checked. Arguments as of `file.load_concept`.

    Raises:
        ConceptError: not such a file, learned on another base model, of another shape, or with numbers that are not finite.
    """
    def parse(about: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        if not isinstance(about["scheme"], str):
            raise ValueError("text expected")
        said = {k: about[k] for k in (*WORDS[1:], "scheme")}
        return {**said, "steps": int(about["steps"]), "recipe": dict(about["recipe"])}, [str(layer) for layer in about["layers"]]

    (found, names), version, tensors, thumbnail, whole = read_file(path, FILE_LIMIT, parse)
    if version not in (FORMAT, BEFORE):
        raise ConceptError(f"The file {path.name} is a concept of another kind: {version!r}.", "Update the app.")
    check_use(found["name"], found["base"], base, version == BEFORE, names)
    wanted = {"shared", *(f"{side}.{layer}" for layer in names for side in SIDES)}
    shared = tensors.get("shared")
    fits = set(tensors) == wanted and bool(names) and shared is not None and shared.ndim == 2 and len(shared) == ContextTemplate(found["scheme"]).count("T")
    fits = fits and all(t.ndim == 2 for t in tensors.values()) and (layers is None or all(
        layer in layers and tensors[f"{side}.{layer}"].shape == (layers[layer], shared.shape[1]) for layer in names for side in SIDES))
    if not fits:
        raise ConceptError(f"The concept {found['name']!r} has another shape than this base model's layers.", GET_ANOTHER)
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ConceptError(f"The concept {found['name']!r} holds numbers that are not finite.", GET_ANOTHER)
    check_whole(path, whole or version != FORMAT)
    added = {layer: tuple(tensors[f"{side}.{layer}"].float() for side in SIDES) for layer in names}
    return IcoConcept(**found, shared=shared.float(), tuned=added, thumbnail=thumbnail)
