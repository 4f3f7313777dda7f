"""What somebody may do to the bytes and the JSON of a file, and what may come of reading it: success, or one line."""

import contextlib
import copy
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dnnlib.errors import LONGEST, UserError

SECONDS = 20  # that reading one file may take: guards against hangs only

# Numbers that are small, at the limits of machine types, and beyond them.
HUGE = (0, 1, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "number", "insert", "delete", "cut", "splice"]),
        st.integers(0, 2**32),
        st.integers(0, 2**32),
    ),
    min_size=1,
    max_size=4,
)
"""Changes of bytes: what is done, where, and with which number."""


def fuzz(examples: int) -> settings:
    """A fixed number of examples; other tests decide how long things may take."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks, database=None)


def edited(data: bytes, edits: list[tuple[str, int, int]], head: int | None = None) -> bytes:
    """Return changed bytes; three of four changes are among the first `head` ones, where headers are."""
    out = bytearray(data)
    for kind, where, number in edits:
        reach = len(out) if head is None or number % 4 == 0 else min(head, len(out))
        at = where % max(reach, 1)
        if kind == "flip" and out:
            out[at] ^= 1 << number % 8
        elif kind == "set" and out:
            out[at] = number % 256
        elif kind == "number":
            value = HUGE[number % len(HUGE)].to_bytes(8, "little" if number % 2 else "big")
            out[at : at + (4 if number % 3 else 8)] = value[-4:] if number % 3 else value
        elif kind == "insert":
            out[at:at] = number.to_bytes(5, "little")[: 1 + number % 5]
        elif kind == "delete":
            del out[at : at + 1 + number % 16]
        elif kind == "cut" and number % 3 == 0:
            del out[at:]
        elif kind == "splice":
            out[at : at + 16] = out[number % max(len(out), 1) :][: 1 + number % 64]
    return bytes(out)


# Values that JSON can hold where another one is expected.
NUMBERS = st.sampled_from([0, -1, 1, 7, 2**31, 2**63, 2**64, 10**20, 10**400, 0.5, 1e308, float("nan"), float("inf")])
TEXTS = st.sampled_from(["", "x", "auto", "../../x", "/", "\x00", "\ud800", "a\nb\x1b[2J", "9" * 500, "x" * 5000])
DEEP: Any = [[]]
for _ in range(400):
    DEEP = [DEEP] if _ % 2 else {"x": DEEP}
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.just(DEEP),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.sampled_from(["set", "drop", "add"]), VALUES), max_size=3)
"""Changes of a JSON value: where, what is done, and with which value."""


def changed(value: Any, changes: list[tuple[int, str, Any]]) -> Any:
    """Return a JSON value of which some parts, at any depth, are others, gone or new."""
    root = [copy.deepcopy(value)]
    for where, kind, new in changes:
        places = list(_places(root))
        holder, key = places[where % len(places)]
        if kind == "set" or (kind == "drop" and holder is root):
            holder[key] = json.loads(json.dumps(new))
        elif kind == "drop":
            del holder[key]
        elif isinstance(holder, dict):
            holder[f"{key}x"] = json.loads(json.dumps(new))
        elif holder is not root:
            holder.append(json.loads(json.dumps(new)))
    return root[0]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield where each part of a JSON value is, in what holds it; not far into deep ones."""
    pending = [(value, 0)]
    while pending:
        holder, depth = pending.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], list | dict) and depth < 6:
                pending.append((holder[key], depth + 1))


def json_bytes(value: Any) -> bytes:
    """Return a JSON value as text; without a limit on the digits of numbers, and with anything as text."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


class Hangs(BaseException):
    """Reading has not ended; no `except Exception` takes it for damage."""


@contextlib.contextmanager
def bounded_time() -> Iterator[None]:
    """Raise Hangs in this block after SECONDS."""

    def hangs(*_: object) -> None:
        raise Hangs(f"still reading after {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def succeeds(read: Callable[[], object]) -> bool:
    """Return whether `read` succeeds; it may raise UserError of one line otherwise, and nothing else."""
    try:
        with bounded_time():
            read()
    except UserError as e:
        message = str(e)
        assert message and message.isprintable() and len(message) <= LONGEST + 4
        return False
    return True
