"""Which code computes an operation: PyTorch's own operators, or a Triton kernel."""

import importlib.util
from functools import cache
from typing import Literal

import torch

Impl = Literal["auto", "ref", "triton"]
"""`ref`: PyTorch's operators, the specification; `triton`: one kernel for all of them; `auto`: what is fastest here."""


def use_triton(impl: Impl, x: torch.Tensor) -> bool:
    """Return whether a Triton kernel computes an operation on x.

    With `auto`, kernels serve float32, bf16 and fp16 tensors on a GPU. When torch.compile traces, they do not: from the
    reference it makes kernels that move no more bytes, and it fuses them with what comes before and after.
    """
    if impl != "auto":
        return impl == "triton"
    return x.is_cuda and x.dtype != torch.float64 and _installed() and not torch.compiler.is_compiling()


@cache
def _installed() -> bool:
    """Return whether there is a Triton, which comes with PyTorch's CUDA builds on Linux."""
    return importlib.util.find_spec("triton") is not None
