import h5py
import numpy as np
import pytest

from dataprep.sources.hdf5 import create_from_hdf5
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
