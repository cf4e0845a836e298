"""The concept file: small, whole, true to what was saved, and refused in one sentence where it cannot be used."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from assistant.customization.concept_library import BIN, ConceptLibrary, IcoConcept, InfusionConcept, load_concept, residual_bytes, save_concept
from assistant.customization.concept_prompt import token_positions, write
from assistant.errors import ConceptError, NotFoundError
from assistant.manifest import CHECKPOINTS

SD15 = {f"layer{i}": width for i, width in enumerate((320,) * 2 + (640,) * 2 + (1280,) * 2 + (1280,) + (1280,) * 3 + (640,) * 3 + (320,) * 3)}
BASE = "0123456789abcdef"


def made(widths=SD15, count=1, **changes):
    generator = torch.Generator().manual_seed(0)
    return InfusionConcept(**{"name": "mug-1", "noun": "mug", "base": BASE, "steps": 300, "recipe": {"lr": 0.01}, "description": "grandma's",
                      "thumbnail": b"\x89PNG...", "residuals": {k: torch.randn(count, w, generator=generator) for k, w in widths.items()}} | changes)


@pytest.mark.parametrize("count", (1, 3))
@pytest.mark.parametrize("bits, error", ((16, 1e-3), (8, 0.5 / 127 + 1e-3)))
def test_what_is_saved_comes_back(tmp_path, bits, error, count):
    concept = made(count=count, bits=bits)
    save_concept(tmp_path / "a.safetensors", concept)
    again = load_concept(tmp_path / "a.safetensors", BASE, SD15)
    for name in ("name", "noun", "base", "steps", "recipe", "description", "thumbnail", "bits"):
        assert getattr(again, name) == getattr(concept, name)
    assert list(again.residuals) == list(concept.residuals)
    for layer, t in concept.residuals.items():
        largest = t.abs().amax(1, keepdim=True)
        assert again.residuals[layer].shape == t.shape and ((again.residuals[layer] - t).abs() <= error * largest).all()


def test_on_stable_diffusion_1_5_it_weighs_what_was_promised(tmp_path):
    assert sum(SD15.values()) == 12_480 and len(SD15) == 16
    for bits, most in ((16, 25_000), (8, 13_000)):
        save_concept(tmp_path / "a.safetensors", made(thumbnail=b"", bits=bits))
        assert residual_bytes(tmp_path / "a.safetensors") <= most
        assert (tmp_path / "a.safetensors").stat().st_size <= most + 1_500  # names and metadata


def test_a_single_layer_may_be_left_out(tmp_path):
    some = dict(list(SD15.items())[3:7])
    save_concept(tmp_path / "a.safetensors", made(some))
    assert list(load_concept(tmp_path / "a.safetensors", BASE, SD15).residuals) == list(some)


def spoiled(path, change):
    """Rewrite a saved file's tensors and metadata."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["concept"])
    tensors = load_file(path)
    change(about, tensors)
    save_file(tensors, path, {"concept": json.dumps(about)})


@pytest.mark.parametrize("change, words", (
    (lambda about, t: about.update(base="ffff"), "another base"),
    (lambda about, t: t.update(residuals=t["residuals"][:-1]), "another shape"),
    (lambda about, t: about["layers"].update(layer0=321), "another shape"),
    (lambda about, t: about.update(layers={}), "another shape"),
    (lambda about, t: t["residuals"].__setitem__(5, float("nan")), "not finite"),
    (lambda about, t: about.pop("noun"), "no concept"),
    (lambda about, t: about.update(name=7), "no concept"),
    (lambda about, t: about.update(name="../../etc"), "cannot be a concept's name"),
    (lambda about, t: about.update(format="lora"), "not known"),
    (lambda about, t: about.update(residuals=-1), "not known"),
), ids=("base", "short", "width", "no layers", "nan", "no noun", "name no text", "name a path", "format", "negative"))
def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path, change, words):
    path = tmp_path / "a.safetensors"
    save_concept(path, made())
    spoiled(path, change)
    with pytest.raises(ConceptError, match=words) as caught:
        load_concept(path, BASE, SD15)
    assert caught.value.remedy


def test_a_concept_of_the_first_version_is_used_or_says_why_not_and_stays(tmp_path):
    unet, library = {"down_blocks.1.attentions.0.transformer_blocks.0.attn2": 320}, ConceptLibrary(tmp_path / "concepts", BASE, {})
    library.layers = unet
    for name, layers in (("new", unet), ("old", {"names.attn2": 192, **unet})):
        save_concept(library.folder / f"{name}.safetensors", made(layers, name=name))
        spoiled(library.folder / f"{name}.safetensors", lambda about, t: about.update(format="infusion-1"))
    assert library.get("new").name == "new" and library.nouns() == {"new": "mug"}
    (problem,) = [e.problem for e in library.entries() if e.problem]
    assert "older model" in problem and "Learn it again from its photos." in problem and library.file("old").exists()


