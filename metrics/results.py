"""Where results go: a line to read, metric-NAME.jsonl and TensorBoard in the run dir, a link to the best snapshot."""

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from dnnlib.files import atomic, lock, make_dir
from dnnlib.stats import format_time
from metrics.catalog import Chosen

BEST = "best.safetensors"


def row(
    chosen: Chosen, values: dict[str, float], facts: dict[str, Any], snapshot: str, seconds: float
) -> dict[str, Any]:
    """A result with all that it depends on. Figures of random weights do not go by the metric's name."""
    return {
        "metric": title(chosen, facts),
        "version": chosen.metric.version,
        "snapshot": snapshot,
        "kimg": kimg_of(snapshot),
        "value": values[chosen.metric.key],
        "results": values,
        **facts,
        "seconds": round(seconds, 1),
    }


def title(chosen: Chosen, facts: dict[str, Any]) -> str:
    """The metric's name, marked if it is of one class, or of a detector that is not the published one."""
    mark = {"random": "-of-random-weights", "not the published ones": "-of-other-weights"}
    of = "" if facts.get("class") is None else f"-class{facts['class']}"
    return chosen.name + of + mark.get(facts.get("weights", ""), "")


def line(r: dict[str, Any]) -> str:
    """For people."""
    values = "  ".join(f"{name} {value:.6g}" for name, value in r["results"].items())
    of = f"{r['snapshot']}  " if r["snapshot"] else ""
    return f"{of}{r['metric']}: {values}  ({format_time(r['seconds'])})"


def kimg_of(snapshot: str) -> float | None:
    """Of network-snapshot-000123.safetensors."""
    number = Path(snapshot).stem.rpartition("-")[2]
    try:
        return float(number)
    except ValueError:
        return None


def conditions(r: dict[str, Any]) -> dict[str, Any]:
    """What a result depends on, the snapshot aside."""
    own = ("snapshot", "previous", "kimg", "value", "results", "seconds")
    return {k: v for k, v in r.items() if k not in own}


def append(path: Path, r: dict[str, Any]) -> None:
    """Add a result to a file of JSON lines."""
    make_dir(path.parent)
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps(r) + "\n")


def keep(run_dir: Path, r: dict[str, Any]) -> list[dict[str, Any]]:
    """Write a result into metric-NAME.jsonl, in place of an earlier one of the same snapshot that depends on the same,
    and point `best.safetensors` at what is best now; returns the metric's `series`. Others may write there too."""
    r = json.loads(json.dumps(r))
    path = run_dir / f"metric-{r['metric']}.jsonl"
    with open(run_dir / ".metrics.lock", "w", encoding="utf-8") as f:
        while not lock(f):
            time.sleep(0.05)
        rows = [x for x in _read(path) if (x.get("snapshot"), conditions(x)) != (r["snapshot"], conditions(r))]
        rows = sorted([*rows, r], key=lambda x: x.get("kimg") or 0)
        with atomic(path) as temporary:
            temporary.write_text("".join(json.dumps(x) + "\n" for x in rows), encoding="utf-8")
        link_best(run_dir)
    return series(rows)


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; a damaged line is left out."""
    rows = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(text))
    return [r for r in rows if isinstance(r, dict) and {"metric", "snapshot", "value"} <= r.keys()]


def series(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that were measured in the same way and cover most snapshots; of equals, the first of them."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        if r.get("kimg") is not None:
            alike.setdefault(json.dumps(conditions(r), sort_keys=True), []).append(r)
    return max(alike.values(), key=len, default=[])


def open_events(run_dir: Path) -> Any:
    """A TensorBoard writer for a run."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir), filename_suffix=".metrics")


def to_tensorboard(events: Any, r: dict[str, Any]) -> None:
    """Add a result to the events of a run."""
    for name, value in r["results"].items():
        events.add_scalar(f"Metrics/{r['metric']}/{name}", value, global_step=int((r["kimg"] or 0) * 1000))
    events.flush()


def link_best(run_dir: Path) -> str | None:
    """Point `best.safetensors` at the snapshot with the lowest FID; returns its name. What counts is the series that
    covers most snapshots, of equals that with most images; not those of one class, of truncated images and of detectors
    that are not the published ones."""
    found: list[list[dict[str, Any]]] = []
    for path in sorted(run_dir.glob("metric-fid*.jsonl")):
        rows = [r for r in _read(path) if re.fullmatch(r"fid\d+k?(_full)?", r["metric"])]
        rows = [r for r in rows if r.get("weights") == "published" and r.get("truncation_psi", 1) == 1]
        found.append(series([r for r in rows if (run_dir / r["snapshot"]).is_file()]))
    counted = max(found, key=lambda rows: (len(rows), rows[0].get("num_fakes", 0) if rows else 0), default=[])
    if not counted or ((run_dir / BEST).exists() and not (run_dir / BEST).is_symlink()):
        return None
    best: str = min(counted, key=lambda r: r["value"])["snapshot"]
    with atomic(run_dir / BEST) as temporary:
        os.symlink(best, temporary)
    return best


def plot(run_dir: Path, name: str, rows: list[dict[str, Any]]) -> Path | None:
    """The values of a metric over kimg, a curve for each result, as metric-NAME.png; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    kimg = [r["kimg"] for r in rows]
    for key in rows[-1]["results"]:
        axes.plot(kimg, [r["results"].get(key) for r in rows], marker="o", markersize=3, label=key)
    axes.set(
        xlabel="kimg",
        ylabel=name,
        yscale="log" if all(v > 0 for r in rows for v in r["results"].values()) else "linear",
    )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    path = run_dir / f"metric-{name}.png"
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path
