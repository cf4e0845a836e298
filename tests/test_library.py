"""The library: nothing lost by renaming, deleting or a crash, and nothing hidden that cannot be used."""

import os

import pytest

from assistant.concepts.file import residual_bytes, save_concept
from assistant.concepts.library import BIN, Library
from assistant.errors import ConceptError, NotFoundError
from tests.test_concepts import BASE, SD15, made


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path / "concepts", BASE, SD15)


def names(library):
    return [e.name for e in library.entries()]


def test_it_lists_renames_describes_and_duplicates(library):
    library.add(made(name="mug", bits=8))
    library.add(made(name="Dog", noun="dog"))
    assert names(library) == ["Dog", "mug"] and library.nouns() == {"Dog": "dog", "mug": "mug"}
    library.describe("mug", "grandma's blue one")
    library.rename("MUG", "Cup")
    assert library.get("cup").description == "grandma's blue one" and names(library) == ["Cup", "Dog"]
    library.rename("Cup", "cup")  # only its case
    assert names(library) == ["cup", "Dog"]
    assert library.duplicate("cup") == "cup-2" and library.duplicate("cup-2") == "cup-3"
    assert library.get("cup-3").thumbnail == made().thumbnail
    assert residual_bytes(library.file("cup-3")) < 13_000 < residual_bytes(library.file("dog"))  # bits stay as they were


def test_a_taken_name_is_refused_and_replacing_is_said(library):
    library.add(made(name="mug", steps=1))
    for act in (lambda: library.add(made(name="MUG", steps=2)), lambda: (library.add(made(name="a")), library.rename("a", "mug"))):
        with pytest.raises(ConceptError, match="already"):
            act()
    assert library.get("mug").steps == 1
    library.replace(made(name="mug", steps=2))
    assert library.get("mug").steps == 2 and names(library) == ["a", "mug"]


def test_what_is_deleted_comes_back_also_when_its_name_was_taken(library):
    library.add(made(name="mug", steps=1))
    library.delete("mug")
    assert names(library) == []
    assert library.restore("mug") == "mug" and library.get("mug").steps == 1
    library.delete("mug")
    library.add(made(name="mug", steps=2))
    assert library.restore("mug") == "mug-2" and library.get("mug-2").steps == 1 and library.get("mug").steps == 2
    library.delete("mug")
    (library.folder / BIN / "mug.safetensors").unlink()
    for act in (library.restore, library.get, library.delete, library.file):
        with pytest.raises(NotFoundError, match="<mug>"):
            act("mug")


def test_import_and_export(library, tmp_path):
    library.add(made(name="mug"))
    copy = tmp_path / "somewhere.safetensors"
    copy.write_bytes(library.file("mug").read_bytes())
    assert library.take_in(copy) == "mug-2" and names(library) == ["mug", "mug-2"]
    save_concept(copy, made(name="other", base="ffff"))
    with pytest.raises(ConceptError, match="another base"):
        library.take_in(copy)
    with pytest.raises(ConceptError, match="500"):
        library.describe("mug", "x" * 501)


def test_a_file_that_cannot_be_used_is_listed_with_its_problem(library):
    library.add(made(name="mug"))
    (library.folder / "broken.safetensors").write_bytes(b"\x00" * 99)
    save_concept(library.folder / "foreign.safetensors", made(name="foreign", base="ffff"))
    problems = {e.name: e.problem for e in library.entries()}
    assert "no concept" in problems["broken"] and "another base" in problems["foreign"] and problems["mug"] == ""
    assert library.nouns() == {"mug": "mug"}


def test_a_write_that_breaks_off_leaves_what_was_there(library, monkeypatch):
    library.add(made(name="mug", steps=1))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError):
        library.replace(made(name="mug", steps=2))
    monkeypatch.undo()
    assert library.get("mug").steps == 1 and [p.name for p in library.folder.glob("mug*")] == ["mug.safetensors"]
