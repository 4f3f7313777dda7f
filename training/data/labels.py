"""Labels of images: class numbers and vectors, in memory, in dataset.json and in .labels files."""

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError

MAX_CLASSES = 2**16
ROWS = 2**14  # of a table that are looked at at a time

Label = int | tuple[float, ...] | None  # a class, or a vector


class OneHot:
    """A table of labels float32 [N,c_dim] of which every row is one-hot, in the memory of N numbers."""

    def __init__(self, numbers: np.ndarray, classes: int) -> None:
        self.numbers = np.asarray(numbers, np.int32)
        self.shape = (len(numbers), classes)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, i: Any) -> np.ndarray:
        return (self.numbers[i][..., None] == np.arange(self.shape[1])).astype(np.float32)  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


LabelTable = np.ndarray | OneHot  # float32 [N,c_dim]


def no_labels(n: int) -> np.ndarray:
    """Return the table of a dataset without labels, float32 [n,0]."""
    return np.zeros((n, 0), np.float32)


def label_bytes(table: LabelTable) -> bytes:
    """Return a hash of a table: the same for the same labels, whichever type the table has."""
    table_hash = hashlib.sha256(str(table.shape).encode())

    # A part at a time, for a OneHot table may not fit into memory as floats.
    for i in range(0, len(table), ROWS):
        table_hash.update(np.ascontiguousarray(table[i : i + ROWS], np.float32).data)
    return table_hash.digest()


def class_numbers(table: LabelTable) -> np.ndarray:
    """Return the class of each row of a table of one-hot labels, int [N]; raise UserError for other labels."""
    if isinstance(table, OneHot):
        return table.numbers
    is_one_hot = table.shape[1] > 0 and ((table == 0) | (table == 1)).all() and (table.sum(1) == 1).all()
    if not is_one_hot:
        kind = "no labels" if not table.shape[1] else "labels that are not one class an image"
        raise UserError(f"balance_classes: the dataset has {kind}")
    return table.argmax(1)  # type: ignore[no-any-return]


def label_of(table: LabelTable, i: int) -> Label:
    """Return row i of a table: its class if it is one-hot, otherwise the vector; None if there are no labels."""
    if not table.shape[1]:
        return None
    if isinstance(table, OneHot):
        return int(table.numbers[i])

    # A vector of zeros with a single one is a class.
    row = np.asarray(table[i])
    nonzero = np.flatnonzero(row)
    return int(nonzero[0]) if len(nonzero) == 1 and row[nonzero[0]] == 1 else tuple(row.tolist())


def labels_from_json(data: bytes, names: list[str], where: str) -> LabelTable | None:
    """Return the label of each name from a dataset.json, or None if it has no labels.

    Its form is StyleGAN2's, {"labels": [[relative path, class or vector], ...]}. Class numbers may also be written as
    0.0, "0" or true, as some programs do. Raises UserError, headed `where`, unless all images have class numbers, or
    all have vectors of one length.
    """
    try:
        entries = json.loads(data.decode("utf-8-sig")).get("labels")  # with or without a byte-order mark
        if entries is None:
            return None
        by_name = dict(entries)
        # Programs of Windows write backslashes, which elsewhere may be part of a name.
        by_name = {name.replace("\\", "/"): value for name, value in by_name.items()} | by_name
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise UserError(f'{where}: not readable ({e}), expected {{"labels": [["a.png", 0], ...]}}') from e

    missing = [name for name in names if name not in by_name]
    if missing:
        raise UserError(f"{where}: no label for {len(missing)} of {len(names)} images, the first is {missing[0]}")
    values = [_plain(by_name[name]) for name in names]

    # All are of one kind; that of most of them is taken to be meant, so that a single wrong one is named.
    kinds = [_kind(value) for value in values]
    meant = Counter(kind for kind in kinds if kind is not None).most_common(1)
    for name, value, kind in zip(names, values, kinds, strict=True):
        if kind is None or kind != meant[0][0]:
            expected = "class numbers for all images, or lists of as many finite numbers for all"
            raise UserError(f"{where}: label of {name} is {value!r:.40}, expected {expected}")

    if not values or not isinstance(values[0], int):
        return np.array(values, np.float32) if values else no_labels(0)
    for name, value in zip(names, values, strict=True):
        _check_class(value, f"{where}: label of {name}")

    # The highest number tells how many classes there are.
    return OneHot(np.array(values, np.int32), max(values) + 1)


