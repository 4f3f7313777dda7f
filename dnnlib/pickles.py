"""The one place where pickles are opened: TF1 network pickles and CIFAR batches as plain data, and a check of those in
.pth files.

Python's own unpickler imports and calls whatever a file names. This reader does neither: the standard library's
`pickletools` splits the file into opcodes, and a few dozen of them are carried out here on lists, dicts and the records
of an allow-list. Arrays are views of the mapped file, so memory does not depend on what a file claims to hold.
"""

import math
import mmap
import pickletools
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError

MAX_OPCODES = 10**6  # a default 1024x1024 pickle has about 20,000
MAX_TUPLE = 64  # items; tuples hold tuples, which hold none, so that whatever walks through them ends
SMALL = 2**12  # reads up to this size are copied, larger ones are views

FOREIGN = {
    "torch_utils.persistence": "a pickle of StyleGAN2-ADA, StyleGAN3 or a project built on them",
    "tfutil": "a pickle of Progressive GAN (NVIDIA 2017)",
    "torch": "a pickle of PyTorch objects",
}


DAMAGED = (ValueError, TypeError, LookupError, OverflowError, MemoryError, RecursionError, AttributeError)
Allowed = dict[str, Callable[[str, tuple[Any, ...]], Any] | None]


class Refused(ValueError):
    """The pickle holds something that network pickles do not."""


@dataclass
class Record:
    """An object of the file: the name of its class and the state that was put in."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class Array:
    """An array of the file, None until its state is known. A box, because a pickle refers to it before that."""

    value: np.ndarray | None = None


@dataclass
class _Dtype:
    """The type of an array's elements, in a box for the same reason."""

    value: np.dtype[Any]


@dataclass(frozen=True)
class Global:
    """A reference to a class or function, not resolved."""

    name: str


def read_pickle(path: Path) -> tuple[Any, Callable[[], None]]:
    """The content of a pickle as lists, tuples, dicts, numbers, strings, `Array`s, and `Record`s for networks; and a
    function that gives back the memory of the parts of the file that were looked at, which stay readable.

    UserError if it ends early, is damaged, or names anything that TF1 network pickles do not need.
    """
    try:
        with open(path, "rb") as f:
            mapped = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as e:
        raise UserError(f"{path}: cannot read: {e.strerror}") from e

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    return _run(memoryview(mapped), TENSORFLOW, str(path)), release


def read_arrays_pickle(data: bytes, where: str) -> Any:
    """The same of a pickle of arrays and plain values in memory, also of Python 2, whose strings become bytes; keys of
    dicts are text. UserError, headed `where`."""
    return _run(memoryview(data), ARRAYS, where)


def _run(data: memoryview, allowed: Allowed, where: str) -> Any:
    try:
        return _Machine(data, allowed).run()
    except Refused as e:
        raise UserError(f"{where}: {e}") from e
    except DAMAGED as e:
        raise UserError(f"{where}: damaged or only part of a pickle (half a download?): {e!r}") from e


