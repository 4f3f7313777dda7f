"""Labels of images: class numbers and vectors, in memory, in dataset.json and in .labels files."""

import hashlib
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError

MAX_CLASSES = 2**16
ROWS = 2**14  # of a table that are looked at or written at a time

Label = int | tuple[float, ...] | None  # a class, or a vector


class OneHot:
    """A table of labels float32 [N,c_dim] of which every row is one-hot, in the memory of N numbers."""

    def __init__(self, numbers: np.ndarray, classes: int) -> None:
        self.numbers, self.shape = np.asarray(numbers, np.int32), (len(numbers), classes)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, i: Any) -> np.ndarray:
        return (self.numbers[i][..., None] == np.arange(self.shape[1])).astype(np.float32)  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


LabelTable = np.ndarray | OneHot  # float32 [N,c_dim]


def no_labels(n: int) -> np.ndarray:
    """The table of a dataset without labels."""
    return np.zeros((n, 0), np.float32)


def label_bytes(table: LabelTable) -> bytes:
    """A hash of a table: the same for the same labels in either form."""
    h = hashlib.sha256(str(table.shape).encode())
    for i in range(0, len(table), ROWS):
        h.update(np.ascontiguousarray(table[i : i + ROWS], np.float32).data)
    return h.digest()


def label_of(table: LabelTable, i: int) -> Label:
    """One row of a table: its class if it is one-hot, else the vector; None without labels."""
    if not table.shape[1]:
        return None
    if isinstance(table, OneHot):
        return int(table.numbers[i])
    row = np.asarray(table[i])
    ones = np.flatnonzero(row)
    return int(ones[0]) if len(ones) == 1 and row[ones[0]] == 1 else tuple(row.tolist())


def labels_from_json(data: bytes, names: list[str], where: str) -> LabelTable | None:
    """The label of each name from a dataset.json in the form of StyleGAN2, {"labels": [[relative path, class or
    vector], ...]}; None if it has none. UserError, headed `where`, unless all have class numbers, or vectors of one
    length."""
    try:
        entries = json.loads(data.decode("utf-8")).get("labels")
        if entries is None:
            return None
        table = dict(entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise UserError(f'{where}: not readable ({e}), expected {{"labels": [["a.png", 0], ...]}}') from e

    missing = [name for name in names if name not in table]
    if missing:
        raise UserError(f"{where}: no label for {len(missing)} of {len(names)} images, the first is {missing[0]}")
    values = [table[name] for name in names]

    # Class numbers for all of them.
    if all(type(v) is int for v in values):
        for v in values:
            check_class(v, where)
        return OneHot(np.array(values, np.int32), max(values, default=-1) + 1)

    # Vectors of one length for all of them.
    for name, v in zip(names, values, strict=True):
        numbers = isinstance(v, list) and v and all(type(x) in (int, float) and is_float32(x) for x in v)
        if not numbers or len(v) != len(values[0]):
            expected = "class numbers for all images, or lists of as many finite numbers for all"
            raise UserError(f"{where}: label of {name} is {v!r:.40}, expected {expected}")
    return np.array(values, np.float32)


def check_class(number: int, where: str) -> None:
    """Raise UserError, headed `where`, unless a class number is within the limit."""
    if not 0 <= number < MAX_CLASSES:
        raise UserError(f"{where}: class {number}, expected 0 to {MAX_CLASSES - 1}")


def is_float32(x: float) -> bool:
    """Is a number finite in float32?"""
    return abs(x) <= float(np.finfo(np.float32).max)  # False for NaN


def read_labels(path: Path, n: int) -> np.ndarray:
    """A .labels file, numpy [n,c_dim], memory-mapped if it is float32. UserError if it is anything else; nothing is
    allocated on the word of its header."""
    expected = f"expected float32 [{n}, classes]"
    try:
        labels: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except Exception as e:  # numpy raises whatever a damaged header leads it to
        raise UserError(f"{path}: not a readable array ({e}), {expected}") from e

    if labels.ndim != 2 or len(labels) != n or labels.dtype.kind not in "fiub":
        raise UserError(f"{path}: labels {labels.dtype} {list(labels.shape)}, {expected}")
    for start in range(0, n, ROWS):
        finite = np.isfinite(labels[start : start + ROWS]).all(1)
        if not finite.all():
            raise UserError(f"{path}: label {start + int(finite.argmin())} is not finite")
    return labels if labels.dtype == np.float32 else labels.astype(np.float32)


class LabelCollector:
    """The labels of a collection of which one image after another becomes known; in the end they make one table.

    classes: the number of classes if it is known in advance; the highest class that occurs may raise it.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.length = 0  # of vectors
        self.labels: list[int | array[float] | None] = []

    def add(self, label: Label, name: str) -> None:
        """Append the label of image `name`; raise UserError if it is wrong, or unlike the labels before it."""
        if self.labels and (label is None) != (self.labels[0] is None):
            raise UserError(f"{name}: {'no' if label is None else 'a'} label, unlike the images before it")

        if isinstance(label, int):
            check_class(label, name)
            self.classes = max(self.classes, label + 1)
        elif label is not None:
            if not label or len(label) != (self.length or len(label)) or not all(map(is_float32, label)):
                expected = f"{self.length or 'some'} finite numbers"
                raise UserError(f"{name}: label {list(label)!r:.40}, expected {expected}")
            self.length = len(label)

        # Class numbers become one-hot vectors where there are other vectors too, if these have enough values.
        if self.length and self.classes > self.length:
            raise UserError(f"{name}: class numbers up to {self.classes - 1} and vectors of {self.length} mixed")
        self.labels.append(array("f", label) if isinstance(label, tuple) else label)

    def table(self) -> LabelTable:
        """Return the labels that were added, in their order: c_dim is the number of classes or values, or 0."""
        if not self.labels or self.labels[0] is None:
            return no_labels(len(self.labels))
        if not self.length:
            return OneHot(np.array(self.labels), self.classes)

        rows = np.zeros((len(self.labels), self.length), np.float32)
        for row, label in zip(rows, self.labels, strict=True):
            if isinstance(label, int):
                row[label] = 1
            else:
                row[:] = label
        return rows


def write_labels(path: Path, table: LabelTable) -> None:
    """Write a table as a .labels file, float32 [N,c_dim], a bounded number of values at a time."""
    with open(path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": table.shape})
        rows = max(1, 2**20 // table.shape[1])
        for i in range(0, len(table), rows):
            f.write(np.asarray(table[i : i + rows], "<f4").tobytes())


def json_labels(table: LabelTable) -> Iterator[Any]:
    """Yield each label as dataset.json of StyleGAN2 has it: a class number, or a list of numbers.

    Class numbers tell all unless the last class never occurs: readers count the classes by the highest number.
    """
    if isinstance(table, OneHot) and table.numbers.max(initial=-1) + 1 == table.shape[1]:
        yield from table.numbers.tolist()
        return
    for i in range(len(table)):
        yield [int(x) if x == int(x) else x for x in table[i].tolist()]  # whole numbers without a point
