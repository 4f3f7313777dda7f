"""The training loop: what it does when, in runs within this process."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from config import tiny
from dnnlib.stop_request import StopRequest
from pretrained.warm_start import load_initial
from tests.runs import SMALL, losses, make_dataset, newest_checkpoint, run_dirs
from train import parse
from training.run import entry
from training.run.loop import training_loop
from training.spec import ImageSpec
from training.state import TrainState


def train_here(*args, hooks=()):
    """Do what train.py does, in this process, which takes less time than starting another one."""
    entry.train(parse([str(arg) for arg in args]), load_initial, hooks)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "blobs")


def test_hooks_are_called_at_every_so_many_snapshots_and_at_the_end(data, tmp_path):
    calls = []

    def hook(snapshot):
        written = snapshot.path.exists() and len(list(snapshot.run_dir.glob("checkpoint-*.pt"))) > 0
        calls.append((snapshot.path.name, written, snapshot.stop()))
        snapshot.say("a hook was here")

    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "0.3"]
    train_here(*args, "--network-snapshot-ticks", 1, "--metric-every", 2, hooks=[hook])
    assert calls == [(f"network-snapshot-000000.{kimg}.safetensors", True, False) for kimg in (128, 256, 304)]
    assert (run_dirs(tmp_path)[0] / "log.txt").read_text().count("a hook was here") == 3


def test_a_stop_keeps_everything_up_to_the_step(data, tmp_path):
    cfg = parse([*SMALL, "--data", str(data), "--result-dir", str(tmp_path), "--network-snapshot-ticks", "0"])

    class ThirdTime(StopRequest):
        answers = iter([False, False, True])

        def __call__(self):
            return next(self.answers)

    stop = ThirdTime()
    training_loop(cfg, torch.device("cpu"), stop, load_initial, [])
    stop.restore()
    (run,) = run_dirs(tmp_path)
    assert [p.name for p in run.glob("checkpoint-*")] == ["checkpoint-000000.024.pt"]
    assert newest_checkpoint(run)["progress"]["cur_nimg"] == 24 and "stopped at 0.024" in (run / "log.txt").read_text()


def test_time_is_counted(data, tmp_path):
    train_here(*SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "0.1")
    (run,) = run_dirs(tmp_path)
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    seconds = [row["sec_per_kimg"] * nimg for row, nimg in zip(rows, (0.064, 0.04), strict=True)]
    assert all(0 <= row["data_wait_sec"] <= s for row, s in zip(rows, seconds, strict=True))
    totals = [row["total_sec"] for row in rows]
    assert totals[0] == pytest.approx(seconds[0])
    assert all(b >= a + s - 1e-9 for a, b, s in zip(totals, totals[1:], seconds[1:], strict=False))
    assert newest_checkpoint(run)["progress"]["total_sec"] >= totals[-1]


def test_whole_kimg_names(data, tmp_path):
    train_here("tiny", "--resolution", 16, "--data", data, "--result-dir", tmp_path, "--total-kimg", 1)
    (run,) = run_dirs(tmp_path)
    assert (run / "network-snapshot-000001.safetensors").exists() and (run / "checkpoint-000001.pt").exists()
    assert sorted(p.name for p in (run / "16x16").iterdir()) == ["fakes000000.png", "fakes000001.png"]


def test_warmup_raises_the_learning_rate(data, tmp_path):
    train_here(*SMALL, "--data", data, "--result-dir", tmp_path, "--lr-warmup-kimg", "0.256", "--total-kimg", "0.384")
    rates = [r["Progress/lr"] for r in losses(run_dirs(tmp_path)[0])]
    np.testing.assert_allclose(rates, 0.003 * np.array([56, 120, 184, 248, 256, 256]) / 256)


def test_every_training_option_at_once(data, tmp_path):
    """R2, lazy regularisation, D repeats, mixing, mirror, accumulation, fp32, no labels, torch's Adam."""
    train_here(
        *SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "0.064", "--loss.r2-gamma", 0.5,
        "--loss.reg-interval", 2, "--d-repeats", 2, "--loss.style-mixing-prob", 0.5, "--mirror", "--micro-batch", 4,
        "--precision", "fp32", "--no-use-labels", "--G-opt.form", "torch", "--keep-every", 1, "--ema-rampup", 0.05,
    )  # fmt: skip
    (row,) = losses(run_dirs(tmp_path)[0])
    assert row["Loss/r2_penalty"] > 0 and row["Progress/skipped_steps"] == 0
    assert newest_checkpoint(run_dirs(tmp_path)[0])["D_opt"]["t"] == 8
    assert newest_checkpoint(run_dirs(tmp_path)[0])["G_opt"]["t"] == 4


def test_ticks_are_numbered_without_gaps(data, tmp_path):
    """Ticks of 100 images end between steps of 8."""
    train_here(*SMALL, "--data", data, "--result-dir", tmp_path, "--tick-kimg", "0.1")
    assert [r["tick"] for r in losses(run_dirs(tmp_path)[0])] == [1, 2, 3, 4]


def test_zero_means_only_at_the_end_and_keep_all(data, tmp_path):
    args = ["--data", data, "--result-dir", tmp_path / "a", "--total-kimg", "0.2"]
    train_here(*SMALL, *args, "--image-snapshot-ticks", 0, "--network-snapshot-ticks", 0)
    (run,) = run_dirs(tmp_path / "a")
    assert [p.name for p in run.glob("network*")] == ["network-snapshot-000000.200.safetensors"]
    assert sorted(p.name for p in (run / "4x4").iterdir()) == ["fakes000000.000.png", "fakes000000.200.png"]
    train_here(*SMALL, *args[:2], "--result-dir", tmp_path / "b", "--keep-last", 0)
    assert len(list(run_dirs(tmp_path / "b")[0].glob("checkpoint-*"))) == 7


def test_keep_every(data, tmp_path):
    args = ["--data", data, "--result-dir", tmp_path, "--keep-last", 1, "--keep-every", 2]
    train_here(*SMALL, *args, "--network-snapshot-ticks", 1)
    kept = sorted(p.name for p in run_dirs(tmp_path)[0].glob("checkpoint-*"))
    assert kept == [f"checkpoint-000000.{n}.pt" for n in (128, 256, 384, 400)]


def test_g_ema_moves_before_the_g_step(data, tmp_path):
    """As in the original: after one iteration G has moved, and G_ema is still the G that D was trained against."""
    train_here(*SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "0.008")
    state = newest_checkpoint(run_dirs(tmp_path)[0])
    torch.manual_seed(3)
    initial = TrainState(replace(tiny(), seed=3), ImageSpec(resolution=16, c_dim=3), torch.device("cpu")).G
    for name, p in initial.named_parameters():
        assert torch.equal(state["G_ema"][name], p)
    assert any(not torch.equal(state["G"][name], p) for name, p in initial.named_parameters())


def test_another_batch_on_resume_still_ticks(data, tmp_path):
    """Progress that is no multiple of the new batch must not keep ticks from ending."""
    args = [*SMALL, "--data", data, "--result-dir", tmp_path]
    train_here(*args, "--total-kimg", "0.1")
    (run,) = run_dirs(tmp_path)
    train_here(*args, "--resume", run, "--batch", 16)
    assert [r["tick"] for r in losses(run)] == [1, 2, 2, 3, 4, 5, 6, 7]  # tick 2 was cut short, and then ended
