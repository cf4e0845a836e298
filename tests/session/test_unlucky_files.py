"""Unlucky users, of files: pictures with large extras, weights that are pointers, concepts of other programs are taken for what they are."""

import io
import json
import os
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from assistant import files
from assistant.customization.concept_library import ConceptLibrary, InfusionConcept, save_concept
from assistant.errors import ConceptError, InputError, PhotoError, WeightsError
from assistant.loading import identified
from assistant.manifest import verify
from assistant.session.boards import board_in
from assistant.session import uploads
from assistant.session.uploads import read_photo
from tests import tiny_open
from tests.fake_teacher import BASE, LAYERS
from tests.photos import encode, header_of


# --- pictures -------------------------------------------------------------------------------------------------------------

def with_text(large: bool = True, how: str = "itxt", key: str = "workflow", value: str = "") -> bytes:
    info = PngInfo()
    add = {"itxt": info.add_itxt, "ztxt": info.add_text, "text": info.add_text}[how]
    add(key, value or "x" * (1_500_000 if large else 10), **({} if how == "text" else {"zip": True}))
    return encode(Image.new("RGB", (256, 256), "teal"), pnginfo=info)


@pytest.mark.parametrize("extra", ["ztxt", "itxt", "icc"])
def test_extras_of_a_png_over_1_mib_do_not_cost_the_picture(extra):
    plain = encode(Image.new("RGB", (256, 256), "teal"))
    data = with_text(how=extra) if extra != "icc" else encode(Image.new("RGB", (256, 256), "teal"), icc_profile=os.urandom(1_500_000))
    assert read_photo(data).sha256 == read_photo(plain).sha256 and board_in(data) is None
    with pytest.raises(PhotoError, match="damaged or cut short"):
        read_photo(data[:len(data) - 60])


def test_extras_that_unpack_to_gigabytes_are_not_unpacked():
    bomb = with_text(key="assistant", value="0" * 40_000_000)
    assert len(bomb) < 100_000 and read_photo(bomb).width == 256 and files.text_in(bomb, "assistant") is None


@pytest.mark.parametrize("how", ["text", "ztxt", "itxt"])
def test_a_board_is_found_however_its_text_is_kept_and_no_pixel_is_read(how):
    said = {"board": {"alpha": 0.5}}
    data = with_text(how=how, key="assistant", value=json.dumps(said))
    assert board_in(data) == said
    claims = header_of(30_000, 30_000)
    start = data.index({"text": b"tEXt", "ztxt": b"zTXt", "itxt": b"iTXt"}[how]) - 4
    chunk = data[start:start + 12 + int.from_bytes(data[start:start + 4], "big")]
    assert board_in(claims[:33] + chunk + claims[33:]) == said and board_in(claims) is None
    assert board_in(with_text(how=how, key="assistant", value="[" * 100_000)) is None


@pytest.mark.parametrize("how, key, value", [
    ("text", "parameters", "a cat\nNegative prompt: dog\nSteps: 20, Seed: 1"), ("text", "prompt", '{"3": {"inputs": {"seed": NaN}}}'), ("text", "workflow", "{}"),
    ("itxt", "invokeai_metadata", '{"positive_prompt": "cat"}'), ("text", "sd-metadata", "{}"), ("text", "Dream", '"cat" -s 20'), ("text", "assistant", "[]"),
    ("itxt", "assistant", '{"seed": 1e400, "board": null}')])
def test_what_other_programs_wrote_into_a_picture_is_nobodys_settings_and_is_not_kept(how, key, value):
    data = with_text(how=how, key=key, value=value)
    photo = read_photo(data)
    assert photo.sha256 == read_photo(encode(Image.new("RGB", (256, 256), "teal"))).sha256 and key.encode() not in photo.png
    assert not (board_in(data) or {}).get("board")


