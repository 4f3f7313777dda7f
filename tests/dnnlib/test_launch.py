"""How the processes of a run end; test_distributed.py has runs that succeed."""

import re
import signal
import subprocess
import sys
import time

import pytest

from dnnlib.errors import UserError
from dnnlib.launch import INTERRUPTED, is_first_process, launch
from tests.runs import ENV, ROOT


def start(end, folder):
    command = [sys.executable, "-m", "tests.dnnlib.workers", end, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_both_work(process, folder):
    while len(list(folder.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("end", "status", "text"),
    [
        ("user", 2, "error: only rank 1 knows"),
        ("bug", 1, "RuntimeError: a bug"),
        ("exit", 7, "error: process 1 ended with status 7"),
        ("kill", 1, "error: process 1 ended with status -9"),
    ],
)
def test_the_first_failure_ends_all_and_is_reported(tmp_path, end, status, text):
    with start(end, tmp_path) as process:
        _, err = process.communicate(timeout=50)
    assert process.returncode == status and text in err
    assert ("Traceback" in err) == (end == "bug")
    assert end == "bug" or err.count("\n") == 1


def test_signals_reach_the_workers(tmp_path):
    with start("sleep", tmp_path) as process:
        wait_until_both_work(process, tmp_path)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=50)
    assert process.returncode == INTERRUPTED and "Traceback" not in err
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["interrupted"] * 2


def test_sigusr1_shows_where_each_process_is_and_ends_none(tmp_path):
    with start("sleep", tmp_path) as process:
        wait_until_both_work(process, tmp_path)
        process.send_signal(signal.SIGUSR1)
        lines: list[str] = []
        while sum(re.search(r'workers.py", line \d+ in work$', line) is not None for line in lines) < 2:
            lines.append(process.stderr.readline())
            assert lines[-1], "it ended"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=50)
    assert process.returncode == INTERRUPTED
    assert [line[:10] for line in lines if line.startswith("process")] == ["process 0 ", "process 1 "]


def test_one_process_shows_its_own_stacks():
    code = "from signal import *; from dnnlib.launch import launch; launch(raise_signal, SIGUSR1, 1)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0 and "in launch" in result.stderr


def test_one_process_is_this_one():
    calls = []
    assert launch(calls.append, "x", 1) == 0
    assert calls == ["x"]
    with pytest.raises(UserError, match="wrong"):
        launch(lambda message: (_ for _ in ()).throw(UserError(message)), "wrong", 1)


def test_processes_of_an_outer_launcher_are_used_as_they_are(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    calls = []
    assert launch(calls.append, "x", 8) == 0
    assert calls == ["x"]


def test_the_first_process_is_known_from_the_environment(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert is_first_process()
    monkeypatch.setenv("RANK", "1")
    assert not is_first_process()
