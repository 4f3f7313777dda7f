"""A folder of TFRecord files as a dataset: images in several resolutions, and their labels.

NAME/NAME-r02.tfrecords (4x4, or another smallest size) ... NAME/NAME-r06.tfrecords (64x64), and NAME/NAME-rxx.labels.
The images of a resolution may be in shards, e.g. NAME-r06-00000-of-00003.tfrecords.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeVar

import numpy as np

from dnnlib.errors import UserError
from training.data.labels import LabelTable, label_bytes, no_labels, read_labels
from training.data.records import RecordFile
from training.spec import ImageSpec, pyramid_sizes, size_error, size_text


class ShardedImages:
    """All images of one size, in one file or several shards, by index."""

    def __init__(self, paths: list[Path], checksums: bool) -> None:
        self.files = [RecordFile(path, checksums) for path in paths]
        self.path = paths[0]
        self.place = str(self.path)
        self.shape = self.files[0].shape
        for file in self.files:
            if file.shape != self.shape:
                raise UserError(f"{file.path}: images {file.shape}, expected {self.shape} as in {self.path.name}")

        # The index of the first image of each file, and the number of all.
        self._starts = list(accumulate(map(len, self.files), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def locate(self, i: int) -> tuple[RecordFile, int]:
        """Return the file of image i, and its index there."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        shard = bisect_right(self._starts, i) - 1
        return self.files[shard], i - self._starts[shard]

    def __getitem__(self, i: int) -> np.ndarray:
        """Return image i, uint8 [C,H,W], a read-only view of its file."""
        file, k = self.locate(i)
        return file[k]

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Return a copy of the images of these indices, uint8 [n,C,H,W]."""
        if len(self.files) == 1:
            return self.files[0].batch(indices)

        # Gathering the images of each shard first would take as long as copying them one by one.
        return np.stack([self[i] for i in indices.tolist()])

    def verify(self) -> None:
        """Check every record and the checksum of its payload."""
        for file in self.files:
            file.verify()


class TFRecordDataset:
    """Images uint8 [C,H,W] and labels float32 [c_dim] of a dataset folder, by index.

    resolution: height of the images to read; None = the largest. checksums: compare the checksum of each record
    when it is first read. Every file is opened, so that a damaged or incomplete dataset is reported at the start by a
    UserError.
    """

    decodes = False

    def __init__(
        self, path: Path, resolution: int | None = None, use_labels: bool = True, checksums: bool = True
    ) -> None:
        self._arguments = (path, resolution, use_labels, checksums)
        self.path = Path(path)
        if not self.path.is_dir():
            reason = "found a file" if self.path.exists() else "no such folder"
            raise UserError(f"{self.path}: {reason}, expected a dataset folder made by dataset_tool.py")
        self.name = self.path.resolve().name

        # Every resolution is opened, whichever is read.
        self.files_by_resolution = open_resolutions(self.path, checksums)

        largest = self.files_by_resolution[max(self.files_by_resolution)]

        # Choose a resolution that networks can be built for.
        if resolution is not None and resolution not in self.files_by_resolution:
            raise UserError(
                f"{self.path}: no images of height {resolution}, found {sorted(self.files_by_resolution)}; "
                "choose another --resolution than the preset or you have chosen, or build the dataset with it"
            )
        self.images = largest if resolution is None else self.files_by_resolution[resolution]
        channels, height, width = self.images.shape
        if problem := size_error(height, width):
            raise UserError(f"{self.path}: images: {problem}")

        # Labels are optional.
        label_files = sorted(self.path.glob("*.labels")) if use_labels else []
        self.labels: LabelTable = read_labels(label_files[0], len(self)) if label_files else no_labels(len(self))
        self.spec = image_spec(self.path, height, width, channels, self.labels.shape[1])

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that receives the dataset opens the files itself: pickling them would copy their content.
        return TFRecordDataset, self._arguments

    def verify(self, limit: int) -> None:
        """Check all checksums of the resolution in use, if its files have at most `limit` bytes."""
        if sum(file.path.stat().st_size for file in self.images.files) <= limit:
            self.images.verify()

    def fingerprint(self) -> str:
        """Return a hash of the checksums that the records carry, and of the labels."""
        h = hashlib.sha256(str(self.spec).encode())

        # The stored checksums stand for the pixels: reading these would take minutes.
        for file in self.images.files:
            h.update(file.stored_checksums())

        # Labels have no checksums.
        h.update(label_bytes(self.labels))
        return h.hexdigest()[:32]

    def where(self, i: int) -> str:
        """Return the file and record that hold image i, for messages."""
        file, k = self.images.locate(i)
        return f"{file.path}: record {k}"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image i, a read-only view of its file, and its label."""
        return self.images[i], self.labels[i]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of the images uint8 [n,C,H,W] and labels float32 [n,c_dim] of these indices."""
        return self.images.batch(indices), np.asarray(self.labels[indices])


def image_spec(path: Path | str, height: int, width: int, channels: int, c_dim: int) -> ImageSpec:
    """Return what the images of the dataset at `path` are; raise UserError if networks cannot be built for them."""
    try:
        return ImageSpec(resolution=height, width=width, channels=channels, c_dim=c_dim)
    except ValueError as e:
        raise UserError(f"{path}: images: {e}") from e


def shard_groups(names: Iterable[str], folder: Path | str) -> list[list[str]]:
    """Return the names of TFRecord files among these, shards of one resolution together, in their order.

    Raise UserError, headed `folder`, if shards are missing or if there are no TFRecords.
    """
    groups: dict[tuple[str, int], list[str]] = {}
    records = [name for name in names if name.endswith(".tfrecords")]

    # From 100,000 on, numbers are longer, and come before shorter ones in the order of names.
    for file_name in sorted(records, key=lambda name: (len(name), name)):
        part = re.fullmatch(r"(.+)-(\d{5,})-of-(\d{5,})\.tfrecords", file_name)
        name, number, count = (part[1], int(part[2]), int(part[3])) if part else (file_name, 0, 1)

        # They come in the order of their numbers, so each one continues its group.
        group = groups.setdefault((name, count), [])
        if number != len(group):
            raise UserError(f"{folder}: shard {len(group):05d} of {name} is missing, found {file_name}")
        group.append(file_name)
    if not groups:
        raise UserError(f"{folder}: no *.tfrecords in it, expected a dataset folder made by dataset_tool.py")

    # Shards may also be missing at the end.
    for (_, count), group in groups.items():
        if len(group) != count:
            raise UserError(f"{folder}: {len(group)} shards of {group[0]}, expected {count}")
    return list(groups.values())


def open_resolutions(folder: Path, checksums: bool) -> dict[int, ShardedImages]:
    """Open every resolution of a dataset folder; return its images by their height."""
    groups = shard_groups((path.name for path in folder.iterdir()), folder)
    return by_height([ShardedImages([folder / name for name in names], checksums) for names in groups])


class Level(Protocol):
    """The images of one size of a dataset."""

    @property
    def place(self) -> str:
        """The path or URL of the first file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [C,H,W] of each image."""

    def __len__(self) -> int:
        """Return the number of images."""


LevelType = TypeVar("LevelType", bound=Level)


def by_height(levels: Sequence[LevelType]) -> dict[int, LevelType]:
    """Return the levels by the height of their images; raise UserError unless all are of one dataset."""
    found: dict[int, LevelType] = {}
    for level in levels:
        # Networks exist for some sizes only.
        _, height, width = level.shape
        if problem := size_error(height, width, levels=1):
            raise UserError(f"{level.place}: images: {problem}")

        # Two files of one size may be the remains of another dataset.
        if height in found:
            other = PurePath(found[height].place).name
            raise UserError(f"{level.place}: a second file of images of height {height} besides {other}")
        found[height] = level

    largest = found[max(found)]
    channels, height, width = largest.shape
    for level in levels:
        if level.shape[1:] not in pyramid_sizes(height, width):
            actual, expected = size_text(*level.shape[1:]), size_text(height, width)
            raise UserError(
                f"{level.place}: images of {actual}, expected halves of {expected}, the largest of the dataset"
            )

    # All hold the same images.
    for level in levels:
        for unit, number, wanted in (("images", len(level), len(largest)), ("channels", level.shape[0], channels)):
            if number != wanted:
                raise UserError(
                    f"{level.place}: {number} {unit}, expected {wanted} as in {PurePath(largest.place).name}"
                )
    return found


def halvings(image: np.ndarray) -> list[np.ndarray]:
    """Return an image, uint8 [C,H,W], and its halvings, the levels of its pyramid, largest first.

    Each halving takes means of 2x2 pixels of the one before it, as floats; rounding comes last and does not add up.
    """
    out = [image]
    x = image.astype(np.float32)

    # The order of the sums is that of the original, so that the files are equal byte for byte.
    for _ in pyramid_sizes(*image.shape[1:])[1:]:
        x = (x[:, 0::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 0::2] + x[:, 1::2, 1::2]) * np.float32(0.25)
        out.append(np.rint(x).clip(0, 255).astype(np.uint8))
    return out
