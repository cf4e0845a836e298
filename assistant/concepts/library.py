"""The library of learned concepts: a folder of concept files, named as their concepts are. Knows no model and no page.

Nothing is overwritten in place; what is deleted lies in a bin until it is emptied.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from assistant.concepts import tuned
from assistant.concepts.file import NAME_LENGTH, Concept, check_name, load_concept, save_concept
from assistant.concepts.tuned import Tuned, load_tuned, save_tuned
from assistant.errors import ConceptError, NotFoundError, StorageError

BIN = "bin"
DESCRIPTION_LENGTH = 500


@dataclass(frozen=True)
class Entry:
    """One line of the library; `problem` says why a concept cannot be used here, or is empty."""

    name: str
    noun: str
    description: str
    steps: int
    size: int  # bytes of the file
    thumbnail: bytes
    problem: str = ""
    kind: str = ""  # "infusion" or "ico"


class Library:
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
            for part in (folder.parent, folder, folder / BIN):  # this user's only
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The folder of concepts {folder} cannot be made: {error.strerror}.", "Choose another data directory.") from error

    def entries(self) -> list[Entry]:
        """All there are, by name; a file that cannot be used is listed with its problem rather than hidden."""
        with self._lock:
            return [self._entry(path) for path in sorted(self.folder.glob("*.safetensors"), key=lambda p: p.stem.lower())]

    def names(self) -> list[str]:
        """The names alone, of all there are; no file is read."""
        with self._lock:
            return [path.stem for path in self.folder.glob("*.safetensors")]

    def nouns(self) -> dict[str, str]:
        """Name -> class noun of every concept that can be used, as `prompt.write` wants it."""
        return {e.name: e.noun for e in self.entries() if not e.problem}

    def get(self, name: str) -> AnyConcept:
        """The concept of that name, without regard to case.

        Raises:
            NotFoundError: there is none. ConceptError: it cannot be used here.
        """
        with self._lock:
            return load_any(self._path(name), self.base, self.layers)

    def add(self, concept: AnyConcept) -> None:
        """Raises ConceptError for a name that is taken, or a concept that cannot be saved."""
        with self._lock:
            self.check_free(concept.name)
            save_any(self._place(concept.name), concept)

    def replace(self, concept: AnyConcept) -> None:
        """Put a concept in the place of the one of its name, if there is one: the file changes whole or not at all."""
        with self._lock:
            found = self._find(concept.name)
            save_any(found or self._place(concept.name), concept)

    def rename(self, name: str, to: str) -> None:
        with self._lock:
            path, concept = self._path(name), self.get(name)
            if to.lower() != name.lower():
                self.check_free(to)
            save_any(self._place(to), replace(concept, name=to))
            if not path.samefile(self._place(to)):  # a file system may not tell <Cup> from <cup>
                path.unlink()

    def describe(self, name: str, description: str) -> None:
        """Raises ConceptError for a description over the limit."""
        if len(description) > DESCRIPTION_LENGTH:
            raise ConceptError(f"The description has {len(description)} characters; at most {DESCRIPTION_LENGTH} are kept.", "Shorten it.")
        with self._lock:
            save_any(self._path(name), replace(self.get(name), description=description))

    def duplicate(self, name: str) -> str:
        """A copy under the next free name, which is returned."""
        with self._lock:
            concept = self.get(name)
            fresh = self._next(concept.name)
            save_any(self._place(fresh), replace(concept, name=fresh))
            return fresh

    def delete(self, name: str) -> None:
        """Into the bin; `restore` brings it back. What was in the bin under that name is gone."""
        with self._lock:
            path = self._path(name)
            os.replace(path, self.folder / BIN / path.name)

    def restore(self, name: str) -> str:
        """Bring back what was deleted, under the next free name if its own has been taken since; returns that name.

        Raises:
            NotFoundError: nothing of that name lies in the bin.
        """
        with self._lock:
            path = next((p for p in (self.folder / BIN).glob("*.safetensors") if p.stem.lower() == name.lower()), None)
            if path is None:
                raise NotFoundError(f"There is no deleted concept <{name}>.", "Import it from a file.")
            if self._find(path.stem) is None:
                os.replace(path, self.folder / path.name)
                return path.stem
            fresh = self._next(path.stem)
            save_any(self._place(fresh), replace(load_any(path, self.base, self.layers), name=fresh))
            path.unlink()
            return fresh

    def take_in(self, file: Path) -> str:
        """Import a concept file, under the next free name if its own is taken; returns that name.

        Raises:
            ConceptError: it is no concept, or was learned on another base model.
        """
        with self._lock:
            concept = load_any(file, self.base, self.layers)
            name = concept.name if self._find(concept.name) is None else self._next(concept.name)
            save_any(self._place(name), replace(concept, name=name))
            return name

    def file(self, name: str) -> Path:
        """The file of a concept, to be copied out."""
        with self._lock:
            return self._path(name)

    def _entry(self, path: Path) -> Entry:
        size = path.stat().st_size
        try:
            c = load_any(path, self.base, self.layers)
        except ConceptError as error:
            return Entry(path.stem, "", "", 0, size, b"", str(error))
        return Entry(c.name, c.noun, c.description, c.steps, size, c.thumbnail, kind=c.kind)

    def _find(self, name: str) -> Path | None:
        return next((p for p in self.folder.glob("*.safetensors") if p.stem.lower() == name.lower()), None)

    def _path(self, name: str) -> Path:
        found = self._find(name)
        if found is None:
            raise NotFoundError(f"There is no concept <{name}>.", "Look in the list of concepts.")
        return found

    def _place(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def check_free(self, name: str) -> None:
        """Raises ConceptError: a name that cannot be written in a message, or that is taken."""
        check_name(name)
        if self._find(name) is not None:
            raise ConceptError(f"There is a concept <{name}> already.", "Choose another name, or delete that one first.")

    def _next(self, name: str) -> str:
        stem, number = re.sub(r"-\d+$", "", name), 2
        while self._find(fresh := f"{stem[:NAME_LENGTH - 1 - len(str(number))]}-{number}") is not None:
            number += 1
        return fresh


AnyConcept = Concept | Tuned


def save_any(path: Path, concept: AnyConcept) -> None:
    """Raises ConceptError for one that cannot be saved."""
    save_tuned(path, concept) if isinstance(concept, Tuned) else save_concept(path, concept)


def load_any(path: Path, base: str | None = None, layers: Mapping[str, int] | None = None) -> AnyConcept:
    """Raises ConceptError: no concept of any kind, or one that cannot be used here."""
    return (load_tuned if _format(path) in (tuned.FORMAT, tuned.BEFORE) else load_concept)(path, base, layers)


def _format(path: Path) -> str:
    """What the file says it is; "" if it says nothing: then whoever loads it says what is wrong."""
    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})["concept"])["format"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return ""
