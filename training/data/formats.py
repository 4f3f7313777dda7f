"""Which form a dataset has, by what is at its path. To add one: its file, a row of FORMATS."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dnnlib.errors import UserError
from training.data.files import FolderFiles, ZipFiles
from training.data.image_dataset import ImageDataset
from training.data.sampler import Dataset
from training.data.tfrecord import TFRecordDataset


class Format(NamedTuple):
    """How to tell a form of dataset, and how to open it: path, resolution (None = largest), whether with labels."""

    is_it: Callable[[Path], bool]
    open: Callable[[Path, int | None, bool], Dataset]


FORMATS = {
    "TFRecords": Format(lambda path: any(path.glob("*.tfrecords")), TFRecordDataset),
    "zip of images": Format(
        lambda path: path.is_file() and zipfile.is_zipfile(path),
        lambda path, resolution, use_labels: ImageDataset(ZipFiles(path), resolution, use_labels),
    ),
    "folder of images": Format(
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
