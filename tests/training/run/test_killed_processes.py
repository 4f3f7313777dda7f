"""A run of two processes, one of which is killed, leaves no process behind and ends in the bits of one that was not."""

import subprocess
import time

import psutil
import pytest

from tests.runs import ENV, ROOT, SMALL, assert_same_run, command, make_dataset, run_dirs, train

PROCESSES = ["--gpus", 2, "--micro-batch", 4, "--total-kimg", "0.256"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(dataset, run dir of an undisturbed run of two processes)."""
    folder = tmp_path_factory.mktemp("reference")
    data = make_dataset(folder / "blobs")
    train(*SMALL, *PROCESSES, "--data", data, "--result-dir", folder / "results")
    return data, run_dirs(folder / "results")[0]


@pytest.mark.parametrize("victim", ["launcher", "process 0", "process 1"])
def test_kill_9_of_one_of_the_processes(reference, tmp_path, victim):
    data, whole = reference
    args = [*SMALL, *PROCESSES, "--data", data, "--result-dir", tmp_path, "--resume", "auto"]
    with (tmp_path / "errors.txt").open("w") as errors:
        launcher = subprocess.Popen(command(*args), cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=errors)

    # Kill it in the middle of a tick after the first one.
    while not any(path.stat().st_size for path in tmp_path.glob("*/stats.jsonl")):
        assert launcher.poll() is None
        time.sleep(0.02)
    everyone = psutil.Process(launcher.pid).children(recursive=True)
    ranks = [p for p in psutil.Process(launcher.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    victims = {
        "launcher": launcher,
        "process 0": min(ranks, key=lambda p: p.pid),
        "process 1": max(ranks, key=lambda p: p.pid),
    }
    victims[victim].kill()

    # All others end by themselves, and the launcher names who was killed.
    status = launcher.wait(60)
    _, left = psutil.wait_procs(everyone, timeout=60)
    assert not left
    if victim != "launcher":
        assert status == 1 and f"error: {victim} ended with status -9" in (tmp_path / "errors.txt").read_text()

    train(*args)
    [run] = run_dirs(tmp_path)
    assert not list(run.rglob("*.partial"))
    assert_same_run(whole, run)
