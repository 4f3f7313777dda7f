"""The plots of a report: which there are, how to read them, and their figures for plotly."""

import re
from html import escape
from typing import Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go

from sharing.report.records import Curve, RunRecord

# Colours that differ clearly on white and on black, also for most people with a colour vision deficiency.
COLOURS = ("#3b82d6", "#e07b39", "#2f9e77", "#b565c9", "#d1495b", "#8a8f2a", "#17a2b8", "#9b7653")
DASHES = ("solid", "dash", "dot", "dashdot")

FEWEST_TO_SMOOTH = 16  # values of a curve
SMOOTHING = 40  # the half-life of smoothing is this part of a curve
WIDE = 5  # ratio of the largest to the smallest value from which a logarithmic axis shows more
FEW_DECADES = 1000  # the same ratio, up to which a logarithmic axis has labels between the powers of ten

# The names of curves that do not come from stats.jsonl: no name matches.
NEVER = re.compile(r"(?!)")


class Kind(NamedTuple):
    """What is plotted together, and how to read it."""

    title: str
    names: re.Pattern[str]  # of the reported curves in it, unless a kind before it has taken them
    unit: str  # of the vertical axis
    axis: Literal["free", "from zero", "logarithmic"]
    meaning: str
    healthy: str


LOSSES = Kind(
    "Losses",
    re.compile(r"Loss/[DG]"),
    "loss",
    "free",
    "What D and G minimise, averaged over each tick. They work against each other, so neither is meant to reach zero.",
    "after the first ticks, both stay within a band until the end. If the loss of D sinks to zero while that of G"
    " climbs, D has become too strong for G to learn from: try a larger --loss.r1-gamma or a lower learning rate. A"
    " jump from which the curves do not come back is a collapse.",
)
SCORES = Kind(
    "Scores",
    re.compile(r"Loss/scores/.+"),
    "output of D",
    "free",
    "The average output of D for real and for generated images; a higher score means more real. With a relativistic"
    " loss, only the gap between the two has a meaning.",
    "reals are above fakes, and the gap stops growing. A gap that widens until the end means that D recognises its"
    " training images or is too strong. Where the curves meet, D cannot tell reals from fakes.",
)
PENALTIES = Kind(
    "Penalties",
    re.compile(r"Loss/.+"),
    "penalty before its weight",
    "logarithmic",
    "How steep D is. R1 is the squared gradient of its scores at real images, averaged over levels; R2 is the same at"
    " generated images. The weight of the penalty is not included.",
    "the values change slowly after the start. Growth by orders of magnitude often comes before a collapse.",
)
METRIC = Kind(
    "Metric",
    NEVER,
    "",
    "logarithmic",
    "Measured on the network snapshots, and explained in docs/metrics.md. For FID, KID, SWD and other distances, lower"
    " is better. Bars are the standard deviation over several seeds, where there are any.",
    "a fast improvement is followed by a slow one. If the curve has been flat for a long time or has turned, further"
    " training does not help.",
)
STABILITY = Kind(
    "Stability",
    NEVER,
    "mean squared change",
    "logarithmic",
    "How much the images of the same latents change from one sheet to the next: the mean squared difference at each"
    " level, for pixels in [-1,1] (MSG-GAN, section 4.3, figure 5). Sheets that are further apart differ more, so"
    " compare only runs whose sheets have the same spacing. For several runs, this is the full resolution.",
    "the curves of all levels fall together and level off. If they rise again, G is forgetting what it has learned.",
)
SPEED = Kind(
    "Speed",
    re.compile("img_per_sec"),
    "images per second",
    "from zero",
    "Training images per second. The time for sheets, snapshots and metrics is not counted.",
    "the curve is flat. A dip means that something else used the machine or that data arrived late.",
)
WAITING = Kind(
    "Waiting for data",
    re.compile("data_wait_share"),
    "share of the time",
    "from zero",
    "The share of the training time in which a step waited for its images; 0.05 = 5%.",
    "less than 0.05. If it is more, convert the images with dataset_tool.py or move them to a faster disk.",
)
MEMORY = Kind(
    "Memory",
    re.compile(r"Resources/.+"),
    "GiB",
    "from zero",
    "The most memory that the process has held so far, on the CPU and on the GPU. This number never falls.",
    "the curve is flat after the first ticks.",
)
LEARNING_RATE = Kind(
    "Learning rate",
    re.compile("Progress/lr(_D)?"),
    "learning rate",
    "from zero",
    "The step size of the optimizers of G (lr) and D (lr D).",
    "the curve is flat, after a rise at the start if --lr-warmup-kimg is set.",
)
OTHER = Kind(
    "Other figures",
    re.compile(r".+/.+"),
    "value",
    "free",
    "Everything else that the run reported. Skipped steps are those whose gradients were not finite.",
    "a long run may skip a few steps. If their number keeps growing, the run has diverged.",
)

# In the order of the page: quality first, then the machine.
KINDS = (LOSSES, SCORES, PENALTIES, METRIC, STABILITY, SPEED, WAITING, MEMORY, LEARNING_RATE, OTHER)


class Plot(NamedTuple):
    """A figure, and what it is a figure of."""

    kind: Kind
    figure: go.Figure


class Series(NamedTuple):
    """One curve of a plot."""

    run: int  # index of the run
    name: str  # among those of its run
    curve: Curve


