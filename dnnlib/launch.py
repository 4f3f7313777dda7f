"""Starting the processes of a run on this machine, through torch's elastic launcher."""

import faulthandler
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from dnnlib.errors import UserError
from dnnlib.rank_lines import mark_lines
from dnnlib.slurm_step import adopt_step

INTERRUPTED = 130  # exit status after a second Ctrl-C
STACK_SECONDS = 0.5  # in which a process prints its stacks


def is_first_process() -> bool:
    """Return whether an outer launcher, if there is one, started this process as the first; known before `init`."""
    adopt_step()
    return int(os.environ.get("RANK", 0)) == 0


def launch(function: Callable[[Any], None], argument: Any, processes: int) -> int:
    """Call `function(argument)` in `processes` processes, each with its rank in the environment; return the status.

    One process, or processes that an outer launcher (torchrun, srun) already started, call it here. SIGTERM and SIGINT
    are passed on to the workers, which end as they see fit. SIGUSR1 prints the stacks of all processes to stderr, which
    shows where a run hangs. Raises the UserError of a worker.
    """
    adopt_step()
    if processes == 1 or "WORLD_SIZE" in os.environ:
        mark_lines()
        _print_stacks_when_asked()
        function(argument)
        return 0

    # Imported here, since a single process does without.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The launcher's own warnings repeat what the workers say.
    for name in ("torch.distributed", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    config = LaunchConfig(
        run_id=str(os.getpid()),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle="SIGQUIT",
    )
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, _pass_on)
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR1, _ask_for_stacks)

    try:
        elastic_launch(config, _worker)(function, argument)
    except ChildFailedError as e:
        return _report(e.get_first_failure()[1])
    return 0


def _report(failure: Any) -> int:
    """Report the first worker that failed, a ProcessFailure of torch, and return the status to exit with."""
    exception = failure.error_file_data["message"]

    # A worker that exited, or that a signal ended, has recorded no exception.
    if not isinstance(exception, dict):
        if failure.exitcode != INTERRUPTED:
            print(f"error: process {failure.local_rank} ended with status {failure.exitcode}", file=sys.stderr)
        return max(1, failure.exitcode)

    # Exceptions arrive as text that begins with the name of their class.
    if exception["message"].startswith("UserError: "):
        raise UserError(exception["message"].removeprefix("UserError: "))
    print(exception["extraInfo"]["py_callstack"], file=sys.stderr)
    return 1


def _pass_on(signum: int, frame: Any) -> None:
    """Pass a signal on to the workers, as SIGTERM."""
    # Before there are workers, it ends the launcher itself.
    workers = multiprocessing.active_children()
    if not workers:
        sys.exit(128 + signum)

    for worker in workers:
        worker.terminate()


def _print_stacks_when_asked() -> None:
    """Let SIGUSR1 print the stack of every thread, even of one that waits inside a library and runs no Python."""
    # Windows has no such signal. The number is that of stderr, which may have been replaced by an object without one.
    if sys.platform != "win32":
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)


def _ask_for_stacks(signum: int, frame: Any) -> None:
    """Let one worker after another print its stacks."""
    # Workers were started in the order of their ranks.
    for rank, worker in enumerate(sorted(multiprocessing.active_children(), key=lambda worker: worker.pid or 0)):
        print(f"process {rank} (pid {worker.pid}):", file=sys.stderr, flush=True)
        os.kill(worker.pid or 0, signum)
        time.sleep(STACK_SECONDS)


def _worker(function: Callable[[Any], None], argument: Any) -> None:
    """Call the function in a worker process, which a signal ends like Ctrl-C unless the function handles signals."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    mark_lines()
    _print_stacks_when_asked()

    try:
        function(argument)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
