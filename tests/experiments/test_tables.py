"""Means and intervals."""

import json
import math
from types import SimpleNamespace

import pytest
from scipy import stats

from experiments.plan import Experiment, Figure, Setting, Trial
from experiments.running import Outcome
from experiments.tables import T95, interval, value_of, write_results


@pytest.mark.parametrize("n", T95)
def test_intervals_are_those_of_student(n):
    values = [math.sin(3 * k) for k in range(n)]
    low, high = stats.t.interval(0.95, n - 1, loc=0, scale=stats.sem(values))
    assert interval(values) == pytest.approx((high - low) / 2, rel=1e-3)


def test_figures_are_found_under_the_names_that_rows_have():
    rows = [
        {"metric": "swd2k", "value": 3.0},
        {"metric": "fid5k-of-random-weights", "value": 1.0},
        {"metric": "swd2k", "value": 5.0, "results": {"swd": 5.0, "swd_16": 8.0}},
        {"metric": "swd20k", "value": 7.0},
    ]
    outcome = SimpleNamespace(rows=rows, has_diverged=False)
    found = [value_of(Figure("", name), outcome) for name in ("swd2000", "fid5000", "swd20k")]
    assert found == [5.0, 1.0, 7.0]
    assert value_of(Figure("", "swd2k", key="swd_16"), SimpleNamespace(rows=rows[2:], has_diverged=False)) == 8.0
    assert value_of(Figure("", "swd2k", over_snapshots=True), outcome) == 4.0


def test_a_run_that_diverged_has_no_value(tmp_path):
    settings = [Setting(("good",), ()), Setting(("bad",), ())]
    experiment = Experiment("example", "Is it so?", ("run",), settings, [Figure("swd", "swd2k")], kimg=2)
    outcomes = [
        Outcome(Trial(experiment, setting, seed, 2), tmp_path, 1.0, 1, "fp32", rows)
        for setting, rows in zip(settings, ([{"metric": "swd2k", "value": 7.0}], []), strict=True)
        for seed in (0, 1)
    ]
    text = write_results(experiment, outcomes, tmp_path, seeds=2)
    assert "| good | **7 ± 0** | 1s |" in text and "| bad | – | 1s |" in text
    assert json.loads((tmp_path / "table.json").read_text())["rows"][1]["values"] == [[None, None]]


def test_one_value_has_no_interval():
    assert math.isnan(interval([1.0]))
