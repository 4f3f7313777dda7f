"""Results, and where they go: a line to read, metric-NAME.jsonl and TensorBoard in the run dir, a link to the best
snapshot."""

import contextlib
import json
import math
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib.files import atomic, lock, make_dir
from dnnlib.stats import format_time
from metrics.detectors.weights import Origin

BEST = "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a metric said of a snapshot, and all that it depends on."""

    metric: str
    """the name under which it is kept, see `title`"""
    version: int
    """of the metric; grows when figures change"""
    snapshot: str
    """name of the network file, empty for images"""
    kimg: float | None
    """of the snapshot, if its name says so"""
    value: float
    """the value that is meant by the metric's name"""
    values: dict[str, float]
    """all values, by name"""
    facts: dict[str, Any]
    """what else the values depend on: seed, dataset, numbers of images, weights of detectors, ..."""
    seconds: float
    """time it took"""

    def to_row(self) -> dict[str, Any]:
        """Return the object that metric-NAME.jsonl holds."""
        return {
            "metric": self.metric,
            "version": self.version,
            "snapshot": self.snapshot,
            "kimg": self.kimg,
            "value": self.value,
            "results": self.values,
            **self.facts,
            "seconds": self.seconds,
        }

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Result":
        """Return what `to_row` wrote; KeyError if it is not a result."""
        facts = dict(row)
        return Result(
            metric=facts.pop("metric"),
            version=facts.pop("version", 1),
            snapshot=facts.pop("snapshot"),
            kimg=facts.pop("kimg", None),
            value=facts.pop("value"),
            values=facts.pop("results", {}),
            seconds=facts.pop("seconds", 0.0),
            facts=facts,
        )

    def conditions(self) -> dict[str, Any]:
        """Return what the result depends on, the snapshots aside: results of equal conditions are comparable."""
        facts = {key: value for key, value in self.facts.items() if key != "previous"}
        return {"metric": self.metric, "version": self.version, **facts}

    def line(self) -> str:
        """Return a line to print."""
        values = "  ".join(f"{name} {value:.6g}" for name, value in self.values.items())
        snapshot = f"{self.snapshot}  " if self.snapshot else ""
        return f"{snapshot}{self.metric}: {values}  ({format_time(self.seconds)})"


def title(name: str, facts: dict[str, Any]) -> str:
    """Return a metric's name, marked if it is of one class, or of a detector that is not the published one: figures of
    random weights do not go by the metric's name."""
    marks = {Origin.RANDOM: "-of-random-weights", Origin.OTHER: "-of-other-weights"}
    class_idx = facts.get("class")
    of_class = "" if class_idx is None else f"-class{class_idx}"
    return name + of_class + marks.get(facts.get("weights", Origin.PUBLISHED), "")


def kimg_of(snapshot: str) -> float | None:
    """Return the number in network-snapshot-000123.safetensors."""
    number = Path(snapshot).stem.rpartition("-")[2]
    try:
        return float(number)
    except ValueError:
        return None


def append(path: Path, result: Result) -> None:
    """Add a result to a file of JSON lines."""
    make_dir(path.parent)
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(result.to_row()) + "\n")


def keep(run_dir: Path, result: Result) -> list[Result]:
    """Write a result into metric-NAME.jsonl, in place of an earlier one of the same snapshot and conditions, and point
    `best.safetensors` at what is best now; returns the metric's `series`. Other processes may write there too."""
    result = Result.from_row(json.loads(json.dumps(result.to_row())))  # as it will be read
    path = run_dir / f"metric-{result.metric}.jsonl"

    with open(run_dir / ".metrics.lock", "w", encoding="utf-8") as f:
        while not lock(f):
            time.sleep(0.05)

        replaced = (result.snapshot, result.conditions())
        others = [other for other in _read(path) if (other.snapshot, other.conditions()) != replaced]
        results = sorted([*others, result], key=lambda kept: kept.kimg or 0)
        with atomic(path) as temporary:
            lines = [json.dumps(kept.to_row()) + "\n" for kept in results]
            temporary.write_text("".join(lines), encoding="utf-8")
        link_best(run_dir)
    return series(results)


def _read(path: Path) -> list[Result]:
    """Return the results in a file; damaged lines are left out."""
    rows = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(text))
    required = {"metric", "snapshot", "value"}
    return [Result.from_row(row) for row in rows if isinstance(row, dict) and required <= row.keys()]


def series(results: list[Result]) -> list[Result]:
    """Return the results that were measured in the same way and cover most snapshots; of equals, the first of them."""
    alike: dict[str, list[Result]] = {}
    for result in results:
        if result.kimg is not None:
            conditions = json.dumps(result.conditions(), sort_keys=True)
            alike.setdefault(conditions, []).append(result)
    return max(alike.values(), key=len, default=[])


def open_events(run_dir: Path) -> Any:
    """Open a TensorBoard writer for a run."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir), filename_suffix=".metrics")


def to_tensorboard(events: Any, result: Result) -> None:
    """Add a result to the events of a run."""
    step = int((result.kimg or 0) * 1000)
    for name, value in result.values.items():
        events.add_scalar(f"Metrics/{result.metric}/{name}", value, global_step=step)
    events.flush()


def link_best(run_dir: Path) -> str | None:
    """Point `best.safetensors` at the snapshot with the lowest FID; returns its name. What counts is the series that
    covers most snapshots, of equals that with most images; not those of one class, of truncated images and of detectors
    that are not the published ones."""

    def counts(result: Result) -> bool:
        published = result.facts.get("weights") == Origin.PUBLISHED
        whole = re.fullmatch(r"fid\d+k?(_full)?", result.metric) and result.facts.get("truncation_psi", 1) == 1
        return bool(published and whole) and (run_dir / result.snapshot).is_file()

    candidates = [series(list(filter(counts, _read(path)))) for path in sorted(run_dir.glob("metric-fid*.jsonl"))]
    chosen = max(candidates, key=lambda s: (len(s), s[0].facts.get("num_fakes", 0) if s else 0), default=[])

    # A file of this name that is not a link is the user's own.
    own_file = (run_dir / BEST).exists() and not (run_dir / BEST).is_symlink()
    if not chosen or own_file:
        return None

    best = min(chosen, key=lambda result: result.value).snapshot
    with atomic(run_dir / BEST) as temporary:
        os.symlink(best, temporary)
    return best


def plot(run_dir: Path, name: str, results: list[Result]) -> Path | None:
    """Draw the values of a metric over kimg, a curve for each, as metric-NAME.png; returns None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    kimg = [result.kimg or 0 for result in results]
    for key in results[-1].values:
        axes.plot(kimg, [result.values.get(key, math.nan) for result in results], marker="o", markersize=3, label=key)

    positive = all(value > 0 for result in results for value in result.values.values())
    axes.set(xlabel="kimg", ylabel=name, yscale="log" if positive else "linear")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)

    path = run_dir / f"metric-{name}.png"
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
