import io

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import (
    LABEL_HEIGHT,
    PICTURES,
    encode,
    enlarge,
    labelled,
    opaque,
    save_grid,
    save_image,
    sheet,
    to_pil,
)


def test_sheets_are_filled_row_by_row_and_padded_with_white():
    images = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(2, 2).repeat(2, 3)  # [3,1,2,2] of 0, 1, 2
    picture = sheet(images, columns=2)
    assert picture.shape == (1, 4, 4)
    assert (picture[0, :2, :2] == 0).all() and (picture[0, :2, 2:] == 1).all()
    assert (picture[0, 2:, :2] == 2).all() and (picture[0, 2:, 2:] == 255).all()


def test_sheet_places_images_row_by_row(tmp_path):
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    grid = sheet(images, 3, (4, 4))
    assert grid.shape == (3, 8, 12)
    np.testing.assert_array_equal(grid[0, ::4, ::4], [[0, 1, 2], [3, 4, 255]])
    save_image(grid, tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as im:
        np.testing.assert_array_equal(np.asarray(im).transpose(2, 0, 1), grid)


def test_small_images_are_scaled_up_by_repeating_pixels():
    image = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    assert np.array_equal(sheet(image, 1, (4, 6))[0], image[0, 0].repeat(2, 0).repeat(3, 1))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA"), (5, "RGB")])
def test_any_number_of_channels_can_be_shown(tmp_path, channels, mode):
    image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), np.uint8)
    assert to_pil(image).mode == mode
    save_image(image, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as read:
        pixels = np.asarray(read)
    expected = image[0] if channels == 1 else image[: min(channels, 4) if channels < 5 else 3].transpose(1, 2, 0)
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("suffix", PICTURES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_kind_of_file_shows_the_picture(suffix, channels):
    image = np.full((channels, 16, 16), 200, np.uint8)
    image[:, 4:12, 4:12] = 100
    if channels == 4:
        image[3] = 255
    with Image.open(io.BytesIO(encode(image, suffix.upper()))) as read:
        pixels = np.asarray(read.convert("RGB")).astype(int)
    assert np.abs(pixels - image[:3].transpose(1, 2, 0)).max() <= (0 if suffix == ".png" else 4)


def test_transparency_is_shown_on_a_checkerboard():
    image = np.full((4, 16, 16), 40, np.uint8)
    image[3, :, :8] = 0
    image[3, :, 8:] = 255
    shown = opaque(image)
    assert shown.shape == (3, 16, 16) and (shown[:, :, 8:] == 40).all()
    assert (shown[:, :8, :8] == 255).all() and (shown[:, 8:, :8] == 204).all()
    assert np.array_equal(opaque(image[[0, 3]])[0], shown[0])  # gray with alpha
    assert np.array_equal(sheet(image[None], 1), shown) and opaque(image[:1]) is not None
    jpeg = np.asarray(Image.open(io.BytesIO(encode(image, ".jpg")))).astype(int)
    assert abs(jpeg[2, 2].mean() - 255) < 12 and abs(jpeg[12, 2].mean() - 204) < 12


def test_arrays_keep_all_channels():
    image = np.random.default_rng(0).integers(0, 256, (7, 3, 5), np.uint8)
    assert np.array_equal(np.load(io.BytesIO(encode(image, ".npy"))), image)


def test_pictures_that_a_kind_of_file_cannot_hold_are_refused():
    with pytest.raises(UserError, match=r"16384x1 pixels: expected at most 16383 in a \.webp, or a \.png"):
        encode(np.zeros((1, 1, 16384), np.uint8), ".webp")
    encode(np.zeros((1, 1, 70000), np.uint8), ".png")


def test_no_images_and_unknown_kinds_of_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        save_grid([], tmp_path / "x.png")
    with pytest.raises(UserError, match=r"unknown kind of picture \.bmp, expected one of \.png"):
        save_image(np.zeros((3, 2, 2), np.uint8), tmp_path / "x.bmp")
    assert not list(tmp_path.iterdir())


def test_images_are_enlarged_by_the_smallest_whole_factor():
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    assert np.array_equal(enlarge(image, 5), image.repeat(3, 1).repeat(3, 2))
    assert np.array_equal(enlarge(image, 1), image)


def test_a_label_is_dark_text_on_white_below_the_image():
    picture = labelled(np.zeros((3, 20, 60), np.uint8), "psi 0.7")
    assert picture.shape == (3, 20 + LABEL_HEIGHT, 60)
    strip = picture[:, 20:]
    assert (strip == 255).mean() > 0.5 and (strip < 64).any()


def test_a_grid_is_about_as_wide_as_high(tmp_path):
    save_grid([np.zeros((3, 4, 4), np.uint8)] * 5, tmp_path / "grid.png")
    save_grid([np.zeros((3, 4, 4), np.uint8)] * 5, tmp_path / "row.png", columns=5)
    assert Image.open(tmp_path / "grid.png").size == (12, 8)
    assert Image.open(tmp_path / "row.png").size == (20, 4)
