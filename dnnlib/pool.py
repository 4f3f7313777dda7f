"""Worker processes, and one way to use them: an ordered map with a bounded number of tasks ahead."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDied(Exception):
    """A worker process ended without an answer: killed from outside, or by what it was reading."""

    def __init__(self, tasks: list[Any]) -> None:
        super().__init__("a worker process ended without an answer")
        self.tasks = tasks
        """The tasks whose results were not delivered, in order; one of them may be the cause."""


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, ahead: int | None = None
) -> Generator[Result, None, None]:
    """Yield `function(task)` for each task, in order, computed by `workers` processes; 0 = by one thread.

    function: must be picklable, and is sent to each worker once, so it may carry a large state (a dataset).
    ahead: how many tasks are drawn from `tasks` before their results are asked for; default: 2 per worker.

    Close the generator (contextlib.closing) to end the workers early. Raises WorkerDied if a worker process ends, and
    otherwise what `function` raises.
    """
    ahead = ahead or 2 * max(workers, 1)
    remaining = iter(tasks)
    pending: deque[Task] = deque()
    futures: deque[Future[Result]] = deque()

    pool: Executor
    call: Callable[[Task], Result]
    if workers:
        pool, call = _process_pool(workers, function), _call
    else:
        pool, call = ThreadPoolExecutor(1, thread_name_prefix="read-ahead"), function
    try:
        while True:
            try:
                # Keep the workers busy, but draw no more tasks than that needs.
                while len(pending) < ahead:
                    try:
                        task = next(remaining)
                    except StopIteration:
                        break
                    pending.append(task)
                    futures.append(pool.submit(call, task))
                if not pending:
                    return
                result = futures[0].result()
            except BrokenProcessPool as e:
                raise WorkerDied(list(pending)) from e

            pending.popleft()
            futures.popleft()
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _process_pool(workers: int, function: Callable[..., Any]) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(function,))


_function: Callable[..., Any]  # of a worker process


def _begin(function: Callable[..., Any]) -> None:
    """Prepare a worker: leave Ctrl-C to the process that started it, and do not outlive that process."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _call(task: Any) -> Any:
    return _function(task)


def _end_with_parent() -> None:
    """A worker waits on a queue that it holds open itself, so it would not notice that its parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
