"""Each rule by which a picture becomes a training image."""

import io

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataprep import rules
from dataprep.rules import Picture, Refused, Rules
from dataprep.sources.images import create_from_images
from dnnlib.video import save_video
from tests.pictures import encoded, noise, swapped_profile
from tests.runs import script
from training.data.dataset import open_dataset
from training.data.decode import ANIMATED, BAD_PROFILE, bands_of, decode
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
    assert np.array_equal(rules.fit(im, 16, 16, "crop", filter), center)
    assert np.array_equal(rules.fit(im, 16, 16, "stretch", filter), rules.scale(im, 16, 16, filter))
    padded = np.asarray(rules.fit(im, 16, 16, "pad", filter, "#204060"))
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


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (61, 33)])
def test_rectangles_keep_their_proportions(size):
    """crop takes the largest middle part of 48:32; pad leaves all of the image; stretch does not look."""
    im = noise(*size)
    w, h = size
    part_w, part_h = min(w, round(h * 1.5)), min(h, round(w / 1.5))
    left, top = (w - part_w) // 2, (h - part_h) // 2
    part = im.crop((left, top, left + part_w, top + part_h))
    expected = part.resize((48, 32), Image.Resampling.LANCZOS)
    data = encoded(im)
    assert np.array_equal(Rules(resolution="48x32")(data).image, np.asarray(expected).transpose(2, 0, 1))

    padded = Rules(resolution="48x32", fit="pad", background="red")(data).image
    inner = round(w * 32 / h) if w < 1.5 * h else round(h * 48 / w)
    is_border = (padded == np.array([255, 0, 0])[:, None, None]).all(0)
    assert (~is_border.all(0 if w < 1.5 * h else 1)).sum() == inner
    stretched = im.resize((48, 32), Image.Resampling.LANCZOS)
    found = Rules(resolution="48x32", fit="stretch")(data).image
    assert np.array_equal(found, np.asarray(stretched).transpose(2, 0, 1))
    assert Rules(resolution="48x32").facts()["size"] == "48x32" and Rules(resolution="48x32").facts()["resize"] is None


def test_transparency_can_be_kept():
    im = noise(60, 40, 4)
    scaled = im.crop((10, 0, 50, 40)).resize((16, 16), Image.Resampling.LANCZOS)  # Pillow weighs colours by alpha
    kept = Rules(resize=4, alpha="keep")(encoded(im)).image
    assert np.array_equal(kept, np.asarray(scaled).transpose(2, 0, 1))
    opaque = Rules(resize=4, alpha="keep")(encoded(noise(60, 40))).image
    assert opaque.shape[0] == 4 and (opaque[3] == 255).all()
    assert Rules(resize=4, alpha="keep")(encoded(noise(60, 40, 1))).image.shape[0] == 2
    padded = Rules(resize=4, alpha="keep", fit="pad", background="red")(encoded(im)).image
    assert padded.shape[0] == 4 and (padded[:, 0] == np.array([255, 0, 0, 0])[:, None]).all()


def test_every_band_of_other_images_is_scaled_by_itself():
    bands = np.random.default_rng(0).integers(0, 256, (5, 40, 60), dtype=np.uint8)
    for stored in (bands, bands.transpose(1, 2, 0), bands[None]):
        image = Rules(resize=4)(array(stored)).image
        for band, found in zip(bands, image, strict=True):
            assert np.array_equal(found, Image.fromarray(band).crop((10, 0, 50, 40)).resize((16, 16), Image.LANCZOS))


def test_other_images_are_not_made_gray_or_rgb():
    bands = np.zeros((5, 16, 16), np.uint8)
    for convert in (Rules(channels="3"), Rules(like="edm2")):
        assert convert(array(bands)) == Refused("5 channels, expected gray or RGB with --channels 3")


def test_axes_whose_order_cannot_be_told_are_refused():
    assert "fewer channels than pixels either way" in Rules()(array(np.zeros((128, 64, 64), np.uint8))).reason
    assert bands_of(array(np.zeros((128, 64, 64), np.uint8)), 128).shape == (128, 64, 64)
    assert bands_of(array(np.zeros((64, 64, 128), np.uint8)), 128).shape == (128, 64, 64)


