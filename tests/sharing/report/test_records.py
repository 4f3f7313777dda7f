"""What is read from run dirs, also while they are being written."""

import json

import numpy as np
import pytest

from dnnlib.errors import UserError
from sharing.report.records import read_run
from tests.sharing.report.written_runs import row, write_metric, write_run
from training.run.run_dir import take_lock


def test_a_finished_run(tmp_path):
    record = read_run(write_run(tmp_path / "00007-msg-stylegan-set-1gpu"))
    assert (record.name, record.state, record.unit) == ("00007-msg-stylegan-set-1gpu", "finished", "kimg")
    assert (record.progress, record.total, record.last("Loss/G"), record.last("none")) == (3, 3, 5, None)

    curve = record.curves["Loss/D"]
    assert curve.x.tolist() == [1, 2, 3] and curve.y.tolist() == [1, 1 / 2, 1 / 3]
    assert record.options == {"total_kimg": "3", "batch": "8", "G.fmap_max": "64"}
    assert record.provenance == {"data": "set: 40 images", "hardware": "1 x CPU, fp32"}


def test_a_run_that_goes_on_and_one_that_was_stopped(tmp_path):
    run_dir = write_run(tmp_path / "run", total=10)
    held = take_lock(run_dir)
    assert read_run(run_dir).state == "training now"
    held.close()
    assert read_run(run_dir).state == "stopped before its end"


@pytest.mark.parametrize(
    ("rest", "ticks"),
    [('{"kimg": 4.0, "tick": 4, "Loss', [1, 2, 3]), ('{"kimg": 4.0, "tick": 4}', [1, 2, 3, 4])],
)
def test_a_half_written_last_line_is_left_out(tmp_path, rest, ticks):
    run_dir = write_run(tmp_path / "run")
    with open(run_dir / "stats.jsonl", "a") as f:
        f.write(rest)
    assert read_run(run_dir).curves["tick"].y.tolist() == ticks


def test_rows_may_lack_values_and_have_values_that_are_not_finite(tmp_path):
    run_dir = write_run(tmp_path / "run")
    rows = [row(1), row(2, **{"Loss/G": float("nan"), "Loss/r2_penalty": 7.0}), row(3, **{"Loss/G": float("inf")})]
    del rows[2]["Loss/r1_penalty"]
    (run_dir / "stats.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

    curves = read_run(run_dir).curves
    assert curves["Loss/r1_penalty"].x.tolist() == [1, 2]
    assert curves["Loss/r2_penalty"].x.tolist() == [2] and curves["Loss/r2_penalty"].y.tolist() == [7]
    assert np.isfinite(curves["Loss/G"].y).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"stats.jsonl: no rows in it, expected a run whose first tick has ended"),
        ('{"kimg": 1}\n{"kimg": 2, "Lo\n{"kimg": 3}\n', r"stats.jsonl, line 2: found .*expected an object with kimg"),
        ("[1]\n", r"stats.jsonl, line 1: found '\[1\]', expected an object with kimg"),
        ('{"tick": 1}\n', r"line 1: found .*, expected an object with kimg"),
        ("\x00\x01\n", r"line 1"),
    ],
)
def test_damaged_statistics_are_named(tmp_path, text, message):
    run_dir = write_run(tmp_path / "run")
    (run_dir / "stats.jsonl").write_text(text)
    with pytest.raises(UserError, match=message) as e:
        read_run(run_dir)
    assert "\n" not in str(e.value)


def test_snapshots_measured_with_several_seeds_have_a_mean_and_a_deviation(tmp_path):
    run_dir = write_run(tmp_path / "run")
    for seed, value in enumerate((30.0, 34.0, 38.0)):
        write_metric(run_dir, "swd", {1: 50.0, 2: value} if seed == 0 else {2: value}, seed=seed)
    write_metric(run_dir, "swd", {2: 99.0}, seed=4, num_fakes=10)  # measured in another way
    curve = read_run(run_dir).metrics["swd"]["value"]
    assert curve.y.tolist() == [50, 34] and curve.deviation.tolist() == [0, 4]


def test_metrics_are_those_measured_in_the_same_way(tmp_path):
    run_dir = write_run(tmp_path / "run")
    write_metric(run_dir, "swd", {2: 30.0}, seed=1)
    write_metric(run_dir, "swd", {1: 50.0, 3: 20.0}, seed=0)
    write_metric(run_dir, "fid50k", {2: 9.0})
    with open(run_dir / "metric-swd.jsonl", "a") as f:
        f.write('{"metric": "swd", "snap')

    metrics = read_run(run_dir).metrics
    assert metrics["swd"]["value"].deviation is None
    assert list(metrics) == ["fid50k", "swd"] and list(metrics["swd"]) == ["value", "swd_4"]
    assert metrics["swd"]["value"].x.tolist() == [1, 3] and metrics["swd"]["value"].y.tolist() == [50, 20]
    assert metrics["swd"]["swd_4"].y.tolist() == [100, 40]


def test_values_that_are_no_numbers_are_left_out(tmp_path):
    run_dir = write_run(tmp_path / "run", total_kimg=10**400)
    lines = [row(1, **{"Loss/G": "high", "Loss/D": 10**400, "list": [1]}), row(2)]
    (run_dir / "stats.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    write_metric(run_dir, "swd", {1: "low", 2: 3.0}, results=["none"])
    write_metric(run_dir, "kid", {1: "low", 2: 3.0})

    record = read_run(run_dir)
    assert record.curves["Loss/G"].x.tolist() == record.curves["Loss/D"].x.tolist() == [2]
    assert "list" not in record.curves and record.total is None
    assert list(record.metrics) == ["kid"] and record.metrics["kid"]["value"].x.tolist() == [2]


def test_run_json_is_shown_too(tmp_path):
    run_dir = write_run(tmp_path / "run")
    (run_dir / "run.json").write_text('{"command": ["train.py", "tiny"], "versions": {"torch": "2.13"}}')
    provenance = read_run(run_dir).provenance
    assert provenance["command"] == '["train.py", "tiny"]' and provenance["versions.torch"] == "2.13"
