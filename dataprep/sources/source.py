"""What datasets are made from: collections of entries in a fixed order. Each kind of collection has a file of its own."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from dnnlib.errors import UserError
from training.data.labels import Label, LabelTable, label_of, no_labels


class Entry(NamedTuple):
    """One item of a collection. `data` is what its conversion takes, e.g. the encoded image, or why there is none."""

    name: str
    data: Any
    label: Label = None


class Source(Protocol):
    """A collection of entries."""

    class_names: list[str] | None = None  # None if they are not known
    classes: int = 0  # the collection has at least so many
    refused: Sequence[str] = ()  # what was left out while the collection was opened, and why

    def __len__(self) -> int:
        """Return the number of entries."""

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        """Yield the entries with these indices, in this order.

        A source that is read as a stream needs them ascending.
        """


class Items(Source):
    """A collection of `n` things that `item` returns by index, with a table of labels."""

    def __init__(
        self,
        n: int,
        item: Callable[[int], Any],
        labels: LabelTable | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        self._n, self._item = n, item
        self.labels = no_labels(n) if labels is None else labels
        self.classes = int(self.labels.shape[1])
        self.class_names = class_names

    def __len__(self) -> int:
        return self._n

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        for i in map(int, indices):
            yield Entry(f"image {i}", self._item(i), label_of(self.labels, i))


def as_label(value: Any) -> Label:
    """Return a label as a file has it: a whole number is a class, another number or a list of numbers is a vector.

    Raise ValueError for anything else, rather than guess.
    """
    if isinstance(value, int) and value >= 0:
        return int(value)
    if isinstance(value, float):
        return (value,)
    if isinstance(value, list) and all(isinstance(x, (int, float)) for x in value):
        return tuple(map(float, value))
    raise ValueError(f"label {value!r:.40}, expected a class number or a list of numbers")


def import_extra(module: str, command: str) -> ModuleType:
    """Import a module of an optional package; raise UserError if the package is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        package = module.split(".")[0]
        raise UserError(f"{command}: needs {package}: pip install {package}") from e
