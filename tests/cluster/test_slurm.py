"""Jobs of Slurm, whose programs are replaced by small ones that start the same processes with the same variables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.slurm import Options, job_file
from dnnlib.errors import UserError
from tests.runs import ENV, ROOT, SMALL, assert_same_run, make_dataset, run_dirs, script, train

FAKES = Path(__file__).parent / "fake_slurm"


def submit(folder, *args):
    env = {**ENV, "PATH": f"{FAKES}{os.pathsep}{ENV['PATH']}", "FAKE_SLURM": str(folder)}
    command = [sys.executable, "submit.py", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900)


def test_a_job_whose_time_is_up_goes_on_in_the_next_one(tmp_path):
    data = make_dataset(tmp_path / "blobs")
    options = [*SMALL, "--total-kimg", 0.8, "--tick-kimg", 0.08, "--image-snapshot-ticks", 0, "--micro-batch", 4]
    options += ["--gpus", 2, "--data", data, "--result-dir"]
    out = submit(tmp_path, "--hours", "0.0167", "--grace-seconds", 55, "--folder", tmp_path / "logs",
                 "--no-gpus", "--", "train.py", *options, tmp_path / "jobs")  # fmt: skip
    assert out.returncode == 0, out.stderr
    [path] = (tmp_path / "logs").glob("*.log")
    assert out.stdout == f"job {path.stem}: log in {path}\n"

    # The first attempt was stopped, the last one finished.
    log = path.read_text()
    assert not list((tmp_path / "jobs").glob("00001*")), "a run that has finished is not started again"
    attempts, status = (tmp_path / "attempts").read_text().split()
    assert (attempts, status) == ("3", "0"), log
    assert log.count("stopped at") == 2 and log.count("finished 0.8 kimg") == 1
    train(*options, tmp_path / "whole", timeout=250)
    assert_same_run(run_dirs(tmp_path / "whole")[0], run_dirs(tmp_path / "jobs")[0])


def test_a_script_that_fails_is_not_queued_again(tmp_path):
    out = submit(tmp_path, "--folder", tmp_path / "logs", "--", "train.py", "tiny", "--data", tmp_path / "none")
    assert out.returncode == 0
    assert (tmp_path / "attempts").read_text() == "1 2"
    assert "no such file or folder" in next((tmp_path / "logs").iterdir()).read_text()


def test_the_job_can_be_printed():
    options = ["--nodes", 2, "--hours", 8, "--sbatch", "partition=gpu", "account=lab", "--memory-gb", 64, "--print-job"]
    out = script("submit.py", *options, "--", "train.py", "flowers256", "--gpus=16", "--data", "a b").stdout
    assert out.splitlines()[:14] == [
        "#!/bin/bash",
        "#SBATCH --job-name=msg-gan",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --mem=64G",
        "#SBATCH --time=480",
        "#SBATCH --signal=TERM@120",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --output=slurm/%j.log",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=lab",
    ]
    run = f"{sys.executable} {ROOT}/train.py flowers256 --gpus=16 --data 'a b' --resume auto"
    assert f"srun --kill-on-bad-exit=1 {run}\n" in out and "-ge 28590" in out
    assert subprocess.run(["bash", "-n"], input=out, text=True).returncode == 0


def test_other_scripts_are_started_as_they_are():
    assert "run_metrics.py --gpus 2 --resume" not in job_file(Options(), ["run_metrics.py", "--gpus", "2"])
    assert "train.py --resume none\n" in job_file(Options(), ["train.py", "--resume", "none"])


@pytest.mark.parametrize(
    ("options", "command", "text"),
    [
        ({}, ["training.py"], "training.py: no script of this project"),
        ({"nodes": 3}, ["train.py", "--gpus", "8"], "--gpus 8: expected a multiple of --nodes 3"),
        ({}, ["train.py", "--gpus"], "--gpus: found nothing, expected a number"),
        ({"nodes": 0}, ["train.py"], "--nodes: expected at least 1"),
        ({"hours": 0.03}, ["train.py"], "--hours 0.03: expected more than --grace-seconds 120"),
        ({"sbatch": ("x=1\n#SBATCH",)}, ["train.py"], "--sbatch x=1"),
    ],
)
def test_what_is_wrong_is_said(options, command, text):
    with pytest.raises(UserError, match=text):
        job_file(Options(**options), command)


def test_without_slurm_and_without_a_script():
    out = script("submit.py", "--", "train.py", check=False)
    assert out.returncode == 2 and "sbatch: not found" in out.stderr
    out = script("submit.py", "--hours", 2, check=False)
    assert out.returncode == 2 and "no script to run" in out.stderr
