"""Every picture and message a person might hand over gets a Photo, clean words, or one clear sentence."""

import io
import time
import tracemalloc

import pytest
from PIL import Image, ImageCms

from assistant.errors import MessageError, PhotoError
from assistant.session import uploads
from assistant.session.uploads import read_photo, read_text
from tests.photos import encode, header_of


def pixels(photo) -> Image.Image:
    image = Image.open(io.BytesIO(photo.png))
    assert image.format == "PNG" and image.mode == "RGB" and image.size == (photo.width, photo.height)
    return image


def ramp(width: int = 60, height: int = 40) -> Image.Image:
    """Red grows to the right, green downwards."""
    image = Image.new("RGB", (width, height))
    image.putdata([(255 * x // width, 255 * y // height, 40) for y in range(height) for x in range(width)])
    return image


def test_plain_picture_keeps_its_pixels_and_is_deterministic():
    data = encode(ramp())
    one, two = read_photo(data), read_photo(data)
    assert one == two and len(one.sha256) == 64
    assert pixels(one).tobytes() == ramp().tobytes()


def test_a_path_is_read_and_its_name_is_not_believed(tmp_path):
    file = tmp_path / "cat.png"
    file.write_bytes(encode(ramp(), "BMP"))
    assert read_photo(file).width == 60
    with pytest.raises(PhotoError, match="could not be opened"):
        read_photo(tmp_path / "gone.png")


def test_metadata_is_gone():
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(ramp(), "JPEG", exif=exif, icc_profile=profile)
    photo = read_photo(data)
    assert not pixels(photo).info and b"taken at home" not in photo.png


def test_large_picture_is_reduced_to_1024():
    photo = read_photo(encode(Image.new("RGB", (3000, 1500), "teal"), "JPEG"))
    assert (photo.width, photo.height) == (1024, 512)


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    image = pixels(read_photo(encode(ramp(), "TIFF", exif=exif)))
    assert image.size == (40, 60)
    assert image.getpixel((39, 0))[:2] == ramp().getpixel((0, 0))[:2]  # the top left corner has moved to the top right


def test_alpha_is_laid_on_white():
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (10, 0, 20, 20))
    result = pixels(read_photo(encode(image)))
    assert result.getpixel((2, 2)) == (255, 255, 255) and result.getpixel((15, 2)) == (0, 0, 255)


def test_palette_with_transparency():
    image = Image.new("P", (20, 20), 0)
    image.putpalette([255, 0, 0, 0, 128, 0] + [0] * 762)
    image.paste(1, (10, 0, 20, 20))
    result = pixels(read_photo(encode(image, "PNG", transparency=0)))
    assert result.getpixel((2, 2)) == (255, 255, 255) and result.getpixel((15, 2)) == (0, 128, 0)


def test_cmyk():
    result = pixels(read_photo(encode(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG", quality=95)))
    red, green, blue = result.getpixel((10, 10))
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_is_scaled_not_clipped(kind):
    image = Image.new("I;16", (20, 20), 32768)
    assert abs(pixels(read_photo(encode(image, kind))).getpixel((5, 5))[0] - 128) <= 1


def test_float_is_scaled():
    image = Image.new("F", (20, 20), 0.25)
    image.paste(0.75, (10, 0, 20, 20))
    result = pixels(read_photo(encode(image, "TIFF")))
    assert result.getpixel((2, 2)) == (0, 0, 0) and result.getpixel((15, 2)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_animated_takes_the_first_frame(kind):
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "blue", "lime")]
    exact = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **exact)
    assert pixels(read_photo(data)).getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_truncated_is_refused(kind):
    noise = Image.effect_noise((120, 120), 90).convert("RGB")
    data = encode(noise, kind)
    with pytest.raises(PhotoError, match="damaged or cut short"):
        read_photo(data[:len(data) // 2])


@pytest.mark.parametrize(("data", "said"), [
    (b"", "empty"),
    (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG"),
    (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200), "HEIC"),
    (b"\x00\x00\x00\x18ftypmp42" + bytes(200), "video"),
    ("This is no picture, and ünicode.\n".encode() * 20, "text file"),
    (b"%PDF-1.7\n" + bytes(100), "PDF"),
    (b"PK\x03\x04" + bytes(100), "ZIP"),
    (b"<!DOCTYPE html><html></html>", "web page"),
    (b"\x89PNG\r\n\x1a\n", "damaged"),
    (bytes(range(256)) * 4, "not a picture"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n" + b"\x00\x01" * 100, "not a picture"),
], ids=["zero", "svg", "heic", "mp4", "text", "pdf", "zip", "html", "png-head", "bytes", "eps"])
def test_what_is_no_picture_is_named(data, said):
    with pytest.raises(PhotoError) as caught:
        read_photo(data)
    assert said in caught.value.sentence and caught.value.remedy


def test_sizes_are_refused_by_the_header():
    with pytest.raises(PhotoError, match=r"too small \(1 x 1"):
        read_photo(encode(Image.new("RGB", (1, 1))))
    with pytest.raises(PhotoError, match="too narrow"):
        read_photo(encode(Image.new("RGB", (4000, 10))))
    tracemalloc.start()
    began = time.process_time()
    for side in (30_000, 12_000, 8_000):  # beyond Pillow's error, beyond its warning, beyond ours
        with pytest.raises(PhotoError, match=f"{side * side / 1e6:,.0f} megapixels.*limit is 50"):
            read_photo(header_of(side, side))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 1 and peak < 10 * 2**20


def test_too_many_bytes_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    file = tmp_path / "big.png"
    file.write_bytes(bytes(2000))
    with pytest.raises(PhotoError, match="the limit is"):
        read_photo(file)


def test_text():
    assert read_text("  hello\r\nworld \x00\x1b[31m\u202e ", False) == "hello\nworld [31m"
    assert read_text("", True) == ""
    assert read_text("\U0001f469\u200d\U0001f3a8", False) == "\U0001f469\u200d\U0001f3a8"  # emoji, joined, stay joined
    markup = "<script>alert(1)</script> [a](javascript:b)"
    assert read_text(markup, False) == markup
    assert len(read_text("x" * 4000, False)) == 4000


@pytest.mark.parametrize("text", ["", "   \n\t ", "\x00\x07"])
def test_empty_text_is_refused(text):
    with pytest.raises(MessageError, match="nothing to answer"):
        read_text(text, False)


def test_long_text_is_refused_with_both_numbers():
    with pytest.raises(MessageError, match="10,000 characters; the limit is 4,000"):
        read_text("x" * 10_000, True)
