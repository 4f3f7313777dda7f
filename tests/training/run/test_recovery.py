"""Runs in which something goes wrong on the way; `tests.faults` causes it in the real processes."""

import json
import math
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.runs import (
    ENV,
    ROOT,
    SMALL,
    assert_same_run,
    losses,
    make_dataset,
    newest_checkpoint,
    python,
    run_dirs,
    train,
)
from training.run.recovery import sign_of_divergence

SHORT = [*SMALL, "--total-kimg", 0.192, "--micro-batch", 4]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "blobs")


def faulty(fault, *args):
    """The command of a run in which something goes wrong."""
    return [sys.executable, "-m", "tests.faults", fault, *map(str, args)]


def finish(fault, *args):
    return python("-m", "tests.faults", fault, *args)


def sessions(run):
    """How each session of a run ended, the last one first."""
    facts = json.loads((run / "run.json").read_text())
    return [facts["outcome"], *(session["outcome"] for session in reversed(facts["earlier"]))]


def test_a_gradient_of_one_process_that_is_not_finite_skips_the_step_on_all(data, tmp_path):
    runs = []
    for rank in (0, 1):
        args = [*SHORT, "--gpus", 2, "--data", data, "--result-dir", tmp_path / str(rank)]
        assert finish(f"nan:{rank}:5", *args).returncode == 0
        runs += run_dirs(tmp_path / str(rank))

    # Whichever process it was, the same step is left out, and the weights of both processes stay equal.
    assert_same_run(*runs)
    rows = losses(runs[0])
    assert [row["Progress/skipped_steps"] for row in rows] == [1, 1, 1]
    assert rows[0]["Progress/skipped_share_D"] == 1 / 8 and rows[0]["Progress/skipped_share_G"] == 0
    assert all(math.isfinite(row["Loss/D"]) for row in rows[1:])


def test_a_run_that_diverges_goes_back_and_on(data, tmp_path):
    args = [*SHORT, "--total-kimg", 0.256, "--data", data, "--resume", "auto", "--result-dir"]
    out = finish("diverge:0:18", *args, tmp_path / "whole")
    assert out.returncode == 0, out.stderr
    assert "ROLLED BACK to checkpoint-000000.128.pt (1 of at most 3 times)" in out.stdout
    assert "training has diverged by 0.192 kimg: 75% of the gradients of D" in out.stdout

    # What it wrote past the checkpoint is replaced, and the rest is learned with half the rates.
    [run] = run_dirs(tmp_path / "whole")
    rows = losses(run)
    assert [row["kimg"] for row in rows] == [0.064, 0.128, 0.192, 0.256]
    assert [row["Progress/lr"] for row in rows] == [0.003, 0.003, 0.0015, 0.0015]
    assert newest_checkpoint(run)["progress"]["rollbacks"] == 1
    assert sessions(run)[0] == "finished" and "diverged" in sessions(run)[1]

    # Killed after it went back, it ends in the same bits.
    process = subprocess.Popen(
        faulty("diverge:0:18", *args, tmp_path / "parts"), cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL
    )
    while not any("ROLLED BACK" in path.read_text() for path in tmp_path.glob("parts/*/log.txt")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert finish("diverge:0:18", *args, tmp_path / "parts").returncode == 0
    assert_same_run(run, run_dirs(tmp_path / "parts")[0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--on-divergence", "stop"],
            "diverged by 0.064 kimg: 100% of the gradients of D in this tick were not finite;",
        ),
        (["--max-rollbacks", 0], "not finite, after 0 rollbacks; lower --G-opt.lr"),
        (["--on-divergence", "ignore"], "no step of D was taken: none of its gradients was finite"),
    ],
    ids=["stop", "no rollbacks left", "ignore"],
)
def test_a_run_that_has_not_learned_does_not_succeed(data, tmp_path, options, text):
    out = finish("nan:0:*", *SHORT, "--data", data, "--result-dir", tmp_path, *options)
    assert out.returncode == 2 and text in out.stderr and "Traceback" not in out.stderr
    assert ("warning: training has diverged" in out.stdout) == ("ignore" in options)
    assert "failed: " in sessions(run_dirs(tmp_path)[0])[0]


def test_a_checkpoint_that_leads_to_divergence_twice_is_put_aside(data, tmp_path):
    args = [*SHORT, "--data", data, "--result-dir", tmp_path, "--resume", "auto"]
    train(*args, "--total-kimg", 0.128)
    out = finish("nan:0:*", *args, "--max-rollbacks", 2)
    [run] = run_dirs(tmp_path)
    assert out.returncode == 2 and "after 2 rollbacks" in out.stderr
    assert "ROLLED BACK to checkpoint-000000.128.pt (1 of" in out.stdout
    assert "ROLLED BACK to checkpoint-000000.064.pt (2 of" in out.stdout
    assert [p.name for p in sorted(run.glob("checkpoint*"))] == [
        "checkpoint-000000.064.pt",
        "checkpoint-000000.128.pt.diverged",
    ]


