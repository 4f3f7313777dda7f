"""Which code computes an operation: PyTorch's own operators, or Triton kernels."""

import importlib.util
import os
import shutil
from typing import Literal

import torch

Impl = Literal["auto", "ref", "triton"]
"""`ref`: PyTorch's operators, the specification; `triton`: kernels; `auto`: kernels where they can run."""

# Triton comes with PyTorch's CUDA builds on Linux. It needs a C compiler for the code that launches a kernel.
_INSTALLED = importlib.util.find_spec("triton") is not None and (
    "CC" in os.environ or any(map(shutil.which, ("gcc", "clang", "cc")))
)


def use_triton(impl: Impl, x: torch.Tensor, when_compiling: bool) -> bool:
    """Return whether Triton kernels compute an operation on x.

    With `auto`, they serve float32, bf16 and fp16 tensors on GPUs of compute capability 8 or higher, where there are
    Triton and a C compiler.

    when_compiling: whether they also do in what torch.compile makes. That pays where they move fewer bytes than the
    kernels that it makes of the reference, which can be fused with what comes before and after (docs/performance.md).
    """
    if impl != "auto":
        return impl == "triton"
    if not _INSTALLED or not x.is_cuda or x.dtype == torch.float64:
        return False

    # The compiler has seen to it that Triton runs here, and cannot look at the GPU in the middle of a function.
    if torch.compiler.is_compiling():
        return when_compiling
    return torch.cuda.get_device_properties(x.device).major >= 8
