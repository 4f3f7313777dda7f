"""Each rule by which a picture becomes a training image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataprep import rules
from dataprep.rules import Picture, Refused, Rules
from dataprep.sources.images import create_from_images
from tests.pictures import encoded, noise, swapped_profile
from tests.runs import script
from training.data.dataset import open_dataset
from training.data.decode import ANIMATED, BAD_PROFILE, decode
from training.data.tfrecord import TFRecordDataset


def area_by_definition(x, height, width):
    """Each new pixel is the sum of the old ones, weighted by the part of their area that it covers; float64."""
    h, w, _ = x.shape

    def weights(m, n):
        out = np.zeros((n, m))
        for i in range(n):
            for j in range(m):
                out[i, j] = max(0.0, min((i + 1) * m / n, j + 1) - max(i * m / n, j)) * n / m
        return out

    return np.einsum("ih,jw,hwc->ijc", weights(h, height), weights(w, width), x.astype(np.float64))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24))
@settings(max_examples=60, deadline=None)
def test_area_is_the_mean_over_exact_areas(w, h, width, height):
    im = noise(w, h)
    expected = area_by_definition(np.asarray(im), height, width)
    found = np.asarray(rules.scale(im, width, height, "area")).astype(float)
    assert np.abs(found - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("filter", ["lanczos", "box", "area"])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit(filter, channels):
    """crop keeps the centre, pad keeps everything on the background, stretch keeps everything."""
    im = noise(60, 40, channels)
    center = rules.scale(im.crop((10, 0, 50, 40)), 16, 16, filter)
    assert np.array_equal(rules.fit(im, 16, "crop", filter), center)
    assert np.array_equal(rules.fit(im, 16, "stretch", filter), rules.scale(im, 16, 16, filter))
    padded = np.asarray(rules.fit(im, 16, "pad", filter, "#204060"))
    colour = [0x20, 0x40, 0x60] if channels == 3 else Image.new("RGB", (1, 1), "#204060").convert("L").getpixel((0, 0))
    assert (padded[:2] == colour).all() and (padded[-3:] == colour).all()
    assert np.array_equal(padded[2:13], rules.scale(im, 16, 11, filter))


def test_filters_of_pillow_are_its_own():
    im = noise(61, 45)
    assert np.array_equal(rules.scale(im, 16, 16, "lanczos"), im.resize((16, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(rules.scale(im, 16, 16, "box"), im.resize((16, 16), Image.Resampling.BOX))


def test_every_filter_is_antialiased():
    """Stripes of one pixel become their mean: nothing aliases."""
    x = np.zeros((256, 256, 3), np.uint8)
    x[:, ::2] = 255
    for filter in ("lanczos", "box", "area"):
        small = np.asarray(rules.scale(Image.fromarray(x), 32, 32, filter)).astype(float)
        assert np.abs(small[:, 2:-2] - 127.5).max() < 2, filter


def test_animations_are_reported(tmp_path):
    frames = [Image.new("RGB", (16, 16), c) for c in ("blue", "red", "green")]
    for form in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        out, notes = decode(data)
        assert notes == (ANIMATED,) and out.getpixel((0, 0))[2] > 240, form
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.gif").write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    out = script("dataset_tool.py", "create_from_images", tmp_path / "out", tmp_path / "in")
    assert "1 image animated, its first frame taken, e.g." in out.stderr and "a.gif" in out.stderr


@pytest.mark.parametrize("background", ["white", "black", "#ff8000"])
def test_alpha_is_laid_on_the_background(background):
    rules = Rules(background=background)
    clear = Image.new("RGBA", (16, 16), (1, 2, 3, 0))
    expected = Image.new("RGB", (1, 1), background).getpixel((0, 0))
    for data in (encoded(clear), encoded(clear.quantize(4)), encoded(Image.new("LA", (16, 16), (9, 0)))):
        image = rules(data).image
        assert tuple(int(v) for v in image[:, 0, 0]) in (expected, expected[:1])


def test_sixteen_bits():
    wide = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    assert np.array_equal(Rules()(encoded(wide)).image[0], np.arange(256).reshape(16, 16))
    assert "float pixels" in Rules()(encoded(Image.new("F", (16, 16)), "TIFF")).reason


def test_channels():
    gray, rgb = encoded(noise(16, 16, 1)), encoded(noise(16, 16))
    assert [Rules(channels=c)(x).image.shape[0] for c in ("auto", "1", "3") for x in (gray, rgb)] == [1, 3, 1, 1, 3, 3]


def test_coloured_borders_make_gray_images_rgb():
    gray = encoded(noise(16, 12, 1))
    image = Rules(resize=4, fit="pad", background="#4080c0")(gray).image
    assert tuple(image[:, 0, 0]) == (0x40, 0x80, 0xC0)
    assert Rules(resize=4, fit="pad", background="#404040")(gray).image.shape[0] == 1
    assert Rules(resize=4, fit="pad", background="red", channels="1")(gray).image.shape[0] == 1


def test_sizes_that_cannot_be_stored():
    assert Rules()(encoded(noise(16, 12))) == Refused("16x12 pixels", readable=True)
    assert Rules()(encoded(noise(4, 4))) == Refused("4x4 pixels", readable=True)
    assert isinstance(Rules(resize=3)(encoded(noise(1, 500))), Picture)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--resize", 15], "--resize 15: expected log2"),
        (["--fit", "pad"], "expected --resize LOG2 with them"),
        (["--background", "nocolour"], "--background nocolour: expected a colour"),
        (["--subset", 0], "--subset 0: expected >= 1"),
        (["--shard-mb", -3], "--shard-mb -3: expected >= 1"),
    ],
)
def test_wrong_options_are_one_line(args, message, tmp_path):
    out = script("dataset_tool.py", "create_from_images", tmp_path / "x", tmp_path, *args, check=False)
    assert out.returncode == 2 and out.stderr.count("\n") == 1 and out.stderr.startswith("error: --")
    assert message in out.stderr


def test_reading_a_folder_directly_follows_the_same_rules(tmp_path):
    """Profiles, alpha, rotation, 16 bit: the same pixels as after a conversion."""
    folder = tmp_path / "in"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x112] = 8
    noise(16, 16).save(folder / "a.png", icc_profile=swapped_profile(), exif=exif)
    noise(16, 16, 4, seed=1).save(folder / "b.png")
    noise(16, 16, seed=2).quantize(16).save(folder / "c.gif")
    create_from_images(tmp_path / "out", folder, shuffle=0)
    a, b = open_dataset(folder), TFRecordDataset(tmp_path / "out")
    for i in range(3):
        np.testing.assert_array_equal(a[i][0], b[i][0])


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "RGB"), ("PNG", "I;16"), ("JPEG", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB"), ("GIF", "P")]
)
def test_damage_is_never_taken_for_a_bad_profile(form, mode):
    """An image whose bits were changed is refused or, where the format has nothing to notice it by, read as it is; PNG
    has checksums."""
    wide = np.random.default_rng(0).integers(0, 65536, (32, 32), dtype=np.uint16)
    im = Image.fromarray(wide) if mode == "I;16" else noise(32, 32).convert(mode)
    whole = encoded(im, form)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        raw = bytearray(whole)
        raw[int(rng.integers(len(raw) // 4, len(raw)))] ^= 1 << int(rng.integers(8))
        found = Rules()(bytes(raw))
        refused += isinstance(found, Refused)
        assert isinstance(found, Refused) or BAD_PROFILE not in found.notes
    assert refused == 60 or form != "PNG"
    assert isinstance(Rules()(whole[: len(whole) // 2]), Refused)


def test_transparency_of_gray_and_with_a_profile():
    gray = noise(16, 16, 1)
    assert Rules()(encoded(gray, transparency=int(gray.getpixel((0, 0))))).image.shape[0] == 1
    rgb = Image.new("RGB", (16, 16), (10, 20, 30))
    image = Rules()(encoded(rgb, transparency=(10, 20, 30), icc_profile=swapped_profile())).image
    assert image.min() == 255


def test_pixels_of_32_bits_are_refused():
    deep = Image.fromarray(np.full((16, 16), 70000, np.int32))
    assert "pixels of 32 bits" in Rules()(encoded(deep, "TIFF")).reason
