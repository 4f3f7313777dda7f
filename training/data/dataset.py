"""Which form a dataset has, by what is at its path. To add one: its file, a row of FORMATS."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dnnlib.errors import UserError
from dnnlib.object_store import is_remote, local_copy, url_of
from training.data.archives import FolderFiles, ZipFiles, image_names, label_file
from training.data.image_dataset import ImageDataset
from training.data.labels import LabelTable, names_from_json
from training.data.remote_records import RemoteRecords
from training.data.tfrecord import TFRecordDataset
from training.spec import ImageSpec


class Dataset(Protocol):
    """What training and metrics need of a dataset, whatever its form."""

    spec: ImageSpec
    """What each image is."""
    labels: LabelTable
    """float32 [len, c_dim]; c_dim is 0 if the images have no labels."""
    decodes: bool
    """Reading an image takes time, as decoding a PNG does, so worker processes are of use."""

    @property
    def name(self) -> str:
        """The name of the folder or archive."""

    def verify(self, limit: int) -> None:
        """Check what can be checked before training, if it is at most `limit` bytes; raise UserError on damage."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image i, uint8 [C,H,W], which may be read-only, and its label, float32 [c_dim]."""

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images uint8 [n,C,H,W], to be changed at will, and labels float32 [n,c_dim] of these indices."""

    def where(self, i: int) -> str:
        """Return which file, and what in it, image i is, for messages."""

    def fingerprint(self) -> str:
        """Return a hash that changes if an image or label does."""


class DatasetFormat(NamedTuple):
    """How to recognize a form of dataset, and how to open it."""

    is_it: Callable[[Path], bool]
    open: Callable[[Path, int | None, bool], Dataset]
    """Takes the path, the resolution (a height; None = the largest), and whether to read labels."""


# The first form that recognizes a path opens it: a folder with both TFRecords and images is one of TFRecords.
FORMATS = {
    "TFRecords": DatasetFormat(lambda path: any(path.glob("*.tfrecords")), TFRecordDataset),
    # A zip is recognized by its content, whatever its suffix.
    "zip of images": DatasetFormat(
        lambda path: path.is_file() and zipfile.is_zipfile(path),
        lambda path, resolution, use_labels: ImageDataset(ZipFiles(path), resolution, use_labels),
    ),
    "folder of images": DatasetFormat(
        Path.is_dir, lambda path, resolution, use_labels: ImageDataset(FolderFiles(path), resolution, use_labels)
    ),
}


def open_dataset(path: Path, resolution: int | None = None, use_labels: bool = True, stream: bool = False) -> Dataset:
    """Return the dataset at `path`: the same images and labels, by index, from each form.

    path: may also be a URL of an object store, of which a local copy is kept in the user's cache, unless `stream`: then
    images are read from the store when they are needed. resolution: height of the images; None = the largest. Raises
    UserError if there is no dataset, or if it is damaged or incomplete.
    """
    if stream:
        if not is_remote(path):
            raise UserError(f"{path}: cannot be streamed, expected the URL of an object store, e.g. s3://BUCKET/FOLDER")
        return RemoteRecords(url_of(path), resolution, use_labels)

    path = local_copy(path)
    for form in FORMATS.values():
        if form.is_it(path):
            return form.open(path, resolution, use_labels)

    # Say what is there instead.
    reason = "not a zip archive" if path.exists() else "no such file or folder"
    raise UserError(f"{path}: {reason}, expected a dataset: a folder of TFRecords or of images, or a zip of images")


def class_names(path: Path) -> list[str] | None:
    """Return the names of the classes of a dataset from its dataset.json; None if it tells none."""
    files = FolderFiles(path) if path.is_dir() else ZipFiles(path)

    found = label_file(files, image_names(files)) or ("dataset.json", "")
    try:
        return names_from_json(files.read(found[0])) if found[0] in files.names else None
    except UserError:
        return None
