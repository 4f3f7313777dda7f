"""Threads make room for other programs; the load is real in one test and made up in the others."""

import os
import subprocess
import sys

import pytest
import torch

from dnnlib import cpu_threads
from dnnlib.cpu_threads import CpuThreads, share_cores
from dnnlib.pool import cpu_count
from tests.runs import ROOT


class Machine:
    """Four cores, of which this process may use the first three, and a clock."""

    def __init__(self, folder, monkeypatch):
        self.stat = folder / "stat"
        self.now = self.own = 0.0
        self.used = [0.0] * 4
        self.pass_by(0)

        monkeypatch.setattr(cpu_threads, "STAT", self.stat)
        monkeypatch.setattr(cpu_threads, "cpu_count", lambda: 3)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
        monkeypatch.setattr(cpu_threads.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(cpu_threads.time, "process_time", lambda: self.own)
        monkeypatch.setattr(cpu_threads.time, "sleep", self.pass_by)

    def pass_by(self, seconds, others=(0, 0, 0, 0), own=(0, 0, 0, 0)):
        """Let time pass in which others and this process take these shares of the cores."""
        self.now += seconds
        self.own += sum(own) * seconds
        self.used = [used + (a + b) * seconds for used, a, b in zip(self.used, others, own, strict=True)]

        # Half of the time as a user, a quarter each in the kernel and stolen; the rest idle or waiting for disks.
        hz = os.sysconf("SC_CLK_TCK")
        lines = ["cpu  1 1 1 1 1 1 1 1 0 0"]
        for i, used in enumerate(self.used):
            ticks, idle = round(used * hz), round((self.now - used) * hz)
            user, system = ticks // 2, ticks // 4
            lines.append(f"cpu{i} {user} 0 {system} {idle - 3} 3 0 0 {ticks - user - system} {user} 0")
        self.stat.write_text("\n".join([*lines, "intr 1 2 3", "ctxt 5"]))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield Machine(tmp_path, monkeypatch)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((0, 0, 0, 1), 3),
        ((0.3, 0, 0, 0), 3),
        ((0, 0, 0.5, 0), 2),
        ((1, 0, 0, 0), 2),
        ((1, 0.9, 0, 0), 1),
        ((1, 1, 1, 1), 1),
    ],
)
def test_others_are_given_the_cores_that_they_use(machine, others, expected):
    threads = CpuThreads()
    machine.pass_by(2, others, own=(0, 0, 0.5, 0))
    assert threads.choose() == expected == torch.get_num_threads()


def test_the_number_follows_the_load(machine):
    threads = CpuThreads()
    machine.pass_by(1, others=(0.5, 0, 0, 0), own=(0.5, 1, 1, 0))
    assert threads.follow() == 2
    machine.pass_by(1, others=(1, 0, 0, 0), own=(0, 1, 1, 0))
    assert threads.follow() == 2

    # Nothing is measured over a moment.
    machine.pass_by(0.1, own=(0, 1, 1, 0))
    assert threads.follow() == 2 and not threads.due
    machine.pass_by(1, own=(0, 1, 1, 0))
    assert threads.follow() == 3 == torch.get_num_threads()


def test_the_first_choice_takes_half_a_second(machine):
    CpuThreads().choose()
    assert machine.now == cpu_threads.PERIOD


def test_a_process_chooses_once(machine):
    share_cores.cache_clear()
    assert share_cores() == 3
    machine.pass_by(5, others=(1, 1, 1, 1))
    before = machine.now
    assert share_cores() == 3 and machine.now == before
    share_cores.cache_clear()


def test_a_number_that_the_user_has_set_stays(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    threads = CpuThreads()
    machine.pass_by(5, others=(1, 1, 1, 1))
    assert threads.choose() == threads.follow() == 3 and not threads.due


def test_where_nothing_is_known_of_the_load_nothing_changes(machine, monkeypatch):
    monkeypatch.setattr(cpu_threads, "STAT", machine.stat.with_name("none"))
    threads = CpuThreads()
    machine.pass_by(5)
    assert threads.choose() == threads.follow() == 3


def test_beside_programs_on_all_cores_one_thread_is_taken():
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = (
        "from dnnlib.cpu_threads import CpuThreads; import torch; print(CpuThreads().choose(), torch.get_num_threads())"
    )
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cpu_count())]
    try:
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
        )
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert out.stdout.split() == ["1", "1"], out.stderr
