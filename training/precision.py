"""The precision that the networks run in."""

import contextlib

import torch

from dnnlib import hardware
from training.config import Precision

HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Turn `auto` into the precision that this hardware is fast at."""
    return hardware.fast_precision(device) if precision == "auto" else precision


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
