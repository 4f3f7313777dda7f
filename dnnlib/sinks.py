"""Where the figures of a run are written: stats.jsonl, TensorBoard, and others that the user may choose.

To add one: a class like those below, a row of SINKS.
"""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Protocol

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn
from torch.utils.tensorboard.summary import histogram, scalar

from dnnlib.errors import UserError
from dnnlib.extras import import_extra
from dnnlib.files import atomic, os_error

# Edges of the bins of histograms: 10% apart, on both sides of 0.
_EDGES = np.geomspace(1e-12, 1e20, 774)
BINS = [*-_EDGES[::-1], 0.0, *_EDGES]


class Sink(Protocol):
    """A place for the figures of a run. Rows are dicts with `kimg`, the progress in thousands of images.

    A run that was killed goes on from an earlier point, with rows that may have been written before.
    """

    is_foreign: bool
    """Another package writes, whose failures must not end the run."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the figures of a tick."""

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None:
        """Write the distribution of every parameter of some networks, where that is possible."""

    def close(self) -> None:
        """Finish writing."""


class JsonLines:
    """A file with one JSON object a row."""

    is_foreign = False

    def __init__(self, path: Path, kimg: float) -> None:
        """Open the file for a run that goes on at `kimg`: rows past it are dropped."""
        self.path = path
        if path.exists():
            kept = [row for row in read_stats(path) if row["kimg"] <= kimg]
            with atomic(path) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, row: Mapping[str, Any]) -> None:
        # The row is on the disk before the checkpoint that vouches for it.
        try:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as e:
            raise os_error(e, self.path, "write") from e

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None: ...

    def close(self) -> None:
        _close(self.file)


class TensorBoard:
    """A file of events, whose steps are images.

    torch's own SummaryWriter writes in a thread, which prints a traceback of its own where the disk is full.
    """

    is_foreign = False
    numbers = count()  # a process may write several files within one second

    def __init__(self, run_dir: Path, kimg: float | None = None, suffix: str = "") -> None:
        """Begin a file whose name ends in `suffix`, for a run that goes on at `kimg`: events past it are hidden."""
        now, host = int(time.time()), socket.gethostname()
        self.path = run_dir / f"events.out.tfevents.{now:010d}.{host}.{os.getpid()}.{next(self.numbers)}{suffix}"
        self.file = open(self.path, "wb")  # noqa: SIM115
        self.records = RecordWriter(self.file)

        self._write(Event(file_version="brain.Event:2"), 0)
        if kimg is not None:
            self._write(Event(session_log=SessionLog(status=SessionLog.START)), max(0, _images(kimg) + 1))
        self._flush()

    def write(self, row: Mapping[str, Any]) -> None:
        self.scalars(_numbers(row), row["kimg"])

    def scalars(self, values: Mapping[str, float], kimg: float) -> None:
        """Write some values."""
        for name, value in values.items():
            self._write(Event(summary=scalar(name, value)), _images(kimg))
        self._flush()

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None:
        for name, network in networks.items():
            for key, parameter in network.named_parameters():
                values = parameter.detach().float().cpu().numpy()
                self._write(Event(summary=histogram(f"{name}/{key}", values, BINS)), _images(kimg))
        self._flush()

    def close(self) -> None:
        _close(self.file)

    def _write(self, event: Any, step: int) -> None:
        event.step, event.wall_time = step, time.time()
        try:
            self.records.write(event.SerializeToString())
        except OSError as e:
            raise os_error(e, self.path, "write") from e

    def _flush(self) -> None:
        try:
            self.file.flush()
        except OSError as e:
            raise os_error(e, self.path, "write") from e


