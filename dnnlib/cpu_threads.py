"""As many threads as other programs leave cores for.

A parallel loop ends when its slowest thread does. A thread that shares its core with another program therefore slows
down all others, which meanwhile occupy their cores waiting: of two threads on two cores, one of which is busy, a third
of the speed is left. A single thread keeps two thirds (docs/performance.md).
"""

import functools
import math
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from dnnlib.pool import cpu_count

STAT = Path("/proc/stat")
PERIOD = 0.5  # seconds, the least that a measurement takes: the kernel counts in hundredths

# Programs that take this share of a core cost more than the thread that runs beside them brings. They would take all of
# it, but have to share it with that thread.
BUSY = 0.4


class _Reading(NamedTuple):
    """What the kernel has counted so far."""

    seconds: float  # of time
    others: float  # of time that other processes ran on cores that this process may use


class CpuThreads:
    """Keeps the number of threads of this process's operations to the cores that others leave to it.

    The number never changes if the user has set OMP_NUM_THREADS, and where the system does not say what its cores do,
    which is everywhere but on Linux.
    """

    def __init__(self) -> None:
        self.most = torch.get_num_threads()
        self.fixed = self.most == 1 or "OMP_NUM_THREADS" in os.environ or not STAT.exists()
        self._last = self._read()

    @property
    def due(self) -> bool:
        """Whether the number may change, and the last measurement is long enough ago for another one."""
        return not self.fixed and time.monotonic() - self._last.seconds >= PERIOD

    def measure(self) -> int:
        """Return the number of threads that the load since the last measurement leaves cores for."""
        if self.fixed:
            return self.most
        reading = self._read()
        busy = (reading.others - self._last.others) / max(reading.seconds - self._last.seconds, 1e-9)
        self._last = reading

        # Which cores they are does not matter, since the system moves threads to those that are free.
        return max(1, min(self.most, math.floor(cpu_count() - busy + BUSY)))

    def choose(self) -> int:
        """Set the number of threads by the load since this object was made, at least for half a second; return it."""
        if not self.fixed:
            time.sleep(max(0.0, self._last.seconds + PERIOD - time.monotonic()))
        threads = self.measure()
        torch.set_num_threads(threads)
        return threads

    def follow(self) -> int:
        """Set the number of threads anew if it is time for it, and return it; to be called between operations."""
        if self.due:
            torch.set_num_threads(self.measure())
        return torch.get_num_threads()

    def _read(self) -> _Reading:
        """Return the present counts."""
        now = time.monotonic()
        if self.fixed or sys.platform != "linux":
            return _Reading(now, 0)

        # Lines are "cpu0 user nice system idle iowait irq softirq steal guest guest_nice"; guests are users as well.
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = 0
        for line in STAT.read_text().splitlines():
            name, *counts = line.split()
            if name in names:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counts[:8])
                ticks += user + nice + system + irq + softirq + steal
        return _Reading(now, ticks / os.sysconf("SC_CLK_TCK") - time.process_time())


@functools.cache
def share_cores() -> int:
    """Choose the number of threads of this process, at the first call only, and return it."""
    return CpuThreads().choose()
