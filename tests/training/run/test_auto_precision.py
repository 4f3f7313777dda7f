from dataclasses import replace

import pytest
import torch

from config import PRESETS, tiny
from tests.runs import SMALL, make_dataset, newest_checkpoint, run_dirs, train
from training.run.auto_precision import choose_precision
from training.run.checkpoint import save_checkpoint
from training.spec import ImageSpec
from training.state import TrainState

CPU = torch.device("cpu")
TINY = replace(tiny(), precision="auto")
SPEC = ImageSpec(resolution=64, c_dim=5)


@pytest.fixture
def bf16_cpu(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def chosen(cfg, device=CPU):
    return choose_precision(cfg, SPEC, device).precision


@pytest.mark.usefixtures("bf16_cpu")
def test_on_a_cpu_large_networks_are_faster_in_bf16():
    assert chosen(TINY) == "fp32"
    assert chosen(PRESETS["progan-robohash"]()) == "bf16"

    # Compiled networks are in any case.
    assert chosen(replace(TINY, compile=True)) == "bf16"


@pytest.mark.usefixtures("bf16_cpu")
def test_a_precision_that_is_given_stays():
    assert chosen(replace(TINY, precision="bf16")) == "bf16"
    assert chosen(replace(PRESETS["progan-robohash"](), precision="fp32")) == "fp32"


def test_hardware_without_bf16_takes_fp32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert chosen(PRESETS["progan-robohash"]()) == chosen(PRESETS["progan-robohash"](), torch.device("cuda")) == "fp32"


def test_gpus_that_have_fp16_only_take_it_unless_a_run_began_in_fp32(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    gpu = torch.device("cuda")
    assert chosen(TINY, gpu) == "fp16"
    for kept, expected in (("fp32", "fp32"), ("fp16", "fp16"), ("auto", "fp16")):
        save_checkpoint(tmp_path, TrainState(replace(TINY, precision=kept), SPEC, CPU))
        [path] = tmp_path.glob("checkpoint-*.pt")
        assert choose_precision(TINY, SPEC, gpu, path).precision == expected


def test_on_a_gpu_all_networks_take_bf16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert chosen(TINY, torch.device("cuda")) == "bf16"


def test_a_run_keeps_its_precision(tmp_path, monkeypatch):
    # It is the same run, although auto would have chosen fp32 for a new one.
    options = [*SMALL, "--data", make_dataset(tmp_path / "data"), "--result-dir", tmp_path / "results"]
    train(*options, "--precision", "bf16", "--total-kimg", 0.064)
    train(*options, "--precision", "auto", "--resume", "auto", "--total-kimg", 0.128)
    [run] = run_dirs(tmp_path / "results")

    # Hardware that is not fast at it takes what it is fast at.
    checkpoint = min(run.glob("checkpoint-*.pt"))
    for capabilities, expected in (({"amx_bf16": True}, "bf16"), ({}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert choose_precision(TINY, SPEC, CPU, checkpoint).precision == expected


def test_a_run_says_and_records_what_was_chosen(tmp_path):
    data = make_dataset(tmp_path / "data")
    options = [*SMALL, "--precision", "auto", "--data", data, "--result-dir", tmp_path / "results"]
    train(*options, "--total-kimg", 0.064)
    [run] = run_dirs(tmp_path / "results")
    assert newest_checkpoint(run)["config"]["precision"] == "fp32"
    assert "thread, fp32, torch" in (run / "log.txt").read_text()
