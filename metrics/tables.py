"""Arrays that are too large for memory, in temporary files that the processes of a machine share."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np

from dnnlib import distributed
from dnnlib.errors import UserError

Table = np.ndarray
"""An array whose rows are read from a file when they are looked at."""


def on_disk(parts: Iterator[tuple[np.ndarray, ...]], n: int) -> tuple[Table, ...]:
    """Return arrays of n rows in temporary files, which vanish with them, filled with the batches of `parts`.

    Each part holds one batch [batch,...] for each array. All processes must be given the same parts.
    """
    tables: tuple[Table, ...] = ()
    is_writer = distributed.local_rank() == 0
    start = 0
    for part in parts:
        # The first batch tells the shapes.
        tables = tables or tuple(_temporary((n, *x.shape[1:]), x.dtype) for x in part)

        end = start + len(part[0])
        if is_writer:
            for table, x in zip(tables, part, strict=True):
                table[start:end] = x
        start = end

    # The other processes may read only what has been written.
    assert tables and start == n
    distributed.barrier()
    return tables


def _temporary(shape: tuple[int, ...], dtype: np.dtype) -> Table:
    """Create an array in a temporary file; raise UserError if there is no room for it."""
    size = int(np.prod(shape)) * dtype.itemsize
    with contextlib.ExitStack() as stack:

        def create() -> str:
            if distributed.local_rank():
                return ""
            try:
                f = stack.enter_context(tempfile.NamedTemporaryFile(prefix="msg-gan-"))
                _reserve(f.fileno(), size)
            except OSError as e:
                folder = tempfile.gettempdir()
                message = f"{folder}: no room for {size:,} bytes ({e.strerror}); set TMPDIR to another folder"
                raise UserError(message) from e
            return f.name

        # The first process of each machine creates its file. Once all have opened it, its name is deleted.
        names = distributed.gather_objects(distributed.together(create))
        name = names[distributed.rank() - distributed.local_rank()]
        return distributed.together(lambda: np.memmap(name, dtype, "r+", shape=shape))


def _reserve(file: int, size: int) -> None:
    """Give an open file its size, with room on the disk, so that a full disk is reported now and not by a crash on some
    later write."""
    # macOS and Windows lack the call.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
