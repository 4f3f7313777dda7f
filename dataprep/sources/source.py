"""What datasets are made from: collections of entries in a fixed order. Each kind has a file of its own."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from dataprep.rules import Refused
from dnnlib.errors import UserError
from training.data.archives import Files, FolderFiles, ZipFiles, image_names, other_suffixes
from training.data.labels import Label, LabelTable, OneHot, label_bytes, label_of, labels_from_json, no_labels


class Entry(NamedTuple):
    """One item of a collection. `data` is what its conversion takes, e.g. the encoded image, or why there is none."""

    name: str
    data: Any
    label: Label = None


class Source(Protocol):
    """A collection. `class_names` has the names of its classes, if it knows them, `classes` at least how many there
    are; `refused` what was left out before."""

    class_names: list[str] | None
    classes: int
    refused: list[str]

    def __len__(self) -> int: ...

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        """The entries with these indices, in this order; collections that are read as a stream want them ascending."""

    def fingerprint(self) -> str:
        """Tells this collection from others."""


def digest(parts: Iterable[object]) -> str:
    """A short hash of anything that has a string."""
    h = hashlib.sha256()
    for part in parts:
        h.update(str(part).encode("utf-8", "surrogateescape") + b"\0")
    return h.hexdigest()[:16]


def stamp(path: Path) -> tuple[str, int, int]:
    """Tells a file from others, and from itself after a change."""
    s = path.stat()
    return path.name, s.st_size, s.st_mtime_ns


class Items:
    """A collection of `n` things that `item` gives by index, with a table of labels."""

    def __init__(
        self,
        n: int,
        item: Callable[[int], Any],
        labels: LabelTable | None = None,
        mark: object = "",
        class_names: list[str] | None = None,
    ) -> None:
        self._n, self._item, self._mark = n, item, mark
        self.labels = no_labels(n) if labels is None else labels
        self.classes = int(self.labels.shape[1])
        self.class_names, self.refused = class_names, list[str]()

    def __len__(self) -> int:
        return self._n

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        for i in map(int, indices):
            yield Entry(f"image {i}", self._item(i), label_of(self.labels, i))

    def fingerprint(self) -> str:
        return digest([self._n, self._mark])


class ImageFiles:
    """The image files of a folder or zip, in the order of their names.

    labels: `auto` = from its dataset.json (StyleGAN2's form) if there is one, `folders` = the first level of folders
    that tells images apart as classes in alphabetical order, `none`.
    """

    def __init__(self, files: Files, labels: str) -> None:
        self.files, self.names = files, image_names(files)
        self.refused, self.class_names = list(files.refused), None
        if not self.names:
            others = other_suffixes(files)
            found = f" but {others}" if others else ""
            raise UserError(f"{files.path}: no image in it{found}, expected files such as .png or .jpg")
        table: LabelTable | None = None
        if labels == "folders":
            numbers, self.class_names = _classes_of(self.names, files.path)
            table = OneHot(numbers, len(self.class_names))
        elif labels == "auto" and "dataset.json" in files.names:
            table = labels_from_json(files.read("dataset.json"), self.names, f"{files.path}: dataset.json")
        self.labels = no_labels(len(self.names)) if table is None else table
        self.classes = int(self.labels.shape[1])

    def __len__(self) -> int:
        return len(self.names)

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        for i in map(int, indices):
            name = self.names[i]
            yield Entry(f"{self.files.path}: {name}", self._data(name), label_of(self.labels, i))

    def _data(self, name: str) -> Path | bytes | Refused:
        if isinstance(self.files, FolderFiles):
            return self.files.path / name  # workers read it
        try:
            return self.files.read(name)
        except UserError as e:
            return Refused(str(e).removeprefix(f"{self.files.path}: {name}: "))

    def fingerprint(self) -> str:
        files = hashlib.sha256(self.files.stamp(self.names)).hexdigest()
        return digest([*self.names, files, label_bytes(self.labels)])


def open_files(path: Path) -> Files:
    """A folder, or a zip archive. UserError if it is neither."""
    if path.is_dir():
        return FolderFiles(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder, expected a folder or zip of images")
    return ZipFiles(path)


def _classes_of(names: list[str], path: Path) -> tuple[np.ndarray, list[str]]:
    """Class numbers and class names, by folder. A folder around everything is no class."""
    level = 0
    while all(n.count("/") > level + 1 for n in names) and len({n.split("/")[level] for n in names}) == 1:
        level += 1
    outside = [n for n in names if n.count("/") <= level]
    if outside:
        raise UserError(
            f"{path}: {outside[0]}: not in a sub-folder, expected one folder per class with `--labels folders`"
        )
    of = [n.split("/")[level] for n in names]
    classes = sorted(set(of))
    number = {c: i for i, c in enumerate(classes)}
    return np.array([number[c] for c in of], np.int32), classes
