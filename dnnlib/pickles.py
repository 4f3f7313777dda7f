"""The one place where pickles are opened: network pickles of TensorFlow 1 and batches of CIFAR, as plain data.

The standard library's unpickler reads them, and `find_class` answers every name with a stand-in of an allow-list: no
code of a file is imported or called. A pass over the opcodes before that bounds the memory that a file can ask for.
"""

import io
import math
import mmap
import pickle
import pickletools
import re
from pathlib import Path
from typing import IO, Any

import numpy as np

from dnnlib.errors import UserError

MAX_OPCODES = 10**6  # a default 1024x1024 pickle has about 20,000

FOREIGN = {
    "torch_utils.persistence": "a pickle of StyleGAN2-ADA, StyleGAN3 or a project built on them",
    "tfutil": "a pickle of Progressive GAN (NVIDIA 2017)",
    "torch": "a pickle of PyTorch objects",
}
DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, OverflowError, MemoryError, AttributeError
)  # fmt: skip


class Refused(pickle.UnpicklingError):
    """The pickle holds something that such files do not."""


class Record:
    """A network of the file: the state that was stored for it."""

    __slots__ = ("state",)
    state: dict[str, Any]

    def __new__(cls) -> "Record":
        record = super().__new__(cls)
        record.state = {}
        return record

    def __setstate__(self, state: Any) -> None:
        if type(state) is not dict:
            raise Refused(f"found {type(state).__name__} where such files have dict")
        self.state = state


class _Dtype:
    """Stands in for numpy.dtype, whose own `__setstate__` would change types that the whole process shares."""

    __slots__ = ("value",)
    value: np.dtype[Any]

    def __new__(cls, code: Any = None, *flags: Any) -> "_Dtype":
        code = _text(code)
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", code):
            raise Refused("refused: an array of something else than numbers")

        dtype = super().__new__(cls)
        dtype.value = np.dtype(code)
        return dtype

    def __setstate__(self, state: Any) -> None:
        order, *structure = state[1:]
        if _text(order) not in ("<", ">", "|", "=") or any(part is not None for part in structure[:3]):
            raise Refused("refused: an array of something else than numbers")
        self.value = self.value.newbyteorder(_text(order))


class _Array(np.ndarray):
    """An array of the file; numpy keeps its bytes, unless their order is foreign, without a copy."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        _check_size(data, dtype, shape)
        super().__setstate__((1, shape, dtype.value, bool(fortran), bytes(data)))  # type: ignore[arg-type]


class _Sealed:
    """Stands in for a name that may be called or only mentioned, and takes no state."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise Refused("refused: state for a function")


class _Reconstruct(_Sealed):
    """Stands in for numpy's _reconstruct(ndarray, (0,), 'b'): an empty array whose state follows."""

    def __new__(cls, *args: Any) -> Any:
        return _Array((0,), np.int8)


class _Scalar(_Sealed):
    """Stands in for numpy's scalar(dtype, data): an array of no dimensions."""

    def __new__(cls, dtype: Any, data: Any) -> Any:
        _check_size(data, dtype, ())
        return np.frombuffer(data, dtype.value).reshape(())


class _FromBuffer(_Sealed):
    """Stands in for numpy's _frombuffer(data, dtype, shape, order), which protocol 5 uses."""

    def __new__(cls, data: Any, dtype: Any, shape: Any, order: Any) -> Any:
        _check_size(data, dtype, shape)
        return np.frombuffer(data, dtype.value).reshape(shape, order="F" if order == "F" else "C")


class _NameOnly(_Sealed):
    """Stands in for numpy.ndarray, which files mention as an argument and never call."""

    def __new__(cls, *args: Any) -> Any:
        raise Refused("refused: a call of numpy.ndarray")


ARRAYS: dict[str, type] = {
    "numpy.core.multiarray _reconstruct": _Reconstruct,
    "numpy.core.multiarray scalar": _Scalar,
    "numpy.core.numeric _frombuffer": _FromBuffer,
    "numpy dtype": _Dtype,
    "numpy ndarray": _NameOnly,
}
TENSORFLOW: dict[str, type] = {"dnnlib.tflib.network Network": Record, **ARRAYS}


class _Unpickler(pickle.Unpickler):
    """Resolves the names of an allow-list and no others. Strings of Python 2 become bytes."""

    def __init__(self, file: IO[bytes], allowed: dict[str, type]) -> None:
        super().__init__(file, encoding="bytes")
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> type:
        key = re.sub(r"^numpy\._core\b", "numpy.core", module) + " " + name  # numpy 2 renamed the package
        if key in self.allowed:
            return self.allowed[key]

        for prefix, project in FOREIGN.items():
            if self.allowed is TENSORFLOW and (module == prefix or module.startswith(prefix + ".")):
                raise Refused(f"{project}, which is not supported")
        raise Refused(f"refused: the file asks for {module:.100}.{name:.100}, which such files do not need")


def read_pickle(path: Path) -> Any:
    """Return the content of a network pickle as lists, tuples, dicts, numbers, strings, arrays and `Record`s.

    Raise UserError if it ends early, is damaged, or names anything that network pickles do not need.
    """
    try:
        with open(path, "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                _refuse_excess(mapped, str(path))
            return _load(file, TENSORFLOW, str(path))
    except OSError as e:
        raise UserError(f"{path}: cannot read: {e.strerror}") from e


def read_arrays_pickle(data: bytes, where: str) -> Any:
    """Return the content of a pickle of arrays and plain values, in which the keys of a dict are text.

    Raise UserError, headed `where`, as `read_pickle` does.
    """
    _refuse_excess(data, where)
    content = _load(io.BytesIO(data), ARRAYS, where)
    return {_text(key): value for key, value in content.items()} if isinstance(content, dict) else content


def _refuse_excess(pickled: bytes | mmap.mmap, where: str) -> None:
    """Raise UserError if the opcodes claim more bytes than there are, or would make the unpickler allocate at will."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):  # type: ignore[arg-type]
            if count > MAX_OPCODES:
                raise Refused(f"more than {MAX_OPCODES} pickle opcodes, which no such file has")

            # The unpickler's memo is a list that is as long as its largest index.
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > count:
                raise Refused("refused: a memo index larger than the file needs")
    except DAMAGED as e:
        raise _error(e, where) from e


def _load(file: IO[bytes], allowed: dict[str, type], where: str) -> Any:
    try:
        return _Unpickler(file, allowed).load()
    except DAMAGED as e:
        raise _error(e, where) from e


def _error(e: Exception, where: str) -> UserError:
    if isinstance(e, Refused):
        return UserError(f"{where}: {e}")
    return UserError(f"{where}: damaged or only part of a pickle (half a download?): {e!r:.200}")


def _check_size(data: Any, dtype: Any, shape: Any) -> None:
    """Raise unless `data` is as long as an array of this type and shape, before anything is allocated for it."""
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise Refused("refused: an array that is not plain bytes")
    if type(shape) is not tuple or len(shape) > 8 or not all(type(n) is int and 0 <= n <= 2**40 for n in shape):
        raise Refused("refused: an array of more than 8 dimensions, or larger than any file")
    if math.prod(shape) * dtype.value.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")


def _text(value: Any) -> Any:
    """Return a string of Python 2 as text, and anything else as it is."""
    return value.decode("latin-1") if type(value) is bytes else value