@pytest.mark.parametrize(("gpus", "batch"), [(1, 8), (2, 16)])
def test_too_little_memory_at_the_start_halves_the_micro_batch(data, tmp_path, gpus, batch):
    args = [*SMALL, "--total-kimg", 0.064, "--batch", batch, "--gpus", gpus, "--data", data, "--result-dir"]
    train(*args, tmp_path / "asked", "--micro-batch", 4)
    out = finish(f"memory:{gpus - 1}:0", *args, tmp_path / "halved")
    assert out.returncode == 0, out.stderr
    assert "OUT OF MEMORY with 8 images a pass: trying again with --micro-batch 4" in out.stdout
    [run] = run_dirs(tmp_path / "halved")
    assert_same_run(run_dirs(tmp_path / "asked")[0], run)

    # It goes on with what has fitted.
    more = [*args, tmp_path / "halved", "--total-kimg", 0.128, "--resume", "auto"]
    assert finish("memory:*:*", *more).returncode == 0
    assert run_dirs(tmp_path / "halved") == [run]


def test_too_little_memory_for_anything_is_an_error_with_a_forecast(data, tmp_path):
    out = finish("memory-always:1:0", *SHORT, "--gpus", 2, "--data", data, "--result-dir", tmp_path)
    assert out.returncode == 2 and "Traceback" not in out.stderr and not run_dirs(tmp_path)
    assert "error: out of memory in the D step at 0.000 kimg (step 0) on process 1: a step takes about" in out.stderr
    assert "no smaller --micro-batch computes the same" in out.stderr


def test_memory_that_runs_out_later_is_an_error_with_a_forecast(data, tmp_path):
    args = [*SMALL, "--total-kimg", 0.192, "--data", data, "--resume", "auto", "--result-dir", tmp_path]
    out = finish("memory:0:20", *args)
    assert out.returncode == 2 and "Traceback" not in out.stderr
    assert "out of memory in the D step at 0.160 kimg (step 20) on process 0" in out.stderr
    assert "; --micro-batch 4 takes about" in out.stderr

    # Nothing is lost.
    train(*args)
    [run] = run_dirs(tmp_path)
    assert newest_checkpoint(run)["progress"]["cur_nimg"] == 192


def test_a_clock_that_is_set_back_changes_nothing(data, tmp_path):
    args = [*SHORT, "--data", data, "--resume", "auto", "--result-dir"]
    train(*args, tmp_path / "right")
    assert finish("clock:0:10", *args, tmp_path / "wrong", "--total-kimg", 0.128).returncode == 0
    assert finish("clock:0:20", *args, tmp_path / "wrong").returncode == 0
    runs = [run_dirs(tmp_path / name)[0] for name in ("right", "wrong")]
    assert_same_run(*runs)
    rows = [json.loads(line) for line in (runs[1] / "stats.jsonl").read_text().splitlines()]
    assert all(0 < row["sec_per_tick"] < 100 for row in rows)


def state(d=0.0, g=0.0, log2_scale=None):
    def optimizer():
        return SimpleNamespace(scales_loss=log2_scale is not None, log2_scale=SimpleNamespace(item=lambda: log2_scale))

    averages = {"Progress/skipped_share_D": d, "Progress/skipped_share_G": g, "Loss/D": math.nan, "Loss/G": 3.0}
    return SimpleNamespace(D_opt=optimizer(), G_opt=optimizer()), SimpleNamespace(averages=averages)


@pytest.mark.parametrize(
    ("facts", "sign"),
    [
        ({"d": 0.1}, None),
        ({"d": 0.5}, "50% of the gradients of D"),
        ({"g": 1.0}, "100% of the gradients of G"),
        ({"d": 1.0, "log2_scale": 9.0}, None),
        ({"d": 1.0, "log2_scale": -1.0}, "100% of the gradients of D"),
    ],
    ids=["a few", "half of D", "all of G", "fp16 still looks for its scale", "fp16 has found none"],
)
def test_signs_of_divergence(facts, sign):
    found = sign_of_divergence(*state(**facts))
    assert found is None if sign is None else found.startswith(sign)


@pytest.mark.parametrize("loss", [2e6, -2e6])
def test_a_loss_beyond_all_bounds_is_a_sign(loss):
    networks, tick = state()
    tick.averages["Loss/G"] = loss
    assert sign_of_divergence(networks, tick).startswith("the mean loss of G was")
