"""A run that was killed, however often and whenever, ends in the bits of one that was not."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch

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
    python,
    run_dirs,
    tensors,
    train,
)
from training.run.checkpoint import load_checkpoint


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


@pytest.mark.parametrize(("sig", "gpus"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_signal_checkpoints_and_exits_0(reference, tmp_path, sig, gpus):
    data, _ = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto", "--gpus", gpus, "--micro-batch", 4]
    process = start(*args)
    while process.poll() is None and not any(tmp_path.glob("*/4x4")):
        time.sleep(0.02)
    time.sleep(0.05)
    process.send_signal(sig)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "stopped at" in out
    (run,) = run_dirs(tmp_path)
    assert 0 < newest_checkpoint(run)["progress"]["cur_nimg"] < 400
    train(*args)

    # One process computes what two do.
    train(*SMALL, "--data", data, "--result-dir", tmp_path / "whole", "--micro-batch", 4)
    assert_same_run(run_dirs(tmp_path / "whole")[0], run)


@pytest.mark.parametrize("moment", ["a step", "a metric"])
def test_sigterm_to_all_processes_at_once_leaves_half_a_minute(reference, tmp_path, moment):
    """What Slurm and containers do before they kill."""
    data, _ = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--gpus", 2, "--micro-batch", 4]
    args += ["--total-kimg", 100, *(["--metrics", "msssim100000"] if moment == "a metric" else [])]
    process = subprocess.Popen(
        command(*args), cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    while process.poll() is None and not any(tmp_path.glob("*/checkpoint-000000.064.pt")):
        time.sleep(0.02)
    time.sleep(2 if moment == "a metric" else 0.1)
    os.killpg(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and b"stopped at" in out
    [run] = run_dirs(tmp_path)
    assert newest_checkpoint(run)["progress"]["cur_nimg"] >= 64
    assert (b"not scored to the end" in out) == (moment == "a metric")


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


@pytest.mark.parametrize("back", [30, 200, 500, 900, 1500])
def test_flipped_bit_near_the_end_is_found_or_harmless(reference, tmp_path, back):
    """The directory of the zip file has no checksum of its own."""
    whole = newest_checkpoint(reference[1])
    raw = bytearray(max(reference[1].glob("checkpoint-*.pt")).read_bytes())
    raw[-back] ^= 0x80
    (tmp_path / "checkpoint-000000.pt").write_bytes(raw)
    with contextlib.suppress(UserError):
        loaded = tensors(load_checkpoint(tmp_path / "checkpoint-000000.pt"))
        assert all(torch.equal(t, loaded[name]) for name, t in tensors(whole).items())


@pytest.mark.parametrize("cut", [0, 100, 20000])
def test_truncated_checkpoint_alone_is_an_error(reference, tmp_path, cut):
    data, whole = reference
    path = tmp_path / "checkpoint-000000.pt"
    path.write_bytes(max(whole.glob("checkpoint-*.pt")).read_bytes()[:cut])
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--resume", path, check=False)
    assert out.returncode == 2 and "damaged checkpoint" in out.stderr and "Traceback" not in out.stderr


@pytest.mark.parametrize("kind", ["run dir", "file"])
def test_checkpoint_of_another_architecture_is_an_error(reference, tmp_path, kind):
    data, whole = reference
    source = whole if kind == "run dir" else max(whole.glob("checkpoint-*.pt"))
    args = ["--data", data, "--result-dir", tmp_path / "r", "--resume", source, "--G.fmap-max", 8]
    out = train(*SMALL, *args, check=False)
    assert out.returncode == 2 and "another architecture: G.fmap_max is 16, expected 8" in out.stderr
    assert not (tmp_path / "r").exists()


def test_augmentation_goes_on_where_it_was(reference, tmp_path):
    """A run that is stopped between two changes of p, against one that is not."""
    data, _ = reference
    args = [*SMALL, "--data", data, "--resume", "auto", "--augment.name", "ada", "--augment.kimg", 1,
            "--augment.interval", 5, "--augment.target", -1]  # fmt: skip
    train(*args, "--result-dir", tmp_path / "whole", "--total-kimg", 0.384)
    for kimg in (0.128, 0.384):
        train(*args, "--result-dir", tmp_path / "stopped", "--total-kimg", kimg)
    [whole], [stopped] = run_dirs(tmp_path / "whole"), run_dirs(tmp_path / "stopped")
    assert_same_run(whole, stopped)

    state = newest_checkpoint(whole)["augmenter"]
    assert 0.2 < state["p"] < 0.4
    assert all(torch.equal(t, newest_checkpoint(stopped)["augmenter"][name]) for name, t in state.items())
    assert [row["Progress/augment_p"] for row in losses(whole)] == sorted(
        r["Progress/augment_p"] for r in losses(whole)
    )


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


def test_full_disk_loses_nothing(reference, tmp_path):
    """No file may grow past what the second checkpoint needs: one line, status 2, all that was whole is whole."""
    data, whole = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--resume", "auto"]
    size = min(p.stat().st_size for p in whole.glob("checkpoint-*.pt"))
    train(*args, "--total-kimg", "0.064")
    (run,) = run_dirs(tmp_path)
    before = {p.name: p.read_bytes() for p in run.glob("*0.064*")}
    out = python("-m", "tests.small_disk", size - 1000, *args)
    assert out.returncode == 2 and "Traceback" not in out.stderr
    errors = [line for line in out.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "cannot write: file too large" in errors[0]
    assert len(before) == 2 and not list(run.rglob("*.partial"))
    assert {p.name: p.read_bytes() for p in run.glob("*0.064*")} == before
    train(*args)
    assert losses(run) == losses(whole)


def test_run_started_from_a_checkpoint_file_remembers_it(reference, tmp_path):
    """Killed before its first snapshot, such a run goes on from where it started, not from nothing."""
    data, whole = reference
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "100", "--network-snapshot-ticks", 0]
    process = start(*args, "--resume", max(whole.glob("checkpoint-*.pt")))
    while process.poll() is None and not list(tmp_path.glob("*/stats.jsonl")):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    out = train(*args[:-4], "--total-kimg", "0.45", "--network-snapshot-ticks", 0, "--resume", "auto")
    (run,) = run_dirs(tmp_path)
    assert "resuming at 0.400 kimg" in out.stdout and (run / "reals.png").exists()


def test_folder_that_is_no_run_is_left_alone(reference, tmp_path):
    data, _ = reference
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    for name in ("checkpoint-000001.pt", ".x.1.partial", "sub/.y.2.partial"):
        (other / name).write_text("mine")
    before = sorted(other.rglob("*"))
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--resume", other, check=False)
    assert out.returncode == 2 and "not a run dir: no config.json" in out.stderr and sorted(other.rglob("*")) == before


def test_users_copies_of_checkpoints_are_ignored_and_differences_are_reported(reference, tmp_path):
    data, whole = reference
    run = tmp_path / whole.name
    shutil.copytree(whole, run)
    copies = ["checkpoint-best.pt", "checkpoint-000000.400 (copy).pt"]
    for name in copies:
        (run / name).write_text("mine")
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "0.45"]
    out = train(*args, "--resume", run, "--G-opt.lr", "0.001")
    assert "continued with another G_opt" in out.stdout
    assert all((run / name).read_text() == "mine" for name in copies)


def test_dataset_names_may_hold_glob_characters(tmp_path):
    data = make_dataset(tmp_path / "b[1]*")
    args = [*SMALL, "--data", data, "--result-dir", tmp_path / "r"]
    train(*args, "--total-kimg", "0.016")
    train(*args, "--total-kimg", "0.032", "--resume", "auto")
    assert [p.name for p in run_dirs(tmp_path / "r")] == ["00000-msg-stylegan-b[1]*-1gpu"]


def test_same_run_same_bytes(reference, tmp_path):
    """In a process of its own, in which sets have another order."""
    data, whole = reference
    args = command(*SMALL, "--data", data, "--result-dir", tmp_path)
    subprocess.run(args, cwd=ROOT, env=ENV | {"PYTHONHASHSEED": "7"}, check=True, capture_output=True)
    (run,) = run_dirs(tmp_path)
    assert_same_run(whole, run)
    snapshots = sorted(p.name for p in whole.glob("*.safetensors"))
    assert snapshots and all((run / n).read_bytes() == (whole / n).read_bytes() for n in snapshots)


@pytest.mark.parametrize(
    "args",
    [
        ["progan-robohash", *SMALL[1:], "--G.z-dim", 8, "--D.features", 8, "--loss.r1-gamma", 2,
         "--loss.gamma-end", 0.1, "--loss.gamma-kimg", 0.3, "--loss.reg-interval", 2],
        [*SMALL, "--loss.name", "wgan-gp", "--d-repeats", 2],
        [*SMALL, "--loss.name", "relativistic-pairing", "--loss.r2-gamma", 1, "--micro-batch", 4],
    ],
    ids=["msg-progan", "wgan-gp", "relativistic-pairing"],
)  # fmt: skip
def test_every_system_and_kind_of_loss_resumes_exactly(reference, tmp_path, args):
    args = [*args, "--data", reference[0], "--resume", "auto", "--result-dir"]
    train(*args, tmp_path / "whole")
    process = start(*args, tmp_path / "parts")
    while process.poll() is None and not list(tmp_path.glob("parts/*/checkpoint-*.pt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.stdout.read()
    stopped = newest_checkpoint(run_dirs(tmp_path / "parts")[0])["progress"]["cur_nimg"]
    assert 0 < stopped < 400
    train(*args, tmp_path / "parts")
    assert_same_run(run_dirs(tmp_path / "whole")[0], run_dirs(tmp_path / "parts")[0])