def names_from_json(data: bytes) -> list[str] | None:
    """Return the names of the classes from a dataset.json; None if it tells none."""
    # The names are extra: nothing fails for the lack of them.
    try:
        names = json.loads(data.decode("utf-8-sig")).get("classes")
    except (ValueError, AttributeError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def channels_from_json(data: bytes) -> int | None:
    """Return how many channels a dataset.json says that the images have; None if it does not."""
    try:
        channels = json.loads(data.decode("utf-8-sig")).get("channels")
    except (ValueError, AttributeError, RecursionError):
        return None
    return channels if type(channels) is int else None


def _plain(value: Any) -> Any:
    """Return a label of a dataset.json, a class number as int however it is written."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def _kind(value: Any) -> int | None:
    """Return the length of a vector, 0 for a class number, or None for what is neither."""
    if type(value) is int:
        return 0
    is_vector = isinstance(value, list) and value and all(type(x) in (int, float) and _is_float32(x) for x in value)
    return len(value) if is_vector else None


def _check_class(number: int, where: str) -> None:
    """Raise UserError, headed `where`, unless a class number is within the limit."""
    if not 0 <= number < MAX_CLASSES:
        raise UserError(f"{where}: class {number}, expected 0 to {MAX_CLASSES - 1}")


def _is_float32(x: float) -> bool:
    """Return whether a number is finite as float32."""
    return abs(x) <= float(np.finfo(np.float32).max)  # False for NaN


def read_labels(path: Path, n: int) -> np.ndarray:
    """Return the labels of a .labels file, a numpy array [n,c_dim], memory-mapped if it is float32.

    Raises UserError if the file holds anything else. A header alone makes nothing allocate memory.
    """
    expected = f"expected float32 [{n}, classes]"
    try:
        labels: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except Exception as e:  # numpy raises whatever a damaged header leads it to
        raise UserError(f"{path}: not a readable array ({e}), {expected}") from e
    if labels.ndim != 2 or len(labels) != n or labels.dtype.kind not in "fiub":
        raise UserError(f"{path}: labels {labels.dtype} {list(labels.shape)}, {expected}")

    # One infinite value would spoil a whole training.
    for start in range(0, n, ROWS):
        finite = np.isfinite(labels[start : start + ROWS]).all(1)
        if not finite.all():
            raise UserError(f"{path}: label {start + int(finite.argmin())} is not finite")
    return labels if labels.dtype == np.float32 else labels.astype(np.float32)


class LabelCollector:
    """The labels of a collection, which come one by one and become a table in the end.

    classes: how many classes there are at least; 0 if that is not known in advance.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.length = 0  # of vectors
        self.labels: list[int | array[float] | None] = []

    def add(self, label: Label, name: str) -> None:
        """Append the label of image `name`; raise UserError if it is wrong or does not go with those before it."""
        if self.labels and (label is None) != (self.labels[0] is None):
            raise UserError(f"{name}: {'no' if label is None else 'a'} label, unlike the images before it")

        if isinstance(label, int):
            _check_class(label, name)
            self.classes = max(self.classes, label + 1)
        elif label is not None:
            if not label or len(label) != (self.length or len(label)) or not all(map(_is_float32, label)):
                expected = f"{self.length or 'some'} finite numbers"
                raise UserError(f"{name}: label {list(label)!r:.40}, expected {expected}")
            self.length = len(label)

        # Among vectors a class number stands for a one-hot vector, which they must be long enough for.
        if self.length and self.classes > self.length:
            raise UserError(f"{name}: class numbers up to {self.classes - 1} and vectors of {self.length} mixed")
        self.labels.append(array("f", label) if isinstance(label, tuple) else label)

    def table(self) -> LabelTable:
        """Return the labels in the order in which they came, float32 [N,c_dim]; c_dim is 0 if there are none."""
        if not self.labels or self.labels[0] is None:
            return no_labels(len(self.labels))
        if not self.length:
            return OneHot(np.array(self.labels), self.classes)

        # Vectors, with class numbers among them.
        rows = np.zeros((len(self.labels), self.length), np.float32)
        for row, label in zip(rows, self.labels, strict=True):
            if isinstance(label, int):
                row[label] = 1
            else:
                row[:] = label
        return rows


def write_labels(path: Path, table: LabelTable) -> None:
    """Write a table as a .labels file, float32 [N,c_dim], a bounded number of values at a time."""
    rows = max(1, 2**20 // table.shape[1])
    with open(path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": table.shape})
        for i in range(0, len(table), rows):
            f.write(np.asarray(table[i : i + rows], "<f4").tobytes())


def json_labels(table: LabelTable) -> Iterator[Any]:
    """Yield each label as dataset.json of StyleGAN2 has it: a class number, or a list of numbers."""
    # Readers count the classes by the highest number, so numbers will do only if the last class occurs.
    if isinstance(table, OneHot) and table.numbers.max(initial=-1) + 1 == table.shape[1]:
        yield from table.numbers.tolist()
        return

    # Whole numbers are written without a point.
    for i in range(len(table)):
        yield [int(x) if x == int(x) else x for x in table[i].tolist()]