def test_pickles_and_rubbish_are_never_opened(tmp_path):
    path = tmp_path / "a.safetensors"
    for content in (pickle.dumps({"residuals": 1}), b"", b"PK\x03\x04", b"\xff" * 4096):
        path.write_bytes(content)
        with pytest.raises(ConceptError, match="no concept"):
            load_concept(path)
    save_concept(path, made())
    path.write_bytes(path.read_bytes()[:-100])  # a download that broke off
    with pytest.raises(ConceptError, match="no concept"):
        load_concept(path)
    with pytest.raises(ConceptError, match="no concept"):
        load_concept(tmp_path / "nothing.safetensors")
    path.write_bytes(bytes(4 * 2**20 + 1))
    with pytest.raises(ConceptError, match="at most"):
        load_concept(path)


def test_a_concept_that_cannot_be_saved_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.safetensors"
    save_concept(path, made())
    before = path.read_bytes()
    for wrong in (made(name="two words"), made(residuals={}), made(residuals={"a": torch.full((1, 3), float("inf"))}),
                  made(residuals={"a": torch.ones(1, 3), "b": torch.ones(2, 3)})):
        with pytest.raises(ConceptError):
            save_concept(path, wrong)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer.from_pretrained(CHECKPOINTS / "miniature/base/tokenizer")


def test_a_prompt_is_written_with_class_nouns_and_tokens_are_found_where_they_stand(tokenizer):
    nouns = {"Mug-1": "mug", "robo": "robotic bear"}
    done = write("<mug-1> and a <robo> with a <Mug-1>, on the beach", nouns)
    assert done.text == "mug and a robotic bear with a mug, on the beach"
    assert [done.text[a:b] for a, b in done.spans["Mug-1"]] == ["mug", "mug"]
    assert [done.text[a:b] for a, b in done.spans["robo"]] == ["robotic bear"]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(done.text)["input_ids"])
    spelled = {name: "".join(tokens[p] for p in token_positions(tokenizer, done.text, at)).replace("</w>", " ").strip()
               for name, at in done.spans.items()}
    assert spelled == {"Mug-1": "mug mug", "robo": "robotic bear"}
    assert write("no concept < here > at all", nouns).text == "no concept < here > at all"


def test_a_concept_that_is_not_there_or_beyond_the_limit_is_named(tokenizer):
    with pytest.raises(NotFoundError, match="no concept <cup>; there are: <mug>"):
        write("a <cup>", {"mug": "mug"})
    done = write("very " * 60 + "<mug>", {"mug": "mug"})
    with pytest.raises(ConceptError, match="'mug' stands beyond the 48 tokens"):
        token_positions(tokenizer, done.text, done.spans["mug"])


@pytest.fixture
def library(tmp_path):
    return ConceptLibrary(tmp_path / "concepts", BASE, SD15)


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


def test_a_name_learned_by_both_methods_is_one_thing(library, tmp_path):
    layers = {layer: (torch.zeros(width, 8), torch.zeros(width, 8)) for layer, width in SD15.items()}
    slider = IcoConcept("mug", "mug", BASE, torch.zeros(2, 8), layers, "T2 E", 5)
    library.add(made(name="mug", steps=1))
    library.replace(slider)
    assert [(e.name, e.kind, e.steps) for e in library.entries()] == [("mug", "infusion", 1), ("mug", "ico", 5)] and library.names() == ["mug"]
    assert library.get("MUG", "ico").kind == "ico" and library.get("mug", "infusion").kind == library.get("mug").kind == "infusion"
    library.check_free("cup", "ico")
    with pytest.raises(ConceptError, match="already"):
        library.check_free("mug", "ico")
    library.rename("mug", "Cup")
    library.describe("cup", "blue")
    assert library.duplicate("cup") == "Cup-2"
    assert [(e.name, e.kind, e.description) for e in library.entries()] == [(n, k, "blue") for n in ("Cup", "Cup-2") for k in ("infusion", "ico")]
    library.delete("cup")
    assert names(library) == ["Cup-2"] * 2 and library.restore("Cup") == "Cup" and len(names(library)) == 4
    library.delete("cup")
    library.add(made(name="cup"))
    assert library.restore("cup") == "Cup-3" and library.get("cup-3", "ico").steps == 5
    files = [tmp_path / f"{kind}.safetensors" for kind in ("infusion", "ico")]
    for file in files:
        file.write_bytes(library.file("cup-3", file.stem).read_bytes())
    library.delete("cup-3")
    assert [library.take_in(file) for file in files] == ["Cup-3"] * 2  # the same noun by the other method: the same thing
    assert library.take_in(files[1]) == "Cup-4"
    lone = ConceptLibrary(tmp_path / "other", BASE, SD15)  # as every folder was before
    lone.add(slider)
    assert lone.get("mug", "infusion").kind == "ico" and (lone.folder / "mug.safetensors").exists()
    lone.replace(made(name="mug"))
    assert {e.kind for e in lone.entries()} == {"infusion", "ico"}


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
