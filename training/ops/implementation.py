"""Which code computes an operation: PyTorch's own operators, or a Triton kernel."""

import importlib.util
from typing import Literal

import torch

Impl = Literal["auto", "ref", "triton"]
"""`ref`: PyTorch's operators, the specification; `triton`: one kernel for all of them; `auto`: what is fastest here."""

# Triton comes with PyTorch's CUDA builds on Linux.
_INSTALLED = importlib.util.find_spec("triton") is not None


def use_triton(impl: Impl, x: torch.Tensor, when_compiling: bool) -> bool:
    """Return whether a Triton kernel computes an operation on x.

    With `auto`, kernels serve float32, bf16 and fp16 tensors on a GPU where Triton is installed.

    when_compiling: whether they also do in what torch.compile makes. That pays where they move fewer bytes than the
    kernels that it makes of the reference, which can be fused with what comes before and after (docs/performance.md).
    """
    if impl != "auto":
        return impl == "triton"
    if torch.compiler.is_compiling() and not when_compiling:
        return False
    return _INSTALLED and x.is_cuda and x.dtype != torch.float64
