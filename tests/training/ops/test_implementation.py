from types import SimpleNamespace

import pytest
import torch

from training.ops import implementation
from training.ops.implementation import use_triton


def on_a_gpu(dtype=torch.bfloat16):
    """Return what the choice looks at of a tensor on a GPU."""
    return SimpleNamespace(is_cuda=True, dtype=dtype, device=torch.device("cuda"))


@pytest.fixture
def gpu(monkeypatch):
    """Make this machine one with an A100 and Triton; return where its properties can be changed."""
    properties = SimpleNamespace(major=8)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(implementation, "_INSTALLED", True)
    return properties


def test_a_choice_is_followed():
    x = torch.zeros(1)
    assert use_triton("triton", x, when_compiling=False)
    assert not use_triton("ref", x, when_compiling=True)


def test_a_cpu_takes_the_reference_unless_told_otherwise(gpu):
    assert not use_triton("auto", torch.zeros(1), when_compiling=True)


def test_a_gpu_takes_kernels_if_it_can_run_them(gpu, monkeypatch):
    assert use_triton("auto", on_a_gpu(), when_compiling=False)
    assert not use_triton("auto", on_a_gpu(torch.float64), when_compiling=False)
    gpu.major = 7
    assert not use_triton("auto", on_a_gpu(), when_compiling=False)
    gpu.major = 9
    monkeypatch.setattr(implementation, "_INSTALLED", False)
    assert not use_triton("auto", on_a_gpu(), when_compiling=False)


def test_the_compiler_takes_only_the_kernels_that_it_should(gpu, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert use_triton("auto", on_a_gpu(), when_compiling=True)
    assert not use_triton("auto", on_a_gpu(), when_compiling=False)
