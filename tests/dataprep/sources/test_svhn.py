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
