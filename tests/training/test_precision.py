import pytest
import torch

from dnnlib import hardware
from training.precision import autocast, choose_kernels, resolve_precision

CPU = torch.device("cpu")


def test_auto_is_what_the_hardware_is_fast_at(monkeypatch):
    monkeypatch.setattr(hardware, "fast_precision", lambda device: "fp16")
    assert resolve_precision("auto", CPU) == "fp16"
    assert resolve_precision("fp32", CPU) == "fp32"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_convolutions_run_in_the_precision_asked_for(precision, dtype):
    x, weight = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3)
    with autocast(precision, CPU):
        assert torch.nn.functional.conv2d(x, weight).dtype == dtype


def test_runs_repeat_their_bits_unless_speed_is_asked_for(monkeypatch):
    for name in ("deterministic", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    choose_kernels(deterministic=True)
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    choose_kernels(deterministic=False)
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic
