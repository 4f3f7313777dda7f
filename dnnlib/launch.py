"""Processes on this machine: training processes through torch's elastic launcher."""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from dnnlib.errors import UserError

INTERRUPTED = 130  # exit status after a second Ctrl-C


def is_first_process() -> bool:
    """Return whether an outer launcher, if there is one, started this process as the first; known before `init`."""
    return int(os.environ.get("RANK", 0)) == 0


def launch(function: Callable[[Any], None], argument: Any, processes: int) -> int:
    """Call `function(argument)` in `processes` processes, each with its rank in the environment; return the status.

    One process, or processes that an outer launcher (torchrun, Slurm) already started, call it here. SIGTERM and SIGINT
    are passed on to the workers, which end as they see fit. Raises the UserError of a worker.
    """
    if processes == 1 or "WORLD_SIZE" in os.environ:
        function(argument)
        return 0

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

    try:
        elastic_launch(config, _worker)(function, argument)
    except ChildFailedError as e:
        _, failure = e.get_first_failure()
        return _report(failure)
    return 0


def _report(failure: Any) -> int:
    """Report the first worker that failed (torch's ProcessFailure), and return the status to exit with."""
    recorded = failure.error_file_data.get("message") if isinstance(failure.error_file_data, dict) else None

    # It ended without an exception: by a signal, or by exiting.
    if not isinstance(recorded, dict):
        if failure.exitcode != INTERRUPTED:
            print(f"error: process {failure.local_rank} ended with status {failure.exitcode}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1

    # Its exception comes as text.
    prefix = f"{UserError.__name__}: "
    if recorded["message"].startswith(prefix):
        raise UserError(recorded["message"].removeprefix(prefix))
    print(recorded["extraInfo"]["py_callstack"], file=sys.stderr)
    return 1


def _pass_on(signum: int, frame: Any) -> None:
    """Pass a signal on to the workers, as SIGTERM."""
    children = [c.pid for c in multiprocessing.active_children() if c.pid is not None]
    if not children:  # too early: nothing runs yet
        sys.exit(128 + signum)

    for pid in children:
        os.kill(pid, signal.SIGTERM)


def _worker(function: Callable[[Any], None], argument: Any) -> None:
    """Run in each worker process; a signal ends it like Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unless the function has a better idea
    try:
        function(argument)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