class Prometheus:
    """The figures of the last tick in a text file, which node_exporter's textfile collector reads.

    Names become e.g. `msg_gan_loss_d`, and each value carries the name of the run dir.
    """

    is_foreign = False

    def __init__(self, run_dir: Path, kimg: float, options: Mapping[str, Any]) -> None:
        self.path = run_dir / "metrics.prom"
        self.run = re.sub(r'(["\\])', r"\\\1", run_dir.name)

    def write(self, row: Mapping[str, Any]) -> None:
        lines = []
        for name, value in _numbers(row).items():
            metric = "msg_gan_" + re.sub(r"[^a-z0-9]+", "_", name.lower())
            lines += [f"# TYPE {metric} gauge", f'{metric}{{run="{self.run}"}} {value:.10g}']

        # Readers never see a part of the file. Prometheus spells infinities as Python does not.
        text = "\n".join(lines).replace("} inf", "} +Inf").replace("} -inf", "} -Inf").replace("} nan", "} NaN")
        with atomic(self.path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None: ...

    def close(self) -> None: ...


class WeightsAndBiases:
    """A run of the project `msg-gan` at Weights & Biases; WANDB_MODE=offline keeps it in the run dir."""

    is_foreign = True

    def __init__(self, run_dir: Path, kimg: float, options: Mapping[str, Any]) -> None:
        self.wandb = import_extra("wandb", "--trackers wandb")
        try:
            self.run = self.wandb.init(
                project="msg-gan", name=run_dir.name, id=_run_id(run_dir), resume="allow", dir=run_dir, config=options
            )
        except Exception as e:  # of its own, of the network, of the login
            raise UserError(f"--trackers wandb: {e}; WANDB_MODE=offline works without a network") from e

    def write(self, row: Mapping[str, Any]) -> None:
        self.run.log(_numbers(row), step=_images(row["kimg"]))

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None:
        values = {
            f"{name}/{key}": self.wandb.Histogram(parameter.detach().float().cpu().numpy())
            for name, network in networks.items()
            for key, parameter in network.named_parameters()
        }
        self.run.log(values, step=_images(kimg))

    def close(self) -> None:
        self.run.finish()


class Trackio:
    """A run of the project `msg-gan` in trackio, which keeps it on this machine; `trackio show` displays it."""

    is_foreign = True

    def __init__(self, run_dir: Path, kimg: float, options: Mapping[str, Any]) -> None:
        self.trackio = import_extra("trackio", "--trackers trackio")
        name = f"{run_dir.name}-{_run_id(run_dir)}"
        try:
            self.trackio.init(project="msg-gan", name=name, config=dict(options), resume="allow", embed=False)
        except Exception as e:
            raise UserError(f"--trackers trackio: {e}") from e

    def write(self, row: Mapping[str, Any]) -> None:
        self.trackio.log(_numbers(row), step=_images(row["kimg"]))

    def histograms(self, networks: Mapping[str, nn.Module], kimg: float) -> None: ...

    def close(self) -> None:
        self.trackio.finish()


# Where figures go besides stats.jsonl and TensorBoard, by the name that the user gives.
SINKS: dict[str, Callable[[Path, float, Mapping[str, Any]], Sink]] = {
    "prometheus": Prometheus,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def open_sinks(run_dir: Path, kimg: float, trackers: Sequence[str], options: Mapping[str, Any]) -> list[Sink]:
    """Return the sinks of a run that goes on at `kimg`.

    trackers: names of SINKS. options: those of the run, which trackers show. Raises UserError for an unknown name and
    for a tracker that does not work.
    """
    unknown = [name for name in trackers if name not in SINKS]
    if unknown:
        raise UserError(f"--trackers: found {unknown[0]}, expected some of {', '.join(SINKS)}")
    return [
        JsonLines(run_dir / "stats.jsonl", kimg),
        TensorBoard(run_dir, kimg),
        *(SINKS[name](run_dir, kimg, options) for name in trackers),
    ]


def _run_id(run_dir: Path) -> str:
    """Return a name that no other run has, kept in the run dir so that a run that is continued stays one run."""
    path = run_dir / "tracker-id"
    if not path.exists():
        path.write_text(token_hex(4) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def read_stats(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a stats.jsonl; a half-written last line is left out."""
    rows = []
    with contextlib.suppress(json.JSONDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            rows.append(json.loads(line))
    return rows


def _images(kimg: float) -> int:
    """Return thousands of images as images."""
    return int(kimg * 1000)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what of a row is a number."""
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


def _close(file: IO[Any]) -> None:
    """Close a file; what could not be written to a full disk has been reported before."""
    with contextlib.suppress(OSError):
        file.close()
