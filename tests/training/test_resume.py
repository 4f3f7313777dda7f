"""A run that was killed, however often and whenever, ends in the bits of one that was not."""

import errno
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch

from config import tiny
from dnnlib.errors import UserError
from tests.runs import (
    ENV,
    ROOT,
    SMALL,
    assert_same_run,
    command,
    losses,
    make_dataset,
    newest_checkpoint,
    run_dirs,
    train,
)
from training.config import ImageSpec
from training.state import TrainState, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(dataset, run dir of an uninterrupted run)."""
    folder = tmp_path_factory.mktemp("reference")
    data = make_dataset(folder / "blobs")
    train(*SMALL, "--data", data, "--result-dir", folder / "results")
    return data, run_dirs(folder / "results")[0]


def start(*args):
    return subprocess.Popen(
        command(*args), cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def writing_checkpoint(results):
    return any(results.glob("*/.checkpoint-*.partial"))


def test_kill_9_at_any_moment(reference, tmp_path):
    data, whole = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto"]
    rng = random.Random(0)
    hit = 0
    for attempt in range(6):
        process = start(*args)
        before = len(list(tmp_path.glob("*/checkpoint-*.pt")))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if attempt % 2 and writing_checkpoint(tmp_path):  # killed while it writes one
                hit += 1
                break
            if attempt % 2 == 0 and len(list(tmp_path.glob("*/stats.jsonl"))):  # killed anywhere else
                time.sleep(rng.uniform(0.05, 0.6))
                break
        process.kill()
        process.communicate()
        assert before <= 3
    train(*args)
    (run,) = run_dirs(tmp_path)
    assert hit >= 1, "no kill fell into the writing of a checkpoint"
    assert not list(run.rglob("*.partial"))
    assert_same_run(whole, run)


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signal_checkpoints_and_exits_0(reference, tmp_path, sig, gpus):
    data, _ = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto", "--gpus", gpus, "--micro-batch", 4]
    process = start(*args)
    while process.poll() is None and not any(tmp_path.glob("*/4x4")):
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(sig)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "stopped at" in out
    (run,) = run_dirs(tmp_path)
    assert 0 < newest_checkpoint(run)["progress"]["cur_nimg"] < 400
    train(*args)
    train(*[a if a != tmp_path else tmp_path / "whole" for a in args])
    assert_same_run(run_dirs(tmp_path / "whole")[0], run)


def test_damaged_checkpoint_falls_back_and_says_so(reference, tmp_path):
    data, whole = reference
    run = tmp_path / whole.name
    shutil.copytree(whole, run)
    newest = max(run.glob("checkpoint-*.pt"))
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto")
    assert f"{newest}: damaged checkpoint" in out.stdout
    assert "resuming at" in out.stdout and run_dirs(tmp_path) == [run]
    assert_same_run(whole, run)


@pytest.mark.parametrize("cut", [0, 100, 20000])
def test_truncated_checkpoint_alone_is_an_error(reference, tmp_path, cut):
    data, whole = reference
    path = tmp_path / "checkpoint-000000.pt"
    path.write_bytes(max(whole.glob("checkpoint-*.pt")).read_bytes()[:cut])
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--resume", path, check=False)
    assert out.returncode == 2 and "damaged checkpoint" in out.stderr and "Traceback" not in out.stderr


def test_checkpoint_of_another_architecture_is_an_error(reference, tmp_path):
    data, whole = reference
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", whole, "--G.fmap-max", 8, check=False)
    assert out.returncode == 2 and "another architecture: G.fmap_max is 16, expected 8" in out.stderr


def test_finished_run_is_not_continued_but_a_longer_one_is(reference, tmp_path):
    data, whole = reference
    shutil.copytree(whole, tmp_path / whole.name)
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto"]
    train(*args, "--total-kimg", "0.45")
    assert run_dirs(tmp_path) == [tmp_path / whole.name]
    assert newest_checkpoint(tmp_path / whole.name)["progress"]["cur_nimg"] == 456
    assert losses(tmp_path / whole.name)[: len(losses(whole)) - 1] == losses(whole)[:-1]
    train(*args, "--total-kimg", "0.1")
    assert len(run_dirs(tmp_path)) == 2


def test_other_options_start_a_new_run_and_say_why(reference, tmp_path):
    data, whole = reference
    shutil.copytree(whole, tmp_path / whole.name)
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto", "--total-kimg", "0.5", "--mirror")
    assert "started with another mirror" in out.stdout and len(run_dirs(tmp_path)) == 2


def test_checkpoint_file_starts_a_new_run_from_it(reference, tmp_path):
    data, whole = reference
    newest = max(whole.glob("checkpoint-*.pt"))
    train(*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", newest, "--total-kimg", "0.45")
    (run,) = run_dirs(tmp_path)
    assert [r["kimg"] for r in losses(run)] == [0.448, 0.456]


def test_running_run_is_left_alone(reference, tmp_path):
    data, _ = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto"]
    first = start(*args, "--total-kimg", "100")
    while first.poll() is None and not any(tmp_path.glob("*/stats.jsonl")):
        time.sleep(0.02)
    out = train(*args)
    first.terminate()
    first.communicate()
    assert "another process is training it" in out.stdout and len(run_dirs(tmp_path)) == 2


def test_full_disk_loses_nothing(reference, tmp_path, monkeypatch):
    """Writing the second checkpoint fails half-way; the first stays whole."""
    state = TrainState(tiny(), ImageSpec(resolution=8), torch.device("cpu"))
    save_checkpoint(tmp_path, state)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args, **kwargs):
        with open(args[1], "wb") as f:
            f.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    state.cur_nimg = 5000
    with pytest.raises(UserError, match="no space left"):
        save_checkpoint(tmp_path, state)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    load_checkpoint(tmp_path / "checkpoint-000000.pt")