def plots_of(records: list[RunRecord], labels: list[str], changes: list[dict[str, Curve]]) -> list[Plot]:
    """Return all plots for which the runs have curves.

    labels: short names of the runs. changes: of each run, the curve of each level's stability, smallest level first.
    """
    # A metric is a plot of its own, since units differ.
    contents: list[tuple[Kind, list[Series]]] = []
    for kind in KINDS:
        if kind is METRIC:
            metrics = sorted({metric for record in records for metric in record.metrics})
            contents += [(_metric_kind(metric), _measured(records, metric)) for metric in metrics]
        elif kind is STABILITY:
            contents.append((kind, _changed(changes)))
        else:
            contents.append((kind, _reported(records, kind)))

    # A plot of zeros, e.g. of penalties that are off, shows nothing.
    units = [record.unit for record in records]
    return [
        Plot(kind, draw(series, labels, units, kind))
        for kind, series in contents
        if any(one.curve.y.any() for one in series)
    ]


def _metric_kind(metric: str) -> Kind:
    return METRIC._replace(title=f"Metric {metric}", unit=metric)


def _reported(records: list[RunRecord], kind: Kind) -> list[Series]:
    """Return the curves of a kind from all runs."""

    # Each curve belongs to the first kind that takes its name.
    def is_of_kind(name: str) -> bool:
        return next((other for other in KINDS if other.names.fullmatch(name)), None) is kind

    return [
        Series(index, name.rpartition("/")[2].replace("_", " "), record.curves[name])
        for index, record in enumerate(records)
        for name in sorted(filter(is_of_kind, record.curves))
    ]


def _measured(records: list[RunRecord], metric: str) -> list[Series]:
    """Return the values of a metric; of several runs, only the one that the metric's name means."""
    return [
        Series(index, metric if name == "value" else name, curve)
        for index, record in enumerate(records)
        for name, curve in record.metrics.get(metric, {}).items()
        if name == "value" or len(records) == 1
    ]


def _changed(changes: list[dict[str, Curve]]) -> list[Series]:
    """Return the stability of every level; of several runs, only that of the full resolution."""
    return [
        Series(index, name, curve)
        for index, levels in enumerate(changes)
        for name, curve in (levels.items() if len(changes) == 1 else list(levels.items())[-1:])
    ]


def draw(series: list[Series], labels: list[str], units: list[str], kind: Kind) -> go.Figure:
    """Return a figure that has, for each curve, a trace of its values and then a smoothed trace.

    labels, units: of the runs. Names are escaped, because plotly takes them for HTML.
    """
    # Curves of one name have one style in all runs.
    figure = go.Figure()
    names = list(dict.fromkeys(one.name for one in series))
    for one in series:
        # The legend says what the colour does not: the run, the curve, or both.
        parts = [labels[one.run]] * (len(labels) > 1) + [one.name] * (len(names) > 1)
        _add_curve(figure, one, ": ".join(parts) or one.name, names.index(one.name), is_single=len(labels) == 1)

    # A logarithmic axis has no place for values that are not positive, and shows little more of a narrow range.
    values = np.concatenate([one.curve.y for one in series])
    values = values[np.isfinite(values)]
    is_wide = bool(len(values) and values.min() > 0 and values.max() > WIDE * values.min())
    is_log = kind.axis == "logarithmic" and is_wide

    unit = " / ".join(sorted({units[one.run] for one in series}))
    figure.update_xaxes(title=escape(unit), rangemode="tozero", zeroline=False)
    figure.update_yaxes(
        title={"text": escape(kind.unit), "standoff": 8},
        type="log" if is_log else "linear",
        dtick="D2" if is_log and values.max() < FEW_DECADES * values.min() else None,  # labels at 1, 2, 5, 10, ...
        rangemode="tozero" if kind.axis == "from zero" else "normal",
        nticks=7,
        automargin=True,  # long numbers move the title
        zeroline=False,
    )
    # Colours of text and grid are those of the page, see page.css.
    figure.update_layout(
        template="none",
        height=340,
        margin={"l": 60, "r": 12, "t": 8, "b": 44},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        showlegend=len(series) > 1,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def _add_curve(figure: go.Figure, one: Series, name: str, style: int, is_single: bool) -> None:
    """Add the two traces of a curve, number `style` of its run. The colour is the run's, or the curve's if there is
    only one run."""
    # Both traces look and switch alike.
    colour = COLOURS[(style if is_single else one.run) % len(COLOURS)]
    common = {
        "x": one.curve.x,
        "name": escape(name),
        "legendgroup": f"{one.run} {style}",
        "mode": "lines+markers" if len(one.curve.x) < FEWEST_TO_SMOOTH else "lines",
        "line": {"color": colour, "width": 2, "dash": "solid" if is_single else DASHES[style % len(DASHES)]},
    }

    # What is not finite leaves a gap.
    values = np.where(np.isfinite(one.curve.y), one.curve.y, np.nan)
    bars = None if one.curve.deviation is None else {"type": "data", "array": one.curve.deviation, "thickness": 1}
    figure.add_scatter(y=values, error_y=bars, opacity=0.25, showlegend=False, hoverinfo="skip", **common)
    figure.add_scatter(y=smoothed(values), hovertemplate="%{y:.4g}", **common)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return a running mean of values float64 [n], whose weights halve every n / SMOOTHING values.

    Values that are not finite do not enter it. A few values stay as they are.
    """
    if len(values) < FEWEST_TO_SMOOTH:
        return values

    # Dividing by the weights so far makes the first means unbiased.
    keep = 0.5 ** (1 / max(1, len(values) / SMOOTHING))
    total, weight = 0.0, 0.0
    means = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if np.isfinite(value):
            total = keep * total + value
            weight = keep * weight + 1
            means[i] = total / weight
    return means
