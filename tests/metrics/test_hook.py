"""Training scores its snapshots, and goes on whatever happens to their metrics."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.metrics.helpers import rows, run_metrics
from tests.runs import ENV, ROOT, SMALL, assert_same_run, run_dirs, train


def test_training_scores_its_snapshots_and_is_not_changed_by_it(run, tmp_path):
    base, path, stdout = run
    for name in ("swd16", "consistency4", "stability4"):
        found = [r["snapshot"] for r in rows(path, name)]
        assert found == ["network-snapshot-000000.128.safetensors", "network-snapshot-000000.256.safetensors"]
        assert f"network-snapshot-000000.256.safetensors  {name}: " in stdout
    train(
        *SMALL, "--data", base / "set", "--total-kimg", 0.256, "--network-snapshot-ticks", 1, "--result-dir", tmp_path
    )
    (plain,) = run_dirs(tmp_path)
    assert_same_run(path, plain)
    assert (path / "metric-swd16.png").read_bytes().startswith(b"\x89PNG")
    events = [EventAccumulator(str(f)).Reload() for f in path.glob("*.metrics")]
    assert [s.step for e in events for s in e.Scalars("Metrics/swd16/swd")] == [128, 256]


def test_two_processes_score_as_they_train(run, tmp_path):
    base, _, _ = run
    args = [*SMALL, "--data", base / "set", "--total-kimg", 0.128, "--network-snapshot-ticks", 1, "--gpus", 2]
    train(*args, "--result-dir", tmp_path, "--metrics", "swd16,stability4,fid8", "--metric-every", 1)
    (found,) = run_dirs(tmp_path)
    assert [len(rows(found, name)) for name in ("swd16", "stability4")] == [2, 1]
    then = rows(found, "swd16")
    run_metrics("--network", found, "--metrics", "swd16", "--batch", 4)  # as many as each process had in training
    now = rows(found, "swd16")
    assert len(now) == 2 and now[0] == then[0]  # the same conditions: in place of the other
    assert now[1]["value"] == pytest.approx(then[1]["value"], rel=1e-6)


def test_a_run_that_is_asked_to_stop_does_not_wait_for_its_metrics(run, tmp_path):
    base, _, _ = run
    args = ["train.py", *SMALL, "--data", base / "set", "--result-dir", tmp_path, "--network-snapshot-ticks", 1]
    with open(tmp_path / "err", "w") as err:
        process = subprocess.Popen(
            [sys.executable, *map(str, args), "--metrics", "consistency5,swd100k,msssim50"],
            cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=err, text=True,
        )  # fmt: skip
        while "consistency5: " not in (line := process.stdout.readline()):
            assert line
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "not scored to the end" in stdout and "stopped at 0.064 kimg" in stdout
    (found,) = run_dirs(tmp_path)
    assert len(rows(found, "consistency5")) == 1 and not list(found.glob("metric-msssim*"))


def test_a_run_that_was_killed_while_its_end_was_scored_comes_to_its_end(run, tmp_path):
    base, whole, _ = run
    copy = tmp_path / whole.name
    shutil.copytree(whole, copy)
    (copy / "metric-swd16.jsonl").unlink()
    facts = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**facts, "outcome": "running, or ended without a chance to say so"}))

    config = json.loads((copy / "config.json").read_text())
    args = ["--data", base / "set", "--total-kimg", config["total_kimg"], "--result-dir", tmp_path, "--resume", "auto"]
    rhythm = ["--network-snapshot-ticks", 1, "--metric-every", config["metric_every"], "--metrics", config["metrics"]]
    out = train(*SMALL, *args, *rhythm)
    assert run_dirs(tmp_path) == [copy] and "finished" in out.stdout
    assert json.loads((copy / "run.json").read_text())["outcome"] == "finished"
    last = rows(whole, "swd16")[-1]
    assert [(r["snapshot"], r["value"]) for r in rows(copy, "swd16")] == [(last["snapshot"], last["value"])]
    assert_same_run(copy, whole)


def test_a_metric_that_cannot_be_had_does_not_end_training(run, tmp_path, monkeypatch):
    base, _, _ = run
    monkeypatch.setitem(os.environ, "MSG_GAN_DETECTORS", str(tmp_path))
    from tests import runs

    monkeypatch.setitem(runs.ENV, "MSG_GAN_DETECTORS", str(tmp_path))
    out = train(
        *SMALL, "--data", base / "set", "--total-kimg", 0.064, "--result-dir", tmp_path / "r", "--metrics", "fid8,swd8"
    )
    assert "warning: fid8: " in out.stderr and "expected the weights of inception" in out.stderr  # at once
    assert "fid8 failed" in out.stdout and "swd8: swd" in out.stdout and "finished" in out.stdout
    wrong = train(*SMALL, "--data", base / "set", "--result-dir", tmp_path / "r", "--metrics", "fidx", check=False)
    assert wrong.returncode == 2 and "fidx: unknown metric" in wrong.stderr
