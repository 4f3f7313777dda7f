"""Sheets of a run, read again."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import save_image, sheet
from generation.run_sheets import find_sheets, mean_squared_change


@pytest.fixture
def run(tmp_path):
    """Three sheets of two levels; each has the gray value 10 * k, and the smaller level changes twice as much."""
    for r, step in ((4, 20), (8, 10)):
        (tmp_path / f"{r}x{r}").mkdir()
        for k, name in enumerate(("fakes000000.png", "fakes000000.064.png", "fakes000010.png")):
            save_image(
                sheet(np.full((6, 3, r, r), step * k, np.uint8), 3, (8, 8)), tmp_path / f"{r}x{r}" / name
            )  # fmt: skip
    return tmp_path


def test_sheets_come_in_the_order_of_kimg_and_give_their_cells_back(run):
    sheets = find_sheets(run)
    assert sheets.kimg == [0, 0.064, 10] and sheets.sizes == [(4, 4), (8, 8)]
    assert sheets.cells(0, sheets.names[1]).shape == (6, 3, 8, 8)
    assert (sheets.cells(0, sheets.names[1]) == 20).all() and (sheets.cells(1, sheets.names[2]) == 20).all()


def test_a_sheet_counts_once_all_levels_have_it(run):
    (run / "4x4" / "fakes000010.png").unlink()
    assert find_sheets(run).kimg == [0, 0.064]


def test_the_change_from_sheet_to_sheet_counts_in_units_of_the_network(run):
    sheets = find_sheets(run)
    before, after = ([sheets.cells(level, name) for level in (0, 1)] for name in sheets.names[:2])
    np.testing.assert_allclose(mean_squared_change(before, after), [(20 / 127.5) ** 2, (10 / 127.5) ** 2], rtol=1e-6)


def test_from_black_to_white_is_a_change_of_four():
    black = np.zeros((1, 1, 4, 4), np.uint8)
    assert mean_squared_change([black], [black + 255]) == [4.0]


def test_gray_sheets_and_one_sheet(run):
    for folder in run.iterdir():
        for name in ("fakes000000.064.png", "fakes000010.png"):
            (folder / name).unlink()
        path = folder / "fakes000000.png"
        Image.open(path).convert("L").save(path)
    sheets = find_sheets(run)
    assert sheets.cells(1, sheets.names[0]).shape == (6, 1, 8, 8)


def test_no_sheets_and_damaged_ones_are_named(run, tmp_path):
    (run / "8x8" / "fakes000010.png").write_bytes(b"PNG")
    sheets = find_sheets(run)
    with pytest.raises(UserError, match=r"8x8/fakes000010\.png: not a readable image"):
        sheets.cells(1, sheets.names[2])

    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no sheets in it, expected a run dir"):
        find_sheets(tmp_path / "empty")
