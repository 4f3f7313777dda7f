"""A folder of TFRecords in an object store as a dataset of which only the images that are asked for are read."""

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from dnnlib.errors import UserError
from dnnlib.object_store import ObjectStore, content_marks, fetch
from training.data.labels import LabelTable, label_bytes, no_labels, read_labels
from training.data.records import FOOTER_BYTES, GZIP, HEADER_BYTES, masked_crc, parse_example, record_size
from training.data.tfrecord import by_height, image_spec, shard_groups
from training.spec import size_error

LARGEST = 2**28  # bytes of one record
THREADS = 16  # requests at a time


@dataclass(frozen=True)
class _Level:
    """The images of one size: their files, and the first record, whose layout all others have."""

    place: str  # URL of the first file
    files: list[str]
    starts: list[int]  # index of the first image of each file, and the number of all
    first: np.ndarray  # uint8 [bytes of a record]
    shape: tuple[int, ...]
    pixels: slice  # in a record

    def __len__(self) -> int:
        return self.starts[-1]


class RemoteRecords:
    """Images uint8 [C,H,W] and labels float32 [c_dim] of a dataset folder in an object store, by index.

    url: the folder. resolution: height of the images to read; None = the largest. All records of a file must have one
    length, as those of dataset_tool.py do: so it is known where each image is. Checksums are compared whenever a record
    is read. Raises UserError if the dataset is damaged or incomplete, or if the store does not answer.
    """

    decodes = False

    def __init__(self, url: str, resolution: int | None = None, use_labels: bool = True) -> None:
        self.store = ObjectStore(url)
        self.name = self.store.root.rpartition("/")[2]
        try:
            found = self.store.files()
        except FileNotFoundError:
            found = {}
        if not found:
            raise UserError(f"{url}: no such folder, expected one of TFRecords to stream")
        sizes = {name: int(entry["size"]) for name, entry in found.items() if "/" not in name}

        # The first image of each resolution tells how its files are laid out.
        levels = by_height([self._open(group, sizes) for group in shard_groups(sizes, url)])
        if resolution is not None and resolution not in levels:
            raise UserError(f"{url}: no images of height {resolution}, found {sorted(levels)}")
        self._level = levels[max(levels) if resolution is None else resolution]

        channels, height, width = self._level.shape
        if problem := size_error(height, width):
            raise UserError(f"{url}: images: {problem}")

        # Labels are needed as a whole.
        label_files = sorted(name for name in sizes if name.endswith(".labels")) if use_labels else []
        self.labels: LabelTable = no_labels(len(self))
        if label_files:
            self.labels = read_labels(fetch(f"{url}/{label_files[0]}", "labels"), len(self))
        self.spec = image_spec(url, height, width, channels, self.labels.shape[1])

        # The store's marks stand for the pixels, which would take an epoch to read.
        marks = content_marks({name: found[name] for name in self._level.files})
        facts = f"{self.spec} {marks}".encode() + label_bytes(self.labels)
        self._fingerprint = hashlib.sha256(facts).hexdigest()[:32]

    def _open(self, files: list[str], sizes: dict[str, int]) -> _Level:
        """Return how the images of one size are laid out."""
        place = f"{self.store.url}/{files[0]}"

        # The layout of the first record.
        if sizes[files[0]] < HEADER_BYTES:
            raise UserError(f"{place}: {sizes[files[0]]} bytes, expected TFRecords")
        try:
            header = self.store.read_range(files[0], 0, HEADER_BYTES)
            if header.startswith(GZIP):
                raise ValueError("compressed by gzip, expected TFRecords that are not")
            size = record_size(header)
            if size > LARGEST:
                raise ValueError(f"a record of {size} bytes, expected at most {LARGEST}")
            if size > sizes[files[0]]:
                raise ValueError(f"truncated: {sizes[files[0]]} bytes, expected {size}")
            first = np.frombuffer(self.store.read_range(files[0], 0, size), np.uint8)
            _check_record(first)
            shape, pixels = parse_example(first[HEADER_BYTES:-FOOTER_BYTES].data)
        except ValueError as e:
            raise UserError(f"{place}: record 0: {e}") from e

        # Where all others are follows from the sizes of the files.
        for name in files:
            if not sizes[name] or sizes[name] % size:
                raise UserError(
                    f"{self.store.url}/{name}: {sizes[name]} bytes, expected a multiple of {size}: streaming needs "
                    "records of one length; train without --stream, or write the dataset anew with dataset_tool.py"
                )

        starts = list(accumulate((sizes[name] // size for name in files), initial=0))
        within = slice(HEADER_BYTES + pixels.start, HEADER_BYTES + pixels.stop)
        return _Level(place, files, starts, first, shape, within)

    def verify(self, limit: int) -> None:
        """Do nothing: records are checked when they are read."""

    def fingerprint(self) -> str:
        """Return a hash of what the store tells of the files, and of the labels."""
        return self._fingerprint

    def where(self, i: int) -> str:
        """Return the file and record that hold image i, for messages."""
        file = int(np.searchsorted(self._level.starts, i, "right")) - 1
        return f"{self.store.url}/{self._level.files[file]}: record {i - self._level.starts[file]}"

    def __len__(self) -> int:
        return len(self._level)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image i and its label."""
        images, labels = self.batch(np.array([i]))
        return images[0], labels[0]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images uint8 [n,C,H,W] and labels float32 [n,c_dim] of these indices.

        Each is read once, and neighbours of one file in one request.
        """
        wanted, places = np.unique(indices, return_inverse=True)

        # A request ends where neighbours or their file do.
        files = np.searchsorted(self._level.starts, wanted, "right") - 1
        cuts = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(files) != 0)) + 1
        groups = np.split(wanted, cuts)
        if len(groups) == 1:
            return self._read(wanted)[places], np.asarray(self.labels[indices])
        with ThreadPoolExecutor(min(THREADS, len(groups))) as pool:
            images = np.concatenate(list(pool.map(self._read, groups)))
        return images[places], np.asarray(self.labels[indices])

    def _read(self, neighbours: np.ndarray) -> np.ndarray:
        """Return consecutive images of one file, uint8 [n,C,H,W]."""
        level, first, count = self._level, int(neighbours[0]), len(neighbours)
        file = int(np.searchsorted(level.starts, first, "right")) - 1
        size, start = len(level.first), first - level.starts[file]
        content = self.store.read_range(level.files[file], start * size, (start + count) * size)
        records = np.frombuffer(content, np.uint8).reshape(count, size)

        images = np.empty((count, *level.shape), np.uint8)
        for i, record in enumerate(records):
            try:
                _check_record(record)
                images[i] = record[self._pixels(record)].reshape(level.shape)
            except ValueError as e:
                raise UserError(f"{self.where(first + i)}: {e}") from e
        return images

    def _pixels(self, record: np.ndarray) -> slice:
        """Return where the pixels of a record are; raise ValueError if it holds no image of the common shape."""
        # Usually a record is as the first one around its pixels.
        first, pixels = self._level.first, self._level.pixels
        around = (slice(0, pixels.start), slice(pixels.stop, len(first) - FOOTER_BYTES))
        if all(np.array_equal(record[part], first[part]) for part in around):
            return pixels

        shape, found = parse_example(record[HEADER_BYTES:-FOOTER_BYTES].data)
        if shape != self._level.shape:
            raise ValueError(f"shape {shape}, expected {self._level.shape} as in record 0")
        return slice(HEADER_BYTES + found.start, HEADER_BYTES + found.stop)


def _check_record(record: np.ndarray) -> None:
    """Raise ValueError unless a record, uint8 [bytes], has the length and the checksum that it says."""
    if record_size(record[:HEADER_BYTES].tobytes()) != len(record):
        raise ValueError(f"another length than record 0, expected {len(record)} bytes")
    (expected,) = struct.unpack("<I", record[-FOOTER_BYTES:].tobytes())
    if (actual := masked_crc(record[HEADER_BYTES:-FOOTER_BYTES].data)) != expected:
        raise ValueError(f"damaged: data checksum {actual:08x}, expected {expected:08x}")
