"""The kinds of concept files there are: each is read and written by its own module, told apart by what a file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from assistant.concepts import tuned
from assistant.concepts.file import Concept, load_concept, save_concept
from assistant.concepts.tuned import Tuned, load_tuned, save_tuned

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
