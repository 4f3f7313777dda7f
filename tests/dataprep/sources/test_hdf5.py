import sys

import h5py
import numpy as np
import pytest

from dataprep.sources.hdf5 import create_from_hdf5
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import order
from training.data.tfrecord import TFRecordDataset


@pytest.mark.parametrize("shuffle", [0, 1])
def test_hdf5(shuffle, tmp_path):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    labels = rng.normal(size=(6, 2)).astype(np.float32)
    with h5py.File(tmp_path / "faces.h5", "w") as f:
        f["data2x2"], f["data16x16"], f["other"] = images[:, :, ::8, ::8], images, images
    np.save(tmp_path / "faces-labels.npy", labels)
    create_from_hdf5(tmp_path / "out", tmp_path / "faces.h5", shuffle=shuffle)
    n = order(6) if shuffle else np.arange(6)
    dataset = TFRecordDataset(tmp_path / "out")
    np.testing.assert_array_equal(np.stack([dataset[i][0] for i in range(6)]), images[n])
    np.testing.assert_array_equal(dataset.labels, labels[n])


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (np.zeros((2, 3, 17, 8), np.uint8), None, r"data is uint8 \[2, 3, 17, 8\]: found 8x17, expected"),
        (np.zeros((2, 3, 8, 8), np.float32), None, "data is float32"),
        (np.zeros((0, 3, 8, 8), np.uint8), None, "data is uint8"),
        (np.zeros((2, 3, 100, 100), np.uint8), None, "found 100x100, expected edges of at most 16 pixels"),
        (np.zeros((2, 8, 8), np.uint8), None, r"no data\* of four dimensions in it, found \['data'\]"),
        (np.zeros((2, 3, 8, 8), np.uint8), np.zeros((3, 5)), r"a-labels\.npy: float64 \[3, 5\], expected numbers"),
        (np.zeros((2, 3, 8, 8), np.uint8), np.array([[None], [1]]), r"a-labels\.npy: not a readable array"),
    ],
)
def test_bad_archives_are_reported(data, labels, message, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["data"] = data
    if labels is not None:
        np.save(tmp_path / "a-labels.npy", labels, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        create_from_hdf5(tmp_path / "out", tmp_path / "a.h5")
    assert not (tmp_path / "out").exists()


def test_hdf5_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="create_from_hdf5: needs h5py: pip install h5py"):
        create_from_hdf5(tmp_path / "out", tmp_path / "a.h5")
