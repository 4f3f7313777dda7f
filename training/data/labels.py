"""Labels of images: class numbers and vectors, in memory, in dataset.json and in .labels files."""

import hashlib
import json
import math
from collections.abc import Iterable
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


def vector(label: Label, c_dim: int) -> np.ndarray:
    """A label as float32 [c_dim]."""
    if isinstance(label, int):
        return (np.arange(c_dim) == label).astype(np.float32)
    return np.array(label, np.float32)


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
            if not 0 <= v < MAX_CLASSES:
                raise UserError(f"{where}: class {v}, expected 0 to {MAX_CLASSES - 1}")
        return OneHot(np.array(values, np.int32), max(values, default=-1) + 1)

    # Vectors of one length for all of them.
    for name, v in zip(names, values, strict=True):
        numbers = isinstance(v, list) and v and all(type(x) in (int, float) and is_float32(x) for x in v)
        if not numbers or len(v) != len(values[0]):
            expected = "class numbers for all images, or lists of as many finite numbers for all"
            raise UserError(f"{where}: label of {name} is {v!r:.40}, expected {expected}")
    return np.array(values, np.float32)


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


def write_labels(path: Path, labels: Iterable[Label], shape: tuple[int, int]) -> None:
    """Write labels as a .labels file, float32 of the given shape, a bounded number at a time."""
    with open(path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": shape})
        rows: list[np.ndarray] = []
        for label in labels:
            rows.append(vector(label, shape[1]))
            if len(rows) * shape[1] >= 2**20:
                f.write(np.array(rows, "<f4").tobytes())
                rows = []
        f.write(np.array(rows, "<f4").tobytes())


class LabelSummary:
    """What kind of labels a collection has, learnt label by label. UserError if they do not go together."""

    def __init__(self, classes: int = 0) -> None:
        self.classes = classes  # at least so many, known in advance
        self.highest = -1  # class that occurred
        self.length = 0  # of vectors
        self.labelled: bool | None = None

    def add(self, label: Label, name: str) -> None:
        # All images have a label, or none has.
        if self.labelled is None:
            self.labelled = label is not None
        if self.labelled != (label is not None):
            raise UserError(f"{name}: {'no' if label is None else 'a'} label, unlike the images before it")

        if isinstance(label, int):
            if not 0 <= label < MAX_CLASSES:
                raise UserError(f"{name}: class {label}, expected 0 to {MAX_CLASSES - 1}")
            self.highest = max(self.highest, label)
            self.classes = max(self.classes, label + 1)
        elif label is not None:
            if not label or len(label) != (self.length or len(label)) or not all(map(is_float32, label)):
                expected = f"{self.length or 'some'} finite numbers"
                raise UserError(f"{name}: label {list(label)!r:.40}, expected {expected}")
            self.length = len(label)

        # One-hot vectors and class numbers go together while there are enough values.
        if self.length and self.classes > self.length:
            raise UserError(f"{name}: class numbers up to {self.classes - 1} and vectors of {self.length} mixed")

    @property
    def c_dim(self) -> int:
        return (self.length or self.classes) if self.labelled else 0

    @property
    def as_numbers(self) -> bool:
        """Whether class numbers alone tell all: not if the last class never occurs."""
        return not self.length and self.highest + 1 == self.classes


def for_json(label: Label, as_numbers: bool, c_dim: int) -> Any:
    """A label as dataset.json of StyleGAN2 has it: a class number, or else a list, whole numbers without a point."""
    if as_numbers or label is None:
        return label
    return [int(x) if math.isfinite(x) and x == int(x) else x for x in vector(label, c_dim).astype(float).tolist()]
