import io
import sys

import lmdb
import numpy as np
import pytest
from PIL import Image

from dataprep.build import Output
from dataprep.sources.lsun import create_lsun, create_lsun_wide
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_dataset
from tests.runs import script
from training.data.tfrecord import TFRecordDataset


def encoded(x, form):
    out = io.BytesIO()
    Image.fromarray(x).save(out, form, quality=95)
    return out.getvalue()


@pytest.fixture
def lsun_dir(tmp_path):
    """JPEG and WebP of several sizes, and two broken entries."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "church_lmdb"
    pictures = {}
    with lmdb.open(str(folder), map_size=2**24) as database, database.begin(write=True) as transaction:
        for i, (h, w, form) in enumerate([(40, 64, "JPEG"), (80, 60, "WEBP"), (64, 64, "JPEG"), (20, 30, "WEBP")]):
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((w, h))
            data = encoded(np.asarray(coarse), form)
            key = f"{i:02d}"
            transaction.put(key.encode(), data)
            with Image.open(io.BytesIO(data)) as im:
                pictures[key] = np.asarray(im.convert("RGB"))
        transaction.put(b"015", b"not an image")
        transaction.put(b"025", encoded(np.zeros((9, 9, 3), np.uint8), "JPEG")[:40])
    return folder, pictures


def test_lsun(lsun_dir, tmp_path):
    source, pictures = lsun_dir
    out = script("dataset_tool.py", "create_lsun", tmp_path / "out", source, "--resolution", 16)
    expected = []
    for x in pictures.values():
        h, w = x.shape[:2]
        crop = min(h, w)
        x = x[(h - crop) // 2 : (h + crop) // 2, (w - crop) // 2 : (w + crop) // 2]
        expected.append(np.asarray(Image.fromarray(x).resize((16, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1))
    check_dataset(tmp_path / "out", expected)
    assert "skipped 2 of 6" in out.stderr and "015: not a readable image" in out.stderr
    create_lsun(tmp_path / "two", source, resolution=16, output=Output(max_images=2))
    check_dataset(tmp_path / "two", expected[:2])


def test_lsun_without_its_library(lsun_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UserError, match="pip install lmdb"):
        create_lsun(tmp_path / "out", lsun_dir[0], resolution=16)


def test_lsun_wide(lsun_dir, tmp_path):
    source, pictures = lsun_dir
    create_lsun_wide(tmp_path / "out", source, width=32, height=16)
    dataset = TFRecordDataset(tmp_path / "out")
    assert len(dataset) == 3  # the last is narrower than 32
    x = pictures["00"]  # 40x64: the middle 20 rows, scaled to 16
    small = np.asarray(Image.fromarray(x[10:30]).resize((32, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    np.testing.assert_array_equal(dataset[0][0][:, 8:24], small)
    assert not dataset[0][0][:, :8].any() and not dataset[0][0][:, 24:].any()
