"""Which plots there are, and what is in them."""

import json

import numpy as np
import pytest

from sharing.report.plots import plots_of, smoothed
from sharing.report.records import Curve, read_run
from tests.sharing.report.written_runs import row, write_metric, write_run


def traces(plot):
    """Traces of a plot as the browser gets them."""
    return json.loads(plot.figure.to_json())["data"]


def by_title(plots):
    return {plot.kind.title: plot for plot in plots}


def test_the_plots_of_one_run(tmp_path):
    run_dir = write_run(tmp_path / "run")
    write_metric(run_dir, "swd", {1: 50.0, 3: 2.0})
    stability = {"4x4": Curve(np.array([1.0]), np.array([0.1])), "8x8": Curve(np.array([1.0]), np.array([0.2]))}
    plots = by_title(plots_of([read_run(run_dir)], ["0"], [stability]))

    titles = ["Losses", "Scores", "Penalties", "Metric swd", "Stability", "Speed", "Waiting for data", "Memory"]
    assert list(plots) == [*titles, "Learning rate"]
    names = {title: [trace["name"] for trace in traces(plot)[1::2]] for title, plot in plots.items()}
    assert names["Losses"] == ["D", "G"] and names["Scores"] == ["fake", "real"]
    assert names["Metric swd"] == ["swd", "swd_4"] and names["Stability"] == ["4x4", "8x8"]

    # Wide ranges have logarithmic axes.
    assert plots["Metric swd"].figure.layout.yaxis.type == "log"
    assert plots["Losses"].figure.layout.yaxis.type == "linear"
    assert all(plot.figure.layout.xaxis.title.text == "kimg" for plot in plots.values())


def test_curves_that_no_plot_is_made_for_are_shown_with_the_others(tmp_path):
    run_dir = write_run(tmp_path / "run")
    rows = [row(k, **{"Loss/r2_penalty": k, "Augment/p": 0.1 * k, "Progress/skipped_steps": 2}) for k in (1, 2)]
    (run_dir / "stats.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    plots = by_title(plots_of([read_run(run_dir)], ["0"], [{}]))
    assert [trace["name"] for trace in traces(plots["Penalties"])[1::2]] == ["r1 penalty", "r2 penalty"]
    assert [trace["name"] for trace in traces(plots["Other figures"])[1::2]] == ["p", "skipped steps"]


def test_several_runs_share_plots_and_are_told_apart_by_colour_and_label(tmp_path):
    records = []
    for number in (0, 1):
        run_dir = write_run(tmp_path / f"{number}")
        write_metric(run_dir, "swd", {1: 50.0, 3: 20.0})
        records.append(read_run(run_dir))
    curve = Curve(np.array([1.0]), np.array([0.1]))
    plots = by_title(plots_of(records, ["0", "1"], [{"4x4": curve, "8x8": curve}] * 2))

    losses = traces(plots["Losses"])[1::2]
    assert [trace["name"] for trace in losses] == ["0: D", "0: G", "1: D", "1: G"]
    colours = [trace["line"]["color"] for trace in losses]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert losses[0]["line"]["dash"] != losses[1]["line"]["dash"]

    # Of many values that runs have, the main one.
    assert [trace["name"] for trace in traces(plots["Metric swd"])[1::2]] == ["0", "1"]
    assert [trace["name"] for trace in traces(plots["Stability"])[1::2]] == ["0", "1"]


def test_values_come_first_and_are_smoothed_in_the_second_trace(tmp_path):
    run_dir = write_run(tmp_path / "run", kimg=100, total=100)
    raw, smooth = traces(by_title(plots_of([read_run(run_dir)], ["0"], [{}]))["Losses"])[:2]
    assert (raw["opacity"], raw["showlegend"], raw["legendgroup"]) == (0.25, False, smooth["legendgroup"])
    assert raw["y"] != smooth["y"] and raw["x"] == smooth["x"]


def test_smoothing_keeps_a_constant_and_short_curves_and_removes_noise():
    assert smoothed(np.full(100, 3.0)) == pytest.approx(np.full(100, 3.0))
    assert smoothed(np.arange(15.0)).tolist() == list(range(15))

    noise = np.random.default_rng(0).normal(size=4000)
    assert smoothed(noise)[1000:].std() < 0.1

    gaps = np.full(100, 3.0)
    gaps[50] = np.nan
    assert np.isnan(smoothed(gaps)[50]) and smoothed(gaps)[51] == pytest.approx(3)


def test_values_that_are_not_positive_have_no_logarithmic_axis(tmp_path):
    run_dir = write_run(tmp_path / "run")
    write_metric(run_dir, "kid", {1: 50.0, 2: 0.1, 3: -0.1})
    assert by_title(plots_of([read_run(run_dir)], ["0"], [{}]))["Metric kid"].figure.layout.yaxis.type == "linear"


def test_names_are_no_html(tmp_path):
    run_dir = write_run(tmp_path / "run")
    (run_dir / "stats.jsonl").write_text(json.dumps(row(1, **{"Loss/scores/<b>": 1.0})) + "\n")
    record = read_run(run_dir)
    names = [t["name"] for t in traces(by_title(plots_of([record, record], ["<i>", "1"], [{}, {}]))["Scores"])]
    assert "&lt;i&gt;: &lt;b&gt;" in names and not any("<" in name for name in names)
