"""CUDA tensors without values on a machine without a GPU, on which PyTorch runs its CUDA rules of types and devices."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

DEVICE = torch.device("cuda", 0)


@contextlib.contextmanager
def bf16_autocast() -> Iterator[None]:
    """Do what `torch.autocast("cuda", torch.bfloat16)` does, which turns itself off in a CPU build."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_cache_enabled(False)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.set_autocast_enabled("cuda", False)


def to_gpu(module: nn.Module, *_: object) -> nn.Module:
    """Move a module, as `module.to(device)` does, which swaps tensors in a way that tensors without values lack."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to(DEVICE), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(DEVICE)
    return module
