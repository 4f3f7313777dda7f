"""The one place where pickles are opened: network pickles of TensorFlow 1 and batches of CIFAR, as plain data.

The standard library's unpickler reads them, and `find_class` answers every name with a stand-in of an allow-list: no
code of a file is imported or called. A pass over the opcodes before that bounds the memory that a file can ask for.

Files of torch.save go through torch's own reader of weights, after their container has been checked.
"""

import contextlib
import io
import math
import mmap
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from dnnlib.errors import UserError

MAX_OPCODES = 10**6  # a default 1024x1024 pickle has about 20,000

# Packages of other programs, whose files are easily taken for those that can be opened.
FOREIGN = {
    "torch_utils.persistence": "a pickle of StyleGAN2-ADA, StyleGAN3 or a project built on them",
    "tfutil": "a pickle of Progressive GAN (NVIDIA 2017)",
    "torch": "a pickle of PyTorch objects",
}
BUFFER = b"bytearray\n"  # the end of the opcode that names this type, with which torch's reader knows it

# What the unpickler, numpy and the stand-ins below raise when a file is damaged.
DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, OverflowError, MemoryError, AttributeError
)  # fmt: skip


class Refused(pickle.UnpicklingError):
    """The pickle holds something that such files do not."""


class Record:
    """A network of the file: the state that was stored for it."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if type(state) is not dict:
            raise Refused(f"found {type(state).__name__} where such files have dict")
        self.state = state


class _Dtype:
    """Stands in for numpy.dtype, whose own `__setstate__` would change types that the whole process shares."""

    def __init__(self, code: Any, *flags: Any) -> None:
        code = _text(code)
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", code):
            raise Refused("refused: an array of something else than numbers")

        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        # The state is a version, the byte order, three facts about structured types, and sizes.
        order, *structure = state[1:]
        if _text(order) not in ("<", ">", "|", "=") or any(part is not None for part in structure[:3]):
            raise Refused("refused: an array of something else than numbers")

        self.value = self.value.newbyteorder(_text(order))


class _Array(np.ndarray):
    """An array of the file; numpy keeps its bytes, unless their order is foreign, without a copy.

    It also stands in for numpy's _reconstruct(ndarray, (0,), 'b'), which gives an empty array whose state follows.
    """

    def __new__(cls, *args: Any) -> "_Array":
        return super().__new__(cls, (0,), np.int8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        _check_size(data, dtype, shape)
        super().__setstate__((1, shape, dtype.value, bool(fortran), bytes(data)))  # type: ignore[arg-type]


class _Function:
    """Stands in for a function. It is a class of which no objects exist, so that a file can only call it."""

    def __setstate__(self, state: Any) -> None:
        raise Refused("refused: state for a function")


class _Scalar(_Function):
    """Stands in for numpy's scalar(dtype, data): an array of no dimensions."""

    def __new__(cls, dtype: Any, data: Any) -> Any:
        _check_size(data, dtype, ())
        return np.frombuffer(data, dtype.value).reshape(())


class _FromBuffer(_Function):
    """Stands in for numpy's _frombuffer(data, dtype, shape, order), which protocol 5 uses."""

    def __new__(cls, data: Any, dtype: Any, shape: Any, order: Any) -> Any:
        _check_size(data, dtype, shape)
        return np.frombuffer(data, dtype.value).reshape(shape, order="F" if order == "F" else "C")


# The allow-lists. Files mention numpy.ndarray as an argument and never call it, so text is enough to stand in for it.
ARRAYS: dict[str, Any] = {
    "numpy.core.multiarray _reconstruct": _Array,
    "numpy.core.multiarray scalar": _Scalar,
    "numpy.core.numeric _frombuffer": _FromBuffer,
    "numpy dtype": _Dtype,
    "numpy ndarray": "numpy.ndarray",
}
TENSORFLOW: dict[str, Any] = {"dnnlib.tflib.network Network": Record, **ARRAYS}


