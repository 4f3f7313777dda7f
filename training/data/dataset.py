"""Which form a dataset has, by what is at its path. To add one: its file, a row of FORMATS."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dnnlib.errors import UserError
from training.data.archives import FolderFiles, ZipFiles
from training.data.image_dataset import ImageDataset
from training.data.labels import LabelTable
from training.data.tfrecord import TFRecordDataset
from training.spec import ImageSpec


class Dataset(Protocol):
    """What training needs of a dataset, whatever its format."""

    spec: ImageSpec
    labels: LabelTable  # float32 [len, c_dim]
    decodes: bool  # does reading an image take time, as decoding a PNG does?

    @property
    def name(self) -> str: ...

    def verify(self, limit: int) -> None:
        """Check what can be checked before training, if it is at most `limit` bytes; UserError."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]: ...

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [n,C,R,R], to be changed at will, and labels float32 [n,c_dim] of these indices."""

    def where(self, i: int) -> str:
        """Which file, and what in it, image i is, for messages."""

    def fingerprint(self) -> str:
        """Changes if an image or label does."""


class DatasetFormat(NamedTuple):
    """How to tell a form of dataset, and how to open it: path, resolution (None = largest), whether with labels."""

    is_it: Callable[[Path], bool]
    open: Callable[[Path, int | None, bool], Dataset]


FORMATS = {
    "TFRecords": DatasetFormat(lambda path: any(path.glob("*.tfrecords")), TFRecordDataset),
    "zip of images": DatasetFormat(
        lambda path: path.is_file() and zipfile.is_zipfile(path),
        lambda path, resolution, use_labels: ImageDataset(ZipFiles(path), resolution, use_labels),
    ),
    "folder of images": DatasetFormat(
        Path.is_dir, lambda path, resolution, use_labels: ImageDataset(FolderFiles(path), resolution, use_labels)
    ),
}


def open_dataset(path: Path, resolution: int | None = None, use_labels: bool = True) -> Dataset:
    """The dataset at `path`: images uint8 [C,R,R] and labels by index, the same from each form. UserError if there is
    none, or if it is incomplete."""
    for known in FORMATS.values():
        if known.is_it(path):
            return known.open(path, resolution, use_labels)
    what = "no such file or folder" if not path.exists() else "not a zip archive"
    raise UserError(f"{path}: {what}, expected a dataset: a folder of TFRecords or of images, or a zip of images")


def class_names(path: Path) -> list[str] | None:
    """The names of the classes of a dataset that was made here, if they are known."""
    files = FolderFiles(path) if path.is_dir() else ZipFiles(path)
    try:
        names = json.loads(files.read("dataset.json")).get("classes") if "dataset.json" in files.names else None
    except (UserError, ValueError, AttributeError, RecursionError):
        return None
    return [str(n) for n in names] if isinstance(names, list) else None
