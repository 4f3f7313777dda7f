"""What a report shows of a run, read from its run dir, whether it goes on, was stopped or has ended."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import lock, os_error, read_json
from dnnlib.privacy import without_home, without_secrets
from metrics.result_files import read_results
from metrics.results import Result, repeats_of, series

Rows = list[dict[str, Any]]

# What the head of log.txt says of a run.
LOG_HEAD = re.compile(r"(data|networks|hardware) {2,}(.+)")


class Curve(NamedTuple):
    """Values over the progress of a run."""

    x: np.ndarray  # float64 [n], kimg, or the unit of the run
    y: np.ndarray  # float64 [n]; what was not finite in training is not finite here
    deviation: np.ndarray | None = None  # float64 [n], of single measurements, if y is their mean; 0 = only one


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that is known of a run besides its sheets."""

    path: Path
    """Run dir, or the file of an old run."""
    state: str
    """Whether it goes on: finished, training now, ... in words."""
    curves: dict[str, Curve]
    """What was reported while it was trained, by the names in stats.jsonl."""
    metrics: dict[str, dict[str, Curve]] = field(default_factory=dict)
    """Values of each metric by their names, the one that the metric's name means first."""
    options: dict[str, str] = field(default_factory=dict)
    """Its config.json, e.g. G.fmap_max: 64."""
    provenance: dict[str, str] = field(default_factory=dict)
    """Where it comes from: data, networks, hardware, versions."""
    total: float | None = None
    """Kimg after which it ends, if that is known."""
    unit: str = "kimg"
    """What progress is counted in."""
    notes: tuple[str, ...] = ()
    """What the reader should know about how it was read."""

    @property
    def name(self) -> str:
        """Return the name of its folder, or of its file if somebody chose that."""
        path = self.path.resolve()
        return path.parent.name if path.name == "loss.log" else path.name

    @property
    def progress(self) -> float:
        """Return how far it came."""
        return max((float(curve.x[-1]) for curve in self.curves.values()), default=0.0)

    def last(self, name: str) -> float | None:
        """Return the newest value of a curve, or None if the run has no such curve."""
        return float(self.curves[name].y[-1]) if name in self.curves else None


def read_run(run_dir: Path) -> RunRecord:
    """Read a run dir of train.py.

    Raises UserError if no tick has been reported yet, or if one of its files is damaged.
    """
    rows = _read_rows(run_dir / "stats.jsonl")
    config = read_json(run_dir / "config.json", "that of a run") if (run_dir / "config.json").exists() else {}
    options = _flat(config, run_dir / "config.json")

    # A run that was resumed for longer has a new config.json.
    total = _number(config.get("total_kimg")) if isinstance(config, dict) else None
    if total is not None and rows[-1]["kimg"] >= total - 1e-9:
        state = "finished"
    else:
        state = "training now" if is_locked(run_dir) else "stopped before its end"

    return RunRecord(
        path=run_dir,
        state=state,
        curves=curves_of(rows),
        metrics=_read_metrics(run_dir),
        options=options,
        provenance=_read_provenance(run_dir),
        total=total,
    )


def flatten(values: Any, prefix: str = "") -> dict[str, str]:
    """Return nested options as one dict of texts, with names such as G.fmap_max."""
    if not isinstance(values, dict):
        return {prefix: values if isinstance(values, str) else json.dumps(values)}

    # The names of the command line have the same dots.
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}.{name}" if prefix else name)
    return flat


def _flat(values: Any, path: Path) -> dict[str, str]:
    """Return what a JSON file holds as `flatten` does, without folders and secrets of who ran it; raise UserError if
    that is nested too deeply."""
    try:
        return {name: without_home(without_secrets(text)) for name, text in flatten(values).items()}
    except RecursionError as e:
        raise UserError(f"{path}: nested too deeply, expected that of a run") from e


