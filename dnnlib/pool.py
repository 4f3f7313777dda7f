"""Worker processes, and one way to use them: an ordered map with a bounded number of tasks ahead."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDied(Exception):
    """A worker process ended without an answer: killed from outside, or by its task."""

    def __init__(self, tasks: list[Any]) -> None:
        super().__init__("a worker process ended without an answer")
        self.tasks = tasks
        """The tasks whose results were not delivered, in order; one of them may be the cause."""


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    # Containers and batch systems give a process fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    ahead: int | None = None,
    threads: int = 1,
) -> Generator[Result, None, None]:
    """Yield `function(task)` for each task, in order, computed by `workers` processes; 0 = by `threads`.

    function: for processes it must be picklable; it is sent to each once, so it may carry a large state (a dataset).
    ahead: how many tasks are drawn from `tasks` before their results are asked for; default: 2 per worker process.

    Close the generator (contextlib.closing) to end early; it waits for the tasks that are being computed. Raises
    WorkerDied if a worker process ends, and otherwise what `function` or `tasks` raises.
    """
    ahead = ahead or 2 * max(workers, 1)
    remaining = iter(tasks)
    pending: deque[Task] = deque()
    futures: deque[Future[Result]] = deque()

    pool: Executor
    if workers:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(function,))
        call: Callable[[Task], Result] = _call
    else:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
        call = function

    try:
        while True:
            # Keep the workers busy, but draw no more tasks than that needs. A task counts as pending before it is
            # handed over, since handing over fails once a worker has died.
            for task in islice(remaining, ahead - len(pending)):
                pending.append(task)
                with _interrupts_blocked():
                    futures.append(pool.submit(call, task))

            if not pending:
                return
            result = futures.popleft().result()
            pending.popleft()
            yield result
    except BrokenProcessPool as e:
        raise WorkerDied(list(pending)) from e
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let processes that are started meanwhile begin with Ctrl-C blocked.

    It would end them with a traceback while Python starts, before `_begin` can ignore it. In this process, it arrives
    when the block ends.
    """
    if sys.platform == "win32":
        yield
        return

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_function: Callable[..., Any]  # what this process computes, if it is a worker


def _begin(function: Callable[..., Any]) -> None:
    """Initialize a worker: keep its function, leave Ctrl-C to the parent process, and exit if the parent dies."""
    global _function
    _function = function

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _call(task: Any) -> Any:
    """Compute one task in a worker."""
    return _function(task)


def _end_with_parent() -> None:
    """End this worker when its parent ends."""
    # Without this a worker would not notice that its parent was killed: it waits on a queue that it holds open itself.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
