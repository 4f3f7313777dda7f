import psutil
import pytest
import torch

from dnnlib import hardware
from dnnlib.hardware import fast_precision, free_memory


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(hardware, "CGROUP_LIMIT", limit)
    assert 0 < free_memory() <= psutil.virtual_memory().total

    limit.write_text("max\n")
    assert free_memory() > 2**20
    limit.write_text(f"{2**20}\n")
    assert free_memory() == 2**20


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")],
)
def test_processors_with_bf16_are_fast_at_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert fast_precision(torch.device("cpu")) == expected


@pytest.mark.parametrize(("major", "expected"), [(6, "fp32"), (7, "fp16"), (8, "bf16"), (9, "bf16")])
def test_gpus_are_fast_at_what_their_tensor_cores_have(monkeypatch, major, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert fast_precision(torch.device("cuda")) == expected
