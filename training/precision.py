"""The precision that the networks run in."""

import contextlib

import torch

from training.config import Precision

HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Turn `auto` into what this hardware does fast.

    That is bf16 on GPUs of compute capability 8 or higher and on CPUs with AVX-512 or AMX bf16, fp16 on GPUs of
    compute capability 7, whose tensor cores have no bf16, and fp32 elsewhere.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        generation, _ = torch.cuda.get_device_capability(device)
        return "bf16" if generation >= 8 else "fp16" if generation == 7 else "fp32"

    # Other CPUs emulate bf16, which is slower than fp32.
    cpu = torch.cpu.get_capabilities()
    return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "fp32"


def choose_kernels(deterministic: bool) -> None:
    """Let cuDNN take kernels that repeat their bits, or else those that it finds to be the fastest."""
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return the context that the networks run in: bf16 or fp16 convolutions, or nothing."""
    precision = resolve_precision(precision, device)
    if precision == "fp32":
        return contextlib.nullcontext()

    # The weight cache stays off, because it would keep casts that were made inside torch.func transforms.
    return torch.autocast(device.type, HALF_DTYPES[precision], cache_enabled=False)
