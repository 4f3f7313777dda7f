"""Sheets: how large they are, and what is in them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import tiny
from tests.runs import make_dataset
from training import pyramid
from training.data.dataset import open_dataset
from training.run.sheets import Sheets
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
