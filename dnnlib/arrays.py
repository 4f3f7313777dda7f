"""numpy's files that others wrote: what a header claims is compared with the bytes that are there before any memory is
taken for it, and pickled objects are refused."""

import io
import math
import zipfile
from typing import IO, Any

import numpy as np

# A zip may hold arrays that compress well, but not one that a few bytes of fill the memory with.
MOST_EXPANSION = 64
SMALL = 2**24  # bytes that may be unpacked in any case

HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(data: bytes) -> np.ndarray:
    """Return the array of a .npy file; raise an error of numpy or ValueError if it is damaged."""
    return _read(io.BytesIO(data), len(data))


def check_expansion(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError if the files of an archive of `size` bytes would take far more of them."""
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MOST_EXPANSION * size + SMALL:
        raise ValueError(f"{unpacked:,} bytes unpacked, expected at most {MOST_EXPANSION} times the file")


def array_names(archive: zipfile.ZipFile) -> set[str]:
    """Return the names of the arrays in a .npz file."""
    return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


def read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return an array of a .npz file; raise an error of zipfile, of numpy or ValueError if it is damaged."""
    with archive.open(f"{name}.npy") as stream:
        return _read(stream, archive.getinfo(f"{name}.npy").file_size)


def _read(stream: IO[bytes], size: int) -> np.ndarray:
    """Return the array of a stream of `size` bytes."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version} of numpy's format, expected 1.0 or 2.0")

    shape, _, dtype = HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded: they are pickles")

    # Numbers of a header have no limit.
    left = size - stream.tell()
    if any(not 0 <= n <= 2**48 for n in shape) or math.prod(shape) * dtype.itemsize > left:
        raise ValueError(f"an array of shape {list(shape)!s:.100} in {left} bytes")

    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