def check_torch_pickles(path: Path) -> None:
    """UserError unless the pickles of a .pth file hold nothing but weights: torch's own reader, which refuses code,
    still builds whatever a pickle describes, however large or deep."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as z:
                names = [n for n in z.namelist() if n.endswith(".pkl")]
                for name in names:
                    _Machine(memoryview(z.read(name)), TORCH, path.stat().st_size).run()
            if len(names) != 1:
                raise Refused("not weights as torch.save writes them")
            return
        with open(path, "rb") as f:
            data = memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
        at = 0
        for _ in range(5):  # magic number, version, system, weights, keys of their storages
            machine = _Machine(data, TORCH, len(data), at)
            machine.run()
            at = machine.source.at
    except OSError as e:
        raise UserError(f"{path}: cannot read: {e.strerror}") from e
    except Refused as e:
        raise UserError(f"{path}: {e}") from e
    except (*DAMAGED, zipfile.BadZipFile, NotImplementedError, zlib.error) as e:
        raise UserError(f"{path}: damaged, or not weights as torch.save writes them: {e!r}") from e


class _Source:
    """What pickletools reads from: `read` never gives more than there is, large pieces as views if `views`."""

    def __init__(self, view: memoryview, at: int, views: bool) -> None:
        self.view, self.at, self.views = view, at, views

    def tell(self) -> int:
        return self.at

    def read(self, n: int) -> bytes | memoryview:
        piece = self.view[self.at : self.at + n]
        self.at += len(piece)
        return piece if self.views and n > SMALL else bytes(piece)

    def readline(self) -> bytes:
        end = bytes(self.view[self.at : self.at + SMALL]).find(b"\n")
        return bytes(self.read(end + 1 if end >= 0 else SMALL))


class _Machine:
    """The stack machine of the pickle format, for plain data only. `largest` bounds the storages of a .pth, bytes."""

    def __init__(self, data: memoryview, allowed: Allowed, largest: int = 0, at: int = 0) -> None:
        self.source = _Source(data, at, views=allowed is not ARRAYS)  # pickletools decodes Python 2's strings
        self.allowed, self.largest = allowed, largest
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(self.source)):  # type: ignore[arg-type]
            if count > MAX_OPCODES:
                raise Refused(f"more than {MAX_OPCODES} pickle opcodes, which no such file has")
            if opcode.name == "STOP":
                break
            self.step(opcode.name, arg)
        return self.stack.pop()

    def step(self, op: str, arg: Any) -> None:
        stack = self.stack
        if op in ("PROTO", "FRAME"):
            pass
        elif op in PUSH_ARGUMENT:
            stack.append(arg)
        elif op in PYTHON2_STRINGS and self.allowed is ARRAYS:
            stack.append(arg.encode("latin-1"))
        elif op in PUSH_NEW:
            stack.append(PUSH_NEW[op]())
        elif op == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif op == "TUPLE":
            items = self.pop_mark()
            self.stack.append(_tuple(items))
        elif op in TUPLES:
            items = [stack.pop() for _ in range(TUPLES[op])][::-1]
            stack.append(_tuple(items))
        elif op in ("APPEND", "APPENDS"):
            items = [stack.pop()] if op == "APPEND" else self.pop_mark()
            _expect(self.stack[-1], list).extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if op == "SETITEM" else self.pop_mark()
            target = _expect(self.stack[-1], dict, OrderedDict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_expect(_text(key), str)] = value
        elif op in ("BINPUT", "LONG_BINPUT"):
            self.memo[arg] = stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif op == "GLOBAL":
            stack.append(self.name(*arg.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self.name(_expect(module, str), _expect(name, str)))
        elif op in ("REDUCE", "NEWOBJ"):
            args, what = _expect(stack.pop(), tuple), _expect(stack.pop(), Global)
            make = self.allowed[what.name]
            if make is None:
                raise Refused(f"refused: a call of {what.name.replace(' ', '.')}")
            stack.append(make(what.name, args))
        elif op == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        elif op == "BINPERSID" and self.largest:
            stack.append(_storage(stack.pop(), self.largest))
        else:
            raise Refused(f"refused: pickle opcode {op}, which such files do not use")

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def name(self, module: str, name: str) -> Global:
        module = re.sub(r"^numpy\._core\b", "numpy.core", module)  # as numpy 2 writes it
        if f"{module} {name}" in self.allowed:
            return Global(f"{module} {name}")
        for prefix, what in FOREIGN.items():
            if self.allowed is TENSORFLOW and (module == prefix or module.startswith(prefix + ".")):
                raise Refused(f"{what}, which is not supported")
        raise Refused(f"refused: the file asks for {module:.100}.{name:.100}, which such files do not need")


PUSH_ARGUMENT = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
PYTHON2_STRINGS = {"BINSTRING", "SHORT_BINSTRING"}
PUSH_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _expect(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise Refused(f"found {type(value).__name__} where such files have {kinds[0].__name__}")
    return value


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    inner = [item for item in items if type(item) is tuple]
    if len(items) > MAX_TUPLE or any(type(part) is tuple for item in inner for part in item):
        raise Refused("refused: tuples longer or deeper than such files have")
    return tuple(items)


def _text(value: Any) -> Any:
    """Python 2's strings as text."""
    return value.decode("latin-1") if type(value) is bytes else value


