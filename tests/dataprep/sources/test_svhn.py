import pickle

import numpy as np
import pytest
from scipy.io import savemat

from dataprep.sources.svhn import create_svhn
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_dataset, order


def test_svhn(tmp_path):
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (32, 32, 3, 9), dtype=np.uint8), rng.integers(1, 11, (9, 1)).astype(np.uint8)
    savemat(tmp_path / "train_32x32.mat", {"X": images, "y": labels}, do_compression=True)
    create_svhn(tmp_path / "out", tmp_path)
    check_dataset(tmp_path / "out", images.transpose(3, 2, 0, 1)[order(9)], labels[order(9), 0] % 10, 10)
    (tmp_path / "train_32x32.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UserError, match=r"train_32x32\.mat: not readable"):
        create_svhn(tmp_path / "other", tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((32, 32, 3, 2), np.uint8), [1, 11], "y is not digits from 1 to 10"),
        (np.zeros((32, 32, 3, 2), np.uint8), [0, 1], "y is not digits from 1 to 10"),
        (np.zeros((32, 32, 3, 3), np.uint8), [1, 2], r"X is uint8 \[32, 32, 3, 3\], expected uint8 \[32,32,3,2\]"),
        (np.zeros((32, 32, 3, 2), np.float32), [1, 2], "X is float32"),
    ],
)
def test_other_contents_are_reported(images, labels, message, tmp_path):
    savemat(tmp_path / "train_32x32.mat", {"X": images, "y": np.array(labels, np.uint8)[:, None]})
    with pytest.raises(UserError, match=message):
        create_svhn(tmp_path / "out", tmp_path)


def test_labels_that_matlab_stored_as_floats_and_the_test_set(tmp_path):
    images = np.random.default_rng(5).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    savemat(tmp_path / "test_32x32.mat", {"X": images, "y": np.array([[10.0], [1.0], [9.0]])})
    create_svhn(tmp_path / "out", tmp_path, split="test")
    check_dataset(tmp_path / "out", images.transpose(3, 2, 0, 1)[order(3)], np.array([0, 1, 9])[order(3)], 10)
    savemat(tmp_path / "test_32x32.mat", {"X": images, "y": np.array([[10.5], [1.0], [9.0]])})
    with pytest.raises(UserError, match="y is not digits from 1 to 10"):
        create_svhn(tmp_path / "other", tmp_path, split="test")


def test_the_pickles_of_the_original(tmp_path):
    rng = np.random.default_rng(6)
    pairs = [
        (rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, n).astype(np.uint8)) for n in (4, 3)
    ]
    for i, pair in enumerate(pairs, 1):
        (tmp_path / f"train_{i}.pkl").write_bytes(pickle.dumps(pair, protocol=3))
    create_svhn(tmp_path / "out", tmp_path)
    images, labels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    check_dataset(tmp_path / "out", images[order(7)], labels[order(7)], 10)

    for wrong, message in (
        ([1, 2], "expected a pair of arrays"),
        ((pairs[0][0][:, :2], pairs[0][1]), r"expected uint8 \[4,3,32,32\]"),
        ((pairs[0][0], pairs[0][1] + 10), "y is not digits from 0 to 9"),
    ):
        (tmp_path / "train_2.pkl").write_bytes(pickle.dumps(wrong))
        with pytest.raises(UserError, match=message):
            create_svhn(tmp_path / "other", tmp_path)
