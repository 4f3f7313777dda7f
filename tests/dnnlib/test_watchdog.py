"""Processes that hang are ended, with a word on where; others are left alone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.runs import ENV, ROOT, SMALL, make_dataset, python, run_dirs

SCRIPT = """
import time
from dnnlib.watchdog import Watchdog
watchdog = Watchdog(0.5)
for i in range(5):
    watchdog.now(f"step {i}")
    time.sleep(0.2)
print("moving", flush=True)
"""


def run(rest):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + rest],
        cwd=ROOT,
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_that_hangs_is_ended_and_says_where():
    with run("time.sleep(100)") as process:
        out, err = process.communicate(timeout=50)
    assert process.returncode == 75 and out == "moving\n"
    assert err.startswith("error: process 0 has not moved for") and ": step 4\n" in err
    assert 'File "<string>", line 9 in <module>' in err


@pytest.mark.parametrize("rest", ["time.sleep(2)", "watchdog = Watchdog(0); time.sleep(2)"])
def test_nothing_ends_a_process_that_is_not_watched(rest):
    with run(f"watchdog.close(); {rest}") as process:
        _, err = process.communicate(timeout=50)
    assert process.returncode == 0 and not err


def test_time_in_which_a_process_was_stopped_does_not_count():
    with run("time.sleep(0.3); watchdog.now('done'); watchdog.close()") as process:
        assert process.stdout.readline() == "moving\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(process.pid, signal.SIGCONT)
        _, err = process.communicate(timeout=50)
    assert process.returncode == 0 and not err


@pytest.mark.parametrize(
    ("fault", "texts"),
    [
        ("hang", ["error: process 1 has not moved for", "D step at 0.040 kimg (step 5)", "in faulty"]),
        ("freeze", ["error: process 0 has waited", "at 0.040 kimg (step 5)", "process 1 has not answered for"]),
    ],
)
def test_one_of_two_processes_hangs(tmp_path, fault, texts):
    data = make_dataset(tmp_path / "blobs")
    options = [*SMALL, "--gpus", "2", "--micro-batch", "4", "--hang-timeout", "15", "--tick-kimg", "0.016"]
    out = python("-m", "tests.faults", f"{fault}:1:5", *options, "--data", data, "--result-dir", tmp_path)
    assert out.returncode == 75, out.stderr
    assert [text for text in texts if text not in out.stderr] == []
    [folder] = run_dirs(tmp_path)
    assert (folder / "checkpoint-000000.032.pt").exists()
