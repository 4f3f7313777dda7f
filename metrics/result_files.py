"""Where results are kept: metric-NAME.jsonl, a plot and TensorBoard in the run dir, the link to the best snapshot, and
the file of --out."""

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import atomic, lock, make_dir, os_error
from metrics.detectors.weights import Origin
from metrics.results import Result, series

# The link to the best snapshot in a run dir.
BEST = "best.safetensors"
MOST_PARTS = 100  # lists and objects in a row, which bounds how deeply they are nested


@dataclass
class ResultFiles:
    """The files of one call; a failure to write one is a warning."""

    run_dir: Path | None
    """The run that the networks belong to, if they do."""
    out: Path | None
    """A file of the user's own."""
    say: Callable[[str], None]
    """Prints a line."""
    events: Any = field(default=None, init=False)
    """TensorBoard's writer, opened for the first result."""

    def keep(self, result: Result) -> None:
        """Write a result into all files."""
        for place, write in ((self.out, append), (self.run_dir, self._keep_in_run)):
            if place is None:
                continue

            # What was measured is printed in any case.
            try:
                write(place, result)
            except (UserError, OSError) as e:
                self.say(f"warning: {place}: the result is not kept there: {e}")

    def _keep_in_run(self, run_dir: Path, result: Result) -> None:
        """Write a result into the metric's file, and into TensorBoard and the plot if it belongs to their series."""
        shown = keep(run_dir, result)
        if result in shown:
            self._to_tensorboard(run_dir, result)
        if len(shown) > 1:
            plot(run_dir, result.metric, shown)

    def _to_tensorboard(self, run_dir: Path, result: Result) -> None:
        """Add a result to the events of a run."""
        if self.events is None:
            from dnnlib.sinks import TensorBoard

            self.events = TensorBoard(run_dir, suffix=".metrics")

        values = {f"Metrics/{result.metric}/{name}": value for name, value in result.values.items()}
        self.events.scalars(values, result.kimg or 0)


def append(path: Path, result: Result) -> None:
    """Add a result to a file of JSON lines."""
    make_dir(path.parent)
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(result.to_row()) + "\n")


def keep(run_dir: Path, result: Result) -> list[Result]:
    """Write a result into metric-NAME.jsonl, in place of an earlier one of the same snapshot and conditions, point
    best.safetensors at the snapshot that is best now, and return the metric's `series`."""
    path = run_dir / f"metric-{result.metric}.jsonl"

    # Other processes may add results at the same time.
    with open(run_dir / ".metrics.lock", "w", encoding="utf-8") as f:
        while not lock(f):
            time.sleep(0.05)

        # Results of other conditions stay; the file is in the order of training.
        replaced = (result.snapshot, result.conditions())
        others = [other for other in read_results(path) if (other.snapshot, other.conditions()) != replaced]
        results = sorted([*others, result], key=lambda kept: kept.kimg or 0)
        with atomic(path) as temporary:
            lines = [json.dumps(kept.to_row()) + "\n" for kept in results]
            temporary.write_text("".join(lines), encoding="utf-8")
        link_best(run_dir)
    return series(results)


def read_results(path: Path) -> list[Result]:
    """Return the results in a file; damaged lines are left out. Raise UserError if the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    except OSError as e:
        raise os_error(e, path, "read") from e

    rows = []
    for text in lines:
        with contextlib.suppress(ValueError, RecursionError):  # also numbers of thousands of digits
            if text.count("[") + text.count("{") <= MOST_PARTS:
                rows.append(json.loads(text))
    return [Result.from_row(row) for row in rows if _is_result(row)]


def _is_result(row: Any) -> bool:
    """Return whether a row has what a result needs, each of its type."""
    if not isinstance(row, dict) or not {"metric", "snapshot", "value"} <= row.keys():
        return False

    # Both are parts of names of files.
    names = (row["metric"], row["snapshot"])
    if not all(isinstance(name, str) and not re.search(r"[/\\\x00]|^\.", name) for name in names):
        return False

    values = row.get("results", {})
    numbers = [row[name] for name in ("num_fakes", "num_reals") if name in row]
    numbers += [row["value"], row.get("version", 1), row.get("seconds", 0.0)]
    numbers += [number for number in (row.get("kimg"), row.get("seed")) if number is not None]
    return isinstance(values, dict) and all(map(_is_number, [*numbers, *values.values()]))


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that a float can hold."""
    return type(value) is float or (type(value) is int and abs(value) <= 2**1023)


def link_best(run_dir: Path) -> None:
    """Point best.safetensors at the snapshot with the lowest FID.

    What counts is the series that covers most snapshots, of equals that with most images. Results of one class, of
    truncated images and of other weights than the published ones do not count.
    """

    def counts(result: Result) -> bool:
        is_published = result.facts.get("weights") == Origin.PUBLISHED
        is_whole = re.fullmatch(r"fid\d+k?(_full)?", result.metric) and result.facts.get("truncation_psi", 1) == 1
        return bool(is_published and is_whole) and (run_dir / result.snapshot).is_file()

    # One series for each kind of FID, of which the longest is the most telling.
    paths = sorted(run_dir.glob("metric-fid*.jsonl"))
    candidates = [series(list(filter(counts, read_results(path)))) for path in paths]
    chosen = max(candidates, key=lambda s: (len(s), s[0].facts.get("num_fakes", 0) if s else 0), default=[])

    # A file of this name that is not a link is the user's own.
    is_users = (run_dir / BEST).exists() and not (run_dir / BEST).is_symlink()
    if chosen and not is_users:
        best = min(chosen, key=lambda result: result.value)
        with atomic(run_dir / BEST) as temporary:
            os.symlink(best.snapshot, temporary)


def plot(run_dir: Path, name: str, results: list[Result]) -> None:
    """Draw the values of a metric over kimg, a curve for each, as metric-NAME.png."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    kimg = [result.kimg or 0 for result in results]
    for key in results[-1].values:
        axes.plot(kimg, [result.values.get(key, math.nan) for result in results], marker="o", markersize=3, label=key)

    # Distances of early snapshots are many times those of late ones.
    is_positive = all(value > 0 for result in results for value in result.values.values())
    axes.set(xlabel="kimg", ylabel=name, yscale="log" if is_positive else "linear")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)

    with atomic(run_dir / f"metric-{name}.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)
