"""SVHN's cropped digits (Netzer et al. 2011): train_32x32.mat, read by scipy (an extra)."""

from pathlib import Path

import numpy as np

from dataprep.build import DEFAULT, Options, build_classes
from dataprep.sources.source import reading, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra


def load_svhn(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N,3,32,32] and digits [N] of the training set; raise UserError if the file is damaged."""
    path = source / "train_32x32.mat" if source.is_dir() else source
    loadmat = import_extra("scipy.io", "create_svhn").loadmat
    with reading(path, "not readable, expected train_32x32.mat of SVHN"):
        content = loadmat(str(path), variable_names=["X", "y"])
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)

    # Images are stored as columns: [height, width, channel, image].
    require(
        images.dtype == np.uint8 and images.shape == (32, 32, 3, len(labels)),
        f"{path}: X is {images.dtype} {list(images.shape)}, expected uint8 [32,32,3,{len(labels)}]",
    )
    require(
        labels.dtype.kind in "iu" and 1 <= labels.min(initial=1) <= labels.max(initial=1) <= 10,
        f"{path}: y is not digits from 1 to 10",
    )

    # The file calls the digit 0 a 10.
    return images.transpose(3, 2, 0, 1), labels.astype(np.int64) % 10


def create_svhn(dataset_dir: Place, svhn_dir: Place, *, output: Options = DEFAULT) -> None:
    """Make a dataset from SVHN: single digits of house numbers, 32x32 RGB, in ten classes.

    It needs the package scipy.

    Args:
        dataset_dir: New folder for the dataset.
        svhn_dir: The file train_32x32.mat or the folder that has it.
    """
    build_classes(dataset_dir, *load_svhn(svhn_dir), 10, output, "create_svhn", svhn_dir)
