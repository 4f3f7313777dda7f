"""Where results go: a line to read, metric-NAME.jsonl and TensorBoard in the run dir, a link to the best snapshot."""

import json
import os
import re
from pathlib import Path
from typing import Any

from dnnlib.files import atomic
from dnnlib.stats import format_time, read_stats
from metrics.registry import Chosen

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


def keep(run_dir: Path, r: dict[str, Any]) -> list[dict[str, Any]]:
    """Write a result into metric-NAME.jsonl, in place of an earlier one of the same snapshot that depends on the same;
    returns all rows, by kimg."""
    path = run_dir / f"metric-{r['metric']}.jsonl"
    volatile = ("value", "results", "seconds")
    same = {k: v for k, v in json.loads(json.dumps(r)).items() if k not in volatile}
    rows = read_stats(path) if path.exists() else []
    rows = [old for old in rows if {k: v for k, v in old.items() if k not in volatile} != same]
    rows = sorted([*rows, r], key=lambda x: x["kimg"] or 0)
    with atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(x) + "\n" for x in rows), encoding="utf-8")
    return rows


def open_events(run_dir: Path) -> Any:
    """A TensorBoard writer for a run."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir), filename_suffix=".metrics")


def alike(rows: list[dict[str, Any]], r: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that were measured in the same way as `r`, of all snapshots."""
    own = ("snapshot", "previous", "kimg", "value", "results", "seconds")

    def conditions(x: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in json.loads(json.dumps(x)).items() if k not in own}

    return [x for x in rows if conditions(x) == conditions(r) and x["kimg"] is not None]


def to_tensorboard(events: Any, r: dict[str, Any]) -> None:
    """Add a result to the events of a run."""
    for name, value in r["results"].items():
        events.add_scalar(f"Metrics/{r['metric']}/{name}", value, global_step=int((r["kimg"] or 0) * 1000))
    events.flush()


def link_best(run_dir: Path, rows: list[dict[str, Any]]) -> str | None:
    """Point `best.safetensors` at the snapshot with the lowest FID among `rows`; returns its name. Rows of one class,
    of truncated images and of detectors that are not the published ones do not count."""
    counted = [r for r in rows if re.fullmatch(r"fid\d+k?(_full)?", r["metric"]) and r.get("weights") == "published"]
    counted = [r for r in counted if r.get("truncation_psi", 1) == 1]
    counted = [r for r in counted if (run_dir / r["snapshot"]).is_file()]
    if not counted:
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
