"""Encoded images of any kind become 8-bit sRGB pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

from tests.pictures import encoded, noise, swapped_profile
from training.data.decode import BAD_PROFILE, decode, decoding_error, planes, to_8bit


@pytest.mark.parametrize(
    ("mode", "form", "expected"),
    [
        ("1", "PNG", "L"), ("L", "PNG", "L"), ("P", "GIF", "RGB"), ("RGB", "JPEG", "RGB"), ("CMYK", "JPEG", "RGB"),
        ("YCbCr", "JPEG", "RGB"), ("LAB", "TIFF", "RGB"), ("LA", "PNG", "L"), ("RGBA", "PNG", "RGB"),
    ],
)  # fmt: skip
def test_every_mode_becomes_gray_or_colour(mode, form, expected):
    data = encoded(noise(16, 8).convert(mode), form)
    image, notes = decode(data)
    assert (image.mode, image.size, notes) == (expected, (16, 8), ())
    assert planes(image).shape == (len(expected), 8, 16) and planes(image).dtype == np.uint8


def test_pixels_without_loss_are_kept(tmp_path):
    image = noise(16, 8)
    (tmp_path / "a.png").write_bytes(encoded(image))
    for source in (encoded(image), encoded(image, "BMP"), tmp_path / "a.png"):
        np.testing.assert_array_equal(planes(decode(source)[0]), np.asarray(image).transpose(2, 0, 1))


def test_deep_gray_is_scaled_and_not_cut_off():
    for values, expected in ((np.uint16(65535), 255), (np.uint16(257 * 7), 7), (np.int32(65535), 255)):
        deep = Image.fromarray(np.full((8, 8), values))
        assert np.all(np.asarray(decode(encoded(deep, "TIFF"))[0]) == expected)
    for deep in (Image.fromarray(np.full((8, 8), 65536, np.int32)), Image.new("F", (8, 8))):
        with pytest.raises(ValueError, match="have no known range"):
            to_8bit(deep)


@pytest.mark.parametrize(("background", "mode"), [("white", "L"), ("#808080", "L"), ("red", "RGB")])
def test_transparent_gray_takes_the_colour_of_the_background(background, mode):
    clear = Image.new("LA", (8, 8), (9, 0))
    image, _ = decode(encoded(clear), background)
    assert image.mode == mode and image.getpixel((0, 0)) == Image.new(mode, (1, 1), background).getpixel((0, 0))


def test_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x112] = 6
    image, _ = decode(encoded(noise(16, 8), exif=exif))
    np.testing.assert_array_equal(image, np.rot90(noise(16, 8), -1))


def test_damage_that_a_decoder_ignores_is_found_by_the_checksums_of_a_png():
    data = encoded(noise(16, 8))
    chunk = data.index(b"IDAT") - 4
    size = int.from_bytes(data[chunk : chunk + 4], "big")
    raw = bytearray(data)
    raw[chunk + 8 + size] ^= 1  # the stored checksum: the pixels are whole
    with pytest.raises(Exception, match=r"broken PNG|CRC"):
        decode(bytes(raw))


def test_errors_are_one_line_without_the_name_of_the_file():
    with pytest.raises(UnidentifiedImageError) as e:
        decode(b"no image")
    assert decoding_error(e.value) == "not a readable image"
    path = Path("folder/a.png")
    assert decoding_error(OSError(f"cannot read {str(path)!r}"), path) == "not a readable image: cannot read"
    assert decoding_error(PermissionError("x")) == "not readable: permission denied"
    assert decoding_error(OSError("image file is truncated")) == "not a readable image: image file is truncated"
    assert decoding_error(OSError(f"cannot identify {io.BytesIO()}")) == "not a readable image"


def test_colour_profiles_become_srgb():
    im = Image.new("RGB", (16, 16), (250, 20, 10))
    for form in ("PNG", "JPEG", "TIFF", "WEBP"):
        options = {"quality": 100} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
        out, notes = decode(encoded(im, form, icc_profile=swapped_profile(), **options))
        r, _, b = out.getpixel((8, 8))
        assert b > 240 and r < 30 and not notes, form
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    out, notes = decode(encoded(noise(16, 16), icc_profile=srgb))
    assert np.array_equal(out, noise(16, 16)) and not notes


def test_a_profile_with_alpha_rotation_and_gray():
    im = Image.new("RGBA", (16, 8), (250, 20, 10, 0))
    im.paste((250, 20, 10, 255), (0, 0, 8, 8))  # the left half is opaque
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn clockwise: left becomes top
    out, _ = decode(encoded(im, icc_profile=swapped_profile(), exif=exif), "black")
    assert out.size == (8, 16) and out.getpixel((4, 2))[2] > 240 and out.getpixel((4, 14)) == (0, 0, 0)
    gray, _ = decode(encoded(Image.new("L", (8, 8), 100), icc_profile=swapped_profile()))
    assert gray.mode == "L"


def test_a_damaged_profile_is_reported_and_not_used():
    out, notes = decode(encoded(noise(16, 16), icc_profile=b"nonsense" * 30))
    assert np.array_equal(out, noise(16, 16)) and notes == (BAD_PROFILE,)
