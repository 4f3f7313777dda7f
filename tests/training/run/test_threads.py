from dataclasses import replace

import pytest
import torch

from config import tiny
from dnnlib import cpu_threads
from training.run.threads import RunThreads
from training.spec import ImageSpec
from training.state import TrainState

CPU = torch.device("cpu")


class Load:
    """In place of CpuThreads: two threads, of which the load leaves as many as `free` says."""

    most, fixed, due = 2, False, True

    def __init__(self):
        self.free = type(self).at_start

    def measure(self):
        return self.free

    def choose(self):
        torch.set_num_threads(self.free)
        return self.free

    follow = choose


@pytest.fixture
def load(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("training.run.threads.CpuThreads", Load)
    Load.at_start = 2
    yield Load
    torch.set_num_threads(before)


def new_state(**changes):
    return TrainState(replace(tiny(), **changes), ImageSpec(resolution=16), CPU)


def test_a_deterministic_run_keeps_the_number_it_started_with(load):
    load.at_start = 1
    state = new_state()
    RunThreads(state, CPU)
    assert state.cpu_threads == 1 == torch.get_num_threads()

    # It is in the checkpoint, and counts when the run is resumed, whatever the load is then.
    load.at_start = 2
    resumed = new_state()
    resumed.load_state_dict(state.state_dict())
    threads = RunThreads(resumed, CPU)
    threads.after_step()
    assert resumed.cpu_threads == 1 == torch.get_num_threads()

    # A machine with fewer cores has no more threads than cores.
    resumed.cpu_threads = 16
    RunThreads(resumed, CPU)
    assert torch.get_num_threads() == 2


def test_it_says_once_that_others_slow_it_down(load):
    said = []
    threads = RunThreads(new_state(), CPU)
    threads.advise(said.append)
    assert not said

    threads.threads.free = 1
    for _ in range(3):
        threads.after_step()
        threads.advise(said.append)
    assert len(said) == 1 and "--no-deterministic" in said[0]
    assert torch.get_num_threads() == 2


def test_other_runs_follow_the_load(load):
    said = []
    state = new_state(deterministic=False)
    state.cpu_threads = 1
    threads = RunThreads(state, CPU)
    for free in (2, 1, 2):
        threads.threads.free = free
        threads.after_step()
        threads.advise(said.append)
        assert state.cpu_threads == free == torch.get_num_threads()
    assert not said


def test_compiled_runs_and_runs_of_several_processes_keep_their_number(load):
    threads = RunThreads(new_state(deterministic=False, compile=True), CPU)
    threads.threads.free = 1
    threads.after_step()
    assert torch.get_num_threads() == 2

    threads = RunThreads(new_state(deterministic=False, gpus=2), CPU)
    threads.after_step()
    threads.advise(print)
    assert torch.get_num_threads() == 2


def test_a_number_that_the_user_has_set_wins_over_the_checkpoint(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    state = new_state()
    state.cpu_threads = 2
    RunThreads(state, CPU)
    assert state.cpu_threads == torch.get_num_threads() == cpu_threads.CpuThreads().most