def test_what_is_hidden_under_transparent_pixels_does_not_tell_two_pictures_apart():
    def of(mode, hidden, **extra):
        alpha = Image.new("L", (64, 64), 0)
        alpha.paste(255, (16, 16, 48, 48))
        image = Image.composite(Image.new("L", (64, 64), 80), hidden, alpha)
        if extra:  # one value of a palette, or of greys, is transparent
            return encode(image.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(image, np.uint16) * 257), **extra)
        image = image.convert(mode.replace("A", "")) if mode != "RGBA" else Image.merge("RGB", [image] * 3)
        image.putalpha(alpha)
        return encode(image)

    noise, plain = Image.effect_noise((64, 64), 90), Image.new("L", (64, 64), 255)
    sums = {read_photo(of(mode, hidden)).sha256 for mode in ("RGBA", "LA") for hidden in (noise, plain)}
    sums |= {read_photo(of(mode, plain, transparency=clear)).sha256 for mode, clear in (("P", 255), ("L", 255), ("I;16", 65535))}
    assert len(sums) == 1


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_photos_of_phones_are_read_where_there_is_a_reader_and_else_said_with_what_to_do(kind):
    if kind in uploads._FORMATS:
        assert read_photo(encode(Image.new("RGB", (64, 48), "teal"), kind)).width == 64
    else:
        with pytest.raises(PhotoError, match="This is an AVIF" if kind == "AVIF" else "This is a HEIC photo.*Share it as a JPEG"):
            read_photo(b"\x00\x00\x00\x18ftyp" + (b"avif" if kind == "AVIF" else b"heic") + bytes(100))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(8192, 6144), (12_000, 9_000), (16_320, 12_240)], ids=["50 MP", "108 MP", "200 MP"])
def test_a_phones_large_jpeg_is_taken_at_a_fraction_of_its_size(size):
    photo = read_photo(encode(Image.new("L", size, 90), "JPEG", quality=80))
    assert (photo.width, photo.height) == (1024, 768)


def test_a_picture_a_little_too_large_is_refused_with_two_different_numbers():
    with pytest.raises(PhotoError, match=r"50\.33 megapixels\); the limit is 50 megapixels"):
        read_photo(header_of(8192, 6144))
    with pytest.raises(PhotoError, match=r"400 megapixels\); the limit is 250"):
        data = bytearray(encode(Image.new("L", (64, 64)), "JPEG"))
        at = data.index(b"\xff\xc0")
        data[at + 5:at + 9] = (20_000).to_bytes(2, "big") * 2
        read_photo(bytes(data))


def test_a_damaged_picture_of_several_is_called_a_jpeg():
    buffer = io.BytesIO()
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    noise.save(buffer, "MPO", save_all=True, append_images=[noise])
    assert read_photo(buffer.getvalue()).width == 200
    with pytest.raises(PhotoError, match="This JPEG picture is damaged"):
        read_photo(buffer.getvalue()[:5000])


# --- weights --------------------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_open.write(tmp_path_factory.mktemp("weights") / "open")


