"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their `python version`: pickles, in a folder or the .tar.gz.

The pickles are read as plain data: no code in them runs.
"""

import operator
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataprep.build import DEFAULT, Classified, Options, build_classes
from dataprep.sources.source import Split, reading, require
from dnnlib.cli import Place
from dnnlib.errors import UserError
from dnnlib.pickles import read_arrays_pickle

LARGEST = 2**29  # bytes of a batch


class Version(NamedTuple):
    """What one of the two datasets calls its files, and what is in them."""

    batches: dict[Split, list[str]]
    labels: str
    """Key of the labels of a batch."""
    meta: str
    """File with the names of the classes."""
    names: str
    """Key of these."""


VERSIONS = {  # by the number of classes
    10: Version(
        {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
        "labels",
        "batches.meta",
        "label_names",
    ),
    100: Version({"train": ["train"], "test": ["test"]}, "fine_labels", "meta", "fine_label_names"),
}


def load_cifar(source: Path, classes: int, split: Split = "train") -> Classified:
    """Return images uint8 [N,3,32,32], (fine) classes [N] and their names of a split of CIFAR-10 or CIFAR-100.

    Classes are named by their numbers if the file of names is not there. Raises UserError if files are missing or
    damaged.
    """
    version = VERSIONS[classes]
    names, key = version.batches[split], version.labels
    content = _read(source, [*names, version.meta])
    images, labels = [], []

    for name in names:
        where = f"{source}: {name}"
        require(name in content, f"{source}: no {name} in it, expected the `python version` of CIFAR")
        batch = read_arrays_pickle(content[name], where)
        try:
            x, y = _array(batch["data"]), _array(batch[key]).reshape(-1)
        except (KeyError, TypeError, ValueError, OverflowError) as e:
            raise UserError(f"{where}: {e!r}, expected a batch with `data` and `{key}`") from e

        # A row is an image, its colour channels one after the other.
        require(x.dtype == np.uint8 and x.shape == (len(y), 3072), f"{where}: data is not uint8 [{len(y)},3072]")
        low, high = min(y, default=0), max(y, default=0)
        require(0 <= low <= high < classes, f"{where}: labels from {low} to {high}, expected 0 to {classes - 1}")
        images.append(x.reshape(-1, 3, 32, 32))
        labels.append(y)

    return Classified(np.concatenate(images), np.concatenate(labels), _class_names(content, version, classes, source))


def _class_names(content: dict[str, bytes], version: Version, classes: int, source: Path) -> list[str]:
    """Return the names of the classes, or their numbers."""
    if version.meta in content:
        meta = read_arrays_pickle(content[version.meta], f"{source}: {version.meta}")
        found = meta.get(version.names) if isinstance(meta, dict) else None
        if isinstance(found, list) and len(found) == classes:
            return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in found]
    return [str(k) for k in range(classes)]


def _array(value: Any) -> np.ndarray:
    """Return an array of the file, or a list of whole numbers as an array."""
    # Lists may hold whole numbers only: strings and fractions raise TypeError.
    return value if isinstance(value, np.ndarray) else np.array([operator.index(v) for v in value], np.int64)


def _read(source: Path, names: list[str]) -> dict[str, bytes]:
    """Return the content of those batches that exist, from the archive or from a folder.

    The folder may also be the one that the archive was unpacked in.
    """
    batches: dict[str, bytes] = {}
    with reading(source, "not a whole tar archive, expected the folder or .tar.gz of CIFAR"):
        # The archive unpacks to a folder of its own, e.g. cifar-10-batches-py.
        if source.is_dir():
            folders = [source, *sorted(source.glob("cifar-*"))]
            folder = next((f for f in folders if (f / names[0]).is_file()), source)
            return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}

        # Paths in the archive do not matter, and nothing is unpacked: a member that leads elsewhere does no harm.
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name).name
                file = archive.extractfile(member) if member.isfile() and member.size <= LARGEST else None
                if file and name in names:
                    batches.setdefault(name, file.read())
    return batches


def create_cifar10(
    dataset_dir: Place, cifar10_dir: Place, *, split: Split = "train", output: Options = DEFAULT
) -> None:
    """Make a dataset from CIFAR-10: photographs in ten classes, 32x32 RGB.

    Args:
        dataset_dir: New folder for the dataset.
        cifar10_dir: The `python version`: cifar-10-python.tar.gz or the folder that it unpacks to.
        split: The 50,000 training images, or the 10,000 test images.
    """
    data = load_cifar(cifar10_dir, 10, split)
    build_classes(dataset_dir, data, output, "create_cifar10", cifar10_dir, split)


def create_cifar100(
    dataset_dir: Place, cifar100_dir: Place, *, split: Split = "train", output: Options = DEFAULT
) -> None:
    """Make a dataset from CIFAR-100: photographs in a hundred classes, 32x32 RGB.

    Args:
        dataset_dir: New folder for the dataset.
        cifar100_dir: The `python version`: cifar-100-python.tar.gz or the folder that it unpacks to.
        split: The 50,000 training images, or the 10,000 test images.
    """
    data = load_cifar(cifar100_dir, 100, split)
    build_classes(dataset_dir, data, output, "create_cifar100", cifar100_dir, split)
