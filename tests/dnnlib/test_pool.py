import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from dnnlib.pool import WorkerDied, cpu_count, ordered_map
from tests.runs import ROOT


def square(x):
    if x == 13:
        raise ValueError("thirteen")
    return x * x


def slow_first(x):
    time.sleep(0.3 if x == 0 else 0)
    return x


def fatal(x):
    if x == 3:
        os._exit(1)
    return x


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_tasks(workers):
    assert list(ordered_map(slow_first, range(10), workers)) == list(range(10))
    assert list(ordered_map(square, [], workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ahead", [1, 5])
def test_few_tasks_are_drawn_ahead(workers, ahead):
    drawn = []

    def tasks():
        for i in range(100):
            drawn.append(i)
            yield i

    with contextlib.closing(ordered_map(slow_first, tasks(), workers, ahead)) as results:
        assert not drawn
        for k in range(4):
            assert next(results) == k
            assert len(drawn) == ahead + k


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_function_raises_is_raised_in_its_place(workers):
    results = ordered_map(square, range(10, 20), workers)
    assert [next(results) for _ in range(3)] == [100, 121, 144]
    with pytest.raises(ValueError, match="thirteen"):
        next(results)


def test_what_the_tasks_raise_is_raised():
    def tasks():
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ordered_map(square, tasks(), 0))


def test_a_worker_that_ends_is_reported_with_the_tasks_without_results():
    results = ordered_map(fatal, range(20), 2, ahead=4)
    delivered = []
    with pytest.raises(WorkerDied) as e:
        for result in results:
            delivered.append(result)
    tasks = e.value.tasks
    assert 3 in tasks and delivered == list(range(tasks[0]))
    assert tasks == list(range(tasks[0], tasks[-1] + 1)) and len(tasks) <= 4


def test_no_task_is_lost_when_a_worker_ends_while_tasks_are_added():
    def tasks():
        yield 3
        time.sleep(2)
        yield 4

    with pytest.raises(WorkerDied) as e:
        list(ordered_map(fatal, tasks(), 1))
    assert e.value.tasks == [3, 4]


def test_threads_work_at_the_same_time_and_keep_the_order():
    together = threading.Barrier(3, timeout=30)

    def wait(task):
        together.wait()
        return task

    assert list(ordered_map(wait, range(9), 0, ahead=6, threads=3)) == list(range(9))


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_early_ends_the_workers(workers):
    results = ordered_map(slow_first, range(1000), workers)
    next(results)
    assert len(multiprocessing.active_children()) == workers
    results.close()
    assert not multiprocessing.active_children()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("seconds", [0.01, 0.03, 0.05, 0.07, 0.1, 0.15])
def test_ctrl_c_while_a_worker_starts_is_left_to_the_parent_process(seconds):
    command = [sys.executable, "-m", "tests.dnnlib.interrupted_pool", str(seconds)]
    out = subprocess.run(command, cwd=ROOT, start_new_session=True, capture_output=True, text=True, timeout=60)
    assert (out.returncode, out.stdout, out.stderr) == (0, "interrupted\n", "")


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= cpu_count() <= os.cpu_count()
