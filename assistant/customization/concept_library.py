"""The library of learned concepts: a folder of concept files, named as their concepts are. Knows no model and no page.

A name may have been learned by both methods: the second file lies in the folder ALSO, under the same name. Nothing is overwritten in place; what is deleted lies in a bin until it is emptied.
"""

from __future__ import annotations

import json
import os
import re
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .infusion_file import NAME_LENGTH, InfusionConcept, check_name, load_concept, save_concept
from .ico_file import IcoConcept, load_tuned, save_tuned
from ..errors import ConceptError, NotFoundError, StorageError

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
            raise StorageError(f"The folder of concepts {folder} cannot be made: {error.strerror}.", "Choose another data directory.") from error

    def entries(self) -> list[Entry]:
        """All there are, by name, of both methods; a file that cannot be used is listed with its problem rather than hidden."""
        with self._lock:
            return [self._entry(path) for path in sorted(self._files(), key=lambda p: p.stem.lower())]

    def names(self) -> list[str]:
        """The names alone, of all there are; no file is read."""
        with self._lock:
            return list({(stem := unicodedata.normalize("NFC", path.stem)).lower(): stem for path in self._files()}.values())

    def nouns(self) -> dict[str, str]:
        """Name -> class noun of every concept that can be used, as `prompt.write` wants it."""
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
            save_any(same[0] if same else self._place(concept.name, bool(found) and found[0].parent == self.folder), concept)

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

    def _place(self, name: str, second: bool = False) -> Path:
        return (self.folder / ALSO if second else self.folder) / f"{name}.safetensors"

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


def load_any(path: Path, base: str | None = None, layers: Mapping[str, int] | None = None) -> AnyConcept:
    """Raises ConceptError: no concept of any kind, or one that cannot be used here."""
    return (load_tuned if kind_of(path) == IcoConcept.kind else load_concept)(path, base, layers)


def kind_of(path: Path) -> str:
    """"infusion" or "ico", as the file says; "" if it says nothing: then whoever loads it says what is wrong."""
    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})["concept"])["format"]).partition("-")[0]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return ""
