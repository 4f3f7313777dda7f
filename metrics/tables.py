"""Arrays that are too large for memory, in files."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import atomic

Table = np.ndarray  # rows are read from a file as they are looked at


def on_disk(parts: Iterator[tuple[np.ndarray, ...]], n: int) -> tuple[Table, ...]:
    """Write arrays [batch,...] that come one after the other, several at a time, each into one array of n rows in a
    temporary file that vanishes with it. The processes of a machine share the file; all must be given the same
    parts."""
    tables: tuple[Table, ...] = ()
    is_writer = distributed.local_rank() == 0
    start = 0
    for part in parts:
        tables = tables or tuple(_temporary((n, *x.shape[1:]), x.dtype) for x in part)

        end = start + len(part[0])
        if is_writer:
            for table, x in zip(tables, part, strict=True):
                table[start:end] = x
        start = end

    assert tables and start == n
    distributed.barrier()
    return tables


def _temporary(shape: tuple[int, ...], dtype: np.dtype) -> Table:
    """Create an array in a temporary file that the processes of this machine share."""
    with contextlib.ExitStack() as stack:

        def create() -> str:
            if distributed.local_rank():
                return ""
            needed = int(np.prod(shape)) * dtype.itemsize
            try:
                f = stack.enter_context(tempfile.NamedTemporaryFile(prefix="msg-gan-"))
                reserve(f.fileno(), needed)
            except OSError as e:
                folder = tempfile.gettempdir()
                message = f"{folder}: no room for {needed:,} bytes ({e.strerror}); set TMPDIR to another folder"
                raise UserError(message) from e
            return f.name

        # The name comes from this machine's first process; the file has none once all have opened it.
        names = distributed.gather_objects(distributed.together(create))
        name = names[distributed.rank() - distributed.local_rank()]
        return distributed.together(lambda: np.memmap(name, dtype, "r+", shape=shape))


def reserve(file: int, size: int) -> None:
    """Give an open file its size, with room on the disk: a full disk is reported now, not by a crash on some write."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def save(table: Table, path: Path) -> None:
    """Write an array, whole or not at all."""
    with atomic(path) as temporary, open(temporary, "wb") as f:
        np.save(f, table)


def load(path: Path) -> Table:
    """Return what `save` wrote; ValueError if it is damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as e:  # numpy raises whatever a damaged file leads it to
        raise ValueError(str(e)) from e
