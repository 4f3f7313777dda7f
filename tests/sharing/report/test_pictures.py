"""Sheets and films that fit into a page."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from generation.run_sheets import find_sheets
from sharing.report import pictures
from sharing.report.pictures import encode, look_at, make_film, spread
from tests.sharing.report.written_runs import red_of, write_sheets

MUCH = 10**8  # bytes


def test_every_sheet_of_every_level(tmp_path):
    write_sheets(tmp_path, range(4))
    seen = look_at(find_sheets(tmp_path), MUCH)
    assert (seen.found, seen.read, seen.sizes, seen.kimg) == (4, 4, [(4, 4), (8, 8)], [0, 1, 2, 3])
    for kimg, levels in zip(seen.kimg, seen.images, strict=True):
        assert [red_of(io.BytesIO(data)) for data in levels] == [10 * kimg, 10 * kimg]
        sizes = [Image.open(io.BytesIO(data)).size for data in levels]
        assert sizes == [(12, 8), (24, 16)]  # each pixel once


def test_sheets_that_do_not_fit_are_left_out_evenly(tmp_path):
    write_sheets(tmp_path, range(9))
    sheets = find_sheets(tmp_path)
    bytes_of_all = sum(len(data) for levels in look_at(sheets, MUCH).images for data in levels)

    seen = look_at(sheets, round(0.4 * bytes_of_all))
    assert seen.film is None and seen.kimg == [0, 4, 8] and seen.found == 9
    assert sum(len(data) for levels in seen.images for data in levels) <= 0.4 * bytes_of_all
    assert [red_of(io.BytesIO(levels[0])) for levels in seen.images] == [0, 40, 80]
    assert look_at(sheets, 1).kimg == [8]


def test_a_long_run_is_read_in_part(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_SHEETS", 5)
    monkeypatch.setattr(pictures, "MOST_VIEWED", 3)
    write_sheets(tmp_path, range(17), sizes=(4,))
    seen = look_at(find_sheets(tmp_path), MUCH)
    assert (seen.found, seen.read, seen.kimg) == (17, 5, [0, 8, 16])
    assert seen.stability["4x4"].x.tolist() == [4, 8, 12, 16]


def test_stability_is_the_change_of_pixels_that_count_in_minus_1_to_1(tmp_path):
    write_sheets(tmp_path, range(3), noise=0)
    stability = look_at(find_sheets(tmp_path), MUCH).stability
    assert list(stability) == ["4x4", "8x8"]
    for curve in stability.values():
        assert curve.x.tolist() == [1, 2]
        assert curve.y == pytest.approx([(10 / 127.5) ** 2 / 3] * 2)  # one channel of three changes


def test_one_sheet_has_no_stability(tmp_path):
    write_sheets(tmp_path, range(1))
    seen = look_at(find_sheets(tmp_path), MUCH)
    assert seen.stability == {} and seen.kimg == [0]


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [((4, 8), (2 * 64 + 16, 6 * 64)), ((64, 256), (2 * 128 + 16, 6 * 128))],
)
def test_the_film_shows_each_sheet_with_levels_as_rows(tmp_path, sizes, shape):
    write_sheets(tmp_path, range(0, 20, 5), sizes=sizes, noise=0)
    film = make_film(find_sheets(tmp_path), MUCH)
    with av.open(io.BytesIO(film.data)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4 and film.samples == 6
    for k, frame in zip(range(0, 20, 5), frames, strict=True):
        assert frame.shape[:2] == shape
        assert abs(frame[: shape[0] - 16, :, 0].mean() - 10 * k) < 4
        assert frame[shape[0] - 16 :].min() < 128 < frame[shape[0] - 16 :].max()  # the number of kimg
    assert Image.open(io.BytesIO(film.poster)).size == (shape[1], shape[0])


def test_a_film_has_fewer_samples_if_it_would_be_too_large(tmp_path):
    write_sheets(tmp_path, range(4), sizes=(8, 64), noise=255)
    sheets = find_sheets(tmp_path)
    whole = make_film(sheets, MUCH)
    smaller = make_film(sheets, int(0.8 * len(whole.data)))
    assert smaller.samples == 4 and len(smaller.data) < 0.8 * len(whole.data)
    assert make_film(sheets, 100) is None


def test_large_sheets_are_reduced_and_gray_ones_stay_gray():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (6, 1, 1024, 1024), np.uint8)
    with Image.open(io.BytesIO(encode(images))) as im:
        assert im.size == (1536, 1024)
        pixels = np.asarray(im.convert("RGB")).astype(int)
    assert abs(pixels[..., 0] - pixels[..., 2]).max() <= 2


def test_a_damaged_sheet_is_named(tmp_path):
    write_sheets(tmp_path, range(3))
    (tmp_path / "8x8" / "fakes000001.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"8x8/fakes000001.png: not a readable image"):
        look_at(find_sheets(tmp_path), MUCH)


def test_spread():
    assert spread(5, 5) == [0, 1, 2, 3, 4] and spread(3, 9) == [0, 1, 2]
    assert spread(9, 3) == [0, 4, 8] and spread(9, 1) == [8] and spread(1, 1) == [0]
