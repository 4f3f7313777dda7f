"""Sheets: how large they are, and what is in them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import tiny
from dnnlib.errors import UserError
from tests.runs import make_dataset
from training import pyramid
from training.data.dataset import open_dataset
from training.run.sheets import Sheets, sheet_grid
from training.state import TrainState

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(make_dataset(tmp_path_factory.mktemp("data") / "blobs", n=20, resolution=16))


def cell(path: Path, k: int) -> np.ndarray:
    """Image k of a sheet of 16 columns, [16,16,3]."""
    y, x = 16 * (k // 16), 16 * (k % 16)
    with Image.open(path) as im:
        return np.asarray(im)[y : y + 16, x : x + 16]


def test_sheets(dataset, tmp_path):
    """Every level at full size, 16 columns and 9 rows of it; image k is that of latent and label k."""
    cfg = replace(tiny(), resolution=16, precision="fp32", batch=8)
    sheets = Sheets(cfg, dataset, CPU)
    G = TrainState(cfg, dataset.spec, CPU).G_ema
    sheets.save_reals(tmp_path)
    sheets.save_fakes(tmp_path, G, "000001")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")) == [
        "16x16/fakes000001.png", "4x4/fakes000001.png", "8x8/fakes000001.png", "reals.png",
    ]  # fmt: skip

    images = [dataset[i][0].transpose(1, 2, 0) for i in range(20)]
    assert any(np.array_equal(cell(tmp_path / "reals.png", 17), image) for image in images)
    with torch.no_grad():
        levels = G(sheets.z[17:18], sheets.c[17:18], noise_mode="const")
    for level in levels:
        r = level.shape[-1]
        expected = pyramid.to_uint8(level)[0].numpy().transpose(1, 2, 0).repeat(16 // r, 0).repeat(16 // r, 1)
        path = tmp_path / f"{r}x{r}" / "fakes000001.png"
        with Image.open(path) as im:
            assert im.size == (256, 144)
        assert np.abs(cell(path, 17).astype(int) - expected).max() <= 1


def test_latents_and_labels_follow_from_the_seed(dataset):
    cfg = replace(tiny(), resolution=16)
    first, again, other = (Sheets(replace(cfg, seed=seed), dataset, CPU) for seed in (1, 1, 2))
    assert torch.equal(first.z, again.z) and torch.equal(first.c, again.c)
    assert not torch.equal(first.z, other.z) and first.z.shape == (144, 16)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("auto", (16, 9)),  # a screen of 1920x1080, at most 16x9
        ("1080p", (32, 32)),  # StyleGAN's numbers of images of 16x16
        ("6x4", (6, 4)),
    ],
)
def test_number_of_images(dataset, tmp_path, size, expected):
    cfg = replace(tiny(), resolution=16, sheet_size=size)
    sheets = Sheets(cfg, dataset, CPU)
    sheets.save_reals(tmp_path)
    with Image.open(tmp_path / "reals.png") as im:
        assert im.size == (16 * expected[0], 16 * expected[1])
    assert len(sheets.z) == expected[0] * expected[1]


@pytest.mark.parametrize(
    ("size", "height", "width", "expected"),
    [("1080p", 1024, 1024, (3, 2)), ("4k", 1024, 1024, (7, 4)), ("4k", 64, 256, (15, 32)), ("auto", 96, 64, (16, 9))],
)
def test_numbers_of_other_sizes(size, height, width, expected):
    assert sheet_grid(size, height, width) == expected


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("row_per_class", [[0] * 8, [1] * 8, [2] * 8, [0] * 8]),
        ("col_per_class", [[0, 1, 2, 0, 1, 2, 0, 1]] * 4),
        ("class4x4", [[0] * 4 + [1] * 4] * 4),
    ],
)
def test_layouts_by_class(dataset, tmp_path, layout, expected):
    """The dataset has about seven images of each class, so that some appear again."""
    sheets = Sheets(replace(tiny(), resolution=16, sheet_size="8x4", sheet_layout=layout), dataset, CPU)
    assert np.array_equal(sheets.c.argmax(1).reshape(4, 8), expected)
    for image, label in zip(sheets.reals, sheets.c, strict=True):
        indices = [i for i in range(20) if np.array_equal(dataset[i][0], image)]
        assert any(np.array_equal(dataset.labels[i], label) for i in indices)

    # A row that one class fills has different images as long as there are some.
    rows = sheets.reals.reshape(4, 8, -1)
    if layout == "row_per_class":
        count = int((np.asarray(dataset.labels).argmax(1) == 0).sum())
        assert len(np.unique(rows[0], axis=0)) == min(8, count)


def test_options_that_do_not_fit_the_images(dataset, tmp_path):
    cfg = replace(tiny(), resolution=16)
    with pytest.raises(UserError, match=r"--sheet-channels: found \[3\], expected 0 to 2"):
        Sheets(replace(cfg, sheet_channels=(3,)), dataset, CPU)
    unlabelled = open_dataset(dataset.path, use_labels=False)
    with pytest.raises(UserError, match="--sheet-layout row_per_class: the images have no labels"):
        Sheets(replace(cfg, sheet_layout="row_per_class"), unlabelled, CPU)
    for size in ("4", "0x3", "101x1", "8k"):
        with pytest.raises(ValueError, match=f"sheet_size: found {size}, expected auto, 1080p, 4k"):
            replace(cfg, sheet_size=size)