@pytest.mark.parametrize("name, fault, said", [
    ("base/unet/diffusion_pytorch_model.safetensors", lambda data: POINTER, "is a Git LFS pointer"),
    ("base/vae/diffusion_pytorch_model.safetensors", lambda data: data[:-100], "is cut short or damaged: it has"),
    ("llm/model.safetensors", lambda data: b"", "is empty"),
    ("image_encoder/model.safetensors", lambda data: b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
    ("adapters/plus.safetensors", None, "is a folder"),
    ("base/unet/config.json", lambda data: b"", "is empty"),
    ("llm/config.json", lambda data: data[:len(data) // 2], "is cut short or damaged")])
def test_a_weight_file_that_is_none_is_named_and_the_true_one_simply_works(weights, name, fault, said):
    path, manifest = weights / name, weights / "manifest.json"
    manifest.unlink(missing_ok=True)
    true = path.read_bytes()
    path.unlink()
    path.mkdir() if fault is None else path.write_bytes(fault(true))
    try:
        with pytest.raises(WeightsError, match=f"{name} in .* {said}") as caught:
            identified(tiny_open.CONFIG, weights)
        assert f"python -m assistant download open --to {weights}" in caught.value.remedy and not manifest.exists()
    finally:
        path.rmdir() if fault is None else path.unlink()
        path.write_bytes(true)
    assert len(identified(tiny_open.CONFIG, weights)) == 12
    verify.cache_clear()


def test_a_weight_file_that_is_none_is_named_beside_a_manifest_too_with_the_command_that_gets_it(weights):
    verify.cache_clear()
    identified(tiny_open.CONFIG, weights)
    verify.cache_clear()
    path = weights / "base/unet/diffusion_pytorch_model.safetensors"
    true = path.read_bytes()
    path.write_bytes(POINTER)
    try:
        with pytest.raises(WeightsError, match="is a Git LFS pointer, not the file itself") as caught:
            identified(tiny_open.CONFIG, weights)
        assert "python -m assistant download open" in caught.value.remedy
    finally:
        path.write_bytes(true)
    manifest = weights / "manifest.json"
    for broken in (manifest.read_bytes()[:200], b"[]", b'{"a": 1}'):
        manifest.write_bytes(broken)
        with pytest.raises(WeightsError, match="manifest.json is damaged. Delete it"):
            identified(tiny_open.CONFIG, weights)
    manifest.unlink()
    assert len(identified(tiny_open.CONFIG, weights)) == 12


# --- concepts -------------------------------------------------------------------------------------------------------------

@pytest.fixture
def library(tmp_path):
    return ConceptLibrary(tmp_path / "library", BASE, LAYERS)


def concept(name="tom", **said) -> InfusionConcept:
    return InfusionConcept(name, "cat", BASE, {"layer": torch.ones(1, 4)}, **said)


def of(shape, name="emb_params"):
    return lambda path: save_file({name: torch.zeros(shape)}, path)


@pytest.mark.parametrize("make, said", [
    (of((4, 768)), "is a Textual Inversion for Stable Diffusion 1.5"),
    (of((768,), "<cat-toy>"), "is a Textual Inversion for Stable Diffusion 1.5"),
    (of((4, 1024)), "is a Textual Inversion for Stable Diffusion 2"),
    (lambda path: save_file({"clip_l": torch.zeros(4, 768), "clip_g": torch.zeros(4, 1280)}, path), "is a Textual Inversion for SDXL"),
    (of((8, 320), "lora_unet_down_blocks_0_attentions_0.lora_down.weight"), "is a LoRA"),
    (of((4000, 320), "lora_unet_down_blocks_0_attentions_0.lora_down.weight"), "is a LoRA"),  # over the size of a concept
    (lambda path: torch.save({"string_to_param": {"*": torch.zeros(2, 768)}, "name": "x"}, path), "is pickled or zipped.* never opened"),
    (lambda path: path.write_bytes(POINTER), "is a Git LFS pointer"),
    (lambda path: path.write_bytes(b"<!doctype html><title>Sign in</title>"), "is a web page"),
    (lambda path: path.write_bytes(b""), "is empty"),
    (lambda path: path.write_bytes(b"\x07" * 300), "cannot be read as one"),
    (lambda path: save_file({"x": torch.zeros(2)}, path, {"concept": "[" * 100_000}), "cannot be read as one"),
    (lambda path: save_file({"x": torch.zeros(2)}, path, {"concept": '{"format": "infusion-2", "name": "a", "noun": "b", "base": "c", '
                                                                     '"description": "", "steps": 1e400}'}), "cannot be read as one")],
    ids=["SD1.5", "SD1.5 alone", "SD2", "SDXL", "LoRA", "large LoRA", "pickle", "pointer", "html", "empty", "noise", "nested", "1e400"])
def test_a_concept_file_of_another_program_is_named_and_listed(library, tmp_path, make, said):
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(ConceptError, match=said):
        library.take_in(path)
    os.replace(path, library.folder / "x.safetensors")  # put there by hand
    [entry] = library.entries()
    assert entry.problem and library.nouns() == {}


def test_a_concept_file_with_a_flipped_byte_is_not_imported(library, tmp_path):
    path = tmp_path / "tom.safetensors"
    save_concept(path, concept(steps=7, thumbnail=b"\x89PNG" * 20))
    data = path.read_bytes()
    for at in (len(data) - 1, len(data) - 90, data.index(b'\\"cat\\"') + 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        with pytest.raises(ConceptError, match="is damaged|no concept"):
            library.take_in(path)
    path.write_bytes(data)
    assert library.take_in(path) == "tom"
    save_concept(path, concept(steps=-1))
    with pytest.raises(ConceptError, match="no concept"):
        library.take_in(path)


@pytest.mark.parametrize("name", ["टॉम", "ก้อง", "Zoë", "می‌خواهم", "猫", "Đorđe"])
def test_names_of_every_script_are_names_in_whichever_form_they_are_typed(library, name):
    typed = unicodedata.normalize("NFD", name)
    library.add(concept(unicodedata.normalize("NFC", name)))
    assert library.get(typed).name == unicodedata.normalize("NFC", name)
    with pytest.raises(ConceptError, match="already"):
        library.check_free(typed)
    other = typed.swapcase()
    library.rename(typed, unicodedata.normalize("NFC", other))
    assert library.names() == [unicodedata.normalize("NFC", other)]


@pytest.mark.parametrize("name", ["con", "NUL", "aux", "com1", "LPT9", "a b", "../x", "--", "", "a\u0000b", "\u0301"])
def test_names_that_no_file_can_have_are_refused(library, name):
    with pytest.raises(InputError, match="cannot be a concept's name"):
        library.add(concept(name))
