"""Where the figures of a run go: averages over a tick, stats.jsonl, TensorBoard, log.txt."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from dnnlib import distributed
from dnnlib.files import atomic


class Averages:
    """Means of named values over many steps and processes, exact to resume: kept as float64 sums on the device."""

    def __init__(self, names: list[str], device: torch.device) -> None:
        self.names = names
        self.sums = torch.zeros(len(names), 2, dtype=torch.float64, device=device)  # [names, (sum, count)]

    def add(self, stats: dict[str, torch.Tensor]) -> None:
        """Add every element of each tensor."""
        for name, values in stats.items():
            row = self.sums[self.names.index(name)]
            row[0] += values.sum(dtype=torch.float64)
            row[1] += values.numel()

    def take(self) -> dict[str, float]:
        """Means over all processes since the last call; a name without values is left out. Starts anew."""
        total = self.sums.clone()
        distributed.all_reduce_sum(total)
        self.sums.zero_()
        return {name: s / n for name, (s, n) in zip(self.names, total.tolist(), strict=True) if n}


class RunLog:
    """stats.jsonl, TensorBoard events and log.txt of a run dir; when resuming, rows past `kimg` are dropped first."""

    def __init__(self, run_dir: Path, kimg: float) -> None:
        self.path = run_dir / "stats.jsonl"
        self.text = open(run_dir / "log.txt", "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run
        rows = read_stats(self.path) if self.path.exists() else []
        kept = [r for r in rows if r["kimg"] <= kimg]
        if self.path.exists():
            with atomic(self.path) as temporary:
                temporary.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")
        self.rows = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self.events = SummaryWriter(str(run_dir), purge_step=max(0, int(kimg * 1000) + 1))

    def write(self, row: dict[str, Any]) -> None:
        """Append one object to stats.jsonl and its numbers to TensorBoard."""
        self.rows.write(json.dumps(row) + "\n")
        self.rows.flush()
        os.fsync(self.rows.fileno())  # before the checkpoint that vouches for it
        for name, value in row.items():
            if isinstance(value, int | float):
                self.events.add_scalar(name, value, global_step=int(row["kimg"] * 1000))
        self.events.flush()

    def line(self, text: str) -> None:
        """Append a line to log.txt."""
        self.text.write(text + "\n")
        self.text.flush()

    def close(self) -> None:
        self.rows.close()
        self.text.close()
        self.events.close()


def read_stats(path: Path) -> list[dict[str, Any]]:
    """The rows of a stats.jsonl; a half-written last line is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def format_time(seconds: float) -> str:
    """45s, 3m 20s, 2h 05m 10s, 1d 04h 10m."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m {s % 60:02d}s"
    if s < 24 * 3600:
        return f"{s // 3600}h {s // 60 % 60:02d}m {s % 60:02d}s"
    return f"{s // 86400}d {s // 3600 % 24:02d}h {s // 60 % 60:02d}m"
