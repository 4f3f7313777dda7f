"""What datasets are made from: collections of entries in a fixed order. Each kind has a file of its own."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from training.data.labels import Label, LabelTable, label_of, no_labels


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
        """Yield the entries with these indices, in this order.

        A source that is read as a stream needs them ascending.
        """

    def fingerprint(self) -> str:
        """Return what tells this collection from others."""


def digest(parts: Iterable[object]) -> str:
    """Return a short hash of objects by their strings."""
    h = hashlib.sha256()
    for part in parts:
        h.update(str(part).encode("utf-8", "surrogateescape") + b"\0")
    return h.hexdigest()[:16]


def stamp(path: Path) -> tuple[str, int, int]:
    """Return what tells a file from others, and from itself after a change."""
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
