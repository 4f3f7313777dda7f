"""Where the figures of a run go: averages over a tick, stats.jsonl, TensorBoard, log.txt."""

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from dnnlib import distributed
from dnnlib.files import atomic


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
    """stats.jsonl, TensorBoard events and log.txt of a run dir; when resuming, rows past `kimg` are dropped first."""

    def __init__(self, run_dir: Path, kimg: float) -> None:
        path = run_dir / "stats.jsonl"

        # Keep what happened up to the point where the run goes on.
        if path.exists():
            kept = [row for row in read_stats(path) if row["kimg"] <= kimg]
            with atomic(path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

        # These stay open as long as the run.
        self.text = open(run_dir / "log.txt", "a", encoding="utf-8")  # noqa: SIM115
        self.rows = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self.events = SummaryWriter(str(run_dir), purge_step=max(0, int(kimg * 1000) + 1))

    def write(self, row: dict[str, Any]) -> None:
        """Append one object to stats.jsonl and its numbers to TensorBoard."""
        # The row is on the disk before the checkpoint that vouches for it.
        self.rows.write(json.dumps(row) + "\n")
        self.rows.flush()
        os.fsync(self.rows.fileno())

        # TensorBoard counts images.
        for name, value in row.items():
            if isinstance(value, int | float):
                self.events.add_scalar(name, value, global_step=int(row["kimg"] * 1000))
        self.events.flush()

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None:
        """Add a histogram of every parameter of some networks to TensorBoard."""
        for name, network in networks.items():
            for key, parameter in network.named_parameters():
                values = parameter.detach().float().cpu()
                self.events.add_histogram(f"{name}/{key}", values, global_step=int(kimg * 1000))
        self.events.flush()

    def line(self, text: str) -> None:
        """Append a line to log.txt."""
        self.text.write(text + "\n")
        self.text.flush()

    def close(self) -> None:
        """Close all files."""
        self.rows.close()
        self.text.close()
        self.events.close()


def read_stats(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a stats.jsonl; a half-written last line is left out."""
    rows = []
    with contextlib.suppress(json.JSONDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            rows.append(json.loads(line))
    return rows


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
