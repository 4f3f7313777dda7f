"""Sums and agreement over the processes of a run, of one and of two."""

import json
import subprocess
import sys

import pytest
import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from tests.runs import ENV, ROOT


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.dnnlib.ranks", "2", str(folder)]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=100)
    assert out.returncode == 0, out.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sum", [3.0, 30.0]),
        ("gather", [[[0, 7]], [[1, 7]]]),
        ("any", [False, True, True, True]),
        ("objects", [{"rank": 0}, {"rank": 1}]),
        ("broadcast", "from 0"),
        ("on_main", "of 0"),
        ("main_first", "of rank 0"),
        ("striped", [0, 1, 4, 9, 16]),
        ("rounds", [0, 1, 2]),
    ],
)
def test_all_processes_get_the_same(results, name, expected):
    assert [result[name] for result in results] == [expected, expected]


def test_processes_know_who_they_are(results):
    assert [result["ranks"] for result in results] == [[0, 0, 2, True], [1, 1, 2, False]]
    assert [result["together"] for result in results] == [0, 1]


def test_the_main_process_keeps_what_it_made(results):
    assert [result["kept"] for result in results] == [[True, True], [False, False]]


def test_an_error_of_one_process_is_raised_on_all(results):
    for result in results:
        assert result["errors"] == ["only the last process knows", "RuntimeError: only the last process knows"]


def test_work_is_shared_in_rounds(results):
    assert [result["calls"] for result in results] == [[0, 2, 4, "round", "round"], [1, 3, "round", "round"]]


def test_a_request_to_stop_reaches_all_at_the_same_time(results):
    assert results[0]["stop"] == results[1]["stop"]
    before, answers = results[0]["stop"]
    assert before == [False, False] and answers[1:] == [True, True]
    assert [result["main_flag"] for result in results] == [[True, False]] * 2


def test_one_process_needs_no_set_up():
    total = torch.ones(2)
    distributed.all_reduce_sum(total)
    distributed.barrier()
    distributed.shutdown()
    assert total.tolist() == [1, 1]
    assert (distributed.rank(), distributed.local_rank(), distributed.world_size()) == (0, 0, 1)
    assert distributed.is_main() and distributed.any_rank(True) and not distributed.any_rank(False)
    assert distributed.main_flag(True) and not distributed.main_flag(False)
    assert distributed.gather(torch.tensor([2.0])).tolist() == [[2.0]]
    assert distributed.gather_objects("x") == ["x"] and distributed.broadcast_object("x") == "x"
    assert distributed.on_main(lambda: "x") == distributed.main_first(lambda: "x") == "x"
    assert list(distributed.striped(3, lambda i: i)) == [0, 1, 2]


def test_what_is_gathered_is_a_copy():
    own = torch.zeros(2)
    distributed.gather(own).add_(1)
    assert own.tolist() == [0, 0]


def test_one_process_keeps_its_exception():
    with pytest.raises(ZeroDivisionError):
        distributed.together(lambda: 1 // 0)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert distributed.pick_device("cpu").type == distributed.pick_device("auto").type == "cpu"
    with pytest.raises(UserError, match="--device cuda: found no GPU, expected one"):
        distributed.pick_device("cuda")


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(distributed, "cpu_count", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.cores() == 8
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert distributed.cores() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert distributed.cores() == 2


def test_slurm_shows_each_process_its_own_gpu_alone(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert distributed.pick_device("cuda") == torch.device("cuda", 0)


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    device = distributed.pick_device("auto")
    assert device == torch.device("cuda", 1) and chosen == [device]
    assert not torch.backends.cudnn.allow_tf32
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        UserError, match="found 2 GPUs, expected one for each process of this machine, which process 2 has not"
    ):
        distributed.pick_device("auto")
