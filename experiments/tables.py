"""Tables and plots of what trials have led to."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dnnlib.files import atomic
from dnnlib.stats import format_time
from experiments.plan import Experiment, Figure, Setting, label
from experiments.running import Outcome
from metrics.catalog import choose

# Half-width of the 95% interval of a mean of n values, in standard errors (Student's t with n - 1 degrees).
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def write_results(experiment: Experiment, outcomes: Sequence[Outcome], out: Path, seeds: int) -> str:
    """Write table.md, table.json and plot.png into `out`, and return the table as text."""
    values, seconds = {}, {}
    for setting in experiment.settings:
        of_setting = [outcome for outcome in outcomes if outcome.trial.setting == setting]
        values[setting] = [[value_of(figure, outcome) for outcome in of_setting] for figure in experiment.figures]
        seconds[setting] = mean(outcome.seconds for outcome in of_setting)

    text = _table(experiment, values, seconds) + "\n" + _footnote(experiment, outcomes, seeds)
    content = {
        "experiment": experiment.name,
        "columns": experiment.columns,
        "figures": [figure.title for figure in experiment.figures],
        "rows": [
            {
                "setting": setting.values,
                "values": [[v if math.isfinite(v) else None for v in column] for column in found],
                "seconds": seconds[setting],
            }
            for setting, found in values.items()
        ],
    }

    with atomic(out / "table.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic(out / "table.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _plot(experiment, values, out / "plot.png")
    return text


def value_of(figure: Figure, outcome: Outcome) -> float:
    """Return the value of a figure for one trial."""
    if outcome.has_diverged:
        return math.nan

    # Rows have the shortest form of a name, and say so if weights were random: fid5000 is fid5k-of-random-weights.
    [chosen] = choose(figure.metric)
    rows = [row for row in outcome.rows if f"{row['metric']}-".startswith(f"{chosen.name}-")]
    values = [row["results"][figure.key] if figure.key else row["value"] for row in rows]
    if figure.over_snapshots:
        return mean(values) if values else math.nan  # a run with a single snapshot
    return float(values[-1])


def interval(values: Sequence[float]) -> float:
    """Return the half-width of the 95% interval of the mean; NaN for a single value."""
    n = len(values)
    return T95[n] * stdev(values) / math.sqrt(n) if n > 1 else math.nan


def heading(figure: Figure) -> str:
    """Return the title of a figure, and which way is better, if one is."""
    if not figure.names_best:
        return figure.title
    return figure.title + (" (lower is better)" if figure.lower_is_better else " (higher is better)")


def _table(experiment: Experiment, values: dict[Setting, list[list[float]]], seconds: dict[Setting, float]) -> str:
    """Return the table in Markdown: means with their 95% intervals, the best mean in bold, and the time of a run."""
    titles = [*experiment.columns, *(heading(figure) for figure in experiment.figures), "time"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]

    best = []
    for k, figure in enumerate(experiment.figures):
        means = [m for found in values.values() if math.isfinite(m := mean(found[k]))]  # of settings without divergence
        best.append((min if figure.lower_is_better else max)(means, default=None) if figure.names_best else None)
    for setting, found in values.items():
        cells = [_cell(v, mean(v) == best[k]) for k, v in enumerate(found)]
        lines.append("| " + " | ".join([*setting.values, *cells, format_time(seconds[setting])]) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float], is_best: bool) -> str:
    """Return the mean of the runs that have a value, with its interval, and how many have none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "–"
    text = f"{mean(finite):.4g}"
    if len(finite) > 1:
        text += f" ± {float(f'{interval(finite):.2g}'):g}"  # two digits, and no exponent
    if len(finite) < len(values):
        text += f" ({len(values) - len(finite)} of {len(values)} diverged)"
    return f"**{text}**" if is_best else text


def _footnote(experiment: Experiment, outcomes: Sequence[Outcome], seeds: int) -> str:
    """Return how the table was made."""
    kimg, lengths = outcomes[0].trial.kimg, sorted({outcome.trial.length for outcome in outcomes})
    threads = " or ".join(str(n) for n in sorted({outcome.threads for outcome in outcomes}))
    precision = " or ".join(sorted({outcome.precision for outcome in outcomes}))
    training = format_time(sum(outcome.seconds for outcome in outcomes))
    command = f"python -m experiments.{experiment.name} --seeds {seeds} --kimg {kimg:g} --threads {threads}"
    means = f" Means over seeds 0 to {seeds - 1} ± 95% intervals (Student's t)." if seeds > 1 else ""
    runs = f"{len(outcomes)} runs of {' or '.join(f'{length:g}' for length in lengths)} kimg in {precision}"
    return f"\n`{command}`: {runs}, trained in {training} altogether.{means}"


def _plot(experiment: Experiment, values: dict[Setting, list[list[float]]], path: Path) -> None:
    """Draw one panel a figure: every run as a point, and the means as bars."""
    from matplotlib.figure import Figure as Canvas

    settings: list[Any] = list(values)
    names = [label(experiment, setting).replace("\n", ", ") for setting in settings]
    columns = min(3, len(experiment.figures))
    rows = -(-len(experiment.figures) // columns)
    canvas = Canvas(figsize=(1.5 + 4 * columns, rows * (1 + 0.35 * len(settings))), layout="constrained")
    panels = canvas.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for panel in panels[len(experiment.figures) :]:
        panel.remove()
    for k, (figure, panel) in enumerate(zip(experiment.figures, panels, strict=False)):
        for y, setting in enumerate(settings):
            found = values[setting][k]
            panel.barh(y, mean(found), color="#c9d7e8", height=0.7)
            panel.plot(found, [y] * len(found), "o", color="#1f4e79", markersize=4)
        panel.set_title(heading(figure), fontsize=10)
        panel.set_yticks(range(len(settings)), names)

    panels[0].invert_yaxis()  # the first setting on top; all panels share the axis
    with atomic(path) as temporary:
        canvas.savefig(temporary, format="png", dpi=120)
