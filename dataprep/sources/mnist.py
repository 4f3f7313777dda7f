"""MNIST's idx files (LeCun et al.): a big-endian header of type and sizes, then bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import os_error

GZIP = b"\x1f\x8b"


def find(folder: Path, name: str) -> Path:
    """`folder/name` or `folder/name.gz`, whichever there is."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder}: no {name} or {name}.gz in it, expected the files of MNIST")


def read_idx(path: Path) -> np.ndarray:
    """A file of unsigned bytes, packed by gzip or not, as uint8 of the shape that its header tells. UserError if it is
    damaged or of another kind; never reads more than the header promises."""
    try:
        with open(path, "rb") as f:
            packed = f.read(2) == GZIP
        with gzip.open(path) if packed else open(path, "rb") as f:
            head = f.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise UserError(f"{path}: begins with {head.hex()}, expected 000008 and the number of dimensions (idx)")
            sizes = f.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise UserError(f"{path}: truncated within its header")
            shape = struct.unpack(f">{head[3]}I", sizes)
            expected = math.prod(shape)
            pieces, left = [], expected + 1  # one more, to notice what follows
            while left and (piece := f.read(min(left, 2**24))):
                pieces.append(piece)
                left -= len(piece)
            data = b"".join(pieces)
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise UserError(f"{path}: damaged or truncated: {e}") from e
    except OSError as e:
        raise os_error(e, path, "read") from e
    if len(data) != expected:
        found = "more" if len(data) > expected else f"{len(data)} bytes"
        raise UserError(f"{path}: {found} after the header, expected {expected} bytes for {list(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def load_mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The training images uint8 [N,32,32], padded with two rows and columns of zeros on each side, and digits [N]."""
    image_file = find(folder, "train-images-idx3-ubyte")
    images = read_idx(image_file)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise UserError(f"{image_file}: {list(images.shape)}, expected [N,28,28]")
    label_file = find(folder, "train-labels-idx1-ubyte")
    labels = read_idx(label_file)
    if labels.shape != images.shape[:1]:
        raise UserError(f"{label_file}: {list(labels.shape)}, expected [{len(images)}] as in {image_file.name}")
    if labels.max(initial=0) > 9:
        raise UserError(f"{label_file}: label {labels.max()}, expected digits")
    return np.pad(images, [(0, 0), (2, 2), (2, 2)]), labels
