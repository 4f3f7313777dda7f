"""The one place where pickles are opened: TF1 network pickles, as plain data.

Python's own unpickler imports and calls whatever a file names. This reader does neither: the standard library's
`pickletools` splits the file into opcodes, and a few dozen of them are carried out here on lists, dicts and the records
of ALLOWED. Arrays are views of the mapped file, so memory does not depend on what a file claims to hold.
"""

import mmap
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError

MAX_OPCODES = 10**6  # a default 1024x1024 pickle has about 20,000
SMALL = 2**12  # reads up to this size are copied, larger ones are views

FOREIGN = {
    "torch_utils.persistence": "a pickle of StyleGAN2-ADA, StyleGAN3 or a project built on them",
    "tfutil": "a pickle of Progressive GAN (NVIDIA 2017)",
    "torch": "a pickle of PyTorch objects",
}


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


def read_pickle(path: Path) -> Any:
    """The content of a pickle as lists, tuples, dicts, numbers, strings, `Array`s, and `Record`s for networks.
    UserError if it ends early, is damaged, or names anything that TF1 network pickles do not need."""
    try:
        with open(path, "rb") as f:
            return _Machine(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)).run()
    except OSError as e:
        raise UserError(f"{path}: cannot read: {e.strerror}") from e
    except Refused as e:
        raise UserError(f"{path}: {e}") from e
    except (ValueError, TypeError, LookupError, OverflowError, MemoryError, RecursionError, AttributeError) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"{path}: damaged or only part of a network pickle (half a download?): {reason}") from e


class _Source:
    """What pickletools reads from: `read` never gives more than there is, large pieces as views."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.view, self.at = data, memoryview(data), 0

    def tell(self) -> int:
        return self.at

    def read(self, n: int) -> bytes | memoryview:
        piece = self.view[self.at : self.at + n]
        self.at += len(piece)
        return bytes(piece) if n <= SMALL else piece

    def readline(self) -> bytes:
        end = self.data.find(b"\n", self.at, self.at + SMALL)
        return bytes(self.read((end + 1 if end >= 0 else self.at + SMALL) - self.at))


class _Machine:
    """The stack machine of the pickle format, for plain data only."""

    def __init__(self, data: mmap.mmap) -> None:
        self.source = _Source(data)
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(self.source)):  # type: ignore[arg-type]
            if count > MAX_OPCODES:
                raise Refused(f"more than {MAX_OPCODES} pickle opcodes, not a network pickle")
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
        elif op in PUSH_NEW:
            stack.append(PUSH_NEW[op]())
        elif op == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif op == "TUPLE":
            items = self.pop_mark()
            self.stack.append(tuple(items))
        elif op in TUPLES:
            n = TUPLES[op]
            items = [stack.pop() for _ in range(n)][::-1]
            stack.append(tuple(items))
        elif op in ("APPEND", "APPENDS"):
            items = [stack.pop()] if op == "APPEND" else self.pop_mark()
            _expect(self.stack[-1], list).extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if op == "SETITEM" else self.pop_mark()
            target = _expect(self.stack[-1], dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_expect(key, str)] = value
        elif op in ("BINPUT", "LONG_BINPUT"):
            self.memo[arg] = stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[arg])
        elif op == "GLOBAL":
            stack.append(_global(*arg.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(_global(_expect(module, str), _expect(name, str)))
        elif op in ("REDUCE", "NEWOBJ"):
            args, what = _expect(stack.pop(), tuple), _expect(stack.pop(), Global)
            make = ALLOWED[what.name]
            if make is None:
                raise Refused(f"refused: a call of {what.name.replace(' ', '.')}")
            stack.append(make(what.name, args))
        elif op == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        else:
            raise Refused(f"refused: pickle opcode {op}, which network pickles do not use")

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items


PUSH_ARGUMENT = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT",
    "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
PUSH_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise Refused(f"found {type(value).__name__} where network pickles have {kind.__name__}")
    return value


def _global(module: str, name: str) -> Global:
    module = re.sub(r"^numpy\._core\b", "numpy.core", module)  # as numpy 2 writes it
    full = f"{module} {name}"
    if full in ALLOWED:
        return Global(full)
    for prefix, what in FOREIGN.items():
        if module == prefix or module.startswith(prefix + "."):
            raise Refused(f"{what}, which is not supported")
    raise Refused(f"refused: the file asks for {module}.{name}, which network pickles do not use")


def _dtype(name: str, args: tuple[Any, ...]) -> _Dtype:
    code = args[0] if args else None
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", code):
        raise Refused("refused: an array of something else than numbers")
    return _Dtype(np.dtype(code))


def _from_buffer(name: str, args: tuple[Any, ...]) -> Array:
    buffer, dtype, shape, order = args
    return Array(_view(buffer, dtype, shape, order == "F"))


def _scalar(name: str, args: tuple[Any, ...]) -> Array:
    dtype, data = args
    return Array(_view(data, dtype, (), False))


def _encode(name: str, args: tuple[Any, ...]) -> bytes:
    """How protocols below 3 write bytes: _codecs.encode(text, "latin1")."""
    text, encoding = args
    if encoding != "latin1":
        raise Refused("refused: text in an encoding that network pickles do not use")
    encoded: bytes = _expect(text, str).encode("latin-1")
    return encoded


def _view(data: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """`data` as an array, after checking that it is as long as the shape says."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray | memoryview) or not isinstance(dtype, _Dtype):
        raise Refused("refused: an array that is not plain bytes")
    size = dtype.value.itemsize
    for n in _expect(shape, tuple):
        size *= _expect(n, int)
    if len(shape) > 8 or any(n < 0 for n in shape) or size != len(data):
        raise ValueError(f"an array of shape {shape!r:.60} in {len(data)} bytes")
    return np.frombuffer(data, dtype.value).reshape(shape, order="F" if fortran else "C")


def _build(target: Any, state: Any) -> None:
    """Put a state into what was made before."""
    if isinstance(target, Record):
        target.state = _expect(state, dict)
    elif isinstance(target, Array):
        _, shape, dtype, fortran, data = _expect(state, tuple)
        target.value = _view(data, dtype, shape, bool(fortran))
    elif isinstance(target, _Dtype):
        order, *structure = _expect(state, tuple)[1:]
        if order not in ("<", ">", "|", "=") or any(s is not None for s in structure[:3]):
            raise Refused("refused: an array of something else than numbers")
        target.value = target.value.newbyteorder(order)
    else:
        raise Refused(f"refused: state for a {type(target).__name__}")


# module and name -> what a call of it becomes; None: may be named, not called
ALLOWED: dict[str, Callable[[str, tuple[Any, ...]], Any] | None] = {
    "dnnlib.tflib.network Network": lambda name, args: Record(name),
    "numpy.core.multiarray _reconstruct": lambda name, args: Array(),
    "numpy.core.multiarray scalar": _scalar,
    "numpy.core.numeric _frombuffer": _from_buffer,
    "numpy dtype": _dtype,
    "numpy ndarray": None,
    "_codecs encode": _encode,
}
