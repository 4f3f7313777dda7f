"""Work that is divided into blocks among the processes, with a progress bar."""

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from tqdm import tqdm

from dnnlib import distributed

T = TypeVar("T")


class Stopped(Exception):
    """Raised when a measurement is asked to end early."""


def in_blocks(
    total: int,
    size: int,
    compute: Callable[[int, int], T],
    title: str,
    unit: str,
    stop: Callable[[], bool] | None = None,
) -> Iterator[T]:
    """Yield `compute(start, end)` for each block of `size` out of `total` items, in order and on all processes.

    Each process computes every world_size-th block and receives the others, so results must be on the host. `stop` is
    asked between blocks, on all processes together; Stopped is raised if it returns True.
    """
    starts = range(0, total, size)

    def compute_block(index: int) -> T:
        return compute(starts[index], min(starts[index] + size, total))

    # All processes stop in the same round.
    def check_stop() -> None:
        if stop is not None and stop():
            raise Stopped

    # Only the main process draws a bar, and seldom where nobody watches, as in log files.
    is_hidden = not distributed.is_main()
    seconds = 0.1 if sys.stderr.isatty() else 10
    with tqdm(total=total, unit=unit, desc=title, disable=is_hidden, leave=False, mininterval=seconds) as bar:
        outputs = distributed.striped(len(starts), compute_block, check_stop)
        for start, output in zip(starts, outputs, strict=True):
            bar.update(min(size, total - start))
            yield output
