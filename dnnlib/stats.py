"""The figures of a run: averages over a tick, and the files that they go to."""

import contextlib
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnnlib import distributed
from dnnlib.files import os_error
from dnnlib.sinks import Sink, open_sinks


class Averages:
    """Means of named values over many steps and processes, exact to resume: kept as float64 sums on the device.

    A name appears when it is first added; all processes must add the same names in the same order.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, torch.Tensor] = defaultdict(
            lambda: torch.zeros(2, dtype=torch.float64, device=self.device)
        )
        """Sum and count of each name, float64 [2]."""

    def add(self, stats: dict[str, torch.Tensor]) -> None:
        """Add every element of each tensor."""
        for name, values in stats.items():
            self.sums[name][0] += values.sum(dtype=torch.float64)
            self.sums[name][1] += values.numel()

    def add_finite(self, name: str, value: torch.Tensor) -> None:
        """Add a value [] if it is finite, without waiting for the device."""
        is_finite = value.isfinite()
        self.sums[name][0] += torch.where(is_finite, value, 0).double()
        self.sums[name][1] += is_finite

    def take(self) -> dict[str, float]:
        """Return the means over all processes since the last call, and start anew."""
        if not self.sums:
            return {}

        # All names at once, so that there is one message between the processes.
        names = list(self.sums)
        totals = torch.stack(list(self.sums.values()))  # [names,2]
        distributed.all_reduce_sum(totals)
        self.sums.clear()
        return {name: total / count for name, (total, count) in zip(names, totals.tolist(), strict=True) if count}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the sums of every process, [processes,2] each. All processes must call it together."""
        return {name: distributed.gather(total) for name, total in self.sums.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over the sums of this process, or on the main one all sums if the number of processes has changed."""
        self.sums.clear()
        for name, totals in state.items():
            if len(totals) != distributed.world_size():
                others = totals.new_zeros(distributed.world_size() - 1, 2)
                totals = torch.cat([totals.sum(0, keepdim=True), others])

            self.sums[name] = totals[distributed.rank()].to(self.device, torch.float64, copy=True)


class RunLog:
    """The figures of a run dir in all their sinks, and log.txt."""

    def __init__(
        self,
        run_dir: Path,
        kimg: float,
        trackers: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the files for a run that goes on at `kimg`; raise UserError if they cannot be written.

        trackers: further sinks by name. options: those of the run, which trackers show.
        """
        self.path = run_dir / "log.txt"
        self.text = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self.sinks = open_sinks(run_dir, kimg, trackers, options or {})

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the figures of a tick: a name and a value for each, of which `kimg` is one."""
        self._to_all(lambda sink: sink.write(row))

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None:
        """Write the distribution of every parameter of some networks."""
        self._to_all(lambda sink: sink.histograms(networks, kimg))

    def line(self, text: str) -> None:
        """Append a line to log.txt."""
        try:
            self.text.write(text + "\n")
            self.text.flush()
        except OSError as e:
            raise os_error(e, self.path, "write") from e

    def close(self) -> None:
        """Close all files."""
        self._to_all(lambda sink: sink.close())
        with contextlib.suppress(OSError):  # what a full disk did not take has been reported before
            self.text.close()

    def _to_all(self, act: Callable[[Sink], None]) -> None:
        """Do something with each sink, and go on without those of other packages that fail."""
        for sink in list(self.sinks):
            try:
                act(sink)
            except Exception as e:
                if not sink.is_foreign:
                    raise
                self.sinks.remove(sink)
                self.line(f"warning: {type(sink).__name__} takes no more figures: {type(e).__name__}: {e}")
                print(f"warning: {type(sink).__name__} takes no more figures: {e}", file=sys.stderr)


def format_time(seconds: float) -> str:
    """Return a duration as 45s, 3m 20s, 2h 05m 10s or 1d 04h 10m."""
    s = round(seconds)

    # Two or three units, the largest one without leading zeros.
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m {s % 60:02d}s"
    if s < 24 * 3600:
        return f"{s // 3600}h {s // 60 % 60:02d}m {s % 60:02d}s"
    return f"{s // 86400}d {s // 3600 % 24:02d}h {s // 60 % 60:02d}m"
