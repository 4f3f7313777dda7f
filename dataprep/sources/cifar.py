"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their `python version`: pickles, in a folder or the .tar.gz. No code of
them is run."""

import operator
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from dataprep.build import DEFAULT, Options, build_classes
from dnnlib.errors import UserError
from dnnlib.files import os_error
from dnnlib.pickles import read_arrays_pickle

Folder = tyro.conf.Positional[Path]
LARGEST = 2**29  # bytes of a batch


def load_cifar10(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,3,32,32] and classes [N] of the five training batches."""
    return _load(source, [f"data_batch_{i}" for i in range(1, 6)], "labels", 10)


def load_cifar100(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,3,32,32] and fine classes [N] of the training set."""
    return _load(source, ["train"], "fine_labels", 100)


def _load(source: Path, names: list[str], key: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for name, (where, data) in _batches(source, names).items():
        content = read_arrays_pickle(data, where)
        try:
            x, y = _array(content["data"]), _array(content[key])
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise UserError(f"{where}: {name}: {e!r}, expected a batch with `data` and `{key}`") from e
        if x.dtype != np.uint8 or x.shape != (len(y), 3 * 32 * 32):
            raise UserError(f"{where}: data is not uint8 [{len(y)},3072]")
        if len(y) and not 0 <= y.min() <= y.max() < classes:
            raise UserError(f"{where}: labels from {y.min()} to {y.max()}, expected 0 to {classes - 1}")
        images.append(x.reshape(-1, 3, 32, 32))
        labels.append(y)
    return np.concatenate(images), np.concatenate(labels)


def _array(value: Any) -> np.ndarray:
    """An array of the file, or a list of whole numbers as one."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    return np.array([operator.index(v) for v in value], np.int64)


def _batches(source: Path, names: list[str]) -> dict[str, tuple[str, bytes]]:
    """Name -> (where it is, its bytes), from a folder, the one in it that the archive unpacks to, or the archive."""
    if source.is_dir():
        folder = next((d for d in (source, *sorted(source.glob("cifar-*"))) if (d / names[0]).is_file()), source)
        try:
            return {name: (str(folder / name), (folder / name).read_bytes()) for name in names}
        except OSError as e:
            raise os_error(e, Path(e.filename), "read") from e
    found: dict[str, tuple[str, bytes]] = {}
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name).name
                if member.isfile() and name in names and name not in found and member.size <= LARGEST:
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = f"{source}: {member.name}", file.read()
    except (tarfile.TarError, EOFError, zlib.error) as e:
        raise UserError(f"{source}: not a whole tar archive ({e}), expected the folder or .tar.gz of CIFAR") from e
    except OSError as e:
        raise os_error(e, source, "read") from e
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{source}: no {missing[0]} in it, expected the `python version` of CIFAR")
    return {name: found[name] for name in names}


def create_cifar10(dataset_dir: Folder, cifar10_dir: Folder, *, output: Options = DEFAULT) -> None:
    """Photographs of ten classes, 32x32 RGB, the 50,000 of the training set.

    Args:
        dataset_dir: New folder for the dataset.
        cifar10_dir: The `python version`: cifar-10-python.tar.gz or the folder that it unpacks to.
    """
    build_classes(dataset_dir, *load_cifar10(cifar10_dir), 10, output, "create_cifar10", cifar10_dir)


def create_cifar100(dataset_dir: Folder, cifar100_dir: Folder, *, output: Options = DEFAULT) -> None:
    """Photographs of a hundred classes, 32x32 RGB, the 50,000 of the training set.

    Args:
        dataset_dir: New folder for the dataset.
        cifar100_dir: The `python version`: cifar-100-python.tar.gz or the folder that it unpacks to.
    """
    build_classes(dataset_dir, *load_cifar100(cifar100_dir), 100, output, "create_cifar100", cifar100_dir)