class _Unpickler(pickle.Unpickler):
    """An unpickler that resolves the names of an allow-list and no others. Strings of Python 2 become bytes."""

    def __init__(self, file: IO[bytes], allowed: dict[str, Any]) -> None:
        super().__init__(file, encoding="bytes")
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed the package.
        key = re.sub(r"^numpy\._core\b", "numpy.core", module) + " " + name
        if key in self.allowed:
            return self.allowed[key]

        # Say which program wrote the file, if that is known.
        for package, project in FOREIGN.items():
            if f"{module}.".startswith(f"{package}."):
                raise Refused(f"{project}, which is not supported")
        raise Refused(f"refused: the file asks for {module:.100}.{name:.100}, which such files do not need")


def read_pickle(path: Path) -> Any:
    """Return the content of a network pickle as lists, tuples, dicts, numbers, strings, arrays and `Record`s.

    Raise UserError if it ends early, is damaged, or names anything that network pickles do not need.
    """
    with _user_errors(str(path)), open(path, "rb") as file:
        # Reading mapped memory stops at its end, where reading a file would first allocate the size that was claimed.
        # The mapping counts as memory of this process, so it ends before arrays are read.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            _refuse_excess(mapped)

        return _Unpickler(file, TENSORFLOW).load()


def read_arrays_pickle(data: bytes, where: str) -> Any:
    """Return the content of a pickle of arrays and plain values, in which the keys of a dict are text.

    Raise UserError, headed `where`, as `read_pickle` does.
    """
    with _user_errors(where):
        _refuse_excess(data)
        content = _Unpickler(io.BytesIO(data), ARRAYS).load()

    return {_text(key): value for key, value in content.items()} if isinstance(content, dict) else content


def read_torch(path: Path) -> Any:
    """Return the content of a file of torch.save: tensors on the CPU, and plain values; run no code.

    Raise ValueError if the file is damaged, or if it could fill the memory with more than it holds. Torch's own errors,
    of nearly any type, and OSError pass through.
    """
    # Tensors that are stored as they are cannot be larger than the file.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("compressed, expected a file as torch.save writes it")
            if bad := archive.testzip():
                raise ValueError(f"wrong checksum of {bad}")
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    else:
        # The older container begins with its pickles.
        pickles = [path.read_bytes()]

    # Torch's reader allows a few bytes to ask for an empty buffer of any size, which no weights need.
    if any(BUFFER in pickled for pickled in pickles):
        raise ValueError("it asks for an empty buffer")
    return torch.load(path, map_location="cpu", weights_only=True)


@contextlib.contextmanager
def _user_errors(where: str) -> Iterator[None]:
    """Raise what goes wrong with a pickle in this block as a UserError of one line, headed `where`."""
    try:
        yield
    except Refused as e:
        raise UserError(f"{where}: {e}") from e
    except DAMAGED as e:
        raise UserError(f"{where}: damaged or only part of a pickle (half a download?): {e!r:.200}") from e
    except OSError as e:
        raise UserError(f"{where}: cannot read: {e.strerror}") from e


def _refuse_excess(pickled: bytes | mmap.mmap) -> None:
    """Raise if the opcodes claim more bytes than there are, or would make the unpickler allocate at will."""
    # Sizes that go beyond the end make genops itself raise.
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):  # type: ignore[arg-type]
        if count > MAX_OPCODES:
            raise Refused(f"more than {MAX_OPCODES} pickle opcodes, which no such file has")

        # The unpickler's memo is a list that is as long as its largest index.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > count:
            raise Refused("refused: a memo index larger than the file needs")


def _check_size(data: Any, dtype: Any, shape: Any) -> None:
    """Raise unless `data` is as long as an array of this type and shape, before anything is allocated for it."""
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise Refused("refused: an array that is not plain bytes")

    # Sizes are bounded before they are multiplied, since integers of a pickle have no limit.
    if type(shape) is not tuple or len(shape) > 8 or not all(type(n) is int and 0 <= n <= 2**40 for n in shape):
        raise Refused("refused: an array of more than 8 dimensions, or larger than any file")

    if math.prod(shape) * dtype.value.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")


def _text(value: Any) -> Any:
    """Return a string of Python 2 as text, and anything else as it is."""
    return value.decode("latin-1") if type(value) is bytes else value
