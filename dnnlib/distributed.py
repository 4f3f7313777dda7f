"""The processes of one run: their ranks, sums and agreement over them. One process needs no set-up, pays nothing."""

import contextlib
import datetime
import functools
import os
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist

from dnnlib.errors import UserError
from dnnlib.pool import cpu_count

T = TypeVar("T")
Arguments = ParamSpec("Arguments")


def rank() -> int:
    """Return the number of this process among all, 0 for the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes of this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Return the number of this process among those of this machine, which have successive ranks."""
    return int(os.environ.get("LOCAL_RANK", 0)) if dist.is_initialized() else 0


def cores() -> int:
    """Return the number of cores for each process of this machine, at least 1."""
    # torchrun and our own launcher say how many there are here; otherwise, all processes are.
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    return max(1, cpu_count() // here)


def is_main() -> bool:
    """Return whether this is the process that writes files and prints."""
    return rank() == 0


def main_process_only(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Make a function do nothing on processes other than the main one."""

    @functools.wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if is_main():
            function(*args, **kwargs)

    return wrapper


def pick_device(name: str) -> torch.device:
    """Return this process's device for `auto`, `cuda` or `cpu`; raise UserError if there is no GPU left for it."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")

    # Each process of a machine has a GPU of its own, and Slurm may show it no other. This may be asked before `init`.
    local, found = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if found == 1 and "SLURM_LOCALID" in os.environ:
        local = 0
    if local >= found:
        expected = f"one for each process of this machine, which process {local} has not" if local else "one"
        raise UserError(f"--device {name}: found {found or 'no'} GPU{'s' * (found > 1)}, expected {expected}")

    device = torch.device("cuda", local)
    torch.cuda.set_device(device)

    # fp32 means fp32, as on a CPU.
    torch.backends.cudnn.allow_tf32 = False
    return device


def init(device: torch.device, timeout: float = 1800) -> None:
    """Join the process group that the launcher's environment describes, if there is one.

    timeout: seconds that processes wait for one another before they fail; 0 = a year.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Values on the host (the stop flag, objects) go through gloo, gradients on a GPU through nccl.
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        wait = datetime.timedelta(seconds=timeout) if timeout else datetime.timedelta(days=365)
        dist.init_process_group(backend, timeout=wait)


def shutdown() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


_waiting = False  # whether the main thread is in a collective operation


def open_store(prefix: str) -> dist.Store:
    """Return keys and values that all processes share, through a connection of its own; there must be several."""
    # The store at which the processes have met, and which stays open as long as they run.
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.PrefixStore(prefix, dist.TCPStore(host, port, is_master=False, wait_for_workers=False))


def is_waiting() -> bool:
    """Return whether the main thread of this process waits for other processes."""
    return _waiting


@contextlib.contextmanager
def _others() -> Iterator[None]:
    """Mark a block in which this process waits for the others."""
    global _waiting
    _waiting = True
    try:
        yield
    finally:
        _waiting = False


def all_reduce_sum(tensor: torch.Tensor) -> None:
    """Add up `tensor` over all processes, in place."""
    if world_size() > 1:
        with _others():
            dist.all_reduce(tensor)


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor of every process, stacked by rank: [...] -> [processes,...]."""
    # Each process fills in its own row, and the sum has them all.
    rows = tensor.new_zeros(world_size(), *tensor.shape)
    rows[rank()] = tensor
    all_reduce_sum(rows)
    return rows


def any_rank(flag: bool) -> bool:
    """Return whether `flag` is true on any process; all must ask together."""
    count = torch.tensor(float(flag))
    all_reduce_sum(count)
    return bool(count)


def main_flag(flag: bool) -> bool:
    """Return the flag of the main process; all must ask together."""
    value = torch.tensor(float(flag))
    if world_size() > 1:
        with _others():
            dist.broadcast(value, src=0)
    return bool(value)


def barrier() -> None:
    """Wait until all processes are here."""
    all_reduce_sum(torch.zeros(1))


def gather_objects(value: T) -> list[T]:
    """Return the value of every process, by rank, on all of them."""
    if world_size() == 1:
        return [value]

    values = [value] * world_size()
    with _others():
        dist.all_gather_object(values, value)
    return values


def broadcast_object(value: T) -> T:
    """Return the main process's value on all of them; the main process keeps its own, with open files and locks."""
    values = [value]
    if world_size() > 1:
        with _others():
            dist.broadcast_object_list(values, src=0)
    return value if rank() == 0 else values[0]


def together(function: Callable[[], T]) -> T:
    """Call `function` on all processes; if it fails on one, raise UserError on all, so that none waits for it."""
    try:
        result, error = function(), None
    except Exception as e:
        # A single process keeps its exception with the traceback.
        if world_size() == 1:
            raise
        result, error = None, str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}"

    # The first process that failed speaks for all.
    for message in gather_objects(error):
        if message is not None:
            raise UserError(message)
    return result  # type: ignore[return-value]


def on_main(function: Callable[[], T]) -> T:
    """Call `function` on the main process, and return its value on all; errors as in `together`."""
    return broadcast_object(together(lambda: function() if is_main() else None))  # type: ignore[return-value]


def main_first(function: Callable[[], T]) -> T:
    """Call `function` on all processes, on the main one first, where it may fill a cache; errors as in `together`."""
    first = together(lambda: function() if is_main() else None)
    return together(lambda: function() if first is None else first)


def striped(count: int, compute: Callable[[int], T], before_round: Callable[[], None] | None = None) -> Iterator[T]:
    """Yield `compute(0)` to `compute(count - 1)`, in order and on all processes, each of which computes every
    world_size-th.

    Results must be on the host. `before_round` is called on all processes together before each computes its next
    result. Errors as in `together`.
    """
    for first in range(0, count, world_size()):
        if before_round is not None:
            before_round()

        # In the last round there may be fewer results than processes.
        index = first + rank()
        own = together(lambda: compute(index) if index < count else None)  # noqa: B023
        yield from gather_objects(own)[: count - first]  # type: ignore[misc]