def curves_of(rows: Rows) -> dict[str, Curve]:
    """Return a curve for each number in rows that have their progress as `kimg`; a row may lack some of them."""
    # Points are collected by name, since a row may have names that others lack.
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            number = _number(value)
            if name != "kimg" and number is not None:
                points.setdefault(name, []).append((row["kimg"], number))

    arrays = {name: np.array(pairs, np.float64) for name, pairs in points.items()}  # [n,2] each
    return {name: Curve(array[:, 0], array[:, 1]) for name, array in arrays.items()}


def _number(value: object) -> float | None:
    """Return a value as a float, or None if it is no number or has no place in one."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _read_rows(path: Path) -> Rows:
    """Return the rows of a stats.jsonl without a half-written last line; raise UserError for any other damage."""
    try:
        *lines, rest = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as e:
        raise os_error(e, path, "read") from e

    # A line counts once its end is written.
    rows: Rows = []
    for number, line in enumerate(lines, 1):
        row = _parse_row(line)
        if row is None:
            raise UserError(f"{path}, line {number}: found {line[:80]!r}, expected an object with kimg")
        rows.append(row)

    # The last line of a file that was copied by hand may lack its end.
    last = _parse_row(rest)
    if last is not None:
        rows.append(last)
    if not rows:
        raise UserError(f"{path}: no rows in it, expected a run whose first tick has ended")
    return rows


def _parse_row(line: str) -> dict[str, Any] | None:
    """Return the object in a line, or None if there is none with a number of kimg."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and _number(row.get("kimg")) is not None else None


def _read_metrics(run_dir: Path) -> dict[str, dict[str, Curve]]:
    """Return the values of each metric-NAME.jsonl, means where snapshots were measured with several seeds.

    Of results measured in several ways, those of most snapshots count.
    """
    metrics: dict[str, dict[str, Curve]] = {}
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        # Rows of curves have the number of kimg and the named values, of which `value` is one.
        results = [one for one in read_results(path) if _number(one.kimg) is not None and isinstance(one.values, dict)]
        rows = [_mean_row(result, repeats_of(result, results)) for result in series(results)]
        values = curves_of(rows)
        if "value" not in values:
            continue
        deviation = values.pop("deviation", None)
        if deviation is not None and len(deviation.y) == len(values["value"].y) and deviation.y.any():
            values["value"] = values["value"]._replace(deviation=deviation.y)

        # Among the named values, the main one appears again.
        main = values.pop("value")
        named = {name: curve for name, curve in values.items() if not np.array_equal(curve.y, main.y)}
        metrics[path.stem.removeprefix("metric-")] = {"value": main, **named}
    return metrics


def _mean_row(result: Result, repeats: list[Result]) -> dict[str, Any]:
    """Return the means of a snapshot's values over several seeds, and the deviation of the main one."""
    rows = [{"value": one.value, **one.values} for one in repeats]
    numbers = {name: [_number(row.get(name)) for row in rows] for name in rows[0]}
    means = {name: np.mean(found).item() for name, found in numbers.items() if None not in found}  # type: ignore[arg-type]
    deviation = np.std(numbers["value"], ddof=1).item() if "value" in means and len(rows) > 1 else 0.0  # type: ignore[arg-type]
    return {"kimg": result.kimg, **means, "deviation": deviation}


def _read_provenance(run_dir: Path) -> dict[str, str]:
    """Return what run.json says, and what the head of log.txt does."""
    # Not every run has this file.
    path = run_dir / "run.json"
    found = read_json(path, "that of a run") if path.exists() else {}
    earlier = found.pop("earlier", []) if isinstance(found, dict) else []
    facts = _flat(found, path)
    if isinstance(earlier, list) and earlier:
        facts["sessions before this one"] = str(len(earlier))

    # A resumed run reports itself again; the newest session counts.
    log = run_dir / "log.txt"
    if log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        facts |= {match[1]: without_home(match[2]) for line in lines if (match := LOG_HEAD.fullmatch(line))}
    return facts


def is_locked(run_dir: Path) -> bool:
    """Return whether a process is training the run now."""
    # The lock is free again as soon as the file is closed.
    try:
        with open(run_dir / ".lock", encoding="utf-8") as file:
            return not lock(file)
    except OSError:
        return False