def test_sizes_that_cannot_be_stored():
    for size, near in (((17, 12), "16x12"), ((4, 4), "6x6")):
        refused = Rules()(encoded(noise(*size)))
        expected = f"expected even edges of at least 6 pixels, e.g. {near}"
        assert refused == Refused(f"found {size[0]}x{size[1]}, {expected}", readable=True)
    assert isinstance(Rules(resize=3)(encoded(noise(1, 500))), Picture)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--resize", 15], "--resize 15: expected log2"),
        (["--fit", "pad"], "expected --resize LOG2 or --resolution PIXELS with them"),
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


# What other tools do with a folder, written down from what they do, without our rules.


def sorted_by_folder(folder):
    """The files of a folder in the order of the original: each folder is sorted by itself."""
    files = []
    for path in sorted(folder.iterdir(), key=lambda path: str(path)):
        files += sorted_by_folder(path) if path.is_dir() else [path]
    return files


def as_original(path, side):
    scaled = Image.open(path).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(scaled)[..., :3].transpose(2, 0, 1)


def as_stylegan3(path, side):
    return np.asarray(Image.open(path).resize((side, side), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def as_stylegan3_crop(path, side):
    x = np.asarray(Image.open(path))
    s = min(x.shape[:2])
    x = x[(x.shape[0] - s) // 2 : (x.shape[0] + s) // 2, (x.shape[1] - s) // 2 : (x.shape[1] + s) // 2]
    return np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def as_edm2_dhariwal(path, side):
    im = Image.open(path).convert("RGB")
    while min(im.size) >= 2 * side:
        im = im.resize((im.size[0] // 2, im.size[1] // 2), Image.Resampling.BOX)
    factor = side / min(im.size)
    im = im.resize((round(im.size[0] * factor), round(im.size[1] * factor)), Image.Resampling.BICUBIC)
    x = np.asarray(im)
    top, left = (x.shape[0] - side) // 2, (x.shape[1] - side) // 2
    return x[top : top + side, left : left + side].transpose(2, 0, 1)


def as_edm2_wide(path, side):
    x = np.asarray(Image.open(path).convert("RGB"))
    height = side * 3 // 4
    rows = int(np.round(side * x.shape[0] / x.shape[1]))
    if x.shape[1] < side or rows < height:
        return None  # left out
    x = x[(x.shape[0] - rows) // 2 : (x.shape[0] + rows) // 2]
    canvas = np.zeros((side, side, 3), np.uint8)
    scaled = Image.fromarray(x).resize((side, height), Image.Resampling.LANCZOS)
    canvas[(side - height) // 2 : (side + height) // 2] = np.asarray(scaled)
    return canvas.transpose(2, 0, 1)


@pytest.fixture
def photos(tmp_path):
    """Pictures of several sizes, turned by EXIF, with a profile, and with alpha, in folders."""
    folder = tmp_path / "photos"
    exif = Image.Exif()
    exif[0x112] = 6
    for i, name in enumerate(["a.png", "a/b.png", "a/a.png", "b/c/d.png", "a b.png", "z.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(70 + 13 * i, 61, seed=i).save(folder / name, exif=exif, icc_profile=swapped_profile())
    return folder


@pytest.mark.parametrize(
    ("like", "more", "expected"),
    [
        ("original", {}, as_original),
        ("stylegan3", {}, as_stylegan3),
        ("stylegan3", {"fit": "crop"}, as_stylegan3_crop),
        ("edm2", {}, as_stylegan3),
        ("edm2", {"fit": "dhariwal"}, as_edm2_dhariwal),
        ("edm2", {"fit": "crop-wide"}, as_edm2_wide),
    ],
)
def test_pixels_and_order_of_other_tools(photos, tmp_path, like, more, expected):
    if like == "original":
        noise(50, 40, 4, seed=9).save(photos / "alpha.png")
    create_from_images(tmp_path / "out", photos, picture=Rules(resolution="32", like=like, **more))
    if like == "original":
        files = sorted_by_folder(photos)
        order = np.arange(len(files))
        np.random.RandomState(123).shuffle(order)
        files = [files[i] for i in order]
    else:
        files = sorted(photos.rglob("*.png"), key=str)
    images = [image for path in files if (image := expected(path, 32)) is not None]
    dataset = TFRecordDataset(tmp_path / "out")
    assert len(dataset) == len(images) >= 2
    for i, image in enumerate(images):
        np.testing.assert_array_equal(dataset[i][0], image)


def test_what_is_like_another_tool_can_be_changed_rule_by_rule():
    im = encoded(noise(60, 40, 4))
    look = Rules(like="original", resize=4, filter="box", alpha="red").look
    assert (look.filter, look.fit, look.alpha, look.raw) == ("box", "stretch", "red", True)
    dropped = Rules(resize=4, alpha="drop")(im).image
    assert np.array_equal(dropped, Rules(resize=4)(encoded(noise(60, 40, 4).convert("RGB"))).image)
    assert not np.array_equal(dropped, Rules(resize=4, alpha="drop-scaled")(im).image)
    facts = Rules(like="edm2", resolution="64", fit="crop-wide").facts()
    assert facts["like"] == "edm2" and facts["resize"] == 6 and facts["wide_height"] == 48 and facts["raw"] is True
    assert Rules(resize=4).facts().keys() == {"resize", "fit", "filter", "wanted_channels", "background"}


@pytest.mark.parametrize("filter", ["lanczos", "bicubic", "bilinear", "box", "area"])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
def test_every_filter_takes_every_kind_of_image(filter, mode):
    data = encoded(noise(60, 40, 4).convert(mode))
    for alpha in ("white", "drop", "drop-scaled"):
        image = Rules(resize=4, filter=filter, alpha=alpha)(data).image
        assert image.shape == (1 if mode in ("L", "LA") else 3, 16, 16)


def test_raw_ignores_what_the_file_says():
    exif = Image.Exif()
    exif[0x112] = 6
    im = noise(16, 16)
    data = encoded(im, exif=exif, icc_profile=swapped_profile())
    assert np.array_equal(Rules(raw=True)(data).image, np.asarray(im).transpose(2, 0, 1))
    assert not np.array_equal(Rules()(data).image, np.asarray(im).transpose(2, 0, 1))


def test_wide_pictures_that_are_too_small_are_skipped():
    assert Rules(resize=6, fit="crop-wide")(encoded(noise(64, 40))) == Refused(
        "64x40 pixels, too small or too wide for 64x48"
    )
    assert Rules(resize=6, fit="crop-wide", wide_height=32)(encoded(noise(64, 40))).image.shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("fit", "size", "enlarged"),
    [("crop", (64, 31), True), ("crop", (32, 64), False), ("pad", (32, 5), False), ("pad", (31, 9), True)],
)
def test_enlarged_images_are_counted(fit, size, enlarged):
    notes = Rules(resolution="32", fit=fit)(encoded(noise(*size))).notes
    assert notes == (("smaller than the dataset, enlarged",) if enlarged else ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": "100"}, "--resolution 100: found 100x100, .* e.g. 96x96"),
        ({"resolution": "64x"}, "--resolution 64x: expected pixels such as 256, or WIDTHxHEIGHT"),
        ({"resolution": "64", "resize": 5}, "expected one of them"),
        ({"resolution": "96x64", "fit": "dhariwal"}, "--fit dhariwal: expected a square, found --resolution 96x64"),
        ({"background": "keep"}, "--background keep: expected a colour"),
        ({"wide_height": 5, "resize": 5}, "--wide-height 5: expected --fit crop-wide"),
        ({"wide_height": 64, "resize": 5, "fit": "crop-wide"}, "at most the resolution"),
        ({"alpha": "nocolour"}, "--alpha nocolour: expected a colour"),
        ({"filter": "box"}, "expected --resize LOG2 or --resolution PIXELS"),
    ],
)
def test_wrong_rules(options, message):
    with pytest.raises(ValueError, match=message):
        Rules(**options)


def array(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def test_arrays_as_in_celeba_hq():
    x = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    for stored in (x, x[None], x.transpose(1, 2, 0)):
        assert np.array_equal(Rules()(array(stored)).image, x)
    for stored in (x[:1], x[0], x[:1][None], x[0][..., None]):
        assert np.array_equal(Rules()(array(stored)).image, x[:1])
    for stored in (x.astype(float), np.zeros((2, 3, 16, 16), np.uint8), x[:0]):
        assert "expected uint8 [C,H,W], [H,W,C] or [H,W]" in Rules()(array(stored)).reason
    assert "they are pickles" in Rules()(array(np.array([object()]))).reason


@pytest.mark.parametrize(("form", "suffix"), [("HEIF", "heic"), ("AVIF", "avif")])
def test_photos_of_phones(tmp_path, form, suffix):
    """Written by the formats' own libraries, read in a process that has not loaded them yet."""
    pillow_heif.register_heif_opener()
    folder = tmp_path / "in"
    folder.mkdir()
    smooth = Image.fromarray(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)).convert("RGB")
    smooth.save(folder / f"a.{suffix}", form, quality=95)
    script("dataset_tool.py", "create_from_images", tmp_path / "out", folder)
    image = TFRecordDataset(tmp_path / "out")[0][0]
    assert np.abs(image.astype(int) - np.asarray(smooth).transpose(2, 0, 1)).mean() < 3


def test_what_is_not_looked_at_is_counted(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    noise(16, 16).save(folder / "a.png")
    for name in ("film.mov", "other.mov", "notes.txt", "model.pt", ".hidden.mov"):
        (folder / name).write_bytes(b"")
    out = script("dataset_tool.py", "create_from_images", tmp_path / "out", folder)
    assert "not looked at, since they have no suffix of a readable image: 2 .mov, 1 .pt, 1 .txt" in out.stderr


def test_a_folder_of_photos_as_a_phone_makes_them(tmp_path):
    """HEIC, a live photo with its film, portraits by EXIF, a sidecar and a damaged file: whatever is not an image of
    the dataset has a line. The expected pixels are computed with Pillow alone."""
    pillow_heif.register_heif_opener()
    folder = tmp_path / "DCIM" / "100APPLE"
    folder.mkdir(parents=True)
    smooth = np.add.outer(np.arange(48), 2 * np.arange(64)).clip(0, 255).astype(np.uint8)
    photo = Image.fromarray(np.stack([smooth, smooth // 2, 255 - smooth], 2))  # 64x48, as the sensor sees it
    exif = Image.Exif()
    exif[0x0112] = 6  # the phone was held upright
    photo.save(folder / "IMG_0001.JPG", quality=98, subsampling=0, exif=exif)
    photo.save(folder / "IMG_0002.HEIC", quality=98)
    photo.save(folder / "IMG_0003.PNG")
    save_video([np.asarray(photo).transpose(2, 0, 1)] * 3, tmp_path / "live.mp4")
    (tmp_path / "live.mp4").rename(folder / "IMG_0002.MOV")
    (folder / "IMG_0003.AAE").write_text("<plist/>")
    (folder / "IMG_0004.JPG").write_bytes((folder / "IMG_0001.JPG").read_bytes()[:300])
    (folder / ".DS_Store").write_bytes(b"Bud1")

    args = ["create_from_images", tmp_path / "set", tmp_path / "DCIM", "--resolution", "24x32", "--shuffle", 0]
    out = script("dataset_tool.py", *args)
    dataset = TFRecordDataset(tmp_path / "set")
    upright = photo.transpose(Image.Transpose.ROTATE_270)  # 48x64
    middle = photo.crop((14, 0, 50, 48))  # the largest part of 24:32
    for i, expected in enumerate([upright, middle, middle]):
        pixels = np.asarray(expected.resize((24, 32), Image.Resampling.LANCZOS)).transpose(2, 0, 1).astype(int)
        assert np.abs(dataset[i][0] - pixels).mean() < (0.01 if i == 2 else 2)
    assert len(dataset) == 3

    listed = (tmp_path / "set" / "skipped.txt").read_text().splitlines()
    assert len(listed) == 3 and "IMG_0004.JPG: not a readable image" in listed[0]
    assert sorted(line.partition(":")[0] for line in listed[1:]) == ["100APPLE/IMG_0002.MOV", "100APPLE/IMG_0003.AAE"]
    assert "skipped 1 of 4" in out.stderr and "1 .mov, 1 .aae" in out.stderr and "skipped.txt" in out.stderr