def _dtype(name: str, args: tuple[Any, ...]) -> _Dtype:
    code = _text(args[0]) if args else None
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", code):
        raise Refused("refused: an array of something else than numbers")
    return _Dtype(np.dtype(code))


def _from_buffer(name: str, args: tuple[Any, ...]) -> Array:
    buffer, dtype, shape, order = args
    return Array(_view(buffer, dtype, shape, order == "F"))


def _scalar(name: str, args: tuple[Any, ...]) -> Array:
    dtype, data = args
    return Array(_view(data, dtype, (), False))


def _view(data: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """`data` as an array, after checking that it is as long as the shape says."""
    if not isinstance(data, bytes | bytearray | memoryview) or not isinstance(dtype, _Dtype):
        raise Refused("refused: an array that is not plain bytes")
    if len(_expect(shape, tuple)) > 8 or not all(0 <= _expect(n, int) <= 2**40 for n in shape):
        raise Refused("refused: an array of more than 8 dimensions, or larger than any file")
    if math.prod(shape) * dtype.value.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
    return np.frombuffer(data, dtype.value).reshape(shape, order="F" if fortran else "C")


def _storage(pid: Any, largest: int) -> Record:
    """A persistent id of a .pth: ("storage", type, key, device, number of elements), and None in older files."""
    what, kind, key, device, numel, *_ = _expect(pid, tuple)
    if what != "storage" or not 0 <= _expect(numel, int) * _ITEM_SIZES[_expect(kind, Global).name] <= largest:
        raise Refused("refused: a storage larger than the file")
    _expect(key, str), _expect(device, str)
    return Record("storage")


def _tensor(name: str, args: tuple[Any, ...]) -> Record:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    storage, offset, size, stride = args[:4]
    numbers = (offset, *_expect(size, tuple), *_expect(stride, tuple))
    if _expect(storage, Record).name != "storage" or not all(0 <= _expect(n, int) <= 2**40 for n in numbers):
        raise Refused("refused: a tensor that is no part of the file")
    return Record(name)


def _parameter(name: str, args: tuple[Any, ...]) -> Record:
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks)."""
    return _expect(args[0], Record)  # type: ignore[no-any-return]


def _ordered_dict(name: str, args: tuple[Any, ...]) -> OrderedDict[str, Any]:
    if args:
        raise Refused("refused: a call of OrderedDict with arguments")
    return OrderedDict()


def _build(target: Any, state: Any) -> None:
    """Put a state into what was made before."""
    if isinstance(target, Record):
        target.state = _expect(state, dict)
    elif isinstance(target, Array):
        _, shape, dtype, fortran, data = _expect(state, tuple)
        target.value = _view(data, dtype, shape, bool(fortran))
    elif isinstance(target, _Dtype):
        order, *structure = _expect(state, tuple)[1:]
        if _text(order) not in ("<", ">", "|", "=") or any(s is not None for s in structure[:3]):
            raise Refused("refused: an array of something else than numbers")
        target.value = target.value.newbyteorder(_text(order))
    elif isinstance(target, OrderedDict):
        _expect(state, dict)  # the versions of modules, which no weight depends on
    else:
        raise Refused(f"refused: state for a {type(target).__name__}")


_BYTES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Byte": 1, "Bool": 1}
_ITEM_SIZES = {f"torch {name}Storage": size for name, size in _BYTES.items()}
# Module and name -> what a call of it becomes; None: may be named, not called.
TENSORFLOW: Allowed = {
    "dnnlib.tflib.network Network": lambda name, args: Record(name),
    "numpy.core.multiarray _reconstruct": lambda name, args: Array(),
    "numpy.core.multiarray scalar": _scalar,
    "numpy.core.numeric _frombuffer": _from_buffer,
    "numpy dtype": _dtype,
    "numpy ndarray": None,
}
ARRAYS: Allowed = {name: make for name, make in TENSORFLOW.items() if name.startswith("numpy")}
TORCH: Allowed = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    **dict.fromkeys(_ITEM_SIZES),
}
