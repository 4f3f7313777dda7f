"""SVHN's cropped digits (Netzer et al. 2011): train_32x32.mat, read by scipy (an extra), or the pickles train_1.pkl ...
that the original's tool took."""

from pathlib import Path

import numpy as np

from dataprep.build import DEFAULT, Classified, Options, build_classes
from dataprep.sources.source import Split, reading, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra
from dnnlib.pickles import read_arrays_pickle

DIGITS = list("0123456789")


def load_svhn(source: Path, split: Split = "train") -> Classified:
    """Return images uint8 [N,3,32,32] and digits [N]; raise UserError if files are missing or damaged."""
    pickles = sorted(source.glob(f"{split}_*.pkl")) if source.is_dir() else []
    path = source / f"{split}_32x32.mat" if source.is_dir() else source
    return _load_pickles(pickles) if pickles and not path.is_file() else _load_mat(path)


def _load_mat(path: Path) -> Classified:
    """Return what a file of MATLAB holds."""
    loadmat = import_extra("scipy.io", "create_svhn").loadmat
    with reading(path, "not readable, expected train_32x32.mat of SVHN"):
        content = loadmat(str(path), variable_names=["X", "y"])
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)

    # Images are stored as columns: [height, width, channel, image].
    require(
        images.dtype == np.uint8 and images.shape == (32, 32, 3, len(labels)),
        f"{path}: X is {images.dtype} {list(images.shape)}, expected uint8 [32,32,3,{len(labels)}]",
    )
    digits = _whole(labels, path, 1, 10)

    # The file calls the digit 0 a 10.
    return Classified(images.transpose(3, 2, 0, 1), digits % 10, DIGITS)


def _load_pickles(paths: list[Path]) -> Classified:
    """Return what train_1.pkl and so on hold: a pair of images uint8 [n,3,32,32] and digits [n] each."""
    images, labels = [], []
    for path in paths:
        pair = read_arrays_pickle(path.read_bytes(), str(path))
        is_pair = isinstance(pair, tuple | list) and len(pair) >= 2 and all(isinstance(x, np.ndarray) for x in pair[:2])
        require(is_pair, f"{path}: expected a pair of arrays, images and digits")
        x, y = np.asarray(pair[0]), np.asarray(pair[1]).reshape(-1)
        require(
            x.dtype == np.uint8 and x.shape == (len(y), 3, 32, 32),
            f"{path}: images are {x.dtype} {list(x.shape)}, expected uint8 [{len(y)},3,32,32]",
        )
        images.append(x)
        labels.append(_whole(y, path, 0, 9))
    return Classified(np.concatenate(images), np.concatenate(labels), DIGITS)


def _whole(labels: np.ndarray, path: Path, least: int, most: int) -> np.ndarray:
    """Return labels as int64; raise UserError unless all are whole numbers within a range.

    MATLAB may have stored them as floats.
    """
    whole = labels.astype(np.int64) if labels.dtype.kind in "iuf" and np.isfinite(labels).all() else None
    is_right = whole is not None and (whole == labels).all() and ((whole >= least) & (whole <= most)).all()
    require(is_right, f"{path}: y is not digits from {least} to {most}")
    assert whole is not None
    return whole


def create_svhn(dataset_dir: Place, svhn_dir: Place, *, split: Split = "train", output: Options = DEFAULT) -> None:
    """Make a dataset from SVHN: single digits of house numbers, 32x32 RGB, in ten classes.

    The .mat file needs the package scipy.

    Args:
        dataset_dir: New folder for the dataset.
        svhn_dir: The file train_32x32.mat, the folder that has it, or one with train_1.pkl, train_2.pkl, ...
        split: train, or test (test_32x32.mat).
    """
    build_classes(dataset_dir, load_svhn(svhn_dir, split), output, "create_svhn", svhn_dir, split)
