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


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (create_lsun, {"resolution": 48}, "--resolution 48: expected a power of two, 8 to 16384"),
        (create_lsun, {"resolution": 4}, "--resolution 4: expected"),
        (create_lsun_wide, {"width": 100}, "--width 100: expected a power of two"),
        (create_lsun_wide, {"width": 32, "height": 33}, "--height 33: expected 1 to 32"),
    ],
)
def test_sizes_are_checked(command, options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        command(tmp_path / "out", tmp_path, **options)


def test_a_subset_keeps_the_order_of_the_database(lsun_dir, tmp_path):
    """The file itself may be named, and what is taken is the same as in the whole."""
    source, _ = lsun_dir
    create_lsun(tmp_path / "all", source / "data.mdb", resolution=8)
    create_lsun(tmp_path / "part", source / "data.mdb", resolution=8, output=Output(subset=4))
    chosen = sorted(np.random.RandomState(123).permutation(6)[:4].tolist())
    readable = [i for i in range(6) if i not in (2, 4)]  # 015 and 025 in the order of keys
    whole, part = TFRecordDataset(tmp_path / "all"), TFRecordDataset(tmp_path / "part")
    kept = [readable.index(i) for i in chosen if i in readable]
    assert len(part) == len(kept)
    for i, k in enumerate(kept):
        np.testing.assert_array_equal(part[i][0], whole[k][0])
