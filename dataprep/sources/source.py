"""What datasets are made from: collections of entries in a fixed order, each kind of them in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import os_error
from training.data.labels import Label, LabelTable, label_of, no_labels

Split = Literal["train", "test"]


class Entry(NamedTuple):
    """One item of a collection. `data` is what its conversion takes, e.g. the encoded image, or why there is none."""

    name: str
    data: Any
    label: Label = None


class Source(ABC):
    """A collection of entries."""

    # Number of entries.
    length: int
    # Least number of classes, and their names if they are known.
    classes: int = 0
    class_names: list[str] | None = None
    # What was left out while the collection was opened, and why.
    refused: Sequence[str] = ()
    # Names of files that were not looked at.
    ignored: Sequence[str] = ()
    # What the user should know about labels that were not read.
    hints: Sequence[str] = ()

    def __len__(self) -> int:
        return self.length

    @abstractmethod
    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        """Yield the entries with these indices, in this order."""


class Items(Source):
    """A collection of `n` things that `item` returns by index, with a table of labels."""

    def __init__(
        self,
        n: int,
        item: Callable[[int], Any],
        labels: LabelTable | None = None,
        class_names: list[str] | None = None,
    ) -> None:
        self.length = n
        self.item = item

        # The width of the table counts, also for classes that no item has.
        self.labels = no_labels(n) if labels is None else labels
        self.classes = int(self.labels.shape[1])
        self.class_names = class_names

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        for i in map(int, indices):
            yield Entry(f"image {i}", self.item(i), label_of(self.labels, i))


class Stream(Source):
    """A collection that can only be read from its start to its end."""

    @abstractmethod
    def stream(self) -> Iterator[Entry]:
        """Yield every entry."""

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        """Yield the entries with these indices, which have to ascend."""
        wanted = set(indices.tolist())

        # Everything before an entry has to be read as well.
        return (entry for i, entry in enumerate(self.stream()) if i in wanted)


def as_label(value: Any, name: str) -> Label:
    """Return a label as a file has it: a whole number is a class, another number or a list of numbers is a vector.

    Raise UserError for anything else, rather than guess.
    """
    # Booleans are whole numbers as well: False is class 0, True class 1.
    if isinstance(value, int) and value >= 0:
        return int(value)

    # A single number is a vector of one.
    value = [value] if isinstance(value, float) else value
    if isinstance(value, list) and all(isinstance(x, (int, float)) for x in value):
        return tuple(map(float, value))

    raise UserError(f"{name}: label {value!r:.40}, expected a class number or a list of numbers; or --label none")


def require(condition: object, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


@contextmanager
def reading(path: Path, problem: str) -> Iterator[None]:
    """Raise as UserError whatever the reader of a format raises for a damaged file, with `problem` in the message."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        # The operating system numbers its errors; the others come from the reader.
        if isinstance(e, OSError) and e.errno:
            raise os_error(e, Path(e.filename or path), "read") from e

        raise UserError(f"{path}: {problem}: {e!r:.200}") from e
