"""SVHN's cropped digits (Netzer et al. 2011): train_32x32.mat, read by scipy (an extra)."""

from pathlib import Path

import numpy as np
import tyro

from dataprep.build import DEFAULT, Options, build_classes
from dnnlib.errors import UserError
from dnnlib.files import os_error

Folder = tyro.conf.Positional[Path]


def load_svhn(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,3,32,32] and digits [N] of the training set; the file's label 10 is digit 0."""
    try:
        from scipy.io import loadmat
    except ImportError as e:
        raise UserError("create_svhn: needs scipy: pip install scipy") from e
    path = source / "train_32x32.mat" if source.is_dir() else source
    try:
        content = loadmat(str(path), variable_names=["X", "y"])
        images, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    except OSError as e:
        raise os_error(e, path, "read") from e
    except Exception as e:  # its reader raises whatever a damaged file leads it to
        raise UserError(f"{path}: not readable ({e!r}), expected train_32x32.mat of SVHN") from e
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
        raise UserError(f"{path}: X is {images.dtype} {list(images.shape)}, expected uint8 [32,32,3,{len(labels)}]")
    if labels.dtype.kind not in "iu" or (len(labels) and not 1 <= labels.min() <= labels.max() <= 10):
        raise UserError(f"{path}: y is not digits from 1 to 10")
    return images.transpose(3, 2, 0, 1), labels.astype(np.int64) % 10


def create_svhn(dataset_dir: Folder, svhn_dir: Folder, *, output: Options = DEFAULT) -> None:
    """House numbers, single digits, 32x32 RGB, labels one-hot over ten; needs scipy.

    Args:
        dataset_dir: New folder for the dataset.
        svhn_dir: train_32x32.mat or the folder that it is in.
    """
    build_classes(dataset_dir, *load_svhn(svhn_dir), 10, output, "create_svhn", svhn_dir)
