"""Files of learned concepts, and the library: a folder of them, named as their concepts are.

A file is one safetensors file that says what it is, and is refused if it is anything else. Of Infusion's, all layers' residuals lie in one tensor, so that a concept
of kilobytes is not mostly names. ICO's holds shared words [T] and what is added to keys and values, whole and in half precision: at Stable Diffusion 2's shapes
some 50 MB.

A name may have been learned by both methods: the second file lies in the folder ALSO, under the same name. Nothing is overwritten in place; what is deleted lies in
a bin until it is emptied.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import ConceptError, NotFoundError, StorageError
from ..files import not_weights, write_whole
from .concept_prompt import ContextTemplate

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
        return "is a Textual Inversion for SDXL; embeddings of other programs cannot be used here, what is learned here can"
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
        raise ConceptError(f"{name[:60]!r} cannot be a concept's name: one has 1 to {NAME_LENGTH} letters, digits, - or _.", "Choose another name.")
    if RESERVED.fullmatch(name):
        raise ConceptError(f"{name!r} cannot be a concept's name: Windows keeps it for a device.", "Choose another name.")


ICO_FORMAT, ICO_BEFORE = "ico-2", "ico-1"  # of before, what acts in a UNet alone can still be used
ICO_FILE_LIMIT = 704 * 2**20  # bytes; keys and values of SDXL take 650 MiB
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
    about = {"format": ICO_FORMAT, "name": concept.name, "noun": concept.noun, "base": concept.base, "steps": concept.steps, "scheme": concept.scheme,
             "recipe": dict(concept.recipe), "description": concept.description, "layers": list(concept.tuned)}
    write_file(path, tensors, about, concept.thumbnail)


def load_tuned(path: Path, base: str | None = None, layers: Mapping[str, int] | None = None) -> IcoConcept:
    """Read a concept and check everything that can be checked. Arguments as of `load_concept`.

    Raises:
        ConceptError: not such a file, learned on another base model, of another shape, or with numbers that are not finite.
    """
    def parse(about: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        if not isinstance(about["scheme"], str):
            raise ValueError("text expected")
        said = {k: about[k] for k in (*WORDS[1:], "scheme")}
        return {**said, "steps": int(about["steps"]), "recipe": dict(about["recipe"])}, [str(layer) for layer in about["layers"]]

    (found, names), version, tensors, thumbnail, whole = read_file(path, ICO_FILE_LIMIT, parse)
    if version not in (ICO_FORMAT, ICO_BEFORE):
        raise ConceptError(f"The file {path.name} is a concept of another kind: {version!r}.", "Update the app.")
    check_use(found["name"], found["base"], base, version == ICO_BEFORE, names)
    wanted = {"shared", *(f"{side}.{layer}" for layer in names for side in SIDES)}
    shared = tensors.get("shared")
    fits = set(tensors) == wanted and bool(names) and shared is not None and shared.ndim == 2 and len(shared) == ContextTemplate(found["scheme"]).count("T")
    fits = fits and shared is not None and all(t.ndim == 2 for t in tensors.values()) and (layers is None or all(
        layer in layers and tensors[f"{side}.{layer}"].shape == (layers[layer], shared.shape[1]) for layer in names for side in SIDES))
    if not fits or shared is None:
        raise ConceptError(f"The concept {found['name']!r} has another shape than this base model's layers.", GET_ANOTHER)
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ConceptError(f"The concept {found['name']!r} holds numbers that are not finite.", GET_ANOTHER)
    check_whole(path, whole or version != ICO_FORMAT)
    added = {layer: (tensors[f"{SIDES[0]}.{layer}"].float(), tensors[f"{SIDES[1]}.{layer}"].float()) for layer in names}
    return IcoConcept(**found, shared=shared.float(), tuned=added, thumbnail=thumbnail)


BIN, ALSO = "bin", "also"
DESCRIPTION_LENGTH = 500


@dataclass(frozen=True)
class Entry:
    """One file of the library; `problem` says why a concept cannot be used here, or is empty."""

    name: str
    noun: str
    description: str
    steps: int
    size: int  # bytes of the file
    thumbnail: bytes
    problem: str = ""
    kind: str = ""  # "infusion" or "ico"


class ConceptLibrary:
    """Concepts in one folder, safe for several threads.

    Args:
        folder: made if it is not there.
        base, layers: the base model's hash and cross-attention layers, which every concept is checked against.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, folder: Path, base: str, layers: Mapping[str, int]) -> None:
        self.folder, self.base, self.layers, self._lock = folder, base, dict(layers), threading.RLock()
        try:
            for part in (folder.parent, folder, folder / ALSO, folder / BIN, folder / BIN / ALSO):  # this user's only
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The folder of concepts {folder} cannot be made: {error.strerror}.", "Give another one with --data-dir.") from error

    def entries(self) -> list[Entry]:
        """All there are, by name, of both methods; a file that cannot be used is listed with its problem rather than hidden."""
        with self._lock:
            return [self._entry(path) for path in sorted(self._files(), key=lambda p: p.stem.lower())]

    def names(self) -> list[str]:
        """The names alone, of all there are; no file is read."""
        with self._lock:
            return list({(stem := unicodedata.normalize("NFC", path.stem)).lower(): stem for path in self._files()}.values())

    def nouns(self) -> dict[str, str]:
        """Name -> class noun of every concept that can be used, as `concept_prompt.write` wants it."""
        return {e.name: e.noun for e in self.entries() if not e.problem}

    def get(self, name: str, kind: str = "") -> AnyConcept:
        """The concept of that name, without regard to case: of a kind if it has been learned so, else as it has been.

        Raises:
            NotFoundError: there is none. ConceptError: it cannot be used here.
        """
        with self._lock:
            return load_any(self.file(name, kind), self.base, self.layers)

    def add(self, concept: AnyConcept) -> None:
        """Raises ConceptError for a name that is taken, or a concept that cannot be saved."""
        with self._lock:
            self.check_free(concept.name)
            self.replace(concept)

    def replace(self, concept: AnyConcept) -> None:
        """Put a concept in the place of the one of its name and kind, if there is one: the file changes whole or not at all."""
        with self._lock:
            found = self._files(concept.name)
            same = [path for path in found if kind_of(path) == concept.kind]
            second = bool(found) and found[0].parent == self.folder
            save_any(same[0] if same else (self.folder / ALSO if second else self.folder) / f"{concept.name}.safetensors", concept)

    def rename(self, name: str, to: str) -> None:
        with self._lock:
            paths = self._paths(name)
            concepts = [load_any(path, self.base, self.layers) for path in paths]
            if not same_name(to, name):
                self.check_free(to)
            for path, concept in zip(paths, concepts):
                save_any(path.with_name(f"{to}.safetensors"), replace(concept, name=to))
                if not path.samefile(path.with_name(f"{to}.safetensors")):  # a file system may not tell <Cup> from <cup>
                    path.unlink()

    def describe(self, name: str, description: str) -> None:
        """Raises ConceptError for a description over the limit."""
        if len(description) > DESCRIPTION_LENGTH:
            raise ConceptError(f"The description has {len(description)} characters; at most {DESCRIPTION_LENGTH} are kept.", "Shorten it.")
        with self._lock:
            for path in self._paths(name):
                save_any(path, replace(load_any(path, self.base, self.layers), description=description))

    def duplicate(self, name: str) -> str:
        """A copy under the next free name, which is returned."""
        with self._lock:
            paths = self._paths(name)
            fresh = self._next(paths[0].stem)
            for path in paths:
                save_any(path.with_name(f"{fresh}.safetensors"), replace(load_any(path, self.base, self.layers), name=fresh))
            return fresh

    def delete(self, name: str) -> None:
        """Into the bin; `restore` brings it back. What was in the bin under that name is gone."""
        with self._lock:
            paths = self._paths(name)
            for old in self._files(name, self.folder / BIN):
                old.unlink()
            for path in paths:
                os.replace(path, self.folder / BIN / path.relative_to(self.folder))

    def restore(self, name: str) -> str:
        """Bring back what was deleted, under the next free name if its own has been taken since; returns that name.

        Raises:
            NotFoundError: nothing of that name lies in the bin.
        """
        with self._lock:
            paths = self._files(name, self.folder / BIN)
            if not paths:
                raise NotFoundError(f"There is no deleted concept <{name}>.", "Import it from a file.")
            stem = paths[0].stem
            fresh = self._next(stem) if self._files(stem) else stem
            for path in paths:
                to = (self.folder / path.relative_to(self.folder / BIN)).with_name(f"{fresh}.safetensors")
                if fresh == stem:
                    os.replace(path, to)
                else:
                    save_any(to, replace(load_any(path, self.base, self.layers), name=fresh))
                    path.unlink()
            return fresh

    def take_in(self, file: Path) -> str:
        """Import a concept file; returns its name: its own, where that is free or stands for the same noun learned by the other method, else the next free one.

        Raises:
            ConceptError: it is no concept, or was learned on another base model.
        """
        with self._lock:
            concept = load_any(file, self.base, self.layers)
            concept = replace(concept, name=unicodedata.normalize("NFC", concept.name))
            there = [self._entry(path) for path in self._files(concept.name)]
            fits = not there or (len(there) == 1 and there[0].noun == concept.noun and there[0].kind != concept.kind)
            name = (there[0].name if there else concept.name) if fits else self._next(concept.name)
            self.replace(replace(concept, name=name))
            return name

    def file(self, name: str, kind: str = "") -> Path:
        """The file of a concept, to be copied out: see `get`."""
        with self._lock:
            paths = self._paths(name)
            return next((path for path in paths if kind and kind_of(path) == kind), paths[0])

    def _entry(self, path: Path) -> Entry:
        size = path.stat().st_size
        try:
            c = load_any(path, self.base, self.layers)
        except ConceptError as error:
            return Entry(path.stem, "", "", 0, size, b"", str(error))
        return Entry(c.name, c.noun, c.description, c.steps, size, c.thumbnail, kind=c.kind)

    def _files(self, name: str | None = None, folder: Path | None = None) -> list[Path]:
        """Of a name without regard to case, or all."""
        folder = folder or self.folder
        return [p for part in (folder, folder / ALSO) for p in part.glob("*.safetensors") if name is None or same_name(p.stem, name)]

    def _paths(self, name: str) -> list[Path]:
        found = self._files(name)
        if not found:
            raise NotFoundError(f"There is no concept <{name}>.", "Look in the list of concepts.")
        return found

    def check_free(self, name: str, kind: str = "") -> None:
        """Raises ConceptError: a name that cannot be written in a message, or that is taken: learned at all, or, if one is given, as a kind."""
        check_name(name)
        found = self._files(name)
        if any(not kind or kind_of(path) == kind for path in found):
            raise ConceptError(f"There is a concept <{name}> already.", "Choose another name, or delete that one first.")

    def _next(self, name: str) -> str:
        stem, number = re.sub(r"-\d+$", "", name), 2
        while self._files(fresh := f"{stem[:NAME_LENGTH - 1 - len(str(number))]}-{number}"):
            number += 1
        return fresh


def same_name(one: str, other: str) -> bool:
    """Without regard to case, and to how letters with marks are put together."""
    return unicodedata.normalize("NFC", one).lower() == unicodedata.normalize("NFC", other).lower()


AnyConcept = InfusionConcept | IcoConcept


def save_any(path: Path, concept: AnyConcept) -> None:
    """Raises ConceptError for one that cannot be saved."""
    save_tuned(path, concept) if isinstance(concept, IcoConcept) else save_concept(path, concept)


def load_any(path: Path, base: str, layers: Mapping[str, int]) -> AnyConcept:
    """Raises ConceptError: no concept of any kind, or one that cannot be used here."""
    return (load_tuned if kind_of(path) == IcoConcept.kind else load_concept)(path, base, layers)


def kind_of(path: Path) -> str:
    """"infusion" or "ico", as the file says; "" if it says nothing: then whoever loads it says what is wrong."""
    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})["concept"])["format"]).partition("-")[0]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return ""
