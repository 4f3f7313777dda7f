"""Start several processes of one function on this machine, through torch's elastic launcher."""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from dnnlib.cli import fail
from dnnlib.errors import UserError


def launch(function: Callable[[Any], None], argument: Any, processes: int) -> int:
    """Call `function(argument)` in `processes` processes, each with its rank in the environment; returns the status.

    One process, or processes that an outer launcher (torchrun, Slurm) already started: called here. SIGTERM and SIGINT
    are passed on to the workers, which end as they see fit.
    """
    if processes == 1 or "WORLD_SIZE" in os.environ:
        function(argument)
        return 0
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # its warnings repeat what the workers say
    config = LaunchConfig(
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
        codes = [f.exitcode for f in e.failures.values()]
        return 2 if 2 in codes else 1
    return 0


def _pass_on(signum: int, frame: Any) -> None:
    for child in multiprocessing.active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGTERM)


def _worker(function: Callable[[Any], None], argument: Any) -> None:
    try:
        function(argument)
    except UserError as e:
        if os.environ.get("RANK") == "0":
            fail(str(e))
        sys.exit(2)
